// kLanes f32 values in one register, for loops over rows: loads and stores of f32, f16 and bf16, and the functions that
// activations need. Written with the compiler's vector types, so AVX2 (8 lanes) and AVX-512 (16) share every line but
// the 16-bit conversions. Everything has internal linkage: a copy compiled for one instruction set must never serve
// another.
#pragma once

#include <cstdint>
#include <cstring>

#include "kernels/common/simd/intrinsics.hpp"
#include "spearfish/types.h"

namespace spf::simd {
namespace {

template <int kLanes>
struct Lanes {
  typedef float F __attribute__((vector_size(kLanes * 4)));
  typedef int32_t I __attribute__((vector_size(kLanes * 4)));
  typedef uint32_t U __attribute__((vector_size(kLanes * 4)));
  typedef uint16_t H __attribute__((vector_size(kLanes * 2)));

  static F set(float v) { return F{} + v; }
  static U bits(F v) { return reinterpret_cast<U>(v); }
  static F from_bits(U v) { return reinterpret_cast<F>(v); }

  // Elements [0, n) of memory of T, the rest 0. No alignment.
  template <spf_scalar_type T>
  static F load(const char* data, int64_t n = kLanes) {
    if constexpr (T == SPF_F32) {
      F v = {};
      copy<4>(&v, data, n);
      return v;
    } else {
      H h = {};
      copy<2>(&h, data, n);
      if constexpr (T == SPF_BF16)
        return from_bits(widen_u16(h) << 16);
      else
        return widen_f16(h);
    }
  }

  template <spf_scalar_type T>
  static void store(char* data, F v, int64_t n = kLanes) {
    if constexpr (T == SPF_F32) {
      copy<4>(data, &v, n);
    } else {
      const H h = narrow<T>(v);
      copy<2>(data, &h, n);
    }
  }

  // One rounding to T, to nearest even.
  template <spf_scalar_type T>
  static F round(F v) {
    if constexpr (T == SPF_F32) return v;
    if constexpr (T == SPF_BF16) return from_bits(widen_u16(narrow<T>(v)) << 16);
    return widen_f16(narrow<T>(v));
  }

  // The low bytes of lanes [0, n).
  static void store_bytes(uint8_t* data, U v, int64_t n = kLanes) {
    typedef uint8_t B __attribute__((vector_size(kLanes)));
    B bytes;
    if constexpr (kLanes == 16) {
#ifdef __AVX512F__
      bytes = reinterpret_cast<B>(_mm512_cvtepi32_epi8(reinterpret_cast<__m512i>(v)));
#endif
    } else {
      const __m128i halves = reinterpret_cast<__m128i>(narrow_u32(v & 0xffu));
      bytes = reinterpret_cast<B>(_mm_cvtsi128_si64(_mm_packus_epi16(halves, halves)));
    }
    copy<1>(data, &bytes, n);
  }

  // Nearest integers, ties to even; what fits 32 bits only.
  static I nearest(F v) {
    if constexpr (kLanes == 16) {
#ifdef __AVX512F__
      return reinterpret_cast<I>(
          _mm512_cvt_roundps_epi32(reinterpret_cast<__m512>(v), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
#endif
    } else {
      return reinterpret_cast<I>(_mm256_cvtps_epi32(reinterpret_cast<__m256>(v)));
    }
  }

  // The largest lane; no lane is NaN.
  static float largest(F v) {
    float lane[kLanes];
    std::memcpy(lane, &v, sizeof(v));
    for (int width = kLanes / 2; width > 0; width /= 2)
      for (int i = 0; i < width; ++i) lane[i] = lane[i] > lane[i + width] ? lane[i] : lane[i + width];
    return lane[0];
  }

  // Adds halves onto each other: a fixed order.
  static float sum(F v) {
    float lane[kLanes];
    std::memcpy(lane, &v, sizeof(v));
    for (int width = kLanes / 2; width > 0; width /= 2)
      for (int i = 0; i < width; ++i) lane[i] += lane[i + width];
    return lane[0];
  }

  // e^x within 2 ulp; 0 below -104, inf above 89; NaN stays NaN.
  static F exp(F x) {
    const F low = set(-104.0f), high = set(89.0f);
    const F clamped = x < low ? low : x > high ? high : x;
    const F magic = set(12582912.0f); // 1.5 * 2^23: adding it rounds to an integer in the low bits
    const F shifted = clamped * 1.44269504088896341f + magic;
    const F n = shifted - magic;
    const F r = (clamped - n * 0.693359375f) + n * 2.12194440e-4f;
    F p = set(1.0f / 5040);
    p = p * r + 1.0f / 720;
    p = p * r + 1.0f / 120;
    p = p * r + 1.0f / 24;
    p = p * r + 1.0f / 6;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    // 2^n in two factors, so that subnormal results and overflow come out by themselves.
    const I exponent = reinterpret_cast<I>(shifted) - 0x4b400000;
    const I half = exponent >> 1;
    const F scaled = p * reinterpret_cast<F>((half + 127) << 23) * reinterpret_cast<F>((exponent - half + 127) << 23);
    return x == x ? scaled : x;
  }

  // 0.5 erfc(|v| / sqrt(2)) = t Q(t) exp(-v^2 / 2) with t = 1 / (1 + 0.3 |v| / sqrt(2)); Q is our least-maximum fit of
  // degree 8. The square is taken in two parts: an error of its rounding would grow with v^2.
  static F normal_tail(F v) {
    const F size = from_bits(bits(v) & 0x7fffffffu), far = set(32.0f); // 0 from there on
    const F a = size > far ? far : size;
    const F t = 1.0f / (1.0f + a * (0.3f * 0.70710678f));
    F q = set(-0.12952305376529694f);
    q = q * t + 0.48556405305862427f;
    q = q * t - 0.5122799873352051f;
    q = q * t + 0.5477224588394165f;
    q = q * t - 0.09465258568525314f;
    q = q * t + 0.21492694318294525f;
    q = q * t + 0.1483389139175415f;
    q = q * t + 0.17071527242660522f;
    q = q * t + 0.1691880077123642f;
    const F head = from_bits(bits(a) & 0xfffff000u);
    const F rest = (a - head) * (a + head);
    return 0.5f * q * t * exp(-0.5f * head * head) * exp(-0.5f * rest);
  }

  static F sigmoid_times(F v, float slope) { return v / (1.0f + exp(v * -slope)); }
  static F gelu(F v) {
    const F tail = normal_tail(v);
    return v * (v < F{} ? tail : 1.0f - tail);
  }
  static F gelu_tanh(F v) { return v / (1.0f + exp((v + v * v * v * 0.044715f) * (-2.0f * 0.79788456080286536f))); }
  static F tanh(F v) { return 1.0f - 2.0f / (1.0f + exp(2.0f * v)); } // absolute error 2^-23

 private:
  // Constant size for whole vectors: one instruction.
  template <int kBytes>
  static void copy(void* to, const void* from, int64_t n) {
    if (n >= kLanes)
      std::memcpy(to, from, kLanes * kBytes);
    else
      std::memcpy(to, from, static_cast<size_t>(n) * kBytes);
  }

  template <spf_scalar_type T>
  static H narrow(F v) {
    if constexpr (T == SPF_BF16) {
      const U b = bits(v);
      const U rounded = (b + 0x7fffu + ((b >> 16) & 1u)) >> 16;
      const U quiet = (b >> 16) | 0x40u;
      return narrow_u32(v == v ? rounded : quiet);
    } else if constexpr (kLanes == 16) {
#ifdef __AVX512F__
      return reinterpret_cast<H>(_mm512_cvtps_ph(reinterpret_cast<__m512>(v), _MM_FROUND_TO_NEAREST_INT));
#endif
    } else {
      return reinterpret_cast<H>(_mm256_cvtps_ph(reinterpret_cast<__m256>(v), _MM_FROUND_TO_NEAREST_INT));
    }
  }

  static U widen_u16(H h) {
    if constexpr (kLanes == 16) {
#ifdef __AVX512F__
      return reinterpret_cast<U>(_mm512_cvtepu16_epi32(reinterpret_cast<__m256i>(h)));
#endif
    } else {
      return reinterpret_cast<U>(_mm256_cvtepu16_epi32(reinterpret_cast<__m128i>(h)));
    }
  }

  // The low halves; the high ones are 0.
  static H narrow_u32(U v) {
    if constexpr (kLanes == 16) {
#ifdef __AVX512F__
      return reinterpret_cast<H>(_mm512_cvtepi32_epi16(reinterpret_cast<__m512i>(v)));
#endif
    } else {
      const __m256i twice = _mm256_packus_epi32(reinterpret_cast<__m256i>(v), reinterpret_cast<__m256i>(v));
      return reinterpret_cast<H>(_mm256_castsi256_si128(_mm256_permute4x64_epi64(twice, 0x08)));
    }
  }

  static F widen_f16(H h) {
    if constexpr (kLanes == 16) {
#ifdef __AVX512F__
      return reinterpret_cast<F>(_mm512_cvtph_ps(reinterpret_cast<__m256i>(h)));
#endif
    } else {
      return reinterpret_cast<F>(_mm256_cvtph_ps(reinterpret_cast<__m128i>(h)));
    }
  }
};

} // namespace
} // namespace spf::simd
