#include "spearfish/ops/quantize.h"

extern "C" {

spf_status spf_static_scaled_fp8_quant(const spf_tensor* x, const spf_tensor* scale, const spf_tensor* out,
                                       const spf_launch* launch) {
  const spf_tensor* operands[] = {x, scale, out};
  return spf_op_call("static_scaled_fp8_quant", operands, 3, nullptr, 0, nullptr, launch);
}

spf_status spf_dynamic_scaled_fp8_quant(const spf_tensor* x, const spf_tensor* out, const spf_tensor* scale,
                                        const spf_launch* launch) {
  const spf_tensor* operands[] = {x, out, scale};
  return spf_op_call("dynamic_scaled_fp8_quant", operands, 3, nullptr, 0, nullptr, launch);
}

spf_status spf_dynamic_per_token_scaled_fp8_quant(const spf_tensor* x, const spf_tensor* scale_ub,
                                                  const spf_tensor* out, const spf_tensor* scale,
                                                  const spf_launch* launch) {
  const spf_tensor* operands[] = {x, scale_ub, out, scale};
  return spf_op_call("dynamic_per_token_scaled_fp8_quant", operands, 4, nullptr, 0, nullptr, launch);
}

spf_status spf_static_scaled_int8_quant(const spf_tensor* x, const spf_tensor* scale, const spf_tensor* azp,
                                        const spf_tensor* out, const spf_launch* launch) {
  const spf_tensor* operands[] = {x, scale, azp, out};
  return spf_op_call("static_scaled_int8_quant", operands, 4, nullptr, 0, nullptr, launch);
}

spf_status spf_dynamic_scaled_int8_quant(const spf_tensor* x, const spf_tensor* out, const spf_tensor* scale,
                                         const spf_tensor* azp, const spf_launch* launch) {
  const spf_tensor* operands[] = {x, out, scale, azp};
  return spf_op_call("dynamic_scaled_int8_quant", operands, 4, nullptr, 0, nullptr, launch);
}

spf_status spf_per_token_group_fp8_quant(const spf_tensor* x, const spf_tensor* scale_ub, const spf_tensor* out,
                                         const spf_tensor* scale, int64_t group_size, double eps, int32_t ue8m0,
                                         const spf_launch* launch) {
  const spf_tensor* operands[] = {x, scale_ub, out, scale};
  const double params[] = {static_cast<double>(group_size), eps, static_cast<double>(ue8m0)};
  return spf_op_call("per_token_group_fp8_quant", operands, 4, params, 3, nullptr, launch);
}

spf_status spf_per_token_group_quant_int8(const spf_tensor* x, const spf_tensor* scale_ub, const spf_tensor* out,
                                          const spf_tensor* scale, int64_t group_size, double eps, int32_t truncate,
                                          const spf_launch* launch) {
  const spf_tensor* operands[] = {x, scale_ub, out, scale};
  const double params[] = {static_cast<double>(group_size), eps, static_cast<double>(truncate)};
  return spf_op_call("per_token_group_quant_int8", operands, 4, params, 3, nullptr, launch);
}

spf_status spf_per_token_group_fp8_quant_packed(const spf_tensor* x, const spf_tensor* scale_ub, const spf_tensor* out,
                                                const spf_tensor* scale, int64_t group_size, double eps,
                                                const spf_launch* launch) {
  const spf_tensor* operands[] = {x, scale_ub, out, scale};
  const double params[] = {static_cast<double>(group_size), eps};
  return spf_op_call("per_token_group_fp8_quant_packed", operands, 4, params, 2, nullptr, launch);
}

spf_status spf_silu_and_mul_quant(const spf_tensor* x, const spf_tensor* scale, const spf_tensor* out,
                                  const spf_launch* launch) {
  const spf_tensor* operands[] = {x, scale, out};
  return spf_op_call("silu_and_mul_quant", operands, 3, nullptr, 0, nullptr, launch);
}

spf_status spf_silu_and_mul_per_block_quant(const spf_tensor* x, const spf_tensor* scale_ub, const spf_tensor* out,
                                            const spf_tensor* scale, int64_t group_size, const spf_launch* launch) {
  const spf_tensor* operands[] = {x, scale_ub, out, scale};
  const double params[] = {static_cast<double>(group_size)};
  return spf_op_call("silu_and_mul_per_block_quant", operands, 4, params, 1, nullptr, launch);
}

spf_status spf_persistent_masked_m_silu_mul_quant(const spf_tensor* x, const spf_tensor* counts, const spf_tensor* out,
                                                  const spf_tensor* scale, double eps, int32_t ue8m0,
                                                  const spf_launch* launch) {
  const spf_tensor* operands[] = {x, counts, out, scale};
  const double params[] = {eps, static_cast<double>(ue8m0)};
  return spf_op_call("persistent_masked_m_silu_mul_quant", operands, 4, params, 2, nullptr, launch);
}

} // extern "C"
