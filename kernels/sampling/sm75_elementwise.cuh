// apply_penalties: four entries a thread, one element at a time, which is coalesced at any alignment of the three
// operands. Logits of tokens that were never seen are neither read nor written.
#pragma once

#include "kernels/common/cuda/launch.cuh"
#include "kernels/common/cuda/scalar.cuh"
#include "kernels/sampling/penalties.h"

namespace spf::sampling {

inline constexpr int kPenaltyThreads = 256, kPenaltyEach = 4;

struct TiledPenalties {
  PenaltyArgs rows;
  int32_t tiles = 1; // of a row
};

template <spf_scalar_type T>
__global__ void __launch_bounds__(kPenaltyThreads) penalize(const __grid_constant__ TiledPenalties args) {
  using Scalar = cuda::Scalar<T>;
  cuda::launch_dependents();
  cuda::wait_for_primary();
  const int64_t row = blockIdx.x / static_cast<uint32_t>(args.tiles);
  const int64_t tile = blockIdx.x - row * args.tiles;
  int64_t at[3];
  args.rows.space.offsets(row, at);
  const RowPenalties penalties = args.rows.row(row);
  auto* const logits = static_cast<cuda::scalar_t<T>*>(args.rows.logits) + at[0];
  const int64_t first = tile * kPenaltyThreads * kPenaltyEach + threadIdx.x;
  bool seen[kPenaltyEach];
  int32_t count[kPenaltyEach];
#pragma unroll
  for (int i = 0; i < kPenaltyEach; ++i) {
    const int64_t e = first + i * kPenaltyThreads;
    const bool exists = e < args.rows.v;
    count[i] = exists && args.rows.counts != nullptr ? args.rows.counts[at[2] + e] : 0;
    seen[i] = count[i] > 0 || (exists && args.rows.prompt != nullptr && args.rows.prompt[at[1] + e] != 0);
  }
#pragma unroll
  for (int i = 0; i < kPenaltyEach; ++i) {
    if (!seen[i]) continue;
    auto& logit = logits[first + i * kPenaltyThreads];
    logit = Scalar::narrow(penalties.apply(Scalar::widen(logit), count[i]));
  }
}

template <spf_scalar_type T>
spf_status launch_penalties(const Call& call, const LaunchContext& ctx) {
  TiledPenalties args;
  args.rows = penalty_args(call);
  constexpr int64_t kTile = kPenaltyThreads * kPenaltyEach;
  const int64_t tiles = (args.rows.v + kTile - 1) / kTile;
  args.tiles = static_cast<int32_t>(tiles);
  return cuda::launch("apply_penalties", ctx, penalize<T>, args.rows.space.rows * tiles, kPenaltyThreads, 0, args);
}

} // namespace spf::sampling
