// The arithmetic that every implementation of these ops shares, one rounding at a time: f32, no fused operation but
// those written here, nothing flushed to zero. So codes and scales are the same bits on every device. Functions have
// internal linkage, because units for different instruction sets include them.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "kernels/common/rows.hpp"
#include "spearfish/types.h"
#if defined(__CUDACC__) || defined(SPF_EMULATED)
#include "kernels/common/cuda/math.cuh"
#endif

namespace spf::block_quantize {

// How an e8m0 scale follows from the largest magnitude of its block; the values of spf_mx_scale_rule.
enum class MxScaleRule : uint8_t { kFloor, kUp, kNearest };

// And where a rotation precedes; the values of spf_rotated_scale_rule.
enum class RotatedRule : uint8_t { kQuest, kAbsMax };

namespace {
namespace detail {

#ifdef __CUDA_ARCH__
__device__ __forceinline__ float multiply(float a, float b) { return __fmul_rn(a, b); }
__device__ __forceinline__ float add(float a, float b) { return __fadd_rn(a, b); }
__device__ __forceinline__ float fused(float a, float b, float c) { return __fmaf_rn(a, b, c); }
__device__ __forceinline__ float reciprocal(float a) { return __frcp_rn(a); }
// 1 / a for a from 1 to 2^126: what __frcp_rn does where nothing is subnormal, without its branch.
__device__ __forceinline__ float reciprocal_of_moderate(float a) {
  const float near = cuda::fast_reciprocal(a);
  return __fmaf_rn(__fmaf_rn(-a, near, 1.0f), near, near);
}
__device__ __forceinline__ float larger(float a, float b) { return fmaxf(a, b); } // b, where a is NaN
__device__ __forceinline__ uint32_t bits(float a) { return __float_as_uint(a); }
__device__ __forceinline__ float from_bits(uint32_t a) { return __uint_as_float(a); }
#else
SPF_HOST_DEVICE float multiply(float a, float b) { return a * b; }
SPF_HOST_DEVICE float add(float a, float b) { return a + b; }
SPF_HOST_DEVICE float fused(float a, float b, float c) { return fmaf(a, b, c); }
SPF_HOST_DEVICE float reciprocal(float a) { return 1.0f / a; }
SPF_HOST_DEVICE float reciprocal_of_moderate(float a) { return 1.0f / a; }
SPF_HOST_DEVICE float larger(float a, float b) { return a > b ? a : b; }
SPF_HOST_DEVICE uint32_t bits(float a) {
  uint32_t b;
  memcpy(&b, &a, sizeof b);
  return b;
}
SPF_HOST_DEVICE float from_bits(uint32_t a) {
  float b;
  memcpy(&b, &a, sizeof b);
  return b;
}
#endif

} // namespace detail

// --- NVFP4 -------------------------------------------------------------------------------------------------------

// What is rounded to e4m3: 448 at most for a global scale of 448 * 6 / (largest magnitude of the tensor).
SPF_HOST_DEVICE float nvfp4_scale(float largest, float global_scale) {
  return detail::multiply(global_scale, detail::multiply(largest, 1.0f / 6.0f));
}

// What values are multiplied by before they are rounded to e2m1. rounded: the scale's code as a number.
SPF_HOST_DEVICE float nvfp4_factor(float rounded, float inverse_global_scale) {
  return rounded == 0.0f ? 0.0f : detail::reciprocal(detail::multiply(rounded, inverse_global_scale));
}

// --- MX ----------------------------------------------------------------------------------------------------------

// The element types by what the scale rules need: exponent and fraction of the largest number, and the first fraction
// that rounds to the next power of two.
template <spf_scalar_type C>
struct MxElement;
template <>
struct MxElement<SPF_E2M1> { // 1.5 * 2^2
  static constexpr uint32_t kExponent = 2, kFraction = 0x400000, kRoundsUp = 0x600000;
};
template <>
struct MxElement<SPF_E4M3> { // 1.75 * 2^8
  static constexpr uint32_t kExponent = 8, kFraction = 0x600000, kRoundsUp = 0x780000;
};
template <>
struct MxElement<SPF_E5M2> { // 1.75 * 2^15
  static constexpr uint32_t kExponent = 15, kFraction = 0x600000, kRoundsUp = 0x700000;
};

// The e8m0 code; 0 for a block of zeros. largest >= 0, may be infinite.
template <spf_scalar_type C>
SPF_HOST_DEVICE uint32_t mx_scale(float largest, MxScaleRule rule) {
  using Element = MxElement<C>;
  const uint32_t fraction = detail::bits(largest) & 0x7fffffu;
  uint32_t exponent = detail::bits(largest) >> 23;
  if (rule == MxScaleRule::kUp && fraction > Element::kFraction) ++exponent;
  if (rule == MxScaleRule::kNearest && fraction >= Element::kRoundsUp) ++exponent;
  return exponent > Element::kExponent ? exponent - Element::kExponent : 0;
}

// 2^(127 - code): exact, for codes are at most 254 - 2.
SPF_HOST_DEVICE float mx_factor(uint32_t code) { return detail::from_bits((254u - code) << 23); }

// --- rotated MXFP4 -----------------------------------------------------------------------------------------------

// The scale for which a normal distribution of standard deviation 1 loses least on e2m1's grid.
inline constexpr float kQuest = 2.92247856f / 6.0f;

// The e8m0 code of 2^floor(log2(size + 1e-8)); NaN counts as 0.
SPF_HOST_DEVICE uint32_t rotated_scale(float size) {
  const uint32_t code = detail::bits(detail::add(size == size ? size : 0.0f, 1e-8f)) >> 23;
  return code < 254 ? code : 254;
}

// --- SiLU --------------------------------------------------------------------------------------------------------

// x / (1 + e^-x) within 3 ulp; -0 for very negative x, NaN for -infinity. kNear: x is -87 or more, or NaN; the same
// bits in fewer instructions.
template <bool kNear = false>
SPF_HOST_DEVICE float silu(float x) {
  using namespace detail;
  const float t = larger(-x, -87.0f); // below, e^t + 1 is 1
  const float magic = 12582912.0f;    // 1.5 * 2^23: adding it rounds to an integer in the low bits
  const float shifted = fused(t, 1.44269504f, magic);
  const float n = add(shifted, -magic);
  const float r = fused(n, 2.12194440e-4f, fused(n, -0.693359375f, t));
  float p = 1.0f / 720;
  p = fused(p, r, 1.0f / 120);
  p = fused(p, r, 1.0f / 24);
  p = fused(p, r, 1.0f / 6);
  p = fused(p, r, 0.5f);
  p = fused(p, r, 1.0f);
  p = fused(p, r, 1.0f);
  const float e = from_bits(bits(p) + (bits(shifted) << 23)); // the magic number's own bits leave at the top
  if (kNear) return multiply(x, reciprocal_of_moderate(add(1.0f, e)));
  return multiply(x, t > 88.0f ? 0.0f : reciprocal(add(1.0f, e)));
}

// --- scales in tiles of 128 rows x 4 groups ------------------------------------------------------------------------

// Byte of the scale of (row, group) where a row has 4 * tiles groups, padding included. Index holds them all.
template <class Index = int64_t>
SPF_HOST_DEVICE Index swizzled_scale(Index row, Index group, Index tiles) {
  return (row / 128 * tiles + group / 4) * 512 + row % 32 * 16 + row / 32 % 4 * 4 + group % 4;
}

} // namespace
} // namespace spf::block_quantize
