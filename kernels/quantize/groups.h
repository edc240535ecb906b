// What every implementation of a quantize op with a scale for each group of columns reads, as plain data.
//
// What is no member has internal linkage: this header is compiled once per instruction set, and an inline definition
// shared between such files could end up, with AVX-512 in it, as the one copy that every caller runs.
#pragma once

#include <string_view>

#include "core/call.hpp"
#include "kernels/common/rows.hpp"

namespace spf::quantize {

// The largest group: what a warp holds with 16 elements a lane.
inline constexpr int64_t kMostGroup = 512;

// A row of K elements is K / group groups. Where `gated`, the row of x is gate and up, 2 K elements, and what is coded
// is silu(gate) * up.
struct GroupArgs {
  const void* x = nullptr;
  uint8_t* out = nullptr;
  void* scale = nullptr;           // f32, or exponents of powers of two, four an i32
  const float* bound = nullptr;    // [1] or null: amax counts as at most this
  const int32_t* counts = nullptr; // tokens of each expert that exist, or null
  spf_scalar_type code = SPF_E4M3; // or s8
  bool gated = false, truncates = false, powers = false, packed = false;
  float least_amax = 0, floor = 0; // scale = max(max(min(amax, bound), least_amax) / largest code, floor)
  int64_t k = 0, group = 0, groups = 0;
  int64_t tokens = 0;      // of an expert, existing or not
  int64_t padded_rows = 0; // rows of packed scales; those that x does not have become 0
  int64_t scale_row = 0;   // stride of rows of packed scales, where `space` does not hold it
  int64_t scale_step = 0;  // elements from a group's scale, or from four groups', to the next
  RowSpace<3> space;       // x, out, scale

  SPF_HOST_DEVICE bool separate_rows() const { return padded_rows > 0; }
  SPF_HOST_DEVICE int64_t words() const { return (groups + 3) / 4; }
};

namespace {

[[maybe_unused, gnu::flatten]] inline GroupArgs group_args(const Call& call) {
  GroupArgs args;
  const std::string_view name = call.problem.op->name;
  const auto data = [&](const char* operand) -> void* {
    const spf_tensor* const tensor = call.operand(operand);
    return tensor != nullptr ? tensor->data : nullptr;
  };
  const spf_tensor* const x = call.operand("x");
  const spf_tensor* const out = call.operand("out");
  const spf_tensor* const scale = call.operand("scale");
  args.x = x->data;
  args.out = static_cast<uint8_t*>(out->data);
  args.scale = scale->data;
  args.bound = static_cast<const float*>(data("scale_ub"));
  args.counts = static_cast<const int32_t*>(data("counts"));
  args.code = out->type;
  args.k = out->shape[out->rank - 1];
  args.gated = x->shape[x->rank - 1] != args.k || name.find("silu") != std::string_view::npos;
  args.truncates = call.param("truncate") != 0;
  args.packed = scale->type == SPF_I32;
  args.powers = args.packed || call.param("ue8m0") != 0;
  args.group = static_cast<int64_t>(call.param("group_size"));
  if (args.group == 0) args.group = 128;
  args.groups = args.k / args.group;
  args.least_amax = static_cast<float>(call.param("eps"));
  if (args.least_amax == 0) args.floor = args.code == SPF_E4M3 ? 1.0f / (448.0f * 512.0f) : 0x1p-23f;
  args.scale_step = scale->stride[scale->rank - 1];
  const bool separate = name == "per_token_group_fp8_quant_packed";
  args.space = row_space<3>({x, out, separate ? out : scale});
  if (separate) {
    args.padded_rows = scale->shape[0];
    args.scale_row = scale->stride[0];
  }
  if (args.counts != nullptr) args.tokens = x->shape[1];
  return args;
}

} // namespace
} // namespace spf::quantize
