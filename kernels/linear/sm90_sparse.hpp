// Geometry of linear/sm90_sparse: tiles, stages and the split of a problem, as kernel, launch and policy see them.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/linear/sm90_wgmma8.hpp"

namespace spf::linear {

// Bytes of a value, values of K in a stage (128 bytes of x, a block of the layout sparse24), and bytes of a channel's
// block: half the values, and a bit for each.
constexpr int sparse_width(spf_scalar_type type) { return type == SPF_F16 || type == SPF_BF16 ? 2 : 1; }
constexpr int sparse_stage_k(int width) { return 128 / width; }
constexpr int sparse_row_bytes(int width) { return 64 + sparse_stage_k(width) / 8; }

// A stage, as Wgmma8Stage, of one 64-channel tile a warpgroup.
template <int kWidth, int kTokens, bool kAlong>
struct SparseStage {
  static constexpr int kBlockChannels = 64, kRowBytes = sparse_row_bytes(kWidth);
  static constexpr int kBlockBytes = kBlockChannels * kRowBytes, kWordsAt = kBlockChannels * 64; // within a block
  static constexpr int kXBytes = kTokens * 128, kCodesAt = kXBytes, kCodeBytes = (kAlong ? 64 : 128) * kRowBytes;
  static constexpr int kTokenScalesAt = 0, kChannelScalesAt = 0, kScaleRows = 0; // no scales in a stage
  static constexpr int kBytes = (kCodesAt + kCodeBytes + 1023) / 1024 * 1024;
};
template <int kWidth, int kTokens, bool kAlong>
struct SparseTile : SparseStage<kWidth, kTokens, kAlong>,
                    Wgmma8Ring<SparseStage<kWidth, kTokens, kAlong>::kBytes, kTokens, 1, kAlong> {};

// The best split of K for a choice, and its estimated time. Shared memory bounds a stage: it gives 128 bytes a cycle to
// the two warpgroups, each of which reads x anew for its 64 channels, 144 cycles for 256 tokens and 64 channels where
// the tensor cores need 128. What copies bring at the same time costs nothing. The rest is as in wgmma8_plan().
constexpr WgmmaPlan sparse_plan(const WgmmaShape& s, const spf_device_facts& facts, const Wgmma8Choice& c) {
  const auto larger = [](double a, double b) { return a > b ? a : b; };
  const int width = s.bits / 8, row = sparse_row_bytes(width);
  const WgmmaTiles tiles = wgmma_tiles(s, c.channels(), c.tokens, sparse_stage_k(width), c.share);
  const double x_bytes = c.tokens * 128.0, weight_bytes = static_cast<double>(c.channels()) * row;
  const double multiply = c.channels() / 64 * (x_bytes + 4096) / 128 + 20;
  const double bring = (weight_bytes + x_bytes / c.share) / 42;
  const double stage_us = larger(larger(multiply, bring), 180.0) / 1600;
  const double outputs = static_cast<double>(c.channels()) * c.tokens;
  const double stream_us = (static_cast<double>(s.n) * static_cast<double>(tiles.stages * row) +
                            static_cast<double>(s.m) * static_cast<double>(s.k * width + 2 * s.n)) /
                           4.3e6;
  const auto token_run = static_cast<int32_t>(tiles.tokens < 16 ? tiles.tokens : 16);
  return best_split(tiles, facts, token_run, [&](double stages, int split, double waves) {
    const double exchange = split > 1 ? 0.8 + outputs * 8e-5 + 0.1 * split : c.along ? 0.2 : 0.0;
    const double loop_us = waves * (stages * stage_us + outputs * 4e-5);
    return 2.8 + larger(loop_us, stream_us) + exchange;
  });
}

} // namespace spf::linear
