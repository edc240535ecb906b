#include "core/call.hpp"

#include <string_view>

namespace spf {

int64_t Problem::extent(const char* symbol) const {
  for (int i = 0; i < op->symbol_count; ++i)
    if (std::string_view(op->symbols[i]) == symbol) return symbols[i];
  return 0;
}

spf_scalar_type Problem::type(const char* variable) const {
  for (int i = 0; i < op->type_variable_count; ++i)
    if (std::string_view(op->type_variables[i].name) == variable) return types[i];
  return SPF_TYPE_NONE;
}

bool Problem::has(const char* operand) const {
  const int i = op->operand_index(operand);
  return i >= 0 && (present >> i & 1u) != 0;
}

bool Problem::is_contiguous(const char* operand) const {
  const int i = op->operand_index(operand);
  return i >= 0 && (contiguous >> i & 1u) != 0;
}

bool Problem::is_aligned16(const char* operand) const {
  const int i = op->operand_index(operand);
  return i >= 0 && (aligned16 >> i & 1u) != 0;
}

double Problem::param(const char* name) const {
  for (int i = 0; i < op->param_count; ++i)
    if (std::string_view(op->params[i].name) == name) return params[i];
  return 0;
}

const spf_tensor* Call::operand(const char* name) const {
  const int i = problem.op->operand_index(name);
  return i >= 0 && (problem.present >> i & 1u) != 0 ? &operands[i] : nullptr;
}

int OpSchema::operand_index(const char* operand) const {
  for (int i = 0; i < operand_count; ++i)
    if (std::string_view(operands[i].name) == operand) return i;
  return -1;
}

} // namespace spf
