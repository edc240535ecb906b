// Asynchronous movement: 16-byte copies into shared memory, bulk copies, barriers that count bytes, and stores into the
// shared memory of another block of the cluster.
#pragma once

#include <cstdint>

#ifdef SPF_EMULATED
#include "kernels/common/cuda/emulated.hpp"
#endif

namespace spf::cuda {

__device__ __forceinline__ uint32_t shared_address(const void* pointer) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(pointer));
}

// Barrier `id` (1 to 15) of some of the block's warps.
__device__ __forceinline__ void sync_threads(int id, int threads) {
#ifdef SPF_EMULATED
  emulated::block_barrier(id, threads, "bar.sync");
#else
  asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
#endif
}

// Arrives there and does not wait, for others that do.
__device__ __forceinline__ void arrive_threads(int id, int threads) {
#ifdef SPF_EMULATED
  emulated::block_barrier_arrive(id, threads);
#else
  asm volatile("bar.arrive %0, %1;" ::"r"(id), "r"(threads) : "memory");
#endif
}

// --- cp.async: 8.0 and later ---------------------------------------------------------------------------------------

// kBytes (4, 8 or 16) from global to shared memory, past L1 for 16; writes zeros and reads nothing where !valid.
template <int kBytes>
__device__ __forceinline__ void copy_async(uint32_t to, const void* from, bool valid) {
  const int read = valid ? kBytes : 0;
#ifdef SPF_EMULATED
  emulated::copy_async(to, from, kBytes, read);
#else
  if constexpr (kBytes == 16)
    asm volatile("cp.async.cg.shared.global.L2::256B [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(read) : "memory");
  else
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(to), "l"(from), "n"(kBytes), "r"(read)
                 : "memory");
#endif
}

// `bytes` of the 16 at `from`, and zeros; asks for 128 bytes into L2, for rows that are not longer.
__device__ __forceinline__ void copy_async_part(uint32_t to, const void* from, int bytes) {
#ifdef SPF_EMULATED
  emulated::copy_async(to, from, 16, bytes);
#else
  asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(bytes) : "memory");
#endif
}

#ifdef SPF_EMULATED
__device__ __forceinline__ void commit_copies() { emulated::commit_copies(); }
#else
__device__ __forceinline__ void commit_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }
#endif

// Waits until at most kPending of this thread's groups are under way.
template <int kPending>
__device__ __forceinline__ void wait_for_copies() {
#ifdef SPF_EMULATED
  emulated::wait_for_copies(kPending);
#else
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
#endif
}

// --- mbarrier, bulk copies, clusters: 9.0 and later ----------------------------------------------------------------

// A barrier for one phase: init, expect, wait.
struct Barrier {
  uint64_t word;

  __device__ __forceinline__ void init(uint32_t arrivals) {
#ifdef SPF_EMULATED
    emulated::mbarrier_init(shared_address(&word), arrivals);
#else
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(&word)), "r"(arrivals) : "memory");
#endif
  }
  // One arrival, and bytes that asynchronous writes will bring.
  __device__ __forceinline__ void arrive_expect(uint32_t bytes) {
#ifdef SPF_EMULATED
    emulated::mbarrier_expect(shared_address(&word), bytes);
    emulated::mbarrier_arrive(shared_address(&word));
#else
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(&word)), "r"(bytes)
                 : "memory");
#endif
  }
  __device__ __forceinline__ void wait(uint32_t parity) {
#ifdef SPF_EMULATED
    emulated::mbarrier_wait(shared_address(&word), parity);
#else
    asm volatile(
        "{\n.reg .pred done;\nAGAIN:\nmbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 done, [%0], %1;\n"
        "@!done bra AGAIN;\n}" ::"r"(shared_address(&word)),
        "r"(parity)
        : "memory");
#endif
  }
};

// Makes initialized barriers visible to the cluster and to the copy engine.
__device__ __forceinline__ void fence_barrier_init() {
#ifdef SPF_EMULATED
  // Blocks of a cluster run one at a time.
#else
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
#endif
}

// bytes % 16 == 0, both addresses on 16 bytes.
__device__ __forceinline__ void copy_bulk(uint32_t to, const void* from, uint32_t bytes, Barrier& barrier) {
#ifdef SPF_EMULATED
  emulated::copy_bulk(to, from, bytes, shared_address(&barrier.word));
#else
  asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(to),
               "l"(from), "r"(bytes), "r"(shared_address(&barrier.word))
               : "memory");
#endif
}

__device__ __forceinline__ uint32_t cluster_rank() {
#ifdef SPF_EMULATED
  return emulated::cluster_rank();
#else
  uint32_t rank;
  asm("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  return rank;
#endif
}

// Split cluster barrier: every thread arrives once and waits once. Relaxed: orders nothing but the barriers that
// fence_barrier_init() published, and costs no fence of the whole GPU.
__device__ __forceinline__ void cluster_arrive_relaxed() {
#ifdef SPF_EMULATED
  emulated::cluster_arrive();
#else
  asm volatile("barrier.cluster.arrive.relaxed.aligned;" ::: "memory");
#endif
}
__device__ __forceinline__ void cluster_arrive() {
#ifdef SPF_EMULATED
  emulated::cluster_arrive();
#else
  asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory");
#endif
}
#ifdef SPF_EMULATED
__device__ __forceinline__ void cluster_wait() { emulated::cluster_wait(); }
#else
__device__ __forceinline__ void cluster_wait() { asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory"); }
#endif

// Stores two floats at the same place of another block's shared memory and counts their 8 bytes on its barrier.
__device__ __forceinline__ void store_remote(float* to, Barrier& barrier, uint32_t rank, float2 value) {
#ifdef SPF_EMULATED
  emulated::store_async(emulated::shared_address_in(shared_address(to), rank),
                        emulated::shared_address_in(shared_address(&barrier.word), rank), &value, 8);
#else
  asm volatile(
      "{\n.reg .u32 place, bar;\nmapa.shared::cluster.u32 place, %0, %2;\nmapa.shared::cluster.u32 bar, %1, %2;\n"
      "st.async.shared::cluster.mbarrier::complete_tx::bytes.v2.f32 [place], {%3, %4}, [bar];\n}" ::"r"(
          shared_address(to)),
      "r"(shared_address(&barrier.word)), "r"(rank), "f"(value.x), "f"(value.y)
      : "memory");
#endif
}

// Stores 16 bytes at a place of some block of the cluster and counts them on a barrier of that block; both addresses
// are the cluster's (in_block()).
__device__ __forceinline__ void store_counted(uint32_t to, uint32_t barrier, float4 value) {
#ifdef SPF_EMULATED
  emulated::store_async(to, barrier, &value, 16);
#else
  asm volatile("st.async.shared::cluster.mbarrier::complete_tx::bytes.v4.f32 [%0], {%2, %3, %4, %5}, [%1];" ::"r"(to),
               "r"(barrier), "f"(value.x), "f"(value.y), "f"(value.z), "f"(value.w)
               : "memory");
#endif
}

} // namespace spf::cuda
