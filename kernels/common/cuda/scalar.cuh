// Scalars on the device: 16-byte chunks of f32, f16 or bf16, their values in f32, and single roundings back.
//
// Nothing here needs a feature: bf16 conversions are shifts one way, and the toolkit's own sequence the other way on
// targets without the instruction (7.5).
#pragma once

#include <cstdint>

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "spearfish/types.h"

namespace spf::cuda {

template <spf_scalar_type T>
struct Scalar;

template <>
struct Scalar<SPF_F32> {
  using type = float;
  static __device__ __forceinline__ float widen(float v) { return v; }
  static __device__ __forceinline__ float narrow(float v) { return v; }
};

template <>
struct Scalar<SPF_F16> {
  using type = __half;
  static __device__ __forceinline__ float widen(__half v) { return __half2float(v); }
  static __device__ __forceinline__ __half narrow(float v) { return __float2half_rn(v); }
  // Two values in one 32-bit word, the lower index in the low half.
  using pair = __half2;
  static __device__ __forceinline__ float2 widen2(uint32_t word) { return __half22float2(as_pair(word)); }
  // The same where it is written: never moved in front of the branch that decides whether it is needed.
  static __device__ __forceinline__ float2 widen2_here(uint32_t word) {
#ifdef SPF_EMULATED
    return widen2(word);
#else
    float2 v;
    asm volatile("{\n.reg .b16 low, high;\nmov.b32 {low, high}, %2;\ncvt.f32.f16 %0, low;\ncvt.f32.f16 %1, high;\n}"
                 : "=f"(v.x), "=f"(v.y)
                 : "r"(word));
    return v;
#endif
  }
  static __device__ __forceinline__ uint32_t narrow2(float low, float high) {
    return as_word(__floats2half2_rn(low, high));
  }
  static __device__ __forceinline__ pair as_pair(uint32_t word) { return *reinterpret_cast<const pair*>(&word); }
  static __device__ __forceinline__ uint32_t as_word(pair v) { return *reinterpret_cast<const uint32_t*>(&v); }
};

template <>
struct Scalar<SPF_BF16> {
  using type = __nv_bfloat16;
  static __device__ __forceinline__ float widen(__nv_bfloat16 v) { return __bfloat162float(v); }
  static __device__ __forceinline__ __nv_bfloat16 narrow(float v) { return __float2bfloat16_rn(v); }
  using pair = __nv_bfloat162;
  static __device__ __forceinline__ float2 widen2(uint32_t word) {
    return make_float2(__uint_as_float(word << 16), __uint_as_float(word & 0xffff0000u));
  }
  static __device__ __forceinline__ uint32_t narrow2(float low, float high) {
    return as_word(__floats2bfloat162_rn(low, high));
  }
  static __device__ __forceinline__ pair as_pair(uint32_t word) { return *reinterpret_cast<const pair*>(&word); }
  static __device__ __forceinline__ uint32_t as_word(pair v) { return *reinterpret_cast<const uint32_t*>(&v); }
};

template <spf_scalar_type T>
using scalar_t = typename Scalar<T>::type;

// Element i of an array of f32, f16 or bf16, for types that no instance fixes.
__device__ __forceinline__ float load_any(const void* from, int64_t i, spf_scalar_type type) {
  if (type == SPF_F32) return static_cast<const float*>(from)[i];
  if (type == SPF_F16) return Scalar<SPF_F16>::widen(static_cast<const __half*>(from)[i]);
  return Scalar<SPF_BF16>::widen(static_cast<const __nv_bfloat16*>(from)[i]);
}

// Elements of a 16-byte chunk.
template <spf_scalar_type T>
inline constexpr int kChunkElements = 16 / static_cast<int>(sizeof(scalar_t<T>));

template <spf_scalar_type T>
__device__ __forceinline__ float round_to(float value) {
  return Scalar<T>::widen(Scalar<T>::narrow(value));
}

// Sixteen bytes as f32 values; exact.
template <spf_scalar_type T>
__device__ __forceinline__ void unpack(const uint4& chunk, float (&values)[kChunkElements<T>]) {
  const uint32_t words[4] = {chunk.x, chunk.y, chunk.z, chunk.w};
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    if constexpr (T == SPF_F32) {
      values[i] = __uint_as_float(words[i]);
    } else {
      const float2 pair = Scalar<T>::widen2(words[i]);
      values[2 * i] = pair.x;
      values[2 * i + 1] = pair.y;
    }
  }
}

// Rounds each value once.
template <spf_scalar_type T>
__device__ __forceinline__ uint4 pack(const float (&values)[kChunkElements<T>]) {
  uint32_t words[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    if constexpr (T == SPF_F32)
      words[i] = __float_as_uint(values[i]);
    else
      words[i] = Scalar<T>::narrow2(values[2 * i], values[2 * i + 1]);
  }
  return make_uint4(words[0], words[1], words[2], words[3]);
}

// Makes the compiler forget that it has unpacked this chunk, so that it holds four words across a barrier and not eight
// values.
__device__ __forceinline__ void stay_packed(uint4& chunk) {
#ifdef SPF_EMULATED
  (void)chunk;
#else
  asm volatile("" : "+r"(chunk.x), "+r"(chunk.y), "+r"(chunk.z), "+r"(chunk.w));
#endif
}

// Makes the compiler hold a value instead of finding it anew where it is used.
__device__ __forceinline__ void keep_in_register(uint32_t& value) {
#ifdef SPF_EMULATED
  (void)value;
#else
  asm volatile("" : "+r"(value));
#endif
}

// values[i] = round(values[i]), pairwise.
template <spf_scalar_type T>
__device__ __forceinline__ void round_all(float (&values)[kChunkElements<T>]) {
  if constexpr (T != SPF_F32) unpack<T>(pack<T>(values), values);
}

// round(a + b) and round(a * b) by element. 16-bit types in pairs: one instruction for what takes seven by way of f32,
// with the same bits, because f32 has at least twice their digits and two more. _rn: never contracted.
template <spf_scalar_type T>
__device__ __forceinline__ uint4 add_chunks(const uint4& a, const uint4& b) {
  const auto add = [](uint32_t x, uint32_t y) {
    if constexpr (T == SPF_F32)
      return __float_as_uint(__fadd_rn(__uint_as_float(x), __uint_as_float(y)));
    else
      return Scalar<T>::as_word(__hadd2_rn(Scalar<T>::as_pair(x), Scalar<T>::as_pair(y)));
  };
  return make_uint4(add(a.x, b.x), add(a.y, b.y), add(a.z, b.z), add(a.w, b.w));
}

template <spf_scalar_type T>
__device__ __forceinline__ uint4 multiply_chunks(const uint4& a, const uint4& b) {
  const auto multiply = [](uint32_t x, uint32_t y) {
    if constexpr (T == SPF_F32)
      return __float_as_uint(__fmul_rn(__uint_as_float(x), __uint_as_float(y)));
    else
      return Scalar<T>::as_word(__hmul2_rn(Scalar<T>::as_pair(x), Scalar<T>::as_pair(y)));
  };
  return make_uint4(multiply(a.x, b.x), multiply(a.y, b.y), multiply(a.z, b.z), multiply(a.w, b.w));
}

// A chunk whose every element is one (1.0): what a missing weight multiplies by.
template <spf_scalar_type T>
__device__ __forceinline__ uint4 chunk_of_ones() {
  constexpr uint32_t word = T == SPF_F32 ? 0x3f800000u : T == SPF_F16 ? 0x3c003c00u : 0x3f803f80u;
  return make_uint4(word, word, word, word);
}

} // namespace spf::cuda
