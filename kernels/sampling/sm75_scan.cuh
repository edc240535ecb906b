// argmax: each block the best of its part of a row, then one warp a row the best of the parts. A row in one part is
// answered at once.
#pragma once

#include "kernels/sampling/row_part.cuh"

namespace spf::sampling {

struct ScanArgs {
  LogitArgs rows;
  Parts parts;
  uint64_t* best = nullptr; // by row and part
};

template <spf_scalar_type T>
__global__ void __launch_bounds__(kPartThreads) scan_parts(const __grid_constant__ ScanArgs args) {
  __shared__ BlockScratch scratch;
  cuda::launch_dependents();
  cuda::wait_for_primary();
  const RowPart<T> part(args.rows, args.parts);
  const uint64_t best = best_of_part(part, scratch);
  if (threadIdx.x != 0) return;
  if (args.parts.count > 1) {
    args.best[part.row * args.parts.count + part.part] = best;
  } else {
    const RowBest row = unranked(best);
    args.rows.answer(part.row, row.index, row.flag);
  }
}

// A row a block.
static __global__ void __launch_bounds__(kPartThreads) scan_answer(const __grid_constant__ ScanArgs args) {
  __shared__ BlockScratch scratch;
  cuda::launch_dependents();
  cuda::wait_for_primary();
  const int64_t row = blockIdx.x;
  const RowBest best = best_of_row(args.best + row * args.parts.count, args.parts.count, scratch);
  if (threadIdx.x == 0) args.rows.answer(row, best.index, best.flag);
}

template <spf_scalar_type T>
spf_status launch_scan(const Call& call, const LaunchContext& ctx) {
  ScanArgs args;
  args.rows = argmax_args(call);
  args.parts = row_parts(args.rows.space.rows, args.rows.v, ctx.facts->sm_count);
  args.best = static_cast<uint64_t*>(ctx.workspace);
  const spf_status status = cuda::launch("argmax", ctx, scan_parts<T>, args.parts.blocks, kPartThreads, 0, args);
  if (status != SPF_OK || args.parts.count == 1) return status;
  return cuda::launch("argmax", cuda::following(ctx), scan_answer, args.rows.space.rows, kPartThreads, 0, args);
}

} // namespace spf::sampling
