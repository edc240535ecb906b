// Geometry of attention/sm80_flash: read by its policy and by its kernel.
#pragma once

#include <cstddef>
#include <cstdint>

namespace spf::attention {

// A block of 4 warps takes kRows queries of one head and walks the keys in tiles of kKeys, two in shared memory.
template <int kDims, int kTileKeys>
struct FlashShape {
  static constexpr int kWarps = 4, kKeys = kTileKeys;
  static constexpr int kRowTiles = kDims > 128 ? 1 : 2; // of 16 rows, of a warp: what registers hold of the outputs
  static constexpr int kRows = 16 * kRowTiles * kWarps;
  static constexpr int kPitch = kDims * 2 + 16; // bytes of a row in shared memory: eight fall into different banks
  // Of a tile of keys, or of values. Of codes there are two tiles of each and one that is widened.
  template <int kElementBytes>
  static constexpr int kTile = kKeys*(kDims* kElementBytes + 16);
  static constexpr size_t shared_bytes(int element_bytes) {
    return static_cast<size_t>(kRows * kPitch + (element_bytes == 1 ? 4 * kTile<1> + 2 * kTile<2> : 4 * kTile<2>));
  }
};

// 0 where there is no such shape.
constexpr size_t flash_shared_bytes(int64_t dims, int64_t keys, int element_bytes) {
  if (keys == 64 && dims == 64) return FlashShape<64, 64>::shared_bytes(element_bytes);
  if (keys == 64 && dims == 128) return FlashShape<128, 64>::shared_bytes(element_bytes);
  if (keys == 64 && dims == 256) return FlashShape<256, 64>::shared_bytes(element_bytes);
  if (keys == 32 && dims == 64) return FlashShape<64, 32>::shared_bytes(element_bytes);
  if (keys == 32 && dims == 128) return FlashShape<128, 32>::shared_bytes(element_bytes);
  if (keys == 16 && dims == 256) return FlashShape<256, 16>::shared_bytes(element_bytes);
  return 0;
}

} // namespace spf::attention
