// Sums over a group of threads in one fixed order, given to every thread of the group.
#pragma once

namespace spf::cuda {

// A group is kThreads consecutive threads: a power of two up to 32, or a whole block of kThreads.
template <int kThreads>
struct GroupSum {
  static constexpr int kWarps = kThreads > 32 ? kThreads / 32 : 1;
  static_assert((kThreads & (kThreads - 1)) == 0 && kThreads <= 1024);

  // One slot per warp, twice: a slot of one sum may still be read while the next sum is written.
  struct Storage {
    alignas(16) float sums[2][kWarps];
  };

  // All threads of the block call it. `turn` counts the calls of a block from 0.
  static __device__ __forceinline__ float all(float value, Storage& storage, unsigned turn) {
    if constexpr (kThreads >= 32) value += __shfl_xor_sync(0xffffffffu, value, 16);
    if constexpr (kThreads >= 16) value += __shfl_xor_sync(0xffffffffu, value, 8);
    if constexpr (kThreads >= 8) value += __shfl_xor_sync(0xffffffffu, value, 4);
    if constexpr (kThreads >= 4) value += __shfl_xor_sync(0xffffffffu, value, 2);
    if constexpr (kThreads >= 2) value += __shfl_xor_sync(0xffffffffu, value, 1);
    if constexpr (kWarps > 1) {
      float* const sums = storage.sums[turn & 1];
      if (threadIdx.x % 32 == 0) sums[threadIdx.x / 32] = value;
      __syncthreads();
      value = tree<kWarps>(sums);
    }
    return value;
  }

 private:
  // (first half) + (second half), recursively; every thread reads the same words, so nothing conflicts.
  template <int kCount>
  static __device__ __forceinline__ float tree(const float* sums) {
    if constexpr (kCount == 1) {
      return sums[0];
    } else if constexpr (kCount == 2) {
      const float2 v = *reinterpret_cast<const float2*>(sums);
      return v.x + v.y;
    } else if constexpr (kCount == 4) {
      const float4 v = *reinterpret_cast<const float4*>(sums);
      return (v.x + v.y) + (v.z + v.w);
    } else {
      return tree<kCount / 2>(sums) + tree<kCount / 2>(sums + kCount / 2);
    }
  }
};

} // namespace spf::cuda
