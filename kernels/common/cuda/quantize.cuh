// Steps of quantization on the device: the largest number of a chunk, four codes a word.
#pragma once

#include "kernels/common/cuda/fp8.cuh"
#include "kernels/common/cuda/math.cuh"
#include "kernels/common/cuda/scalar.cuh"
#include "kernels/common/quantize.hpp"

namespace spf::cuda {

// The largest |element| of a chunk; passes over NaNs, and is NaN where there is nothing else. Pairs of 16 bits: a
// quarter of the instructions of f32 values.
template <spf_scalar_type T, int kChunks>
__device__ __forceinline__ float amax_of(const uint4 (&chunks)[kChunks]) {
  if constexpr (T == SPF_F32) {
    float largest = 0;
#pragma unroll
    for (int k = 0; k < kChunks; ++k) {
      float v[4];
      unpack<T>(chunks[k], v);
      largest = fmaxf(largest, fmaxf(fmaxf(fabsf(v[0]), fabsf(v[1])), fmaxf(fabsf(v[2]), fabsf(v[3]))));
    }
    return largest;
  } else {
    const auto size = [](uint32_t word) { return Scalar<T>::as_pair(word & 0x7fff7fffu); };
    auto top = Scalar<T>::as_pair(0);
#pragma unroll
    for (int k = 0; k < kChunks; ++k) {
      const uint4& chunk = chunks[k];
      top = __hmax2(top, __hmax2(__hmax2(size(chunk.x), size(chunk.y)), __hmax2(size(chunk.z), size(chunk.w))));
    }
    const float2 both = Scalar<T>::widen2(Scalar<T>::as_word(top));
    return fmaxf(both.x, both.y);
  }
}
template <spf_scalar_type T>
__device__ __forceinline__ float amax_of(const uint4& chunk) {
  const uint4 one[1] = {chunk};
  return amax_of<T>(one);
}

// The largest and the smallest element of a chunk; the same of NaNs.
template <spf_scalar_type T>
__device__ __forceinline__ float largest_of(const uint4& chunk) {
  if constexpr (T == SPF_F32) {
    float v[4];
    unpack<T>(chunk, v);
    return fmaxf(fmaxf(v[0], v[1]), fmaxf(v[2], v[3]));
  } else {
    const auto pair = [](uint32_t word) { return Scalar<T>::as_pair(word); };
    const auto top = __hmax2(__hmax2(pair(chunk.x), pair(chunk.y)), __hmax2(pair(chunk.z), pair(chunk.w)));
    const float2 both = Scalar<T>::widen2(Scalar<T>::as_word(top));
    return fmaxf(both.x, both.y);
  }
}
template <spf_scalar_type T>
__device__ __forceinline__ float smallest_of(const uint4& chunk) {
  constexpr uint32_t kSigns = T == SPF_F32 ? 0x80000000u : 0x80008000u;
  return -largest_of<T>(make_uint4(chunk.x ^ kSigns, chunk.y ^ kSigns, chunk.z ^ kSigns, chunk.w ^ kSigns));
}

class Multiplication {
 public:
  __device__ __forceinline__ explicit Multiplication(float by) : by_(by) {}
  __device__ __forceinline__ float operator()(float x) const { return __fmul_rn(x, by_); }

 private:
  float by_;
};

// x / scale for numbers of type T, right wherever that decides a code.
template <spf_scalar_type T>
__device__ __forceinline__ auto quotient_of(float scale) {
  if constexpr (T == SPF_F32)
    return quantize::Division(scale);
  else
    return quantize::Quotient(scale, fast_reciprocal(scale));
}

// Brings chunks and their scale down alike where the scale is so large that its reciprocal is short of digits. Of the
// 16-bit types only bf16 has numbers that need it; what becomes subnormal is coded as zero either way.
template <spf_scalar_type T, int kChunks>
__device__ __forceinline__ void bring_down(uint4 (&chunks)[kChunks], float& scale) {
  if constexpr (T == SPF_BF16) {
    if (scale <= 0x1p64f) return;
    constexpr uint32_t kDown = 0x1f801f80u; // 2^-64, twice
    scale *= 0x1p-64f;
#pragma unroll
    for (int k = 0; k < kChunks; ++k) chunks[k] = multiply_chunks<T>(chunks[k], make_uint4(kDown, kDown, kDown, kDown));
  }
}

// Two integers, saturated to 8 bits, in the low half of a word, and the low half of `above` in its high half.
__device__ __forceinline__ uint32_t pack_s8x2(int32_t low, int32_t high, uint32_t above) {
#ifdef SPF_EMULATED
  const auto code = [](int32_t v) { return static_cast<uint32_t>(min(max(v, -128), 127)) & 0xffu; };
  return code(low) | code(high) << 8 | above << 16;
#else
  uint32_t word;
  asm("cvt.pack.sat.s8.s32.b32 %0, %1, %2, %3;" : "=r"(word) : "r"(high), "r"(low), "r"(above));
  return word;
#endif
}

// Codes of kElements (4 or 8) values, four a word, the first in the low byte. step: float -> float. Integers are
// rounded to nearest even, `zero` is added, |zero| <= 2^30, and the sum saturated; NaN counts as 0.
template <spf_scalar_type Q, int kElements, class Step>
__device__ __forceinline__ uint2 codes_of(const float (&v)[kElements], const Step& step) {
  uint32_t words[2] = {};
#pragma unroll
  for (int i = kElements - 2; i >= 0; i -= 2) {
    const float low = step(v[i]), high = step(v[i + 1]);
    uint32_t& word = words[i / 4];
    if constexpr (Q == SPF_E4M3)
      word = word << 16 | narrow_fp8x2<SPF_E4M3>(low, high);
    else
      word = pack_s8x2(__float2int_rn(low), __float2int_rn(high), word);
  }
  return make_uint2(words[0], words[1]);
}
template <int kElements, class Step>
__device__ __forceinline__ uint2 codes_with_zero(const float (&v)[kElements], const Step& step, int32_t zero) {
  // Saturated before the sum, for conversions may be as large as integers are.
  const auto code = [&](float x) { return min(max(__float2int_rn(step(x)), -128 - zero), 127 - zero) + zero; };
  uint32_t words[2] = {};
#pragma unroll
  for (int i = kElements - 2; i >= 0; i -= 2) words[i / 4] = pack_s8x2(code(v[i]), code(v[i + 1]), words[i / 4]);
  return make_uint2(words[0], words[1]);
}

// The first min(kElements, left) codes of a chunk. `vector`: the address is on kElements bytes.
template <int kElements>
__device__ __forceinline__ void store_codes(uint8_t* address, const uint2& codes, int64_t left, bool vector) {
  if (vector && left >= kElements) {
    if constexpr (kElements == 8)
      *reinterpret_cast<uint2*>(address) = codes;
    else
      *reinterpret_cast<uint32_t*>(address) = codes.x;
    return;
  }
#pragma unroll
  for (int e = 0; e < kElements; ++e)
    if (e < left) address[e] = static_cast<uint8_t>((e < 4 ? codes.x : codes.y) >> (8 * (e % 4)));
}

} // namespace spf::cuda
