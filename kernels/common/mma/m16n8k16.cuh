// mma.sync m16n8k16 with f32 accumulators (8.0 and later; on 7.5, f16 only, two m16n8k8 of half the k), and the load of
// its operands. PTX ISA, "Matrix fragments for mma.m16n8k16": lane L holds, with g = L / 4 and t = 2 (L % 4),
//   A 16x16   a0 = (g, t..t+1)  a1 = (g+8, t..)  a2 = (g, t+8..)  a3 = (g+8, t+8..)
//   B 16x8    b0 = (t..t+1, g)  b1 = (t+8.., g)
//   D 16x8    d0, d1 = (g, t..t+1)  d2, d3 = (g+8, t..)
#pragma once

#include <cstdint>

#include "spearfish/types.h"
#ifdef SPF_EMULATED
#include "kernels/common/mma/emulated.hpp"
#endif

namespace spf::cuda {

template <spf_scalar_type T>
__device__ __forceinline__ void mma_m16n8k16(float (&d)[4], uint32_t a0, uint32_t a1, uint32_t a2, uint32_t a3,
                                             uint32_t b0, uint32_t b1) {
  static_assert(T == SPF_F16 || T == SPF_BF16);
#ifdef SPF_EMULATED
  emulated::mma<emulated::kPackedOf<T>, emulated::kPackedOf<T>>(d, {a0, a1, a2, a3}, {b0, b1});
#elif defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
  static_assert(T == SPF_F16, "7.5 multiplies no bf16");
  asm("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5}, {%8}, {%0, %1, %2, %3};\n"
      "mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%6, %7}, {%9}, {%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
#else
  if constexpr (T == SPF_F16)
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, "
        "%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
  else
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, "
        "%2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
#endif
}

// Four 8x8 matrices of 16-bit elements; lane L gives the address of row L % 8 of matrix L / 8.
__device__ __forceinline__ void load_matrices(uint32_t (&r)[4], uint32_t address) {
#ifdef SPF_EMULATED
  emulated::load_matrices(r, address, false);
#else
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(address));
#endif
}

// As load_matrices, each matrix transposed.
__device__ __forceinline__ void load_matrices_transposed(uint32_t (&r)[4], uint32_t address) {
#ifdef SPF_EMULATED
  emulated::load_matrices(r, address, true);
#else
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(address));
#endif
}

// The 8x8 matrix of 16-bit elements whose row lane / 4 holds a lane's two at columns 2 (lane % 4), transposed.
__device__ __forceinline__ uint32_t transpose8x8(uint32_t word) {
#ifdef SPF_EMULATED
  return emulated::transpose_matrix(word);
#else
  uint32_t out;
  asm("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(out) : "r"(word));
  return out;
#endif
}

} // namespace spf::cuda
