// Layout "reference": every format in one plain form, for the reference kernels and as the fallback of every device.
//
//   codes   [N] rows.  4-bit types: ceil(K/2) bytes a row, even k in the low nibble; 8-bit types: K bytes;
//                      plain weights: K elements of 2 or 4 bytes
//   scales  f32 [N, G]          as the value they stand for; absent for plain weights
//   zeros   f32 [N, G]          zero points or minima; absent for SPF_ZERO_NONE
//   g_idx   i32 [K]             absent without act order
//   global  f32 [1]             absent without a global scale
//
// G = ceil(K / scheme.group_k), 1 if group_k is -1. No padding inside a section, sections on 256 bytes. The value of
// (n,k) with g = g_idx[k] or k / group_k is formats::dequantize(scheme.zero, code, scales[n,g], zeros[n,g]) * global.
#pragma once

#include "pack/layout.hpp"

namespace spf::pack {

extern const LayoutRow kReferenceLayout;

// Bytes of one row of codes.
int64_t reference_row_bytes(spf_scalar_type weight, int64_t k);

} // namespace spf::pack
