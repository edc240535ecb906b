// Geometry of the mma.sync kernels: tiles, stages and how a problem is divided, as the mainloop, its launches and the
// policies see them. Pure.
#pragma once

#include <cstddef>
#include <cstdint>

#include "spearfish/device.h"
#include "spearfish/types.h"

namespace spf::linear {

// What one k step of a weight takes: 32 bytes of a token's row.
struct MmaFormat {
  int bits;        // of a code
  int step_k;      // values of K in 32 bytes of x: 16, or 32 for 8-bit activations
  int scale_bytes; // of a group's scale; 0 without groups
  int zero_bits;   // of a group's zero point
  int scale_rows;  // at most so many groups in a stage; 0: one a step
};

// How scales lie along K; the manifest's axis `groups`.
inline constexpr int kOneGroup = 0, kGroups = 1, kActOrder = 2, kNvfp4Groups = 16, kMxfp4Groups = 32;

// Bits of a weight's code, bytes of a group's scale, bits of its zero point.
constexpr MmaFormat marlin_format(spf_scalar_type weight, int64_t groups) {
  const bool four = weight == SPF_U4B8 || weight == SPF_U4 || weight == SPF_E2M1;
  const bool zeros = weight == SPF_U4 || weight == SPF_U8;
  MmaFormat f = {four ? 4 : 8, 16, 0, 0, 0};
  if (groups == kOneGroup) return f;
  f.scale_bytes = weight == SPF_E2M1 ? 1 : weight == SPF_E4M3 ? 4 : 2;
  f.zero_bits = zeros ? f.bits : 0;
  if (weight == SPF_E4M3) f.scale_rows = 1; // groups are of 128 values at least
  return f;
}

// A block's tile and its stages. Warps stand as channels / (16 * sub_tiles()) x parts, each part with its share of a
// stage's steps.
struct MmaTile {
  int tokens, channels, parts;
  MmaFormat format;
  int pipeline; // stages in flight at most

  constexpr int sub_tiles() const { return tokens > 64 ? 2 : 4; } // of 16 channels, a warp's
  constexpr int warps() const { return channels / (16 * sub_tiles()) * parts; }
  constexpr int steps() const { return parts < 2 ? 4 : 2 * parts; } // of a stage
  constexpr int stage_k() const { return steps() * format.step_k; }

  constexpr int x_bytes() const { return tokens * steps() * 32; }
  constexpr int code_bytes() const { return channels * stage_k() * format.bits / 8; }
  constexpr int scale_rows() const { return format.scale_rows == 0 ? steps() : format.scale_rows; }
  constexpr int scale_bytes() const { return scale_rows() * channels * format.scale_bytes; }
  constexpr int zero_bytes() const { return scale_rows() * channels * format.zero_bits / 8; }
  constexpr int stage_bytes() const { return x_bytes() + code_bytes() + scale_bytes() + zero_bytes(); }

  // Tokens whose sums are exchanged at a time, and the room for that. Four floats more a row keep the lanes of a store
  // apart.
  constexpr int part_tokens() const { return tokens < 16 ? tokens : 16; }
  constexpr int sum_pitch() const { return channels + 4; }
  constexpr int sum_bytes() const { return part_tokens() * sum_pitch() * 4; }

  constexpr int stages() const {
    constexpr int kRoom = 99 * 1024; // what 8.6, 8.9 and 12.x have
    const int most = (kRoom - sum_bytes()) / stage_bytes();
    return most >= pipeline ? pipeline : most < 3 && pipeline > 2 ? 3 : most;
  }
  constexpr int shared_bytes() const { return stages() * stage_bytes() + sum_bytes(); }
  // Blocks of a multiprocessor that registers allow.
  constexpr int blocks() const { return pipeline > 2 && (tokens <= 16 || warps() <= 4) ? 2 : 1; }
};

struct MmaShape {
  int64_t m = 0, n = 0, k = 0;
};

// How a problem is divided. Tiles 0 to whole - 1 go round the blocks; the stages of the others are cut into `grid`
// equal runs, so that a tile's sums may come from several blocks.
struct MmaPlan {
  int channel_tiles = 0, token_tiles = 0;
  int token_run = 1; // consecutive tiles walk so many token tiles before they turn to other channels
  int stages = 0;    // of K
  int grid = 0, whole = 0;
  int64_t tiles = 0;
  int64_t divided_stages = 0; // of the tiles from `whole` on
  int64_t run = 0;            // stages of a block's run, at least; the first `longer` blocks have one more
  int longer = 0;
  double microseconds = 0;
};

// Bytes of partial sums: a block leaves at most two tiles that are not all its own.
constexpr size_t mma_partial_bytes(const MmaPlan& p, const MmaTile& t) {
  if (p.divided_stages == 0) return 0;
  return static_cast<size_t>(p.grid) * 2 * static_cast<size_t>(t.tokens) * static_cast<size_t>(t.channels) * 4;
}

// About what a multiprocessor does in a microsecond: bytes from memory, 16-bit multiply-adds of mma.sync, cycles. Data
// sheets; only H200's bytes are measured.
struct CudaRates {
  double bytes, macs, cycles;
};
constexpr CudaRates cuda_rates(int compute_capability) {
  switch (compute_capability) {
    case 75:
      return {7.0e3, 0.8e6, 1500};
    case 80:
      return {16.0e3, 1.4e6, 1400};
    case 86:
    case 87:
      return {7.5e3, 0.75e6, 1600};
    case 89:
      return {6.5e3, 1.1e6, 2300};
    case 90:
      return {32.0e3, 2.2e6, 1700};
    case 100:
    case 103:
      return {45.0e3, 2.0e6, 1800};
    default:
      return {9.0e3, 1.2e6, 2300};
  }
}

// The best division for a tile. A stage costs a block the multiplications or the issue of its instructions, whichever
// takes longer, and a barrier's latency; it takes as long as its bytes are under way; and the memory bounds all blocks
// together.
constexpr MmaPlan mma_plan(const MmaShape& s, const spf_device_facts& facts, const MmaTile& t) {
  const auto ceil = [](int64_t a, int64_t b) { return (a + b - 1) / b; };
  const auto larger = [](double a, double b) { return a > b ? a : b; };
  const CudaRates rates = cuda_rates(facts.compute_capability);
  MmaPlan best;
  best.channel_tiles = static_cast<int>(ceil(s.n, t.channels));
  best.token_tiles = static_cast<int>(ceil(s.m, t.tokens));
  best.token_run = best.token_tiles < 8 ? best.token_tiles : 8;
  best.stages = static_cast<int>(ceil(s.k, t.stage_k()));
  const int64_t multiprocessors = facts.sm_count > 0 ? facts.sm_count : 1;
  const int64_t by_memory = (facts.shared_memory_per_block + 1024) / (t.shared_bytes() + 1024);
  const int64_t resident = by_memory < t.blocks() ? (by_memory < 1 ? 1 : by_memory) : t.blocks();
  const int64_t slots = multiprocessors * resident;

  const double macs = static_cast<double>(t.tokens) * t.channels * t.stage_k();
  const double fragments = t.channels / 16.0 * t.steps(); // of weights, each decoded once
  const double instructions = fragments * (14.0 + t.tokens / 8.0 * 1.4) + 40.0 * t.warps();
  const double working = larger(macs / (0.7 * rates.macs), instructions / 4 / rates.cycles);
  const double arriving = 1.2 / (t.stages() - 1); // what is in flight arrives within the latency of a busy memory
  const double stage_us = larger(working * static_cast<double>(resident) + 100.0 / rates.cycles, arriving);
  // Every tile of tokens reads the weight anew, all but the first from the cache.
  const double weight_bytes = static_cast<double>(s.n) * static_cast<double>(s.k) * t.format.bits / 8;
  const double stream_us =
      weight_bytes * (1.0 + 0.3 * (best.token_tiles - 1)) / (0.8 * rates.bytes * static_cast<double>(multiprocessors));
  const int64_t tiles = best.tiles = static_cast<int64_t>(best.channel_tiles) * best.token_tiles;
  // Blocks that take whole tiles only; then, whole rounds and the rest in equal runs of stages.
  for (int divide = 0; divide < 2; ++divide) {
    const int64_t all = tiles * best.stages;
    const int64_t grid = divide == 0       ? (tiles < slots ? tiles : slots)
                         : all / 2 < slots ? (all / 2 < 1 ? 1 : all / 2)
                                           : slots;
    const int64_t whole = divide == 0 ? tiles : tiles / grid * grid;
    if (divide == 1 && whole == tiles) break;
    const double rounds = static_cast<double>(divide == 0 ? ceil(tiles, grid) : tiles / grid);
    const double run = static_cast<double>(divide == 0 ? 0 : ceil((tiles - whole) * best.stages, grid));
    // Partial sums are written and read once; the second kernel starts and ends.
    const double outputs = static_cast<double>(t.tokens) * t.channels;
    const double exchange = divide == 0 ? 0.0 : 2.5 + outputs * 1.5 * static_cast<double>(grid) * 8 / 3.0e6;
    const double loop = (rounds * best.stages + run) * stage_us + rounds * outputs * 4e-5;
    const double us = 3.0 + larger(loop, stream_us) + exchange;
    if (divide == 1 && us >= best.microseconds) break;
    best.grid = static_cast<int>(grid);
    best.whole = static_cast<int>(whole);
    best.divided_stages = (tiles - whole) * best.stages;
    best.microseconds = us;
  }
  best.run = best.divided_stages / best.grid;
  best.longer = static_cast<int>(best.divided_stages % best.grid);
  return best;
}

} // namespace spf::linear
