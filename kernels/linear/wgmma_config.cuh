// What sm90_wgmma's kernel is given and built for, and how its blocks share the work.
#pragma once

#include "kernels/common/decode/fragment.cuh"
#include "kernels/common/rows.hpp"
#include "kernels/linear/wgmma_frame.cuh"

namespace spf::linear {

struct WgmmaArgs {
  CUtensorMap x, codes, scales, zeros;
  CUtensorMap x_end; // of the last rows, if they are less than a box of x
  RowSpace<1> rows;  // of out
  void* out;
  const void* column_scales; // one a channel, or nullptr
  float column_factor;       // what they have to be multiplied by
  const float* global_scale; // or nullptr
  float unit;                // what every sum has to be multiplied by
  const void* bias;          // [n] or nullptr
  int32_t m, n;
  int32_t channel_tiles, token_tiles, token_run; // tiles; consecutive tiles walk token_run token tiles first
  int32_t k_blocks, split, clusters;             // k_blocks: stages of K
  int32_t units;                                 // that clusters take in turns: a tile, or kShare tiles
  // Units from `whole` on, channels from whole_channels on, are of `piece` 64-channel tiles only (kDivide).
  int32_t whole, whole_channels, piece;
  int32_t group; // values of K that share a scale
  spf_scalar_type bias_type, column_scale_type;
  bool vector_out; // rows of out start on 16 bytes
  bool f16_scales; // with bf16 activations: rounded to bf16
};

// kFold: k16 rows between scales (8: 128 values or more), 0 for one scale a channel. kT: 64-channel tiles of a
// consumer.
template <spf_scalar_type T, spf_scalar_type kCode, int kFoldRows, int kTokens, int kTiles, int kGroups,
          int kShareBlocks, int kTurns = 1, bool kWideOut = false>
struct WgmmaConfig {
  using Tile = WgmmaTile<kCode, kFoldRows, kTokens, kTiles, kGroups, kTurns>;
  static constexpr spf_scalar_type kType = T, kWeight = kCode;
  static constexpr int kN = kTokens, kT = kTiles, kShare = kShareBlocks;
  static constexpr int kChannelGroups = kGroups, kParts = kTurns, kConsumers = kGroups * kTurns;
  static constexpr bool kWide = kWideOut;                                 // out in f32
  static constexpr bool kAside = Tile::kAside && !kWide;                  // a warp of its own writes results
  static constexpr bool kHasGroups = kFoldRows != 0, kDense = T == kCode; // dense: 16-bit weights, row-major
  static constexpr auto kElement = T == SPF_F16 ? CU_TENSOR_MAP_DATA_TYPE_FLOAT16 : CU_TENSOR_MAP_DATA_TYPE_BFLOAT16;
  static constexpr bool kFew = !kDense && (kTokens <= 16 || (kTokens <= 32 && kTurns > 1)); // mma.sync, not wgmma
  // Descriptors in uniform registers: a shuffle more, and no move before every product. Pays where a stage has many.
  static constexpr bool kUniform = kDense || kTokens >= 64;
  // The two blocks of a cluster may have some of their 64-channel tiles in common, and divide K of those.
  static constexpr bool kDivide = wgmma_divides(Tile::kBits, kTiles, kShareBlocks, kTurns);
  static constexpr int kScaleRows = Tile::kScaleRows;
  static constexpr int kThreads = 128 * (kConsumers + 1);
  static constexpr int kConsumerThreads = 128 * kGroups; // that hold sums of the block's tile
  static constexpr int kCopiers = kHasGroups ? 3 : 2, kReaders = 4 * kGroups * kShare; // arrivals at a stage
  static constexpr int kCopierRegisters = kConsumers == 2 ? 40 : kConsumers == 3 ? 56 : 32;
  static constexpr int kConsumerRegisters = kConsumers == 2 ? 232 : kConsumers == 3 ? 152 : 112;
  static_assert(kConsumers >= 2 && kConsumers <= 4);
  static_assert(kParts == 1 || kFew || kTokens * kTiles <= 128);
  static_assert(!kDivide || (2 * kConsumers * kTokens * 128 <= Tile::kStages * Tile::kStageBytes && Tile::kStages > 2));
  using Fragment = cuda::WeightFragment<T, kCode, kHasGroups, kFoldRows == 1>;
  static_assert(Fragment::kScaleBytes == wgmma_scale_bytes(kCode) && Fragment::kZeros == wgmma_zeros(kCode));
  static __device__ __forceinline__ int tiles(const WgmmaArgs& a) { return a.units; }
  static __device__ __forceinline__ int tile_channels(const WgmmaArgs&) { return Tile::kChannels; }
};

// A tile of the output. common: how many of its 64-channel tiles are the other block's too; all, or less than all.
struct WgmmaPlace {
  int channel, token, common;
};

template <class C>
__device__ __forceinline__ WgmmaPlace locate(const WgmmaArgs& a, const WgmmaWork<C>& work, int unit) {
  if constexpr (C::kDivide)
    if (unit >= a.whole) {
      const int in = unit - a.whole, column = in / a.token_tiles, common = 2 * C::kChannelGroups - a.piece;
      return {a.whole_channels + (column * a.piece + work.rank * (C::kChannelGroups - common)) * 64,
              (in - column * a.token_tiles) * C::kN, common};
    }
  const int channel_units =
      C::kDivide ? a.whole_channels / (2 * C::Tile::kChannels) : (a.channel_tiles + C::kShare - 1) / C::kShare;
  WgmmaPlace place;
  place_tile(a, work, channel_units, unit, &place);
  place.common = 0;
  return place;
}

struct WgmmaStages {
  int begin, end;
};

// Both blocks of a cluster have the same tiles, and each a half of K.
template <class C>
__device__ __forceinline__ bool divides_all(int common) {
  return C::kDivide && common == C::kChannelGroups;
}
template <class C>
__device__ __forceinline__ WgmmaStages stages_of(const WgmmaArgs& a, const WgmmaWork<C>& work, int common) {
  if (divides_all<C>(common)) return {a.k_blocks * work.rank / 2, a.k_blocks * (work.rank + 1) / 2};
  return {work.begin, work.end};
}

} // namespace spf::linear
