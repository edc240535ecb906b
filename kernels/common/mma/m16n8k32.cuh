// mma.sync on 32 bytes of K: m16n8k32 of 8-bit operands (s8 into int32_t: 8.0 and later, on 7.5 four m8n8k16; e4m3 into
// float: 8.9 and later), and m16n8k16 of 16-bit ones by the same name. Bytes lie as those of m16n8k16: lane L holds,
// with g = L / 4 and t = 4 (L % 4),
//   A 16x32   a0 = (g, t..t+3)  a1 = (g+8, t..)  a2 = (g, t+16..)  a3 = (g+8, t+16..)
//   B 32x8    b0 = (t..t+3, g)  b1 = (t+16.., g)
//   D 16x8    d0, d1 = (g, 2 (L % 4)..)  d2, d3 = (g+8, ..)
#pragma once

#include <type_traits>

#include "kernels/common/mma/m16n8k16.cuh"

namespace spf::cuda {

// What products of a type are summed in.
template <spf_scalar_type T>
using MmaSum = std::conditional_t<T == SPF_S8, int32_t, float>;

template <spf_scalar_type T>
__device__ __forceinline__ void mma_32_bytes(MmaSum<T> (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  if constexpr (T == SPF_F16 || T == SPF_BF16) {
    mma_m16n8k16<T>(d, a[0], a[1], a[2], a[3], b0, b1);
    return;
  }
#ifdef SPF_EMULATED
  emulated::mma<emulated::kPackedOf<T>, emulated::kPackedOf<T>>(d, {a[0], a[1], a[2], a[3]}, {b0, b1});
#else
  if constexpr (T == SPF_S8) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
    asm("mma.sync.aligned.m8n8k16.row.col.s32.s8.s8.s32 {%0, %1}, {%4}, {%8}, {%0, %1};\n"
        "mma.sync.aligned.m8n8k16.row.col.s32.s8.s8.s32 {%2, %3}, {%5}, {%8}, {%2, %3};\n"
        "mma.sync.aligned.m8n8k16.row.col.s32.s8.s8.s32 {%0, %1}, {%6}, {%9}, {%0, %1};\n"
        "mma.sync.aligned.m8n8k16.row.col.s32.s8.s8.s32 {%2, %3}, {%7}, {%9}, {%2, %3};"
        : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#else
    asm("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, "
        "%3};"
        : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#endif
  } else if constexpr (T == SPF_E4M3) {
    asm("mma.sync.aligned.m16n8k32.row.col.f32.e4m3.e4m3.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, "
        "%2, "
        "%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  }
#endif
}

} // namespace spf::cuda
