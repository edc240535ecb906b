#include "spearfish/ops/linear.h"

extern "C" {

spf_status spf_linear(const spf_tensor* x, const spf_packed_weight* weight, const spf_tensor* bias,
                      const spf_tensor* out, const spf_launch* launch) {
  const spf_tensor* operands[] = {x, bias, out};
  return spf_op_call("linear", operands, 3, nullptr, 0, weight, launch);
}

} // extern "C"
