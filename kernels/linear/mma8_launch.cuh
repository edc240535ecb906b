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
  MmaArgs<Weights> a = {};
  a.weights.codes = data;
  a.weights.blocks = static_cast<int32_t>(w.padded_k / 128);
  a.weights.padded_n = static_cast<int32_t>(w.padded_n);
  a.end = scaled_end(call, kFold);
  if constexpr (kFold) {
    const spf_tensor& x_scale = *call.operand("x_scale");
    a.weights.scales = reinterpret_cast<const float*>(data + w.scales_offset);
    a.weights.group_blocks = w.scheme.group_k > 0 ? w.scheme.group_k / 128 : a.weights.blocks;
    a.weights.x_scale = static_cast<const float*>(x_scale.data);
    a.weights.scale_rows = row_space({&x_scale});
    a.weights.x_scale_step = p.extent("G") > 1 ? x_scale.stride[x_scale.rank - 1] : 0;
    a.weights.m = a.end.m;
  }
  return launch_mma<C>("scaled_linear", call, ctx, a, nullptr);
}

} // namespace spf::linear
