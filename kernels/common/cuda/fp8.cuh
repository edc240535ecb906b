// 8-bit floating-point codes on the device, two at a time: one instruction from 8.9 on, the toolkit's own sequence of
// integer operations before.
#pragma once

#include <cstdint>

#include <cuda_fp16.h>
#include <cuda_fp8.h>

#include "spearfish/types.h"

namespace spf::cuda {

template <spf_scalar_type C>
inline constexpr __nv_fp8_interpretation_t kFp8Kind = C == SPF_E4M3 ? __NV_E4M3 : __NV_E5M2;

// Nearest codes, ties to even, saturated to the largest finite one; NaN stays NaN. The first in the low byte.
template <spf_scalar_type C>
__device__ __forceinline__ uint32_t narrow_fp8x2(float low, float high) {
  return __nv_cvt_float2_to_fp8x2(make_float2(low, high), __NV_SATFINITE, kFp8Kind<C>);
}

// Exact.
template <spf_scalar_type C>
__device__ __forceinline__ float2 widen_fp8x2(uint32_t codes) {
  const __half2_raw pair = __nv_cvt_fp8x2_to_halfraw2(static_cast<__nv_fp8x2_storage_t>(codes), kFp8Kind<C>);
  return __half22float2(__half2(pair));
}

// Two fp8 codes in the low half of a word as two f16; exact.
template <spf_scalar_type C>
__device__ __forceinline__ uint32_t widen_fp8(uint32_t codes) {
  if constexpr (C == SPF_E5M2) return __byte_perm(codes, 0, 0x1404); // an f16 without its last eight bits
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 890 && !defined(SPF_EMULATED)
  uint32_t out;
  asm("cvt.rn.f16x2.e4m3x2 %0, %1;" : "=r"(out) : "h"(static_cast<uint16_t>(codes)));
  return out;
#else
  // With the exponent field one place lower, the code is an f16 of 2^-8 times the value.
  const uint32_t wide = __byte_perm(codes, 0, 0x1404);
  const uint32_t bits = (wide & 0x80008000u) | ((wide & 0x7f007f00u) >> 1);
  __half2 value = __hmul2(*reinterpret_cast<const __half2*>(&bits), __floats2half2_rn(256.0f, 256.0f));
  uint32_t out = *reinterpret_cast<const uint32_t*>(&value);
  if ((codes & 0x7fu) == 0x7fu) out |= 0x7fffu; // NaN
  if ((codes & 0x7f00u) == 0x7f00u) out |= 0x7fff0000u;
  return out;
#endif
}

} // namespace spf::cuda
