// Tiles of a tensor by the copy engine, and the barriers of a ring of stages: 9.0 and later. Barriers are named by
// their shared address, which a loop computes once.
#pragma once

#include <cuda.h> // CUtensorMap; nothing is linked

#include "kernels/common/cuda/async.cuh"
#ifdef SPF_EMULATED
#include "kernels/common/mma/emulated.hpp"
#endif

namespace spf::cuda {

__device__ __forceinline__ void barrier_init(uint32_t barrier, uint32_t arrivals) {
#ifdef SPF_EMULATED
  emulated::mbarrier_init(barrier, arrivals);
#else
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(arrivals) : "memory");
#endif
}
__device__ __forceinline__ void barrier_arrive(uint32_t barrier) {
#ifdef SPF_EMULATED
  emulated::mbarrier_arrive(barrier);
#else
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory");
#endif
}
// One arrival, and bytes that asynchronous writes will bring.
__device__ __forceinline__ void barrier_expect(uint32_t barrier, uint32_t bytes) {
#ifdef SPF_EMULATED
  emulated::mbarrier_expect(barrier, bytes);
  emulated::mbarrier_arrive(barrier);
#else
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes) : "memory");
#endif
}
// NOTES: acquires for this block only. At cluster scope each wait would empty L1, and each arrival would be a fence of
// the whole GPU; what the copy engine wrote needs neither.
__device__ __forceinline__ void barrier_wait(uint32_t barrier, uint32_t parity) {
#ifdef SPF_EMULATED
  emulated::mbarrier_wait(barrier, parity);
#else
  asm volatile(
      "{\n.reg .pred done;\nAGAIN:\nmbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n@!done bra AGAIN;\n}" ::
          "r"(barrier),
      "r"(parity)
      : "memory");
#endif
}

// The same place in another block of the cluster.
__device__ __forceinline__ uint32_t in_block(uint32_t address, uint32_t rank) {
#ifdef SPF_EMULATED
  return emulated::shared_address_in(address, rank);
#else
  uint32_t there;
  asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(there) : "r"(address), "r"(rank));
  return there;
#endif
}
__device__ __forceinline__ void barrier_arrive_in_cluster(uint32_t barrier) {
#ifdef SPF_EMULATED
  emulated::mbarrier_arrive(barrier);
#else
  asm volatile("mbarrier.arrive.shared::cluster.b64 _, [%0];" ::"r"(barrier) : "memory");
#endif
}
__device__ __forceinline__ float4 load_from_cluster(uint32_t address) {
#ifdef SPF_EMULATED
  return emulated::load_shared<float4>(address);
#else
  float4 v;
  asm volatile("ld.shared::cluster.v4.f32 {%0, %1, %2, %3}, [%4];"
               : "=f"(v.x), "=f"(v.y), "=f"(v.z), "=f"(v.w)
               : "r"(address)
               : "memory");
  return v;
#endif
}

// Fetches the description itself, so that the first copy need not wait for it. map: a kernel's parameter.
__device__ __forceinline__ void prefetch_map(const CUtensorMap& map) {
#ifndef SPF_EMULATED
  asm volatile("prefetch.tensormap [%0];" ::"l"(&map) : "memory");
#endif
}

// The box at (column, row) of a two-dimensional tensor; what lies outside the tensor arrives as zeros.
__device__ __forceinline__ void copy_tile(uint32_t to, const CUtensorMap& map, int column, int row, uint32_t barrier) {
#ifdef SPF_EMULATED
  const int coordinates[] = {column, row};
  emulated::copy_tensor_tile(to, map, coordinates, 2, barrier);
#else
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4}], [%2];" ::"r"(
          to),
      "l"(&map), "r"(barrier), "r"(column), "r"(row)
      : "memory");
#endif
}
// The same to the same place of every block in `ranks`; each one's barrier counts the bytes.
__device__ __forceinline__ void copy_tile_to_all(uint32_t to, const CUtensorMap& map, int column, int row,
                                                 uint32_t barrier, uint16_t ranks) {
#ifdef SPF_EMULATED
  const int coordinates[] = {column, row};
  emulated::copy_tensor_tile(to, map, coordinates, 2, barrier, ranks);
#else
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster [%0], [%1, {%3, "
      "%4}], [%2], %5;" ::"r"(to),
      "l"(&map), "r"(barrier), "r"(column), "r"(row), "h"(ranks)
      : "memory");
#endif
}

// --- stores by the copy engine: its reads of shared memory are awaited by the thread that asked for them

// What this thread wrote to shared memory is seen by the copy engine, once another thread has synchronized with it.
__device__ __forceinline__ void fence_before_copies() {
#ifndef SPF_EMULATED
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
#endif
}
// The box at (column, row) of a two-dimensional tensor from shared memory, as far as it lies inside the tensor; but of
// a row whole pieces of 16 bytes, so the tensor's rows have to end with one.
__device__ __forceinline__ void store_tile(const CUtensorMap& map, int column, int row, uint32_t from) {
#ifdef SPF_EMULATED
  const int coordinates[] = {column, row};
  emulated::store_tensor_tile(map, coordinates, 2, from);
#else
  asm volatile("cp.async.bulk.tensor.2d.global.shared::cta.bulk_group [%0, {%2, %3}], [%1];" ::"l"(&map), "r"(from),
               "r"(column), "r"(row)
               : "memory");
#endif
}
__device__ __forceinline__ void commit_stores() {
#ifdef SPF_EMULATED
  emulated::commit_bulk_stores();
#else
  asm volatile("cp.async.bulk.commit_group;" ::: "memory");
#endif
}
// Until the shared memory of all of this thread's committed stores has been read.
__device__ __forceinline__ void wait_for_store_reads() {
#ifdef SPF_EMULATED
  emulated::wait_for_bulk_stores(0);
#else
  asm volatile("cp.async.bulk.wait_group.read 0;" ::: "memory");
#endif
}

__device__ __forceinline__ uint32_t load_shared(uint32_t address) {
#ifdef SPF_EMULATED
  return emulated::load_shared<uint32_t>(address);
#else
  uint32_t v;
  asm volatile("ld.shared.u32 %0, [%1];" : "=r"(v) : "r"(address) : "memory");
  return v;
#endif
}

__device__ __forceinline__ void load_shared(uint32_t address, uint32_t& first, uint32_t& second) {
#ifdef SPF_EMULATED
  const auto v = emulated::load_shared<uint2>(address);
  first = v.x;
  second = v.y;
#else
  asm volatile("ld.shared.v2.u32 {%0, %1}, [%2];" : "=r"(first), "=r"(second) : "r"(address) : "memory");
#endif
}

__device__ __forceinline__ void load_shared(uint32_t address, uint32_t (&to)[4]) {
#ifdef SPF_EMULATED
  const auto v = emulated::load_shared<uint4>(address);
  to[0] = v.x;
  to[1] = v.y;
  to[2] = v.z;
  to[3] = v.w;
#else
  asm volatile("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(address)
               : "memory");
#endif
}

// Four 8x8 matrices of 16-bit elements; lane L gives the address of row L % 8 of matrix L / 8.
__device__ __forceinline__ void store_matrices(uint32_t address, const uint32_t (&r)[4]) {
#ifdef SPF_EMULATED
  emulated::store_matrices(address, r, false);
#else
  asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(address), "r"(r[0]), "r"(r[1]),
               "r"(r[2]), "r"(r[3])
               : "memory");
#endif
}
// The same, transposed.
__device__ __forceinline__ void store_matrices_transposed(uint32_t address, const uint32_t (&r)[4]) {
#ifdef SPF_EMULATED
  emulated::store_matrices(address, r, true);
#else
  asm volatile("stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(address), "r"(r[0]),
               "r"(r[1]), "r"(r[2]), "r"(r[3])
               : "memory");
#endif
}

// bytes % 16 == 0, both addresses on 16 bytes; the barrier counts the bytes.
__device__ __forceinline__ void copy_bulk(uint32_t to, const void* from, uint32_t bytes, uint32_t barrier) {
#ifdef SPF_EMULATED
  emulated::copy_bulk(to, from, bytes, barrier);
#else
  asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(to),
               "l"(from), "r"(bytes), "r"(barrier)
               : "memory");
#endif
}

// bytes % 16 == 0, both addresses on 16 bytes: from this block's shared memory to another block's, a barrier of which
// counts them; `to` and `barrier` are the cluster's addresses (in_block()). This block stays until they are there.
__device__ __forceinline__ void send_bulk(uint32_t to, const void* from, uint32_t bytes, uint32_t barrier) {
#ifdef SPF_EMULATED
  emulated::copy_bulk(to, from, bytes, barrier);
#else
  asm volatile("cp.async.bulk.shared::cluster.shared::cta.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(to),
               "r"(shared_address(from)), "r"(bytes), "r"(barrier)
               : "memory");
#endif
}

} // namespace spf::cuda
