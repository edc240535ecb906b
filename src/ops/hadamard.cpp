#include "spearfish/ops/hadamard.h"

extern "C" {

spf_status spf_hadamard_transform(const spf_tensor* x, const spf_tensor* out, int32_t normalize,
                                  const spf_launch* launch) {
  const spf_tensor* operands[] = {x, out};
  const double param = normalize;
  return spf_op_call("hadamard_transform", operands, 2, &param, 1, nullptr, launch);
}

} // extern "C"
