// out[m,n] = sum_k x[m,k] * w[n,k] + bias[n] on Hopper's warpgroup tensor cores, weights of the activations' own 16-bit
// type, row-major: the mainloop of sm90_wgmma.cuh with both operands in shared memory.
//
//   copiers     64 k of the block's channels and of its tokens per stage, by the copy engine, into a ring of stages
//   consumers   one m64 x tokens product per 64 channels and 16 k, straight from the stage
//
// Results in the activations' type, or in f32 (a head's logits). Needs: rows of w that start on 16 bytes (K a multiple
// of 8).
#pragma once

#include "kernels/linear/sm90_wgmma.cuh"

namespace spf::linear {

// Rows of 16-bit weights as the copy engine reads them, in boxes of one block's channels.
template <class C>
cuda::Matrix dense_weight(const void* data, int64_t n, int64_t k, int64_t pitch) {
  return {data, C::kElement, k, n, pitch * 2, 64, C::Tile::kChannels, true};
}

template <spf_scalar_type T, bool kWide, int kTokens, int kTiles, int kGroups, int kShare>
spf_status dense(const Call& call, const LaunchContext& ctx) {
  using C = WgmmaConfig<T, T, 0, kTokens, kTiles, kGroups, kShare, 1, kWide>;
  const spf_packed_weight& w = *call.weight;
  if (call.problem.extent("*") == 0 || w.n == 0) return SPF_OK;
  WgmmaArgs a = wgmma_args(call);
  WgmmaTokens x;
  if (const spf_status status = wgmma_tokens(call, ctx, ctx.workspace, &x); status != SPF_OK) return status;
  return launch_wgmma<C>(ctx, x, w.k, {dense_weight<C>(w.data, w.n, w.k, w.k)}, &a);
}

} // namespace spf::linear
