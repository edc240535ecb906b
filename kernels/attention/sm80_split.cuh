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

// Tiles of one unit of a sequence, 0 past the last one.
__device__ __forceinline__ int64_t tiles_of(const DecodeArgs& args, int64_t sequence) {
  if (sequence >= args.a.sequences) return 0;
  int32_t first, length;
  args.span(static_cast<int32_t>(sequence), &first, &length);
  return Share::tiles(first, length);
}

// The place of a block's share among the tiles of all items.
struct Place {
  int64_t per_block, begin, all;

  __device__ __forceinline__ Place(const DecodeArgs& args, int64_t tiles) : all(tiles * args.units) {
    // A share keeps every warp busy, so that short contexts need no second kernel's work.
    const int64_t even = quotient(all + gridDim.x - 1, gridDim.x), least = blockDim.x / 32;
    per_block = even < least ? least : even;
    begin = per_block * blockIdx.x;
  }
  __device__ __forceinline__ bool empty() const { return begin >= all; }
  __device__ __forceinline__ bool is_in(const DecodeArgs& args, int64_t before, int64_t tiles) const {
    return before * args.units <= begin && begin < (before + tiles) * args.units;
  }
};

// Finds the sequence in which a share begins and the tiles of one unit before it. Each warp finds the same, without a
// barrier, among up to 128 sequences.
__device__ __forceinline__ Place find_in_few(const DecodeArgs& args, int32_t* sequence, int64_t* before) {
  constexpr int kEach = 4;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  int64_t tiles[kEach], own = 0;
#pragma unroll
  for (int i = 0; i < kEach; ++i) own += tiles[i] = tiles_of(args, lane * kEach + i);
  int64_t inclusive = own;
#pragma unroll
  for (int step = 1; step < 32; step *= 2) {
    const int64_t other = __shfl_up_sync(0xffffffffu, inclusive, step);
    if (lane >= step) inclusive += other;
  }
  const Place place(args, __shfl_sync(0xffffffffu, inclusive, 31));
  int64_t at = inclusive - own, found = -1;
  int32_t which = 0;
#pragma unroll
  for (int i = 0; i < kEach; ++i) {
    if (place.is_in(args, at, tiles[i])) {
      found = at;
      which = lane * kEach + i;
    }
    at += tiles[i];
  }
  const unsigned finders = __ballot_sync(0xffffffffu, found >= 0);
  const int finder = finders != 0 ? __ffs(static_cast<int>(finders)) - 1 : 0;
  *sequence = __shfl_sync(0xffffffffu, which, finder);
  *before = __shfl_sync(0xffffffffu, found, finder);
  return place;
}

// The same among any number, by the whole block.
__device__ __forceinline__ Place find_in_many(const DecodeArgs& args, ShareStart& shared, int32_t* sequence,
                                              int64_t* before) {
  const int threads = static_cast<int>(blockDim.x);
  int64_t total = 0, chunk;
  for (int64_t base = 0; base < args.a.sequences; base += threads) {
    block_scan(tiles_of(args, base + threadIdx.x), &chunk, shared.warp_sums);
    total += chunk;
  }
  const Place place(args, total);
  if (place.empty()) return place; // all threads
  int64_t so_far = 0;
  for (int64_t base = 0; base < args.a.sequences; base += threads) {
    const int64_t tiles = tiles_of(args, base + threadIdx.x);
    const int64_t at = so_far + block_scan(tiles, &chunk, shared.warp_sums);
    if (place.is_in(args, at, tiles)) {
      shared.sequence = static_cast<int32_t>(base + threadIdx.x);
      shared.before = at;
    }
    so_far += chunk;
  }
  __syncthreads();
  *sequence = shared.sequence;
  *before = shared.before;
  return place;
}

// Finds where a block's share begins. False if it is empty.
__device__ __forceinline__ bool find_share(const SplitArgs& args, ShareStart& shared, Share* share,
                                           int64_t* per_block) {
  int64_t before;
  const Place place = args.a.sequences <= 128 ? find_in_few(args, &share->now.sequence, &before)
                                              : find_in_many(args, shared, &share->now.sequence, &before);
  *per_block = place.per_block;
  if (place.empty()) return false;
  args.span(share->now.sequence, &share->now.first, &share->now.length);
  const int64_t rest = place.begin - before * args.units;
  const int32_t tiles = Share::tiles(share->now.first, share->now.length);
  share->now.unit = static_cast<int32_t>(quotient(rest, tiles));
  share->left = place.all - place.begin < place.per_block ? place.all - place.begin : place.per_block;
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

  __device__ __forceinline__ SplitSums(const SplitArgs& a, Kernel& k, float* shared)
      : args(a),
        kernel(k),
        sums(shared),
        largest(shared + warps * kHeads * kSlicePitch),
        weights(largest + warps * kHeads) {}

  // Writes an output, or a part of one to the workspace. Two elements of a head a thread.
  __device__ __forceinline__ void finish(const Segment& s, bool whole, int end) {
    constexpr int kWide = kDims < kSlice ? kDims : kSlice, kWarps = SplitGeometry::kMaxWarps;
    const PartOf part(args, static_cast<int>(blockIdx.x), end);
    kernel.add_weights();
    kernel.store_heads(largest + warp * kHeads, kernel.top);
    kernel.store_heads(weights + warp * kHeads, kernel.weight);
#pragma unroll
    for (int slice = 0; slice < kDims; slice += kWide) {
      kernel.mma.template store<kSlice>(sums + warp * kHeads * kSlicePitch, kSlicePitch, slice, kernel.g, kernel.t);
      __syncthreads();
      for (int index = 2 * static_cast<int>(threadIdx.x); index < kHeads * kWide;
           index += 2 * static_cast<int>(blockDim.x)) {
        const int column = index / kWide, dim = slice + index % kWide, head = kernel.head_of(s, column);
        if (head < 0) continue;
        // A block may have fewer warps; all loads leave at once.
        float top[kWarps], most = -INFINITY, weight = 0;
        float2 sum = {0, 0};
#pragma unroll
        for (int w = 0; w < kWarps; ++w) {
          top[w] = w < warps ? largest[w * kHeads + column] : -INFINITY;
          most = fmaxf(most, top[w]);
        }
#pragma unroll
        for (int w = 0; w < kWarps; ++w) {
          if (w >= warps) continue;
          const float factor = top[w] == -INFINITY ? 0.0f : cuda::fast_exp2(top[w] - most);
          const float2 own =
              *reinterpret_cast<const float2*>(sums + (w * kHeads + column) * kSlicePitch + index % kWide);
          sum.x += own.x * factor;
          sum.y += own.y * factor;
          weight += weights[w * kHeads + column] * factor;
        }
        if (whole) {
          const int kv_head = args.kv_head_of(s.unit);
          write_output<T>(args.a, s.sequence, head, kv_head, dim, sum.x, most, weight);
          write_output<T>(args.a, s.sequence, head, kv_head, dim + 1, sum.y, most, weight);
        } else {
          *reinterpret_cast<float2*>(part.sum(column, dim)) = sum;
          if (dim == 0) {
            *part.largest(column) = most;
            *part.weight(column) = weight;
          }
        }
      }
      __syncthreads();
    }
  }
};

// Sequences without keys, and everything that a block says of its share before it starts.
template <spf_scalar_type T>
__device__ __forceinline__ void write_empty(const AttentionArgs& a) {
  for (int64_t b = blockIdx.x; b < a.sequences; b += gridDim.x) {
    if (a.keys(b) > 0) continue;
    for (int64_t i = threadIdx.x; i < a.heads * a.dims; i += blockDim.x)
      write_output<T>(a, static_cast<int32_t>(b), static_cast<int>(i / a.dims), 0, static_cast<int>(i % a.dims), 0.0f,
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
  const int group = args.group;
  const int columns = group < kHeads ? group : kHeads;
  const int block = static_cast<int>(blockIdx.x) / columns, column = static_cast<int>(blockIdx.x) % columns;
  cuda::launch_dependents();
  cuda::wait_for_primary();
  const int4 tail = args.tails[block];
  if (tail.x < 0) return;
  const int in_group = args.head_tile_of(tail.y) * kHeads + column, kv_head = args.kv_head_of(tail.y);
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
  write_output<T>(args.a, tail.x, kv_head * group + in_group, kv_head, dim, sum, most, weight);
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
