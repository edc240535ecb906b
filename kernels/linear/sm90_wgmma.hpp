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
// Values of K in a stage: 128 where registers hold the words of so many and shared memory three such stages, so that
// what a stage costs is spread; else 64. 16-bit weights stay in shared memory, whose swizzle takes 64.
constexpr int wgmma_stage_k(int bits, int tokens, int tiles, int warpgroups) {
  const int most = bits == 16 ? 0 : warpgroups > 3 ? 64 : warpgroups == 2 ? 192 : bits == 8 ? 128 : 160;
  return tokens * tiles > most ? 64 : 128;
}

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
  static_assert(kChannels == 128 || kChannels == 192 || kChannels == 256);
  // Codes: bytes of a 64-channel tile of 16 k; such tiles, and rows of 8 bytes, in one copy's box.
  static constexpr int kTileBytes = 128 * kBits;
  static constexpr int kAllTiles = kChannels / 64, kMostTiles = 16 / kBits;
  static constexpr int kBoxTiles = kAllTiles <= kMostTiles ? kAllTiles : kAllTiles % kMostTiles == 0 ? kMostTiles : 1;
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
                                      : kTokens % 64 != 0                     ? (kTokens > 128 ? 32 : kTokens)
                                      : kTokens == 64 && kGroups * kParts > 2 ? 32
                                                                              : 64;
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

// What clusters of sm90_wgmma take in turns: `whole` tiles (one for every block that shares tokens), which are the
// first whole_channels channels, then units of `piece` 64-channel tiles, some of which two blocks have in common.
struct WgmmaCut {
  int32_t units = 0, whole = 0, whole_channels = 0, piece = 0;
};

// How a choice divides a problem, and about how long it takes.
struct WgmmaPlan {
  int32_t channel_tiles = 0, token_tiles = 0;
  int32_t token_run = 1; // token tiles that consecutive tiles walk before they turn to other channels
  int32_t k_blocks = 0;  // stages of K
  int32_t split = 1;     // blocks of a cluster, each with a part of K; where blocks share tokens, clusters
  int32_t clusters = 0;
  WgmmaCut cut;
  double microseconds = 0;
};

// A problem in tiles.
struct WgmmaTiles {
  int64_t channels, tokens, stages; // tiles of channels and of tokens, stages of K
  int share;                        // blocks of a cluster that take as many tiles of channels, of the same tokens
  constexpr int64_t units() const { return (channels + share - 1) / share * tokens; } // that clusters take in turns
};
constexpr WgmmaTiles wgmma_tiles(const WgmmaShape& s, int channels, int tokens, int stage_k, int share) {
  return {(s.n + channels - 1) / channels, (s.m + tokens - 1) / tokens, (s.k + stage_k - 1) / stage_k, share};
}
// Token tiles of a run: `most` at most, and in all runs alike.
constexpr int32_t even_run(int64_t token_tiles, int64_t most) {
  const int64_t runs = (token_tiles + most - 1) / most;
  return static_cast<int32_t>((token_tiles + runs - 1) / runs);
}

// Clusters of a size that run at once: a cluster lies within one of the processing clusters of the chip, of 16 or 18
// multiprocessors each on H200; 4 and 8 leave some idle.
constexpr int64_t clusters_at_once(int size, int64_t multiprocessors) {
  constexpr int kOf132[9] = {0, 132, 66, 38, 30, 22, 20, 14, 14};
  const int64_t count = size > 8 ? 0 : kOf132[size] * multiprocessors / 132;
  return count < 1 ? 1 : count;
}

// The split of K that takes least: cost(stages, split, waves) in microseconds, for so many stages that a block
// multiplies of a tile.
template <class Cost>
constexpr WgmmaPlan best_split(const WgmmaTiles& tiles, const spf_device_facts& facts, int32_t token_run,
                               const Cost& cost) {
  WgmmaPlan best;
  best.channel_tiles = static_cast<int32_t>(tiles.channels);
  best.token_tiles = static_cast<int32_t>(tiles.tokens);
  best.token_run = token_run;
  best.k_blocks = static_cast<int32_t>(tiles.stages);
  const int64_t units = tiles.units();
  for (int split = 1; split <= (tiles.share > 1 ? 1 : 8) && split <= tiles.stages; ++split) {
    const int64_t at_once = clusters_at_once(tiles.share > 1 ? tiles.share : split, facts.sm_count);
    if (split > 1 && units > at_once) break; // blocks of a split work on one tile each
    const double us = cost(static_cast<double>((tiles.stages + split - 1) / split), split,
                           static_cast<double>((units + at_once - 1) / at_once));
    if (best.clusters != 0 && us >= best.microseconds) continue;
    best.split = split;
    best.clusters = static_cast<int>(units < at_once ? units : at_once);
    best.microseconds = us;
  }
  return best;
}

// Whether two blocks that share tokens may divide 64-channel tiles.
constexpr bool wgmma_divides(int bits, int tiles, int share, int parts) {
  return bits < 16 && tiles == 1 && share == 2 && parts == 1;
}

// Cuts what does not fill the last wave of clusters into smaller units, the smallest that fit into it. groups:
// 64-channel tiles of a block. Returns how much of a wave the last one then is.
constexpr double wgmma_cut(int64_t tiles, int64_t token_tiles, int groups, int64_t at_once, WgmmaCut* cut) {
  const int each = 2 * groups;
  const int64_t all = (tiles + each - 1) / each, waves = (all * token_tiles + at_once - 1) / at_once;
  for (int piece = groups; piece <= each; ++piece) {
    if (groups < 4 && piece > groups && piece < each) continue; // by turns two warpgroups lose more than that
    int64_t whole = piece < each ? (waves - 1) * at_once / token_tiles : all;
    if (whole * each > tiles && piece < each) whole = tiles / each;
    const int64_t left = tiles - whole * each, rest = left > 0 ? (left + piece - 1) / piece : 0;
    if ((whole + rest) * token_tiles > waves * at_once || (piece < each && rest * token_tiles > at_once)) continue;
    *cut = {static_cast<int32_t>((whole + rest) * token_tiles), static_cast<int32_t>(whole * token_tiles),
            static_cast<int32_t>(whole * each * 64), piece};
    return static_cast<double>(piece) / each;
  }
  return 1.0;
}

// What a stage and the end of a tile take: cycles at 1.75 GHz, microseconds.
struct WgmmaCost {
  double stage, end;
};

// Of int4 in groups of 128, fitted to H200 (notes/sm90_wgmma.md).
struct WgmmaTileCost {
  int tokens, groups, parts;
  WgmmaCost cost;
};
inline constexpr WgmmaTileCost kWgmmaTileCosts[] = {
    {64, 2, 2, {798, 1.8}},   {64, 3, 1, {1075, 2.2}},  {64, 4, 1, {1400, 2.2}},  {96, 2, 1, {998, 1.8}},
    {96, 3, 1, {1313, 2.6}},  {128, 2, 1, {1167, 1.4}}, {128, 3, 1, {1597, 2.6}}, {160, 2, 1, {1433, 1.0}},
    {160, 3, 1, {2035, 2.6}}, {192, 2, 1, {1720, 0.6}}, {192, 3, 1, {1244, 2.6}}, {256, 2, 1, {1112, 2.3}},
};

// Of any format, fitted likewise.
constexpr WgmmaCost wgmma_cost(const WgmmaShape& s, const WgmmaChoice& c, int stage_k) {
  const auto larger = [](double a, double b) { return a > b ? a : b; };
  const double width = c.tiles * c.groups, outputs = c.channels() * c.tokens; // width: in 64 channels
  // The last-level cache brings a multiprocessor about 50 bytes a cycle while all of them ask.
  const double bring = stage_k * (c.channels() * s.bits / 8.0 + c.tokens * 2.0 / c.share) / 50;
  if (s.bits == 16) { // nothing to decode: the operand that comes from shared memory takes 16 cycles at least
    // Two tiles of 128 tokens read a fifth more from shared memory than one of 256.
    const double multiply = stage_k / 16.0 * width * (c.tokens < 32 ? 16 : c.tokens * 0.5) * (c.tiles > 1 ? 1.08 : 1.0);
    const double pace = c.share > 1 ? 1.06 : 1.1; // two blocks that share x need less power
    return {larger(larger(multiply * pace, 60.0 + multiply * 0.55), bring), outputs * (c.share > 1 ? 1.5e-4 : 4e-5)};
  }
  if (c.tokens <= 32) {
    const double multiply = stage_k / 16.0 * width * c.tokens * 0.5;
    const double steps = c.parts > 1 ? (214.0 + width * (97.0 + 4.4 * c.tokens)) * s.decode
                                     : (300.0 + 320.0 * c.tiles) * s.decode * stage_k / 128 + multiply * 0.55;
    return {larger(larger(multiply * 1.1, steps), bring), outputs * 4e-5};
  }
  WgmmaCost of_int4 = {stage_k / 16.0 * width * c.tokens * 0.5 * 1.15, 1.5}; // products, where none was measured
  for (const WgmmaTileCost& tile : kWgmmaTileCosts)
    if (tile.tokens == c.tokens && tile.groups == c.groups && tile.parts == c.parts)
      of_int4 = {tile.cost.stage * stage_k / wgmma_stage_k(4, c.tokens, c.tiles, c.groups * c.parts), tile.cost.end};
  // Other formats, by version 11: codes of 8 bits decode at half the pace and fill twice the memory.
  const double slower =
      s.bits == 8 ? (c.tokens > 128 ? 1.17 : 1.3) : 1 + (s.decode - 1) * (c.tokens > 128 ? 0.15 : 0.35);
  // Two blocks that share x: less power for many tokens, one that waits for the other.
  const bool shares = c.share > 1 && c.tokens > 64;
  const double pace = !shares ? 1.0 : c.tokens < 256 ? 1.015 : s.m < 3072 ? 0.995 : 0.97;
  return {larger(of_int4.stage * slower, bring) * pace, of_int4.end + (shares ? 0.3 : 0.0)};
}

// How a choice divides a problem best.
constexpr WgmmaPlan wgmma_plan(const WgmmaShape& s, const spf_device_facts& facts, const WgmmaChoice& c) {
  const auto larger = [](double a, double b) { return a > b ? a : b; };
  const int stage_k = wgmma_stage_k(s.bits, c.tokens, c.tiles, c.groups * c.parts);
  const WgmmaTiles tiles = wgmma_tiles(s, c.channels(), c.tokens, stage_k, c.share);
  const int64_t units = tiles.units(), channels = units / tiles.tokens * c.share * c.channels();
  WgmmaCut cut = {static_cast<int32_t>(units), static_cast<int32_t>(units), static_cast<int32_t>(channels),
                  2 * c.groups};
  const bool divides = wgmma_divides(s.bits, c.tiles, c.share, c.parts);
  const int64_t at_once = clusters_at_once(c.share, facts.sm_count);
  const bool halves = divides && wgmma_cut((s.n + 63) / 64, tiles.tokens, c.groups, at_once, &cut) < 0.6;
  const WgmmaCost cost = wgmma_cost(s, c, stage_k);
  const bool measured = s.bits < 16 && c.tokens > 32; // since version 13
  const double outputs = c.channels() * c.tokens;
  const double stream_us = static_cast<double>(s.n) * static_cast<double>(s.k) * s.bits / 8 / 4.2e6;
  const double start = c.tokens <= 16 && s.bits < 16 ? 5.5 : measured ? 2.4 : 3.0; // 5.5: four warpgroups' sums meet
  const int32_t token_run = even_run(tiles.tokens, c.tokens < 128 ? 12 : 1024 / c.tokens); // of 1024 tokens at most
  WgmmaPlan best = best_split(tiles, facts, token_run, [&](double stages, int split, double waves) {
    const double exchange = halves       ? 0.5 + outputs * 1.4e-4
                            : split == 1 ? 0.0
                            : measured   ? 0.5 + outputs * 3.8e-4 / c.groups + 0.1 * split
                                         : 2.5 + outputs * 8e-5 + 0.15 * split;
    return start + larger((halves ? waves - 0.5 : waves) * (stages * cost.stage / 1750 + cost.end), stream_us) +
           exchange;
  });
  best.cut = cut;
  if (divides) best.clusters = static_cast<int32_t>(cut.units < at_once ? cut.units : at_once);
  return best;
}

} // namespace spf::linear
