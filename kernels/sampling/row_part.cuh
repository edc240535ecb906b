// One block's part of one row of logits: which it is, its entries, and sums over the block.
#pragma once

#include "kernels/common/cuda/launch.cuh"
#include "kernels/common/cuda/memory.cuh"
#include "kernels/sampling/args.h"
#include "kernels/sampling/parts.hpp"

namespace spf::sampling {

template <spf_scalar_type T>
struct RowLogits {
  using Element = cuda::scalar_t<T>;

  int64_t row;
  const Element* logits;

  __device__ RowLogits(const LogitArgs& args, int64_t of) : row(of) {
    int64_t at[1];
    args.space.offsets(row, at);
    logits = static_cast<const Element*>(args.logits) + at[0];
  }
};

template <spf_scalar_type T>
struct RowPart : RowLogits<T> {
  using RowLogits<T>::logits;
  int32_t part;
  int64_t begin, end; // entries of the part

  __device__ RowPart(const LogitArgs& args, const Parts& parts)
      : RowLogits<T>(args, blockIdx.x / static_cast<uint32_t>(parts.count)),
        part(static_cast<int32_t>(blockIdx.x % static_cast<uint32_t>(parts.count))) {
    begin = part * parts.length;
    end = begin + parts.length < args.v ? begin + parts.length : args.v;
  }

  // body(logit, index) for the entries of [from, to), `from` on a chunk; a thread sees its own in ascending order.
  template <class Body>
  __device__ void each(int64_t from, int64_t to, Body&& body) const {
    using namespace spf::cuda;
    constexpr int kElements = kChunkElements<T>, kUnroll = 4, kStep = kPartThreads * kElements;
    const bool vector = on_16_bytes(logits);
    int64_t first = from + static_cast<int64_t>(threadIdx.x) * kElements;
    // Whole chunks, as many at once as are in flight: no element needs a look at the end.
    for (; vector && first + (kUnroll - 1) * kStep + kElements <= to; first += kUnroll * kStep) {
      uint4 chunk[kUnroll];
#pragma unroll
      for (int u = 0; u < kUnroll; ++u) chunk[u] = load16(logits + first + u * kStep);
#pragma unroll
      for (int u = 0; u < kUnroll; ++u) {
        float v[kElements];
        unpack<T>(chunk[u], v);
#pragma unroll
        for (int i = 0; i < kElements; ++i) body(v[i], first + u * kStep + i);
      }
    }
    for (; first < to; first += kStep) {
      float v[kElements];
      unpack<T>(load_chunk<T>(logits + first, to - first, vector), v);
      for (int i = 0; i < kElements; ++i)
        if (first + i < to) body(v[i], first + i);
    }
  }
};

// A logit under which every distance is beyond `farthest`, and which is hardly lower than need be: most logits can be
// passed over by one comparison. The difference is rounded monotonically, so only the product in distance() and the
// quotient here need room. NaN where there is no such number: compare by !(logit < cut).
__device__ inline float cut_below(float best, uint32_t farthest, float scale) {
  return best - (static_cast<float>(farthest) + 2.0f) * 1.000001f / scale;
}

// --- integers over a block -----------------------------------------------------------------------------------------

struct BlockScratch {
  uint64_t warp[kPartThreads / 32];
  uint64_t shared[4];
};

struct Prefix {
  uint64_t before, total;
};

// The sum over the threads before this one, and over all. Exact, so its order does not matter.
__device__ inline Prefix block_prefix(uint64_t value, BlockScratch& scratch) {
  const int lane = static_cast<int>(threadIdx.x % 32);
  uint64_t inclusive = value;
#pragma unroll
  for (int step = 1; step < 32; step *= 2) {
    const uint64_t other = __shfl_up_sync(0xffffffffu, inclusive, step);
    if (lane >= step) inclusive += other;
  }
  if (lane == 31) scratch.warp[threadIdx.x / 32] = inclusive;
  __syncthreads();
  Prefix prefix{inclusive - value, 0};
  for (uint32_t w = 0; w < kPartThreads / 32; ++w) {
    if (w < threadIdx.x / 32) prefix.before += scratch.warp[w];
    prefix.total += scratch.warp[w];
  }
  __syncthreads();
  return prefix;
}

__device__ inline uint64_t block_maximum(uint64_t value, BlockScratch& scratch) {
#pragma unroll
  for (int step = 16; step > 0; step /= 2) {
    const uint64_t other = __shfl_xor_sync(0xffffffffu, value, step);
    value = other > value ? other : value;
  }
  if (threadIdx.x % 32 == 0) scratch.warp[threadIdx.x / 32] = value;
  __syncthreads();
  for (uint32_t w = 0; w < kPartThreads / 32; ++w) value = scratch.warp[w] > value ? scratch.warp[w] : value;
  __syncthreads();
  return value;
}

// True in every thread of the block that is the last of its row to come here: what the others wrote is visible to it.
__device__ inline bool is_last(uint32_t* arrived, int32_t parts, BlockScratch& scratch) {
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) scratch.shared[0] = atomicAdd(arrived, 1u) + 1 == static_cast<uint32_t>(parts);
  __syncthreads();
  const bool last = scratch.shared[0] != 0;
  __syncthreads();
  if (last) __threadfence();
  return last;
}

// --- the best of a part --------------------------------------------------------------------------------------------

// A logit and its index in one number: the larger the better, the first of equal ones best, NaN above all. 0: nothing.
__device__ inline uint64_t ranked(float logit, int64_t index) {
  const uint32_t bits = __float_as_uint(logit + 0.0f); // -0 becomes +0
  const uint32_t ordered = bits ^ (bits >> 31 != 0 ? 0xffffffffu : 0x80000000u);
  return static_cast<uint64_t>(ordered) << 32 | static_cast<uint32_t>(~index);
}
inline constexpr uint64_t kRankedNan = ~uint64_t{0};

struct RowBest {
  float logit;
  int64_t index;
  uint8_t flag; // SPF_ROW_NAN or 0
};

__device__ inline RowBest unranked(uint64_t best) {
  if (best == kRankedNan) return {0, 0, SPF_ROW_NAN};
  if (best == 0) return {-INFINITY, 0, 0};
  const auto ordered = static_cast<uint32_t>(best >> 32);
  return {__uint_as_float(ordered ^ (ordered >> 31 != 0 ? 0x80000000u : 0xffffffffu)),
          static_cast<int64_t>(~static_cast<uint32_t>(best)), 0};
}

template <spf_scalar_type T>
__device__ uint64_t best_of_part(const RowPart<T>& part, BlockScratch& scratch) {
  float best = -INFINITY;
  int64_t index = -1;
  bool nan = false;
  part.each(part.begin, part.end, [&](float logit, int64_t i) {
    nan |= logit != logit;
    if (logit > best || index < 0) {
      best = logit;
      index = i;
    }
  });
  return block_maximum(nan ? kRankedNan : index < 0 ? 0 : ranked(best, index), scratch);
}

// The best of a row from those of its parts; every thread of the block gets it.
__device__ inline RowBest best_of_row(const uint64_t* parts_best, int32_t parts, BlockScratch& scratch) {
  return unranked(block_maximum(static_cast<int32_t>(threadIdx.x) < parts ? parts_best[threadIdx.x] : 0, scratch));
}

} // namespace spf::sampling
