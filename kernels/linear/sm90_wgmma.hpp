// Geometry of linear/sm90_wgmma: tiles and stages, as the kernel, its launch and its policy see them.
#pragma once

#include <cstddef>
#include <cstdint>

#include "spearfish/device.h"
#include "spearfish/types.h"

namespace spf::linear {

// Bits of a weight, and bytes of a stored group scale.
constexpr int wgmma_bits(spf_scalar_type weight) {
  if (weight == SPF_F16 || weight == SPF_BF16) return 16;
  return weight == SPF_U4B8 || weight == SPF_U4 || weight == SPF_E2M1 ? 4 : 8;
}
// Values of K in a stage: as many as registers hold words of, so that what a stage costs is spread. 16-bit weights stay
// in shared memory, whose swizzle takes 64.
constexpr int wgmma_stage_k(int bits, int tokens, int tiles, int warpgroups) {
  return bits == 16 || tokens * tiles > (warpgroups > 2 ? 64 : 128) ? 64 : 128;
}

// Blocks that K may be split over: as many as have room to exchange sums.
constexpr int wgmma_most_split(int tokens, int tiles) { return tokens * tiles > 256 ? 4 : 8; }

constexpr int wgmma_scale_bytes(spf_scalar_type weight) { return weight == SPF_E2M1 ? 1 : weight == SPF_E4M3 ? 4 : 2; }
// What the instructions of a stage take beside those of u4b8, measured at 16 tokens: words of e2m1 and their scales.
constexpr double wgmma_decode(spf_scalar_type weight, bool nvfp4) {
  return weight != SPF_E2M1 ? 1.0 : nvfp4 ? 1.7 : 1.4;
}
constexpr bool wgmma_zeros(spf_scalar_type weight) { return weight == SPF_U4; }

// kFold: k16 rows between scales (8: 128 values of K or more), 0 without groups. kTiles: 64-channel tiles of each of
// kGroups consumer warpgroups; kParts such sets take turns at the stages.
template <spf_scalar_type kWeight, int kFold, int kTokens, int kTiles, int kGroups, int kParts = 1>
struct WgmmaTile {
  static constexpr int kBits = wgmma_bits(kWeight);
  static constexpr int kStageK = wgmma_stage_k(kBits, kTokens, kTiles, kGroups*kParts),
                       kRows = kStageK / 16; // k16 rows of a stage
  static constexpr int kScaleRows = kFold == 0 ? 0 : kFold >= kRows ? 1 : kRows / kFold;
  static constexpr int kChannels = 64 * kTiles * kGroups;
  static constexpr double kDecode = wgmma_decode(kWeight, kFold == 1);
  static_assert(kChannels == 128 || kChannels == 256);
  // Codes: bytes of a 64-channel tile of 16 k; such tiles, and rows of 8 bytes, in one copy's box.
  static constexpr int kTileBytes = 128 * kBits;
  static constexpr int kBoxTiles = kChannels / 64 * kBits > 16 ? 16 / kBits : kChannels / 64;
  static constexpr int kBoxWidth = kBoxTiles * 16 * kBits, kBoxes = kChannels / 64 / kBoxTiles;
  // A stage: kStageK values of K of x (64 wide parts), codes and scales.
  static constexpr int kXPartBytes = kTokens * 128, kXBytes = kXPartBytes * kStageK / 64;
  static constexpr int kCodeBytes = kChannels * kStageK * kBits / 8;
  static constexpr int kScaleBytes = kScaleRows * kChannels * wgmma_scale_bytes(kWeight);
  static constexpr int kZeroBytes = wgmma_zeros(kWeight) ? kScaleRows * kChannels * kBits / 8 : 0;
  static constexpr int kCodesAt = kXBytes, kScalesAt = kCodesAt + kCodeBytes, kZerosAt = kScalesAt + kScaleBytes;
  static constexpr int kStageBytes = (kZerosAt + kZeroBytes + 1023) / 1024 * 1024;
  // Many tokens: the results of a whole tile are staged, and another warp writes them to out while the next tile is
  // multiplied. Otherwise the epilogue stages so many tokens of 64 channels at a time.
  static constexpr int kRoom = 226 * 1024 - 1024;
  static constexpr bool kAside = kTokens >= 128 && kParts == 1 && kRoom - kChannels * kTokens * 2 >= 4 * kStageBytes;
  static constexpr int kStoreTokens = kAside                                  ? kTokens
                                      : kTokens == 64 && kGroups * kParts > 2 ? 16
                                      : kTokens < 64 || kTokens % 64 == 0     ? (kTokens < 64 ? kTokens : 64)
                                                                              : 32;
  static constexpr int kStoreTiles = kAside ? kTiles : 1;
  static constexpr int kSumTokens = kTokens < 64 ? kTokens : 16;             // whose sums parts add at a time
  static constexpr int kSumBytes = kTiles * kSumTokens * 256;                // of a warpgroup
  static constexpr int kSumsAt = kGroups * kStoreTiles * kStoreTokens * 128; // behind them, sums of the other parts
  static constexpr int kStoreBytes = kSumsAt + (kParts - 1) * kGroups * kSumBytes;
  static constexpr int kMost = (kRoom - kStoreBytes) / kStageBytes;
  // A stage of the ring always falls to the same part: one that skipped its last round could take the parity of the
  // round before for that of its own, for copies land in any order.
  static constexpr int kStages = (kMost > 16 ? 16 : kMost) / kParts * kParts;
  static constexpr int kSharedBytes = kStages * kStageBytes + kStoreBytes + 1024;
  static_assert(kStages >= 2);
  // Blocks that divide K send each other sums in pieces of 16 tokens and 64 channels.
  static constexpr int kSumPieces = kTiles * kTokens / 16, kPieceBytes = 4096;
  static constexpr int exchange_bytes(int ranks) {
    return kGroups * kPieceBytes * (kSumPieces - kSumPieces / ranks + (ranks - 1) * ((kSumPieces + ranks - 1) / ranks));
  }
  static constexpr bool exchange_fits(int ranks) {
    return ranks < 2 || (exchange_bytes(ranks) < kSharedBytes - 1024 && exchange_fits(ranks - 1));
  }
  static_assert(exchange_fits(wgmma_most_split(kTokens, kTiles * kGroups)));
};

// What a policy chooses among.
struct WgmmaChoice {
  int tokens, tiles, groups, share; // of a block's tile; blocks that share tokens
  int parts = 1;                    // sets of warpgroups that take turns at the stages
  constexpr int channels() const { return 64 * tiles * groups; }
};

struct WgmmaShape {
  int64_t m = 0, n = 0, k = 0;
  int bits = 4;        // of a code
  double decode = 1.0; // wgmma_decode()
};

// How a choice divides a problem, and about how long it takes.
struct WgmmaPlan {
  int channel_tiles = 0, token_tiles = 0;
  int token_run = 1; // token tiles that consecutive blocks walk before they turn to other channels
  int split = 1;     // blocks of a cluster, each with a part of K
  int clusters = 0;
  // What clusters take in turns: `whole` tiles (one for every block that shares tokens), which are the first
  // whole_channels channels, then units of `piece` 64-channel tiles, some of which two blocks have in common.
  int units = 0, whole = 0, whole_channels = 0, piece = 0;
  double microseconds = 0;
};

// Clusters of a size that run at once: a cluster lies within one of the processing clusters of the chip, of 16 or 18
// multiprocessors each on H200; 4 and 8 leave some idle.
constexpr int64_t clusters_at_once(int size, int64_t multiprocessors) {
  constexpr int kOf132[9] = {0, 132, 66, 38, 30, 22, 20, 14, 14};
  const int64_t count = size > 8 ? 0 : kOf132[size] * multiprocessors / 132;
  return count < 1 ? 1 : count;
}

// The split of K that takes least: cost(split, waves) in microseconds, for `units` tiles, or pairs of tiles that share
// tokens, of so many blocks of K each.
template <class Cost>
constexpr WgmmaPlan best_split(int64_t units, int64_t blocks, int share, const spf_device_facts& facts,
                               const Cost& cost, int most = 8) {
  WgmmaPlan best;
  for (int split = 1; split <= (share > 1 ? 1 : most) && split <= blocks; ++split) {
    const int64_t at_once = clusters_at_once(share > 1 ? share : split, facts.sm_count);
    if (split > 1 && units > at_once) break; // blocks of a split work on one tile each
    const double us = cost(split, static_cast<double>((units + at_once - 1) / at_once));
    if (best.clusters != 0 && us >= best.microseconds) continue;
    best.split = split;
    best.clusters = static_cast<int>(units < at_once ? units : at_once);
    best.microseconds = us;
  }
  return best;
}

// Whether two blocks that share tokens may divide 64-channel tiles.
constexpr bool wgmma_divides(int bits, int tiles, int share) { return bits < 16 && tiles == 1 && share == 2; }

// Cuts what does not fill the last wave of clusters into smaller units, the smallest that fit into it. groups:
// 64-channel tiles of a block. Returns how much of a wave the last one then is.
constexpr double wgmma_cut(int64_t tiles, int64_t token_tiles, int groups, int64_t at_once, WgmmaPlan* plan) {
  const int each = 2 * groups;
  const int64_t all = (tiles + each - 1) / each, waves = (all * token_tiles + at_once - 1) / at_once;
  for (int piece = groups; piece <= each; ++piece) {
    int64_t whole = piece < each ? (waves - 1) * at_once / token_tiles : all;
    if (whole * each > tiles && piece < each) whole = tiles / each;
    const int64_t left = tiles - whole * each, rest = left > 0 ? (left + piece - 1) / piece : 0;
    if ((whole + rest) * token_tiles > waves * at_once || (piece < each && rest * token_tiles > at_once)) continue;
    plan->whole = static_cast<int>(whole * token_tiles);
    plan->whole_channels = static_cast<int>(whole * each * 64);
    plan->units = static_cast<int>((whole + rest) * token_tiles);
    plan->piece = piece;
    plan->clusters = static_cast<int>(plan->units < at_once ? plan->units : at_once);
    return static_cast<double>(piece) / each;
  }
  return 1.0;
}

// The best split of K for a choice. Fitted to H200 (README.md): cycles of a stage at 1.75 GHz, where a warpgroup's own
// instructions overlap with about half of the multiplications; 3 us to start; what a split's exchange takes.
constexpr WgmmaPlan wgmma_plan(const WgmmaShape& s, const spf_device_facts& facts, const WgmmaChoice& c) {
  const auto ceil = [](int64_t a, int64_t b) { return (a + b - 1) / b; };
  const auto larger = [](double a, double b) { return a > b ? a : b; };
  const int stage_k = wgmma_stage_k(s.bits, c.tokens, c.tiles, c.groups * c.parts);
  const int64_t channel_tiles = ceil(s.n, c.channels()), token_tiles = ceil(s.m, c.tokens), blocks = ceil(s.k, stage_k);
  const int64_t units = ceil(channel_tiles, c.share) * token_tiles;
  // Nothing to decode: the operand that comes from shared memory takes 16 cycles at least.
  const bool dense = s.bits == 16;
  // Two tiles of 128 tokens read a fifth more from shared memory than one of 256.
  const double multiply = stage_k / 16.0 * c.tiles * c.groups * (dense && c.tokens < 32 ? 16 : c.tokens * 0.5) *
                          (dense && c.tiles > 1 ? 1.08 : 1.0);
  const double width = c.tiles * c.groups; // in 64 channels
  const double steps = dense             ? 60.0
                       : c.parts > 1     ? (214.0 + width * (97.0 + 4.4 * c.tokens)) * s.decode
                       : c.groups > 2    ? 910.0 * s.decode * stage_k / 128
                       : c.tokens >= 128 ? (300.0 + 440.0 * c.tiles) * stage_k / 128
                                         : (300.0 + 320.0 * c.tiles) * s.decode * stage_k / 128;
  // The last-level cache brings a multiprocessor about 50 bytes a cycle while all of them ask.
  const double bring = stage_k * (c.channels() * s.bits / 8.0 + c.tokens * 2.0 / c.share) / 50;
  // Two blocks that share x need less power, and so run at a higher clock.
  const bool many = !dense && c.tokens >= 128;
  const double pace = many && c.tokens < 256 ? 1.27 : many ? (c.share > 1 ? 1.1 : 1.18) : c.share > 1 ? 1.06 : 1.1;
  const double block_us = larger(larger(multiply * pace, c.parts > 1 ? steps : steps + multiply * 0.55), bring) / 1750;
  const double outputs = c.channels() * c.tokens;
  const double stream_us = static_cast<double>(s.n) * static_cast<double>(s.k) * s.bits / 8 / 4.2e6;
  WgmmaPlan best = best_split(
      units, blocks, c.share, facts,
      [&](int split, double waves) {
        const double exchange = split > 1 ? 2.5 + outputs * 8e-5 + 0.15 * split : 0.0;
        const double store = many ? 3e-5 : c.share > 1 ? 1.5e-4 : 4e-5; // of a result
        const double loop_us = waves * (static_cast<double>(ceil(blocks, split)) * block_us + outputs * store);
        return 3.0 + larger(loop_us, stream_us) + exchange;
      },
      wgmma_most_split(c.tokens, c.tiles * c.groups));
  best.channel_tiles = static_cast<int>(channel_tiles);
  best.token_tiles = static_cast<int>(token_tiles);
  best.units = best.whole = static_cast<int>(units);
  best.whole_channels = static_cast<int>(ceil(channel_tiles, c.share) * c.share * c.channels());
  best.piece = 2 * c.groups;
  if (wgmma_divides(s.bits, c.tiles, c.share))
    wgmma_cut(ceil(s.n, 64), token_tiles, c.groups, clusters_at_once(c.share, facts.sm_count), &best);
  best.token_run = static_cast<int>(ceil(token_tiles, ceil(token_tiles, 12))); // 12 at most, and all alike
  return best;
}

} // namespace spf::linear
