// Steps of quantization on the device: the largest number of a chunk, four codes a word.
#pragma once

#include "kernels/common/cuda/fp8.cuh"
#include "kernels/common/cuda/scalar.cuh"
#include "kernels/common/quantize.hpp"

namespace spf::cuda {

using quantize::Division;

// The largest |element| of a chunk; passes over NaNs, and is NaN where there is nothing else. Pairs of 16 bits: a
// quarter of the instructions of f32 values.
template <spf_scalar_type T>
__device__ __forceinline__ float amax_of(const uint4& chunk) {
  if constexpr (T == SPF_F32) {
    float v[4];
    unpack<T>(chunk, v);
    return fmaxf(fmaxf(fabsf(v[0]), fabsf(v[1])), fmaxf(fabsf(v[2]), fabsf(v[3])));
  } else {
    const auto size = [](uint32_t word) { return Scalar<T>::as_pair(word & 0x7fff7fffu); };
    const auto top = __hmax2(__hmax2(size(chunk.x), size(chunk.y)), __hmax2(size(chunk.z), size(chunk.w)));
    const float2 both = Scalar<T>::widen2(Scalar<T>::as_word(top));
    return fmaxf(both.x, both.y);
  }
}

class Multiplication {
 public:
  __device__ __forceinline__ explicit Multiplication(float by) : by_(by) {}
  __device__ __forceinline__ float operator()(float x) const { return __fmul_rn(x, by_); }

 private:
  float by_;
};

// round(v) + zero, saturated to 8 bits; NaN counts as 0. |zero| <= 2^30.
__device__ __forceinline__ uint32_t int8_code(float v, int32_t zero) {
  const float limited = fminf(fmaxf(v == v ? v : 0.0f, -quantize::kWidest), quantize::kWidest);
  return static_cast<uint32_t>(min(max(__float2int_rn(limited) + zero, -128), 127)) & 0xffu;
}

// Codes of kElements (4 or 8) values, four a word, the first in the low byte. step: float -> float; zero is for s8.
template <spf_scalar_type Q, int kElements, class Step>
__device__ __forceinline__ uint2 codes_of(const float (&v)[kElements], const Step& step, int32_t zero = 0) {
  uint32_t words[2] = {};
#pragma unroll
  for (int i = 0; i < kElements; i += 2) {
    const float low = step(v[i]), high = step(v[i + 1]);
    const uint32_t pair =
        Q == SPF_E4M3 ? narrow_fp8x2<SPF_E4M3>(low, high) : int8_code(low, zero) | int8_code(high, zero) << 8;
    words[i / 4] |= pair << (8 * (i % 4));
  }
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
