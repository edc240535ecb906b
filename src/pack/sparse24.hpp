// The layout "sparse24": 2:4 sparse weights of 8 or 16 bits in the order of Hopper's sparse warpgroup products.
//
//   codes   [N/64][K/B] blocks of 64 rows and B values of K, B = 128 for 8 bits and 64 for 16, each
//             64 rows of 64 bytes: of every four values of K, two, in their order; the 16 bytes i of row r stand at
//             i ^ (r / 2 % 4), as the 64-byte swizzle of shared memory has them
//             1024 or 512 bytes: 32-bit words that say which two. A word holds four bits a group of four, from bit 0
//             on: the place of the first value, and that of the second above it (0100: places 0 and 1). Of 8-bit
//             values, with s = k / 64 and t = k / 32 % 2 within the block, and warp w = r / 16,
//               word s 128 + w 32 + r % 8 4 + t 2 + r / 8 % 2,   bits from k / 4 % 8 4 on
//             and of 16-bit ones, with s = k / 32, t = k / 16 % 2,
//               word w 32 + r % 8 4 + s 2 + t,                   bits from r / 8 % 2 16 + k / 4 % 4 4 on
//   scales  f32 [padded N], as the value they stand for; absent for plain weights
//
// N is padded to 64, K to B: codes 0 in places 0 and 1, scales 0. Codes are e4m3, f16, bf16, or s8 (u8b128 less 128).
#pragma once

#include "pack/layout.hpp"

namespace spf::pack {

extern const LayoutRow kSparse24Layout;

} // namespace spf::pack
