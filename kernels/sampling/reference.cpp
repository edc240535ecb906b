// The meaning of the sampling ops, in loops to check by hand. sample works in the integers of definition.h, so every
// implementation gives the same ids; see there for distance, mass and random bits.
//
//   argmax   the first index of the largest logit; a row with a NaN gives 0 and is flagged
//   sample   temperature, then top-k, top-p, min-p, each on what the ones before it left, then one draw:
//     temperature  none, or 0: the argmax, no draw. Otherwise a token's mass is 2^-distance(logit / temperature)
//     top-k        a token stays if fewer than k tokens are strictly nearer: all that tie with the k-th stay
//     top-p        a token stays if the mass strictly nearer is below p times the mass that top-k left (the nearest
//                  always stays): the smallest such set, with all that tie with its last
//     min-p        a token stays if its mass is at least min_p times the largest
//     draw         u = random * (mass that stays) / 2^64; the first index at which the running mass passes u
//   top_k ... of each row's window, the K best entries in the order of select.h
//   apply_penalties  logit = round(r - frequency * count - presence * (count > 0)), where r is the logit, for a token
//   that was
//            seen (in the prompt, or count > 0) divided by the repetition penalty if it is positive, else multiplied
#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include "core/scalar_traits.hpp"
#include "kernels/common/float_types.hpp"
#include "kernels/sampling/args.h"
#include "kernels/sampling/penalties.h"
#include "kernels/sampling/select.h"

namespace spf::sampling {
namespace {

// One row's logits in f32, its largest and its flags.
struct Row {
  std::vector<float> logits;
  int64_t best_index = 0;
  float best = -std::numeric_limits<float>::infinity();
  uint8_t flag = 0;
};

template <spf_scalar_type T>
Row read_row(const LogitArgs& args, int64_t r) {
  Row row;
  int64_t at[1];
  args.space.offsets(r, at);
  for (int64_t i = 0; i < args.v; ++i) {
    const float logit = load<T>(args.logits, at[0] + i);
    row.logits.push_back(logit);
    if (std::isnan(logit)) row.flag |= SPF_ROW_NAN;
    if (logit > row.best) {
      row.best = logit;
      row.best_index = i;
    }
  }
  return row;
}

struct Token {
  uint32_t distance;
  int64_t index;
};

// The largest distance that passes every filter.
uint32_t farthest_kept(const RowRule& rule, const std::vector<Token>& nearest_first) {
  // The tokens of one distance stand or fall together: runs of equal ones, with what is strictly nearer.
  uint64_t total = 0, nearer_count = 0, nearer_mass = 0;
  const auto each_run = [&](auto&& body) {
    nearer_count = nearer_mass = 0;
    for (size_t begin = 0, end = 0; begin < nearest_first.size(); begin = end) {
      const uint32_t distance = nearest_first[begin].distance;
      while (end < nearest_first.size() && nearest_first[end].distance == distance) ++end;
      body(distance, end - begin);
      nearer_count += end - begin;
      nearer_mass += (end - begin) * mass(distance);
    }
  };
  uint32_t by_k = 0, by_p = 0, by_min_p = 0;
  each_run([&](uint32_t distance, uint64_t count) {
    if (nearer_count >= rule.k) return;
    by_k = distance;
    total += count * mass(distance);
  });
  each_run([&](uint32_t distance, uint64_t) {
    if (distance <= by_k && (!rule.limits_mass() || nearer_mass < rule.wanted_mass(total))) by_p = distance;
  });
  each_run([&](uint32_t distance, uint64_t) {
    if (mass(distance) >= rule.least_mass) by_min_p = distance;
  });
  return std::min({by_k, by_p, by_min_p});
}

int64_t draw_token(const SampleArgs& args, const RowRule& rule, const Row& row, int64_t r) {
  std::vector<Token> tokens;
  for (int64_t i = 0; i < args.v; ++i)
    tokens.push_back({distance(row.best, row.logits[static_cast<size_t>(i)], rule.scale), i});
  std::vector<Token> nearest_first = tokens;
  std::stable_sort(nearest_first.begin(), nearest_first.end(),
                   [](const Token& a, const Token& b) { return a.distance < b.distance; });
  const uint32_t farthest = farthest_kept(rule, nearest_first);
  const auto kept_mass = [&](const Token& token) { return token.distance <= farthest ? mass(token.distance) : 0; };
  uint64_t total = 0, running = 0;
  for (const Token& token : tokens) total += kept_mass(token);
  const uint64_t u = args.draw(r, total);
  for (const Token& token : tokens) {
    running += kept_mass(token);
    if (running > u) return token.index;
  }
  return row.best_index; // not reached: u < total
}

template <class Args, class Body>
spf_status each_row(const Call& call, const Args& args, Body&& body) {
  const bool known = with_float_type(call.problem.type("T"), [&](auto type) {
    for (int64_t r = 0; r < args.space.rows; ++r) body(read_row<decltype(type)::value>(args, r), r);
  });
  return known ? SPF_OK : SPF_INVALID_TYPE;
}

} // namespace

spf_status reference_argmax(const Call& call, const LaunchContext&) {
  const LogitArgs args = argmax_args(call);
  return each_row(call, args,
                  [&](const Row& row, int64_t r) { args.answer(r, row.flag != 0 ? 0 : row.best_index, row.flag); });
}

spf_status reference_sample(const Call& call, const LaunchContext&) {
  const SampleArgs args = sample_args(call);
  return each_row(call, args, [&](const Row& row, int64_t r) {
    const RowRule rule = args.rule(r);
    uint8_t flag = row.flag;
    if (row.flag == 0 && std::isinf(row.best) && row.best < 0) flag |= SPF_ROW_EMPTY;
    if (rule.refused) flag |= SPF_ROW_PARAMETER;
    if (flag != 0)
      args.answer(r, 0, flag);
    else
      args.answer(r, rule.greedy ? row.best_index : draw_token(args, rule, row, r), 0);
  });
}

spf_status reference_top_k(const Call& call, const LaunchContext&) {
  const SelectArgs args = select_args(call);
  const bool known = with_float_type(call.problem.type("T"), [&](auto type) {
    constexpr spf_scalar_type T = decltype(type)::value;
    for (int64_t r = 0; r < args.space.rows; ++r) {
      int64_t at[3];
      args.space.offsets(r, at);
      const Window window = args.window(r);
      std::vector<std::pair<uint32_t, int64_t>> best;
      for (int64_t i = window.begin; i < window.end; ++i)
        best.emplace_back(value_rank(std::bit_cast<uint32_t>(load<T>(args.logits, at[0] + i))), i);
      std::stable_sort(best.begin(), best.end(), [](const auto& a, const auto& b) { return a.first > b.first; });
      if (static_cast<int64_t>(best.size()) > args.k) best.resize(static_cast<size_t>(args.k));
      if (args.values == nullptr)
        std::sort(best.begin(), best.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
      for (int64_t i = 0; i < args.k; ++i) {
        const bool exists = i < static_cast<int64_t>(best.size());
        args.write_index(at[1] + i, exists ? best[static_cast<size_t>(i)].second - window.begin : -1);
        if (args.values != nullptr)
          store<T>(args.values, at[2] + i,
                   exists ? load<T>(args.logits, at[0] + best[static_cast<size_t>(i)].second) : -INFINITY);
      }
    }
  });
  return known ? SPF_OK : SPF_INVALID_TYPE;
}

spf_status reference_penalties(const Call& call, const LaunchContext&) {
  const PenaltyArgs args = penalty_args(call);
  const bool known = with_float_type(call.problem.type("T"), [&](auto type) {
    constexpr spf_scalar_type T = decltype(type)::value;
    for (int64_t r = 0; r < args.space.rows; ++r) {
      int64_t at[3];
      args.space.offsets(r, at);
      const RowPenalties row = args.row(r);
      for (int64_t i = 0; i < args.v; ++i) {
        const bool in_prompt = args.prompt != nullptr && args.prompt[at[1] + i] != 0;
        const int32_t count = args.counts != nullptr ? args.counts[at[2] + i] : 0;
        if (in_prompt || count > 0) store<T>(args.logits, at[0] + i, row.apply(load<T>(args.logits, at[0] + i), count));
      }
    }
  });
  return known ? SPF_OK : SPF_INVALID_TYPE;
}

} // namespace spf::sampling
