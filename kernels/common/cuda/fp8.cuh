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

} // namespace spf::cuda
