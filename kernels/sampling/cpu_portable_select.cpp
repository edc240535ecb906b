// The top-k ops and apply_penalties on any CPU, a row a thread. The rank of the K-th best entry is found by histograms
// of the ranks, eleven bits at a time; what lies above it, and as many as are left of those that equal it, is taken in
// order.
#include <algorithm>
#include <bit>
#include <functional>
#include <limits>

#include "core/scalar_traits.hpp"
#include "kernels/common/float_types.hpp"
#include "kernels/sampling/penalties.h"
#include "kernels/sampling/policy.hpp"
#include "kernels/sampling/select.h"

namespace spf::sampling {
namespace {

// The rank of the k-th best, and how many entries of that very rank belong to the k best.
struct Threshold {
  uint32_t rank = 0;
  int64_t equal = 0;
};

// each(body) calls body(rank) for more than k >= 1 entries.
template <class Each>
Threshold threshold_of(int64_t k, Each&& each) {
  uint32_t prefix = 0;
  int64_t left = k; // of the entries that share the prefix
  int above = 32;   // bits below the prefix
  for (int bits : {11, 11, 10}) {
    uint32_t bins[1 << 11] = {};
    const int shift = above - bits;
    each([&](uint32_t rank) {
      if (above == 32 || rank >> above == prefix) ++bins[rank >> shift & ((1u << bits) - 1)];
    });
    uint32_t bin = (1u << bits) - 1;
    for (; bins[bin] < left; --bin) left -= bins[bin];
    prefix = above == 32 ? bin : prefix << bits | bin;
    above = shift;
  }
  return {prefix, left};
}

// room: K entries, for ops that return values.
template <spf_scalar_type T>
void select_row(const SelectArgs& args, int64_t row, uint64_t* room) {
  int64_t at[3];
  args.space.offsets(row, at);
  const Window window = args.window(row);
  const auto rank_of = [&](int64_t i) { return value_rank(std::bit_cast<uint32_t>(load<T>(args.logits, at[0] + i))); };
  Threshold threshold{0, args.k};
  if (window.end - window.begin > args.k)
    threshold = threshold_of(args.k, [&](auto&& body) {
      for (int64_t i = window.begin; i < window.end; ++i) body(rank_of(i));
    });
  int64_t taken = 0;
  for (int64_t i = window.begin; i < window.end && taken < args.k; ++i) {
    const uint32_t rank = rank_of(i);
    if (rank < threshold.rank || (rank == threshold.rank && threshold.equal == 0)) continue;
    if (rank == threshold.rank) --threshold.equal;
    if (args.values != nullptr)
      room[taken++] = static_cast<uint64_t>(rank) << 32 | static_cast<uint32_t>(~i);
    else
      args.write_index(at[1] + taken++, i - window.begin);
  }
  if (args.values != nullptr) {
    std::sort(room, room + taken, std::greater<>());
    for (int64_t j = 0; j < taken; ++j) {
      const auto i = static_cast<int64_t>(static_cast<uint32_t>(~room[j]));
      args.write_index(at[1] + j, i - window.begin);
      store<T>(args.values, at[2] + j, load<T>(args.logits, at[0] + i));
    }
  }
  for (int64_t j = taken; j < args.k; ++j) {
    args.write_index(at[1] + j, -1);
    if (args.values != nullptr) store<T>(args.values, at[2] + j, -std::numeric_limits<float>::infinity());
  }
}

template <spf_scalar_type T>
void penalize_row(const PenaltyArgs& args, int64_t r) {
  int64_t at[3];
  args.space.offsets(r, at);
  const RowPenalties row = args.row(r);
  for (int64_t i = 0; i < args.v; ++i) {
    const int32_t count = args.counts != nullptr ? args.counts[at[2] + i] : 0;
    if (count > 0 || (args.prompt != nullptr && args.prompt[at[1] + i] != 0))
      store<T>(args.logits, at[0] + i, row.apply(load<T>(args.logits, at[0] + i), count));
  }
}

} // namespace

spf_status portable_select(const Call& call, const LaunchContext& ctx) {
  const SelectArgs args = select_args(call);
  if (args.k == 0) return SPF_OK;
  auto* const room = static_cast<uint64_t*>(ctx.workspace);
  const auto slots = static_cast<int>(std::min<int64_t>(ctx.threads, row_threads(args.space.rows, *ctx.facts)));
  const bool known = with_float_type(call.problem.type("T"), [&](auto type) {
#pragma omp parallel for schedule(static) num_threads(slots)
    for (int slot = 0; slot < slots; ++slot)
      for (int64_t r = slot; r < args.space.rows; r += slots)
        select_row<decltype(type)::value>(args, r, room + slot * args.k);
  });
  return known ? SPF_OK : SPF_INVALID_TYPE;
}

spf_status portable_penalties(const Call& call, const LaunchContext& ctx) {
  const PenaltyArgs args = penalty_args(call);
  [[maybe_unused]] const bool worth = args.space.rows > 1 && args.space.rows * args.v > 32768;
  const bool known = with_float_type(call.problem.type("T"), [&](auto type) {
#pragma omp parallel for schedule(static) num_threads(ctx.threads) if (worth)
    for (int64_t r = 0; r < args.space.rows; ++r) penalize_row<decltype(type)::value>(args, r);
  });
  return known ? SPF_OK : SPF_INVALID_TYPE;
}

} // namespace spf::sampling
