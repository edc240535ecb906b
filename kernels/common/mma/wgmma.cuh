// wgmma m64nNk16 with the A operand in registers or in shared memory and f32 accumulators: 9.0a only. PTX ISA,
// "Asynchronous warpgroup level matrix operations". Warp w of the four supplies rows 16w..16w+15; lane L holds, with g
// = L / 4 and t = 2 (L % 4),
//   A 16x16   a0 = (g, t..t+1)  a1 = (g+8, t..)  a2 = (g, t+8..)  a3 = (g+8, t+8..)
//   D 16xN    d[4 b + 0, 1] = (g, 8b + t..t+1)   d[4 b + 2, 3] = (g+8, 8b + t..)
// B lies in shared memory, N rows of 64 K-values (128 bytes) in the 128-byte swizzle of the copy engine, on 1024 bytes;
// so does A where it is not in registers, 64 rows.
#pragma once

#include <cstdint>

#include "spearfish/types.h"
#ifdef SPF_EMULATED
#include "kernels/common/mma/emulated_wgmma.hpp"
#endif

namespace spf::cuda {

// Orders register and shared-memory writes before the multiplications that follow.
#ifdef SPF_EMULATED
__device__ __forceinline__ void wgmma_fence() { emulated::wgmma_fence(); }
__device__ __forceinline__ void wgmma_commit() { emulated::wgmma_commit(); }
#else
__device__ __forceinline__ void wgmma_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ __forceinline__ void wgmma_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
#endif
// Waits until at most kPending groups of this warp are under way.
template <int kPending>
__device__ __forceinline__ void wgmma_wait() {
#ifdef SPF_EMULATED
  emulated::wgmma_wait(kPending);
#else
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");
#endif
}

// Registers of each thread of a warpgroup, from now on: fewer, or more once others have given them.
template <int kRegisters>
__device__ __forceinline__ void give_registers() {
#ifdef SPF_EMULATED
  emulated::set_registers(kRegisters, false);
#else
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kRegisters));
#endif
}
template <int kRegisters>
__device__ __forceinline__ void take_registers() {
#ifdef SPF_EMULATED
  emulated::set_registers(kRegisters, true);
#else
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kRegisters));
#endif
}

// Descriptor of an operand at a shared address; the next 16 values of K are 2 further. Eight rows are 1024 bytes apart.
// Only the low word varies. Kept apart until it is used, the high one is an immediate instead of a register to be
// moved.
__device__ __forceinline__ uint32_t wgmma_operand(uint32_t address) { return (address & 0x3ffff) >> 4 | 1u << 16; }
__device__ __forceinline__ uint64_t wgmma_descriptor(uint32_t operand) {
  return uint64_t{64u | 1u << 30} << 32 | operand;
}

// A value that all lanes share. The compiler then keeps it, and what is added to it, in uniform registers, where wgmma
// wants descriptors; otherwise every product waits for two of them to be moved there.
__device__ __forceinline__ uint32_t uniform(uint32_t value) { return __shfl_sync(0xffffffffu, value, 0); }

#ifdef SPF_EMULATED
template <int kN>
struct Wgmma {
  template <spf_scalar_type T>
  static void multiply(float (&d)[kN / 2], const uint32_t (&a)[4], uint32_t b) {
    emulated::wgmma<emulated::kPackedOf<T>, kN>(d, a, wgmma_descriptor(b), true);
  }
  template <spf_scalar_type T>
  static void multiply(float (&d)[kN / 2], uint32_t a, uint32_t b) {
    emulated::wgmma<emulated::kPackedOf<T>, kN>(static_cast<float*>(d), wgmma_descriptor(a), wgmma_descriptor(b), true);
  }
};
#else
template <int kN>
struct Wgmma;

// clang-format off
#define SPF_TEN(t) "%" #t "0, %" #t "1, %" #t "2, %" #t "3, %" #t "4, %" #t "5, %" #t "6, %" #t "7, %" #t "8, %" #t "9, "
#define SPF_FIRST_TEN "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, "
#define SPF_D4(i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3])
#define SPF_D16(i) SPF_D4(i), SPF_D4(i + 4), SPF_D4(i + 8), SPF_D4(i + 12)
#define SPF_D64(i) SPF_D16(i), SPF_D16(i + 16), SPF_D16(i + 32), SPF_D16(i + 48)
#define SPF_WGMMA_OF(n, type, list, a, b, last, operands, ...)                                                   \
  asm volatile("wgmma.mma_async.sync.aligned.m64n" #n "k16.f32." type "." type " {" list "}, " a ", " b ", 1, 1, 1" last ";" \
               : __VA_ARGS__                                                                                     \
               : operands)
#define SPF_REGISTER_A "r"(a_[0]), "r"(a_[1]), "r"(a_[2]), "r"(a_[3]), "l"(wgmma_descriptor(b_))
#define SPF_SHARED_A "l"(wgmma_descriptor(a_)), "l"(wgmma_descriptor(b_))
#define SPF_LIST(...) __VA_ARGS__
// p0 .. p4: places of the operands behind the accumulators.
#define SPF_WGMMA(n, list, p0, p1, p2, p3, p4, ...)                                                              \
  template <>                                                                                                    \
  struct Wgmma<n> {                                                                                              \
    template <spf_scalar_type T>                                                                                 \
    static __device__ __forceinline__ void multiply(float (&d)[n / 2], const uint32_t (&a_)[4], uint32_t b_) {   \
      static_assert(T == SPF_F16 || T == SPF_BF16);                                                              \
      if constexpr (T == SPF_F16)                                                                                \
        SPF_WGMMA_OF(n, "f16", list, "{" p0 ", " p1 ", " p2 ", " p3 "}", p4, ", 0", SPF_LIST(SPF_REGISTER_A), __VA_ARGS__); \
      else                                                                                                       \
        SPF_WGMMA_OF(n, "bf16", list, "{" p0 ", " p1 ", " p2 ", " p3 "}", p4, ", 0", SPF_LIST(SPF_REGISTER_A), __VA_ARGS__); \
    }                                                                                                            \
    template <spf_scalar_type T>                                                                                 \
    static __device__ __forceinline__ void multiply(float (&d)[n / 2], uint32_t a_, uint32_t b_) {               \
      static_assert(T == SPF_F16 || T == SPF_BF16);                                                              \
      if constexpr (T == SPF_F16)                                                                                \
        SPF_WGMMA_OF(n, "f16", list, p0, p1, ", 0, 0", SPF_LIST(SPF_SHARED_A), __VA_ARGS__);                     \
      else                                                                                                       \
        SPF_WGMMA_OF(n, "bf16", list, p0, p1, ", 0, 0", SPF_LIST(SPF_SHARED_A), __VA_ARGS__);                    \
    }                                                                                                            \
  }

SPF_WGMMA(8, "%0, %1, %2, %3", "%4", "%5", "%6", "%7", "%8", SPF_D4(0));
SPF_WGMMA(16, "%0, %1, %2, %3, %4, %5, %6, %7", "%8", "%9", "%10", "%11", "%12", SPF_D4(0), SPF_D4(4));
SPF_WGMMA(32, SPF_FIRST_TEN "%10, %11, %12, %13, %14, %15", "%16", "%17", "%18", "%19", "%20", SPF_D16(0));
SPF_WGMMA(64, SPF_FIRST_TEN SPF_TEN(1) SPF_TEN(2) "%30, %31", "%32", "%33", "%34", "%35", "%36", SPF_D16(0), SPF_D16(16));
SPF_WGMMA(96, SPF_FIRST_TEN SPF_TEN(1) SPF_TEN(2) SPF_TEN(3) "%40, %41, %42, %43, %44, %45, %46, %47",
          "%48", "%49", "%50", "%51", "%52", SPF_D16(0), SPF_D16(16), SPF_D16(32));
SPF_WGMMA(128, SPF_FIRST_TEN SPF_TEN(1) SPF_TEN(2) SPF_TEN(3) SPF_TEN(4) SPF_TEN(5) "%60, %61, %62, %63",
          "%64", "%65", "%66", "%67", "%68", SPF_D64(0));
SPF_WGMMA(160, SPF_FIRST_TEN SPF_TEN(1) SPF_TEN(2) SPF_TEN(3) SPF_TEN(4) SPF_TEN(5) SPF_TEN(6)
          "%70, %71, %72, %73, %74, %75, %76, %77, %78, %79", "%80", "%81", "%82", "%83", "%84", SPF_D64(0), SPF_D16(64));
SPF_WGMMA(192, SPF_FIRST_TEN SPF_TEN(1) SPF_TEN(2) SPF_TEN(3) SPF_TEN(4) SPF_TEN(5) SPF_TEN(6) SPF_TEN(7) SPF_TEN(8)
          "%90, %91, %92, %93, %94, %95", "%96", "%97", "%98", "%99", "%100", SPF_D64(0), SPF_D16(64), SPF_D16(80));
SPF_WGMMA(256, SPF_FIRST_TEN SPF_TEN(1) SPF_TEN(2) SPF_TEN(3) SPF_TEN(4) SPF_TEN(5) SPF_TEN(6) SPF_TEN(7) SPF_TEN(8)
          SPF_TEN(9) SPF_TEN(10) SPF_TEN(11) "%120, %121, %122, %123, %124, %125, %126, %127",
          "%128", "%129", "%130", "%131", "%132", SPF_D64(0), SPF_D64(64));
#undef SPF_WGMMA
#undef SPF_WGMMA_OF
#undef SPF_LIST
#undef SPF_SHARED_A
#undef SPF_REGISTER_A
#undef SPF_D64
#undef SPF_D16
#undef SPF_D4
#undef SPF_FIRST_TEN
#undef SPF_TEN
// clang-format on
#endif

} // namespace spf::cuda
