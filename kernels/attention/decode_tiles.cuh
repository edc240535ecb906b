// What decode kernels share: a warp's walk over tiles of 16 keys of a paged cache, half tiles (keys, values) ahead in
// its ring of shared memory, and the products. The query heads of a KV head are the N side of mma.m16n8k16, so that
// keys and values are read once for all of them and are A operands as they lie in memory:
//   S^T[key][head] = K Q^T,  O^T[dim][head] += V^T P^T.
//
// A kernel says which items (a KV head of a sequence, up to 16 of its query heads) a block walks, and what becomes of
// the sums at the end of each.
#pragma once

#include <type_traits>

#include "kernels/attention/args.h"
#include "kernels/attention/sm80_split.hpp"
#include "kernels/attention/tiles.cuh"
#include "kernels/common/cuda/async.cuh"
#include "kernels/common/cuda/math.cuh"
#include "kernels/common/cuda/memory.cuh"

namespace spf::attention {

struct DecodeArgs {
  AttentionArgs a;
  int32_t group;      // query heads of a KV head
  int32_t head_tiles; // items of a KV head
  int32_t units;      // items of a sequence
  int32_t block_shift;

  // Of an item. Where a division is not needed, a kernel of a few microseconds should not wait for one.
  __device__ __forceinline__ int kv_head_of(int unit) const { return head_tiles == 1 ? unit : unit / head_tiles; }
  __device__ __forceinline__ int head_tile_of(int unit) const { return head_tiles == 1 ? 0 : unit % head_tiles; }

  // Keys [*first, *length) are seen.
  __device__ __forceinline__ void span(int32_t sequence, int32_t* first, int32_t* length) const {
    *length = static_cast<int32_t>(a.keys(sequence));
    *first = static_cast<int32_t>(a.first_seen(*length - 1));
  }
};

// head_tiles: of 8 query heads, of an instance.
inline DecodeArgs decode_args(const AttentionArgs& a, int64_t head_tiles) {
  const int64_t heads = 8 * head_tiles;
  DecodeArgs args = {};
  args.a = a;
  args.group = static_cast<int32_t>(a.group());
  args.head_tiles = static_cast<int32_t>((a.group() + heads - 1) / heads);
  args.units = static_cast<int32_t>(a.kv_heads * args.head_tiles);
  while ((int64_t{1} << args.block_shift) < a.block_size) ++args.block_shift;
  return args;
}

// A run of tiles of one item that belongs to one block.
struct Segment {
  int32_t sequence, unit;
  int32_t begin, end;    // tiles of 16 keys
  int32_t first, length; // keys [first, length) are seen

  static __device__ __forceinline__ int32_t tiles_up_to(int32_t keys) {
    return (keys + SplitGeometry::kKeys - 1) / SplitGeometry::kKeys;
  }
};

// The query head of a column of an item, -1 past the group: those are computed and not written.
template <int kHeads>
__device__ __forceinline__ int head_of(const DecodeArgs& args, const Segment& s, int column) {
  const int in_group = args.head_tile_of(s.unit) * kHeads + column;
  return in_group < args.group ? args.kv_head_of(s.unit) * args.group + in_group : -1;
}

// --- copies --------------------------------------------------------------------------------------------------------

// Block table entries of a warp's next 32 tiles, one a lane: a tile's two blocks of 8 keys, or its block.
struct TableEntries {
  int32_t block[2] = {0, 0};
  bool known = false;

  TableEntries() = default;
  // Of the tiles tile, tile + stride and so on, as far as they begin below `room` keys.
  __device__ __forceinline__ TableEntries(const DecodeArgs& args, int32_t sequence, int32_t tile, int32_t stride,
                                          int32_t room)
      : known(true) {
    const int32_t* const table = args.a.block_tables + sequence * args.a.table_stride;
    const int64_t position = (int64_t{threadIdx.x} % 32 * stride + tile) * SplitGeometry::kKeys;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int64_t p = position + half * 8;
      if ((half == 0 || args.block_shift == 3) && p < room) block[half] = table[p >> args.block_shift];
    }
  }
};

// A warp's walk over its half tiles, ahead of the products. What it costs a half tile is counted in instructions, so
// all that is the same for a segment is worked out when it begins. Walk: segments, `now` and next().
template <spf_scalar_type C, int kDims, class Walk>
struct Feed {
  static constexpr int kBytes = KvType<C>::kBytes, kKeys = SplitGeometry::kKeys;
  static constexpr int kChunks = kDims * kBytes / 16; // of a row
  static constexpr int kPitch = kDims * kBytes + 16;
  // A request of the warp covers kWide chunks of 32 / kWide rows.
  static constexpr int kWide = kChunks % 16 == 0 ? 16 : kChunks % 8 == 0 ? 8 : kChunks % 4 == 0 ? 4 : 2;
  static constexpr int kRows = 32 / kWide;

  const DecodeArgs& args;
  Walk walk;
  const int32_t first, stride; // of a segment's tiles, this warp's
  const int lane = static_cast<int>(threadIdx.x) % 32, row = lane / kWide, byte = lane % kWide * 16;
  bool more = true;
  int32_t tile;         // next one of this warp
  int32_t source = 32;  // lane that knows its block; 32: nobody yet
  TableEntries entries; // of 32 tiles
  int32_t block[2];     // of the current tile
  // Of keys and of values. Strides are counted in pieces of 16 bytes where a product of two 32-bit numbers will do.
  const char* start[2];   // the segment's head in block 0, this lane's row and chunk
  int64_t step[2];        // bytes from a request's rows to the next request's
  uint32_t block_step[2]; // pieces from a block to the next
  uint32_t token_step[2]; // pieces from a token to the next

  // ahead: entries of the first 32 tiles, if they are known already.
  __device__ __forceinline__ Feed(const DecodeArgs& d, const Walk& w, int32_t first_tile, int32_t tile_stride,
                                  const TableEntries& ahead)
      : args(d), walk(w), first(first_tile), stride(tile_stride) {
#pragma unroll
    for (int which = 0; which < 2; ++which) {
      const RowStride& s = which == 0 ? args.a.key_stride : args.a.value_stride;
      step[which] = s.token * kBytes * kRows;
      block_step[which] = static_cast<uint32_t>(s.block * kBytes / 16);
      token_step[which] = static_cast<uint32_t>(s.token * kBytes / 16);
    }
    enter();
    if (ahead.known) {
      entries = ahead;
      source = 0;
    }
    settle();
  }

  __device__ __forceinline__ void enter() {
    tile = walk.now.begin + first;
    source = 32;
    const int64_t head = args.kv_head_of(walk.now.unit);
    start[0] = static_cast<const char*>(args.a.key) +
               (head * args.a.key_stride.head + row * args.a.key_stride.token) * kBytes + byte;
    start[1] = static_cast<const char*>(args.a.value) +
               (head * args.a.value_stride.head + row * args.a.value_stride.token) * kBytes + byte;
  }
  // Moves on to a segment that has a tile for this warp.
  __device__ __forceinline__ void settle() {
    while (more && tile >= walk.now.end) {
      more = walk.next();
      enter();
    }
  }
  __device__ __forceinline__ void advance() {
    tile += stride;
    ++source;
    settle();
  }

  // Requests the keys (kWhich 0) or values (1) of the current tile; keys come first.
  template <int kWhich>
  __device__ __forceinline__ void copy(uint32_t to) {
    if constexpr (kWhich == 0) {
      if (source == 32) {
        entries = TableEntries(args, walk.now.sequence, tile, stride, walk.now.length);
        source = 0;
      }
      block[0] = __shfl_sync(0xffffffffu, entries.block[0], source);
      block[1] = args.block_shift == 3 ? __shfl_sync(0xffffffffu, entries.block[1], source) : block[0];
    }
    const int32_t position = tile * kKeys, in_block = position & ((1 << args.block_shift) - 1);
    const auto pieces = [](uint32_t count, uint32_t each) { return static_cast<uint64_t>(count) * each * 16; };
    const char* const low = start[kWhich] + pieces(static_cast<uint32_t>(block[0]), block_step[kWhich]) +
                            pieces(static_cast<uint32_t>(in_block), token_step[kWhich]);
    const char* const high = args.block_shift == 3
                                 ? start[kWhich] + pieces(static_cast<uint32_t>(block[1]), block_step[kWhich])
                                 : low + pieces(8, token_step[kWhich]);
    to += static_cast<uint32_t>(row * kPitch + byte);
    if (position >= walk.now.first && position + kKeys <= walk.now.length)
      request<kWhich>(to, low, high, [](int) { return true; });
    else
      request<kWhich>(to, low, high, [&](int i) {
        const int32_t key = position + row + i * kRows;
        return key >= walk.now.first && key < walk.now.length;
      });
  }

 private:
  // Rows 0 to 7 of the tile from `low` on, the others from `high` on, those that seen(request) says; others are zeros.
  template <int kWhich, class Seen>
  __device__ __forceinline__ void request(uint32_t to, const char* low, const char* high, Seen&& seen) const {
    const int32_t rest = static_cast<int32_t>(args.a.dims) * kBytes - byte;
    const char* at = low;
    if constexpr (kRows == 16) at = row < 8 ? low : high - step[kWhich] / 2;
#pragma unroll
    for (int i = 0; i < kKeys / kRows; ++i) {
      if (i * kRows == 8) at = high;
#pragma unroll
      for (int j = 0; j < kChunks / kWide; ++j) {
        int bytes = rest > j * kWide * 16 ? 16 : 0;
        if constexpr (kBytes == 1) bytes = bytes == 16 && rest - j * kWide * 16 == 8 ? 8 : bytes;
        cuda::copy_async_part(to + static_cast<uint32_t>(i * kRows * kPitch + j * kWide * 16), at + j * kWide * 16,
                              seen(i) ? bytes : 0);
      }
      at += step[kWhich];
    }
  }
};

// --- products ----------------------------------------------------------------------------------------------------

template <spf_scalar_type T, spf_scalar_type C, int kDims, int kTiles>
struct DecodeKernel {
  static constexpr int kHeads = 8 * kTiles;
  static constexpr int kSlotBytes = split_slot_bytes(kDims, KvType<C>::kBytes);
  static constexpr int kPitch = kDims * KvType<C>::kBytes + 16;
  static constexpr int kKeys = SplitGeometry::kKeys;
  using Mma = AttentionMma<T, C, kDims, kTiles>;

  const DecodeArgs& args;
  const int warps = static_cast<int>(blockDim.x) / 32, warp = static_cast<int>(threadIdx.x) / 32;
  const int lane = static_cast<int>(threadIdx.x) % 32, g = lane / 4, t = lane % 4;
  Mma mma;
  float top[kTiles][2], weight[kTiles][2]; // of heads 2t, 2t + 1: the largest score so far, this lane's sum of weights

  __device__ __forceinline__ explicit DecodeKernel(const DecodeArgs& a) : args(a) {}

  __device__ __forceinline__ int head_of(const Segment& s, int column) const {
    return attention::head_of<kHeads>(args, s, column);
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

  // Makes the sums of weights those of the whole warp, as the largest scores are.
  __device__ __forceinline__ void add_weights() {
#pragma unroll
    for (int n = 0; n < kTiles; ++n)
#pragma unroll
      for (int i = 0; i < 2; ++i)
#pragma unroll
        for (int step = 4; step < 32; step *= 2) weight[n][i] += __shfl_xor_sync(0xffffffffu, weight[n][i], step);
  }
  // The largest scores, or the sums of weights, to [kHeads].
  __device__ __forceinline__ void store_heads(float* to, const float (&values)[kTiles][2]) const {
    if (g != 0) return;
#pragma unroll
    for (int n = 0; n < kTiles; ++n)
      *reinterpret_cast<float2*>(to + 8 * n + 2 * t) = make_float2(values[n][0], values[n][1]);
  }

  // Walks the segments. Of each, this warp takes the tiles first, first + stride and so on; finish(segment, begins,
  // ends) says of a segment that is through whether it is the beginning and the end of its item.
  // kSlots: half tiles in the ring.
  template <int kSlots, class Walk, class Finish>
  __device__ __forceinline__ void run(const Walk& walk, int32_t first, int32_t stride, const TableEntries& ahead,
                                      uint32_t ring, Finish&& finish) {
    using namespace spf::cuda;
    static_assert(kSlots >= 3);
    Feed<C, kDims, Walk> feed(args, walk, first, stride, ahead);
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
    Walk at = walk;
    bool more = true;
    while (more) {
      const Segment s = at.now;
      const bool begins = at.begins_item(), ends = at.ends_item();
      const int kv_head = args.kv_head_of(s.unit);
      const float k_scale = args.a.k_scale != nullptr ? args.a.k_scale[kv_head * args.a.scale_stride] : 1.0f;
      const float scale = args.a.scale * k_scale * kLog2e;
      begin(s);
      for (int tile = s.begin + first; tile < s.end; tile += stride) {
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
      finish(s, begins, ends);
      more = at.next();
    }
    wait_for_copies<0>();
  }
};

} // namespace spf::attention
