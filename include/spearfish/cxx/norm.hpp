// Norms: see spearfish/ops/norm.h for shapes, types and formulas.
#pragma once

#include "spearfish/cxx/plan.hpp"
#include "spearfish/ops/norm.h"

namespace spearfish {

struct RmsNormParams {
  double epsilon = 1e-6;
  bool weight_plus_one = false; // Gemma: weights are stored minus one
};

// out = x / rms(x) * weight
inline void rms_norm(const Tensor& x, const OptionalTensor& weight, const Tensor& out, const RmsNormParams& params = {},
                     const Launch& launch = Launch()) {
  launch.run([&](const spf_launch* l) {
    return spf_rms_norm(x.get(), detail::pointer(weight), out.get(), params.epsilon, params.weight_plus_one ? 1 : 0, l);
  });
}

// In place: residual += x, then x = rms_norm(residual)
inline void fused_add_rms_norm(const Tensor& x, const Tensor& residual, const OptionalTensor& weight,
                               const RmsNormParams& params = {}, const Launch& launch = Launch()) {
  launch.run([&](const spf_launch* l) {
    return spf_fused_add_rms_norm(x.get(), residual.get(), detail::pointer(weight), params.epsilon,
                                  params.weight_plus_one ? 1 : 0, l);
  });
}

struct LayerNormParams {
  double epsilon = 1e-5;
};

// out = (x - mean) / sqrt(variance + epsilon) * weight + bias
inline void layer_norm(const Tensor& x, const OptionalTensor& weight, const OptionalTensor& bias, const Tensor& out,
                       const LayerNormParams& params = {}, const Launch& launch = Launch()) {
  launch.run([&](const spf_launch* l) {
    return spf_layer_norm(x.get(), detail::pointer(weight), detail::pointer(bias), out.get(), params.epsilon, l);
  });
}

} // namespace spearfish
