// Block scales between rows and tiles of 128 x 4: a thread per four scales of a row, which are four neighbours both
// ways.
//
//   tile:  16 bytes for each m % 32, in them four of each row m, m + 32, m + 64, m + 96
#pragma once

#include "kernels/block_quantize/args.h"
#include "kernels/common/cuda/launch.cuh"

namespace spf::block_quantize {

inline constexpr int kTileThreads = 256;

template <bool kBack>
__global__ void __launch_bounds__(kTileThreads) move_tiles(const __grid_constant__ TileArgs args) {
  cuda::launch_dependents();
  cuda::wait_for_primary();
  const int64_t unit = static_cast<int64_t>(blockIdx.x) * kTileThreads + threadIdx.x;
  const int64_t of_matrix = args.padded_rows * args.tiles, matrix = unit / of_matrix, word = unit - matrix * of_matrix;
  if (matrix >= args.matrices) return;
  const int64_t tile = word / 128, within = word % 128, band = tile / args.tiles;
  const int64_t row = band * 128 + within % 4 * 32 + within / 4, first = (tile - band * args.tiles) * 4;
  const bool exists = row < args.rows;
  if (kBack && !exists) return;
  int64_t at[1] = {0};
  if (exists) args.space.offsets(matrix * args.rows + row, at);
  uint8_t* const scales = args.scales + at[0] + first;
  uint8_t* const four = args.swizzled + unit * 4;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const bool inside = exists && first + i < args.groups;
    if (kBack && inside) scales[i] = four[i];
    if (!kBack) four[i] = inside ? scales[i] : uint8_t{0};
  }
}

// The ops by their names in the manifest: back into rows?
inline constexpr bool swizzle_scales = false;
inline constexpr bool unswizzle_scales = true;

template <bool kBack>
spf_status launch_tiles(const Call& call, const LaunchContext& ctx) {
  const TileArgs args = tile_args(call);
  const int64_t words = args.matrices * args.padded_rows * args.tiles;
  if (words == 0) return SPF_OK;
  return cuda::launch(call.problem.op->name, ctx, move_tiles<kBack>, (words + kTileThreads - 1) / kTileThreads,
                      kTileThreads, 0, args);
}

} // namespace spf::block_quantize
