#include "check/values.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <unordered_set>

namespace spf::check {
namespace {

// Numbers of 0 .. bound - 1, no two equal; at most `bound` of them.
std::vector<double> distinct(int64_t count, int64_t bound, Random& random) {
  constexpr int64_t kListed = int64_t{1} << 22;
  count = std::min(count, bound);
  std::vector<double> values;
  if (bound <= kListed) {
    std::vector<int64_t> all(static_cast<size_t>(bound));
    std::iota(all.begin(), all.end(), 0);
    for (int64_t i = 0; i < count; ++i) {
      std::swap(all[static_cast<size_t>(i)], all[static_cast<size_t>(i + random.below(bound - i))]);
      values.push_back(static_cast<double>(all[static_cast<size_t>(i)]));
    }
    return values;
  }
  std::unordered_set<int64_t> seen;
  while (static_cast<int64_t>(values.size()) < count)
    if (const int64_t value = random.below(bound); seen.insert(value).second)
      values.push_back(static_cast<double>(value));
  return values;
}

double outside(int64_t bound, spf_scalar_type type, Random& random) {
  switch (random.below(8)) {
    case 0:
      return static_cast<double>(bound);
    case 1:
      return static_cast<double>(bound + 1 + random.below(100));
    case 2:
      return type == SPF_I64 ? 0x1p52 : 0x1p31 - 1;
    case 3:
      return type == SPF_I64 ? -0x1p52 : -0x1p31;
    case 4:
      return -2 - static_cast<double>(random.below(100));
    default:
      return -1;
  }
}

std::vector<double> indices(const ValueRule& rule, int64_t count, int64_t bound, spf_scalar_type type, bool bench,
                            Random& random) {
  std::vector<double> values;
  if (rule.unique) {
    values = distinct(count, bound, random);
    values.resize(static_cast<size_t>(count), -1);
  } else {
    for (int64_t i = 0; i < count; ++i) values.push_back(bound > 0 ? static_cast<double>(random.below(bound)) : -1);
  }
  if (rule.or_minus_one && !bench)
    for (double& value : values)
      if (random.chance(0.125)) value = outside(bound, type, random);
  return values;
}

std::vector<double> offsets(int64_t count, int64_t total, bool bench, Random& random) {
  std::vector<double> values(static_cast<size_t>(count));
  for (int64_t i = 1; i < count; ++i)
    values[static_cast<size_t>(i)] = static_cast<double>(bench ? total * i / (count - 1) : random.below(total + 1));
  if (count > 1) values.back() = static_cast<double>(total);
  std::sort(values.begin(), values.end());
  return values;
}

double length(int64_t low, int64_t high, bool bench, Random& random) {
  if (bench || low >= high || random.chance(0.25)) return static_cast<double>(high);
  return static_cast<double>(random.chance(0.25) ? low : low + random.below(high - low + 1));
}

} // namespace

std::vector<double> make_values(const Problem& problem, size_t operand, Random& random) {
  const ValueRule& rule = problem.op->operands[operand].values;
  const OperandShape& shape = problem.operands[operand];
  const auto extent = [&](const std::string& symbol) { return problem.extent(symbol); };
  const int64_t count = shape.elements(), low = rule.low.evaluate(extent), high = rule.high.evaluate(extent);
  std::vector<double> values;
  switch (rule.kind) {
    case ValueRule::Kind::kIndex:
      return indices(rule, count, high, shape.type, problem.bench, random);
    case ValueRule::Kind::kOffsets:
      return offsets(count, high, problem.bench, random);
    case ValueRule::Kind::kRange:
      for (int64_t i = 0; i < count; ++i) values.push_back(length(low, high, problem.bench, random));
      return values;
    case ValueRule::Kind::kPadded: // follows from another operand: make_padded
    case ValueRule::Kind::kPositive:
    case ValueRule::Kind::kFactor:
    case ValueRule::Kind::kModerate:
    case ValueRule::Kind::kMean:
    case ValueRule::Kind::kExact:
    case ValueRule::Kind::kCodes:
    case ValueRule::Kind::kScales:
    case ValueRule::Kind::kBlockScales:
    case ValueRule::Kind::kAny:
      break;
  }
  for (int64_t i = 0; i < count; ++i) values.push_back(std::exp2(random.normal()));
  return values;
}

std::vector<double> make_padded(const ValueRule& rule, const std::vector<double>& offsets) {
  std::vector<double> values(offsets.size());
  for (size_t i = 1; i < offsets.size(); ++i) {
    const auto length = static_cast<int64_t>(offsets[i] - offsets[i - 1]);
    values[i] = values[i - 1] + static_cast<double>((length + rule.low.factor - 1) / rule.low.factor * rule.low.factor);
  }
  return values;
}

} // namespace spf::check
