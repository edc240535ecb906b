// Decode attention over paged keys, 8.0 and later; what a warp does is in decode_tiles.cuh.
//
// The tiles of 16 keys of all (sequence, KV head, head block) items, one after the other, are cut into equal shares,
// one for each block. Within an item the warps of a block take turns; each has its own ring of half tiles (keys,
// values) that cp.async fills, across items. At an item's end the block adds up its warps in their order. An item that
// lies in one block is done then; the parts of others go to the workspace, and a second kernel adds them in the order
// of the blocks.
#pragma once

#include "kernels/attention/decode_tiles.cuh"
#include "kernels/common/cuda/launch.cuh"

namespace spf::attention {

struct SplitArgs : DecodeArgs {
  int4* tails;  // by block: sequence, unit of the item that it begins and others finish, and the last of them
  float* parts; // by block and end: [2][heads][dims + 2]
};

template <int kHeads, int kDims>
struct Part {
  static constexpr int kFloats = kHeads * (kDims + 2);
  float* at; // [kHeads][kDims] sums, then [kHeads] largest scores (log2), then [kHeads] sums of weights

  __device__ __forceinline__ Part(const SplitArgs& args, int block, int end)
      : at(args.parts + (static_cast<int64_t>(block) * 2 + end) * kFloats) {}
  __device__ __forceinline__ float* sum(int head, int dim) const { return at + head * kDims + dim; }
  __device__ __forceinline__ float* largest(int head) const { return at + kHeads * kDims + head; }
  __device__ __forceinline__ float* weight(int head) const { return at + kHeads * (kDims + 1) + head; }
};

// Walks the segments of a block's share.
struct Share {
  const DecodeArgs& args;
  int64_t left; // tiles of the share after the current segment
  Segment now;

  static __device__ __forceinline__ int32_t tiles(int32_t first, int32_t length) {
    return length <= 0 ? 0 : Segment::tiles_up_to(length) - first / SplitGeometry::kKeys;
  }
  // Enters the current item at `begin`.
  __device__ __forceinline__ void enter(int32_t begin) {
    const int32_t end = Segment::tiles_up_to(now.length);
    now.begin = begin;
    now.end = left < end - begin ? begin + static_cast<int32_t>(left) : end;
    left -= now.end - now.begin;
  }
  // False past the last one.
  __device__ __forceinline__ bool next() {
    if (left <= 0) return false;
    if (++now.unit == args.units) {
      now.unit = 0;
      do args.span(++now.sequence, &now.first, &now.length);
      while (now.length <= 0);
    }
    enter(now.first / SplitGeometry::kKeys);
    return true;
  }
  __device__ __forceinline__ bool begins_item() const { return now.begin == now.first / SplitGeometry::kKeys; }
  __device__ __forceinline__ bool ends_item() const { return now.end * SplitGeometry::kKeys >= now.length; }
};

// --- equal shares --------------------------------------------------------------------------------------------------

struct ShareStart {
  int64_t warp_sums[SplitGeometry::kMaxWarps];
  int32_t sequence;
  int64_t before; // tiles of one unit of all sequences before it
};

// 64-bit division takes ten times as long as 32-bit division, and this one stands between a kernel and its first load.
__device__ __forceinline__ int64_t quotient(int64_t a, int64_t b) {
  if (((a | b) >> 32) == 0) return static_cast<uint32_t>(a) / static_cast<uint32_t>(b);
  return a / b;
}

// Finds where a block's share begins. False if it is empty.
__device__ __forceinline__ bool find_share(const SplitArgs& args, ShareStart& shared, Share* share,
                                           int64_t* per_block) {
  const auto tiles_of = [&](int64_t sequence) -> int64_t {
    if (sequence >= args.a.sequences) return 0;
    int32_t first, length;
    args.span(static_cast<int32_t>(sequence), &first, &length);
    return Share::tiles(first, length);
  };
  const int threads = static_cast<int>(blockDim.x);
  // One sequence a thread; of more, the total comes first.
  const bool once = args.a.sequences <= threads;
  int64_t total = 0, chunk_total;
  for (int64_t base = 0; !once && base < args.a.sequences; base += threads) {
    block_scan(tiles_of(base + threadIdx.x), &chunk_total, shared.warp_sums);
    total += chunk_total;
  }
  int64_t before = 0, begin = 0, all = 0;
  for (int64_t base = 0; base < args.a.sequences; base += threads) {
    const int64_t tiles = tiles_of(base + threadIdx.x);
    const int64_t at = before + block_scan(tiles, &chunk_total, shared.warp_sums);
    if (once) total = chunk_total;
    if (base == 0) {
      all = total * args.units;
      // A share keeps every warp busy, so that short contexts need no second kernel's work.
      const int64_t even = quotient(all + gridDim.x - 1, gridDim.x), least = threads / 32;
      *per_block = even < least ? least : even;
      begin = *per_block * blockIdx.x;
      if (begin >= all) return false;
    }
    if (at * args.units <= begin && begin < (at + tiles) * args.units) {
      shared.sequence = static_cast<int32_t>(base + threadIdx.x);
      shared.before = at;
    }
    before += chunk_total;
  }
  if (all == 0) return false;
  __syncthreads();
  share->now.sequence = shared.sequence;
  args.span(shared.sequence, &share->now.first, &share->now.length);
  const int64_t rest = begin - shared.before * args.units;
  const int32_t tiles = Share::tiles(share->now.first, share->now.length);
  share->now.unit = static_cast<int32_t>(quotient(rest, tiles));
  share->left = all - begin < *per_block ? all - begin : *per_block;
  share->enter(share->now.first / SplitGeometry::kKeys + static_cast<int32_t>(rest - int64_t{share->now.unit} * tiles));
  return true;
}

// Requests every line of the block tables, for lengths, then tables, then keys are three trips to memory, one after the
// other.
__device__ __forceinline__ void prefetch_tables(const AttentionArgs& a) {
  const uint32_t lines = static_cast<uint32_t>((a.table_width + 31) / 32);
  const uint32_t line = blockIdx.x * blockDim.x + threadIdx.x, sequence = line / lines;
  if (sequence < a.sequences) cuda::prefetch(a.block_tables + sequence * a.table_stride + line % lines * 32);
}

// --- the end of an item ----------------------------------------------------------------------------------------------

// Adds the warps of a block, in their order.
template <spf_scalar_type T, spf_scalar_type C, int kDims, int kTiles>
struct SplitSums {
  using Kernel = DecodeKernel<T, C, kDims, kTiles>;
  using PartOf = Part<Kernel::kHeads, kDims>;
  static constexpr int kHeads = Kernel::kHeads, kKeys = SplitGeometry::kKeys;
  static constexpr int kSlots = split_slots(kDims, KvType<C>::kBytes, kTiles), kRing = kSlots * Kernel::kSlotBytes;
  static constexpr int kSlice = split_slice(kTiles), kSlicePitch = split_slice_pitch(kTiles);

  const SplitArgs& args;
  Kernel& kernel;
  const int warps = static_cast<int>(blockDim.x) / 32, warp = static_cast<int>(threadIdx.x) / 32;
  float* const sums;    // [warps][kHeads][kSlicePitch]
  float* const largest; // [warps][kHeads]
  float* const weights; // [warps][kHeads]
  float* const totals;  // [2][kHeads]: of the block, largest and weight

  __device__ __forceinline__ SplitSums(const SplitArgs& a, Kernel& k, float* shared)
      : args(a),
        kernel(k),
        sums(shared),
        largest(shared + warps * kHeads * kSlicePitch),
        weights(largest + warps * kHeads),
        totals(weights + warps * kHeads) {}

  // Writes an output, or a part of one to the workspace.
  __device__ __forceinline__ void finish(const Segment& s, bool whole, int end) {
    kernel.store_weights(largest + warp * kHeads, weights + warp * kHeads);
    __syncthreads();
    const int own = static_cast<int>(threadIdx.x);
    if (own < kHeads) {
      totals[own] = block_largest(own);
      totals[kHeads + own] = block_weight(own);
    }
#pragma unroll
    for (int n = 0; n < kTiles; ++n) {
      float factor[2];
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const float most = block_largest(8 * n + 2 * kernel.t + i);
        factor[i] = kernel.top[n][i] == -INFINITY ? 0.0f : cuda::fast_exp2(kernel.top[n][i] - most);
      }
      kernel.mma.scale(n, factor);
    }
    const PartOf part(args, static_cast<int>(blockIdx.x), end);
#pragma unroll
    for (int slice = 0; slice < kDims; slice += kSlice) {
      kernel.mma.template store<kSlice>(sums + warp * kHeads * kSlicePitch, kSlicePitch, slice, kernel.g, kernel.t);
      __syncthreads();
      constexpr int kWide = kDims < kSlice ? kDims : kSlice;
      const int width = kDims - slice < kWide ? kDims - slice : kWide;
      for (int index = static_cast<int>(threadIdx.x); index < kHeads * width; index += static_cast<int>(blockDim.x)) {
        const int column = index / width, dim = index % width;
        const int head = kernel.head_of(s, column);
        if (head < 0) continue;
        float sum = 0;
        for (int w = 0; w < warps; ++w) sum += sums[(w * kHeads + column) * kSlicePitch + dim];
        if (whole)
          write_output<T>(args.a, s.sequence, head, slice + dim, sum, totals[column], totals[kHeads + column]);
        else
          *part.sum(column, slice + dim) = sum;
      }
      if (slice + kSlice < kDims) __syncthreads();
    }
    if (!whole && own < kHeads) {
      *part.largest(own) = totals[own];
      *part.weight(own) = totals[kHeads + own];
    }
    __syncthreads();
  }

  __device__ __forceinline__ float block_largest(int column) const {
    float most = -INFINITY;
    for (int w = 0; w < warps; ++w) most = fmaxf(most, largest[w * kHeads + column]);
    return most;
  }
  __device__ __forceinline__ float block_weight(int column) const {
    const float most = block_largest(column);
    float sum = 0;
    for (int w = 0; w < warps; ++w) {
      const float l = largest[w * kHeads + column];
      if (l != -INFINITY) sum += weights[w * kHeads + column] * cuda::fast_exp2(l - most);
    }
    return sum;
  }
};

// Sequences without keys, and everything that a block says of its share before it starts.
template <spf_scalar_type T>
__device__ __forceinline__ void write_empty(const AttentionArgs& a) {
  for (int64_t b = blockIdx.x; b < a.sequences; b += gridDim.x) {
    if (a.keys(b) > 0) continue;
    for (int64_t i = threadIdx.x; i < a.heads * a.dims; i += blockDim.x)
      write_output<T>(a, static_cast<int32_t>(b), static_cast<int>(i / a.dims), static_cast<int>(i % a.dims), 0.0f,
                      -INFINITY, 0.0f);
  }
}

template <spf_scalar_type T, spf_scalar_type C, int kDims, int kTiles>
__global__ void __launch_bounds__(32 * SplitGeometry::kMaxWarps, 1)
    split_decode(const __grid_constant__ SplitArgs args) {
  using Kernel = DecodeKernel<T, C, kDims, kTiles>;
  using Sums = SplitSums<T, C, kDims, kTiles>;
  SPF_DYNAMIC_SHARED(unsigned char, shared, 16);
  __shared__ ShareStart start;
  cuda::launch_dependents();
  cuda::wait_for_primary();
  prefetch_tables(args.a);
  Share share{args, 0, {}};
  int64_t per_block;
  const bool any = find_share(args, start, &share, &per_block);
  if (threadIdx.x == 0) args.tails[blockIdx.x] = make_int4(-1, 0, 0, 0);
  if (!any) {
    write_empty<T>(args.a);
    return;
  }
  const uint32_t ring = cuda::shared_address(shared) + static_cast<uint32_t>(threadIdx.x / 32 * Sums::kRing);
  Kernel kernel(args);
  Sums sums(args, kernel, reinterpret_cast<float*>(shared + blockDim.x / 32 * Sums::kRing));
  kernel.template run<Sums::kSlots>(share, static_cast<int>(threadIdx.x) / 32, static_cast<int>(blockDim.x) / 32,
                                    TableEntries(), ring, [&](const Segment& s, bool begins, bool ends) {
                                      sums.finish(s, begins && ends, begins ? 1 : 0);
                                      if (!begins || ends || threadIdx.x != 0) return;
                                      const int64_t rest = Segment::tiles_up_to(s.length) - s.end;
                                      const int64_t last = blockIdx.x + (rest + per_block - 1) / per_block;
                                      args.tails[blockIdx.x] = make_int4(s.sequence, s.unit, static_cast<int>(last), 0);
                                    });
  write_empty<T>(args.a);
}

// Adds the parts of an item: that of the block which begins it, then those of the blocks after it. A block of this grid
// takes one head of one item.
template <spf_scalar_type T, int kDims, int kTiles>
__global__ void __launch_bounds__(kDims) split_combine(const __grid_constant__ SplitArgs args) {
  constexpr int kHeads = 8 * kTiles;
  const int group = static_cast<int>(args.a.group());
  const int columns = group < kHeads ? group : kHeads;
  const int block = static_cast<int>(blockIdx.x) / columns, column = static_cast<int>(blockIdx.x) % columns;
  cuda::launch_dependents();
  cuda::wait_for_primary();
  const int4 tail = args.tails[block];
  if (tail.x < 0) return;
  const int in_group = tail.y % args.head_tiles * kHeads + column;
  if (in_group >= group) return;
  const int dim = static_cast<int>(threadIdx.x);
  constexpr int kAtOnce = 16; // loads under way
  float most = -INFINITY, sum = 0, weight = 0;
  for (int first = block; first <= tail.z; first += kAtOnce) {
    float part_most[kAtOnce], part_sum[kAtOnce], part_weight[kAtOnce], top = most;
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      const bool exists = first + i <= tail.z;
      const Part<kHeads, kDims> part(args, first + i, first + i == block ? 1 : 0);
      part_most[i] = exists ? *part.largest(column) : -INFINITY;
      part_weight[i] = exists ? *part.weight(column) : 0.0f;
      part_sum[i] = exists ? *part.sum(column, dim) : 0.0f;
    }
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) top = fmaxf(top, part_most[i]);
    const float before = most == -INFINITY ? 0.0f : cuda::fast_exp2(most - top);
    sum *= before;
    weight *= before;
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      const float factor = part_most[i] == -INFINITY ? 0.0f : cuda::fast_exp2(part_most[i] - top);
      sum += part_sum[i] * factor;
      weight += part_weight[i] * factor;
    }
    most = top;
  }
  write_output<T>(args.a, tail.x, tail.y / args.head_tiles * group + in_group, dim, sum, most, weight);
}

// --- launch --------------------------------------------------------------------------------------------------------

template <spf_scalar_type T, spf_scalar_type C, int kDims, int kTiles>
spf_status launch_split(const char* op, const AttentionArgs& a, const LaunchContext& ctx) {
  const SplitGeometry geometry = split_geometry(kDims, KvType<C>::kBytes, kTiles, *ctx.facts);
  const int64_t group = a.group(), heads = 8 * kTiles;
  SplitArgs args = {decode_args(a, kTiles), nullptr, nullptr};
  args.tails = static_cast<int4*>(ctx.workspace);
  args.parts = reinterpret_cast<float*>(args.tails + geometry.blocks);
  const spf_status status = cuda::launch(op, ctx, split_decode<T, C, kDims, kTiles>, geometry.blocks,
                                         32 * geometry.warps, geometry.shared_bytes, args);
  if (status != SPF_OK) return status;
  const int64_t columns = group < heads ? group : heads;
  return cuda::launch(op, cuda::following(ctx), split_combine<T, kDims, kTiles>, geometry.blocks * columns, kDims, 0,
                      args);
}

template <spf_scalar_type T, spf_scalar_type C, int kDims, int kTiles>
spf_status split(const Call& call, const LaunchContext& ctx) {
  return launch_split<T, C, kDims, kTiles>(call.problem.op->name, attention_args(call), ctx);
}

} // namespace spf::attention
