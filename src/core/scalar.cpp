#include "core/scalar.hpp"

#include <bit>
#include <cstring>
#include <string>
#include <type_traits>

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

// The loops of spf_decode and spf_encode. Types that weights and activations have are known to the compiler, which
// makes them several times as fast; kAny is all others, looked up for each element.
constexpr spf_scalar_type kAny = SPF_TYPE_NONE;

template <spf_scalar_type T>
void decode_all(spf_scalar_type any, const char* codes, int64_t count, double* values) {
  const spf_scalar_type type = T == kAny ? any : T;
  const size_t size = static_cast<size_t>(storage_bytes(type));
  for (int64_t i = 0; i < count; ++i) {
    uint64_t code = 0; // x86-64 and AArch64 are little endian: the low bytes come first
    std::memcpy(&code, codes + static_cast<size_t>(i) * size, size);
    if constexpr (T == SPF_F32) {
      const float value = std::bit_cast<float>(static_cast<uint32_t>(code));
      if (value == value) { // a conversion would quiet a NaN
        values[i] = value;
        continue;
      }
    }
    values[i] = decode(type, code);
  }
}

template <spf_scalar_type T>
void encode_all(spf_scalar_type any, const double* values, int64_t count, char* codes) {
  const spf_scalar_type type = T == kAny ? any : T;
  const size_t size = static_cast<size_t>(storage_bytes(type));
  for (int64_t i = 0; i < count; ++i) {
    uint64_t code = 0;
    if (T == SPF_F32 && values[i] == values[i])
      code = std::bit_cast<uint32_t>(static_cast<float>(values[i]));
    else
      code = encode(type, values[i]);
    std::memcpy(codes + static_cast<size_t>(i) * size, &code, size);
  }
}

// body(std::integral_constant<spf_scalar_type, T>), T the type or kAny.
template <class Body>
void with_common_type(spf_scalar_type type, Body&& body) {
  switch (type) {
    case SPF_F32:
      return body(std::integral_constant<spf_scalar_type, SPF_F32>());
    case SPF_F16:
      return body(std::integral_constant<spf_scalar_type, SPF_F16>());
    case SPF_BF16:
      return body(std::integral_constant<spf_scalar_type, SPF_BF16>());
    case SPF_E4M3:
      return body(std::integral_constant<spf_scalar_type, SPF_E4M3>());
    default:
      return body(std::integral_constant<spf_scalar_type, kAny>());
  }
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
    with_common_type(
        type, [&](auto known) { decode_all<known.value>(type, static_cast<const char*>(codes), count, values); });
    return SPF_OK;
  });
}

spf_status spf_encode(spf_scalar_type type, const double* values, int64_t count, void* codes) {
  using namespace spf;
  return guarded("encode", [&]() -> spf_status {
    if (spf_status st = check_type("encode", type)) return st;
    if (spf_status st = check_arrays("encode", "values", values, count, "codes", codes)) return st;
    with_common_type(type,
                     [&](auto known) { encode_all<known.value>(type, values, count, static_cast<char*>(codes)); });
    return SPF_OK;
  });
}
}
