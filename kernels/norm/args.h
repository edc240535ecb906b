// What every implementation of a norm op reads: the rows of a call and its parameters, as plain data.
//
// What is no member has internal linkage: this header is compiled once per instruction set, and an inline definition
// shared between such files could end up, with AVX-512 in it, as the one copy that every caller runs.
#pragma once

#include <string_view>

#include "core/call.hpp"
#include "kernels/common/rows.hpp"

namespace spf::norm {

enum class NormOp : uint8_t { kRms, kFusedAddRms, kLayer };

// What the normed row becomes: numbers of x's type, or 8-bit codes under a scale that is given, one a row, or one a
// group of columns.
enum class Scales : uint8_t { kNone, kGiven, kToken, kGroup };

struct CodeArgs {
  Scales scales = Scales::kNone;
  spf_scalar_type type = SPF_TYPE_NONE; // e4m3 or s8
  uint8_t* out = nullptr;
  float* scale = nullptr;             // computed
  const float* given_scale = nullptr; // [1]
  const float* bound = nullptr;       // [1] or null: amax counts as at most this
  int64_t group = 0;                  // columns that share a scale; 0 where a row does
  int64_t scale_step = 0;             // elements from a group's scale to the next one's
  RowSpace<2> space;                  // out, scale
};

// Two operands walk the same rows: [0] is x; [1] is out, or residual where there is one; x again
// where out holds codes and nothing is added.
struct NormArgs {
  void* data[2] = {};
  const void* weight = nullptr; // [H], may be null
  const void* bias = nullptr;   // [H], may be null; layer_norm only
  int64_t h = 0;                // elements of a row
  float epsilon = 0;
  bool weight_plus_one = false; // multiply by 1 + weight, before the one rounding
  RowSpace<2> space;
  CodeArgs codes;

  // A row of no numbers may still have a scale.
  bool empty() const { return space.rows == 0 || (h == 0 && codes.scales != Scales::kToken); }
};

namespace {

[[maybe_unused]] inline NormOp norm_op(const Call& call) {
  if (std::string_view(call.problem.op->name) == "layer_norm") return NormOp::kLayer;
  return call.operand("residual") != nullptr ? NormOp::kFusedAddRms : NormOp::kRms;
}

// flatten: row_space() becomes part of it, as it would not by itself where it is called twice.
[[maybe_unused, gnu::flatten]] inline CodeArgs code_args(const Call& call) {
  CodeArgs codes;
  const spf_tensor* const out = call.operand("out");
  const spf_tensor* const scale = call.operand("scale");
  const spf_tensor* const bound = call.operand("scale_ub");
  if (scale == nullptr) return codes;
  codes.type = out->type;
  codes.out = static_cast<uint8_t*>(out->data);
  codes.bound = bound ? static_cast<const float*>(bound->data) : nullptr;
  if (std::string_view(call.problem.op->name).find("static") != std::string_view::npos) {
    codes.scales = Scales::kGiven;
    codes.given_scale = static_cast<const float*>(scale->data);
    codes.space = row_space<2>({out, out});
    return codes;
  }
  codes.scale = static_cast<float*>(scale->data);
  codes.space = row_space<2>({out, scale});
  codes.group = static_cast<int64_t>(call.param("group_size"));
  codes.scales = codes.group > 0 ? Scales::kGroup : Scales::kToken;
  codes.scale_step = scale->stride[scale->rank - 1];
  return codes;
}

[[maybe_unused, gnu::flatten]] inline NormArgs norm_args(const Call& call, NormOp op) {
  NormArgs args;
  args.codes = code_args(call);
  const spf_tensor* const x = call.operand("x");
  const spf_tensor* const both[2] = {x, op == NormOp::kFusedAddRms           ? call.operand("residual")
                                        : args.codes.scales != Scales::kNone ? x
                                                                             : call.operand("out")};
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

} // namespace
} // namespace spf::norm
