// Unquantized 16-bit weights, rows as they are, on the mma.sync mainloop: 8.0 and later.
#pragma once

#include "kernels/linear/mma_launch.cuh"

namespace spf::linear {

template <spf_scalar_type T, int kTokens, int kChannels, int kParts, int kMemory>
spf_status dense_mma(const Call& call, const LaunchContext& ctx) {
  using C = MmaConfig<DenseWeights<T>, AsyncCopies, kTokens, kChannels, kParts, kMemory>;
  const spf_packed_weight& w = *call.weight;
  if (call.problem.extent("*") == 0 || w.n == 0) return SPF_OK;
  MmaArgs<DenseWeights<T>> a = {};
  a.weights.rows = static_cast<const uint8_t*>(w.data);
  a.weights.row_bytes = w.k * 2;
  a.weights.n = static_cast<int32_t>(w.n);
  a.end.out = mma_out(call);
  a.end.m = static_cast<int32_t>(call.problem.extent("*"));
  a.end.unit = 1.0f;
  return launch_mma<C>("linear", call, ctx, a, nullptr);
}

} // namespace spf::linear
