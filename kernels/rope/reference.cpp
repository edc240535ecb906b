// The meaning of the rope ops, in loops to check by hand. Arithmetic is fp64, with one rounding to T at the end.
//
//   for every token at a position p in [0, P), every head x of it, every pair (a, b) of its first R entries, the i-th:
//     x[a], x[b] = x[a] cos[i] - x[b] sin[i],  x[b] cos[i] + x[a] sin[i]     cos = cos_sin[p, i], sin = cos_sin[p, R/2
//     + i]
//   pairs are (i, i + R/2), or (2i, 2i + 1) if interleaved; entries from R on stay.
//   fused_qk_norm_rope first takes x[e] * r * w[e], r = 1 / sqrt(mean(x^2) + epsilon), w = weight or 1 + weight, of all
//   D entries, so all of them are written.
//   rotary_embedding_and_cache then writes key and value, codes as nearest of x / scale, into the slots of the first S
//   tokens, whether they were turned or not.
//   Tokens at other positions, and heads that are neither query nor key, stay as they are.
#include <algorithm>
#include <cmath>
#include <vector>

#include "core/scalar_traits.hpp"
#include "kernels/common/float_types.hpp"
#include "kernels/rope/cache.h"

namespace spf::rope {
namespace {

int64_t position_of(const RopeArgs& args, int64_t at) {
  return args.position_type == SPF_I32 ? static_cast<const int32_t*>(args.positions)[at]
                                       : static_cast<const int64_t*>(args.positions)[at];
}

template <spf_scalar_type T>
void normalize(const RopeArgs& args, const Heads& heads, std::vector<double>& x) {
  double sum = 0;
  for (const double value : x) sum += value * value;
  const double scale = 1.0 / std::sqrt(sum / static_cast<double>(args.size) + args.epsilon);
  for (int64_t e = 0; e < args.size; ++e) {
    const double weight = load<T>(heads.weight, e);
    x[static_cast<size_t>(e)] *= scale * (args.weight_plus_one ? 1.0 + weight : weight);
  }
}

template <spf_scalar_type T, spf_scalar_type C>
void rotate_head(const RopeArgs& args, const Heads& heads, int64_t at, int64_t position) {
  std::vector<double> x(static_cast<size_t>(args.size));
  for (int64_t e = 0; e < args.size; ++e) x[static_cast<size_t>(e)] = load<T>(heads.data, at + e);
  if (args.norm) normalize<T>(args, heads, x);
  const int64_t half = args.rotary / 2;
  for (int64_t i = 0; i < half; ++i) {
    const auto a = static_cast<size_t>(args.interleaved ? 2 * i : i);
    const auto b = static_cast<size_t>(args.interleaved ? 2 * i + 1 : i + half);
    const double cosine = load<C>(args.cos_sin, position * args.rotary + i);
    const double sine = load<C>(args.cos_sin, position * args.rotary + half + i);
    const double first = x[a], second = x[b];
    x[a] = first * cosine - second * sine;
    x[b] = second * cosine + first * sine;
  }
  for (int64_t e = 0; e < (args.norm ? args.size : args.rotary); ++e)
    store<T>(heads.data, at + e, static_cast<float>(x[static_cast<size_t>(e)]));
}

template <spf_scalar_type T, spf_scalar_type C>
void rotate_tokens(const RopeArgs& args) {
  for (int64_t token = 0; token < args.space.rows; ++token) {
    int64_t at[3];
    args.space.offsets(token, at);
    const int64_t position = position_of(args, at[0]);
    if (position < 0 || position >= args.table_rows) continue;
    for (int run = 0; run < 2; ++run)
      for (int64_t head = 0; head < args.heads[run].count; ++head)
        rotate_head<T, C>(args, args.heads[run], args.head_offset(run, head, at), position);
  }
}

template <spf_scalar_type T>
void cache_tokens(const CacheArgs& args) {
  for (int64_t token = 0; token < args.rope.space.rows; ++token) {
    const int64_t slot = args.slot_of(token);
    if (slot < 0) continue;
    int64_t at[3];
    args.rope.space.offsets(token, at);
    for (int64_t head = 0; head < args.cached_heads(); ++head) {
      const void* const from[2] = {args.rope.heads[1].data, args.value};
      const int64_t from_at[2] = {args.rope.head_offset(1, head, at),
                                  token * args.value_token + head * args.value_head};
      for (int s = 0; s < 2; ++s) {
        const int64_t to = args.place(s, slot, head);
        for (int64_t e = 0; e < args.rope.size; ++e) {
          const float x = load<T>(from[s], from_at[s] + e);
          if (args.type == SPF_E4M3)
            store<SPF_E4M3>(args.side[s].data, to + e, x / args.scale_of(s, head));
          else if (args.type == SPF_E5M2)
            store<SPF_E5M2>(args.side[s].data, to + e,
                            std::isnan(x) ? x : std::clamp(x / args.scale_of(s, head), -57344.0f, 57344.0f));
          else
            store<T>(args.side[s].data, to + e, x);
        }
      }
    }
  }
}

} // namespace

spf_status reference_cache(const Call& call, const LaunchContext&) {
  const CacheArgs args = cache_args(call);
  bool known = false;
  with_float_type(call.problem.type("T"), [&](auto type) {
    known = with_float_type(args.rope.table_type, [&](auto table) {
      rotate_tokens<decltype(type)::value, decltype(table)::value>(args.rope);
      cache_tokens<decltype(type)::value>(args);
    });
  });
  return known ? SPF_OK : SPF_INVALID_TYPE;
}

spf_status reference_rope(const Call& call, const LaunchContext&) {
  const RopeArgs args = rope_args(call);
  if (args.empty()) return SPF_OK;
  bool known = false;
  with_float_type(call.problem.type("T"), [&](auto type) {
    known = with_float_type(args.table_type,
                            [&](auto table) { rotate_tokens<decltype(type)::value, decltype(table)::value>(args); });
  });
  return known ? SPF_OK : SPF_INVALID_TYPE;
}

} // namespace spf::rope
