#include "check/op.hpp"

#include <algorithm>
#include <cctype>
#include <stdexcept>

#include "check/status.hpp"

namespace spf::check {
namespace {

Dim parse_dim(const std::string& text) {
  if (text == "*") return {"*", 1, true};
  Dim dim;
  if (const size_t open = text.find('('); text.starts_with("up") && open != std::string::npos) {
    dim = parse_dim(text.substr(open + 1, text.size() - open - 2));
    dim.factor = std::stoll(text.substr(2, open - 2));
    dim.padded = true;
    return dim;
  }
  if (const size_t slash = text.find('/'); slash != std::string::npos)
    return {text.substr(0, slash), 1, false, false, std::stoll(text.substr(slash + 1))};
  size_t at = 0;
  if (!text.empty() && std::isdigit(static_cast<unsigned char>(text[0]))) {
    dim.factor = std::stoll(text, &at);
    if (at == text.size()) return dim;
    if (text[at] != '*') throw std::runtime_error("not a dimension: '" + text + "'");
    ++at;
  }
  dim.symbol = text.substr(at);
  if (dim.symbol.empty()) throw std::runtime_error("not a dimension: '" + text + "'");
  return dim;
}

Operand read_operand(const char* op, int index) {
  spf_operand_info info = {};
  info.struct_size = sizeof info;
  expect_ok(spf_op_operand(op, index, &info), "spf_op_operand");
  Operand operand{info.name, info.role, info.optional != 0, info.view, info.type_name, {}, parse_shape(info.shape),
                  {},        {}};
  if (!parse_value_rule(info.values, &operand.values))
    throw std::runtime_error("not a rule for values: '" + std::string(info.values) + "'");
  if (*info.traffic != '\0' && !parse_extent_product(info.traffic, &operand.traffic.emplace()))
    throw std::runtime_error("not a product of extents: '" + std::string(info.traffic) + "'");
  for (int t = 1; t < SPF_TYPE_COUNT; ++t)
    if (info.types >> t & 1u) operand.types.push_back(static_cast<spf_scalar_type>(t));
  return operand;
}

Param read_param(const char* op, int index) {
  spf_param_info info = {};
  info.struct_size = sizeof info;
  expect_ok(spf_op_param(op, index, &info), "spf_op_param");
  return {info.name, info.kind, info.fallback, info.min, info.max};
}

std::vector<Op> read_ops() {
  std::vector<Op> all;
  for (int32_t i = 0;; ++i) {
    spf_op_info info = {};
    info.struct_size = sizeof info;
    if (spf_op_describe(i, &info) != SPF_OK) return all;
    Op op{info.name, info.family, info.takes_packed_weight != 0, {}, {}};
    for (int32_t o = 0; o < info.operand_count; ++o) op.operands.push_back(read_operand(info.name, o));
    for (int32_t p = 0; p < info.param_count; ++p) op.params.push_back(read_param(info.name, p));
    all.push_back(std::move(op));
  }
}

void add_once(std::vector<std::string>& list, const std::string& item) {
  if (std::find(list.begin(), list.end(), item) == list.end()) list.push_back(item);
}

} // namespace

std::vector<Dim> parse_shape(const std::string& text) {
  std::vector<Dim> dims;
  size_t begin = 0;
  while (begin <= text.size() && !text.empty()) {
    size_t end = text.find(',', begin);
    if (end == std::string::npos) end = text.size();
    std::string part = text.substr(begin, end - begin);
    std::erase_if(part, [](unsigned char c) { return std::isspace(c) != 0; });
    dims.push_back(parse_dim(part));
    begin = end + 1;
  }
  return dims;
}

int Op::operand_index(const std::string& operand) const {
  for (size_t i = 0; i < operands.size(); ++i)
    if (operands[i].name == operand) return static_cast<int>(i);
  return -1;
}

int Op::param_index(const std::string& param) const {
  for (size_t i = 0; i < params.size(); ++i)
    if (params[i].name == param) return static_cast<int>(i);
  return -1;
}

bool Op::has_leading() const {
  return std::any_of(operands.begin(), operands.end(), [](const Operand& o) { return o.has_leading(); });
}

bool Op::takes_any_extents() const {
  return has_leading() && std::none_of(operands.begin(), operands.end(), [](const Operand& o) { return o.has_rule(); });
}

std::vector<std::string> Op::symbols() const {
  std::vector<std::string> names;
  for (const Operand& operand : operands)
    for (const Dim& dim : operand.dims)
      if (dim.binds()) add_once(names, dim.symbol);
  if (packed_weight) {
    add_once(names, "N");
    add_once(names, "K");
  }
  return names;
}

std::vector<std::string> Op::type_variables() const {
  std::vector<std::string> names;
  for (const Operand& operand : operands) add_once(names, operand.type_variable);
  return names;
}

const std::vector<Op>& ops() {
  static const std::vector<Op> all = read_ops();
  return all;
}

const Op* find_op(const std::string& name) {
  for (const Op& op : ops())
    if (op.name == name) return &op;
  return nullptr;
}

std::string type_name(spf_scalar_type type) {
  spf_scalar_type_info info = {};
  info.struct_size = sizeof info;
  return spf_scalar_type_describe(type, &info) == SPF_OK ? info.name : "none";
}

int64_t type_bytes(spf_scalar_type type) {
  spf_scalar_type_info info = {};
  info.struct_size = sizeof info;
  expect_ok(spf_scalar_type_describe(type, &info), "spf_scalar_type_describe");
  return info.bits <= 8 ? 1 : info.bits / 8;
}

bool name_fits(const std::string& kernel, const std::string& wanted) {
  return wanted.empty() || kernel == wanted || kernel.substr(kernel.find('/') + 1) == wanted;
}

std::vector<Kernel> kernels_of(const std::string& op, spf_device_kind kind) {
  std::vector<Kernel> all;
  for (int32_t k = 0;; ++k) {
    spf_kernel_info info = {};
    info.struct_size = sizeof info;
    if (spf_op_kernel(op.c_str(), k, &info) != SPF_OK) return all;
    if (info.device != kind) continue;
    Kernel kernel{info.name, {}, info.is_reference != 0};
    for (int32_t i = 0; i < info.instance_count; ++i) {
      const char* name = nullptr;
      expect_ok(spf_op_kernel_instance(op.c_str(), k, i, &name), "spf_op_kernel_instance");
      kernel.instances.emplace_back(name);
    }
    all.push_back(std::move(kernel));
  }
}

} // namespace spf::check
