// The arithmetic of scales for 8-bit codes, in f32 with every step rounded once, so that all implementations have the
// same bits. Everything has internal linkage, because units for different instruction sets include it.
#pragma once

#include <cstdint>

#include "kernels/common/rows.hpp"

namespace spf::quantize {
namespace {

constexpr float kFp8Max = 448.0f, kInt8Max = 127.0f;  // the largest codes
constexpr float kLargest = 3.402823466e38f;           // infinities count as this
constexpr float kFp8Floor = 1.0f / (448.0f * 512.0f); // the least scale of a token: that of the least e4m3 number
constexpr float kInt8Floor = 0x1p-23f;                // where a norm precedes
constexpr float kWidest = 0x1p30f;                    // zero points and what they are added to stay inside

SPF_HOST_DEVICE float least(float a, float b) { return a < b ? a : b; }
SPF_HOST_DEVICE float most(float a, float b) { return a > b ? a : b; }

// 1 / scale; 0 for a scale of 0 or one so small that there is no such number.
SPF_HOST_DEVICE float inverse_of(float scale, float of = 1.0f) {
  const float inverse = of / scale;
#ifdef __CUDA_ARCH__
  return inverse <= kLargest ? inverse : 0.0f;
#else // the comparison makes GCC 13 divide in pairs and lose the scale that stands beside its inverse
  return __builtin_isfinite(inverse) ? inverse : 0.0f;
#endif
}

constexpr float kLeastPower = 1e-10f; // scales that become powers of two are at least this before

// The exponent of a power of two as e8m0 has it.
SPF_HOST_DEVICE uint8_t exponent_of(float power) {
  union {
    float number;
    uint32_t bits;
  } v = {power};
  return static_cast<uint8_t>(v.bits >> 23);
}

// The power of two at or above a scale > 0.
SPF_HOST_DEVICE float power_of_two_above(float scale) {
  union {
    float number;
    uint32_t bits;
  } v = {scale};
  // Subnormal scales have no implied digit; they become the least normal number.
  v.bits = v.bits < 0x00800000u ? 0x00800000u : (v.bits + 0x007fffffu) & 0xff800000u;
  return v.number;
}

// f32 products that are rounded before anything is added, and sums that are rounded once.
#ifdef __CUDA_ARCH__
SPF_HOST_DEVICE float rounded_product(float a, float b) { return __fmul_rn(a, b); }
SPF_HOST_DEVICE float fused(float a, float b, float c) { return __fmaf_rn(a, b, c); }
#else
SPF_HOST_DEVICE float rounded_product(float a, float b) { return a * b; }
SPF_HOST_DEVICE float fused(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
#endif

// x / by for many x, correctly rounded wherever that decides a code: for scales from 2^-90 up to 2^126. A quotient by
// way of the rounded reciprocal is off by up to two units; the first correction brings it within one, and the second
// rounds it right (Markstein, IBM J. Res. Dev. 34, 1990). Five instructions, half of what a division takes on a GPU.
class Division {
 public:
  SPF_HOST_DEVICE explicit Division(float by) : by_(by), inverse_(1.0f / by), minus_inverse_(-1.0f / by) {}

  SPF_HOST_DEVICE float operator()(float x) const {
    const float rough = rounded_product(x, inverse_);
    // What is too much, times the negative reciprocal: a zero keeps its sign, as it would not if the negation stood
    // between the two, for compilers pull that inside.
    const float near = fused(fused(rough, by_, -x), minus_inverse_, rough);
    const float right = fused(fused(near, by_, -x), minus_inverse_, near);
    return rough < 0x1p100f && rough > -0x1p100f ? right : rough; // infinities, NaNs, and what saturates anyway
  }

 private:
  float by_, inverse_, minus_inverse_;
};

// x / by for x of 16 bits in two instructions: x * (1 / by) with the reciprocal as a sum, high + low. The product with
// `high` is exact inside the fused operation, so what is rounded last is the quotient within 2^-45 of itself, and that
// lies on the quotient's side of every number of up to nine significant bits: where codes of e4m3, e5m2 and s8 round.
// (Tried for all significands of 8 and 11 bits over all of 24; longer x need Division.)
//
// `high` is below 1 / by, so that `low` is above 0: infinities, and products that become infinite, keep their sign.
class Quotient {
 public:
  // rough: 1 / by within two units.
  SPF_HOST_DEVICE Quotient(float by, float rough) {
    union {
      float number;
      uint32_t bits;
    } high = {rough};
    high.bits -= 2;
    high_ = high.number;
    const float rest = fused(-by, high_, 1.0f);
    low_ = rounded_product(high_, fused(rest, rest + 0x1p-22f, rest)); // and up, by less than two of its units
  }

  // by > 0 for which nothing that decides a code is subnormal or infinite.
  SPF_HOST_DEVICE static bool covers(float by) { return by >= 0x1p-90f && by <= 0x1p90f; }

  SPF_HOST_DEVICE float operator()(float x) const { return fused(x, high_, rounded_product(x, low_)); }

 private:
  float high_, low_;
};

// v / 448 and v / 127, rounded once, for v of 2^-80 and more: the same with constants (tried for all significands).
SPF_HOST_DEVICE float over_fp8_max(float v) { return fused(v, 0x1.24924ap-9f, rounded_product(v, -0x1.b6db6ep-34f)); }
SPF_HOST_DEVICE float over_int8_max(float v) { return fused(v, 0x1.020408p-7f, rounded_product(v, 0x1.020408p-35f)); }

// The scale of numbers up to amax, which counts as `bound` where it is larger, for codes up to 448 or 127; at least
// `floor`, which is 2^-80 or more.
SPF_HOST_DEVICE float scale_of(float amax, float bound, float code_max, float floor) {
  const float most_of_them = least(least(amax, bound), kLargest);
  return most(code_max == kFp8Max ? over_fp8_max(most_of_them) : over_int8_max(most_of_them), floor);
}

// What turns a number into an 8-bit integer: round(x * factor) + zero.
struct IntegerStep {
  float scale = 0;
  float factor = 0;
  int32_t zero = 0;
};

SPF_HOST_DEVICE IntegerStep symmetric_step(float amax) {
  amax = least(amax, kLargest);
  return {amax / kInt8Max, inverse_of(amax, kInt8Max), 0};
}

// Numbers from low to high to codes from -128 to 127; symmetric where they are (almost) all the same.
SPF_HOST_DEVICE IntegerStep asymmetric_step(float low, float high) {
  if (low > high) low = high = 0; // there were no numbers
  const float scale = least(high - low, kLargest) / 255.0f, factor = inverse_of(scale);
  if (factor == 0) return symmetric_step(most(-low, high));
  const float zero = least(most(-128.0f - low / scale, -kWidest), kWidest);
#ifdef __CUDA_ARCH__
  return {scale, factor, __float2int_rn(zero)};
#else
  return {scale, factor, static_cast<int32_t>(__builtin_nearbyintf(zero))};
#endif
}

} // namespace
} // namespace spf::quantize
