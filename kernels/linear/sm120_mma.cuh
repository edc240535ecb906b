// nvfp4_linear, mxfp4_linear and mxfp8_linear on the block-scaled products of 12.x. mma_mainloop.cuh has the kernel,
// mma_blocks.cuh what it multiplies by.
#pragma once

#include "kernels/linear/mma_blocks.cuh"
#include "kernels/linear/mma_launch.cuh"

namespace spf::linear {

template <BlockLinear kOp, spf_scalar_type X, spf_scalar_type W, int kTokens, int kChannels, int kParts, int kMemory>
spf_status block_mma(const Call& call, const LaunchContext& ctx) {
  using Weights = BlockWeights<W, X, kOp == BlockLinear::kNvfp4 ? SPF_E4M3 : SPF_E8M0>;
  using C = MmaConfig<Weights, AsyncCopies, kTokens, kChannels, kParts, kMemory>;
  const Problem& p = call.problem;
  const spf_packed_weight& w = *call.weight;
  const auto* data = static_cast<const uint8_t*>(w.data);
  if (p.extent("*") == 0 || w.n == 0) return SPF_OK;
  const int64_t blocks = w.k / block_of(kOp);
  MmaArgs<Weights> a = {};
  a.weights.rows = data;
  a.weights.row_bytes = w.padded_k / (W == SPF_E2M1 ? 2 : 1);
  a.weights.scales = data + w.scales_offset;
  a.weights.x_scales = static_cast<const uint8_t*>(call.operand("x_scales")->data);
  a.weights.n = static_cast<int32_t>(w.n);
  a.weights.tiles = static_cast<int32_t>(scale_tiles(blocks));
  a.weights.last = blocks % 4 == 0 ? 0xffffffffu : (1u << (8 * (blocks % 4))) - 1;
  a.end.out = mma_out(call);
  a.end.m = static_cast<int32_t>(p.extent("*"));
  a.end.unit = 1.0f;
  if (w.scheme.has_global_scale) a.end.global = reinterpret_cast<const float*>(data + w.global_offset);
  if (const spf_tensor* alpha = call.operand("alpha")) a.end.alpha = static_cast<const float*>(alpha->data);
  return launch_mma<C>(p.op->name, call, ctx, a, nullptr);
}

} // namespace spf::linear
