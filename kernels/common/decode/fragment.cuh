// One packed word of the Marlin order -> one 16x16 A fragment of scaled weights, two rows (output channels) a lane.
//
//   word of lane L: nibbles 0, 4 = (row g, k t..t+1), 1, 5 = (row g, k t+8..), 2, 6 = (row g+8, k t..), 3, 7 the rest
//
// bf16: bits 0 to 7 of a bf16 are linear: the number is bits * 2^-133, subnormal or in the first binade. So a masked
// nibble is a number without any conversion, in either half of a byte, and one fused multiply-add with
// factor = scale * 2^(133 - E) and offset = -8 * scale * 2^-E yields (code - 8) * scale * 2^-E, rounded once. E = 48
// keeps factor and offset in range for scales from 2^-75 to 2^42; the epilogue multiplies by 2^E, which is exact.
// f16 has no such room: 1024 + code (1024 + 16 code), the constant off exactly, then one rounding by the scale.
#pragma once

#include <cstdint>

#include "spearfish/types.h"

namespace spf::cuda {

template <spf_scalar_type T>
struct Pair; // arithmetic on two values in a word

template <>
struct Pair<SPF_BF16> {
  static __device__ __forceinline__ uint32_t multiply(uint32_t a, uint32_t b) {
    uint32_t r;
    asm("mul.rn.bf16x2 %0, %1, %2;" : "=r"(r) : "r"(a), "r"(b));
    return r;
  }
  static __device__ __forceinline__ uint32_t multiply_add(uint32_t a, uint32_t b, uint32_t c) {
    uint32_t r;
    asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(r) : "r"(a), "r"(b), "r"(c));
    return r;
  }
};

template <>
struct Pair<SPF_F16> {
  static __device__ __forceinline__ uint32_t subtract(uint32_t a, uint32_t b) {
    uint32_t r;
    asm("sub.rn.f16x2 %0, %1, %2;" : "=r"(r) : "r"(a), "r"(b));
    return r;
  }
  static __device__ __forceinline__ uint32_t multiply(uint32_t a, uint32_t b) {
    uint32_t r;
    asm("mul.rn.f16x2 %0, %1, %2;" : "=r"(r) : "r"(a), "r"(b));
    return r;
  }
  static __device__ __forceinline__ uint32_t multiply_add(uint32_t a, uint32_t b, uint32_t c) {
    uint32_t r;
    asm("fma.rn.f16x2 %0, %1, %2, %3;" : "=r"(r) : "r"(a), "r"(b), "r"(c));
    return r;
  }
};

__device__ __forceinline__ uint32_t low_twice(uint32_t pair) { return __byte_perm(pair, pair, 0x1010); }
__device__ __forceinline__ uint32_t high_twice(uint32_t pair) { return __byte_perm(pair, pair, 0x3232); }

// (word & kMask) | kBits
template <uint32_t kMask, uint32_t kBits>
__device__ __forceinline__ uint32_t pick(uint32_t word) {
  uint32_t r;
  asm("lop3.b32 %0, %1, %2, %3, 0xea;" : "=r"(r) : "r"(word), "n"(kMask), "n"(kBits));
  return r;
}

// u4b8. kScaled: multiply by scales, given as (row g, row g+8); else the scale is 1.
template <spf_scalar_type T, bool kScaled>
struct U4b8Fragment;

template <bool kScaled>
struct U4b8Fragment<SPF_BF16, kScaled> {
  static constexpr float kUnit = 0x1p48f; // what sums have to be multiplied by
  uint32_t factor[2], factor16[2], offset[2];

  __device__ __forceinline__ void scale(uint32_t scales) {
    using P = Pair<SPF_BF16>;
    constexpr uint32_t k2p85 = 0x6a006a00u, k2p81 = 0x68006800u, kMinus2m45 = 0xa900a900u;
    if constexpr (!kScaled) {
      factor[0] = factor[1] = k2p85;
      factor16[0] = factor16[1] = k2p81;
      offset[0] = offset[1] = kMinus2m45;
    } else {
      const uint32_t rows[2] = {low_twice(scales), high_twice(scales)};
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        factor[i] = P::multiply(rows[i], k2p85);
        factor16[i] = P::multiply(rows[i], k2p81);
        offset[i] = P::multiply(rows[i], kMinus2m45);
      }
    }
  }
  __device__ __forceinline__ void decode(uint32_t (&a)[4], uint32_t word) const {
    using P = Pair<SPF_BF16>;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const uint32_t w = i == 0 ? word : word >> 8;
      a[i] = P::multiply_add(w & 0x000f000fu, factor[i], offset[i]);
      a[2 + i] = P::multiply_add(w & 0x00f000f0u, factor16[i], offset[i]);
    }
  }
};

template <bool kScaled>
struct U4b8Fragment<SPF_F16, kScaled> {
  static constexpr float kUnit = 1.0f;
  uint32_t factor[2];

  __device__ __forceinline__ void scale(uint32_t scales) {
    factor[0] = low_twice(scales);
    factor[1] = high_twice(scales);
  }
  __device__ __forceinline__ void decode(uint32_t (&a)[4], uint32_t word) const {
    using P = Pair<SPF_F16>;
    constexpr uint32_t k1032 = 0x64086408u, kSixteenth = 0x2c002c00u, kMinus72 = 0xd480d480u;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const uint32_t w = i == 0 ? word : word >> 8;
      a[i] = P::subtract(pick<0x000f000fu, 0x64006400u>(w), k1032);
      a[2 + i] = P::multiply_add(pick<0x00f000f0u, 0x64006400u>(w), kSixteenth, kMinus72);
      if constexpr (kScaled) {
        a[i] = P::multiply(a[i], factor[i]);
        a[2 + i] = P::multiply(a[2 + i], factor[i]);
      }
    }
  }
};

} // namespace spf::cuda
