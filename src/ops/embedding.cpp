#include "spearfish/ops/embedding.h"

extern "C" {

spf_status spf_embedding(const spf_tensor* ids, const spf_tensor* table, const spf_tensor* out, double scale,
                         const spf_launch* launch) {
  const spf_tensor* operands[] = {ids, table, out};
  return spf_op_call("embedding", operands, 3, &scale, 1, nullptr, launch);
}

} // extern "C"
