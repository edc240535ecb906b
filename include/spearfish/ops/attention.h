/* Attention: softmax(scale q k^T) v over paged or contiguous keys, with grouped-query heads.
 *
 * Shapes: query and out are [rows, QH, D]; keys and values have KH heads, QH a multiple of KH, and query head h reads
 * KV head h / (QH / KH). T is f32, f16 or bf16; keys and values are of the same type, or e4m3 or e5m2. The reference
 * takes any D; other kernels take D up to 256, the fast ones a multiple of 8. Last dimensions are contiguous (views);
 * every other stride is free, so a cache [NB, BS, KH, D] may lie as pages of tokens by heads (NHD) or of heads by
 * tokens (HND). out may be exactly query; any other overlap of an output with another operand is refused.
 *
 * Arithmetic is f32, formulas by the definition:
 *   s   = scale * k_scale * (q . k);  softcap > 0: s = softcap * tanh(s / softcap)
 *   s  -= alibi_slopes[h] * |position of the query - position of the key|     (ALiBi, Press et al. 2021)
 *   out = v_scale * sum(exp(s) v) / (sum(exp(s)) + exp(sinks[h])) over the keys that the query sees
 *   lse = log of that denominator
 * Kernels for 16-bit types may round exp(s - max) to 16 bits before the product with v. A query that sees nothing gives
 * 0, with lse = -inf (= sinks[h] where there are sinks). Optional operands may be NULL: no ALiBi, no sinks, scales of
 * 1, no lse. k_scale and v_scale hold one f32, or one for each KV head.
 *
 * Positions: a sequence's queries are its last positions, so query i of Q over N keys is at N - Q + i. causal: it sees
 * keys up to its own position. window > 0: it sees its own position and window - 1 before it; 0: no limit.
 *
 * Paged keys: position p of sequence b lies in block block_tables[b][p / BS] at p % BS. Entries of blocks that hold a
 * position below seq_lens[b] must be in 0..NB-1; others are not read. A length below 0 counts as 0, above MB * BS as
 * MB * BS. Offsets cu_seqlens[B1] are nondecreasing from 0 to the number of rows. These numbers lie on the device:
 * CUDA cannot check them, and others than these read outside the cache there. On the CPU a launch looks before it
 * writes anything, and refuses (SPF_INVALID_ARGUMENT, naming the entry) a block or an offset outside these ranges;
 * offsets may end before the last row.
 *
 * A NaN or infinity in a key or value reaches the queries that see it; in prefill kernels it may also reach queries
 * before it in the same sequence. Blocks and rows that belong to no sequence may hold anything.
 *
 * Determinism: the same call gives the same bits. On the CPU a query's bits depend on its own sequence only; CUDA
 * decode kernels divide all keys of a batch into equal shares, so there the rounding depends on the batch's lengths.
 *
 * Workspace: attention_decode on CUDA needs some (ask the plan). Errors: SPF_INVALID_SHAPE, SPF_INVALID_TYPE,
 * SPF_INVALID_STRIDE, SPF_INVALID_ALIGNMENT, SPF_INVALID_DEVICE or SPF_INVALID_ARGUMENT for a call that breaks these
 * rules; SPF_WORKSPACE_TOO_SMALL; SPF_NOT_BUILT, SPF_UNSUPPORTED or SPF_REQUIREMENT_UNMET as in plan.h;
 * SPF_DEVICE_ERROR when the launch fails. */
#ifndef SPEARFISH_OPS_ATTENTION_H
#define SPEARFISH_OPS_ATTENTION_H

#include <stdint.h>

#include "spearfish/plan.h"

#ifdef __cplusplus
extern "C" {
#endif

/* One query per sequence, at its last position: query and out [B,QH,D]; caches [NB,BS,KH,D]; block_tables i32 [B,MB];
 * seq_lens i32 [B]; alibi_slopes, sinks f32 [QH]; k_scale, v_scale f32 [1 or KH]; lse f32 [QH,B]. */
SPF_API spf_status spf_attention_decode(const spf_tensor* out, const spf_tensor* query, const spf_tensor* key_cache,
                                        const spf_tensor* value_cache, const spf_tensor* block_tables,
                                        const spf_tensor* seq_lens, const spf_tensor* alibi_slopes,
                                        const spf_tensor* sinks, const spf_tensor* k_scale, const spf_tensor* v_scale,
                                        const spf_tensor* lse, double scale, double softcap, int64_t window,
                                        const spf_launch* launch);

/* The block-sparse mask of vLLM's paged_attention: the keys are cut into blocks of `block_size` positions. A query sees
 * its own block and the local_blocks - 1 before it, and of the others each one whose number plus an offset is a
 * multiple of vertical_stride. The offset is (rank * QH + query head) * head_step + 1, or for a negative head_step
 * (rank * KH + KV head) * -head_step + 1. vertical_stride 0 or 1: it sees all. */
typedef struct spf_sparse_mask {
  int64_t local_blocks, vertical_stride, block_size, head_step, tensor_parallel_rank;
} spf_sparse_mask;

/* attention_decode over the v0 cache layout: key_cache [NB,KH,D/x,BS,x] (or more than D/x chunks), value_cache
 * [NB,KH,D,BS]; the other operands as above. Does what vLLM's paged_attention v1 and v2 do, with one workspace instead
 * of v2's three. sparse may be NULL. */
SPF_API spf_status spf_paged_attention(const spf_tensor* out, const spf_tensor* query, const spf_tensor* key_cache,
                                       const spf_tensor* value_cache, const spf_tensor* block_tables,
                                       const spf_tensor* seq_lens, const spf_tensor* alibi_slopes,
                                       const spf_tensor* k_scale, const spf_tensor* v_scale, const spf_tensor* lse,
                                       double scale, double softcap, const spf_sparse_mask* sparse,
                                       const spf_launch* launch);

/* Ragged sequences over contiguous keys: query and out [T,QH,D]; key, value [S,KH,D]; cu_seqlens_q, cu_seqlens_k i32
 * [B+1]; alibi_slopes, sinks f32 [QH]; lse f32 [QH,T]. */
SPF_API spf_status spf_attention_prefill(const spf_tensor* out, const spf_tensor* query, const spf_tensor* key,
                                         const spf_tensor* value, const spf_tensor* cu_seqlens_q,
                                         const spf_tensor* cu_seqlens_k, const spf_tensor* alibi_slopes,
                                         const spf_tensor* sinks, const spf_tensor* lse, double scale, double softcap,
                                         int64_t window, int32_t causal, const spf_launch* launch);

/* Ragged sequences over a paged cache that holds their keys already: query and out [T,QH,D]; caches [NB,BS,KH,D];
 * cu_seqlens_q i32 [B1]; block_tables i32 [B,MB] and seq_lens i32 [B] of B >= B1 - 1 sequences; the other operands as
 * above; lse f32 [QH,T]. */
SPF_API spf_status spf_attention_prefill_paged(
    const spf_tensor* out, const spf_tensor* query, const spf_tensor* key_cache, const spf_tensor* value_cache,
    const spf_tensor* cu_seqlens_q, const spf_tensor* block_tables, const spf_tensor* seq_lens,
    const spf_tensor* alibi_slopes, const spf_tensor* sinks, const spf_tensor* k_scale, const spf_tensor* v_scale,
    const spf_tensor* lse, double scale, double softcap, int64_t window, int32_t causal, const spf_launch* launch);

/* Combines attention over two disjoint sets of keys: out = (wp prefix + ws suffix) / (wp + ws) with w = exp(lse - max),
 * out_lse = log(wp + ws) + max. out, prefix, suffix [T,H,D]; lse operands f32 [H,T]; out_lse may be NULL. An lse of
 * +inf counts as -inf; where both are, out is prefix and out_lse -inf. out may be exactly prefix or suffix. */
SPF_API spf_status spf_merge_attn_states(const spf_tensor* out, const spf_tensor* prefix, const spf_tensor* prefix_lse,
                                         const spf_tensor* suffix, const spf_tensor* suffix_lse,
                                         const spf_tensor* out_lse, const spf_launch* launch);

#ifdef __cplusplus
}
#endif
#endif
