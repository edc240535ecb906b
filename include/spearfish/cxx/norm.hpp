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

// out = e4m3(rms_norm(x) / scale)
inline void rms_norm_static_fp8_quant(const Tensor& x, const OptionalTensor& weight, const Tensor& scale,
                                      const Tensor& out, const RmsNormParams& params = {},
                                      const Launch& launch = Launch()) {
  launch.run([&](const spf_launch* l) {
    return spf_rms_norm_static_fp8_quant(x.get(), detail::pointer(weight), scale.get(), out.get(), params.epsilon,
                                         params.weight_plus_one ? 1 : 0, l);
  });
}

// residual += x, then out = e4m3(rms_norm(residual) / scale)
inline void fused_add_rms_norm_static_fp8_quant(const Tensor& x, const Tensor& residual, const OptionalTensor& weight,
                                                const Tensor& scale, const Tensor& out,
                                                const RmsNormParams& params = {}, const Launch& launch = Launch()) {
  launch.run([&](const spf_launch* l) {
    return spf_fused_add_rms_norm_static_fp8_quant(x.get(), residual.get(), detail::pointer(weight), scale.get(),
                                                   out.get(), params.epsilon, params.weight_plus_one ? 1 : 0, l);
  });
}

// [residual += x,] then codes of its norm, e4m3 or s8, with one scale a row
inline void rms_norm_dynamic_per_token_quant(const Tensor& x, const OptionalTensor& residual,
                                             const OptionalTensor& weight, const OptionalTensor& scale_ub,
                                             const Tensor& out, const Tensor& scale, const RmsNormParams& params = {},
                                             const Launch& launch = Launch()) {
  launch.run([&](const spf_launch* l) {
    return spf_rms_norm_dynamic_per_token_quant(x.get(), detail::pointer(residual), detail::pointer(weight),
                                                detail::pointer(scale_ub), out.get(), scale.get(), params.epsilon,
                                                params.weight_plus_one ? 1 : 0, l);
  });
}

// The same with one scale for each group_size columns of a row
inline void rms_norm_per_block_quant(const Tensor& x, const OptionalTensor& residual, const OptionalTensor& weight,
                                     const OptionalTensor& scale_ub, const Tensor& out, const Tensor& scale,
                                     const RmsNormParams& params = {}, int64_t group_size = 128,
                                     const Launch& launch = Launch()) {
  launch.run([&](const spf_launch* l) {
    return spf_rms_norm_per_block_quant(x.get(), detail::pointer(residual), detail::pointer(weight),
                                        detail::pointer(scale_ub), out.get(), scale.get(), params.epsilon,
                                        params.weight_plus_one ? 1 : 0, group_size, l);
  });
}

} // namespace spearfish
