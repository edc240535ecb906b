// Layout "bf16_rows": MXFP8 weights as the bf16 numbers that they stand for, for devices that multiply no 8-bit blocks:
// rows of K elements as those of a plain bf16 weight. Exact: a code has at most 4 significant bits, its scale none.
// What is beyond bf16's range, powers of two at the very ends of e8m0, is refused by place.
//
//   values  bf16 [N, K]
#pragma once

#include "pack/layout.hpp"

namespace spf::pack {

extern const LayoutRow kBf16RowsLayout;

} // namespace spf::pack
