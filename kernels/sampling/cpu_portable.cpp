// argmax and sample on any CPU, a row a thread. sample finds the borders of top-k and top-p without sorting: a
// histogram of the distances' upper ten bits, then of the next ten in the one bin that holds the border, then of the
// last.
#include <algorithm>
#include <bit>
#include <limits>

#include "core/scalar_traits.hpp"
#include "kernels/common/float_types.hpp"
#include "kernels/sampling/args.h"
#include "kernels/sampling/policy.hpp"

namespace spf::sampling {
namespace {

struct Best {
  float value = -std::numeric_limits<float>::infinity();
  uint8_t flag = 0;
};

// The largest logit, as integers so that the compiler may use vectors: the order of floats is that of their bits, the
// magnitude of negative ones inverted. NaNs are counted apart.
template <spf_scalar_type T>
Best best_of(const void* logits, int64_t v) {
  int32_t best = std::numeric_limits<int32_t>::min(), nan = 0;
  for (int64_t i = 0; i < v; ++i) {
    const int32_t bits = std::bit_cast<int32_t>(load<T>(logits, i));
    const int32_t ordered = bits ^ ((bits >> 31) & 0x7fffffff);
    best = ordered > best ? ordered : best;
    nan |= (bits & 0x7fffffff) > 0x7f800000 ? 1 : 0;
  }
  Best result;
  if (nan != 0) result.flag = SPF_ROW_NAN;
  if (v > 0 && nan == 0) result.value = std::bit_cast<float>(best ^ ((best >> 31) & 0x7fffffff));
  return result;
}

template <spf_scalar_type T>
int64_t first_equal(const void* logits, int64_t v, float value) {
  for (int64_t i = 0; i < v; ++i)
    if (load<T>(logits, i) == value) return i;
  return 0;
}

// One row's distances, and the filters over them.
class Distances {
 public:
  template <spf_scalar_type T>
  Distances(TypeTag<T>, uint32_t* room, const void* logits, int64_t v, float best, float scale) : at_(room), v_(v) {
    for (int64_t i = 0; i < v; ++i) at_[i] = distance(best, load<T>(logits, i), scale);
  }
  Distances(const Distances&) = delete;

  uint64_t mass_within(uint32_t farthest) const {
    uint64_t total = 0;
    for (int64_t i = 0; i < v_; ++i)
      if (at_[i] <= farthest) total += mass(at_[i]);
    return total;
  }

  // The largest distance up to `most` before which there is less than `limit`, in tokens or in mass.
  template <class Weight>
  uint32_t border(uint32_t most, uint64_t limit, Weight&& weight) const {
    uint64_t before = 0;
    uint32_t prefix = 0;
    for (int shift = 2 * kBinBits; shift >= 0; shift -= kBinBits) {
      uint64_t bins[1 << kBinBits] = {};
      for (int64_t i = 0; i < v_; ++i)
        if (at_[i] <= most && at_[i] >> (shift + kBinBits) == prefix)
          bins[at_[i] >> shift & ((1u << kBinBits) - 1)] += weight(at_[i]);
      uint32_t bin = 0;
      uint64_t next = before;
      for (uint32_t b = 0; b < 1u << kBinBits && next < limit; ++b) {
        if (bins[b] == 0) continue;
        bin = b;
        before = next;
        next += bins[b];
      }
      prefix = prefix << kBinBits | bin;
      if (next <= limit) return std::min(most, ((prefix + 1) << shift) - 1); // the whole bin stays
    }
    return prefix;
  }

  uint32_t farthest_kept(const RowRule& rule) const {
    uint32_t farthest = kFarthest - 1; // beyond, tokens have no mass
    if (rule.limits_count()) farthest = border(farthest, rule.k, [](uint32_t) { return uint64_t{1}; });
    if (rule.limits_mass()) farthest = border(farthest, rule.wanted_mass(mass_within(farthest)), mass);
    return std::min(farthest, rule.farthest_of_mass());
  }

  // The first index at which the mass of what is within `farthest` passes u.
  int64_t find(uint32_t farthest, uint64_t u) const {
    uint64_t running = 0;
    for (int64_t i = 0; i < v_; ++i) {
      if (at_[i] > farthest) continue;
      running += mass(at_[i]);
      if (running > u) return i;
    }
    return 0; // not reached: u is below the sum
  }

 private:
  static constexpr int kBinBits = 10;

  uint32_t* at_;
  int64_t v_;
};

template <spf_scalar_type T>
const void* logits_of(const LogitArgs& args, int64_t row) {
  int64_t at[1];
  args.space.offsets(row, at);
  return static_cast<const char*>(args.logits) + at[0] * static_cast<int64_t>(sizeof(storage_t<T>));
}

template <spf_scalar_type T>
void argmax_row(const LogitArgs& args, int64_t row) {
  const void* const logits = logits_of<T>(args, row);
  const Best best = best_of<T>(logits, args.v);
  args.answer(row, best.flag != 0 ? 0 : first_equal<T>(logits, args.v, best.value), best.flag);
}

template <spf_scalar_type T>
void sample_row(const SampleArgs& args, int64_t row, uint32_t* room) {
  const void* const logits = logits_of<T>(args, row);
  const RowRule rule = args.rule(row);
  Best best = best_of<T>(logits, args.v);
  if (best.flag == 0 && best.value == -std::numeric_limits<float>::infinity()) best.flag |= SPF_ROW_EMPTY;
  if (rule.refused) best.flag |= SPF_ROW_PARAMETER;
  if (best.flag != 0) return args.answer(row, 0, best.flag);
  if (rule.greedy) return args.answer(row, first_equal<T>(logits, args.v, best.value), 0);
  const Distances distances(TypeTag<T>{}, room, logits, args.v, best.value, rule.scale);
  const uint32_t farthest = distances.farthest_kept(rule);
  args.answer(row, distances.find(farthest, args.draw(row, distances.mass_within(farthest))), 0);
}

} // namespace

spf_status portable_argmax(const Call& call, const LaunchContext& ctx) {
  const LogitArgs args = argmax_args(call);
  [[maybe_unused]] const bool worth = args.space.rows > 1 && args.space.rows * args.v > 32768;
  const bool known = with_float_type(call.problem.type("T"), [&](auto type) {
#pragma omp parallel for schedule(static) num_threads(ctx.threads) if (worth)
    for (int64_t r = 0; r < args.space.rows; ++r) argmax_row<decltype(type)::value>(args, r);
  });
  return known ? SPF_OK : SPF_INVALID_TYPE;
}

spf_status portable_sample(const Call& call, const LaunchContext& ctx) {
  const SampleArgs args = sample_args(call);
  auto* const room = static_cast<uint32_t*>(ctx.workspace);
  const auto slots = static_cast<int>(std::min<int64_t>(ctx.threads, row_threads(args.space.rows, *ctx.facts)));
  const bool known = with_float_type(call.problem.type("T"), [&](auto type) {
#pragma omp parallel for schedule(static) num_threads(slots)
    for (int slot = 0; slot < slots; ++slot)
      for (int64_t r = slot; r < args.space.rows; r += slots)
        sample_row<decltype(type)::value>(args, r, room + slot * args.v);
  });
  return known ? SPF_OK : SPF_INVALID_TYPE;
}

} // namespace spf::sampling
