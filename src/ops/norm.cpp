#include "spearfish/ops/norm.h"

extern "C" {

spf_status spf_rms_norm(const spf_tensor* x, const spf_tensor* weight, const spf_tensor* out, double epsilon,
                        int32_t weight_plus_one, const spf_launch* launch) {
  const spf_tensor* operands[] = {x, weight, out};
  const double params[] = {epsilon, static_cast<double>(weight_plus_one)};
  return spf_op_call("rms_norm", operands, 3, params, 2, nullptr, launch);
}

spf_status spf_fused_add_rms_norm(const spf_tensor* x, const spf_tensor* residual, const spf_tensor* weight,
                                  double epsilon, int32_t weight_plus_one, const spf_launch* launch) {
  const spf_tensor* operands[] = {x, residual, weight};
  const double params[] = {epsilon, static_cast<double>(weight_plus_one)};
  return spf_op_call("fused_add_rms_norm", operands, 3, params, 2, nullptr, launch);
}

spf_status spf_layer_norm(const spf_tensor* x, const spf_tensor* weight, const spf_tensor* bias, const spf_tensor* out,
                          double epsilon, const spf_launch* launch) {
  const spf_tensor* operands[] = {x, weight, bias, out};
  return spf_op_call("layer_norm", operands, 4, &epsilon, 1, nullptr, launch);
}

spf_status spf_rms_norm_static_fp8_quant(const spf_tensor* x, const spf_tensor* weight, const spf_tensor* scale,
                                         const spf_tensor* out, double epsilon, int32_t weight_plus_one,
                                         const spf_launch* launch) {
  const spf_tensor* operands[] = {x, weight, scale, out};
  const double params[] = {epsilon, static_cast<double>(weight_plus_one)};
  return spf_op_call("rms_norm_static_fp8_quant", operands, 4, params, 2, nullptr, launch);
}

spf_status spf_fused_add_rms_norm_static_fp8_quant(const spf_tensor* x, const spf_tensor* residual,
                                                   const spf_tensor* weight, const spf_tensor* scale,
                                                   const spf_tensor* out, double epsilon, int32_t weight_plus_one,
                                                   const spf_launch* launch) {
  const spf_tensor* operands[] = {x, residual, weight, scale, out};
  const double params[] = {epsilon, static_cast<double>(weight_plus_one)};
  return spf_op_call("fused_add_rms_norm_static_fp8_quant", operands, 5, params, 2, nullptr, launch);
}

spf_status spf_rms_norm_dynamic_per_token_quant(const spf_tensor* x, const spf_tensor* residual,
                                                const spf_tensor* weight, const spf_tensor* scale_ub,
                                                const spf_tensor* out, const spf_tensor* scale, double epsilon,
                                                int32_t weight_plus_one, const spf_launch* launch) {
  const spf_tensor* operands[] = {x, residual, weight, scale_ub, out, scale};
  const double params[] = {epsilon, static_cast<double>(weight_plus_one)};
  return spf_op_call("rms_norm_dynamic_per_token_quant", operands, 6, params, 2, nullptr, launch);
}

spf_status spf_rms_norm_per_block_quant(const spf_tensor* x, const spf_tensor* residual, const spf_tensor* weight,
                                        const spf_tensor* scale_ub, const spf_tensor* out, const spf_tensor* scale,
                                        double epsilon, int32_t weight_plus_one, int64_t group_size,
                                        const spf_launch* launch) {
  const spf_tensor* operands[] = {x, residual, weight, scale_ub, out, scale};
  const double params[] = {epsilon, static_cast<double>(weight_plus_one), static_cast<double>(group_size)};
  return spf_op_call("rms_norm_per_block_quant", operands, 6, params, 3, nullptr, launch);
}

} // extern "C"
