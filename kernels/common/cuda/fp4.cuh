// e2m1 codes on the device: nearest, ties to even, saturated to 6; NaN is 0. By plain arithmetic, for every target, and
// by the instruction of those that have cvt_fp4.
#pragma once

#include <cstdint>

#include "kernels/common/cuda/math.cuh"
#ifdef SPF_EMULATED
#include "kernels/common/cuda/emulated.hpp"
#endif

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

// The same for targets with cvt_fp4, of any factor >= 0.
__device__ __forceinline__ uint32_t convert_e2m1x8(const float (&x)[8], float factor) {
  float v[8];
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    v[i] = __fmul_rn(x[i], factor);
    if (v[i] != v[i]) v[i] = 0; // the instruction makes 6 of a NaN
  }
#ifdef SPF_EMULATED
  uint32_t codes = 0;
  for (int i = 0; i < 8; ++i) codes |= emulated::convert_e2m1(v[i]) << (4 * i);
  return codes;
#else
  uint32_t codes;
  asm("{\n"
      ".reg .b8 a, b, c, d;\n"
      "cvt.rn.satfinite.e2m1x2.f32 a, %2, %1;\n"
      "cvt.rn.satfinite.e2m1x2.f32 b, %4, %3;\n"
      "cvt.rn.satfinite.e2m1x2.f32 c, %6, %5;\n"
      "cvt.rn.satfinite.e2m1x2.f32 d, %8, %7;\n"
      "mov.b32 %0, {a, b, c, d};\n"
      "}"
      : "=r"(codes)
      : "f"(v[0]), "f"(v[1]), "f"(v[2]), "f"(v[3]), "f"(v[4]), "f"(v[5]), "f"(v[6]), "f"(v[7]));
  return codes;
#endif
}

} // namespace spf::cuda
