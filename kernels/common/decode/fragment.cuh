// Packed words of the Marlin order -> one 16x16 A fragment of scaled weights in 16 bits, two rows (output channels) a
// lane: a0 = (row g, k t..t+1), a1 = (row g+8, k t..), a2 = (row g, k t+8..), a3 = (row g+8, k t+8..).
//
//   4 bit   one word: nibbles 0, 4 = a0; 1, 5 = a2; 2, 6 = a1; 3, 7 = a3
//   8 bit   two words, rows g and g+8: bytes 0, 2 = a0 (a1); 1, 3 = a2 (a3)
//
// Every decoder yields weight / kUnit, rounded once; the epilogue multiplies sums by kUnit, a power of two.
//
// bf16 integers: bits 0 to 7 of a bf16 are linear, the number is bits * 2^-133, subnormal or in the first binade. So a
// masked nibble or byte is a number without any conversion, and one fused multiply-add with factor = scale * 2^(133-48)
// and offset = -middle * scale * 2^-48 yields (code - middle) * scale * 2^-48. That keeps factor and offset in range
// for scales from 2^-70 to 2^42. f16 has no such room: 1024 + code, the constant off exactly, then the scale.
//
// e2m1 and e4m3 become 16-bit numbers by moving sign and magnitude, which leaves the exponent off by the difference of
// the biases; the scale's factor makes up for it.
#pragma once

#include <cstdint>

#include "kernels/common/cuda/scalar.cuh"
#include "spearfish/types.h"
#ifdef SPF_EMULATED
#include "kernels/common/cuda/emulated.hpp"
#endif

namespace spf::cuda {

// Arithmetic on two values in a word, one rounding each. Before 9.0 bf16 has nothing but the fused multiply-add, which
// gives the same bits.
#ifdef SPF_EMULATED
template <spf_scalar_type T>
struct Pair {
  static uint32_t subtract(uint32_t a, uint32_t b) {
    return emulated::by_pair<T>([](double x, double y, double) { return x - y; }, a, b);
  }
  static uint32_t multiply(uint32_t a, uint32_t b) {
    return emulated::by_pair<T>([](double x, double y, double) { return x * y; }, a, b);
  }
  static uint32_t multiply_add(uint32_t a, uint32_t b, uint32_t c) {
    return emulated::by_pair<T>([](double x, double y, double z) { return std::fma(x, y, z); }, a, b, c);
  }
};
#else
template <spf_scalar_type T>
struct Pair;

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

template <>
struct Pair<SPF_BF16> {
  static __device__ __forceinline__ uint32_t multiply_add(uint32_t a, uint32_t b, uint32_t c) {
    uint32_t r;
    asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(r) : "r"(a), "r"(b), "r"(c));
    return r;
  }
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 900
  static __device__ __forceinline__ uint32_t subtract(uint32_t a, uint32_t b) {
    return multiply_add(b, 0xbf80bf80u, a); // a - 1 * b
  }
  static __device__ __forceinline__ uint32_t multiply(uint32_t a, uint32_t b) {
    return multiply_add(a, b, 0x80008000u); // -0 leaves the sign of a zero
  }
#else
  static __device__ __forceinline__ uint32_t subtract(uint32_t a, uint32_t b) {
    uint32_t r;
    asm("sub.rn.bf16x2 %0, %1, %2;" : "=r"(r) : "r"(a), "r"(b));
    return r;
  }
  static __device__ __forceinline__ uint32_t multiply(uint32_t a, uint32_t b) {
    uint32_t r;
    asm("mul.rn.bf16x2 %0, %1, %2;" : "=r"(r) : "r"(a), "r"(b));
    return r;
  }
#endif
};
#endif

// One half of a pair, twice, written so that the instruction that takes it reads the pair itself.
template <int kHalf>
__device__ __forceinline__ uint32_t half_twice(uint32_t pair) {
#ifdef SPF_EMULATED
  return (pair >> (16 * kHalf) & 0xffffu) * 0x10001u;
#else
  uint32_t twice;
  if constexpr (kHalf == 0)
    asm("{\n.reg .b16 low, high;\nmov.b32 {low, high}, %1;\nmov.b32 %0, {low, low};\n}" : "=r"(twice) : "r"(pair));
  else
    asm("{\n.reg .b16 low, high;\nmov.b32 {low, high}, %1;\nmov.b32 %0, {high, high};\n}" : "=r"(twice) : "r"(pair));
  return twice;
#endif
}
__device__ __forceinline__ uint32_t low_twice(uint32_t pair) { return __byte_perm(pair, pair, 0x1010); }
__device__ __forceinline__ uint32_t high_twice(uint32_t pair) { return __byte_perm(pair, pair, 0x3232); }

// (word & kMask) | kBits
template <uint32_t kMask, uint32_t kBits>
__device__ __forceinline__ uint32_t pick(uint32_t word) {
#ifdef SPF_EMULATED
  return (word & kMask) | kBits;
#else
  uint32_t r;
  asm("lop3.b32 %0, %1, %2, %3, 0xea;" : "=r"(r) : "r"(word), "n"(kMask), "n"(kBits));
  return r;
#endif
}
// (sign & 0x80008000) | (magnitude & kMask)
template <uint32_t kMask>
__device__ __forceinline__ uint32_t signed_magnitude(uint32_t sign, uint32_t magnitude) {
#ifdef SPF_EMULATED
  return (sign & 0x80008000u) | (magnitude & kMask);
#else
  uint32_t r;
  asm("lop3.b32 %0, %1, 0x80008000, %2, 0xea;" : "=r"(r) : "r"(sign), "r"(magnitude & kMask));
  return r;
#endif
}

// What belongs to a lane's two rows for some k16 rows: scales as stored (a pair of 16-bit ones, of bytes in the low
// halves' low bytes, or two f32), zero points as a pair of integers.
struct RowFacts {
  uint32_t scale[2];
  uint32_t zero;
};

// kGrouped: multiply by scales; else the scale is 1. u4 and u8 have zero points. kNvfp4: e2m1 with NVFP4's scale bytes,
// not e8m0.
template <spf_scalar_type T, spf_scalar_type kWeight, bool kGrouped, bool kNvfp4>
struct WeightFragment {
  using P = Pair<T>;
  static constexpr bool kBf16 = T == SPF_BF16, kInteger = kWeight != SPF_E4M3 && kWeight != SPF_E2M1;
  static constexpr bool kFourBits = kWeight == SPF_U4B8 || kWeight == SPF_U4 || kWeight == SPF_E2M1;
  static constexpr bool kZeros = kWeight == SPF_U4 || kWeight == SPF_U8;
  static constexpr int kWords = kFourBits ? 1 : 2;
  // Bytes of a stored group scale.
  static constexpr int kScaleBytes = kWeight == SPF_E2M1 ? 1 : kWeight == SPF_E4M3 ? 4 : 2;
  // f16: e4m3 without its scale is off by 2^-8. e2m1 is off by 2^-14, and its scale bytes stand for 2^7 times the
  // scale.
  static constexpr float kUnit = kBf16                              ? 0x1p48f
                                 : kWeight == SPF_E2M1              ? 0x1p7f
                                 : kWeight == SPF_E4M3 && !kGrouped ? 0x1p8f
                                                                    : 1.0f;

  uint32_t factor[2], factor16[2], offset[2], zero[2]; // of rows g and g+8, twice in a word

  // f16_scales: integer weights with bf16 activations and f16 scales, which are rounded to bf16.
  __device__ __forceinline__ void prepare(const RowFacts& facts, bool f16_scales) {
    if constexpr (kInteger)
      prepare_integer(facts, f16_scales);
    else
      prepare_float(facts);
  }

  __device__ __forceinline__ void decode(uint32_t (&a)[4], const uint32_t (&words)[kWords]) const {
    if constexpr (kWeight == SPF_E2M1)
      decode_e2m1(a, words[0]);
    else if constexpr (kWeight == SPF_E4M3)
      decode_e4m3(a, words);
    else
      decode_integer(a, words);
  }

 private:
  __device__ __forceinline__ void prepare_integer(const RowFacts& facts, bool f16_scales) {
    uint32_t pair = facts.scale[0];
    if constexpr (kBf16) {
      // 2^85, 2^81; -8 * 2^-48 or -128 * 2^-48
      constexpr uint32_t k2p85 = 0x6a006a00u, k2p81 = 0x68006800u;
      constexpr uint32_t kMinusMiddle = kFourBits ? 0xa900a900u : 0xab00ab00u;
      if constexpr (!kGrouped) {
        factor[0] = factor[1] = k2p85;
        factor16[0] = factor16[1] = k2p81;
        offset[0] = offset[1] = kMinusMiddle;
      } else {
        if (f16_scales) {
          const float2 wide = Scalar<SPF_F16>::widen2(pair);
          pair = Scalar<SPF_BF16>::narrow2(wide.x, wide.y);
        }
        const uint32_t rows[2] = {low_twice(pair), high_twice(pair)};
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          factor[i] = P::multiply(rows[i], k2p85);
          factor16[i] = P::multiply(rows[i], k2p81);
          offset[i] = P::multiply(rows[i], kMinusMiddle);
        }
      }
      if constexpr (kZeros) {
        zero[0] = low_twice(facts.zero);
        zero[1] = high_twice(facts.zero);
      }
    } else {
      factor[0] = low_twice(pair);
      factor[1] = high_twice(pair);
      constexpr uint32_t kMiddle = kWeight == SPF_U4B8 ? 0x64086408u : 0x64806480u; // 1024 + 8, 1024 + 128
      zero[0] = kZeros ? low_twice(facts.zero) | 0x64006400u : kMiddle;
      zero[1] = kZeros ? high_twice(facts.zero) | 0x64006400u : kMiddle;
    }
  }

  // v: codes as linear bits (times 16 if kSixteen) of row i.
  template <bool kSixteen>
  __device__ __forceinline__ uint32_t integer(uint32_t v, int i) const {
    if constexpr (kBf16) {
      const uint32_t f = kSixteen ? factor16[i] : factor[i];
      if constexpr (kZeros) return P::multiply(P::subtract(v, kSixteen ? zero[i] << 4 : zero[i]), f);
      return P::multiply_add(v, f, offset[i]);
    } else {
      uint32_t exact = P::subtract(v | 0x64006400u, zero[i]);
      if constexpr (kGrouped) exact = P::multiply(exact, factor[i]);
      return exact;
    }
  }
  __device__ __forceinline__ void decode_integer(uint32_t (&a)[4], const uint32_t (&words)[kWords]) const {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      if constexpr (!kFourBits) {
        a[i] = integer<false>(words[i] & 0x00ff00ffu, i);
        a[2 + i] = integer<false>((words[i] >> 8) & 0x00ff00ffu, i);
      } else {
        const uint32_t w = i == 0 ? words[0] : words[0] >> 8;
        a[i] = integer<false>(w & 0x000f000fu, i);
        a[2 + i] = kBf16 ? integer<true>(w & 0x00f000f0u, i) : integer<false>((w >> 4) & 0x000f000fu, i);
      }
    }
  }

  __device__ __forceinline__ void prepare_float(const RowFacts& facts) {
    if constexpr (kWeight == SPF_E4M3 && !kGrouped) {
      factor[0] = factor[1] = 0x63806380u; // bf16 2^72: 2^120 for the biases, 2^-48; f16 takes none
    } else if constexpr (kWeight == SPF_E4M3) {
      constexpr float kShift = kBf16 ? 0x1p72f : 0x1p8f;
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const float s = __uint_as_float(facts.scale[i]) * kShift;
        factor[i] = Scalar<T>::narrow2(s, s);
      }
    } else {
      uint32_t pair = facts.scale[0] << 7; // as f16: 2^7 times NVFP4's scale; as bf16: e8m0's power of two
      if constexpr (kBf16 && kNvfp4)       // as bf16: the scale times 2^-105; 2^126 for the biases, 2^-48
        pair = P::multiply(P::multiply(facts.scale[0] << 4, 0x7e807e80u), 0x5c005c00u);
      else if constexpr (kBf16)
        pair = P::multiply(pair, 0x66806680u); // 2^78
      factor[0] = half_twice<0>(pair);
      factor[1] = half_twice<1>(pair);
    }
  }

  // Sign to bit 15 of each half; the three bits below it to the lowest exponent bits and the highest of the mantissa.
  __device__ __forceinline__ void decode_e2m1(uint32_t (&a)[4], uint32_t w) const {
    uint32_t bits[4];
    if constexpr (kBf16) { // one product moves a code to both places: shifts and masks bound kernels of few tokens
      constexpr uint32_t kKeep = 0x81c081c0u;
      const uint32_t upper = w >> 8;
      bits[0] = (w & 0x000f000fu) * 0x1040u & kKeep;
      bits[1] = (upper & 0x000f000fu) * 0x1040u & kKeep;
      bits[2] = (w & 0x00f000f0u) * 0x104u & kKeep;
      bits[3] = (upper & 0x00f000f0u) * 0x104u & kKeep;
    } else {
      constexpr uint32_t kMask = 0x0e000e00u;
      bits[0] = signed_magnitude<kMask>(w << 12, w << 9);
      bits[1] = signed_magnitude<kMask>(w << 4, w << 1);
      bits[2] = signed_magnitude<kMask>(w << 8, w << 5);
      bits[3] = signed_magnitude<kMask>(w, w >> 3);
    }
#pragma unroll
    for (int e = 0; e < 4; ++e) a[e] = P::multiply(bits[e], factor[e % 2]);
  }

  __device__ __forceinline__ void decode_e4m3(uint32_t (&a)[4], const uint32_t (&words)[kWords]) const {
    constexpr int kDown = kBf16 ? 4 : 1;
    constexpr uint32_t kMask = kBf16 ? 0x07f007f0u : 0x3f803f80u;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const uint32_t w = words[i];
      a[i] = signed_magnitude<kMask>(w << 8, w << (8 - kDown));
      a[2 + i] = signed_magnitude<kMask>(w, w >> kDown);
      if constexpr (kBf16 || kGrouped) {
        a[i] = P::multiply(a[i], factor[i]);
        a[2 + i] = P::multiply(a[2 + i], factor[i]);
      }
    }
  }
};

} // namespace spf::cuda
