// mma.sync with block scales (12.x, f and a code): a warp's 16x8 product over 32 bytes of K, every block of it scaled
// inside the instruction. Bytes lie as those of m16n8k32 (m16n8k32.cuh); a byte is two e2m1 where both operands are
// e2m1 (m16n8k64), else one number, e2m1 ones in bits 2 to 5.
//   NVFP4   e2m1 x e2m1, four e4m3 scales of 16 values
//   MXFP4   e2m1 x e2m1, two e8m0 scales of 32 values
//   MXFP8   e4m3, e5m2 or e2m1 x e4m3 or e5m2, one e8m0 scale
// PTX ISA, "Block Scaling for mma.sync": of A, row g = lane / 4 takes its scales from lane 4 g + 2 thread and row g + 8
// from lane 4 g + 2 thread + 1 (thread 0 or 1); of B, column g from lane 4 g + thread (0 to 3): the bytes of a word
// from `byte` on. Other lanes' words are not looked at.
#pragma once

#include <cstdint>

#include "spearfish/types.h"
#ifdef SPF_EMULATED
#include "kernels/common/mma/emulated.hpp"
#endif

namespace spf::cuda {

struct ScaleWord {
  uint32_t word;
  uint16_t byte, thread; // known when the code is compiled
};

#define SPF_BLOCK_MMA(SHAPE, KIND, TYPES)                                                                         \
  asm("mma.sync.aligned." SHAPE ".row.col.kind::" KIND ".f32." TYPES                                              \
      " {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3}, {%10}, {%11, %12}, {%13}, {%14, %15};"    \
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])                                                            \
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1), "r"(sa.word), "h"(sa.byte), "h"(sa.thread), \
        "r"(sb.word), "h"(sb.byte), "h"(sb.thread))

// A, B: types of the operands; S: of the scales.
template <spf_scalar_type A, spf_scalar_type B, spf_scalar_type S>
__device__ __forceinline__ void mma_block_scaled(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1,
                                                 ScaleWord sa, ScaleWord sb) {
  static_assert((A == SPF_E2M1 && B == SPF_E2M1) || (S == SPF_E8M0 && (B == SPF_E4M3 || B == SPF_E5M2)));
#ifdef SPF_EMULATED
  using emulated::Packed;
  constexpr bool kBytes = B != SPF_E2M1;
  constexpr Packed kA = kBytes && A == SPF_E2M1 ? Packed::kE2m1InByte : emulated::kPackedOf<A>;
  constexpr auto kScale = S == SPF_E4M3 ? emulated::ScaleType::kUe4m3 : emulated::ScaleType::kUe8m0;
  emulated::mma_block_scaled<kA, emulated::kPackedOf<B>, kScale,
                             kBytes          ? 1
                             : S == SPF_E4M3 ? 4
                                             : 2>(d, {a[0], a[1], a[2], a[3]}, {b0, b1}, {sa.word, sa.byte, sa.thread},
                                                  {sb.word, sb.byte, sb.thread});
#else
  if constexpr (S == SPF_E4M3)
    SPF_BLOCK_MMA("m16n8k64", "mxf4nvf4.block_scale.scale_vec::4X", "e2m1.e2m1.f32.ue4m3");
  else if constexpr (B == SPF_E2M1)
    SPF_BLOCK_MMA("m16n8k64", "mxf4nvf4.block_scale.scale_vec::2X", "e2m1.e2m1.f32.ue8m0");
  else if constexpr (A == SPF_E4M3 && B == SPF_E4M3)
    SPF_BLOCK_MMA("m16n8k32", "mxf8f6f4.block_scale.scale_vec::1X", "e4m3.e4m3.f32.ue8m0");
  else if constexpr (A == SPF_E4M3)
    SPF_BLOCK_MMA("m16n8k32", "mxf8f6f4.block_scale.scale_vec::1X", "e4m3.e5m2.f32.ue8m0");
  else if constexpr (A == SPF_E5M2 && B == SPF_E4M3)
    SPF_BLOCK_MMA("m16n8k32", "mxf8f6f4.block_scale.scale_vec::1X", "e5m2.e4m3.f32.ue8m0");
  else if constexpr (A == SPF_E5M2)
    SPF_BLOCK_MMA("m16n8k32", "mxf8f6f4.block_scale.scale_vec::1X", "e5m2.e5m2.f32.ue8m0");
  else if constexpr (B == SPF_E4M3)
    SPF_BLOCK_MMA("m16n8k32", "mxf8f6f4.block_scale.scale_vec::1X", "e2m1.e4m3.f32.ue8m0");
  else
    SPF_BLOCK_MMA("m16n8k32", "mxf8f6f4.block_scale.scale_vec::1X", "e2m1.e5m2.f32.ue8m0");
#endif
}

#undef SPF_BLOCK_MMA

} // namespace spf::cuda
