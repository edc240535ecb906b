// What every implementation of a block quantizer reads, as plain data.
#pragma once

#include <string_view>

#include "core/call.hpp"
#include "kernels/block_quantize/definition.h"
#include "kernels/common/rows.hpp"

namespace spf::block_quantize {

enum class BlockOp : uint8_t { kNvfp4, kSiluNvfp4, kMxfp4, kMxfp8 };

constexpr bool is_nvfp4(BlockOp op) { return op == BlockOp::kNvfp4 || op == BlockOp::kSiluNvfp4; }
constexpr bool is_gated(BlockOp op) { return op == BlockOp::kSiluNvfp4; }
constexpr int group_of(BlockOp op) { return is_nvfp4(op) ? 16 : 32; }

struct BlockArgs {
  const void* x = nullptr;             // rows of `groups` blocks; gated: that many of gate, then of up
  const float* global_scale = nullptr; // NVFP4 only
  uint8_t* codes = nullptr;
  uint8_t* scales = nullptr;   // one row of scales a row of x; may be null
  uint8_t* swizzled = nullptr; // in tiles of 128 x 4, padded; may be null
  int64_t groups = 0;          // of a row
  int64_t tiles = 0;           // of a row of swizzled scales
  int64_t padded_rows = 0;     // of swizzled scales
  MxScaleRule rule = MxScaleRule::kFloor;
  RowSpace<3> space; // [0] x, [1] codes, [2] scales

  bool empty() const { return groups == 0 || space.rows == 0; }
};

inline BlockOp block_op(const Call& call) {
  const std::string_view name = call.problem.op->name;
  return name == "nvfp4_quantize"   ? BlockOp::kNvfp4
         : name == "mxfp4_quantize" ? BlockOp::kMxfp4
         : name == "mxfp8_quantize" ? BlockOp::kMxfp8
                                    : BlockOp::kSiluNvfp4;
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
    args.global_scale = static_cast<const float*>(call.operand("global_scale")->data);
  else
    args.rule = static_cast<MxScaleRule>(static_cast<int>(call.param("scale_rule")));
  const spf_tensor* const three[3] = {x, codes, scales ? scales : codes};
  args.space = row_space(three);
  args.padded_rows = (args.space.rows + 127) / 128 * 128;
  return args;
}

} // namespace spf::block_quantize
