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

spf_status spf_apply_penalties(const spf_tensor* logits, const spf_tensor* prompt_mask, const spf_tensor* output_counts,
                               const spf_tensor* repetition, const spf_tensor* presence, const spf_tensor* frequency,
                               const spf_launch* launch) {
  const spf_tensor* operands[] = {logits, prompt_mask, output_counts, repetition, presence, frequency};
  return spf_op_call("apply_penalties", operands, 6, nullptr, 0, nullptr, launch);
}

spf_status spf_top_k(const spf_tensor* logits, const spf_tensor* values, const spf_tensor* indices,
                     const spf_launch* launch) {
  const spf_tensor* operands[] = {logits, values, indices};
  return spf_op_call("top_k", operands, 3, nullptr, 0, nullptr, launch);
}

spf_status spf_top_k_per_row_prefill(const spf_tensor* logits, const spf_tensor* row_starts, const spf_tensor* row_ends,
                                     const spf_tensor* indices, const spf_launch* launch) {
  const spf_tensor* operands[] = {logits, row_starts, row_ends, indices};
  return spf_op_call("top_k_per_row_prefill", operands, 4, nullptr, 0, nullptr, launch);
}

spf_status spf_top_k_per_row_decode(const spf_tensor* logits, const spf_tensor* seq_lens, const spf_tensor* indices,
                                    const spf_launch* launch) {
  const spf_tensor* operands[] = {logits, seq_lens, indices};
  return spf_op_call("top_k_per_row_decode", operands, 3, nullptr, 0, nullptr, launch);
}

spf_status spf_large_context_topk(const spf_tensor* logits, const spf_tensor* lengths, const spf_tensor* row_starts,
                                  const spf_tensor* indices, const spf_launch* launch) {
  const spf_tensor* operands[] = {logits, lengths, row_starts, indices};
  return spf_op_call("large_context_topk", operands, 4, nullptr, 0, nullptr, launch);
}

} // extern "C"
