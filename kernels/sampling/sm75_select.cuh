// The K best entries of each row's window, in a tree: a block takes up to 8192 entries into registers and passes on
// those that may be among the K best, blocks above it do the same with what they are passed, the last one of a row
// sorts.
//
// An entry is one number, its value's rank above its inverted index: no two are equal, so "the K largest" is one set
// and ties need no rule of their own. A block's threshold is found bit by bit, by counting the entries at or above a
// trial. Where K is small, the K-th largest of the threads' own maxima is a lower bound that is found with one
// comparison a thread and bit, and what reaches it is seldom much more than K: blocks below the last pass that on as it
// is.
#pragma once

#include <algorithm>

#include "kernels/common/cuda/launch.cuh"
#include "kernels/common/cuda/memory.cuh"
#include "kernels/sampling/select.h"
#include "kernels/sampling/select_tree.hpp"

namespace spf::sampling {

struct TreeArgs {
  SelectArgs rows;
  SelectTree tree;
  int32_t level = 0;
  const uint64_t* from = nullptr; // lists of the level below: [row][list][tree.passed], with how many are in each
  const uint32_t* from_counts = nullptr;
  uint64_t* to = nullptr;
  uint32_t* to_counts = nullptr;
};

struct SelectScratch {
  uint32_t sums[2][kSelectThreads / 32];
  uint32_t offsets[kSelectEntries / kLeastPassed + 1]; // where each list of a group begins
  uint32_t count;
};

// --- one block's entries -------------------------------------------------------------------------------------------

struct Entries {
  uint64_t entry[kSelectEach]; // 0: none
  int slots;                   // how many of them any thread may have

  __device__ uint64_t largest() const {
    uint64_t best = 0;
#pragma unroll
    for (int i = 0; i < kSelectEach; ++i) best = entry[i] > best ? entry[i] : best;
    return best;
  }

  // Entries of the block at or above a bound. `turn` alternates the scratch, so that one barrier a call is enough.
  __device__ uint32_t count(uint64_t bound, SelectScratch& scratch, int turn) const {
    if (slots == 1) return static_cast<uint32_t>(__syncthreads_count(entry[0] >= bound));
    uint32_t sum = 0;
#pragma unroll
    for (int i = 0; i < kSelectEach; ++i)
      if (i < slots) sum += entry[i] >= bound ? 1 : 0;
#pragma unroll
    for (int step = 16; step > 0; step /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, step);
    if (threadIdx.x % 32 == 0) scratch.sums[turn & 1][threadIdx.x / 32] = sum;
    __syncthreads();
    sum = 0;
#pragma unroll
    for (int w = 0; w < kSelectThreads / 32; ++w) sum += scratch.sums[turn & 1][w];
    return sum;
  }

  // At most the k-th largest entry, to 16 bits, if the threads' own maxima tell; else 1, which every entry reaches.
  __device__ uint64_t quick_bound(uint32_t k) const {
    if (k > kSelectThreads) return 1;
    const uint64_t best = largest();
    uint64_t bound = 0;
    for (int bit = 63; bit >= 48; --bit) {
      const uint64_t trial = bound | uint64_t{1} << bit;
      if (static_cast<uint32_t>(__syncthreads_count(best >= trial)) >= k) bound = trial;
    }
    return bound > 0 ? bound : 1;
  }

  // The k-th largest entry, or 1 if there are no more than k.
  __device__ uint64_t exact_bound(uint32_t k, SelectScratch& scratch) const {
    if (count(1, scratch, 0) <= k) return 1;
    uint64_t bound = 0;
    for (int bit = 63; bit >= 0; --bit) {
      const uint64_t trial = bound | uint64_t{1} << bit;
      const uint32_t reached = count(trial, scratch, bit);
      if (reached >= k) bound = trial;
      if (reached == k) break;
    }
    return bound;
  }
};

template <spf_scalar_type T>
__device__ void read_logits(const TreeArgs& args, const cuda::scalar_t<T>* logits, Window window, int32_t group,
                            Entries& entries) {
  using namespace spf::cuda;
  constexpr int kElements = kChunkElements<T>, kChunks = kSelectEach / kElements;
  const int64_t begin = static_cast<int64_t>(group) * kSelectEntries, end = args.rows.v;
  const bool vector = on_16_bytes(logits);
  uint4 chunk[kChunks];
#pragma unroll
  for (int c = 0; c < kChunks; ++c) {
    const int64_t at = begin + (static_cast<int64_t>(c) * kSelectThreads + threadIdx.x) * kElements;
    chunk[c] = at < window.end && at + kElements > window.begin ? load_chunk<T>(logits + at, end - at, vector)
                                                                : make_uint4(0, 0, 0, 0);
  }
#pragma unroll
  for (int c = 0; c < kChunks; ++c) {
    const int64_t at = begin + (static_cast<int64_t>(c) * kSelectThreads + threadIdx.x) * kElements;
    float v[kElements];
    unpack<T>(chunk[c], v);
#pragma unroll
    for (int i = 0; i < kElements; ++i)
      entries.entry[c * kElements + i] =
          at + i >= window.begin && at + i < window.end
              ? static_cast<uint64_t>(value_rank(__float_as_uint(v[i]))) << 32 | static_cast<uint32_t>(~(at + i))
              : 0;
  }
  entries.slots = kSelectEach;
}

// The lists of one group, packed: entry e of the group goes to thread e % kSelectThreads.
__device__ inline void read_lists(const TreeArgs& args, int64_t row, int32_t group, Entries& entries,
                                  SelectScratch& scratch) {
  const int32_t below = args.tree.lists[args.level - 1], first = group * args.tree.group;
  const int32_t lists = min(args.tree.group, below - first);
  const uint32_t* const counts = args.from_counts + row * below + first;
  if (threadIdx.x < 32) { // offsets of the lists, 32 at a time
    uint32_t total = 0;
    for (int32_t base = 0; base < lists; base += 32) {
      const int32_t l = base + static_cast<int32_t>(threadIdx.x);
      const uint32_t mine = l < lists ? counts[l] : 0;
      uint32_t sum = mine;
#pragma unroll
      for (int step = 1; step < 32; step *= 2) {
        const uint32_t other = __shfl_up_sync(0xffffffffu, sum, step);
        if (static_cast<int>(threadIdx.x) >= step) sum += other;
      }
      if (l < lists) scratch.offsets[l] = total + sum - mine;
      total += __shfl_sync(0xffffffffu, sum, 31);
    }
    if (threadIdx.x == 0) scratch.offsets[lists] = total;
  }
  __syncthreads();
  const uint32_t total = scratch.offsets[lists];
  entries.slots = max(1, static_cast<int>((total + kSelectThreads - 1) / kSelectThreads));
  const uint64_t* const from = args.from + (row * below + first) * args.tree.passed;
#pragma unroll
  for (int i = 0; i < kSelectEach; ++i) {
    const uint32_t at = i * kSelectThreads + threadIdx.x;
    entries.entry[i] = 0;
    if (at >= total) continue;
    int32_t low = 0, high = lists; // the last list that begins at or before `at`
    while (high - low > 1) {
      const int32_t middle = (low + high) / 2;
      (scratch.offsets[middle] <= at ? low : high) = middle;
    }
    entries.entry[i] = from[static_cast<int64_t>(low) * args.tree.passed + (at - scratch.offsets[low])];
  }
}

// Passes on what reaches the bound, in any order.
__device__ inline void pass(const Entries& entries, uint64_t bound, uint64_t* to, uint32_t* count,
                            SelectScratch& scratch) {
  if (threadIdx.x == 0) scratch.count = 0;
  __syncthreads();
#pragma unroll
  for (int i = 0; i < kSelectEach; ++i)
    if (entries.entry[i] >= bound) to[atomicAdd(&scratch.count, 1u)] = entries.entry[i];
  __syncthreads();
  if (threadIdx.x == 0 && count != nullptr) *count = scratch.count;
}

// Descending, `size` a power of two.
__device__ inline void sort(uint64_t* list, uint32_t size) {
  for (uint32_t run = 2; run <= size; run *= 2)
    for (uint32_t step = run / 2; step > 0; step /= 2) {
      for (uint32_t pair = threadIdx.x; pair < size / 2; pair += kSelectThreads) {
        const uint32_t a = 2 * pair - (pair & (step - 1)), b = a + step;
        const uint64_t x = list[a], y = list[b];
        if ((x < y) == ((a & run) == 0)) {
          list[a] = y;
          list[b] = x;
        }
      }
      __syncthreads();
    }
}

// --- the tree ------------------------------------------------------------------------------------------------------

template <spf_scalar_type T, bool kFirst>
__global__ void __launch_bounds__(kSelectThreads, 2) select_level(const __grid_constant__ TreeArgs args) {
  using Element = cuda::scalar_t<T>;
  SPF_DYNAMIC_SHARED(uint64_t, best, 8); // of the last block of a row: a power of two, K or more
  __shared__ SelectScratch scratch;
  cuda::launch_dependents();
  cuda::wait_for_primary();
  const int32_t groups = args.tree.lists[args.level];
  const int64_t row = blockIdx.x / static_cast<uint32_t>(groups);
  const auto group = static_cast<int32_t>(blockIdx.x - static_cast<uint32_t>(row) * static_cast<uint32_t>(groups));
  const bool last = args.level + 1 == args.tree.levels;
  const auto k = static_cast<uint32_t>(args.rows.k);
  int64_t at[3];
  args.rows.space.offsets(row, at);
  const Element* const logits = static_cast<const Element*>(args.rows.logits) + at[0];
  const Window window = args.rows.window(row);

  Entries entries;
  if constexpr (kFirst)
    read_logits<T>(args, logits, window, group, entries);
  else
    read_lists(args, row, group, entries, scratch);

  if (!last) {
    uint64_t bound = entries.quick_bound(k);
    if (entries.count(bound, scratch, 1) > static_cast<uint32_t>(args.tree.passed))
      bound = entries.exact_bound(k, scratch);
    const int64_t list = row * groups + group;
    pass(entries, bound, args.to + list * args.tree.passed, args.to_counts + list, scratch);
    return;
  }

  pass(entries, entries.exact_bound(k, scratch), best, nullptr, scratch);
  const uint32_t found = scratch.count;
  const bool by_value = args.rows.values != nullptr;
  for (uint32_t i = threadIdx.x; i < static_cast<uint32_t>(args.tree.sorted); i += kSelectThreads)
    best[i] = i >= found ? 0 : by_value ? best[i] : best[i] << 32 | best[i] >> 32; // inverted indices descend
  __syncthreads();
  sort(best, static_cast<uint32_t>(args.tree.sorted));
  for (uint32_t i = threadIdx.x; i < k; i += kSelectThreads) {
    const auto index = static_cast<uint32_t>(~(by_value ? best[i] : best[i] >> 32));
    args.rows.write_index(at[1] + i, i < found ? static_cast<int64_t>(index) - window.begin : -1);
    if (by_value)
      static_cast<Element*>(args.rows.values)[at[2] + i] =
          i < found ? logits[index] : cuda::Scalar<T>::narrow(-INFINITY);
  }
}

template <spf_scalar_type T>
spf_status launch_select(const Call& call, const LaunchContext& ctx) {
  TreeArgs args;
  args.rows = select_args(call);
  if (args.rows.k == 0) return SPF_OK;
  const int64_t rows = args.rows.space.rows;
  args.tree = select_tree(args.rows.v, args.rows.k);
  // Two halves of the workspace take turns: a level reads what the one below it wrote.
  char* const halves[2] = {static_cast<char*>(ctx.workspace),
                           static_cast<char*>(ctx.workspace) + args.tree.half_bytes(rows)};
  spf_status status = SPF_OK;
  for (args.level = 0; args.level < args.tree.levels && status == SPF_OK; ++args.level) {
    const int32_t groups = args.tree.lists[args.level];
    const bool last = args.level + 1 == args.tree.levels;
    args.to_counts = reinterpret_cast<uint32_t*>(halves[args.level & 1]);
    args.to = reinterpret_cast<uint64_t*>(halves[args.level & 1] + args.tree.counts_bytes(rows));
    const size_t shared = last ? static_cast<size_t>(args.tree.sorted) * 8 : 0;
    status = cuda::launch(call.problem.op->name, args.level == 0 ? ctx : cuda::following(ctx),
                          args.level == 0 ? select_level<T, true> : select_level<T, false>, rows * groups,
                          kSelectThreads, shared, args);
    args.from = args.to;
    args.from_counts = args.to_counts;
  }
  return status;
}

} // namespace spf::sampling
