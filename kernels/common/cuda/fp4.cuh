// e2m1 codes on the device: nearest, ties to even, saturated to 6; NaN is 0. Plain arithmetic, for every target.
#pragma once

#include <cstdint>

namespace spf::cuda {

// Eight values, the first in the low four bits.
//
// The code of v >= 0 is round(min(2v, v + 2, v / 2 + 4, 7)): the grid steps by 1/2 up to 2, by 1 up to 4, by 2 up to 6,
// and each line meets the next where its step changes. Adding 2^23 in the same operation rounds once and leaves the
// code in the low bits; rounding keeps order, so the minimum may come after it.
__device__ __forceinline__ uint32_t narrow_e2m1x8(const float (&v)[8]) {
  constexpr float kMagic = 8388608.0f;                      // 0x4b000000
  uint32_t codes = 0u - (0x4b000000u + (0x4b000000u << 4)); // of the other six nothing is left in 32 bits
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    const float size = fmaxf(fabsf(v[i]), 0.0f); // a NaN goes here
    const float low = __fmaf_rn(size, 2.0f, kMagic), middle = __fadd_rn(size, kMagic + 2.0f);
    const float high = __fmaf_rn(size, 0.5f, kMagic + 4.0f);
    const float code = fminf(fminf(low, middle), fminf(high, kMagic + 7.0f));
    codes += __float_as_uint(code) << (4 * i);
  }
  // The sign of a product that is NaN is 0.
#pragma unroll
  for (int i = 0; i < 8; ++i) codes |= (__float_as_uint(v[i]) & 0x80000000u) >> (28 - 4 * i);
  return codes;
}

} // namespace spf::cuda
