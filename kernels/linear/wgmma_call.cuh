// What sm90_wgmma is given of a call, whatever the form of its weight.
#pragma once

#include "kernels/common/rows.hpp"
#include "kernels/linear/gather.cuh"
#include "kernels/linear/policy_cuda.hpp"
#include "kernels/linear/wgmma_config.cuh"

namespace spf::linear {

// x as the copy engine reads it: itself, or a copy in `room` where its rows do not start on 16 bytes or have no common
// distance.
struct WgmmaTokens {
  const void* data = nullptr;
  int64_t pitch = 0; // elements between rows
};

inline spf_status wgmma_tokens(const Call& call, const LaunchContext& ctx, void* room, WgmmaTokens* tokens) {
  const spf_tensor& x = *call.operand("x");
  const int64_t k = call.weight->k, even = stream_ceil(k, 8) * 8;
  const RowSpace<1> rows = row_space({&x});
  *tokens = {x.data, rows.dims == 0 ? even : rows.stride[0][0]};
  if (call.problem.is_aligned16("x") && rows.dims <= 1 && tokens->pitch >= k && k % 8 == 0) return SPF_OK;
  *tokens = {room, even};
  return launch_gather<uint16_t>("linear", ctx, x.data, rows, room, k, even);
}

// The part of a call that does not depend on the form of its weight.
inline WgmmaArgs wgmma_args(const Call& call) {
  WgmmaArgs a = {};
  const spf_tensor& out = *call.operand("out");
  a.rows = row_space({&out});
  a.out = out.data;
  a.vector_out = call.problem.is_aligned16("out");
  if (const spf_tensor* bias = call.operand("bias")) {
    a.bias = bias->data;
    a.bias_type = bias->type;
  }
  a.m = static_cast<int32_t>(call.problem.extent("*"));
  a.n = static_cast<int32_t>(call.weight->n);
  a.group = 1;
  a.unit = 1.0f;
  return a;
}

// Scales of columns and of the whole weight, which the epilogue multiplies by.
template <class Fragment>
void wgmma_factors(const spf_packed_weight& w, bool grouped, WgmmaArgs* a) {
  const auto* data = static_cast<const char*>(w.data);
  a->unit = Fragment::kUnit;
  if (!grouped) {
    a->column_scales = data + w.scales_offset;
    a->column_scale_type = w.scheme.scale;
    a->column_factor = marlin_column_factor(w.scheme);
  }
  if (w.scheme.has_global_scale) a->global_scale = reinterpret_cast<const float*>(data + w.global_offset);
}

} // namespace spf::linear
