// What every implementation of a block quantizer reads, as plain data.
#pragma once

#include <cstring>

#include "core/call.hpp"
#include "kernels/block_quantize/definition.h"
#include "kernels/common/rows.hpp"

namespace spf::block_quantize {

enum class BlockOp : uint8_t {
  kNvfp4,
  kSiluNvfp4,
  kNvfp4Experts,
  kSiluNvfp4Experts,
  kRotateNvfp4,
  kMxfp4,
  kMxfp8,
  kMxfp8Experts,
  kRotateMxfp4,
};

inline constexpr const char* kBlockOpNames[] = {"nvfp4_quantize",         "silu_and_mul_nvfp4_quantize",
                                                "nvfp4_experts_quantize", "silu_and_mul_nvfp4_experts_quantize",
                                                "rotate_nvfp4_quantize",  "mxfp4_quantize",
                                                "mxfp8_quantize",         "mxfp8_experts_quantize",
                                                "rotate_mxfp4_quantize"};

constexpr bool is_nvfp4(BlockOp op) { return op <= BlockOp::kRotateNvfp4; }
constexpr bool is_gated(BlockOp op) { return op == BlockOp::kSiluNvfp4 || op == BlockOp::kSiluNvfp4Experts; }
constexpr bool is_rotated(BlockOp op) { return op == BlockOp::kRotateNvfp4 || op == BlockOp::kRotateMxfp4; }
constexpr bool has_experts(BlockOp op) {
  return op == BlockOp::kNvfp4Experts || op == BlockOp::kSiluNvfp4Experts || op == BlockOp::kMxfp8Experts;
}
constexpr int group_of(BlockOp op) { return is_nvfp4(op) ? 16 : 32; }

struct BlockArgs {
  const void* x = nullptr;             // rows of `groups` blocks; gated: that many of gate, then of up
  const float* global_scale = nullptr; // NVFP4 only; one an expert
  uint8_t* codes = nullptr;
  uint8_t* scales = nullptr;              // one row of scales a row of x; may be null
  uint8_t* swizzled = nullptr;            // in tiles of 128 x 4, padded; may be null
  int64_t groups = 0;                     // of a row
  int64_t tiles = 0;                      // of a row of swizzled scales
  int64_t padded_rows = 0;                // of swizzled scales
  const int32_t* offsets = nullptr;       // [experts + 1]: the rows of each expert
  const int32_t* scale_offsets = nullptr; // [experts + 1]: its rows of swizzled scales
  int64_t experts = 0;
  MxScaleRule rule = MxScaleRule::kFloor;
  const void* rotation = nullptr; // [rotation_size, rotation_size], of the type of x
  int64_t rotation_size = 0;
  RotatedRule rotated_rule = RotatedRule::kQuest;
  RowSpace<3> space; // [0] x, [1] codes, [2] scales

  bool empty() const { return groups == 0 || space.rows == 0; }
};

inline BlockOp block_op(const Call& call) {
  int i = 0;
  while (std::strcmp(kBlockOpNames[i], call.problem.op->name) != 0) ++i;
  return static_cast<BlockOp>(i);
}

inline BlockArgs block_args(const Call& call, BlockOp op) {
  BlockArgs args;
  const spf_tensor* const x = call.operand("x");
  const spf_tensor* const codes = call.operand("codes");
  const spf_tensor* const scales = call.operand("scales");
  const spf_tensor* const swizzled = call.operand("scales_swizzled");
  args.x = x->data;
  args.codes = static_cast<uint8_t*>(codes->data);
  args.scales = scales ? static_cast<uint8_t*>(scales->data) : nullptr;
  args.swizzled = swizzled ? static_cast<uint8_t*>(swizzled->data) : nullptr;
  args.groups = call.problem.extent("G");
  args.tiles = (args.groups + 3) / 4;
  if (is_nvfp4(op))
    args.global_scale =
        static_cast<const float*>(call.operand(has_experts(op) ? "global_scales" : "global_scale")->data);
  else if (is_rotated(op))
    args.rotated_rule = static_cast<RotatedRule>(static_cast<int>(call.param("scale_rule")));
  else
    args.rule = static_cast<MxScaleRule>(static_cast<int>(call.param("scale_rule")));
  const spf_tensor* const three[3] = {x, codes, scales ? scales : codes};
  args.space = row_space(three);
  args.padded_rows = swizzled ? swizzled->shape[0] : 0;
  if (is_rotated(op)) {
    args.rotation = call.operand("rotation")->data;
    args.rotation_size = call.problem.extent("R");
  }
  if (has_experts(op)) {
    args.offsets = static_cast<const int32_t*>(call.operand("expert_offsets")->data);
    args.scale_offsets = static_cast<const int32_t*>(call.operand("scale_offsets")->data);
    args.experts = call.problem.extent("E1") - 1;
  }
  return args;
}

// What swizzle_scales and unswizzle_scales read.
struct TileArgs {
  uint8_t* scales = nullptr;
  uint8_t* swizzled = nullptr;
  int64_t matrices = 0, rows = 0, groups = 0;
  int64_t tiles = 0;       // of a row of tiles
  int64_t padded_rows = 0; // of a matrix
  RowSpace<1> space;       // of scales

  int64_t matrix_bytes() const { return padded_rows * tiles * 4; }
};

inline TileArgs tile_args(const Call& call) {
  TileArgs args;
  const spf_tensor* const scales = call.operand("scales");
  args.scales = static_cast<uint8_t*>(scales->data);
  args.swizzled = static_cast<uint8_t*>(call.operand("swizzled")->data);
  args.matrices = call.problem.extent("*");
  args.rows = call.problem.extent("R");
  args.groups = call.problem.extent("G");
  args.tiles = (args.groups + 3) / 4;
  args.padded_rows = (args.rows + 127) / 128 * 128;
  const spf_tensor* const one[1] = {scales};
  args.space = row_space(one);
  return args;
}

} // namespace spf::block_quantize
