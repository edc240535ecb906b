// The meaning of the activation ops, in loops to check by hand. Transcendental functions are evaluated in fp64; every
// rounding to the scalar type that the definition asks for stands here as round<T>(). Formulas:
// spearfish/ops/activation.h.
#include <cmath>

#include "core/scalar_traits.hpp"
#include "kernels/activation/args.h"
#include "kernels/common/float_types.hpp"

namespace spf::activation {
namespace {

constexpr double kSqrtHalf = 0.70710678118654752440;
constexpr double kSqrtTwoOverPi = 0.79788456080286535588;
constexpr double kCubic = 0.044715;

template <spf_scalar_type T>
float round(double value) {
  return to_f32<T>(from_f32<T>(static_cast<float>(value)));
}

double silu(double v) { return v / (1.0 + std::exp(-v)); }
// 1 + erf(x) = erfc(-x) and (1 + tanh(u)) / 2 = 1 / (1 + exp(-2 u)): left as they are, the sums cancel to 0 where the
// result still is a number of every type.
double gelu(double v) { return 0.5 * v * std::erfc(-v * kSqrtHalf); }
double gelu_tanh(double v) { return v / (1.0 + std::exp(-2.0 * kSqrtTwoOverPi * (v + kCubic * v * v * v))); }
double gelu_quick(double v) { return v / (1.0 + std::exp(-1.702 * v)); }

// The two forms whose intermediates live in the scalar type.
template <spf_scalar_type T>
double gelu_new(float x) {
  const float cube = round<T>(round<T>(x * x) * x);
  const float inner = round<T>(0.79788456f * round<T>(x + round<T>(0.044715f * cube)));
  const float t = round<T>(std::tanh(static_cast<double>(inner)));
  return round<T>(0.5f * x) * round<T>(1.0f + t);
}

template <spf_scalar_type T>
double gelu_fast(float x) {
  const float factor = round<T>(1.0f + round<T>(round<T>(0.044715f * x) * x));
  const float inner = round<T>(round<T>(0.79788456f * x) * factor);
  const float t = round<T>(std::tanh(static_cast<double>(inner)));
  return round<T>(0.5f * x) * round<T>(1.0f + t);
}

// Comparisons, not fmin and fmax: a NaN stays a NaN.
double swigluoai(double gate, double up, double alpha, double limit) {
  gate = gate > limit ? limit : gate;
  up = up > limit ? limit : up < -limit ? -limit : up;
  return (up + 1.0) * gate / (1.0 + std::exp(-alpha * gate));
}

template <spf_scalar_type T>
double gated(Act act, float gate, float up, const ActArgs& args) {
  switch (act) {
    case Act::kSiluAndMul:
      return round<T>(silu(gate)) * up;
    case Act::kMulAndSilu:
      return gate * round<T>(silu(up));
    case Act::kGeluAndMul:
      return round<T>(gelu(gate)) * up;
    case Act::kGeluTanhAndMul:
      return round<T>(gelu_tanh(gate)) * up;
    case Act::kFatreluAndMul:
      return (gate > args.a ? gate : 0.0f) * up;
    default:
      return swigluoai(gate, up, args.a, args.b);
  }
}

template <spf_scalar_type T>
double elementwise(Act act, float x) {
  switch (act) {
    case Act::kSilu:
      return silu(x);
    case Act::kGelu:
      return gelu(x);
    case Act::kGeluTanh:
      return gelu_tanh(x);
    case Act::kGeluNew:
      return gelu_new<T>(x);
    case Act::kGeluFast:
      return gelu_fast<T>(x);
    default:
      return gelu_quick(x);
  }
}

template <spf_scalar_type T>
void row(Act act, const ActArgs& args, int64_t x, int64_t out) {
  for (int64_t i = 0; i < args.d; ++i) {
    double y;
    if (is_interleaved(act))
      y = gated<T>(act, load<T>(args.x, x + 2 * i), load<T>(args.x, x + 2 * i + 1), args);
    else if (is_gated(act))
      y = gated<T>(act, load<T>(args.x, x + i), load<T>(args.x, x + args.d + i), args);
    else
      y = elementwise<T>(act, load<T>(args.x, x + i));
    store<T>(args.out, out + i, static_cast<float>(y));
  }
}

} // namespace

spf_status reference_activation(const Call& call, const LaunchContext&) {
  const Act act = act_of(call);
  const ActArgs args = act_args(call, act);
  if (args.empty()) return SPF_OK;
  const bool known = with_float_type(call.problem.type("T"), [&](auto type) {
    for (int64_t r = 0; r < args.space.rows; ++r) {
      int64_t at[2];
      args.space.offsets(r, at);
      row<decltype(type)::value>(act, args, at[0], at[1]);
    }
  });
  return known ? SPF_OK : SPF_INVALID_TYPE;
}

} // namespace spf::activation
