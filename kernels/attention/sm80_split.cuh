// Decode attention over paged keys, 8.0 and later. The query heads of a KV head are the N side of mma.m16n8k16, so that
// keys and values are read once for all of them and are A operands as they lie in memory:
//   S^T[key][head] = K Q^T,  O^T[dim][head] += V^T P^T.
//
// The tiles of 16 keys of all (sequence, KV head, head block) items, one after the other, are cut into equal shares,
// one for each block. Within an item the warps of a block take turns; each has its own ring of half tiles (keys,
// values) that cp.async fills, across items. At an item's end the block adds up its warps in their order. An item that
// lies in one block is done then; the parts of others go to the workspace, and a second kernel adds them in the order
// of the blocks.
#pragma once

#include <type_traits>

#include "kernels/attention/args.h"
#include "kernels/attention/sm80_split.hpp"
#include "kernels/attention/tiles.cuh"
#include "kernels/common/cuda/async.cuh"
#include "kernels/common/cuda/launch.cuh"
#include "kernels/common/cuda/math.cuh"
#include "kernels/common/cuda/memory.cuh"

namespace spf::attention {

struct SplitArgs {
  AttentionArgs a;
  int4* tails;        // by block: sequence, unit of the item that it begins and others finish, and the last of them
  float* parts;       // by block and end: [2][heads][dims + 2]
  int32_t head_tiles; // items of a KV head
  int32_t units;      // items of a sequence
  int32_t block_shift;
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

// A run of tiles of one item that belongs to one block.
struct Segment {
  int32_t sequence, unit;
  int32_t begin, end;    // tiles of 16 keys
  int32_t first, length; // keys [first, length) are seen
};

// Walks the segments of a block's share.
struct Share {
  const SplitArgs& args;
  int64_t left; // tiles of the share after the current segment
  Segment now;

  __device__ __forceinline__ void span(int32_t sequence, int32_t* first, int32_t* length) const {
    *length = static_cast<int32_t>(args.a.keys(sequence));
    *first = static_cast<int32_t>(args.a.first_seen(*length - 1));
  }
  static __device__ __forceinline__ int32_t tiles(int32_t first, int32_t length) {
    return length <= 0 ? 0 : (length + SplitGeometry::kKeys - 1) / SplitGeometry::kKeys - first / SplitGeometry::kKeys;
  }
  // Enters the current item at `begin`.
  __device__ __forceinline__ void enter(int32_t begin) {
    const int32_t end = (now.length + SplitGeometry::kKeys - 1) / SplitGeometry::kKeys;
    now.begin = begin;
    now.end = left < end - begin ? begin + static_cast<int32_t>(left) : end;
    left -= now.end - now.begin;
  }
  // False past the last one.
  __device__ __forceinline__ bool next() {
    if (left <= 0) return false;
    if (++now.unit == args.units) {
      now.unit = 0;
      do span(++now.sequence, &now.first, &now.length);
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
    share->span(static_cast<int32_t>(sequence), &first, &length);
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
  share->span(shared.sequence, &share->now.first, &share->now.length);
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

// --- copies --------------------------------------------------------------------------------------------------------

// A warp's walk over its half tiles, ahead of the products. What it costs a half tile is counted in instructions, so
// all that is the same for a segment is worked out when it begins.
template <spf_scalar_type C, int kDims>
struct Feed {
  static constexpr int kBytes = KvType<C>::kBytes, kKeys = SplitGeometry::kKeys;
  static constexpr int kChunks = kDims * kBytes / 16; // of a row
  static constexpr int kPitch = kDims * kBytes + 16;
  // A request of the warp covers kWide chunks of 32 / kWide rows.
  static constexpr int kWide = kChunks % 16 == 0 ? 16 : kChunks % 8 == 0 ? 8 : kChunks % 4 == 0 ? 4 : 2;
  static constexpr int kRows = 32 / kWide;

  const SplitArgs& args;
  Share share;
  const int warp = static_cast<int>(threadIdx.x) / 32, warps = static_cast<int>(blockDim.x) / 32;
  const int lane = static_cast<int>(threadIdx.x) % 32, row = lane / kWide, byte = lane % kWide * 16;
  bool more = true;
  int32_t tile;         // next one of this warp
  int32_t source;       // lane that knows its block; 32: nobody yet
  int32_t entry[2];     // a tile's two blocks of 8 keys, or its block
  int32_t block[2];     // of the current tile
  const char* start[2]; // keys and values of the segment's head in block 0, this lane's row and chunk
  int64_t pitch[2];     // bytes from a key to the next

  __device__ __forceinline__ Feed(const SplitArgs& a, const Share& s) : args(a), share(s) {
    pitch[0] = a.a.key_stride.token * kBytes;
    pitch[1] = a.a.value_stride.token * kBytes;
    enter();
    settle();
  }

  __device__ __forceinline__ void enter() {
    tile = share.now.begin + warp;
    source = 32;
    const int64_t head = share.now.unit / args.head_tiles;
    start[0] = static_cast<const char*>(args.a.key) + head * args.a.key_stride.head * kBytes + row * pitch[0] + byte;
    start[1] =
        static_cast<const char*>(args.a.value) + head * args.a.value_stride.head * kBytes + row * pitch[1] + byte;
  }
  // Moves on to a segment that has a tile for this warp.
  __device__ __forceinline__ void settle() {
    while (more && tile >= share.now.end) {
      more = share.next();
      enter();
    }
  }
  __device__ __forceinline__ void advance() {
    tile += warps;
    ++source;
    settle();
  }

  // Block table entries of this warp's next 32 tiles, one a lane.
  __device__ __forceinline__ void look_up() {
    const int32_t* const table = args.a.block_tables + share.now.sequence * args.a.table_stride;
    const int32_t position = (tile + lane * warps) * kKeys;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int32_t p = position + half * 8;
      entry[half] = 0;
      if ((half == 0 || args.block_shift == 3) && p < share.now.length) entry[half] = table[p >> args.block_shift];
    }
    source = 0;
  }

  // Requests the keys (kWhich 0) or values (1) of the current tile; keys come first.
  template <int kWhich>
  __device__ __forceinline__ void copy(uint32_t to) {
    if constexpr (kWhich == 0) {
      if (source == 32) look_up();
      block[0] = __shfl_sync(0xffffffffu, entry[0], source);
      block[1] = args.block_shift == 3 ? __shfl_sync(0xffffffffu, entry[1], source) : block[0];
    }
    const RowStride& stride = kWhich == 0 ? args.a.key_stride : args.a.value_stride;
    const int32_t position = tile * kKeys, in_block = position & ((1 << args.block_shift) - 1);
    const char* from[2];
    from[0] = start[kWhich] + block[0] * (stride.block * kBytes) + in_block * pitch[kWhich];
    from[1] = args.block_shift == 3 ? start[kWhich] + block[1] * (stride.block * kBytes) : from[0] + 8 * pitch[kWhich];
    if constexpr (kRows == 16) from[0] = row < 8 ? from[0] : from[1] - 8 * pitch[kWhich];
    to += static_cast<uint32_t>(row * kPitch + byte);
    const int32_t rest = static_cast<int32_t>(args.a.dims) * kBytes - byte;
    const bool edge = position < share.now.first || position + kKeys > share.now.length;
#pragma unroll
    for (int i = 0; i < kKeys / kRows; ++i) {
      const char* const at =
          (i * kRows < 8 ? from[0] + i * kRows * pitch[kWhich] : from[1] + (i * kRows - 8) * pitch[kWhich]);
      const int32_t key = position + row + i * kRows;
      const bool seen = !edge || (key >= share.now.first && key < share.now.length);
#pragma unroll
      for (int j = 0; j < kChunks / kWide; ++j) {
        const int left = rest - j * kWide * 16, bytes = left < 0 ? 0 : left < 16 ? left : 16;
        copy_row_chunk(to + static_cast<uint32_t>(i * kRows * kPitch + j * kWide * 16), at + j * kWide * 16,
                       seen ? bytes : 0);
      }
    }
  }
};

// --- the kernel ----------------------------------------------------------------------------------------------------

template <spf_scalar_type T, spf_scalar_type C, int kDims, int kTiles>
struct SplitKernel {
  static constexpr int kHeads = 8 * kTiles;
  static constexpr int kSlots = split_slots(kDims, KvType<C>::kBytes, kTiles);
  static constexpr int kSlotBytes = split_slot_bytes(kDims, KvType<C>::kBytes);
  static constexpr int kPitch = kDims * KvType<C>::kBytes + 16;
  static constexpr int kKeys = SplitGeometry::kKeys;
  static constexpr int kSlice = split_slice(kTiles), kSlicePitch = split_slice_pitch(kTiles);
  using Mma = AttentionMma<T, C, kDims, kTiles>;
  using PartOf = Part<kHeads, kDims>;
  static_assert(kSlots >= 3);

  const SplitArgs& args;
  const int warps = static_cast<int>(blockDim.x) / 32, warp = static_cast<int>(threadIdx.x) / 32;
  const int lane = static_cast<int>(threadIdx.x) % 32, g = lane / 4, t = lane % 4;
  float* const sums;    // [warps][kHeads][kSlicePitch]
  float* const largest; // [warps][kHeads]
  float* const weights; // [warps][kHeads]
  float* const totals;  // [2][kHeads]: of the block, largest and weight
  Mma mma;
  float top[kTiles][2], weight[kTiles][2]; // of heads 2t, 2t + 1: the largest score so far, this lane's sum of weights

  __device__ __forceinline__ SplitKernel(const SplitArgs& a, float* shared)
      : args(a),
        sums(shared),
        largest(shared + warps * kHeads * kSlicePitch),
        weights(largest + warps * kHeads),
        totals(weights + warps * kHeads) {}

  // The query head of a column of the current item; heads past the group are computed and not written.
  __device__ __forceinline__ int head_of(const Segment& s, int column) const {
    const int group = static_cast<int>(args.a.group());
    const int in_group = s.unit % args.head_tiles * kHeads + column;
    return in_group < group ? s.unit / args.head_tiles * group + in_group : -1;
  }

  __device__ __forceinline__ void begin(const Segment& s) {
#pragma unroll
    for (int n = 0; n < kTiles; ++n) {
      const int head = head_of(s, 8 * n + g);
      const char* const row = head < 0 ? nullptr
                                       : static_cast<const char*>(args.a.query) +
                                             (s.sequence * args.a.query_stride[0] + head * args.a.query_stride[1]) * 2;
      mma.load_query(n, row, static_cast<int>(args.a.dims), t);
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        top[n][i] = -INFINITY;
        weight[n][i] = 0;
      }
    }
    mma.clear();
  }

  // Scores of the tile at `position`, scaled to base 2, to weights; sums and weights so far follow the new maximum.
  __device__ __forceinline__ void soft_max(const Segment& s, int position, float (&score)[kTiles][4], float scale,
                                           uint32_t (&p)[kTiles][2]) {
    const bool edge = position < s.first || position + kKeys > s.length;
    const bool plain = args.a.softcap <= 0 && args.a.alibi_slopes == nullptr;
#pragma unroll
    for (int n = 0; n < kTiles; ++n) {
      // Of an fp8 cache, the query was scaled by a power of two.
      const float each[2] = {scale * mma.query_step(n, 0), scale * mma.query_step(n, 1)};
#pragma unroll
      for (int i = 0; i < 4; ++i) score[n][i] *= each[i & 1];
      if (!plain) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          float x = score[n][i] * (1 / cuda::kLog2e);
          if (args.a.softcap > 0) x = args.a.softcap * tanhf(x / args.a.softcap);
          const int head = head_of(s, 8 * n + 2 * t + (i & 1));
          if (args.a.alibi_slopes != nullptr && head >= 0)
            x -= args.a.alibi_slopes[head] * static_cast<float>(s.length - 1 - (position + g + (i & 2) * 4));
          score[n][i] = x * cuda::kLog2e;
        }
      }
      if (edge) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const int key = position + g + (i & 2) * 4;
          if (key < s.first || key >= s.length) score[n][i] = -INFINITY;
        }
      }
      float most[2] = {fmaxf(score[n][0], score[n][2]), fmaxf(score[n][1], score[n][3])};
#pragma unroll
      for (int step = 4; step < 32; step *= 2) {
        most[0] = fmaxf(most[0], __shfl_xor_sync(0xffffffffu, most[0], step));
        most[1] = fmaxf(most[1], __shfl_xor_sync(0xffffffffu, most[1], step));
      }
      if (__any_sync(0xffffffffu, most[0] > top[n][0] || most[1] > top[n][1])) {
        float factor[2];
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          const float now = fmaxf(top[n][i], most[i]);
          factor[i] = now == -INFINITY ? 1.0f : cuda::fast_exp2(top[n][i] - now);
          top[n][i] = now;
          weight[n][i] *= factor[i];
        }
        mma.scale(n, factor);
      }
      const float zero[2] = {top[n][0] == -INFINITY ? 0.0f : top[n][0], top[n][1] == -INFINITY ? 0.0f : top[n][1]};
#pragma unroll
      for (int i = 0; i < 4; ++i) score[n][i] = cuda::fast_exp2(score[n][i] - zero[i & 1]);
      weight[n][0] += score[n][0] + score[n][2];
      weight[n][1] += score[n][1] + score[n][3];
      p[n][0] = transpose8x8(Mma::pack(score[n][0], score[n][1]));
      p[n][1] = transpose8x8(Mma::pack(score[n][2], score[n][3]));
    }
  }

  // Adds the warps of a block, in their order, and writes an output, or a part of one to the workspace.
  __device__ __forceinline__ void finish(const Segment& s, bool whole, int end) {
#pragma unroll
    for (int n = 0; n < kTiles; ++n)
#pragma unroll
      for (int i = 0; i < 2; ++i) {
#pragma unroll
        for (int step = 4; step < 32; step *= 2) weight[n][i] += __shfl_xor_sync(0xffffffffu, weight[n][i], step);
        if (g == 0) {
          largest[warp * kHeads + 8 * n + 2 * t + i] = top[n][i];
          weights[warp * kHeads + 8 * n + 2 * t + i] = weight[n][i];
        }
      }
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
        const float most = block_largest(8 * n + 2 * t + i);
        factor[i] = top[n][i] == -INFINITY ? 0.0f : cuda::fast_exp2(top[n][i] - most);
      }
      mma.scale(n, factor);
    }
    const PartOf part(args, static_cast<int>(blockIdx.x), end);
#pragma unroll
    for (int slice = 0; slice < kDims; slice += kSlice) {
      mma.template store<kSlice>(sums + warp * kHeads * kSlicePitch, kSlicePitch, slice, g, t);
      __syncthreads();
      constexpr int kWide = kDims < kSlice ? kDims : kSlice;
      const int width = kDims - slice < kWide ? kDims - slice : kWide;
      for (int index = static_cast<int>(threadIdx.x); index < kHeads * width; index += static_cast<int>(blockDim.x)) {
        const int column = index / width, dim = index % width;
        const int head = head_of(s, column);
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

  __device__ __forceinline__ void run(const Share& share, uint32_t ring, int64_t per_block) {
    using namespace spf::cuda;
    Feed<C, kDims> feed(args, share);
    int filled = 0; // the slot that the next half tile goes to
    const auto request = [&](auto which) {
      if (feed.more) {
        feed.template copy<decltype(which)::value>(ring + static_cast<uint32_t>(filled * kSlotBytes));
        if constexpr (decltype(which)::value == 1) feed.advance();
      }
      commit_copies();
      filled = filled + 1 == kSlots ? 0 : filled + 1;
    };
    using Keys = std::integral_constant<int, 0>;
    using Values = std::integral_constant<int, 1>;
#pragma unroll 1
    for (int i = 0; i < (kSlots - 1) / 2; ++i) {
      request(Keys());
      request(Values());
    }
    if constexpr (kSlots % 2 == 0) request(Keys());
    // When keys are at hand, kSlots - 1 half tiles later keys come up again, or values.
    using AtKeys = std::conditional_t<kSlots % 2 == 0, Values, Keys>;
    using AtValues = std::conditional_t<kSlots % 2 == 0, Keys, Values>;

    int slot = 0;
    Share at = share;
    bool more = true;
    while (more) {
      const Segment s = at.now;
      const bool begins = at.begins_item(), ends = at.ends_item();
      const int kv_head = s.unit / args.head_tiles;
      const float k_scale = args.a.k_scale != nullptr ? args.a.k_scale[kv_head * args.a.scale_stride] : 1.0f;
      const float scale = args.a.scale * k_scale * kLog2e;
      begin(s);
      for (int tile = s.begin + warp; tile < s.end; tile += warps) {
        // The half tile at hand is there; the one before it has been read by every lane, so its slot may be filled.
        const auto next = [&](auto requested) {
          wait_for_copies<kSlots - 2>();
          __syncwarp();
          request(requested);
          const uint32_t address = ring + static_cast<uint32_t>(slot * kSlotBytes);
          slot = slot + 1 == kSlots ? 0 : slot + 1;
          return address;
        };
        float score[kTiles][4];
        mma.scores(next(AtKeys()), kPitch, lane, score);
        uint32_t p[kTiles][2];
        soft_max(s, tile * kKeys, score, scale, p);
        mma.add_values(next(AtValues()), kPitch, lane, p);
      }
      finish(s, begins && ends, begins ? 1 : 0);
      if (begins && !ends && threadIdx.x == 0) {
        const int64_t rest = (s.length + kKeys - 1) / kKeys - s.end;
        const int64_t last = blockIdx.x + (rest + per_block - 1) / per_block;
        args.tails[blockIdx.x] = make_int4(s.sequence, s.unit, static_cast<int>(last), 0);
      }
      more = at.next();
    }
    wait_for_copies<0>();
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
  using Kernel = SplitKernel<T, C, kDims, kTiles>;
  extern __shared__ __align__(16) unsigned char shared[];
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
  const uint32_t ring =
      cuda::shared_address(shared) + static_cast<uint32_t>(threadIdx.x / 32 * Kernel::kSlots * Kernel::kSlotBytes);
  Kernel kernel(args, reinterpret_cast<float*>(shared + blockDim.x / 32 * Kernel::kSlots * Kernel::kSlotBytes));
  kernel.run(share, ring, per_block);
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
  SplitArgs args;
  args.a = a;
  args.tails = static_cast<int4*>(ctx.workspace);
  args.parts = reinterpret_cast<float*>(args.tails + geometry.blocks);
  args.head_tiles = static_cast<int32_t>((group + heads - 1) / heads);
  args.units = static_cast<int32_t>(a.kv_heads * args.head_tiles);
  args.block_shift = 0;
  while ((int64_t{1} << args.block_shift) < a.block_size) ++args.block_shift;
  const spf_status status = cuda::launch(op, ctx, split_decode<T, C, kDims, kTiles>, geometry.blocks,
                                         32 * geometry.warps, geometry.shared_bytes, args);
  if (status != SPF_OK) return status;
  LaunchContext dependent = ctx;
  dependent.flags |= SPF_LAUNCH_PDL; // its first instruction waits for the kernel above
  const int64_t columns = group < heads ? group : heads;
  return cuda::launch(op, dependent, split_combine<T, kDims, kTiles>, geometry.blocks * columns, kDims, 0, args);
}

template <spf_scalar_type T, spf_scalar_type C, int kDims, int kTiles>
spf_status split(const Call& call, const LaunchContext& ctx) {
  return launch_split<T, C, kDims, kTiles>(call.problem.op->name, attention_args(call), ctx);
}

} // namespace spf::attention
