// Geometry of linear/sm90_wgmma8: tiles, stages and the split of a problem, as kernel, launch and policy see them.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/linear/sm90_wgmma.hpp"

namespace spf::linear {

// Bytes of shared memory that a block may have, less what the barriers take.
constexpr int kWgmma8Memory = 226 * 1024;

// kTokens: the n side. kTiles: 64-channel tiles of a warpgroup. kAlong: the two consuming warpgroups divide K (each
// takes every second stage of the same channels) instead of channels. kFold: sums are folded into f32 every 128 values
// of K.
template <int kTokens, int kTiles, bool kAlong, bool kFold>
struct Wgmma8Tile {
  static constexpr int kGroups = 2, kChannels = 64 * kTiles * (kAlong ? 1 : kGroups);
  static constexpr int kBlockChannels = 128, kRowBytes = 128; // of a block of the layout
  // A stage: 128 values of K of x and of the weight, and their scales where sums are folded.
  static constexpr int kXBytes = kTokens * 128, kCodeBytes = kChannels * 128;
  static constexpr int kCodesAt = kXBytes, kTokenScalesAt = kCodesAt + kCodeBytes;
  static constexpr int kChannelScalesAt = kTokenScalesAt + kTokens * 4;
  static constexpr int kStageBytes = ((kFold ? kChannelScalesAt + kChannels * 4 : kTokenScalesAt) + 1023) / 1024 * 1024;
  // Behind the ring: scales and zero points of a tile's tokens, and 16-bit results on their way out.
  static constexpr int kFactBytes = kGroups * kTokens * 8;
  static constexpr int kStoreTokens = kTokens < 64 ? kTokens : 64;
  static constexpr int kStoreBytes = kAlong ? 0 : kGroups * kStoreTokens * 128;
  // Sums that meet in shared memory. A split's replace the ring, for its blocks have one tile; those of warpgroups that
  // divide K have a place of their own.
  static constexpr int kSumBytes = kGroups * kTiles * kTokens * 256, kOwnSumBytes = kAlong ? kSumBytes : 0;
  static constexpr int kMost = (kWgmma8Memory - 1024 - kFactBytes - kStoreBytes - kOwnSumBytes) / kStageBytes;
  // Even where two warpgroups take turns, so that a stage of the ring always falls to the same one: the other could
  // take the parity of the round before for that of its own, for copies land in any order.
  static constexpr int kStages = (kMost > 20 ? 20 : kMost) & (kAlong ? ~1 : ~0);
  static constexpr int kFactsAt = kStages * kStageBytes, kStoreAt = kFactsAt + (kFactBytes + 127) / 128 * 128;
  static constexpr int kSumsAt = kAlong ? kStoreAt : 0;
  static constexpr int kSharedBytes = kStoreAt + kStoreBytes + kOwnSumBytes + 1024;
  static_assert(kStages >= 3 && (kAlong || kSumBytes <= kStages * kStageBytes));
};

struct Wgmma8Choice {
  int tokens = 0, tiles = 0;
  bool along = false;
  int share = 1; // blocks of a cluster that work on the same tokens
  constexpr int channels() const { return 64 * tiles * (along ? 1 : 2); }
};

// The best split of K for a choice, and its estimated time. H200 at 1.7 GHz: a multiprocessor multiplies 4096 pairs and
// takes 38 bytes from the last-level cache a cycle; a stage costs a warpgroup about 250 cycles besides, of which the
// other one covers half; memory gives 4.3 TB/s; 2.8 us to start and end.
constexpr WgmmaPlan wgmma8_plan(const WgmmaShape& s, const spf_device_facts& facts, const Wgmma8Choice& c, bool fold) {
  const auto ceil = [](int64_t a, int64_t b) { return (a + b - 1) / b; };
  const auto larger = [](double a, double b) { return a > b ? a : b; };
  const int64_t channel_tiles = ceil(s.n, c.channels()), token_tiles = ceil(s.m, c.tokens), blocks = ceil(s.k, 128);
  const int64_t units = ceil(channel_tiles, c.share) * token_tiles;
  const double multiply = c.channels() * (c.tokens < 32 ? 32 : c.tokens) * 128.0 / 4096;
  const double bring = (c.channels() + static_cast<double>(c.tokens) / c.share) * 128 / 38;
  const double steps = 180.0 + (fold ? c.tiles * (60.0 + c.tokens * 1.2) * (c.along ? 0.5 : 1) : 0);
  const double stage_us = larger(larger(multiply * 1.12, bring), steps) / 1700;
  const double outputs = static_cast<double>(c.channels()) * c.tokens;
  const double stream_us = (static_cast<double>(s.n) * static_cast<double>(s.k) +
                            static_cast<double>(s.m) * static_cast<double>(s.k + 2 * s.n)) /
                           4.3e6;
  WgmmaPlan best = best_split(units, blocks, c.share, facts, [&](int split, double waves) {
    const double exchange = split > 1 ? 0.8 + outputs * 8e-5 + 0.1 * split : c.along ? 0.2 : 0.0;
    // Where memory bounds, blocks that are left alone in a last wave take the share of those that are done.
    const double loop_us = waves * (static_cast<double>(ceil(blocks, split)) * stage_us + outputs * 4e-5);
    return 2.8 + larger(loop_us, stream_us) + exchange;
  });
  best.channel_tiles = static_cast<int>(channel_tiles);
  best.token_tiles = static_cast<int>(token_tiles);
  best.token_run = static_cast<int>(token_tiles < 16 ? token_tiles : 16);
  return best;
}

} // namespace spf::linear
