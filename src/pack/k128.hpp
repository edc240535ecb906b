// Layouts "k128" and "k128_e4m3": weights a byte a code, in blocks of 128 rows x 128 values of K, each as a Hopper
// tensor core reads it from shared memory, so that one bulk copy of 16 KiB brings a block and no tensor map is needed.
//
//   codes   blocks [ceil(N/128)][ceil(K/128)]; in a block byte (r, c) lies at r * 128 + (c / 16 ^ r % 8) * 16 + c % 16,
//           the 128-byte swizzle. Padding is 0.
//           k128: e4m3 as it is, integers as s8; k128_e4m3: 4-bit integers as e4m3, which holds them exactly, to meet
//           e4m3 activations.
//   scales  f32 [G][padded N], every row's own: G = 1, or the groups along K, which are multiples of 128.
#pragma once

#include "pack/layout.hpp"

namespace spf::pack {

extern const LayoutRow kK128Layout, kK128E4m3Layout;

} // namespace spf::pack
