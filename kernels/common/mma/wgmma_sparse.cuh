// wgmma on a 2:4 sparse A: m64nNk64 on 8-bit operands, m64nNk32 on 16-bit ones, both in shared memory; 9.0a only. PTX
// ISA, "Asynchronous warpgroup level multiply-and-accumulate operation using wgmma.mma_async.sp".
//
// Of every four neighbours along K, A holds two, so a step takes 32 bytes of a row of A and 64 of a row of B. Both are
// rows of two steps:
//   A   64 rows of 64 bytes in the 64-byte swizzle, on 512 bytes: sparse_operand(); the second step is 2 further
//   B   N rows of 128 bytes in the 128-byte swizzle, on 1024 bytes: wgmma_operand(); the second step is 4 further
// D lies as in wgmma.cuh.
//
// Which two of four A holds stands in a word a lane, four bits a group of four, from bit 0 on: the place of the first
// value, two bits, and that of the second, which lies above it. Warp w, lane 4 g + t:
//   8 bits    all of the word   row 16w + g + 8 (t % 2), the 32 k from 32 (t / 2) on
//   16 bits   bits 0-15         row 16w + g,             the 16 k from 16 (t % 2) on
//             bits 16-31        row 16w + g + 8,         the same
//             of the two lanes t / 2 = selector; the other two are not looked at
#pragma once

#include <cstdint>

#include "kernels/common/mma/wgmma.cuh"

namespace spf::cuda {

// Descriptor of a sparse A: eight rows are 512 bytes apart.
__device__ __forceinline__ uint32_t sparse_operand(uint32_t address) { return wgmma_operand(address); }
__device__ __forceinline__ uint64_t sparse_descriptor(uint32_t operand) {
  return uint64_t{32u | 2u << 30} << 32 | operand;
}

#ifdef SPF_EMULATED
template <int kN>
struct SparseWgmma {
  template <spf_scalar_type T, int kSelector, class Sum>
  static void multiply(Sum (&d)[kN / 2], uint32_t a, uint32_t b, uint32_t places) {
    emulated::sparse_wgmma<emulated::kPackedOf<T>, kN>(static_cast<Sum*>(d), sparse_descriptor(a), wgmma_descriptor(b),
                                                       places, kSelector);
  }
};
#else
template <int kN>
struct SparseWgmma;

// clang-format off
#define SPF_TEN(t) "%" #t "0, %" #t "1, %" #t "2, %" #t "3, %" #t "4, %" #t "5, %" #t "6, %" #t "7, %" #t "8, %" #t "9, "
#define SPF_FIRST_TEN "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, "
#define SPF_D4(c, i) c(d[i]), c(d[i + 1]), c(d[i + 2]), c(d[i + 3])
#define SPF_D8(c, i) SPF_D4(c, i), SPF_D4(c, i + 4)
#define SPF_D32(c, i) SPF_D8(c, i), SPF_D8(c, i + 8), SPF_D8(c, i + 16), SPF_D8(c, i + 24)
#define SPF_D64(c, i) SPF_D32(c, i), SPF_D32(c, i + 32)
#define SPF_SPARSE_OF(shape, list, operands, last, ...)                                                           \
  asm volatile("wgmma.mma_async.sp.sync.aligned.m64n" shape " {" list "}, " operands ", 1" last ";"               \
               : __VA_ARGS__                                                                                     \
               : "l"(sparse_descriptor(a)), "l"(wgmma_descriptor(b)), "r"(places), "n"(kSelector))
// operands: places of A, B, the word and the selector behind the accumulators.
#define SPF_SPARSE(n, list, operands, outputs)                                                                    \
  template <>                                                                                                    \
  struct SparseWgmma<n> {                                                                                        \
    /* d += a b */                                                                                               \
    template <spf_scalar_type T, int kSelector>                                                                  \
    static __device__ __forceinline__ void multiply(float (&d)[n / 2], uint32_t a, uint32_t b, uint32_t places) { \
      static_assert(T == SPF_E4M3 || T == SPF_F16 || T == SPF_BF16);                                             \
      static_assert(kSelector == 0 || (kSelector == 1 && T != SPF_E4M3));                                        \
      if constexpr (T == SPF_E4M3)                                                                               \
        SPF_SPARSE_OF(#n "k64.f32.e4m3.e4m3", list, operands, ", 1, 1", outputs("+f"));                          \
      else if constexpr (T == SPF_F16)                                                                           \
        SPF_SPARSE_OF(#n "k32.f32.f16.f16", list, operands, ", 1, 1, 0, 0", outputs("+f"));                      \
      else                                                                                                       \
        SPF_SPARSE_OF(#n "k32.f32.bf16.bf16", list, operands, ", 1, 1, 0, 0", outputs("+f"));                    \
    }                                                                                                            \
    template <spf_scalar_type T, int kSelector>                                                                  \
    static __device__ __forceinline__ void multiply(int32_t (&d)[n / 2], uint32_t a, uint32_t b, uint32_t places) { \
      static_assert(T == SPF_S8 && kSelector == 0);                                                              \
      SPF_SPARSE_OF(#n "k64.s32.s8.s8", list, operands, "", outputs("+r"));                                      \
    }                                                                                                            \
  }

#define SPF_OUT(c) SPF_D8(c, 0)
SPF_SPARSE(16, "%0, %1, %2, %3, %4, %5, %6, %7", "%8, %9, %10, %11", SPF_OUT);
#undef SPF_OUT
#define SPF_OUT(c) SPF_D32(c, 0)
SPF_SPARSE(64, SPF_FIRST_TEN SPF_TEN(1) SPF_TEN(2) "%30, %31", "%32, %33, %34, %35", SPF_OUT);
#undef SPF_OUT
#define SPF_OUT(c) SPF_D64(c, 0)
SPF_SPARSE(128, SPF_FIRST_TEN SPF_TEN(1) SPF_TEN(2) SPF_TEN(3) SPF_TEN(4) SPF_TEN(5) "%60, %61, %62, %63",
           "%64, %65, %66, %67", SPF_OUT);
#undef SPF_OUT
#define SPF_OUT(c) SPF_D64(c, 0), SPF_D64(c, 64)
SPF_SPARSE(256, SPF_FIRST_TEN SPF_TEN(1) SPF_TEN(2) SPF_TEN(3) SPF_TEN(4) SPF_TEN(5) SPF_TEN(6) SPF_TEN(7) SPF_TEN(8)
           SPF_TEN(9) SPF_TEN(10) SPF_TEN(11) "%120, %121, %122, %123, %124, %125, %126, %127",
           "%128, %129, %130, %131", SPF_OUT);
#undef SPF_OUT
#undef SPF_SPARSE
#undef SPF_SPARSE_OF
#undef SPF_D64
#undef SPF_D32
#undef SPF_D8
#undef SPF_D4
#undef SPF_FIRST_TEN
#undef SPF_TEN
// clang-format on
#endif

} // namespace spf::cuda
