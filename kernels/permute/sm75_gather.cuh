// Columns by index, of elements of 2 or 4 bytes whatever they mean.
//
//   gather_staged   many rows: a block brings some rows into shared memory, 16 bytes a thread at a time, reads each
//   index
//                   once and gathers that column of all of its rows; stores are coalesced
//   gather_direct   few rows, or rows that no block can hold: a thread per column, gathering from the caches
#pragma once

#include <algorithm>
#include <type_traits>

#include "kernels/common/cuda/launch.cuh"
#include "kernels/common/cuda/memory.cuh"
#include "kernels/permute/args.h"

namespace spf::permute {

inline constexpr int kThreads = 256;
inline constexpr int64_t kStagedBytes = 48 * 1024; // every target has them
inline constexpr int64_t kMaxStagedRows = 4;
inline constexpr int64_t kManyRows = 256; // enough blocks of some rows each

struct GatherArgs : PermuteArgs {
  explicit GatherArgs(const PermuteArgs& args, int64_t per_block) : PermuteArgs(args), staged(per_block) {}
  int64_t staged; // rows of a block
};

template <int kBytes>
using bits_t = std::conditional_t<kBytes == 2, uint16_t, uint32_t>;

template <int kBytes>
__global__ void __launch_bounds__(kThreads) gather_staged(const __grid_constant__ GatherArgs args) {
  using namespace spf::cuda;
  using Bits = bits_t<kBytes>;
  constexpr int64_t kChunk = 16 / kBytes;
  SPF_DYNAMIC_SHARED(uint4, storage, 16);
  Bits* const rows = reinterpret_cast<Bits*>(storage);
  const int64_t pitch = (args.k + kChunk - 1) / kChunk * kChunk;
  const int64_t first = static_cast<int64_t>(blockIdx.x) * args.staged;
  const int64_t count = min(args.staged, args.space.rows - first);
  launch_dependents();
  wait_for_primary();

  for (int64_t r = 0; r < count; ++r) {
    int64_t at[2];
    args.space.offsets(first + r, at);
    const Bits* const from = reinterpret_cast<const Bits*>(args.x) + at[0];
    const int64_t whole = on_16_bytes(from) ? args.k / kChunk * kChunk : 0;
    for (int64_t i = threadIdx.x * kChunk; i < whole; i += kThreads * kChunk)
      storage[(r * pitch + i) / kChunk] = load16(from + i);
    for (int64_t i = whole + threadIdx.x; i < args.k; i += kThreads) rows[r * pitch + i] = from[i];
  }
  __syncthreads();

  Bits* to[kMaxStagedRows];
#pragma unroll
  for (int r = 0; r < kMaxStagedRows; ++r) {
    int64_t at[2];
    args.space.offsets(first + min(static_cast<int64_t>(r), count - 1), at);
    to[r] = reinterpret_cast<Bits*>(args.out) + at[1];
  }
  for (int64_t j = threadIdx.x; j < args.columns; j += kThreads) {
    const int32_t from = args.perm[j];
    const bool inside = from >= 0 && from < args.k;
#pragma unroll
    for (int r = 0; r < kMaxStagedRows; ++r)
      if (r < count) to[r][j] = inside ? rows[r * pitch + from] : Bits{0};
  }
}

template <int kBytes>
__global__ void __launch_bounds__(kThreads) gather_direct(const __grid_constant__ GatherArgs args) {
  using Bits = bits_t<kBytes>;
  cuda::launch_dependents();
  cuda::wait_for_primary();
  const int64_t blocks = (args.columns + kThreads - 1) / kThreads; // of a row
  const int64_t row = blockIdx.x / blocks, j = (blockIdx.x - row * blocks) * kThreads + threadIdx.x;
  if (j >= args.columns) return;
  int64_t at[2];
  args.space.offsets(row, at);
  const int32_t from = args.perm[j];
  const bool inside = from >= 0 && from < args.k;
  reinterpret_cast<Bits*>(args.out)[at[1] + j] = inside ? reinterpret_cast<const Bits*>(args.x)[at[0] + from] : Bits{0};
}

template <int kBytes>
spf_status launch_gather(const Call& call, const LaunchContext& ctx) {
  const PermuteArgs args = permute_args(call);
  if (args.empty()) return SPF_OK;
  const char* const op = call.problem.op->name;
  const int64_t row_bytes = std::max<int64_t>((args.k * kBytes + 15) / 16 * 16, 16);
  const int64_t staged = std::min(kMaxStagedRows, kStagedBytes / row_bytes),
                blocks = (args.columns + kThreads - 1) / kThreads;
  if (staged == 0 || args.space.rows < kManyRows)
    return cuda::launch(op, ctx, gather_direct<kBytes>, args.space.rows * blocks, kThreads, 0, GatherArgs(args, 0));
  return cuda::launch(op, ctx, gather_staged<kBytes>, (args.space.rows + staged - 1) / staged, kThreads,
                      static_cast<size_t>(staged * row_bytes), GatherArgs(args, staged));
}

} // namespace spf::permute
