// Geometry of attention/sm80_flash: read by its policy and by its kernel.
#pragma once

#include <cstddef>

namespace spf::attention {

// A block of 4 warps takes kRows queries of one head and walks the keys in tiles of kKeys, two in shared memory.
template <int kDims>
struct FlashShape {
  static constexpr int kWarps = 4, kKeys = 64;
  static constexpr int kRowTiles = kDims > 128 ? 1 : 2; // of 16 rows, of a warp: what registers hold of the outputs
  static constexpr int kRows = 16 * kRowTiles * kWarps;
  static constexpr int kPitch = kDims * 2 + 16; // bytes of a row in shared memory: eight fall into different banks
  static constexpr size_t kSharedBytes = static_cast<size_t>(kRows + 4 * kKeys) * kPitch;
};

constexpr size_t flash_shared_bytes(int dims) {
  return dims <= 64    ? FlashShape<64>::kSharedBytes
         : dims <= 128 ? FlashShape<128>::kSharedBytes
                       : FlashShape<256>::kSharedBytes;
}

} // namespace spf::attention
