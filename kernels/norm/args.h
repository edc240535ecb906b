// What every implementation of a norm op reads: the rows of a call and its parameters, as plain data.
#pragma once

#include "core/call.hpp"
#include "kernels/common/rows.hpp"

namespace spf::norm {

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

inline NormArgs norm_args(const Call& call, const char* second) {
  NormArgs args;
  const spf_tensor* x = call.operand("x");
  const spf_tensor* other = call.operand(second);
  const spf_tensor* weight = call.operand("weight");
  const spf_tensor* bias = call.operand("bias");
  const spf_tensor* both[2] = {x, other};
  args.data[0] = x->data;
  args.data[1] = other->data;
  args.weight = weight ? weight->data : nullptr;
  args.bias = bias ? bias->data : nullptr;
  args.h = call.problem.extent("H");
  args.epsilon = static_cast<float>(call.param("epsilon"));
  args.space = row_space(both);
  return args;
}

inline NormArgs rms_norm_args(const Call& call) {
  NormArgs args = norm_args(call, "out");
  args.weight_plus_one = call.param("weight_plus_one") != 0;
  return args;
}

inline NormArgs fused_add_rms_norm_args(const Call& call) {
  NormArgs args = norm_args(call, "residual");
  args.weight_plus_one = call.param("weight_plus_one") != 0;
  return args;
}

inline NormArgs layer_norm_args(const Call& call) { return norm_args(call, "out"); }

} // namespace spf::norm
