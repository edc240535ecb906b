// The meaning of the norm ops, in loops to check by hand. Sums are fp64; every rounding to the scalar type of x that
// the definition asks for stands here as round<T>().
//
//   rms_norm            y = round(round(x * r) * weight),  r = 1 / sqrt(mean(x^2) + epsilon)
//     weight_plus_one   y = round(x * r * (1 + weight)), one rounding
//     without weight    y = round(x * r)
//   fused_add_rms_norm  residual = round(x + residual);  x = rms_norm(residual)
//   layer_norm          y = round((x - mean) * r * weight + bias),  r = 1 / sqrt(variance + epsilon), one rounding;
//                       the variance divides by H
#include <cmath>

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

template <spf_scalar_type T>
void rms_norm_row(const NormArgs& args, const int64_t (&at)[2]) {
  const float scale = rms_scale<T>(args.data[0], at[0], args);
  for (int64_t i = 0; i < args.h; ++i)
    store<T>(args.data[1], at[1] + i, rms_element<T>(load<T>(args.data[0], at[0] + i), scale, args, i));
}

template <spf_scalar_type T>
void fused_add_rms_norm_row(const NormArgs& args, const int64_t (&at)[2]) {
  void* x = args.data[0];
  void* residual = args.data[1];
  for (int64_t i = 0; i < args.h; ++i)
    store<T>(residual, at[1] + i, load<T>(x, at[0] + i) + load<T>(residual, at[1] + i));
  const float scale = rms_scale<T>(residual, at[1], args);
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
void norm_row(NormOp op, const NormArgs& args, const int64_t (&at)[2]) {
  switch (op) {
    case NormOp::kRms:
      return rms_norm_row<T>(args, at);
    case NormOp::kFusedAddRms:
      return fused_add_rms_norm_row<T>(args, at);
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
      int64_t at[2];
      args.space.offsets(r, at);
      norm_row<decltype(type)::value>(op, args, at);
    }
  });
  return known ? SPF_OK : SPF_INVALID_TYPE;
}

} // namespace spf::norm
