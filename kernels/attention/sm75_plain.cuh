// Attention without tensor cores, for every target, type, layout and mask: a block takes one query head of one row, its
// warps take the keys in turn, and a warp's lanes share a key's dimensions.
#pragma once

#include "kernels/attention/args.h"
#include "kernels/attention/tiles.cuh"
#include "kernels/common/cuda/launch.cuh"

namespace spf::attention {

template <spf_scalar_type C>
__device__ __forceinline__ float kv_element(const void* data, int64_t at) {
  if constexpr (KvType<C>::kFp8) {
    const uint32_t pair = widen_fp8<C>(static_cast<const uint8_t*>(data)[at]);
    return cuda::Scalar<SPF_F16>::widen2(pair).x;
  } else {
    return cuda::Scalar<C>::widen(static_cast<const cuda::scalar_t<C>*>(data)[at]);
  }
}

// The sequence of a row: the last one that begins at or before it and is not empty.
__device__ __forceinline__ int64_t sequence_of(const AttentionArgs& a, int64_t row) {
  if (a.cu_queries == nullptr) return row;
  int64_t low = 0, high = a.sequences;
  while (high - low > 1) {
    const int64_t middle = (low + high) / 2;
    (a.cu_queries[middle] <= row ? low : high) = middle;
  }
  return low;
}

inline constexpr int kPlainWarps = 4, kPlainDims = 256;

template <spf_scalar_type T, spf_scalar_type C>
__global__ void __launch_bounds__(32 * kPlainWarps) plain_attention(const __grid_constant__ AttentionArgs a) {
  constexpr int kEach = kPlainDims / 32; // dimensions of a lane: lane, lane + 32, ...
  __shared__ float sums[kPlainWarps][kPlainDims], largest[kPlainWarps], weights[kPlainWarps];
  cuda::launch_dependents();
  cuda::wait_for_primary();
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  const int64_t row = blockIdx.x / a.heads;
  const int head = static_cast<int>(blockIdx.x % a.heads);
  const int64_t kv_head = head / a.group(), sequence = sequence_of(a, row), length = a.keys(sequence);
  const int64_t position = length - a.queries(sequence) + row - a.first_query(sequence);
  const float scale = a.scale * (a.k_scale != nullptr ? a.k_scale[kv_head * a.scale_stride] : 1.0f);

  float query[kEach], sum[kEach];
#pragma unroll
  for (int i = 0; i < kEach; ++i) {
    const int d = lane + 32 * i;
    sum[i] = 0;
    query[i] = d < a.dims ? kv_element<T>(a.query, row * a.query_stride[0] + head * a.query_stride[1] + d) : 0.0f;
  }
  float most = -INFINITY, weight = 0;
  for (int64_t key = a.first_seen(position) + warp; key < a.last_seen(position, length); key += kPlainWarps) {
    if (a.is_sparse() && !a.sparse_sees(head, length, key)) continue;
    const int64_t key_row = a.row_of(a.key_stride, sequence, key, kv_head);
    const int64_t value_row = a.row_of(a.value_stride, sequence, key, kv_head);
    float s = 0, value[kEach];
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
      const int d = lane + 32 * i;
      value[i] = 0;
      if (d >= a.dims) continue;
      s = __fmaf_rn(query[i], kv_element<C>(a.key, key_row + a.key_stride.dim(d)), s);
      value[i] = kv_element<C>(a.value, value_row + a.value_stride.dim(d));
    }
#pragma unroll
    for (int step = 16; step > 0; step /= 2) s += __shfl_xor_sync(0xffffffffu, s, step);
    s *= scale;
    if (a.softcap > 0) s = a.softcap * tanhf(s / a.softcap);
    if (a.alibi_slopes != nullptr)
      s -= a.alibi_slopes[head] * static_cast<float>(position > key ? position - key : key - position);
    s *= cuda::kLog2e;
    const float now = fmaxf(most, s);
    const float zero = now == -INFINITY ? 0.0f : now;
    const float factor = exp2f(most - zero), p = exp2f(s - zero);
    most = now;
    weight = weight * factor + p;
#pragma unroll
    for (int i = 0; i < kEach; ++i) sum[i] = __fmaf_rn(sum[i], factor, p * value[i]);
  }

#pragma unroll
  for (int i = 0; i < kEach; ++i) sums[warp][lane + 32 * i] = sum[i];
  if (lane == 0) {
    largest[warp] = most;
    weights[warp] = weight;
  }
  __syncthreads();
  most = -INFINITY;
  for (int w = 0; w < kPlainWarps; ++w) most = fmaxf(most, largest[w]);
  weight = 0;
  for (int w = 0; w < kPlainWarps; ++w)
    if (largest[w] != -INFINITY) weight += weights[w] * exp2f(largest[w] - most);
  for (int d = static_cast<int>(threadIdx.x); d == 0 || d < a.dims; d += 32 * kPlainWarps) {
    float total = 0;
    for (int w = 0; w < kPlainWarps; ++w)
      if (largest[w] != -INFINITY) total += sums[w][d] * exp2f(largest[w] - most);
    write_output<T>(a, row, head, kv_head, d, total, most, weight);
  }
}

template <spf_scalar_type T, spf_scalar_type C>
spf_status plain(const Call& call, const LaunchContext& ctx) {
  const AttentionArgs args = attention_args(call);
  return cuda::launch(call.problem.op->name, ctx, plain_attention<T, C>, args.rows * args.heads, 32 * kPlainWarps, 0,
                      args);
}

// --- merge_attn_states -----------------------------------------------------------------------------------------------

template <spf_scalar_type T>
__global__ void __launch_bounds__(128) merge_states(const __grid_constant__ MergeArgs a) {
  cuda::launch_dependents();
  cuda::wait_for_primary();
  using Element = cuda::scalar_t<T>;
  const int64_t token = blockIdx.x / a.heads, head = blockIdx.x % a.heads, at = head * a.tokens + token;
  const auto row = [&](const MergeArgs::State& s) {
    return static_cast<Element*>(s.data) + token * s.stride[0] + head * s.stride[1];
  };
  const float p = isinf(a.prefix.lse[at]) ? -INFINITY : a.prefix.lse[at];
  const float s = isinf(a.suffix.lse[at]) ? -INFINITY : a.suffix.lse[at];
  const float most = fmaxf(p, s);
  const bool nothing = most == -INFINITY; // the prefix as it is
  const float wp = nothing ? 1.0f : expf(p - most), ws = nothing ? 0.0f : expf(s - most), sum = wp + ws;
  for (int64_t d = threadIdx.x; d < a.dims; d += blockDim.x) {
    const Element first = row(a.prefix)[d];
    if (nothing) {
      row(a.out)[d] = first;
      continue;
    }
    const float value = cuda::Scalar<T>::widen(first) * wp + cuda::Scalar<T>::widen(row(a.suffix)[d]) * ws;
    row(a.out)[d] = cuda::Scalar<T>::narrow(value / sum);
  }
  if (threadIdx.x == 0 && a.out.lse != nullptr) a.out.lse[at] = nothing ? -INFINITY : most + logf(sum);
}

template <spf_scalar_type T>
spf_status merge(const Call& call, const LaunchContext& ctx) {
  const MergeArgs args = merge_args(call);
  return cuda::launch(call.problem.op->name, ctx, merge_states<T>, args.tokens * args.heads, 128, 0, args);
}

} // namespace spf::attention
