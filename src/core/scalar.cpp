#include "core/scalar.hpp"

#include <cstring>
#include <string>

#include "core/status.hpp"

namespace spf {
namespace {

std::string scalar_names() {
  std::string names;
  for (const ScalarInfo& s : kScalarTable) {
    if (s.bits == 0) continue;
    if (!names.empty()) names += ", ";
    names += s.name;
  }
  return names;
}

spf_status check_type(const char* op, spf_scalar_type type) {
  if (is_scalar_type(type)) return SPF_OK;
  return fail(SPF_INVALID_TYPE, op, "validate", "type", std::to_string(static_cast<int>(type)), scalar_names());
}

spf_status check_arrays(const char* op, const char* in_name, const void* in, int64_t count, const char* out_name,
                        const void* out) {
  if (count < 0) return fail(SPF_INVALID_ARGUMENT, op, "validate", "count", std::to_string(count), "0 or more");
  if (count > 0 && in == nullptr)
    return fail(SPF_INVALID_ARGUMENT, op, "validate", in_name, "NULL", "a pointer to count elements");
  if (count > 0 && out == nullptr)
    return fail(SPF_INVALID_ARGUMENT, op, "validate", out_name, "NULL", "a pointer to count elements");
  return SPF_OK;
}

} // namespace
} // namespace spf

extern "C" {

spf_status spf_scalar_type_describe(spf_scalar_type type, spf_scalar_type_info* info) {
  using namespace spf;
  return guarded("scalar_type_describe", [&]() -> spf_status {
    if (spf_status st = check_struct_size(info, sizeof(spf_scalar_type_info), "scalar_type_describe", "info"))
      return st;
    if (spf_status st = check_type("scalar_type_describe", type)) return st;
    const ScalarInfo& s = scalar_info(type);
    info->bits = s.bits;
    info->exponent_bits = s.exponent_bits;
    info->mantissa_bits = s.mantissa_bits;
    info->is_signed = s.is_signed;
    info->exponent_bias = s.exponent_bias;
    info->integer_bias = s.integer_bias;
    info->nan_rule = s.nan_rule;
    info->max_value = s.max_value;
    info->min_value = s.min_value;
    info->name = s.name;
    return SPF_OK;
  });
}

spf_status spf_scalar_type_from_name(const char* name, spf_scalar_type* type) {
  using namespace spf;
  return guarded("scalar_type_from_name", [&]() -> spf_status {
    constexpr const char* kOp = "scalar_type_from_name";
    if (name == nullptr) return fail(SPF_INVALID_ARGUMENT, kOp, "validate", "name", "NULL", scalar_names());
    if (type == nullptr) return fail(SPF_INVALID_ARGUMENT, kOp, "validate", "type", "NULL", "a pointer to the result");
    for (const ScalarInfo& s : kScalarTable) {
      if (s.bits == 0 || std::strcmp(s.name, name) != 0) continue;
      *type = s.type;
      return SPF_OK;
    }
    return fail(SPF_NOT_FOUND, kOp, "validate", "name", name, scalar_names());
  });
}

spf_status spf_decode(spf_scalar_type type, const void* codes, int64_t count, double* values) {
  using namespace spf;
  return guarded("decode", [&]() -> spf_status {
    if (spf_status st = check_type("decode", type)) return st;
    if (spf_status st = check_arrays("decode", "codes", codes, count, "values", values)) return st;
    const size_t size = static_cast<size_t>(storage_bytes(type));
    for (int64_t i = 0; i < count; ++i) {
      uint64_t code = 0; // x86-64 and AArch64 are little endian: the low bytes come first
      std::memcpy(&code, static_cast<const char*>(codes) + static_cast<size_t>(i) * size, size);
      values[i] = decode(type, code);
    }
    return SPF_OK;
  });
}

spf_status spf_encode(spf_scalar_type type, const double* values, int64_t count, void* codes) {
  using namespace spf;
  return guarded("encode", [&]() -> spf_status {
    if (spf_status st = check_type("encode", type)) return st;
    if (spf_status st = check_arrays("encode", "values", values, count, "codes", codes)) return st;
    const size_t size = static_cast<size_t>(storage_bytes(type));
    for (int64_t i = 0; i < count; ++i) {
      const uint64_t code = encode(type, values[i]);
      std::memcpy(static_cast<char*>(codes) + static_cast<size_t>(i) * size, &code, size);
    }
    return SPF_OK;
  });
}
}
