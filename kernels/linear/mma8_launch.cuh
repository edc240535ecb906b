// scaled_linear on mma.sync: launches of the 8-bit kernels of every target.
#pragma once

#include "kernels/linear/mma_bytes.cuh"
#include "kernels/linear/mma_launch.cuh"
#include "kernels/linear/policy_mma8.hpp"

namespace spf::linear {

template <spf_scalar_type X, class Copies, int kTokens, int kChannels, int kParts, bool kFold, int kMemory>
spf_status launch_bytes(const Call& call, const LaunchContext& ctx) {
  using Weights = ByteWeights<X, kFold>;
  using C = MmaConfig<Weights, Copies, kTokens, kChannels, kParts, kMemory>;
  const Problem& p = call.problem;
  const spf_packed_weight& w = *call.weight;
  const auto* data = static_cast<const uint8_t*>(w.data);
  if (p.extent("*") == 0 || w.n == 0) return SPF_OK;
  const spf_tensor& x_scale = *call.operand("x_scale");
  const auto* scales = reinterpret_cast<const float*>(data + w.scales_offset);
  const auto pointer = [&](const char* name) { return call.operand(name) ? call.operand(name)->data : nullptr; };
  MmaArgs<Weights> a = {};
  a.weights.codes = data;
  a.weights.blocks = static_cast<int32_t>(w.padded_k / 128);
  a.weights.padded_n = static_cast<int32_t>(w.padded_n);
  ScaledEnd& e = a.end;
  e.out = mma_out(call);
  e.m = static_cast<int32_t>(p.extent("*"));
  if constexpr (kFold) {
    a.weights.scales = scales;
    a.weights.group_blocks = w.scheme.group_k > 0 ? w.scheme.group_k / 128 : a.weights.blocks;
    a.weights.x_scale = static_cast<const float*>(x_scale.data);
    a.weights.scale_rows = row_space({&x_scale});
    a.weights.x_scale_step = p.extent("G") > 1 ? x_scale.stride[x_scale.rank - 1] : 0;
    a.weights.m = e.m;
  } else {
    e.scales = scales;
    e.x_scale = static_cast<const float*>(x_scale.data);
    e.scale_rows = row_space({&x_scale});
  }
  e.azp_adj = static_cast<const int32_t*>(pointer("azp_adj"));
  if (const spf_tensor* azp = call.operand("azp")) {
    e.azp = static_cast<const int32_t*>(azp->data);
    e.azp_rows = single_space(*azp);
  }
  e.channel_scale = static_cast<const float*>(pointer("channel_scale"));
  e.out_factor = static_cast<const float*>(pointer("out_factor"));
  return launch_mma<C>("scaled_linear", call, ctx, a, nullptr);
}

} // namespace spf::linear
