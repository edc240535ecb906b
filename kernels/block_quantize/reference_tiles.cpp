// The meaning of swizzle_scales and unswizzle_scales: scale (r, g) of each matrix is byte swizzled_scale(r, g) of its
// tiles; bytes of rows and groups that do not exist are written as 0 and not read.
#include <cstring>

#include "kernels/block_quantize/args.h"

namespace spf::block_quantize {

spf_status reference_tiles(const Call& call, const LaunchContext&) {
  const bool back = call.problem.op->name[0] == 'u';
  const TileArgs args = tile_args(call);
  for (int64_t matrix = 0; matrix < args.matrices; ++matrix) {
    uint8_t* const tiles = args.swizzled + matrix * args.matrix_bytes();
    if (!back && args.matrix_bytes() > 0) std::memset(tiles, 0, static_cast<size_t>(args.matrix_bytes()));
    for (int64_t row = 0; row < args.rows; ++row) {
      int64_t at[1];
      args.space.offsets(matrix * args.rows + row, at);
      for (int64_t g = 0; g < args.groups; ++g) {
        uint8_t &one = args.scales[at[0] + g], &other = tiles[swizzled_scale(row, g, args.tiles)];
        (back ? one : other) = back ? other : one;
      }
    }
  }
  return SPF_OK;
}

} // namespace spf::block_quantize
