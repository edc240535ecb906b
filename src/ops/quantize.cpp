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

} // extern "C"
