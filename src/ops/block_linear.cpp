#include "spearfish/ops/block_linear.h"

extern "C" {

spf_status spf_nvfp4_linear(const spf_tensor* x, const spf_tensor* x_scales, const spf_packed_weight* weight,
                            const spf_tensor* alpha, const spf_tensor* bias, const spf_tensor* out,
                            const spf_launch* launch) {
  const spf_tensor* operands[] = {x, x_scales, alpha, bias, out};
  return spf_op_call("nvfp4_linear", operands, 5, nullptr, 0, weight, launch);
}

spf_status spf_mxfp4_linear(const spf_tensor* x, const spf_tensor* x_scales, const spf_packed_weight* weight,
                            const spf_tensor* alpha, const spf_tensor* bias, const spf_tensor* out,
                            const spf_launch* launch) {
  const spf_tensor* operands[] = {x, x_scales, alpha, bias, out};
  return spf_op_call("mxfp4_linear", operands, 5, nullptr, 0, weight, launch);
}

spf_status spf_mxfp8_linear(const spf_tensor* x, const spf_tensor* x_scales, const spf_packed_weight* weight,
                            const spf_tensor* alpha, const spf_tensor* bias, const spf_tensor* out,
                            const spf_launch* launch) {
  const spf_tensor* operands[] = {x, x_scales, alpha, bias, out};
  return spf_op_call("mxfp8_linear", operands, 5, nullptr, 0, weight, launch);
}

} // extern "C"
