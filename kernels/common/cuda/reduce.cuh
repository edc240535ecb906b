// Sums and maxima over a group of threads in one fixed order, given to every thread of the group.
#pragma once

namespace spf::cuda {

struct Plus {
  static __device__ __forceinline__ float of(float a, float b) { return a + b; }
};
struct Larger { // passes over NaNs
  static __device__ __forceinline__ float of(float a, float b) { return fmaxf(a, b); }
};

// A group is kThreads consecutive threads: a power of two up to 32, or a whole block of kThreads.
template <int kThreads, class Op>
struct GroupReduce {
  static constexpr int kWarps = kThreads > 32 ? kThreads / 32 : 1;
  static_assert((kThreads & (kThreads - 1)) == 0 && kThreads <= 1024);

  // One slot per warp, twice: a slot of one result may still be read while the next one is written.
  struct Storage {
    alignas(16) float slots[2][kWarps];
  };

  // All threads of the block call it. `turn` counts the calls of a block from 0.
  static __device__ __forceinline__ float all(float value, Storage& storage, unsigned turn) {
    if constexpr (kThreads >= 32) value = Op::of(value, __shfl_xor_sync(0xffffffffu, value, 16));
    if constexpr (kThreads >= 16) value = Op::of(value, __shfl_xor_sync(0xffffffffu, value, 8));
    if constexpr (kThreads >= 8) value = Op::of(value, __shfl_xor_sync(0xffffffffu, value, 4));
    if constexpr (kThreads >= 4) value = Op::of(value, __shfl_xor_sync(0xffffffffu, value, 2));
    if constexpr (kThreads >= 2) value = Op::of(value, __shfl_xor_sync(0xffffffffu, value, 1));
    if constexpr (kWarps > 1) {
      float* const slots = storage.slots[turn & 1];
      if (threadIdx.x % 32 == 0) slots[threadIdx.x / 32] = value;
      __syncthreads();
      value = tree<kWarps>(slots);
    }
    return value;
  }

 private:
  // The first half with the second half, recursively; every thread reads the same words, so nothing conflicts.
  template <int kCount>
  static __device__ __forceinline__ float tree(const float* slots) {
    if constexpr (kCount == 1) {
      return slots[0];
    } else if constexpr (kCount == 2) {
      const float2 v = *reinterpret_cast<const float2*>(slots);
      return Op::of(v.x, v.y);
    } else if constexpr (kCount == 4) {
      const float4 v = *reinterpret_cast<const float4*>(slots);
      return Op::of(Op::of(v.x, v.y), Op::of(v.z, v.w));
    } else {
      return Op::of(tree<kCount / 2>(slots), tree<kCount / 2>(slots + kCount / 2));
    }
  }
};

template <int kThreads>
using GroupSum = GroupReduce<kThreads, Plus>;
template <int kThreads>
using GroupMax = GroupReduce<kThreads, Larger>;

} // namespace spf::cuda
