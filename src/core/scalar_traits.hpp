// Compile-time access to elements of a scalar type in memory, for loops over rows.
#pragma once

#include <cstdint>
#include <cstring>

#include "core/scalar.hpp"

namespace spf {

// The storage type of one unpacked code.
template <spf_scalar_type T>
struct Storage {
  using type = uint8_t;
};
template <>
struct Storage<SPF_F32> {
  using type = uint32_t;
};
template <>
struct Storage<SPF_F16> {
  using type = uint16_t;
};
template <>
struct Storage<SPF_BF16> {
  using type = uint16_t;
};
template <>
struct Storage<SPF_I32> {
  using type = int32_t;
};
template <>
struct Storage<SPF_I64> {
  using type = int64_t;
};
template <spf_scalar_type T>
using storage_t = typename Storage<T>::type;

// True for types whose codes lie two a byte, the even index in the low half (SPF_PACKING_LOW_FIRST).
template <spf_scalar_type T>
inline constexpr bool kIsNibble = scalar_info(T).bits == 4;

// Code -> f32. Exact for every type but i32 and i64 beyond 2^24 (nearest even).
template <spf_scalar_type T>
constexpr float to_f32(storage_t<T> code) {
  if constexpr (T == SPF_F32)
    return std::bit_cast<float>(code);
  else if constexpr (T == SPF_F16)
    return f16_to_f32(code);
  else if constexpr (T == SPF_BF16)
    return bf16_to_f32(code);
  else if constexpr (T == SPF_E4M3)
    return e4m3_to_f32(code);
  else if constexpr (T == SPF_E5M2)
    return e5m2_to_f32(code);
  else if constexpr (T == SPF_E8M0)
    return e8m0_to_f32(code);
  else if constexpr (T == SPF_E2M1)
    return e2m1_to_f32(code);
  else if constexpr (T == SPF_I32 || T == SPF_I64)
    return static_cast<float>(code);
  else
    return static_cast<float>(detail::decode_integer(scalar_info(T), code));
}

// f32 -> code, rounded and saturated as encode() does.
template <spf_scalar_type T>
constexpr storage_t<T> from_f32(float value) {
  if constexpr (T == SPF_F32)
    return std::bit_cast<uint32_t>(value);
  else if constexpr (T == SPF_F16)
    return f32_to_f16(value);
  else if constexpr (T == SPF_BF16)
    return f32_to_bf16(value);
  else if constexpr (scalar_info(T).is_float())
    return static_cast<uint8_t>(detail::narrow<float>(scalar_info(T), value));
  else
    return static_cast<storage_t<T>>(detail::encode_integer(scalar_info(T), static_cast<double>(value)));
}

// Element i of an array of T. Needs no alignment. 4-bit types are read two a byte, low half first.
template <spf_scalar_type T>
inline float load(const void* data, int64_t i) {
  if constexpr (kIsNibble<T>) {
    const uint8_t byte = static_cast<const uint8_t*>(data)[i >> 1];
    return to_f32<T>(static_cast<uint8_t>((byte >> (4 * (i & 1))) & 15));
  } else {
    storage_t<T> code;
    std::memcpy(&code, static_cast<const char*>(data) + i * static_cast<int64_t>(sizeof(code)), sizeof(code));
    return to_f32<T>(code);
  }
}

// Writes element i. A 4-bit store leaves the other half of its byte as it is.
template <spf_scalar_type T>
inline void store(void* data, int64_t i, float value) {
  const storage_t<T> code = from_f32<T>(value);
  if constexpr (kIsNibble<T>) {
    uint8_t& byte = static_cast<uint8_t*>(data)[i >> 1];
    const int shift = 4 * static_cast<int>(i & 1);
    byte = static_cast<uint8_t>((byte & ~(15 << shift)) | (code << shift));
  } else {
    std::memcpy(static_cast<char*>(data) + i * static_cast<int64_t>(sizeof(code)), &code, sizeof(code));
  }
}

} // namespace spf
