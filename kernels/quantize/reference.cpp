// The meaning of the quantize ops, in loops to check by hand. All arithmetic is f32, one rounding a step; amax, low and
// high pass over NaNs and take infinities for the largest f32 number.
//
//   static fp8          code = e4m3(x * (1 / s))
//   dynamic fp8         s = amax / 448, code = e4m3(x * (1 / s))
//   per token fp8       s = max(min(amax, bound) / 448, 1 / (448 * 512)), code = e4m3(x / s)
//   static int8         code = sat(rint(x / s)); with a zero point sat(rint(x * (1 / s)) + azp)
//   dynamic int8        s = amax / 127, code = sat(rint(x * (127 / amax)))
//     with zero points  s = (high - low) / 255, azp = rint(-128 - low / s), code = sat(rint(x * (1 / s)) + azp)
//   where 1 / s, or 127 / amax, is 0 if there is no such number
#include <algorithm>
#include <cmath>
#include <limits>

#include "core/scalar_traits.hpp"
#include "kernels/common/float_types.hpp"
#include "kernels/quantize/args.h"

namespace spf::quantize {
namespace {

constexpr float kLargestNumber = std::numeric_limits<float>::max();
constexpr float kMostSteps = 1 << 30; // an integer of this size or more saturates, whatever is added to it

float one_over(float s) { return std::isfinite(1.0f / s) ? 1.0f / s : 0.0f; }

uint8_t fp8_code(float value) { return from_f32<SPF_E4M3>(value); }

uint8_t int8_code(float value, int64_t zero = 0) {
  if (std::isnan(value)) value = 0;
  const auto steps = static_cast<int64_t>(std::nearbyint(std::clamp(value, -kMostSteps, kMostSteps)));
  return static_cast<uint8_t>(std::clamp<int64_t>(steps + zero, -128, 127));
}

// Of the numbers among `count`, infinities as the largest ones; low > high if there is none.
struct Range {
  float low = kLargestNumber, high = -kLargestNumber;
  float amax() const { return low > high ? 0.0f : std::max(std::abs(low), std::abs(high)); }
};

template <spf_scalar_type T>
void extend(Range* range, const void* x, int64_t at, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    const float value = load<T>(x, at + i);
    if (std::isnan(value)) continue;
    range->low = std::min(range->low, std::max(value, -kLargestNumber));
    range->high = std::max(range->high, std::min(value, kLargestNumber));
  }
}

template <spf_scalar_type T>
void static_fp8(const QuantArgs& args, int64_t row, const int64_t (&at)[4]) {
  for (int64_t i = 0; i < args.k; ++i) {
    const float s = args.given_scale[row / args.rows_of_scale * args.scale_stride[0] +
                                     i / args.columns_of_scale * args.scale_stride[1]];
    args.out[at[1] + i] = fp8_code(load<T>(args.x, at[0] + i) * one_over(s));
  }
}

template <spf_scalar_type T>
void static_int8(const QuantArgs& args, const int64_t (&at)[4]) {
  const float s = *args.given_scale;
  for (int64_t i = 0; i < args.k; ++i) {
    const float value = load<T>(args.x, at[0] + i);
    args.out[at[1] + i] = args.given_azp == nullptr
                              ? int8_code(value / s)
                              : int8_code(value * one_over(s), std::clamp(*args.given_azp, -(1 << 30), 1 << 30));
  }
}

template <spf_scalar_type T>
void token_fp8(const QuantArgs& args, const int64_t (&at)[4]) {
  Range range;
  extend<T>(&range, args.x, at[0], args.k);
  float amax = range.amax();
  if (args.bound != nullptr) amax = std::min(amax, *args.bound);
  const float s = std::max(amax / 448.0f, 1.0f / (448.0f * 512.0f));
  args.scale[at[2]] = s;
  for (int64_t i = 0; i < args.k; ++i) args.out[at[1] + i] = fp8_code(load<T>(args.x, at[0] + i) / s);
}

template <spf_scalar_type T>
void token_int8(const QuantArgs& args, const int64_t (&at)[4]) {
  Range range;
  extend<T>(&range, args.x, at[0], args.k);
  const float amax = range.amax();
  float s = amax / 127.0f, factor = std::isfinite(127.0f / amax) ? 127.0f / amax : 0.0f;
  int32_t azp = 0;
  if (args.azp != nullptr && range.low <= range.high) {
    const float wide = std::min(range.high - range.low, kLargestNumber) / 255.0f;
    if (one_over(wide) > 0) {
      s = wide;
      factor = one_over(wide);
      azp = static_cast<int32_t>(std::nearbyint(std::clamp(-128.0f - range.low / wide, -kMostSteps, kMostSteps)));
    }
  }
  args.scale[at[2]] = s;
  if (args.azp != nullptr) args.azp[at[3]] = azp;
  for (int64_t i = 0; i < args.k; ++i) args.out[at[1] + i] = int8_code(load<T>(args.x, at[0] + i) * factor, azp);
}

template <spf_scalar_type T>
void dynamic_fp8(const QuantArgs& args) {
  Range range;
  int64_t at[4];
  for (int64_t r = 0; r < args.space.rows; ++r) {
    args.space.offsets(r, at);
    extend<T>(&range, args.x, at[0], args.k);
  }
  const float s = range.amax() / 448.0f;
  *args.scale = s;
  for (int64_t r = 0; r < args.space.rows; ++r) {
    args.space.offsets(r, at);
    for (int64_t i = 0; i < args.k; ++i) args.out[at[1] + i] = fp8_code(load<T>(args.x, at[0] + i) * one_over(s));
  }
}

template <spf_scalar_type T>
void run(QuantOp op, const QuantArgs& args) {
  if (op == QuantOp::dynamic_scaled_fp8_quant) return dynamic_fp8<T>(args);
  for (int64_t r = 0; r < args.space.rows; ++r) {
    int64_t at[4];
    args.space.offsets(r, at);
    if (op == QuantOp::static_scaled_fp8_quant) static_fp8<T>(args, r, at);
    if (op == QuantOp::static_scaled_int8_quant) static_int8<T>(args, at);
    if (op == QuantOp::dynamic_per_token_scaled_fp8_quant) token_fp8<T>(args, at);
    if (op == QuantOp::dynamic_scaled_int8_quant) token_int8<T>(args, at);
  }
}

} // namespace

spf_status reference_quantize(const Call& call, const LaunchContext&) {
  const QuantArgs args = quant_args(call);
  const bool known =
      with_float_type(call.problem.type("T"), [&](auto type) { run<decltype(type)::value>(op_of(call), args); });
  return known ? SPF_OK : SPF_INVALID_TYPE;
}

} // namespace spf::quantize
