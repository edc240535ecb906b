#include "check/compare.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <map>

#include "check/blocks.hpp"
#include "check/weight.hpp"
#include "core/tolerance.hpp"

namespace spf::check {
namespace {

std::string element_name(const OperandShape& operand, const std::string& name, int64_t index) {
  std::string subscript;
  for (size_t i = operand.shape.size(); i-- > 0;) {
    subscript = std::to_string(index % operand.shape[i]) + (subscript.empty() ? "" : ", ") + subscript;
    index /= operand.shape[i];
  }
  return name + "[" + subscript + "]";
}

std::string number_text(double value) {
  char text[40];
  std::snprintf(text, sizeof text, "%.9g", value);
  return text;
}

bool is_integer(spf_scalar_type type) { return scalar_info(type).exponent_bits == 0; }

// The magnitude that absolute errors of each output row are measured in.
class Scales {
 public:
  Scales(const Problem& problem, const std::vector<Codes>& inputs) : problem_(problem) {
    for (size_t i = 0; i < inputs.size(); ++i) add_input(i, inputs);
    for (size_t i = 0; i < inputs.size(); ++i) add_factor(problem.operands[i], problem.op->operands[i], inputs[i]);
  }

  // Of one element of an output; `column` within its row.
  double at(const OperandShape& output, int64_t row, int64_t column, double row_maximum) const {
    if (problem_.weight && row < static_cast<int64_t>(norm_.size()))
      return norm_[static_cast<size_t>(row)] * problem_.weight->row_norms()[static_cast<size_t>(column)] * factor_ *
             (column_factor_.empty() ? 1 : column_factor_[static_cast<size_t>(column)]);
    const auto found = maximum_.find(outer(output));
    return found == maximum_.end() ? row_maximum : std::max(row_maximum, found->second[static_cast<size_t>(row)]);
  }

 private:
  // The largest output of a short row can be tiny by chance (a GELU of -5); there the inputs say what an error is small
  // to.
  static constexpr int64_t kShortRow = 64;

  // Rows of different operands belong to each other where all extents but the last agree.
  static std::vector<int64_t> outer(const OperandShape& operand) {
    return {operand.shape.begin(), operand.shape.empty() ? operand.shape.end() : operand.shape.end() - 1};
  }

  void add_input(size_t index, const std::vector<Codes>& inputs) {
    const OperandShape& operand = problem_.operands[index];
    if (inputs[index].empty() || !problem_.op->operands[index].has_leading() || operand.shape.empty()) return;
    const bool multiplied = problem_.weight && index == 0; // by the weight: codes count too
    if (problem_.weight ? !multiplied : is_integer(operand.type)) return;
    const std::vector<double> values = input_values(problem_, index, inputs);
    size_t rows = 1;
    for (size_t i = 0; i + 1 < operand.shape.size(); ++i) rows *= static_cast<size_t>(operand.shape[i]);
    const int64_t columns = rows > 0 ? static_cast<int64_t>(values.size() / rows) : 0;
    norm_.resize(std::max(norm_.size(), rows));
    std::vector<double>* const maximum = columns <= kShortRow ? &maximum_[outer(operand)] : nullptr;
    if (maximum != nullptr) maximum->resize(rows);
    for (size_t row = 0; row < rows; ++row) {
      double squares = 0, largest = 0;
      for (size_t i = row * static_cast<size_t>(columns); i < (row + 1) * static_cast<size_t>(columns); ++i) {
        if (!std::isfinite(values[i])) continue;
        squares += values[i] * values[i];
        largest = std::max(largest, std::abs(values[i]));
      }
      norm_[row] = std::max(norm_[row], std::sqrt(squares));
      if (maximum != nullptr) (*maximum)[row] = std::max((*maximum)[row], largest);
    }
  }

  // What multiplies results multiplies their errors.
  void add_factor(const OperandShape& operand, const Operand& schema, const Codes& codes) {
    if (codes.empty() || schema.values.kind != ValueRule::Kind::kFactor) return;
    const std::vector<double> values = decode(operand.type, codes);
    if (schema.has_leading()) {
      const size_t each = values.size() / std::max<size_t>(norm_.size(), 1);
      for (size_t row = 0; row < norm_.size() && each > 0; ++row)
        norm_[row] *= *std::max_element(values.begin() + static_cast<std::ptrdiff_t>(row * each),
                                        values.begin() + static_cast<std::ptrdiff_t>((row + 1) * each));
    } else if (values.size() == 1 && schema.dims.front().symbol.empty()) {
      factor_ *= values.front();
    } else {
      column_factor_ = values;
    }
  }

  const Problem& problem_;
  std::vector<double> norm_, column_factor_;
  double factor_ = 1;
  std::map<std::vector<int64_t>, std::vector<double>> maximum_; // by extents of the rows
};

Tolerance tolerance_of(const Problem& problem, size_t operand, const std::string& activation) {
  const spf_scalar_type out = problem.operands[operand].type;
  const ValueRule& rule = problem.op->operands[operand].values;
  if (rule.kind == ValueRule::Kind::kMean)
    return mean_tolerance(out, rule.high.evaluate([&](const std::string& symbol) { return problem.extent(symbol); }));
  if (rule.kind == ValueRule::Kind::kScales) return scale_tolerance(problem.operands.front().type, problem.reduction());
  if (!problem.weight) return row_tolerance(out, problem.reduction());
  const ActivationRounding rounding = activation.starts_with("s8")     ? ActivationRounding::kInt8
                                      : activation.starts_with("bf16") ? ActivationRounding::kBf16
                                                                       : ActivationRounding::kNone;
  const bool rounds_weights = activation.find("weights rounded") != std::string::npos;
  Tolerance t =
      product_tolerance(out, problem.reduction(), rounding, rounds_weights ? problem.operands.front().type : SPF_F32);
  // Scales of 128 columns end a sum there.
  if (problem.operands.front().type == SPF_E4M3 || problem.operands.front().type == SPF_E5M2)
    widen_by_short_sums(t, problem.extent("G") > 1 ? 128 : problem.reduction());
  return t;
}

// An overflow is a matter of rounding too: infinity stands for everything from the type's largest number on.
double closed(double value, spf_scalar_type type) {
  return std::isinf(value) ? std::copysign(scalar_info(type).max_value, value) : value;
}

// Ids, counts, flags and codes: every bit.
void compare_integers(const Problem& problem, size_t index, const Codes& got, const Codes& want, Comparison* result) {
  const OperandShape& operand = problem.operands[index];
  const int64_t at =
      (std::mismatch(got.begin(), got.end(), want.begin()).first - got.begin()) / type_bytes(operand.type);
  const auto text = [&](const Codes& codes) {
    return number_text(decode(operand.type, codes)[static_cast<size_t>(at)]);
  };
  result->equal = false;
  result->worst = std::max(result->worst, 2.0);
  if (result->difference.empty())
    result->difference = element_name(operand, problem.op->operands[index].name, at) + " = " + text(got) +
                         ", reference " + text(want) + ", allowed that alone";
}

// Exact outputs: every bit, but for the payload of a NaN.
void compare_exact(const Problem& problem, size_t index, const Codes& got, const Codes& want, Comparison* result) {
  const OperandShape& operand = problem.operands[index];
  const auto bytes = static_cast<size_t>(type_bytes(operand.type));
  const std::vector<double> a = decode(operand.type, got), b = decode(operand.type, want);
  for (size_t i = 0; i < b.size(); ++i) {
    if (std::memcmp(&got[i * bytes], &want[i * bytes], bytes) == 0 || (std::isnan(a[i]) && std::isnan(b[i]))) continue;
    result->equal = false;
    result->worst = std::max(result->worst, 2.0);
    if (result->difference.empty())
      result->difference = element_name(operand, problem.op->operands[index].name, static_cast<int64_t>(i)) + " = " +
                           number_text(a[i]) + ", reference " + number_text(b[i]) + ", allowed that alone";
    return;
  }
}

// Codes in the order of their values, so that neighbours differ by one: integers as they are, e4m3 by sign and size.
int ordered_code(spf_scalar_type type, std::byte code) {
  const auto bits = static_cast<uint8_t>(code);
  if (type == SPF_S8) return static_cast<int8_t>(bits);
  return bits & 0x80 ? -(bits & 0x7f) : bits;
}

// How many codes lie between two; of bytes that hold two e2m1 codes, the larger distance.
int code_distance(spf_scalar_type type, std::byte a, std::byte b) {
  if (type != SPF_U8) return std::abs(ordered_code(type, a) - ordered_code(type, b));
  const auto ordered = [](std::byte two, int shift) {
    const int code = static_cast<int>(two) >> shift & 15;
    return code & 8 ? -(code & 7) : code;
  };
  return std::max(std::abs(ordered(a, 0) - ordered(b, 0)), std::abs(ordered(a, 4) - ordered(b, 4)));
}

// Codes of numbers that were summed and rounded before: a flipped rounding moves a code to its neighbour. One in 64 of
// a row may flip; where the flip was that of the row's largest number, its scale moves, and all of the row with it: one
// row in 64, at least one, may have any number.
void compare_codes(const Problem& problem, size_t index, const Codes& got, const Codes& want, Comparison* result) {
  const OperandShape& operand = problem.operands[index];
  const std::vector<double> a = decode(operand.type, got), b = decode(operand.type, want);
  const size_t columns = operand.shape.empty() ? 1 : static_cast<size_t>(std::max<int64_t>(operand.shape.back(), 1));
  const size_t rows = b.size() / columns, allowed = std::max<size_t>(1, columns / 64);
  size_t moved_rows = 0;
  for (size_t row = 0; row < rows; ++row) {
    size_t flips = 0, first = 0;
    for (size_t i = row * columns; i < (row + 1) * columns; ++i) {
      if (got[i] == want[i] || (std::isnan(a[i]) && std::isnan(b[i]))) continue;
      const bool near = !std::isnan(a[i]) && !std::isnan(b[i]) && code_distance(operand.type, got[i], want[i]) <= 1;
      if (flips++ == 0 || !near) first = i;
      if (near) continue;
      flips = columns + 1;
      break;
    }
    result->flips += static_cast<int64_t>(std::min(flips, columns));
    if (flips <= allowed || (flips <= columns && ++moved_rows <= std::max<size_t>(1, rows / 64))) continue;
    result->equal = false;
    result->worst = std::max(result->worst, 2.0);
    if (result->difference.empty())
      result->difference = element_name(operand, problem.op->operands[index].name, static_cast<int64_t>(first)) +
                           " = " + number_text(a[first]) + ", reference " + number_text(b[first]) +
                           (flips > columns ? ", allowed the next codes" : ", too many next codes in rows");
    return;
  }
}

void compare_operand(const Problem& problem, size_t index, const Codes& got, const Codes& want, const Scales& scales,
                     const std::string& activation, Comparison* result) {
  const OperandShape& operand = problem.operands[index];
  const Tolerance tolerance = tolerance_of(problem, index, activation);
  const std::vector<double> a = decode(operand.type, got), b = decode(operand.type, want);
  const int64_t columns = operand.shape.empty() ? 1 : std::max<int64_t>(operand.shape.back(), 1);
  const auto count = static_cast<int64_t>(b.size());
  const auto allowed_flips =
      std::max<int64_t>(1, static_cast<int64_t>(static_cast<double>(count) * tolerance.flip_fraction));
  const auto wrong = [&](int64_t i, const std::string& allowed) {
    result->equal = false;
    if (result->difference.empty())
      result->difference = element_name(operand, problem.op->operands[index].name, i) + " = " +
                           number_text(a[static_cast<size_t>(i)]) + ", reference " +
                           number_text(b[static_cast<size_t>(i)]) + ", " + allowed;
  };
  const bool sparse = problem.weight && problem.weight->scheme().sparsity == SPF_SPARSITY_2_OF_4;
  int64_t flips = 0;
  for (int64_t row = 0; row * columns < count; ++row) {
    double row_maximum = 0;
    for (int64_t i = row * columns; i < (row + 1) * columns; ++i)
      if (std::isfinite(b[static_cast<size_t>(i)]))
        row_maximum = std::max(row_maximum, std::abs(b[static_cast<size_t>(i)]));
    for (int64_t i = row * columns; i < (row + 1) * columns; ++i) {
      double x = a[static_cast<size_t>(i)], y = b[static_cast<size_t>(i)];
      if (x == y || (std::isnan(x) && std::isnan(y))) continue;
      // A product may carry activations with a common scale, which an infinity among them turns into NaN.
      if (problem.weight && !std::isfinite(x) && !std::isfinite(y)) continue;
      // Infinity times a zero of a 2:4 sparse weight is NaN where the zero is multiplied, which nobody has to.
      if (sparse && std::isnan(y)) continue;
      if (std::isnan(x) || std::isnan(y)) {
        wrong(i, "allowed that alone");
        continue;
      }
      x = closed(x, operand.type);
      y = closed(y, operand.type);
      const double scale = scales.at(operand, row, i - row * columns, row_maximum);
      const double error = std::abs(x - y), limit = tolerance.limit(y, scale);
      if (error <= limit) {
        result->worst = std::max(result->worst, error / limit);
      } else if (error <= tolerance.flip_limit(y, scale) && ++flips <= allowed_flips) {
        continue;
      } else {
        result->worst = std::max(result->worst, error / limit);
        wrong(i,
              "allowed error " + number_text(limit) + (flips > allowed_flips ? " (too many wider ones already)" : ""));
      }
    }
  }
  result->flips += flips;
}

} // namespace

Comparison compare(const Problem& problem, const std::vector<Codes>& inputs, const std::vector<Codes>& outputs,
                   const std::vector<Codes>& expected, const std::string& activation) {
  Comparison result;
  const Scales scales(problem, inputs);
  for (size_t i = 0; i < expected.size(); ++i) {
    if (outputs[i].size() != expected[i].size()) throw Failure("compare: outputs of different shapes");
    if (outputs[i] == expected[i]) continue;
    const ValueRule::Kind kind = problem.op->operands[i].values.kind;
    if (kind == ValueRule::Kind::kExact)
      compare_exact(problem, i, outputs[i], expected[i], &result);
    else if (kind == ValueRule::Kind::kCodes)
      compare_codes(problem, i, outputs[i], expected[i], &result);
    else if (is_integer(problem.operands[i].type))
      compare_integers(problem, i, outputs[i], expected[i], &result);
    else
      compare_operand(problem, i, outputs[i], expected[i], scales, activation, &result);
  }
  return result;
}

std::string first_difference(const Problem& problem, const std::vector<Codes>& a, const std::vector<Codes>& b) {
  for (size_t i = 0; i < a.size(); ++i) {
    if (a[i] == b[i]) continue;
    const OperandShape& operand = problem.operands[i];
    const std::string& name = problem.op->operands[i].name;
    if (a[i].size() != b[i].size()) return name + " has another size";
    const auto at = std::mismatch(a[i].begin(), a[i].end(), b[i].begin()).first - a[i].begin();
    const auto index = static_cast<int64_t>(at) / type_bytes(operand.type);
    const std::vector<double> x = decode(operand.type, a[i]), y = decode(operand.type, b[i]);
    return element_name(operand, name, index) + " is " + number_text(x[static_cast<size_t>(index)]) + " and " +
           number_text(y[static_cast<size_t>(index)]);
  }
  return "";
}

} // namespace spf::check
