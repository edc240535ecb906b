// Layout "k128": 8-bit weights in blocks of 128 rows x 128 values of K, each as a Hopper tensor core reads it from
// shared memory, so that one bulk copy of 16 KiB brings a block and no tensor map is needed.
//
//   codes   blocks [ceil(N/128)][ceil(K/128)]; in a block byte (r, c) lies at r * 128 + (c / 16 ^ r % 8) * 16 + c % 16,
//           the 128-byte swizzle. Integers are two's complement. Padding is 0.
//   scales  f32 [G][padded N], every row's own: G = 1, or the groups along K, which are multiples of 128.
#pragma once

#include "pack/layout.hpp"

namespace spf::pack {

extern const LayoutRow kK128Layout;

} // namespace spf::pack
