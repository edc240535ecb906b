// The K best entries of each row's window, in a tree: a block takes up to 8192 entries into registers and passes on
// those that may be among the K best, blocks above it do the same with what they are passed, the last one of a row
// puts them in order.
//
// An entry is one number, its value's rank above its inverted index: no two are equal, so "the K largest" is one set
// and ties need no rule of their own. A block's threshold is found bit by bit, by counting the entries at or above a
// trial. Where K is small, the K-th largest of the threads' own maxima is a lower bound that is found with one
// comparison a thread and bit, and what reaches it is seldom much more than K: blocks below the last pass that on as it
// is, and the last one ranks it by counting, a thread an entry. What a block waits for is barriers, so there are few,
// of few threads, and four blocks a multiprocessor.
#pragma once

#include <algorithm>
#include <type_traits>

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

// Of a row: the ranks of values, 0 for none; indices follow from the place.
template <spf_scalar_type T>
struct RowEntries {
  static constexpr int kElements = cuda::kChunkElements<T>;
  static constexpr int slots = kSelectEach; // how many of them any thread may have
  uint32_t ranks[kSelectEach];
  uint32_t begin; // index of the block's first entry

  __device__ __forceinline__ uint32_t rank(int i) const { return ranks[i]; }
  __device__ __forceinline__ uint64_t entry(int i) const {
    const uint32_t index = begin + (static_cast<uint32_t>(i / kElements * kSelectThreads) + threadIdx.x) * kElements +
                           static_cast<uint32_t>(i % kElements);
    return ranks[i] == 0 ? 0 : static_cast<uint64_t>(ranks[i]) << 32 | ~index;
  }
};

// Of lists.
struct ListEntries {
  uint64_t entries[kSelectEach]; // 0: none
  int slots;

  __device__ __forceinline__ uint32_t rank(int i) const { return static_cast<uint32_t>(entries[i] >> 32); }
  __device__ __forceinline__ uint64_t entry(int i) const { return entries[i]; }
};

// body(i) for a thread's places.
template <class Entries, class Body>
__device__ __forceinline__ void each_slot(const Entries& entries, Body&& body) {
#pragma unroll
  for (int i = 0; i < kSelectEach; ++i)
    if (i < entries.slots) body(i);
}

// Of a thread's entries, how many are at or above a bound.
template <class Entries>
__device__ __forceinline__ uint32_t count_own(const Entries& entries, uint64_t bound) {
  uint32_t sum = 0;
  const auto high = static_cast<uint32_t>(bound >> 32);
  if (static_cast<uint32_t>(bound) == 0)
    each_slot(entries, [&](int i) { sum += entries.rank(i) >= high ? 1 : 0; });
  else
    each_slot(entries, [&](int i) { sum += entries.entry(i) >= bound ? 1 : 0; });
  return sum;
}

// The same of the block. `turn` alternates the scratch, so that one barrier a call is enough.
template <class Entries>
__device__ uint32_t count(const Entries& entries, uint64_t bound, SelectScratch& scratch, int turn) {
  uint32_t sum = count_own(entries, bound);
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  sum = __reduce_add_sync(0xffffffffu, sum);
#else
#pragma unroll
  for (int step = 16; step > 0; step /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, step);
#endif
  if (threadIdx.x % 32 == 0) scratch.sums[turn & 1][threadIdx.x / 32] = sum;
  __syncthreads();
  sum = 0;
#pragma unroll
  for (int w = 0; w < kSelectThreads / 32; ++w) sum += scratch.sums[turn & 1][w];
  return sum;
}

// A rank that the k-th largest entry reaches, close to it if the threads' own maxima tell; else 1, which all reach.
template <class Entries>
__device__ uint32_t quick_bound(const Entries& entries, uint32_t k) {
  if (k > kSelectThreads) return 1;
  uint32_t largest = 0, bound = 0;
  each_slot(entries, [&](int i) { largest = max(largest, entries.rank(i)); });
  for (int bit = 31; bit >= 8; --bit) {
    const uint32_t trial = bound | 1u << bit;
    const auto reached = static_cast<uint32_t>(__syncthreads_count(largest >= trial));
    if (reached >= k) bound = trial;
    if (reached >= k && reached <= k + k / 4) break;
  }
  return bound > 0 ? bound : 1;
}

// The k-th largest entry, or 1 if there are no more than k.
template <class Entries>
__device__ uint64_t exact_bound(const Entries& entries, uint32_t k, SelectScratch& scratch) {
  if (count(entries, 1, scratch, 0) <= k) return 1;
  uint64_t bound = 0;
  for (int bit = 63; bit >= 0; --bit) {
    const uint64_t trial = bound | uint64_t{1} << bit;
    const uint32_t reached = count(entries, trial, scratch, bit);
    if (reached >= k) bound = trial;
    if (reached == k) break;
  }
  return bound;
}

// A block's part of a row.
template <spf_scalar_type T>
__device__ __forceinline__ void read_logits(const TreeArgs& args, const cuda::scalar_t<T>* logits, Window window,
                                            int32_t group, RowEntries<T>& entries) {
  using namespace spf::cuda;
  constexpr int kElements = kChunkElements<T>, kChunks = kSelectEach / kElements;
  const int64_t begin = static_cast<int64_t>(group) * kSelectEntries, end = args.rows.v;
  entries.begin = static_cast<uint32_t>(begin);
  const bool vector = on_16_bytes(logits), whole = begin >= window.begin && begin + kSelectEntries <= window.end;
  uint4 chunk[kChunks];
  if (whole && vector) {
#pragma unroll
    for (int c = 0; c < kChunks; ++c)
      chunk[c] = load16(logits + begin + (static_cast<int64_t>(c) * kSelectThreads + threadIdx.x) * kElements);
  } else {
#pragma unroll
    for (int c = 0; c < kChunks; ++c) {
      const int64_t at = begin + (static_cast<int64_t>(c) * kSelectThreads + threadIdx.x) * kElements;
      chunk[c] = at < window.end && at + kElements > window.begin ? load_chunk<T>(logits + at, end - at, vector)
                                                                  : make_uint4(0, 0, 0, 0);
    }
  }
#pragma unroll
  for (int c = 0; c < kChunks; ++c) {
    float v[kElements];
    unpack<T>(chunk[c], v);
#pragma unroll
    for (int i = 0; i < kElements; ++i) entries.ranks[c * kElements + i] = value_rank(__float_as_uint(v[i]));
  }
  if (whole) return;
#pragma unroll
  for (int i = 0; i < kSelectEach; ++i) {
    const int64_t at =
        begin + (static_cast<int64_t>(i / kElements) * kSelectThreads + threadIdx.x) * kElements + i % kElements;
    if (at < window.begin || at >= window.end) entries.ranks[i] = 0;
  }
}

// The lists of one group, packed: entry e of the group goes to thread e % kSelectThreads.
__device__ inline void read_lists(const TreeArgs& args, int64_t row, int32_t group, ListEntries& entries,
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
    entries.entries[i] = 0;
    if (i >= entries.slots || at >= total) continue;
    int32_t low = 0, high = lists; // the last list that begins at or before `at`
    while (high - low > 1) {
      const int32_t middle = (low + high) / 2;
      (scratch.offsets[middle] <= at ? low : high) = middle;
    }
    entries.entries[i] = from[static_cast<int64_t>(low) * args.tree.passed + (at - scratch.offsets[low])];
  }
}

// Passes on what reaches the bound, in any order. Past the barrier at its end, scratch.count is how many.
template <class Entries>
__device__ void pass(const Entries& entries, uint64_t bound, uint64_t* to, SelectScratch& scratch) {
  if (threadIdx.x == 0) scratch.count = 0;
  __syncthreads();
  if (const uint32_t own = count_own(entries, bound); own > 0) {
    uint32_t place = atomicAdd(&scratch.count, own);
    each_slot(entries, [&](int i) {
      if (const uint64_t entry = entries.entry(i); entry >= bound) to[place++] = entry;
    });
  }
  __syncthreads();
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

// Of a thread's own entry among `size` others in shared memory: how many are larger.
__device__ inline uint32_t larger(const uint64_t* list, uint32_t size, uint64_t own) {
  uint32_t sum = 0;
  for (uint32_t i = 0; i < size; ++i) sum += list[i] > own ? 1 : 0;
  return sum;
}

// An entry with value and index changed about: inverted indices descend.
__device__ inline uint64_t swapped(uint64_t entry) { return entry << 32 | entry >> 32; }

// The K best into `best`, in order of value or of index; returns how many there are. best: max(tree.sorted,
// kSelectThreads) long.
template <class Entries>
__device__ uint32_t order(const Entries& entries, const TreeArgs& args, uint64_t* best, SelectScratch& scratch) {
  const auto k = static_cast<uint32_t>(args.rows.k);
  const bool by_value = args.rows.values != nullptr;
  const uint64_t quick = k <= kSelectThreads ? static_cast<uint64_t>(quick_bound(entries, k)) << 32 : 0;
  if (quick != 0 && count(entries, quick, scratch, 1) <= kSelectThreads) { // few: ranks by counting
    pass(entries, quick, best, scratch);
    const uint32_t passed = scratch.count, found = min(passed, k), own = threadIdx.x;
    uint64_t entry = own < passed ? best[own] : 0;
    uint32_t place = own < passed ? larger(best, passed, entry) : k;
    __syncthreads();
    if (!by_value) {
      if (place < k) best[place] = swapped(entry);
      __syncthreads();
      entry = own < found ? best[own] : 0;
      place = own < found ? larger(best, found, entry) : k;
      __syncthreads();
    }
    if (place < k) best[place] = entry;
    __syncthreads();
    return found;
  }
  pass(entries, exact_bound(entries, k, scratch), best, scratch);
  const uint32_t found = scratch.count;
  for (uint32_t i = threadIdx.x; i < static_cast<uint32_t>(args.tree.sorted); i += kSelectThreads)
    best[i] = i >= found ? 0 : by_value ? best[i] : swapped(best[i]);
  __syncthreads();
  sort(best, static_cast<uint32_t>(args.tree.sorted));
  return found;
}

// --- the tree ------------------------------------------------------------------------------------------------------

template <spf_scalar_type T, bool kFirst, bool kLast>
__global__ void __launch_bounds__(kSelectThreads, kFirst && !kLast ? 4 : 2)
    select_level(const __grid_constant__ TreeArgs args) {
  using Element = cuda::scalar_t<T>;
  SPF_DYNAMIC_SHARED(uint64_t, best, 8); // of the last block of a row: a power of two, K or more
  __shared__ SelectScratch scratch;
  cuda::launch_dependents();
  cuda::wait_for_primary();
  const int32_t groups = args.tree.lists[args.level];
  const int64_t row = blockIdx.x / static_cast<uint32_t>(groups);
  const auto group = static_cast<int32_t>(blockIdx.x - static_cast<uint32_t>(row) * static_cast<uint32_t>(groups));
  const auto k = static_cast<uint32_t>(args.rows.k);
  int64_t at[3];
  args.rows.space.offsets(row, at);
  const Element* const logits = static_cast<const Element*>(args.rows.logits) + at[0];
  const Window window = args.rows.window(row);

  std::conditional_t<kFirst, RowEntries<T>, ListEntries> entries;
  if constexpr (kFirst)
    read_logits<T>(args, logits, window, group, entries);
  else
    read_lists(args, row, group, entries, scratch);

  if constexpr (!kLast) {
    uint64_t bound = static_cast<uint64_t>(quick_bound(entries, k)) << 32;
    if (count(entries, bound, scratch, 1) > static_cast<uint32_t>(args.tree.passed))
      bound = exact_bound(entries, k, scratch);
    const int64_t list = row * groups + group;
    pass(entries, bound, args.to + list * args.tree.passed, scratch);
    if (threadIdx.x == 0) args.to_counts[list] = scratch.count;
    return;
  }

  const uint32_t found = order(entries, args, best, scratch);
  const bool by_value = args.rows.values != nullptr;
  for (uint32_t i = threadIdx.x; i < k; i += kSelectThreads) {
    const auto index = static_cast<uint32_t>(~(by_value ? best[i] : best[i] >> 32));
    args.rows.write_index(at[1] + i, i < found ? static_cast<int64_t>(index) - window.begin : -1);
    if (by_value)
      static_cast<Element*>(args.rows.values)[at[2] + i] =
          i < found ? logits[index] : cuda::Scalar<T>::narrow(-INFINITY);
  }
}

template <spf_scalar_type T>
spf_status launch_tree(const char* op, const SelectArgs& rows_of, const LaunchContext& ctx) {
  TreeArgs args;
  args.rows = rows_of;
  if (args.rows.k == 0) return SPF_OK;
  const int64_t rows = args.rows.space.rows;
  args.tree = select_tree(args.rows.v, args.rows.k);
  // Two halves of the workspace take turns: a level reads what the one below it wrote.
  char* const halves[2] = {static_cast<char*>(ctx.workspace),
                           static_cast<char*>(ctx.workspace) + args.tree.half_bytes(rows)};
  const auto kernel_of = [&](bool last) {
    if (args.level == 0) return last ? select_level<T, true, true> : select_level<T, true, false>;
    return last ? select_level<T, false, true> : select_level<T, false, false>;
  };
  spf_status status = SPF_OK;
  for (args.level = 0; args.level < args.tree.levels && status == SPF_OK; ++args.level) {
    const int32_t groups = args.tree.lists[args.level];
    const bool last = args.level + 1 == args.tree.levels;
    args.to_counts = reinterpret_cast<uint32_t*>(halves[args.level & 1]);
    args.to = reinterpret_cast<uint64_t*>(halves[args.level & 1] + args.tree.counts_bytes(rows));
    const size_t shared = last ? static_cast<size_t>(std::max(args.tree.sorted, kSelectThreads)) * 8 : 0;
    status = cuda::launch(op, args.level == 0 ? ctx : cuda::following(ctx), kernel_of(last), rows * groups,
                          kSelectThreads, shared, args);
    args.from = args.to;
    args.from_counts = args.to_counts;
  }
  return status;
}

template <spf_scalar_type T>
spf_status launch_select(const Call& call, const LaunchContext& ctx) {
  return launch_tree<T>(call.problem.op->name, select_args(call), ctx);
}

} // namespace spf::sampling
