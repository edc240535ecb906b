// e2m1 codes on the device: nearest, ties to even, saturated to 6; NaN is 0. Plain arithmetic, for every target.
#pragma once

#include <cstdint>

#include "kernels/common/cuda/math.cuh"

namespace spf::cuda {

// Codes of x * factor, rounded to f32 before, the first in the low four bits. factor >= 0, and 0 or at least 2^-125.
//
// With h half of a value's magnitude, the code is round(4 min(h, 1) + 2 [h - 1] + [h - 2]), where [] is clamped to
// 0..1: the grid steps by 1/2 up to 2, by 1 up to 4, by 2 up to 6. A clamp is free in an addition. Of the three terms
// those after the one that has a fraction are 0, and those before it whole, so adding them to 2^23, where floats are
// integers, rounds once, to the even code on a tie; and the sum times 16 is where the code of the value before is
// added: four codes in the low 16 bits of a float.
__device__ __forceinline__ uint32_t narrow_e2m1x8(const float (&x)[8], float factor) {
  constexpr float kOne = 8388608.0f; // 2^23
  const float half = factor * 0.5f;
  uint32_t fours[2], signs = 0;
#pragma unroll
  for (int part = 1; part >= 0; --part) {
    float sum = kOne;
#pragma unroll
    for (int i = 3; i >= 0; --i) {
      const float h = __fmul_rn(x[4 * part + i], half); // NaN: positive, and clamped to 0
      if (i < 3) sum = __fmaf_rn(sum, 16.0f, -15 * kOne);
      sum = __fmaf_rn(add_saturated(fabsf(h), 0.0f), 4.0f, sum);
      sum = __fmaf_rn(add_saturated(fabsf(h), -1.0f), 2.0f, sum);
      sum = __fadd_rn(sum, add_saturated(fabsf(h), -2.0f));
      signs = __funnelshift_l(__float_as_uint(h), signs, 4); // with three bits of the exponent
    }
    fours[part] = __float_as_uint(sum);
  }
  return __byte_perm(fours[0], fours[1], 0x5410) | (signs & 0x88888888u);
}

} // namespace spf::cuda
