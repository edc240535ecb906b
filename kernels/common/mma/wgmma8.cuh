// wgmma m64nNk32 on 8-bit operands, A in shared memory or in registers: 9.0a only. PTX ISA, "Asynchronous warpgroup
// level matrix operations". e4m3 x e4m3 -> f32, whose additions keep about 13 bits below the largest term; s8 x s8 ->
// s32, exact. A is 64 rows, B is N rows of 128 values (128 bytes) in the 128-byte swizzle, on 1024 bytes; both are
// described by wgmma_operand() (wgmma.cuh), and the next 32 values of K are 2 further. Warp w of four holds rows
// 16w..16w+15 of A and D, lane L with g = L / 4, t = 2 (L % 4)
//   A 16x32   a0 = (g, 2t..2t+3)   a1 = (g+8, 2t..)   a2 = (g, 2t+16..)   a3 = (g+8, 2t+16..)
//   D 16xN    d[4 b + 0, 1] = (g, 8b + t..t+1)   d[4 b + 2, 3] = (g+8, 8b + t..)
#pragma once

#include <cstdint>

#include "kernels/common/mma/wgmma.cuh"

namespace spf::cuda {

// Keeps reads of an accumulator behind this point of the program.
__device__ __forceinline__ void hold(float& value) {
#ifndef SPF_EMULATED
  asm volatile("" : "+f"(value)::"memory");
#endif
}
__device__ __forceinline__ void hold(int32_t& value) {
#ifndef SPF_EMULATED
  asm volatile("" : "+r"(value)::"memory");
#endif
}

#ifdef SPF_EMULATED
template <int kN>
struct Wgmma8 {
  static void multiply(float (&d)[kN / 2], uint32_t a, uint32_t b, int add) {
    emulated::wgmma<emulated::Packed::kE4m3, kN>(static_cast<float*>(d), wgmma_descriptor(a), wgmma_descriptor(b),
                                                 add != 0);
  }
  static void multiply(int32_t (&d)[kN / 2], uint32_t a, uint32_t b, int add) {
    emulated::wgmma<emulated::Packed::kS8, kN>(static_cast<int32_t*>(d), wgmma_descriptor(a), wgmma_descriptor(b),
                                               add != 0);
  }
  static void multiply(float (&d)[kN / 2], const uint32_t (&a)[4], uint32_t b, int add) {
    emulated::wgmma<emulated::Packed::kE4m3, kN>(static_cast<float*>(d), a, wgmma_descriptor(b), add != 0);
  }
  static void multiply(int32_t (&d)[kN / 2], const uint32_t (&a)[4], uint32_t b, int add) {
    emulated::wgmma<emulated::Packed::kS8, kN>(static_cast<int32_t*>(d), a, wgmma_descriptor(b), add != 0);
  }
};
#else
template <int kN>
struct Wgmma8;

// clang-format off
#define SPF_TEN(t) "%" #t "0, %" #t "1, %" #t "2, %" #t "3, %" #t "4, %" #t "5, %" #t "6, %" #t "7, %" #t "8, %" #t "9, "
#define SPF_FIRST_TEN "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, "
#define SPF_D4(c, i) c(d[i]), c(d[i + 1]), c(d[i + 2]), c(d[i + 3])
#define SPF_D16(c, i) SPF_D4(c, i), SPF_D4(c, i + 4), SPF_D4(c, i + 8), SPF_D4(c, i + 12)
#define SPF_D64(c, i) SPF_D16(c, i), SPF_D16(c, i + 16), SPF_D16(c, i + 32), SPF_D16(c, i + 48)
#define SPF_WGMMA8_OF(type, list, a, b, p, last, output, operands)                                               \
  asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, " p ", 0;\n"                                                    \
               "wgmma.mma_async.sync.aligned." type " {" list "}, " a ", " b ", p" last ";\n}"                     \
               : output : operands, "l"(wgmma_descriptor(b_)), "r"(add))
#define SPF_REGISTER_A "r"(a_[0]), "r"(a_[1]), "r"(a_[2]), "r"(a_[3])
#define SPF_SHARED_A "l"(wgmma_descriptor(a_))
// p0 .. p5: places of the operands behind the accumulators.
#define SPF_WGMMA8(n, list, p0, p1, p2, p3, p4, p5, outputs)                                                     \
  template <>                                                                                                    \
  struct Wgmma8<n> {                                                                                             \
    /* d = a b, or d += a b where `add` */                                                                       \
    static __device__ __forceinline__ void multiply(float (&d)[n / 2], uint32_t a_, uint32_t b_, int add) {      \
      SPF_WGMMA8_OF("m64n" #n "k32.f32.e4m3.e4m3", list, p0, p1, p2, ", 1, 1", outputs("+f"), SPF_SHARED_A);     \
    }                                                                                                            \
    static __device__ __forceinline__ void multiply(int32_t (&d)[n / 2], uint32_t a_, uint32_t b_, int add) {    \
      SPF_WGMMA8_OF("m64n" #n "k32.s32.s8.s8", list, p0, p1, p2, "", outputs("+r"), SPF_SHARED_A);               \
    }                                                                                                            \
    static __device__ __forceinline__ void multiply(float (&d)[n / 2], const uint32_t (&a_)[4], uint32_t b_,     \
                                                    int add) {                                                   \
      SPF_WGMMA8_OF("m64n" #n "k32.f32.e4m3.e4m3", list, "{" p0 ", " p1 ", " p2 ", " p3 "}", p4, p5, ", 1, 1",   \
                    outputs("+f"), SPF_REGISTER_A);                                                    \
    }                                                                                                            \
    static __device__ __forceinline__ void multiply(int32_t (&d)[n / 2], const uint32_t (&a_)[4], uint32_t b_,   \
                                                    int add) {                                                   \
      SPF_WGMMA8_OF("m64n" #n "k32.s32.s8.s8", list, "{" p0 ", " p1 ", " p2 ", " p3 "}", p4, p5, "",             \
                    outputs("+r"), SPF_REGISTER_A);                                                    \
    }                                                                                                            \
  }

#define SPF_OUT(c) SPF_D4(c, 0)
SPF_WGMMA8(8, "%0, %1, %2, %3", "%4", "%5", "%6", "%7", "%8", "%9", SPF_OUT);
#undef SPF_OUT
#define SPF_OUT(c) SPF_D4(c, 0), SPF_D4(c, 4)
SPF_WGMMA8(16, "%0, %1, %2, %3, %4, %5, %6, %7", "%8", "%9", "%10", "%11", "%12", "%13", SPF_OUT);
#undef SPF_OUT
#define SPF_OUT(c) SPF_D16(c, 0)
SPF_WGMMA8(32, SPF_FIRST_TEN "%10, %11, %12, %13, %14, %15", "%16", "%17", "%18", "%19", "%20", "%21", SPF_OUT);
#undef SPF_OUT
#define SPF_OUT(c) SPF_D16(c, 0), SPF_D16(c, 16)
SPF_WGMMA8(64, SPF_FIRST_TEN SPF_TEN(1) SPF_TEN(2) "%30, %31", "%32", "%33", "%34", "%35", "%36", "%37", SPF_OUT);
#undef SPF_OUT
#define SPF_OUT(c) SPF_D64(c, 0)
SPF_WGMMA8(128, SPF_FIRST_TEN SPF_TEN(1) SPF_TEN(2) SPF_TEN(3) SPF_TEN(4) SPF_TEN(5) "%60, %61, %62, %63",
           "%64", "%65", "%66", "%67", "%68", "%69", SPF_OUT);
#undef SPF_OUT
#define SPF_OUT(c) SPF_D64(c, 0), SPF_D64(c, 64)
SPF_WGMMA8(256, SPF_FIRST_TEN SPF_TEN(1) SPF_TEN(2) SPF_TEN(3) SPF_TEN(4) SPF_TEN(5) SPF_TEN(6) SPF_TEN(7) SPF_TEN(8)
           SPF_TEN(9) SPF_TEN(10) SPF_TEN(11) "%120, %121, %122, %123, %124, %125, %126, %127",
           "%128", "%129", "%130", "%131", "%132", "%133", SPF_OUT);
#undef SPF_OUT
#undef SPF_WGMMA8
#undef SPF_SHARED_A
#undef SPF_REGISTER_A
#undef SPF_WGMMA8_OF
#undef SPF_D64
#undef SPF_D16
#undef SPF_D4
#undef SPF_FIRST_TEN
#undef SPF_TEN
// clang-format on
#endif

} // namespace spf::cuda
