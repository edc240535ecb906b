// Attention: see spearfish/ops/attention.h for shapes, types, positions and formulas.
#pragma once

#include "spearfish/cxx/plan.hpp"
#include "spearfish/ops/attention.h"

namespace spearfish {

// What the queries of every attention op may take besides keys and values. Empty: not there.
struct AttentionExtras {
  OptionalTensor alibi_slopes; // f32 [QH]
  OptionalTensor sinks;        // f32 [QH]
  OptionalTensor k_scale;      // f32 [1 or KH]
  OptionalTensor v_scale;      // f32 [1 or KH]
  OptionalTensor lse;          // written, f32 [QH, rows]
};

struct AttentionParams {
  double scale = 1;   // of the scores, commonly 1 / sqrt(D)
  double softcap = 0; // 0: none
  int64_t window = 0; // positions that a query sees, its own included; 0: all
  bool causal = true; // prefill only
};

// One query per sequence over pages [NB,BS,KH,D].
inline void attention_decode(const Tensor& out, const Tensor& query, const Tensor& key_cache, const Tensor& value_cache,
                             const Tensor& block_tables, const Tensor& seq_lens, const AttentionParams& params,
                             const AttentionExtras& extras = {}, const Launch& launch = Launch()) {
  launch.run([&](const spf_launch* l) {
    return spf_attention_decode(out.get(), query.get(), key_cache.get(), value_cache.get(), block_tables.get(),
                                seq_lens.get(), detail::pointer(extras.alibi_slopes), detail::pointer(extras.sinks),
                                detail::pointer(extras.k_scale), detail::pointer(extras.v_scale),
                                detail::pointer(extras.lse), params.scale, params.softcap, params.window, l);
  });
}

// One query per sequence over the v0 cache layout; extras without sinks, params without window.
inline void paged_attention(const Tensor& out, const Tensor& query, const Tensor& key_cache, const Tensor& value_cache,
                            const Tensor& block_tables, const Tensor& seq_lens, double scale, double softcap = 0,
                            const AttentionExtras& extras = {}, const spf_sparse_mask* sparse = nullptr,
                            const Launch& launch = Launch()) {
  launch.run([&](const spf_launch* l) {
    return spf_paged_attention(out.get(), query.get(), key_cache.get(), value_cache.get(), block_tables.get(),
                               seq_lens.get(), detail::pointer(extras.alibi_slopes), detail::pointer(extras.k_scale),
                               detail::pointer(extras.v_scale), detail::pointer(extras.lse), scale, softcap, sparse, l);
  });
}

// Ragged sequences over contiguous keys [S,KH,D]; extras without scales.
inline void attention_prefill(const Tensor& out, const Tensor& query, const Tensor& key, const Tensor& value,
                              const Tensor& cu_seqlens_q, const Tensor& cu_seqlens_k, const AttentionParams& params,
                              const AttentionExtras& extras = {}, const Launch& launch = Launch()) {
  launch.run([&](const spf_launch* l) {
    return spf_attention_prefill(out.get(), query.get(), key.get(), value.get(), cu_seqlens_q.get(), cu_seqlens_k.get(),
                                 detail::pointer(extras.alibi_slopes), detail::pointer(extras.sinks),
                                 detail::pointer(extras.lse), params.scale, params.softcap, params.window,
                                 params.causal ? 1 : 0, l);
  });
}

// Ragged sequences over pages [NB,BS,KH,D] that hold their keys already.
inline void attention_prefill_paged(const Tensor& out, const Tensor& query, const Tensor& key_cache,
                                    const Tensor& value_cache, const Tensor& cu_seqlens_q, const Tensor& block_tables,
                                    const Tensor& seq_lens, const AttentionParams& params,
                                    const AttentionExtras& extras = {}, const Launch& launch = Launch()) {
  launch.run([&](const spf_launch* l) {
    return spf_attention_prefill_paged(out.get(), query.get(), key_cache.get(), value_cache.get(), cu_seqlens_q.get(),
                                       block_tables.get(), seq_lens.get(), detail::pointer(extras.alibi_slopes),
                                       detail::pointer(extras.sinks), detail::pointer(extras.k_scale),
                                       detail::pointer(extras.v_scale), detail::pointer(extras.lse), params.scale,
                                       params.softcap, params.window, params.causal ? 1 : 0, l);
  });
}

// Attention over two disjoint sets of keys into attention over both.
inline void merge_attn_states(const Tensor& out, const Tensor& prefix, const Tensor& prefix_lse, const Tensor& suffix,
                              const Tensor& suffix_lse, const OptionalTensor& out_lse = {},
                              const Launch& launch = Launch()) {
  launch.run([&](const spf_launch* l) {
    return spf_merge_attn_states(out.get(), prefix.get(), prefix_lse.get(), suffix.get(), suffix_lse.get(),
                                 detail::pointer(out_lse), l);
  });
}

} // namespace spearfish
