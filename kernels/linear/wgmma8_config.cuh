// What sm90_wgmma8's kernel is given and built for, and where its tiles lie.
#pragma once

#include <type_traits>

#include "kernels/common/cuda/tensor_copy.cuh"
#include "kernels/common/rows.hpp"
#include "kernels/linear/sm90_wgmma8.hpp"
#include "kernels/linear/wgmma_frame.cuh"

namespace spf::linear {

// Factors of tokens as tiles of many tokens read them: of a tile and a block of 128 values of K side by side.
struct Wgmma8Factors {
  const float* data;
  int64_t tile_step, block_step; // elements between those of a tile of tokens and the next, of a block and the next
  int32_t tokens;                // that have factors
};

struct Wgmma8Args {
  CUtensorMap x, x_end; // x_end: of the last rows, if they are less than a box of x
  CUtensorMap results;  // out, if it is `stored`
  // Blocks of Tile::kBlockChannels channels and a stage of K; packed: tiles of 32 k x 32 channels, along channels
  // first.
  const uint8_t* codes;
  const void* scales; // [groups][padded_n], or nullptr: f32; packed: scale_type, in the order of column_scale_place()
  RowSpace<1> out_rows, scale_rows, azp_rows;
  void* out;
  const float* x_scale;         // or nullptr
  int64_t x_scale_step;         // elements between the scales of a token
  Wgmma8Factors factors;        // instead of them, for tiles that fold by blocks
  const int32_t *azp, *azp_adj; // or nullptr, as the rest
  const float *channel_scale, *out_factor;
  const void* bias;
  int32_t m, n, padded_n;
  int32_t tile_channels; // of a tile; less than it has room for where that divides the work better
  int32_t channel_tiles, token_tiles, token_run; // tiles; consecutive tiles walk token_run token tiles first
  int32_t k_blocks, split, clusters;             // k_blocks: stages of K
  int32_t group_steps, groups;                   // steps of 32 values of K that share a row of scales, and such rows
  int32_t k_steps;                               // of the weight, packed
  bool token_groups;                             // x has a scale a stage, not one a token
  spf_scalar_type bias_type, out_type, scale_type;
  bool vector_out; // rows of out start on 16 bytes
  bool stored;     // by the copy engine: 16 bits, rows of whole 16 bytes, on 16 bytes, one distance apart
};

// What multiplies the stages, and so knows how weights lie in them: a byte a code and one scale for all of K, or scales
// of 128 values (sm90_wgmma8_fold.cuh); packed codes (sm90_wgmma8_packed.cuh).
template <class C>
struct Wgmma8Consumer;
template <class C>
struct Wgmma8FoldConsumer;
template <class C>
struct Wgmma8BlockConsumer;
template <class C>
struct Wgmma8PackedConsumer;

template <spf_scalar_type kX, int kTokens, int kTiles, bool kDivideK, int kFoldSteps, int kShareBlocks,
          bool kPackedCodes = false>
struct Wgmma8Config {
  // Many tokens fold by one factor for a token and the block of the weight (sm90_wgmma8_block.cuh). They are the m side
  // there.
  static constexpr bool kBlocks = kFoldSteps > 0 && kTokens > 128;
  using Folding = std::conditional_t<kBlocks, Wgmma8BlockConsumer<Wgmma8Config>, Wgmma8FoldConsumer<Wgmma8Config>>;
  using Bytes = std::conditional_t<(kFoldSteps > 0), Folding, Wgmma8Consumer<Wgmma8Config>>;
  using Consumer = std::conditional_t<kPackedCodes, Wgmma8PackedConsumer<Wgmma8Config>, Bytes>;
  using Tile = Wgmma8Tile<kTokens, kTiles, kDivideK, kFoldSteps, kPackedCodes>;
  using Sum = std::conditional_t<kX == SPF_S8, int32_t, float>; // of the tensor cores
  using Total = std::conditional_t<(kFoldSteps > 0), float, Sum>;
  static constexpr spf_scalar_type X = kX;
  static constexpr int kN = kTokens, kT = kTiles, kShare = kShareBlocks, kFold = kFoldSteps;
  static constexpr bool kAlong = kDivideK, kPacked = kPackedCodes;
  static constexpr bool kFoldTokens = kFold > 0 && !kPacked; // the scales of tokens too
  static constexpr int kConsumers = Tile::kGroups, kThreads = 128 * (kConsumers + 1);
  // Where a warp brings scales lane by lane, each lane arrives, and so does each that reads them: a warp's one arrival
  // behind __syncwarp() orders as much, but compute-sanitizer does not follow that, and it is no faster.
  static constexpr bool kEveryLane = kFoldTokens && !kBlocks;
  // Arrivals at a full stage: weights, x, and who brings scales; at an empty one: the warps, or lanes, that read it.
  static constexpr int kCopiers = kPacked ? (kFold > 0 ? 4 : 3) : kEveryLane ? 2 + 32 : kFoldTokens ? 3 : 2;
  static constexpr int kReaders = (kAlong ? 4 : 4 * kConsumers) * (kEveryLane ? 32 : 1) * kShare;
  static constexpr int kCopierRegisters = kConsumers > 2 ? 32 : kPacked ? 24 : 40;
  static constexpr int kConsumerRegisters = kConsumers > 2 ? 112 : kPacked ? 240 : 232;
  static __device__ __forceinline__ int tiles(const Wgmma8Args& a) {
    return (a.channel_tiles + kShare - 1) / kShare * a.token_tiles;
  }
  static __device__ __forceinline__ int tile_channels(const Wgmma8Args& a) { return a.tile_channels; }
};

// A tile of the output: its first channel and token, and where its channels end.
struct Wgmma8Place {
  int channel, token, end;
};

template <class C>
__device__ __forceinline__ Wgmma8Place locate(const Wgmma8Args& a, const WgmmaWork<C>& work, int tile) {
  Wgmma8Place place;
  place_tile(a, work, (a.channel_tiles + C::kShare - 1) / C::kShare, tile, &place);
  place.end = min(a.n, place.channel + a.tile_channels);
  return place;
}

} // namespace spf::linear
