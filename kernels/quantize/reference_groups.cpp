// The meaning of the quantize ops that have a scale for each group of columns, and of silu with codes, in loops to
// check by hand. f32 arithmetic, one rounding a step, but for silu, which is fp64.
//
//   gated        y = round(round(silu(gate)) * up) in the scalar type of x; else y = x
//   scale        s = max(max(min(amax, bound), least) / largest code, floor)
//   powers       s = 2^ceil(log2(max(s, 1e-10)))
//   codes        e4m3(y / s); s8: sat(rint(y / s)), or sat(trunc(y / s))
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "core/scalar_traits.hpp"
#include "kernels/common/float_types.hpp"
#include "kernels/quantize/args.h"
#include "kernels/quantize/groups.h"

namespace spf::quantize {
namespace {

template <spf_scalar_type T>
float gated_product(float gate, float up) {
  const double g = gate;
  const auto silu = static_cast<float>(g / (1.0 + std::exp(-g)));
  return to_f32<T>(from_f32<T>(to_f32<T>(from_f32<T>(silu)) * up));
}

uint8_t int8_code(float value, bool truncates) {
  if (std::isnan(value)) return 0;
  const float limited = std::clamp(value, -128.0f, 127.0f);
  return static_cast<uint8_t>(static_cast<int>(truncates ? std::trunc(limited) : std::nearbyint(limited)));
}

// 2^exponent >= s > 2^(exponent - 1).
int exponent_above(float s) {
  int exponent;
  return std::frexp(s, &exponent) == 0.5f ? exponent - 1 : exponent;
}

template <spf_scalar_type T>
void code_group(const GroupArgs& args, int64_t group, int64_t x_at, int64_t out_at, int64_t scale_at) {
  const int64_t first = group * args.group;
  const auto y = [&](int64_t i) {
    const float value = load<T>(args.x, x_at + first + i);
    return args.gated ? gated_product<T>(value, load<T>(args.x, x_at + args.k + first + i)) : value;
  };
  float amax = 0;
  for (int64_t i = 0; i < args.group; ++i) {
    const float size = std::abs(y(i));
    if (!std::isnan(size)) amax = std::max(amax, std::min(size, std::numeric_limits<float>::max()));
  }
  if (args.bound != nullptr) amax = std::min(amax, *args.bound);
  amax = std::max(amax, args.least_amax);
  float s = std::max(amax / (args.code == SPF_E4M3 ? 448.0f : 127.0f), args.floor);
  const int exponent = exponent_above(std::max(s, 1e-10f));
  if (args.powers) s = std::ldexp(1.0f, exponent);
  if (args.packed)
    static_cast<uint8_t*>(args.scale)[4 * (scale_at + group / 4 * args.scale_step) + group % 4] =
        static_cast<uint8_t>(exponent + 127);
  else
    static_cast<float*>(args.scale)[scale_at + group * args.scale_step] = s;
  for (int64_t i = 0; i < args.group; ++i) {
    const float value = y(i) / s;
    args.out[out_at + first + i] = args.code == SPF_E4M3 ? from_f32<SPF_E4M3>(value) : int8_code(value, args.truncates);
  }
}

template <spf_scalar_type T>
void code_rows(const GroupArgs& args) {
  const int64_t rows = args.separate_rows() ? args.padded_rows : args.space.rows;
  for (int64_t row = 0; row < rows; ++row) {
    const bool exists = row < args.space.rows;
    if (args.counts != nullptr && row % args.tokens >= args.counts[row / args.tokens]) continue;
    int64_t at[3] = {};
    if (exists) args.space.offsets(row, at);
    if (args.separate_rows()) at[2] = row * args.scale_row;
    for (int64_t group = 0; group < args.groups && exists; ++group) code_group<T>(args, group, at[0], at[1], at[2]);
    if (!args.packed) continue;
    for (int64_t group = exists ? args.groups : 0; group < 4 * args.words(); ++group)
      static_cast<uint8_t*>(args.scale)[4 * (at[2] + group / 4 * args.scale_step) + group % 4] = 0;
  }
}

template <spf_scalar_type T>
void static_silu(const QuantArgs& args) {
  const float inverse = std::isfinite(1.0f / *args.given_scale) ? 1.0f / *args.given_scale : 0.0f;
  for (int64_t row = 0; row < args.space.rows; ++row) {
    int64_t at[4];
    args.space.offsets(row, at);
    for (int64_t i = 0; i < args.k; ++i) {
      const float y = gated_product<T>(load<T>(args.x, at[0] + i), load<T>(args.x, at[0] + args.k + i));
      args.out[at[1] + i] = from_f32<SPF_E4M3>(y * inverse);
    }
  }
}

} // namespace

spf_status reference_groups(const Call& call, const LaunchContext&) {
  const GroupArgs args = group_args(call);
  const bool known =
      with_float_type(call.problem.type("T"), [&](auto type) { code_rows<decltype(type)::value>(args); });
  return known ? SPF_OK : SPF_INVALID_TYPE;
}

spf_status reference_silu(const Call& call, const LaunchContext&) {
  const QuantArgs args = quant_args(call);
  const bool known =
      with_float_type(call.problem.type("T"), [&](auto type) { static_silu<decltype(type)::value>(args); });
  return known ? SPF_OK : SPF_INVALID_TYPE;
}

} // namespace spf::quantize
