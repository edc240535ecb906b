#include "check/problem.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <numeric>

#include "check/status.hpp"
#include "check/values.hpp"
#include "check/weight.hpp"

namespace spf::check {
namespace {

// Extents of an operand under the case's dimensions.
std::vector<int64_t> extents(const Operand& operand, const std::vector<int64_t>& leading,
                             const std::map<std::string, int64_t>& dims, const std::string& where) {
  std::vector<int64_t> shape;
  for (const Dim& dim : operand.dims) {
    if (dim.leading) {
      shape.insert(shape.end(), leading.begin(), leading.end());
      continue;
    }
    int64_t extent = std::accumulate(leading.begin(), leading.end(), int64_t{1}, std::multiplies<>());
    if (!dim.symbol.empty() && (!dim.padded || dim.symbol != "rows")) {
      const auto found = dims.find(dim.symbol);
      if (found == dims.end()) throw UsageError(where + ": dims lacks '" + dim.symbol + "'");
      extent = found->second;
    }
    shape.push_back(dim.extent(extent));
  }
  return shape;
}

spf_scalar_type operand_type(const Operand& operand, const Case& c, const std::string& where) {
  const auto found = c.types.find(operand.type_variable);
  if (found == c.types.end()) {
    if (operand.types.size() == 1) return operand.types.front();
    throw UsageError(where + ": types lacks '" + operand.type_variable + "'");
  }
  for (spf_scalar_type type : operand.types)
    if (type_name(type) == found->second) return type;
  throw UsageError(where + ": " + operand.name + " does not take " + found->second);
}

double largest_plain(spf_scalar_type type) {
  spf_scalar_type_info info = {};
  info.struct_size = sizeof info;
  expect_ok(spf_scalar_type_describe(type, &info), "spf_scalar_type_describe");
  return info.max_value;
}

bool is_float(spf_scalar_type type) {
  return type == SPF_F32 || type == SPF_F16 || type == SPF_BF16 || type == SPF_E4M3 || type == SPF_E5M2;
}

// Squares of the large numbers and their sums stay finite in f32: whether an fp32 sum overflows where the fp64 one of
// the reference does not is a property of the number format, not of a kernel.
double mixed_value(Random& random, double largest) {
  const double plain = 2 * random.normal();
  switch (random.below(16)) {
    case 0:
      return std::copysign(std::min(std::ldexp(1 + random.unit(), 4 + static_cast<int>(random.below(30))), largest / 2),
                           plain);
    case 1:
      return plain * std::ldexp(1.0, -static_cast<int>(random.below(30)));
    case 2:
      return std::copysign(std::ldexp(1 + random.unit(), -15 - static_cast<int>(random.below(9))),
                           plain); // f16 denormals
    case 3:
      return std::copysign(std::ldexp(1 + random.unit(), -127 - static_cast<int>(random.below(6))),
                           plain); // bf16, f32 ones
    case 4:
      return std::copysign(0.0, plain);
    default:
      return plain;
  }
}

double special_value(Random& random) {
  const double plain = 2 * random.normal();
  if (!random.chance(1.0 / 64)) return plain;
  return random.chance(0.5) ? std::nan("") : std::copysign(INFINITY, plain);
}

} // namespace

int64_t OperandShape::elements() const {
  int64_t count = 1;
  for (int64_t extent : shape) count *= extent;
  return present ? count : 0;
}

int64_t Problem::rows() const {
  int64_t count = 1;
  for (int64_t extent : leading) count *= extent;
  return count;
}

int64_t Problem::extent(const std::string& symbol) const {
  if (symbol == "rows") return rows();
  const auto found = dims.find(symbol);
  return found == dims.end() ? 0 : found->second;
}

int64_t Problem::reduction() const {
  int64_t longest = weight ? weight->k() : 1;
  for (size_t i = 0; i < operands.size(); ++i)
    if (operands[i].present && op->operands[i].role != SPF_ROLE_OUT && !operands[i].shape.empty())
      longest = std::max(longest, operands[i].shape.back());
  return longest;
}

int64_t Problem::elements() const {
  int64_t count = weight ? weight->n() * weight->k() : 0;
  for (const OperandShape& operand : operands) count += operand.elements();
  return count;
}

double Problem::multiplications() const {
  if (!weight) return static_cast<double>(elements());
  return static_cast<double>(rows()) * static_cast<double>(weight->n()) * static_cast<double>(weight->k());
}

uint64_t Problem::seed() const {
  return hash_bytes(name.data(), name.size(), hash_bytes(op->name.data(), op->name.size()));
}

Problem Problem::with_leading(const std::vector<int64_t>& lead) const {
  Problem other = *this;
  other.leading = lead;
  for (size_t i = 0; i < operands.size(); ++i)
    if (operands[i].present) other.operands[i].shape = extents(op->operands[i], lead, dims, name);
  return other;
}

Problem make_problem(const Case& c) {
  Problem problem;
  problem.op = find_op(c.op);
  problem.name = c.name();
  const std::string where = c.op + " " + problem.name;
  if (problem.op == nullptr) throw UsageError("no op is called '" + c.op + "'");
  const Op& op = *problem.op;
  problem.leading = c.leading;
  problem.dims = c.dims;
  problem.allow_activation_8bit = c.allow_activation_8bit;
  problem.bench = c.bench;
  for (const Operand& operand : op.operands) {
    OperandShape shape;
    shape.type = operand_type(operand, c, where);
    shape.present = !c.absent.contains(operand.name);
    if (shape.present) shape.shape = extents(operand, c.leading, c.dims, where);
    if (!shape.present && !operand.optional) throw UsageError(where + ": " + operand.name + " cannot be absent");
    problem.operands.push_back(shape);
  }
  for (const std::string& name : c.absent)
    if (op.operand_index(name) < 0) throw UsageError(where + ": no operand is called '" + name + "'");
  for (const Param& param : op.params) {
    const auto found = c.params.find(param.name);
    problem.params.push_back(found == c.params.end() ? param.fallback : found->second);
  }
  for (const auto& [name, value] : c.params)
    if (op.param_index(name) < 0) throw UsageError(where + ": no parameter is called '" + name + "'");
  if (op.packed_weight != !c.weight.empty())
    throw UsageError(where + (op.packed_weight ? ": 'weight' is missing" : ": this op takes no weight"));
  if (op.packed_weight) {
    for (const char* symbol : {"N", "K"})
      if (!c.dims.contains(symbol)) throw UsageError(where + ": dims lacks '" + std::string(symbol) + "'");
    problem.weight = std::make_shared<Weight>(c.weight, c.dims.at("N"), c.dims.at("K"), c.act_order, problem.seed());
  }
  return problem;
}

uint64_t Random::bits() {
  uint64_t z = state_ += 0x9e3779b97f4a7c15u;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

double Random::unit() { return static_cast<double>(bits() >> 11) * 0x1p-53; }

// The sum of twelve uniform numbers, four to a draw: 16 bits each are plenty for test data.
double Random::normal() {
  double sum = 0;
  for (int i = 0; i < 3; ++i)
    for (uint64_t word = bits(), part = 0; part < 4; ++part, word >>= 16)
      sum += static_cast<double>(word & 0xffff) * 0x1p-16;
  return sum - 6 + 6 * 0x1p-16;
}

int64_t Random::below(int64_t bound) { return static_cast<int64_t>(bits() % static_cast<uint64_t>(bound)); }

uint64_t hash_bytes(const void* data, size_t bytes, uint64_t seed) {
  const auto* at = static_cast<const unsigned char*>(data);
  uint64_t h = seed ^ 0x51ed270b35ae9d21u ^ bytes;
  for (; bytes >= 8; bytes -= 8, at += 8) {
    uint64_t word;
    std::memcpy(&word, at, 8);
    h = Random(h ^ word).bits();
  }
  uint64_t tail = 0;
  std::memcpy(&tail, at, bytes);
  return Random(h ^ tail).bits();
}

namespace {

Codes encode(spf_scalar_type type, const std::vector<double>& values) {
  Codes codes(values.size() * static_cast<size_t>(type_bytes(type)));
  if (!values.empty())
    expect_ok(spf_encode(type, values.data(), static_cast<int64_t>(values.size()), codes.data()), "spf_encode");
  return codes;
}

} // namespace

Codes make_codes(spf_scalar_type type, int64_t count, Pattern pattern, uint64_t seed) {
  Random random(seed);
  std::vector<double> values(static_cast<size_t>(count));
  const double largest = largest_plain(type);
  const bool floating = is_float(type);
  for (double& value : values) {
    if (type == SPF_S8)
      value = static_cast<double>(random.below(255) - 127);
    else if (!floating)
      value = static_cast<double>(
          random.below(static_cast<int64_t>(std::min(largest, type == SPF_U8 ? 255.0 : 127.0)) + 1));
    else if (pattern == Pattern::kMixed)
      value = mixed_value(random, largest);
    else
      value = pattern == Pattern::kSpecial ? special_value(random) : 2 * random.normal();
  }
  return encode(type, values);
}

std::vector<Codes> make_inputs(const Problem& problem, Pattern pattern, uint64_t salt) {
  std::vector<Codes> inputs(problem.operands.size());
  for (size_t i = 0; i < inputs.size(); ++i) {
    const OperandShape& operand = problem.operands[i];
    if (!operand.present || problem.op->operands[i].role == SPF_ROLE_OUT) continue;
    const uint64_t seed = hash_bytes(&salt, sizeof salt, problem.seed() + i);
    Random random(seed);
    const Operand& schema = problem.op->operands[i];
    const bool moderate = schema.values.kind == ValueRule::Kind::kModerate;
    if (schema.has_rule()) {
      inputs[i] = encode(operand.type, make_values(problem, i, random));
      continue;
    }
    // A bench waits for its data, and only needs them to look random: the first of many numbers come again.
    constexpr int64_t kEnough = int64_t{1} << 20;
    const int64_t elements = operand.elements(), drawn = problem.bench ? std::min(elements, kEnough) : elements;
    inputs[i] = make_codes(operand.type, drawn, moderate ? Pattern::kPlain : pattern, seed);
    const size_t first = inputs[i].size(), bytes = static_cast<size_t>(elements * type_bytes(operand.type));
    inputs[i].resize(bytes);
    for (size_t at = first; at < bytes; at += first)
      std::copy_n(inputs[i].begin(), std::min(first, bytes - at), inputs[i].begin() + static_cast<int64_t>(at));
  }
  for (size_t i = 0; i < inputs.size(); ++i) {
    const ValueRule& rule = problem.op->operands[i].values;
    if (rule.kind != ValueRule::Kind::kPadded || !problem.operands[i].present) continue;
    const auto of = static_cast<size_t>(problem.op->operand_index(rule.of));
    inputs[i] = encode(problem.operands[i].type, make_padded(rule, decode(problem.operands[of].type, inputs[of])));
  }
  return inputs;
}

std::vector<double> decode(spf_scalar_type type, const Codes& codes) {
  std::vector<double> values(codes.size() / static_cast<size_t>(type_bytes(type)));
  if (!values.empty())
    expect_ok(spf_decode(type, codes.data(), static_cast<int64_t>(values.size()), values.data()), "spf_decode");
  return values;
}

} // namespace spf::check
