// What every implementation of a norm op reads: the rows of a call and its parameters, as plain data.
#pragma once

#include <string_view>

#include "core/call.hpp"
#include "kernels/common/rows.hpp"

namespace spf::norm {

enum class NormOp : uint8_t { kRms, kFusedAddRms, kLayer };

// Two operands walk the same rows: [0] is x; [1] is out, or residual for fused_add_rms_norm.
struct NormArgs {
  void* data[2] = {};
  const void* weight = nullptr; // [H], may be null
  const void* bias = nullptr;   // [H], may be null; layer_norm only
  int64_t h = 0;                // elements of a row
  float epsilon = 0;
  bool weight_plus_one = false; // multiply by 1 + weight, before the one rounding
  RowSpace<2> space;

  bool empty() const { return h == 0 || space.rows == 0; }
};

inline NormOp norm_op(const Call& call) {
  const std::string_view name = call.problem.op->name;
  return name == "rms_norm" ? NormOp::kRms : name == "layer_norm" ? NormOp::kLayer : NormOp::kFusedAddRms;
}

inline NormArgs norm_args(const Call& call, NormOp op) {
  NormArgs args;
  const spf_tensor* const both[2] = {call.operand("x"), call.operand(op == NormOp::kFusedAddRms ? "residual" : "out")};
  const spf_tensor* const weight = call.operand("weight");
  const spf_tensor* const bias = call.operand("bias");
  args.data[0] = both[0]->data;
  args.data[1] = both[1]->data;
  args.weight = weight ? weight->data : nullptr;
  args.bias = bias ? bias->data : nullptr;
  args.h = call.problem.extent("H");
  args.epsilon = static_cast<float>(call.param("epsilon"));
  args.weight_plus_one = op != NormOp::kLayer && call.param("weight_plus_one") != 0;
  args.space = row_space(both);
  return args;
}

} // namespace spf::norm
