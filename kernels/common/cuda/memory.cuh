// Global memory by 16-byte chunks, with an element path for rows that do not start on 16 bytes and for the end of a
// row.
#pragma once

#include <cstdint>

#include "kernels/common/cuda/scalar.cuh"
#ifdef SPF_EMULATED
#include "kernels/common/cuda/emulated.hpp"
#endif

namespace spf::cuda {

// NOTES: plain ld.global on purpose. On H200 an L1::no_allocate hint costs 5 % of bandwidth (kernels/norm/README.md),
// and ptxas moves ld.global.nc below griddepcontrol.wait, so that constants would not be requested early.
__device__ __forceinline__ uint4 load16(const void* address) {
#ifdef SPF_EMULATED
  emulated::check_aligned(address, 16);
  return *static_cast<const uint4*>(address);
#else
  uint4 v;
  asm volatile("ld.global.v4.u32 {%0, %1, %2, %3}, [%4];" : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "l"(address));
  return v;
#endif
}

// NOTES: assembly, because the compiler may split an assignment of uint4 into four stores to start the first one early.
__device__ __forceinline__ void store16(void* address, const uint4& v) {
#ifdef SPF_EMULATED
  emulated::check_aligned(address, 16);
  *static_cast<uint4*>(address) = v;
#else
  asm volatile("st.global.v4.u32 [%0], {%1, %2, %3, %4};" ::"l"(address), "r"(v.x), "r"(v.y), "r"(v.z), "r"(v.w)
               : "memory");
#endif
}

// Requests a line into L2.
__device__ __forceinline__ void prefetch(const void* address) {
#ifdef SPF_EMULATED
  (void)address;
#else
  asm volatile("prefetch.global.L2 [%0];" ::"l"(address));
#endif
}

__device__ __forceinline__ bool on_16_bytes(const void* address) {
  return (reinterpret_cast<uintptr_t>(address) & 15) == 0;
}

// The chunk at `address`, of which `left` elements exist; the others read as 0. `vector`: address is on 16 bytes.
template <spf_scalar_type T>
__device__ __forceinline__ uint4 load_chunk(const scalar_t<T>* address, int64_t left, bool vector) {
  constexpr int kElements = kChunkElements<T>;
  if (vector && left >= kElements) return load16(address);
  uint32_t words[4] = {};
#pragma unroll
  for (int e = 0; e < kElements; ++e) {
    if (e >= left) continue;
    if constexpr (T == SPF_F32)
      words[e] = reinterpret_cast<const uint32_t*>(address)[e];
    else
      words[e / 2] |= static_cast<uint32_t>(reinterpret_cast<const uint16_t*>(address)[e]) << (16 * (e % 2));
  }
  return make_uint4(words[0], words[1], words[2], words[3]);
}

template <spf_scalar_type T>
__device__ __forceinline__ void store_chunk(scalar_t<T>* address, const uint4& chunk, int64_t left, bool vector) {
  constexpr int kElements = kChunkElements<T>;
  if (vector && left >= kElements) {
    store16(address, chunk);
    return;
  }
  const uint32_t words[4] = {chunk.x, chunk.y, chunk.z, chunk.w};
#pragma unroll
  for (int e = 0; e < kElements; ++e) {
    if (e >= left) continue;
    if constexpr (T == SPF_F32)
      reinterpret_cast<uint32_t*>(address)[e] = words[e];
    else
      reinterpret_cast<uint16_t*>(address)[e] = static_cast<uint16_t>(words[e / 2] >> (16 * (e % 2)));
  }
}

} // namespace spf::cuda
