// The linear layers of block-scaled activations: which they are, and what their operands look like. Pure.
#pragma once

#include <cstdint>
#include <cstring>
#include <iterator>

#include "core/call.hpp"

namespace spf::linear {

enum class BlockLinear : uint8_t { kNvfp4, kMxfp4, kMxfp8 };

// As manifests name them.
inline constexpr BlockLinear nvfp4_linear = BlockLinear::kNvfp4, mxfp4_linear = BlockLinear::kMxfp4,
                             mxfp8_linear = BlockLinear::kMxfp8;

inline constexpr const char* kBlockLinearNames[] = {"nvfp4_linear", "mxfp4_linear", "mxfp8_linear"};

// Which of them an op is; false if none.
inline bool is_block_linear(const OpSchema& op, BlockLinear* which) {
  for (size_t i = 0; i < std::size(kBlockLinearNames); ++i)
    if (std::strcmp(op.name, kBlockLinearNames[i]) == 0) {
      *which = static_cast<BlockLinear>(i);
      return true;
    }
  return false;
}

// Values of K that share a scale; values that a byte of x holds.
constexpr int64_t block_of(BlockLinear op) { return op == BlockLinear::kNvfp4 ? 16 : 32; }
constexpr int64_t values_a_byte(BlockLinear op) { return op == BlockLinear::kMxfp8 ? 1 : 2; }

// Scales lie in tiles of 128 rows x 4 blocks: the place of one, in a matrix with `tiles` of them beside each other.
constexpr int64_t scale_tiles(int64_t blocks) { return (blocks + 3) / 4; }
constexpr int64_t tiled_scale_place(int64_t row, int64_t block, int64_t tiles) {
  return (row / 128 * tiles + block / 4) * 512 + row % 32 * 16 + row / 32 % 4 * 4 + block % 4;
}

} // namespace spf::linear
