#include "spearfish/ops/permute.h"

extern "C" {

spf_status spf_permute_cols(const spf_tensor* x, const spf_tensor* perm, const spf_tensor* out,
                            const spf_launch* launch) {
  const spf_tensor* operands[] = {x, perm, out};
  return spf_op_call("permute_cols", operands, 3, nullptr, 0, nullptr, launch);
}

} // extern "C"
