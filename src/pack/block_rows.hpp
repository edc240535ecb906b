// Layouts "block_rows" and "block_rows_a8": block-scaled weights as the block-scaled products of tensor cores read
// them.
//
//   codes   [N] rows of a multiple of 128 bytes, K first, then 0.
//           block_rows: NVFP4 and MXFP4, two a byte, even k in the low half; MXFP8, one a byte.
//           block_rows_a8: MXFP4 to meet 8-bit activations. Byte i of every 16 has value i of the 32 in its low half
//           and value 16 + i in its high half, so that a word opens into two words of a fragment of bytes.
//   scales  e4m3 (NVFP4) or e8m0, [ceil128(N), ceil4(G)] in tiles of 128 rows x 4 blocks, a row's tiles side by side:
//           the scale of (n, g) is byte (n/128 * ceil4(G)/4 + g/4) * 512 + n%32 * 16 + n/32%4 * 4 + g%4; those of rows
//           and blocks that do not exist are 0.
//   global  f32 [1], NVFP4 with a global scale only
//
// Scales are stored as they are: exact. Negative ones are refused, for the products know no sign of a scale.
#pragma once

#include "pack/layout.hpp"

namespace spf::pack {

extern const LayoutRow kBlockRowsLayout, kBlockRowsA8Layout;

} // namespace spf::pack
