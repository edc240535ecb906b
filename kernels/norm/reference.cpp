// The meaning of the norm ops, in loops to check by hand. Sums are fp64; every rounding to the scalar type of x that
// the definition asks for stands here as round<T>().
//
//   rms_norm            y = round(round(x * r) * weight),  r = 1 / sqrt(mean(x^2) + epsilon)
//     weight_plus_one   y = round(x * r * (1 + weight)), one rounding
//     without weight    y = round(x * r)
//   fused_add_rms_norm  residual = round(x + residual);  x = rms_norm(residual)
//   ..._quant           codes of y = rms_norm(...), rounded to the scalar type of x before, with amax over the row or
//   the
//                       group, which passes over NaNs and takes infinities for the largest f32 number
//     given scale s     code = e4m3(y * (1 / s))
//     e4m3              s = max(min(amax, bound) / 448, 1 / (448 * 512)), code = e4m3(y / s)
//     s8                s = max(min(amax, bound) / 127, 2^-23), code = sat(rint(y * (1 / s)))
//   layer_norm          y = round((x - mean) * r * weight + bias),  r = 1 / sqrt(variance + epsilon), one rounding;
//                       the variance divides by H
#include <algorithm>
#include <cmath>
#include <limits>

#include "core/scalar_traits.hpp"
#include "kernels/common/float_types.hpp"
#include "kernels/norm/args.h"

namespace spf::norm {
namespace {

template <spf_scalar_type T>
float round(float value) {
  return to_f32<T>(from_f32<T>(value));
}

template <spf_scalar_type T>
float rms_scale(const void* x, int64_t at, const NormArgs& args) {
  double sum = 0;
  for (int64_t i = 0; i < args.h; ++i) {
    const double value = load<T>(x, at + i);
    sum += value * value;
  }
  return static_cast<float>(1.0 / std::sqrt(sum / static_cast<double>(args.h) + args.epsilon));
}

template <spf_scalar_type T>
float rms_element(float x, float scale, const NormArgs& args, int64_t i) {
  if (args.weight == nullptr) return x * scale;
  const float weight = load<T>(args.weight, i);
  return args.weight_plus_one ? x * scale * (1.0f + weight) : round<T>(x * scale) * weight;
}

uint8_t int8_code(float value) {
  if (std::isnan(value)) return 0;
  return static_cast<uint8_t>(static_cast<int>(std::nearbyint(std::clamp(value, -128.0f, 127.0f))));
}

// Codes of the row whose sum or x is `normed`.
template <spf_scalar_type T>
void code_row(const NormArgs& args, const void* normed, int64_t at, float r, const int64_t (&code_at)[2]) {
  const CodeArgs& codes = args.codes;
  const auto y = [&](int64_t i) { return round<T>(rms_element<T>(load<T>(normed, at + i), r, args, i)); };
  const bool fp8 = codes.type == SPF_E4M3;
  if (codes.scales == Scales::kGiven) {
    const float inverse = std::isfinite(1.0f / *codes.given_scale) ? 1.0f / *codes.given_scale : 0.0f;
    for (int64_t i = 0; i < args.h; ++i) codes.out[code_at[0] + i] = from_f32<SPF_E4M3>(y(i) * inverse);
    return;
  }
  const int64_t group = codes.scales == Scales::kGroup ? codes.group : std::max<int64_t>(args.h, 1);
  for (int64_t first = 0; first == 0 || first < args.h; first += group) {
    if (args.h == 0 && codes.scales == Scales::kGroup) return;
    const int64_t end = std::min(first + group, args.h);
    float amax = 0;
    for (int64_t i = first; i < end; ++i) {
      const float size = std::abs(y(i));
      if (!std::isnan(size)) amax = std::max(amax, std::min(size, std::numeric_limits<float>::max()));
    }
    if (codes.bound != nullptr) amax = std::min(amax, *codes.bound);
    const float s = fp8 ? std::max(amax / 448.0f, 1.0f / (448.0f * 512.0f)) : std::max(amax / 127.0f, 0x1p-23f);
    codes.scale[code_at[1] + first / group * codes.scale_step] = s;
    for (int64_t i = first; i < end; ++i)
      codes.out[code_at[0] + i] = fp8 ? from_f32<SPF_E4M3>(y(i) / s) : int8_code(y(i) * (1.0f / s));
  }
}

template <spf_scalar_type T>
void rms_norm_row(const NormArgs& args, const int64_t (&at)[2], const int64_t (&code_at)[2]) {
  const float scale = rms_scale<T>(args.data[0], at[0], args);
  if (args.codes.scales != Scales::kNone) return code_row<T>(args, args.data[0], at[0], scale, code_at);
  for (int64_t i = 0; i < args.h; ++i)
    store<T>(args.data[1], at[1] + i, rms_element<T>(load<T>(args.data[0], at[0] + i), scale, args, i));
}

template <spf_scalar_type T>
void fused_add_rms_norm_row(const NormArgs& args, const int64_t (&at)[2], const int64_t (&code_at)[2]) {
  void* x = args.data[0];
  void* residual = args.data[1];
  for (int64_t i = 0; i < args.h; ++i)
    store<T>(residual, at[1] + i, load<T>(x, at[0] + i) + load<T>(residual, at[1] + i));
  const float scale = rms_scale<T>(residual, at[1], args);
  if (args.codes.scales != Scales::kNone) return code_row<T>(args, residual, at[1], scale, code_at);
  for (int64_t i = 0; i < args.h; ++i)
    store<T>(x, at[0] + i, rms_element<T>(load<T>(residual, at[1] + i), scale, args, i));
}

template <spf_scalar_type T>
void layer_norm_row(const NormArgs& args, const int64_t (&at)[2]) {
  const double h = static_cast<double>(args.h);
  double sum = 0;
  for (int64_t i = 0; i < args.h; ++i) sum += load<T>(args.data[0], at[0] + i);
  const double mean = sum / h;
  double squares = 0;
  for (int64_t i = 0; i < args.h; ++i) {
    const double centred = load<T>(args.data[0], at[0] + i) - mean;
    squares += centred * centred;
  }
  const double scale = 1.0 / std::sqrt(squares / h + args.epsilon);
  for (int64_t i = 0; i < args.h; ++i) {
    double value = (load<T>(args.data[0], at[0] + i) - mean) * scale;
    if (args.weight != nullptr) value *= load<T>(args.weight, i);
    if (args.bias != nullptr) value += load<T>(args.bias, i);
    store<T>(args.data[1], at[1] + i, static_cast<float>(value));
  }
}

template <spf_scalar_type T>
void norm_row(NormOp op, const NormArgs& args, const int64_t (&at)[2], const int64_t (&code_at)[2]) {
  switch (op) {
    case NormOp::kRms:
      return rms_norm_row<T>(args, at, code_at);
    case NormOp::kFusedAddRms:
      return fused_add_rms_norm_row<T>(args, at, code_at);
    case NormOp::kLayer:
      return layer_norm_row<T>(args, at);
  }
}

} // namespace

spf_status reference_norm(const Call& call, const LaunchContext&) {
  const NormOp op = norm_op(call);
  const NormArgs args = norm_args(call, op);
  if (args.empty()) return SPF_OK;
  const bool known = with_float_type(call.problem.type("T"), [&](auto type) {
    for (int64_t r = 0; r < args.space.rows; ++r) {
      int64_t at[2], code_at[2];
      args.space.offsets(r, at);
      args.codes.space.offsets(r, code_at);
      norm_row<decltype(type)::value>(op, args, at, code_at);
    }
  });
  return known ? SPF_OK : SPF_INVALID_TYPE;
}

} // namespace spf::norm
