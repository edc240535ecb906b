// What attention kernels on tensor cores share: keys and values as A operands, fp8 among them, and the last step of an
// output.
#pragma once

#include "kernels/attention/args.h"
#include "kernels/common/cuda/async.cuh"
#include "kernels/common/cuda/fp8.cuh"
#include "kernels/common/cuda/math.cuh"
#include "kernels/common/cuda/scalar.cuh"
#include "kernels/common/mma/m16n8k16.cuh"

namespace spf::attention {

// --- small pieces ----------------------------------------------------------------------------------------------------

using cuda::transpose8x8, cuda::load_matrices_transposed;

// Sums over the block, exclusive and total. All threads call it; warp_sums has room for the
// warps of the block.
__device__ __forceinline__ int64_t block_scan(int64_t value, int64_t* total, int64_t* warp_sums) {
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  int64_t inclusive = value;
#pragma unroll
  for (int step = 1; step < 32; step *= 2) {
    const int64_t other = __shfl_up_sync(0xffffffffu, inclusive, step);
    if (lane >= step) inclusive += other;
  }
  __syncthreads();
  if (lane == 31) warp_sums[warp] = inclusive;
  __syncthreads();
  int64_t before = 0, all = 0;
  for (int w = 0; w < static_cast<int>(blockDim.x) / 32; ++w) {
    if (w < warp) before += warp_sums[w];
    all += warp_sums[w];
  }
  *total = all;
  return before + inclusive - value;
}

// Types of keys and values: what is multiplied, and how two codes in the low half of a word become two values.
template <spf_scalar_type C>
struct KvType {
  static constexpr bool kFp8 = C == SPF_E4M3 || C == SPF_E5M2;
  static constexpr int kBytes = C == SPF_F32 ? 4 : kFp8 ? 1 : 2;
};

using cuda::widen_fp8;

// The last step of an output, from sums of values weighted by 2^(s - *most) and the sum of those weights: what to
// multiply the former by. Adds the sink to both numbers. 0: nothing was seen, and the output is 0 whatever the sums
// are.
__device__ __forceinline__ float output_factor(const AttentionArgs& a, int head, float v_scale, float* most,
                                               float* weight) {
  float factor = 1;
  if (a.sinks != nullptr) {
    const float sink = a.sinks[head] * cuda::kLog2e, top = fmaxf(*most, sink);
    factor = *most == -INFINITY ? 0.0f : cuda::fast_exp2(*most - top);
    *weight = *weight * factor + (sink == -INFINITY ? 0.0f : cuda::fast_exp2(sink - top));
    *most = top;
  }
  return *weight == 0 ? 0.0f : factor * v_scale / *weight;
}

__device__ __forceinline__ float output_lse(float most, float weight) {
  return weight == 0 ? -INFINITY : most * (1 / cuda::kLog2e) + logf(weight);
}

// Writes one element; that of dimension 0 also writes the lse, of heads without dimensions too.
template <spf_scalar_type T>
__device__ __forceinline__ void write_output(const AttentionArgs& a, int64_t row, int head, int64_t kv_head, int dim,
                                             float sum, float most, float weight) {
  if (dim >= a.dims && dim > 0) return;
  const float v_scale = a.v_scale != nullptr ? a.v_scale[kv_head * a.scale_stride] : 1.0f;
  const float factor = output_factor(a, head, v_scale, &most, &weight);
  if (dim < a.dims)
    static_cast<cuda::scalar_t<T>*>(a.out)[row * a.out_stride[0] + head * a.out_stride[1] + dim] =
        cuda::Scalar<T>::narrow(factor == 0 ? 0.0f : sum * factor);
  if (dim == 0 && a.lse != nullptr) a.lse[head * a.rows + row] = output_lse(most, weight);
}

// --- products --------------------------------------------------------------------------------------------------------

// S^T = K Q^T and O^T += V^T P^T for 16 keys in shared memory, up to 8 kTiles query heads, one warp. An fp8 cache is
// multiplied in f16: every code is one exactly, and a row of the query is scaled by a power of two to fit.
template <spf_scalar_type T, spf_scalar_type C, int kDims, int kTiles>
struct AttentionMma {
  static constexpr bool kFp8 = KvType<C>::kFp8;
  static constexpr spf_scalar_type kType = kFp8 ? SPF_F16 : T;
  static constexpr int kSteps = kDims / 16;
  static_assert(kDims % 32 == 0);

  uint32_t query[kTiles][kSteps][2];
  float out[kTiles][kSteps][4]; // [head tile][16 dims]: the D operand of O^T
  float step[kTiles][2];        // of heads 2t, 2t + 1: what the query was divided by

  static __device__ __forceinline__ uint32_t pack(float low, float high) {
    return cuda::Scalar<kType>::narrow2(low, high);
  }

  __device__ __forceinline__ float query_step(int n, int i) const { return kFp8 && T != SPF_F16 ? step[n][i] : 1.0f; }

  // Column g of head tile n: the query row of one head, zeros for nullptr. The order of dimensions within 16 is that of
  // load_keys().
  __device__ __forceinline__ void load_query(int n, const char* row, int dims, int t) {
    const uint32_t* const words = reinterpret_cast<const uint32_t*>(row);
    float largest = 0;
#pragma unroll
    for (int k = 0; k < kSteps; ++k)
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const int d = k * 16 + (kFp8 ? 4 * t + 2 * i : 2 * t + 8 * i);
        query[n][k][i] = row != nullptr && d < dims ? words[d / 2] : 0;
        if constexpr (kFp8 && T == SPF_BF16) {
          const float2 v = cuda::Scalar<T>::widen2(query[n][k][i]);
          largest = fmaxf(largest, fmaxf(fabsf(v.x), fabsf(v.y)));
        }
      }
    if constexpr (kFp8 && T == SPF_BF16) {
      largest = fmaxf(largest, __shfl_xor_sync(0xffffffffu, largest, 1));
      largest = fmaxf(largest, __shfl_xor_sync(0xffffffffu, largest, 2));
      // The power of two at or below it: the row then starts at 1 to 2.
      uint32_t exponent = __float_as_uint(largest) & 0x7f800000u;
      if (exponent < 0x02000000u || exponent > 0x7d000000u) exponent = 0x3f800000u;
      const float inverse = __uint_as_float(0x7f000000u - exponent), power = __uint_as_float(exponent);
#pragma unroll
      for (int k = 0; k < kSteps; ++k)
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          const float2 v = cuda::Scalar<T>::widen2(query[n][k][i]);
          query[n][k][i] = pack(v.x * inverse, v.y * inverse);
        }
#pragma unroll
      for (int i = 0; i < 2; ++i) step[n][i] = __shfl_sync(0xffffffffu, power, (2 * t + i) * 4);
    }
  }

  __device__ __forceinline__ void clear() {
#pragma unroll
    for (int n = 0; n < kTiles; ++n)
#pragma unroll
      for (int k = 0; k < kSteps; ++k)
#pragma unroll
        for (int i = 0; i < 4; ++i) out[n][k][i] = 0;
  }

  __device__ __forceinline__ void scale(int n, const float (&factor)[2]) {
#pragma unroll
    for (int k = 0; k < kSteps; ++k)
#pragma unroll
      for (int i = 0; i < 4; ++i) out[n][k][i] *= factor[i & 1];
  }

  // Keys at `tile`, rows `pitch` bytes apart. Two chains of sums, even and odd steps, are half as long.
  __device__ __forceinline__ void scores(uint32_t tile, int pitch, int lane, float (&score)[kTiles][4]) const {
    float odd[kTiles][4];
#pragma unroll
    for (int n = 0; n < kTiles; ++n)
#pragma unroll
      for (int i = 0; i < 4; ++i) score[n][i] = odd[n][i] = 0;
    const uint32_t row = tile + static_cast<uint32_t>(((lane & 8) + lane % 8) * pitch + lane / 16 * 16);
#pragma unroll
    for (int k = 0; k < kSteps; k += 2) {
      uint32_t a[2][4];
      if constexpr (kFp8) {
        uint32_t codes[4];
        cuda::load_matrices(codes, row + k * 16);
#pragma unroll
        for (int j = 0; j < 2; ++j)
#pragma unroll
          for (int i = 0; i < 4; ++i) a[j][i] = widen_fp8<C>(i < 2 ? codes[2 * j + i] : codes[2 * j + i - 2] >> 16);
      } else {
        cuda::load_matrices(a[0], row + k * 32);
        cuda::load_matrices(a[1], row + k * 32 + 32);
      }
#pragma unroll
      for (int n = 0; n < kTiles; ++n) {
        cuda::mma_m16n8k16<kType>(score[n], a[0][0], a[0][1], a[0][2], a[0][3], query[n][k][0], query[n][k][1]);
        cuda::mma_m16n8k16<kType>(odd[n], a[1][0], a[1][1], a[1][2], a[1][3], query[n][k + 1][0], query[n][k + 1][1]);
      }
    }
#pragma unroll
    for (int n = 0; n < kTiles; ++n)
#pragma unroll
      for (int i = 0; i < 4; ++i) score[n][i] += odd[n][i];
  }

  // Values at `tile`; p: weights of keys 0 to 7 and 8 to 15 as B operands.
  __device__ __forceinline__ void add_values(uint32_t tile, int pitch, int lane, const uint32_t (&p)[kTiles][2]) {
    if constexpr (kFp8) {
      const uint32_t row = tile + static_cast<uint32_t>(((lane & 8) + lane % 8) * pitch + lane / 16 * 16);
#pragma unroll
      for (int k = 0; k < kSteps; k += 2) {
        uint32_t codes[4];
        load_matrices_transposed(codes, row + k * 16);
#pragma unroll
        for (int j = 0; j < 2; ++j) {
          // A word holds dimensions 2g, 2g + 1 of key 2t and of key 2t + 1.
          const uint32_t first = __byte_perm(codes[2 * j], 0, 0x3120), last = __byte_perm(codes[2 * j + 1], 0, 0x3120);
          const uint32_t a[4] = {widen_fp8<C>(first), widen_fp8<C>(first >> 16), widen_fp8<C>(last),
                                 widen_fp8<C>(last >> 16)};
#pragma unroll
          for (int n = 0; n < kTiles; ++n)
            cuda::mma_m16n8k16<kType>(out[n][k + j], a[0], a[1], a[2], a[3], p[n][0], p[n][1]);
        }
      }
    } else {
      const uint32_t row = tile + static_cast<uint32_t>((lane / 16 * 8 + lane % 8) * pitch + (lane & 8) * 2);
#pragma unroll
      for (int k = 0; k < kSteps; ++k) {
        uint32_t a[4];
        load_matrices_transposed(a, row + k * 32);
#pragma unroll
        for (int n = 0; n < kTiles; ++n) cuda::mma_m16n8k16<kType>(out[n][k], a[0], a[1], a[2], a[3], p[n][0], p[n][1]);
      }
    }
  }

  // Writes dimensions [first, first + kSlice) of every head to rows `pitch` floats apart.
  template <int kSlice>
  __device__ __forceinline__ void store(float* to, int pitch, int first, int g, int t) const {
#pragma unroll
    for (int k = 0; k < kSteps; ++k) {
      if (k * 16 < first || k * 16 >= first + kSlice) continue;
      const int low = k * 16 - first + (kFp8 ? 2 * g : g), high = low + (kFp8 ? 1 : 8);
#pragma unroll
      for (int n = 0; n < kTiles; ++n)
#pragma unroll
        for (int i = 0; i < 4; ++i) to[(8 * n + 2 * t + (i & 1)) * pitch + (i < 2 ? low : high)] = out[n][k][i];
    }
  }
};

} // namespace spf::attention
