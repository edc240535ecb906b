// Geometry of linear/sm90_wgmma8: tiles, stages and the split of a problem, as kernel, launch and policy see them.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/linear/sm90_wgmma.hpp"

namespace spf::linear {

// Bytes of shared memory that a block may have, less what the barriers take.
constexpr int kWgmma8Memory = 226 * 1024;

// The ring of stages and what lies behind it, for consuming warpgroups of kTiles 64-channel tiles x kTokens tokens:
// results on their way out, and 16 bytes of facts a token and channel. kAsideTile: results of a whole tile, which the
// copy engine writes while the next one is multiplied. kSharers: warpgroups that keep facts of the same channels, each
// its own.
template <int kStage, int kTokens, int kTiles, bool kAlong, bool kAsideTile = false, int kWarpgroups = 2,
          int kSharers = 1>
struct Wgmma8Ring {
  static constexpr bool kAside = kAsideTile;
  static constexpr int kGroups = kWarpgroups, kChannels = 64 * kTiles * (kAlong ? 1 : kGroups), kStageBytes = kStage;
  static constexpr int kTokenFactBytes = (kAside ? 1 : kGroups) * kTokens * 16;
  static constexpr int kFactBytes = kTokenFactBytes + kGroups * kSharers * kTiles * 64 * 16;
  static constexpr int kStoreTokens = kTokens < 64 ? kTokens : 64;
  static constexpr int kStoreEach = kAside         ? kTiles * kTokens * 128
                                    : kTokens < 32 ? 2304 // eight tokens of f32 fit too
                                                   : kStoreTokens * 128;
  static constexpr int kStoreBytes = kAlong ? 0 : kGroups * kStoreEach;
  // Sums that meet in shared memory. A split's replace the ring, for its blocks have one tile; those of warpgroups that
  // divide K have a place of their own.
  static constexpr int kSumBytes = kGroups * kTiles * kTokens * 256, kOwnSumBytes = kAlong ? kSumBytes : 0;
  static constexpr int kMost = (kWgmma8Memory - 1024 - kFactBytes - kStoreBytes - kOwnSumBytes) / kStageBytes;
  // Even where two warpgroups take turns, so that a stage of the ring always falls to the same one: the other could
  // take the parity of the round before for that of its own, for copies land in any order.
  static constexpr int kStages = (kMost > 20 ? 20 : kMost) & (kAlong ? ~1 : ~0);
  static constexpr int kStoreAt = kStages * kStageBytes, kSumsAt = kAlong ? kStoreAt : 0;
  static constexpr int kFactsAt = kStoreAt + kStoreBytes + kOwnSumBytes, kChannelFactsAt = kFactsAt + kTokenFactBytes;
  static constexpr int kSharedBytes = kFactsAt + kFactBytes + 1024;
  static_assert(kStages >= 3 && kSumsAt + kSumBytes <= kFactsAt);
};

// A stage: 128 values of K of x and of the weight, and the scales with which sums are folded: of the channels, up to 4
// bytes each, and of the tokens, where the weight is not packed. From 256 tokens on the channels of a tile share
// theirs, which comes with three others in 16 bytes. Arguments as of Wgmma8Tile.
template <int kTokens, int kTiles, bool kAlong, int kFold, bool kPacked>
struct Wgmma8Stage {
  static_assert(kFold == 0 || kFold == 4 || (kPacked && (kFold == 1 || kFold == 2)));
  static_assert(!kPacked || !kAlong);
  static constexpr int kWarpgroups = kPacked && kTiles == 1 ? 4 : 2;
  static constexpr int kBlockChannels = 128, kRowBytes = 128; // of a block of the layout k128
  static constexpr int kOfTile = 64 * kTiles * (kAlong ? 1 : kWarpgroups), kXBytes = kTokens * 128;
  static constexpr int kCodeBytes = kOfTile * (kPacked ? 64 : 128),
                       kScaleRows = kFold == 0 || kTokens > 128 ? 0 : 4 / kFold;
  static constexpr int kCodesAt = kXBytes, kTokenScalesAt = kCodesAt + kCodeBytes;
  static constexpr int kChannelScalesAt = kTokenScalesAt + (kFold > 0 && !kPacked ? kTokens * 4 : 0);
  static constexpr int kChannelScaleBytes = kFold > 0 && kTokens > 128 ? 16 : kScaleRows* kOfTile * 4;
  static constexpr int kBytes = (kChannelScalesAt + kChannelScaleBytes + 1023) / 1024 * 1024;
};

// kTokens: the n side. kTiles: 64-channel tiles of a warpgroup. kAlong: the two consuming warpgroups divide K (each
// takes every second stage of the same channels) instead of channels. kFold: sums are folded into f32 every kFold * 32
// values of K; 0: never. kPacked: two 4-bit codes a byte, decoded in registers; otherwise a byte a code.
template <int kTokens, int kTiles, bool kAlong, int kFold, bool kPacked>
struct Wgmma8Tile : Wgmma8Stage<kTokens, kTiles, kAlong, kFold, kPacked>,
                    Wgmma8Ring<Wgmma8Stage<kTokens, kTiles, kAlong, kFold, kPacked>::kBytes, kTokens, kTiles, kAlong,
                               (kTokens > 128), Wgmma8Stage<kTokens, kTiles, kAlong, kFold, kPacked>::kWarpgroups,
                               Wgmma8Stage<kTokens, kTiles, kAlong, kFold, kPacked>::kWarpgroups / 2> {};

struct Wgmma8Choice {
  int tokens = 0, tiles = 0;
  bool along = false;
  int share = 1; // blocks of a cluster that work on the same tokens
  bool packed = false;
  constexpr int channels() const { return packed ? 256 : 64 * tiles * (along ? 1 : 2); }
};

struct Wgmma8Plan : WgmmaPlan {
  int tile_channels = 0;
};

// The best split of K for a choice whose tiles have `width` channels, and its estimated time. Fitted to H200
// (README.md): cycles of a stage at 1.95 GHz, of which a multiprocessor multiplies 4096 pairs and moves 128 bytes of
// shared memory, for the operands of every 64-channel tile and for the copies; what a warpgroup's own instructions
// take; memory gives 4.35 TB/s, in pieces of 8 KiB 4.15; 2.4 us to start and end, and 1 more for clusters.
constexpr Wgmma8Plan wgmma8_plan(const WgmmaShape& s, const spf_device_facts& facts, const Wgmma8Choice& c, int fold,
                                 int width) {
  const auto larger = [](double a, double b) { return a > b ? a : b; };
  const WgmmaTiles tiles = wgmma_tiles(s, width, c.tokens, 128, c.share);
  const double multiply = c.channels() * (c.tokens < 32 ? 32 : c.tokens) * 128.0 / 4096;
  const double copied = (width * s.bits / 8.0 + c.tokens) * 128;
  const double moved =
      (c.channels() / 64.0 * (c.packed ? 64 * 64 : 64 * 128) + c.channels() / 64.0 * c.tokens * 128 + copied) / 128;
  const double steps = c.packed         ? (fold == 0   ? 520.0 + c.tokens * 10.4
                                           : fold == 4 ? 660.0 + c.tokens * 10.5
                                                       : 900.0 + c.tokens * 25.0)
                       : fold == 0      ? 180.0 + (c.along ? c.tokens * 3.5 : 0.0)
                       : c.tokens > 128 ? 180.0
                                        : 180.0 + c.tiles * (60.0 + c.tokens * 7.0) * (c.along ? 0.5 : 1);
  // Two blocks that share x need a little less power, which shows in a long run of tiles; folding by blocks costs half
  // as much again as the products.
  const double pace = fold != 0 && c.tokens > 128 ? (c.share > 1 ? 1.54 : 1.58) : c.share > 1 ? 1.11 : 1.12;
  const double stage_us = larger(larger(multiply * pace, moved * 1.05), steps) / 1950;
  const double outputs = static_cast<double>(width) * c.tokens;
  // What is read from memory, and, at a third of its cost, what the last-level cache gives again to every tile.
  const double read = static_cast<double>(s.n) * static_cast<double>(s.k) * s.bits / 8 +
                      static_cast<double>(s.m) * static_cast<double>(s.k + 2 * s.n);
  const double again =
      static_cast<double>(tiles.units() * tiles.stages) * (copied - c.tokens * 128.0 * (1 - 1.0 / c.share)) - read;
  const double stream_us = read / (c.along ? 4.15e6 : 4.35e6) + larger(again, 0) / 4.5e7;
  const auto cost = [&](double stages, int split, double waves) {
    const double exchange = split > 1 ? 1.1 + outputs * (c.packed ? 2e-4 : 4e-4) + 0.1 * split : c.along ? 0.2 : 0.0;
    // Where memory bounds, blocks that are left alone in a last wave take the share of those that are done.
    const double loop_us = waves * (stages * stage_us + outputs * 4e-5);
    return 2.4 + larger(loop_us, stream_us) + exchange + (c.share > 1 ? 1.0 : 0.0);
  };
  return {best_split(tiles, facts, even_run(tiles.tokens, 8), cost), width};
}

// The same for the best width: packed weights come in tiles of 32 channels, any number of which a block may take.
constexpr Wgmma8Plan wgmma8_plan(const WgmmaShape& s, const spf_device_facts& facts, const Wgmma8Choice& c, int fold) {
  Wgmma8Plan best = wgmma8_plan(s, facts, c, fold, c.channels());
  for (int width = c.channels() - 32; c.packed && width > c.channels() / 2; width -= 32) {
    const Wgmma8Plan plan = wgmma8_plan(s, facts, c, fold, width);
    if (plan.microseconds < best.microseconds) best = plan;
  }
  return best;
}

} // namespace spf::linear
