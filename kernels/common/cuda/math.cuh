// Fast functions for results that are rounded to 16 bits. Subnormal inputs and results are 0.
#pragma once

#include "spearfish/types.h"

#ifdef SPF_EMULATED
#include "kernels/common/cuda/emulated.hpp"
#endif

namespace spf::cuda {

// log2(e): e^x is fast_exp2(kLog2e * x), and the factor folds into constants.
inline constexpr float kLog2e = 1.44269504088896341f;

// 2^x: relative error below 2^-22; inf from 128 on, 0 below -126.
__device__ __forceinline__ float fast_exp2(float x) {
#ifdef SPF_EMULATED
  return emulated::flush_subnormal(exp2f(emulated::flush_subnormal(x)));
#else
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
#endif
}

// 1 / x within 1 ulp; 0 for |x| > 2^126.
__device__ __forceinline__ float fast_reciprocal(float x) {
#ifdef SPF_EMULATED
  return emulated::flush_subnormal(1.0f / emulated::flush_subnormal(x));
#else
  float y;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
#endif
}

// a + b, clamped to 0..1; NaN is 0.
__device__ __forceinline__ float add_saturated(float a, float b) {
#ifdef SPF_EMULATED
  return __saturatef(a + b);
#else
  float sum;
  asm("add.rn.sat.f32 %0, %1, %2;" : "=f"(sum) : "f"(a), "f"(b));
  return sum;
#endif
}

// f32 uses the CUDA math library; 16-bit types the hardware's exp2 and reciprocal, whose errors (2^-17 and less where a
// result is not negligible) vanish in the rounding that follows.
template <spf_scalar_type T>
__device__ __forceinline__ float sigmoid_times(float v, float slope) { // v * sigmoid(slope * v)
  if constexpr (T == SPF_F32) return v / (1.0f + expf(-slope * v));
  return v * fast_reciprocal(1.0f + fast_exp2(-kLog2e * slope * v));
}

} // namespace spf::cuda
