#include "spearfish/ops/scaled_linear.h"

extern "C" {

spf_status spf_scaled_linear(const spf_tensor* x, const spf_tensor* x_scale, const spf_packed_weight* weight,
                             const spf_tensor* bias, const spf_tensor* azp, const spf_tensor* azp_adj,
                             const spf_tensor* channel_scale, const spf_tensor* out_factor, const spf_tensor* out,
                             const spf_launch* launch) {
  const spf_tensor* operands[] = {x, x_scale, bias, azp, azp_adj, channel_scale, out_factor, out};
  return spf_op_call("scaled_linear", operands, 8, nullptr, 0, weight, launch);
}

} // extern "C"
