// Part of sm90_wgmma8.cuh: factors of tokens in the order in which tiles of many tokens read them, one piece a tile and
// block of 128 values of K, so that a stage gets its own with one bulk copy, however they lie.
#pragma once

#include "kernels/linear/sm90_wgmma8.cuh"

namespace spf::linear {

struct FactorOrder {
  const float* from;
  float* to; // [tiles of kTokens][blocks of K][kTokens]; 0 for tokens beyond the last one
  RowSpace<1> rows;
  int64_t step;      // elements between the factors of a token; 0: it has one for all blocks
  int32_t m, blocks; // tokens, blocks of K
  bool along;        // tokens are neighbours in memory, not blocks
};

// A block of threads takes 32 tokens, and reads and writes runs of 32 factors of whichever are neighbours.
template <int kTokens>
__global__ void __launch_bounds__(256) order_factors(const __grid_constant__ FactorOrder a) {
  static_assert(kTokens % 32 == 0);
  __shared__ float square[32][33];
  cuda::launch_dependents();
  cuda::wait_for_primary(); // which may write factors, or still read the workspace
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, first = static_cast<int>(blockIdx.x) * 32;
  float* to = a.to + static_cast<int64_t>(first / kTokens) * kTokens * a.blocks + first % kTokens + lane;
  for (int block = 0; block < a.blocks; block += 32) {
#pragma unroll
    for (int j = 0; j < 32; j += 8) {
      const int i = warp + j, token = a.along ? lane : i, b = a.along ? i : lane;
      float factor = 0.0f;
      if (first + token < a.m && block + b < a.blocks) {
        int64_t at[1];
        a.rows.offsets(first + token, at);
        factor = a.from[at[0] + (block + b) * a.step];
      }
      square[token][b] = factor;
    }
    __syncthreads();
#pragma unroll
    for (int i = warp; i < warp + 32; i += 8)
      if (block + i < a.blocks) to[static_cast<int64_t>(block + i) * kTokens] = square[lane][i];
    __syncthreads();
  }
}

// Points *a at the factors of tokens, as tiles of kTokens read them: where they lie, if tokens are neighbours on 16
// bytes, or in `room`, put there by a kernel of its own. *next: how the kernel that reads them is launched.
template <int kTokens>
spf_status place_factors(const Call& call, const LaunchContext& ctx, void* room, Wgmma8Args* a, LaunchContext* next) {
  const RowSpace<1>& rows = a->scale_rows;
  const int64_t step = a->token_groups ? a->x_scale_step : 0, blocks = (call.weight->k + 127) / 128;
  const bool along = rows.dims == 1 && rows.stride[0][0] == 1;
  if (along && a->m % 4 == 0 && step % 4 == 0 && reinterpret_cast<uintptr_t>(a->x_scale) % 16 == 0) {
    a->factors = {a->x_scale, kTokens, step, a->m};
    return SPF_OK;
  }
  const int64_t tiles = (a->m + kTokens - 1) / kTokens;
  const FactorOrder order = {a->x_scale, static_cast<float*>(room),    rows, step,
                             a->m,       static_cast<int32_t>(blocks), along};
  a->factors = {order.to, blocks * kTokens, kTokens, static_cast<int32_t>(tiles * kTokens)};
  *next = cuda::following(ctx);
  return cuda::launch(call.problem.op->name, ctx, order_factors<kTokens>, tiles * (kTokens / 32), 256, 0, order);
}

} // namespace spf::linear
