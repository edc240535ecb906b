#include "spearfish/ops/attention.h"

extern "C" {

spf_status spf_attention_decode(const spf_tensor* out, const spf_tensor* query, const spf_tensor* key_cache,
                                const spf_tensor* value_cache, const spf_tensor* block_tables,
                                const spf_tensor* seq_lens, const spf_tensor* alibi_slopes, const spf_tensor* sinks,
                                const spf_tensor* k_scale, const spf_tensor* v_scale, const spf_tensor* lse,
                                double scale, double softcap, int64_t window, const spf_launch* launch) {
  const spf_tensor* operands[] = {out,          query, key_cache, value_cache, block_tables, seq_lens,
                                  alibi_slopes, sinks, k_scale,   v_scale,     lse};
  const double params[] = {scale, softcap, static_cast<double>(window)};
  return spf_op_call("attention_decode", operands, 11, params, 3, nullptr, launch);
}

spf_status spf_paged_attention(const spf_tensor* out, const spf_tensor* query, const spf_tensor* key_cache,
                               const spf_tensor* value_cache, const spf_tensor* block_tables,
                               const spf_tensor* seq_lens, const spf_tensor* alibi_slopes, const spf_tensor* k_scale,
                               const spf_tensor* v_scale, const spf_tensor* lse, double scale, double softcap,
                               const spf_sparse_mask* sparse, const spf_launch* launch) {
  const spf_tensor* operands[] = {out,      query,        key_cache, value_cache, block_tables,
                                  seq_lens, alibi_slopes, k_scale,   v_scale,     lse};
  const spf_sparse_mask dense = {0, 0, 64, 0, 0};
  const spf_sparse_mask& mask = sparse != nullptr ? *sparse : dense;
  const double params[] = {scale,
                           softcap,
                           static_cast<double>(mask.local_blocks),
                           static_cast<double>(mask.vertical_stride),
                           static_cast<double>(mask.block_size),
                           static_cast<double>(mask.head_step),
                           static_cast<double>(mask.tensor_parallel_rank)};
  return spf_op_call("paged_attention", operands, 10, params, 7, nullptr, launch);
}

spf_status spf_attention_prefill(const spf_tensor* out, const spf_tensor* query, const spf_tensor* key,
                                 const spf_tensor* value, const spf_tensor* cu_seqlens_q,
                                 const spf_tensor* cu_seqlens_k, const spf_tensor* alibi_slopes,
                                 const spf_tensor* sinks, const spf_tensor* lse, double scale, double softcap,
                                 int64_t window, int32_t causal, const spf_launch* launch) {
  const spf_tensor* operands[] = {out, query, key, value, cu_seqlens_q, cu_seqlens_k, alibi_slopes, sinks, lse};
  const double params[] = {scale, softcap, static_cast<double>(window), static_cast<double>(causal)};
  return spf_op_call("attention_prefill", operands, 9, params, 4, nullptr, launch);
}

spf_status spf_attention_prefill_paged(const spf_tensor* out, const spf_tensor* query, const spf_tensor* key_cache,
                                       const spf_tensor* value_cache, const spf_tensor* cu_seqlens_q,
                                       const spf_tensor* block_tables, const spf_tensor* seq_lens,
                                       const spf_tensor* alibi_slopes, const spf_tensor* sinks,
                                       const spf_tensor* k_scale, const spf_tensor* v_scale, const spf_tensor* lse,
                                       double scale, double softcap, int64_t window, int32_t causal,
                                       const spf_launch* launch) {
  const spf_tensor* operands[] = {out,      query,        key_cache, value_cache, cu_seqlens_q, block_tables,
                                  seq_lens, alibi_slopes, sinks,     k_scale,     v_scale,      lse};
  const double params[] = {scale, softcap, static_cast<double>(window), static_cast<double>(causal)};
  return spf_op_call("attention_prefill_paged", operands, 12, params, 4, nullptr, launch);
}

spf_status spf_merge_attn_states(const spf_tensor* out, const spf_tensor* prefix, const spf_tensor* prefix_lse,
                                 const spf_tensor* suffix, const spf_tensor* suffix_lse, const spf_tensor* out_lse,
                                 const spf_launch* launch) {
  const spf_tensor* operands[] = {out, prefix, prefix_lse, suffix, suffix_lse, out_lse};
  return spf_op_call("merge_attn_states", operands, 6, nullptr, 0, nullptr, launch);
}

} // extern "C"
