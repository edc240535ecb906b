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
  int bits;             // of a code
  int step_k;           // values of K in 32 bytes of x: 16, or 32 for 8-bit activations
  int scale_bytes;      // of a group's scale; 0 without groups
  int zero_bits;        // of a group's zero point
  int scale_rows;       // at most so many groups in a stage; 0: one a step
  int most_tokens = 64; // of a warp: what its registers hold
  int block_tiles = 0;  // block scales: tiles of 128 rows x 4 blocks along a stage, of the weight and of x

  constexpr int x_bytes() const { return 32 / step_k; } // of an element
};

// How scales lie along K; the manifest's axis `groups`.
inline constexpr int kOneGroup = 0, kGroups = 1, kActOrder = 2, kFineGroups = 3, kNvfp4Groups = 16, kMxfp4Groups = 32;

// Bits of a weight's code, bytes of a group's scale, bits of its zero point.
constexpr MmaFormat marlin_format(spf_scalar_type weight, int64_t groups) {
  const bool four = weight == SPF_U4B8 || weight == SPF_U4 || weight == SPF_E2M1;
  const bool zeros = weight == SPF_U4 || weight == SPF_U8;
  MmaFormat f = {four ? 4 : 8, 16, 0, 0, 0};
  if (groups == kOneGroup) return f;
  f.scale_bytes = weight == SPF_E2M1 ? 1 : weight == SPF_E4M3 ? 4 : 2;
  f.zero_bits = zeros ? f.bits : 0;
  if (groups == kGroups) f.scale_rows = 1; // of 64 values and multiples
  return f;
}

// 16-bit weights; 8-bit ones, whose sums are folded where x or the weight has scales every 128 values of K.
inline constexpr MmaFormat kDenseFormat = {16, 16, 0, 0, 0};
constexpr MmaFormat byte_format(bool fold) { return {8, 32, 0, 0, 0, fold ? 32 : 64}; }

// Block-scaled operands, K counted in bytes of x: of two e2m1 (half_bytes: of 8-bit numbers that meet e2m1 weights).
constexpr MmaFormat block_format(int block, int values_a_byte, bool half_bytes) {
  const int stage_values = 128 * values_a_byte;
  return {half_bytes ? 4 : 8, 32, 0, 0, 0, 64, stage_values / block / 4};
}

// A block's tile. K is divided over `parts` teams of warps, each with a ring of stages of its own; a warp has 64
// channels and up to format.most_tokens tokens.
struct MmaTile {
  static constexpr int kSteps = 4; // of a stage

  int tokens, channels, parts;
  MmaFormat format;
  int memory; // KiB of shared memory that a block may take

  constexpr int warp_tokens() const { return tokens > format.most_tokens ? format.most_tokens : tokens; }
  constexpr int team_warps() const { return channels / 64 * (tokens / warp_tokens()); }
  constexpr int warps() const { return team_warps() * parts; }
  constexpr int stage_k() const { return kSteps * format.step_k; }

  constexpr int x_bytes() const { return tokens * kSteps * 32; }
  constexpr int code_bytes() const { return channels * stage_k() * format.bits / 8; }
  constexpr int scale_rows() const { return format.scale_rows == 0 ? kSteps : format.scale_rows; }
  constexpr int scale_bytes() const {
    if (format.block_tiles > 0) return format.block_tiles * 512 * (channels / 128);
    return scale_rows() * channels * format.scale_bytes;
  }
  constexpr int zero_bytes() const { return scale_rows() * channels * format.zero_bits / 8; }
  // Block scales of x: of a tile only the pieces of 16 bytes that have the tile's tokens.
  constexpr int x_scale_rows() const { return tokens < 32 ? tokens : 32; }
  constexpr int x_scale_bytes() const { return format.block_tiles * 16 * x_scale_rows(); }
  constexpr int stage_bytes() const {
    return x_bytes() + code_bytes() + scale_bytes() + zero_bytes() + x_scale_bytes();
  }

  constexpr int stages() const {
    const int most = memory * 1024 / (parts * stage_bytes());
    return most < 5 ? most : 5;
  }
  constexpr int shared_bytes() const { return parts * stages() * stage_bytes(); }
  // Tokens whose sums are exchanged at a time, in the place of the rings. Four sums more a row keep the lanes of a
  // store apart.
  constexpr int sum_pitch() const { return channels + 4; }
  constexpr int exchange_tokens() const {
    int t = tokens;
    while (parts * t * sum_pitch() * 4 > shared_bytes()) t /= 2;
    return t;
  }
  // Blocks of a multiprocessor that registers allow.
  constexpr int blocks() const {
    if (memory <= 64) return 1; // 7.5, where copies wait in registers
    if (tokens <= 16) return 2;
    return warps() > 4 ? 1 : warp_tokens() == tokens && tokens <= 32 && format.most_tokens > 32 ? 3 : 2;
  }
};

struct MmaShape {
  int64_t m = 0, n = 0, k = 0;
};

// How a problem is divided. Tiles 0 to whole - 1 go round the blocks; the stages of the others are cut into `grid`
// equal runs, so that a tile's sums may come from several blocks.
struct MmaPlan {
  int channel_tiles = 0, token_tiles = 0;
  int token_run = 1;                   // consecutive tiles walk so many token tiles before they turn to other channels
  int stages = 0;                      // of K
  int grid = 0, whole = 0, rounds = 0; // rounds: of whole tiles, before a block's run
  int tiles = 0;
  int divided_stages = 0;  // of the tiles from `whole` on
  int run = 0, longer = 0; // stages of a block's run, at least; the first `longer` blocks have one more
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

// The best division for a tile. All teams of a multiprocessor together take the time of their multiplications or of
// the issue of their instructions, whichever is longer; a team's stage takes as long as its instructions need one after
// another, and as its bytes are under way; and the memory bounds all blocks together.
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

  // A product of 32 bytes of x takes one time, whatever they hold.
  const double macs = static_cast<double>(t.tokens) * t.channels * MmaTile::kSteps * 16;
  // A warp's stage: 16 fragments of weights, each decoded once; loads; copies and bookkeeping.
  const double instructions = 16.0 * (10 + t.warp_tokens() / 8.0) + 4.0 * (2 + t.warp_tokens() / 16.0) + 130;
  const double hurried = t.stages() == 2 ? 1.15 : 1.0; // copies have the time of one stage, and no more
  const double working = hurried * larger(macs / ((t.warp_tokens() < 64 ? 0.58 : 0.73) * rates.macs),
                                          1.52 * instructions * t.team_warps() / 4 / rates.cycles);
  const double alone = (235 + instructions * 1.52) / rates.cycles; // a warp that nothing is in the way of
  const double arriving = 1.29 / (t.stages() - 1);                 // within the latency of a busy memory
  const auto stage_us = [&](int64_t beside) {                      // with so many blocks on a multiprocessor
    return larger(working * static_cast<double>(beside), larger(alone, arriving) / t.parts);
  };
  // Every tile of tokens reads the weight anew, all but the first from the cache.
  const double weight_bytes = static_cast<double>(s.n) * static_cast<double>(s.k) * t.format.bits / 8;
  const double stream_us =
      weight_bytes * (1.0 + 0.3 * (best.token_tiles - 1)) / (0.95 * rates.bytes * static_cast<double>(multiprocessors));
  const int64_t tiles = static_cast<int64_t>(best.channel_tiles) * best.token_tiles;
  best.tiles = static_cast<int>(tiles);
  // Blocks that take whole tiles only; whole rounds and the rest in equal runs of stages; as many runs of a tile for
  // every tile.
  for (int divide = 0; divide < 3; ++divide) {
    const int64_t all = tiles * best.stages,
                  most = all / t.parts < slots ? (all / t.parts < 1 ? 1 : all / t.parts) : slots;
    const int64_t grid = divide == 0 ? tiles : divide == 1 ? most : most / tiles * tiles;
    if (divide == 2 && (grid == 0 || grid == tiles || best.stages % (grid / tiles) != 0)) break;
    const int64_t whole = divide == 0 ? tiles : tiles / grid * grid, divided = (tiles - whole) * best.stages;
    if (divide > 0 && (whole == tiles || divided > 0x7fffffff)) break;
    // Blocks of a tile each are handed out as others end: many of them do not wait for whole rounds.
    const double rounds = divide > 0          ? static_cast<double>(tiles / grid)
                          : tiles < 4 * slots ? static_cast<double>(ceil(tiles, slots))
                                              : static_cast<double>(tiles) / static_cast<double>(slots);
    const double run = static_cast<double>(divide == 0 ? 0 : ceil(divided, grid));
    // The second kernel starts and ends, and sums go to memory and back; where runs are not parts of one tile, blocks
    // end two tiles.
    const double outputs = static_cast<double>(t.tokens) * t.channels;
    const double exchange =
        divide == 0 ? 0.0 : (divide == 1 ? 6.3 : 2.9) + 2.3e-6 * outputs * static_cast<double>(grid);
    const int64_t spread = ceil(tiles, multiprocessors);
    const int64_t beside = divide == 0 && spread < resident ? spread : resident;
    const double loop =
        (rounds * best.stages + run) * stage_us(beside) + (rounds + (divide > 0 ? 1 : 0)) * (3.0 + outputs * 1.9e-4);
    const double us = 1.4 + larger(loop, stream_us) + exchange;
    if (divide > 0 && us >= best.microseconds) continue;
    best.grid = static_cast<int>(grid);
    best.whole = static_cast<int>(whole);
    best.divided_stages = static_cast<int>(divided);
    best.microseconds = us;
  }
  best.rounds = best.whole / best.grid;
  best.run = best.divided_stages / best.grid;
  best.longer = best.divided_stages % best.grid;
  return best;
}

} // namespace spf::linear
