// sample without sorting, in steps over the parts of each row. The logits come from memory once; later steps find
// them in L2 as long as the batch fits. All sums are of integers, so atomics and the order of blocks change nothing.
//
//   best       largest logit of each part; the row's parameters turned into a RowRule
//   histogram  tokens and mass by distance in bins of a sixteenth of an octave. The last block of a row looks where the
//              borders of top-k and top-p fall
//   refine     distances in the bins with a border are listed; the last block narrows them down, ten bits at a time
//   draw       mass that stays, by part
//   pick       the draw, the part that it falls into, and the token; a row a block
//
// A step whose answer is known already ends at once, and rows without top-k and top-p skip the two in the middle.
#pragma once

#include "kernels/sampling/row_part.cuh"

namespace spf::sampling {

struct HistogramArgs {
  SampleArgs rows;
  Parts parts;
  char* workspace = nullptr;
  SampleWorkspace at;

  SPF_HOST_DEVICE uint64_t* best(int64_t row) const { return words(at.best) + row * parts.count; }
  SPF_HOST_DEVICE uint64_t* masses(int64_t row) const { return words(at.masses) + row * parts.count; }
  SPF_HOST_DEVICE uint64_t* bins(int64_t row) const { return words(at.bins) + row * kBins; }
  SPF_HOST_DEVICE uint32_t* counts(int64_t row) const {
    return reinterpret_cast<uint32_t*>(workspace + at.counts) + row * kBins;
  }
  SPF_HOST_DEVICE uint32_t* list(int64_t row) const {
    return reinterpret_cast<uint32_t*>(workspace + at.list) + row * kListed;
  }
  SPF_HOST_DEVICE RowState* state(int64_t row) const {
    return reinterpret_cast<RowState*>(workspace + at.states) + row;
  }

 private:
  SPF_HOST_DEVICE uint64_t* words(int64_t offset) const { return reinterpret_cast<uint64_t*>(workspace + offset); }
};

__device__ inline void add(uint64_t* to, uint64_t value) {
  atomicAdd(reinterpret_cast<unsigned long long*>(to), static_cast<unsigned long long>(value));
}

// A row's answer that needs no draw: a flag, or the argmax.
__device__ inline bool is_settled(const RowRule& rule, const RowBest& best, uint8_t* flag) {
  *flag = best.flag;
  if (best.flag == 0 && best.logit == -INFINITY) *flag |= SPF_ROW_EMPTY;
  if (rule.refused) *flag |= SPF_ROW_PARAMETER;
  return *flag != 0 || rule.greedy;
}

// --- best ----------------------------------------------------------------------------------------------------------

template <spf_scalar_type T>
__global__ void __launch_bounds__(kPartThreads) sample_best(const __grid_constant__ HistogramArgs args) {
  __shared__ BlockScratch scratch;
  cuda::launch_dependents();
  cuda::wait_for_primary();
  const RowPart<T> part(args.rows, args.parts);
  if (part.part == 0) {
    for (uint32_t b = threadIdx.x; b < kBins; b += kPartThreads) {
      args.bins(part.row)[b] = 0;
      args.counts(part.row)[b] = 0;
    }
    if (threadIdx.x == 0) {
      RowState state;
      state.rule = args.rows.rule(part.row);
      state.by_min_p = state.rule.least_mass > 1 ? state.rule.farthest_of_mass() : kFarthest - 1;
      state.farthest = kFarthest - 1;
      *args.state(part.row) = state;
    }
  }
  const uint64_t best = best_of_part(part, scratch);
  if (threadIdx.x == 0) args.best(part.row)[part.part] = best;
}

// --- bins in shared memory -----------------------------------------------------------------------------------------

inline constexpr uint32_t kFineBins = 1024;
static_assert(kBins <= kFineBins);

// Tokens and mass by bin. A mass is added as two words: 64-bit atomics on shared memory are loops.
struct Bins {
  uint32_t count[kFineBins], low[kFineBins], high[kFineBins];

  __device__ void clear() {
    for (uint32_t b = threadIdx.x; b < kFineBins; b += kPartThreads) count[b] = low[b] = high[b] = 0;
    __syncthreads();
  }
  __device__ void add_token(uint32_t bin) { atomicAdd(&count[bin], 1u); }
  __device__ void add_mass(uint32_t bin, uint64_t value) {
    const auto word = static_cast<uint32_t>(value);
    const uint32_t before = atomicAdd(&low[bin], word);
    const uint32_t carried = static_cast<uint32_t>(value >> 32) + (before + word < before ? 1 : 0);
    if (carried != 0) atomicAdd(&high[bin], carried);
  }
  __device__ uint64_t mass_of(uint32_t bin) const { return static_cast<uint64_t>(high[bin]) << 32 | low[bin]; }
};

// Where a sum over bins reaches a limit: the bin before which there is less than that, and with which there is not.
struct Border {
  uint32_t bin; // kFineBins: the sum of all stays below the limit
  uint64_t before, weight, total;
};

template <class WeightOf>
__device__ Border find_border(uint64_t limit, uint64_t before, WeightOf&& weight_of, BlockScratch& scratch) {
  constexpr uint32_t kEach = kFineBins / kPartThreads;
  uint64_t weights[kEach], sum = 0;
#pragma unroll
  for (uint32_t i = 0; i < kEach; ++i) sum += weights[i] = weight_of(threadIdx.x * kEach + i);
  if (threadIdx.x == 0) scratch.shared[0] = kFineBins;
  const Prefix prefix = block_prefix(sum, scratch); // its barriers order the line above
  before += prefix.before;
#pragma unroll
  for (uint32_t i = 0; i < kEach; ++i) {
    if (before < limit && before + weights[i] >= limit) {
      scratch.shared[0] = threadIdx.x * kEach + i;
      scratch.shared[1] = before;
      scratch.shared[2] = weights[i];
    }
    before += weights[i];
  }
  __syncthreads();
  const Border border{static_cast<uint32_t>(scratch.shared[0]), scratch.shared[1], scratch.shared[2], prefix.total};
  __syncthreads();
  return border;
}

// --- histogram -----------------------------------------------------------------------------------------------------

// The last block of a row: what the bins say of the borders. Bins are those of all parts.
__device__ inline void look_for_borders(const HistogramArgs& args, int64_t row, RowState& state,
                                        BlockScratch& scratch) {
  const uint32_t* const counts = args.counts(row);
  const uint64_t* const bins = args.bins(row);
  const auto count_of = [&](uint32_t b) { return b < kBins ? uint64_t{__ldcg(counts + b)} : 0; };
  const auto mass_of = [&](uint32_t b) {
    return b < kBins ? __ldcg(reinterpret_cast<const unsigned long long*>(bins) + b) : 0;
  };
  const RowRule rule = state.rule;
  uint32_t k_bin = kBins, k_farthest = kFarthest - 1;
  uint64_t k_before = 0;
  if (rule.limits_count()) {
    const Border border = find_border(rule.k, 0, count_of, scratch);
    if (border.bin != kFineBins) {
      k_farthest = ((border.bin + 1) << 20) - 1;
      if (border.before + border.weight > rule.k) {
        k_bin = border.bin;
        k_before = border.before;
      }
    }
  }
  uint32_t p_first = kBins, p_last = 0, farthest = k_farthest;
  if (rule.limits_mass()) {
    // Top-p counts the mass that top-k leaves: of the open bin, none to all.
    const uint32_t last = k_farthest >> 20;
    uint64_t least = 0, most = 0;
    for (uint32_t b = threadIdx.x; b <= last && b < kBins; b += kPartThreads) {
      most += mass_of(b);
      if (b != k_bin) least += mass_of(b);
    }
    most = block_prefix(most, scratch).total;
    least = block_prefix(least, scratch).total;
    const Border near = find_border(rule.wanted_mass(least), 0, mass_of, scratch);
    const Border far = find_border(rule.wanted_mass(most), 0, mass_of, scratch);
    p_first = near.bin;
    p_last = far.bin;
    if (p_first == p_last && k_bin == kBins && far.before + far.weight <= rule.wanted_mass(most)) {
      farthest = min(farthest, ((p_last + 1) << 20) - 1); // all of that bin stays
      p_first = kBins;
      p_last = 0;
    }
  }
  if (threadIdx.x != 0) return;
  state.farthest = farthest;
  state.k_bin = k_bin;
  state.k_farthest = k_farthest;
  state.k_before = k_before;
  state.p_first = p_first;
  state.p_last = p_last;
}

// At most the k-th largest logit of the part: nearly the k-th largest of its threads' own maxima, of which at least k
// reach it.
template <spf_scalar_type T>
__device__ float kth_of_maxima(const RowPart<T>& part, uint32_t k, float best) {
  float mine = -INFINITY;
  part.each(part.begin, part.end, [&](float logit, int64_t) { mine = fmaxf(mine, logit); });
  // Ever lower bounds, at twice the distance from the best each time, until enough reach one; then halfway back.
  float reached = -INFINITY, missed = best;
  float step = fmaxf(fabsf(best), 1.0f) * 0.0625f;
  for (int i = 0; i < 12 && reached == -INFINITY; ++i, step *= 2) {
    const float trial = best - step;
    if (static_cast<uint32_t>(__syncthreads_count(mine >= trial)) >= k)
      reached = trial;
    else
      missed = trial;
  }
  if (reached == -INFINITY) return reached;
  for (int i = 0; i < 6; ++i) {
    const float trial = 0.5f * (reached + missed);
    const auto count = static_cast<uint32_t>(__syncthreads_count(mine >= trial));
    if (count >= k) reached = trial;
    if (count < k) missed = trial;
    if (count >= k && count <= k + k / 4) break;
  }
  return reached;
}

template <spf_scalar_type T>
__global__ void __launch_bounds__(kPartThreads) sample_histogram(const __grid_constant__ HistogramArgs args) {
  __shared__ BlockScratch scratch;
  __shared__ Bins bins;
  cuda::launch_dependents();
  bins.clear();
  cuda::wait_for_primary();
  const RowPart<T> part(args.rows, args.parts);
  RowState& state = *args.state(part.row);
  const RowRule rule = state.rule;
  const bool counts = rule.limits_count(), weighs = rule.limits_mass();
  if (!counts && !weighs) return;
  const RowBest best = best_of_row(args.best(part.row), args.parts.count, scratch);
  uint8_t flag;
  if (is_settled(rule, best, &flag)) return;

  // Top-k: at least k tokens lie in the bins up to that of the part's k-th, so the row's border does, and what is
  // beyond is of no interest to either filter. Bins up to the border must be complete.
  uint32_t last = kFarthest;
  if (rule.k < kPartThreads) {
    const float kth = kth_of_maxima(part, rule.k, best.logit);
    last = min(last, ((distance(best.logit, kth, rule.scale) >> 20) + 1) << 20);
  }
  const float cut = cut_below(best.logit, last, rule.scale);
  part.each(part.begin, part.end, [&](float logit, int64_t) {
    if (logit < cut) return;
    const uint32_t d = distance(best.logit, logit, rule.scale);
    if (d >= kFarthest) return;
    if (counts) bins.add_token(d >> 20);
    if (weighs) bins.add_mass(d >> 20, mass(d));
  });
  __syncthreads();
  for (uint32_t b = threadIdx.x; b < kBins; b += kPartThreads) {
    if (bins.count[b] != 0) atomicAdd(args.counts(part.row) + b, bins.count[b]);
    if (const uint64_t value = bins.mass_of(b)) add(args.bins(part.row) + b, value);
  }
  if (is_last(&state.arrived[0], args.parts.count, scratch)) look_for_borders(args, part.row, state, scratch);
}

// --- refine --------------------------------------------------------------------------------------------------------

// What refine looks at: the distances in the bins that hold a border.
struct OpenBins {
  uint32_t k_bin, p_first, p_last;

  __device__ explicit OpenBins(const RowState& state)
      : k_bin(state.k_bin), p_first(state.p_first), p_last(state.p_last) {}
  __device__ bool any() const { return k_bin < kBins || p_first <= p_last; }
  __device__ uint32_t last() const { return max(p_last, k_bin < kBins ? k_bin : 0); }
  __device__ bool hold(uint32_t d) const {
    const uint32_t bin = d >> 20;
    return bin == k_bin || (bin >= p_first && bin <= p_last);
  }
};

// The exact border within one first-level bin, in two levels of ten bits. each_open(body) calls body(distance) for
// every distance in the open bins; `before` is what lies before the bin.
template <bool kByMass, class EachOpen>
__device__ uint32_t narrow(uint32_t bin, uint64_t before, uint64_t limit, EachOpen&& each_open, Bins& bins,
                           BlockScratch& scratch) {
  uint32_t prefix = bin;
  for (int shift = 10; shift >= 0; shift -= 10) {
    bins.clear();
    each_open([&](uint32_t d) {
      if (d >> (shift + 10) != prefix) return;
      if constexpr (kByMass)
        bins.add_mass(d >> shift & 1023u, mass(d));
      else
        bins.add_token(d >> shift & 1023u);
    });
    __syncthreads();
    const Border border = find_border(
        limit, before,
        [&](uint32_t b) -> uint64_t {
          if constexpr (kByMass) return bins.mass_of(b);
          return bins.count[b];
        },
        scratch);
    prefix = prefix << 10 | border.bin; // there is one: the limit falls into the bin
    before = border.before;
    if (before + border.weight <= limit) return ((prefix + 1) << shift) - 1;
  }
  return prefix;
}

template <class EachOpen>
__device__ uint32_t refine_borders(const HistogramArgs& args, int64_t row, const RowState& state, EachOpen&& each_open,
                                   Bins& bins, BlockScratch& scratch) {
  const RowRule rule = state.rule;
  uint32_t farthest = state.k_farthest;
  if (state.k_bin < kBins) farthest = narrow<false>(state.k_bin, state.k_before, rule.k, each_open, bins, scratch);
  if (state.p_first > state.p_last) return min(farthest, state.farthest);
  const auto* const masses = reinterpret_cast<const unsigned long long*>(args.bins(row));
  const auto mass_of = [&](uint32_t b) { return b < kBins ? __ldcg(masses + b) : 0; };
  uint64_t kept = 0;
  for (uint32_t b = threadIdx.x; b < kBins && b < farthest >> 20; b += kPartThreads) kept += mass_of(b);
  if (state.k_bin < kBins) {
    each_open([&](uint32_t d) {
      if (d >> 20 == state.k_bin && d <= farthest) kept += mass(d);
    });
  } else if (threadIdx.x == 0) {
    kept += mass_of(farthest >> 20); // whole
  }
  const uint64_t wanted = rule.wanted_mass(block_prefix(kept, scratch).total);
  const Border border = find_border(wanted, 0, mass_of, scratch);
  return min(farthest, narrow<true>(border.bin, border.before, wanted, each_open, bins, scratch));
}

template <spf_scalar_type T>
__global__ void __launch_bounds__(kPartThreads) sample_refine(const __grid_constant__ HistogramArgs args) {
  __shared__ BlockScratch scratch;
  __shared__ Bins bins;
  __shared__ uint32_t found[kListed];
  __shared__ uint32_t found_count, list_at;
  cuda::launch_dependents();
  if (threadIdx.x == 0) found_count = 0;
  cuda::wait_for_primary();
  const RowPart<T> part(args.rows, args.parts);
  RowState& state = *args.state(part.row);
  const OpenBins open(state);
  if (!open.any()) return;
  const RowBest best = best_of_row(args.best(part.row), args.parts.count, scratch);
  const float scale = state.rule.scale;

  const float cut = cut_below(best.logit, (open.last() + 1) << 20, scale);
  part.each(part.begin, part.end, [&](float logit, int64_t) {
    if (logit < cut) return;
    const uint32_t d = distance(best.logit, logit, scale);
    if (!open.hold(d)) return;
    const uint32_t place = atomicAdd(&found_count, 1u);
    if (place < kListed) found[place] = d;
  });
  __syncthreads();
  if (threadIdx.x == 0) list_at = atomicAdd(&state.listed, min(found_count, kListed + 1)); // more: no list any longer
  __syncthreads();
  for (uint32_t i = threadIdx.x; i < found_count && list_at + i < kListed; i += kPartThreads)
    args.list(part.row)[list_at + i] = found[min(i, kListed - 1)];
  if (!is_last(&state.arrived[1], args.parts.count, scratch)) return;

  const uint32_t listed = __ldcg(&state.listed);
  uint32_t farthest;
  if (listed <= kListed) {
    for (uint32_t i = threadIdx.x; i < listed; i += kPartThreads) found[i] = __ldcg(args.list(part.row) + i);
    __syncthreads();
    const auto each_listed = [&](auto&& body) {
      for (uint32_t i = threadIdx.x; i < listed; i += kPartThreads) body(found[i]);
    };
    farthest = refine_borders(args, part.row, state, each_listed, bins, scratch);
  } else {
    const auto each_of_row = [&](auto&& body) {
      part.each(0, args.rows.v, [&](float logit, int64_t) {
        const uint32_t d = distance(best.logit, logit, scale);
        if (open.hold(d)) body(d);
      });
    };
    farthest = refine_borders(args, part.row, state, each_of_row, bins, scratch);
  }
  if (threadIdx.x == 0) state.farthest = farthest;
}

// --- draw ----------------------------------------------------------------------------------------------------------

// Which entries stay, and their masses.
struct Kept {
  float best, scale, cut;
  uint32_t farthest;

  __device__ Kept(const RowState& state, const RowBest& of_row)
      : best(of_row.logit), scale(state.rule.scale), farthest(min(state.farthest, state.by_min_p)) {
    cut = cut_below(best, farthest, scale);
  }
  __device__ __forceinline__ uint64_t mass_of(float logit) const {
    if (logit < cut) return 0;
    const uint32_t d = distance(best, logit, scale);
    return d <= farthest ? mass(d) : 0;
  }
};

template <spf_scalar_type T>
__global__ void __launch_bounds__(kPartThreads) sample_draw(const __grid_constant__ HistogramArgs args) {
  __shared__ BlockScratch scratch;
  cuda::launch_dependents();
  cuda::wait_for_primary();
  const RowPart<T> part(args.rows, args.parts);
  const RowState& state = *args.state(part.row);
  const RowBest best = best_of_row(args.best(part.row), args.parts.count, scratch);
  uint8_t flag;
  if (is_settled(state.rule, best, &flag)) return;
  const Kept kept(state, best);
  uint64_t sum = 0;
  part.each(part.begin, part.end, [&](float logit, int64_t) { sum += kept.mass_of(logit); });
  sum = block_prefix(sum, scratch).total;
  if (threadIdx.x == 0) args.masses(part.row)[part.part] = sum;
}

// --- pick ----------------------------------------------------------------------------------------------------------

inline constexpr int kRuns = 64; // that a range is cut into
inline constexpr int kWarps = kPartThreads / 32, kRunsOfWarp = kRuns / kWarps;

// Which of kRuns sums a running sum passes `within` at, and what is before it. Every warp finds the same.
__device__ inline int find_run(const uint64_t* run_masses, uint64_t within, uint64_t* before) {
  static_assert(kRuns == 64);
  const int lane = static_cast<int>(threadIdx.x % 32);
  const uint64_t first = run_masses[2 * lane], both = first + run_masses[2 * lane + 1];
  uint64_t inclusive = both;
#pragma unroll
  for (int step = 1; step < 32; step *= 2) {
    const uint64_t other = __shfl_up_sync(0xffffffffu, inclusive, step);
    if (lane >= step) inclusive += other;
  }
  const uint64_t exclusive = inclusive - both;
  const bool second = exclusive + first <= within;
  const int at = __ffs(static_cast<int>(__ballot_sync(0xffffffffu, within < inclusive))) - 1; // there is one
  *before = __shfl_sync(0xffffffffu, exclusive + (second ? first : 0), at);
  return 2 * at + __shfl_sync(0xffffffffu, second ? 1 : 0, at);
}

// Calls answer(index) in the thread that finds the entry of [from, to) at which the running mass passes `within`. The
// range is cut into runs, of which each warp adds up a few, until a run is one chunk a lane.
template <spf_scalar_type T, class MassOf, class Answer>
__device__ void find_token(const RowLogits<T>& row, int64_t from, int64_t to, uint64_t within, MassOf&& mass_of,
                           uint64_t* run_masses, Answer&& answer) {
  using namespace spf::cuda;
  constexpr int kElements = kChunkElements<T>;
  constexpr int64_t kLeast = 32 * kElements; // entries of a run
  const bool vector = on_16_bytes(row.logits);
  const int lane = static_cast<int>(threadIdx.x % 32), warp = static_cast<int>(threadIdx.x / 32);
  const auto masses_of = [&](const uint4& chunk, int64_t at, uint64_t(&masses)[kElements]) {
    float v[kElements];
    unpack<T>(chunk, v);
    uint64_t sum = 0;
#pragma unroll
    for (int i = 0; i < kElements; ++i) sum += masses[i] = at + i < to ? mass_of(v[i]) : 0;
    return sum;
  };
  uint64_t masses[kElements], before;
  for (int64_t run = 2 * kLeast; run > kLeast;) {
    run = ((to - from + kRuns - 1) / kRuns + kLeast - 1) / kLeast * kLeast;
    uint64_t sums[kRunsOfWarp] = {};
    // Warps take turns, so that a short range keeps all of them busy; a warp's chunks are asked for at once.
    for (int64_t at = lane * kElements; at < run; at += kLeast) {
      uint4 chunk[kRunsOfWarp];
#pragma unroll
      for (int r = 0; r < kRunsOfWarp; ++r) {
        const int64_t entry = from + (r * kWarps + warp) * run + at;
        chunk[r] = entry < to ? load_chunk<T>(row.logits + entry, to - entry, vector) : make_uint4(0, 0, 0, 0);
      }
#pragma unroll
      for (int r = 0; r < kRunsOfWarp; ++r) {
        const int64_t entry = from + (r * kWarps + warp) * run + at;
        if (entry < to) sums[r] += masses_of(chunk[r], entry, masses);
      }
    }
#pragma unroll
    for (int r = 0; r < kRunsOfWarp; ++r) {
#pragma unroll
      for (int step = 16; step > 0; step /= 2) sums[r] += __shfl_xor_sync(0xffffffffu, sums[r], step);
      if (lane == 0) run_masses[r * kWarps + warp] = sums[r];
    }
    __syncthreads();
    from += find_run(run_masses, within, &before) * run;
    within -= before;
    to = min(to, from + run);
    __syncthreads();
  }
  if (warp != 0) return;
  const int64_t first = from + lane * kElements;
  const uint64_t own = first < to ? masses_of(load_chunk<T>(row.logits + first, to - first, vector), first, masses) : 0;
  uint64_t running = own;
#pragma unroll
  for (int step = 1; step < 32; step *= 2) {
    const uint64_t other = __shfl_up_sync(0xffffffffu, running, step);
    if (lane >= step) running += other;
  }
  running -= own;
  if (!(running <= within && within < running + own)) return;
#pragma unroll
  for (int i = 0; i < kElements; ++i) {
    const bool here = running <= within && within < running + masses[i];
    running += masses[i];
    if (here) answer(first + i);
  }
}

// A row a block.
template <spf_scalar_type T>
__global__ void __launch_bounds__(kPartThreads) sample_pick(const __grid_constant__ HistogramArgs args) {
  __shared__ BlockScratch scratch;
  __shared__ uint64_t run_masses[kRuns];
  cuda::launch_dependents();
  cuda::wait_for_primary();
  const RowLogits<T> logits(args.rows, blockIdx.x);
  const int64_t row = logits.row;
  const RowState& state = *args.state(row);
  const RowBest best = best_of_row(args.best(row), args.parts.count, scratch);
  uint8_t flag;
  if (is_settled(state.rule, best, &flag)) {
    if (threadIdx.x == 0) args.rows.answer(row, flag != 0 ? 0 : best.index, flag);
    return;
  }
  const Kept kept(state, best);
  const uint64_t mine = static_cast<int32_t>(threadIdx.x) < args.parts.count ? args.masses(row)[threadIdx.x] : 0;
  const Prefix by_part = block_prefix(mine, scratch);
  const uint64_t drawn = args.rows.draw(row, by_part.total);
  if (by_part.before <= drawn && drawn < by_part.before + mine) {
    scratch.shared[0] = threadIdx.x;
    scratch.shared[1] = drawn - by_part.before;
  }
  __syncthreads();
  const int64_t begin = static_cast<int64_t>(scratch.shared[0]) * args.parts.length;
  find_token(
      logits, begin, min(begin + args.parts.length, args.rows.v), scratch.shared[1],
      [&](float logit) { return kept.mass_of(logit); }, run_masses,
      [&](int64_t index) { args.rows.answer(row, index, 0); });
}

template <spf_scalar_type T>
spf_status launch_sample(const Call& call, const LaunchContext& ctx) {
  HistogramArgs args;
  args.rows = sample_args(call);
  const int64_t rows = args.rows.space.rows;
  args.parts = row_parts(rows, args.rows.v, ctx.facts->sm_count);
  args.workspace = static_cast<char*>(ctx.workspace);
  args.at = sample_workspace(rows, args.parts);
  const LaunchContext next = cuda::following(ctx);
  spf_status status = SPF_OK;
  const auto step = [&](void (*kernel)(HistogramArgs), int64_t blocks, const LaunchContext& how) {
    if (status == SPF_OK) status = cuda::launch("sample", how, kernel, blocks, kPartThreads, 0, args);
  };
  step(sample_best<T>, args.parts.blocks, ctx);
  if (args.rows.temperature != nullptr && (args.rows.top_k != nullptr || args.rows.top_p != nullptr)) {
    step(sample_histogram<T>, args.parts.blocks, next);
    step(sample_refine<T>, args.parts.blocks, next);
  }
  if (args.rows.temperature != nullptr) step(sample_draw<T>, args.parts.blocks, next);
  step(sample_pick<T>, rows, next);
  return status;
}

} // namespace spf::sampling
