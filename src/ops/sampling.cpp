#include "spearfish/ops/sampling.h"

extern "C" {

spf_status spf_argmax(const spf_tensor* logits, const spf_tensor* out, const spf_tensor* flags,
                      const spf_launch* launch) {
  const spf_tensor* operands[] = {logits, out, flags};
  return spf_op_call("argmax", operands, 3, nullptr, 0, nullptr, launch);
}

spf_status spf_sample(const spf_tensor* logits, const spf_tensor* ids, const spf_tensor* temperature,
                      const spf_tensor* top_k, const spf_tensor* top_p, const spf_tensor* min_p,
                      const spf_tensor* seeds, const spf_tensor* positions, const spf_tensor* flags,
                      const spf_launch* launch) {
  const spf_tensor* operands[] = {logits, ids, temperature, top_k, top_p, min_p, seeds, positions, flags};
  return spf_op_call("sample", operands, 9, nullptr, 0, nullptr, launch);
}

} // extern "C"
