/* Paged caches of keys and values: writing tokens, copying blocks, gathering sequences, converting codes.
 *
 * A cache has NB blocks of BS slots; slot s is place s % BS of block s / BS. Its layouts (spf_kv_layout):
 *   SPF_KV_NHD   key and value [NB, BS, KH, D]
 *   SPF_KV_HND   the same view, but the heads of a block lie outside its slots: strides (BS KH D, D, BS D, 1)
 *   SPF_KV_V0    key [NB, KH, D/X, BS, X] with X = the elements of 16 bytes, value [NB, KH, D, BS], both contiguous
 * The first two are one view with free strides; its last dimension is contiguous.
 *
 * A cache of the tokens' type (f32, f16, bf16) holds them as they are. One of codes (e4m3, e5m2) holds
 *   code = nearest of x / scale, ties to even, saturated to the largest finite code; infinities too, NaN stays NaN
 * and is read as round(code * scale), in f32. Scales are f32, above 0, on the op's device: [1] for all heads, [KH] one
 * a head, or NULL for 1.
 *
 * Ids are i32 or i64. A slot or block outside the cache, -1 for example, is none: nothing is read or written for it.
 * Strides other than those of last dimensions are free where no layout says otherwise; pointers need the alignment of
 * one element. Any extent may be 0. What an op does not write stays as it is. Results do not depend on anything but the
 * inputs; where two tokens name the same slot, or a block is the target of two copies, one of the two remains.
 *
 * Errors: SPF_INVALID_SHAPE, SPF_INVALID_TYPE, SPF_INVALID_STRIDE, SPF_INVALID_ALIGNMENT, SPF_INVALID_DEVICE or
 * SPF_INVALID_ARGUMENT for a call that breaks these rules; SPF_NOT_BUILT, SPF_UNSUPPORTED or SPF_REQUIREMENT_UNMET as
 * in plan.h; SPF_DEVICE_ERROR when the launch fails. */
#ifndef SPEARFISH_OPS_KV_CACHE_H
#define SPEARFISH_OPS_KV_CACHE_H

#include <stdint.h>

#include "spearfish/plan.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum spf_kv_layout { SPF_KV_NHD = 0, SPF_KV_HND = 1, SPF_KV_V0 = 2 } spf_kv_layout;
typedef enum spf_kv_scale { SPF_KV_SCALE_NONE = 0, SPF_KV_SCALE_TENSOR = 1, SPF_KV_SCALE_HEAD = 2 } spf_kv_scale;

#define SPF_KV_VERSION 1

/* A cache and what its bytes mean. The typed functions check that the two agree before anything runs. */
typedef struct spf_kv_cache {
  uint32_t struct_size; /* in: sizeof(spf_kv_cache) */
  uint32_t version;     /* of the layouts: SPF_KV_VERSION */
  spf_scalar_type type;
  spf_kv_layout layout;
  spf_kv_scale scale; /* SPF_KV_SCALE_NONE: numbers, or codes with scale 1 */
  int64_t blocks, block_size, heads, head_size;
  spf_tensor key, value;
  const spf_tensor* k_scale; /* NULL where scale is SPF_KV_SCALE_NONE */
  const spf_tensor* v_scale;
} spf_kv_cache;

/* Bytes of the keys of a gapless cache, and of the values: the same. */
SPF_API spf_status spf_kv_cache_bytes(spf_scalar_type type, int64_t blocks, int64_t block_size, int64_t heads,
                                      int64_t head_size, int64_t* bytes);

/* Fills *cache for gapless memory of that many bytes each; scale is SPF_KV_SCALE_NONE until the caller sets it. */
SPF_API spf_status spf_kv_cache_init(spf_kv_cache* cache, spf_scalar_type type, spf_kv_layout layout, int64_t blocks,
                                     int64_t block_size, int64_t heads, int64_t head_size, void* key, void* value,
                                     spf_device device);

/* Do version, type, layout, extents and scales agree with the views? SPF_INVALID_ARGUMENT names the field of `cache`
 * that does not; `op` is for the message. */
SPF_API spf_status spf_kv_cache_check(const spf_kv_cache* cache, const char* op);

/* Writes token i < S of key and value, [N, KH, D] with N >= S, into slot slot_mapping[i]. */
SPF_API spf_status spf_reshape_and_cache_flash(const spf_tensor* key, const spf_tensor* value,
                                               const spf_tensor* key_cache, const spf_tensor* value_cache,
                                               const spf_tensor* slot_mapping, const spf_tensor* k_scale,
                                               const spf_tensor* v_scale, const spf_launch* launch);

/* The same for SPF_KV_V0. */
SPF_API spf_status spf_reshape_and_cache(const spf_tensor* key, const spf_tensor* value, const spf_tensor* key_cache,
                                         const spf_tensor* value_cache, const spf_tensor* slot_mapping,
                                         const spf_tensor* k_scale, const spf_tensor* v_scale,
                                         const spf_launch* launch);

/* Either of the two, by the cache's layout, after spf_kv_cache_check. */
SPF_API spf_status spf_kv_cache_write(const spf_kv_cache* cache, const spf_tensor* key, const spf_tensor* value,
                                      const spf_tensor* slot_mapping, const spf_launch* launch);

/* Block block_mapping[i, 0] to block block_mapping[i, 1] for every i, in keys and in values, seen as [NB, E] of any
 * layout. No target may be the source of another pair. */
SPF_API spf_status spf_copy_blocks(const spf_tensor* key_cache, const spf_tensor* value_cache,
                                   const spf_tensor* block_mapping, const spf_launch* launch);

/* Block block_mapping[i, 0] of source, [NS, E], to block block_mapping[i, 1] of target, [NT, E]. Host memory that is
 * mapped into the device's address space may stand on either side. */
SPF_API spf_status spf_swap_blocks(const spf_tensor* source, const spf_tensor* target, const spf_tensor* block_mapping,
                                   const spf_launch* launch);

/* Row n of out, [N, KH, D], is the token at position n - cu_seq_lens[b] + seq_starts[b] of sequence b, the one with
 * cu_seq_lens[b] <= n < cu_seq_lens[b + 1], from block block_tables[b, position / BS] of cache, [NB, BS, KH, D].
 * block_tables is i32 [B, MB], cu_seq_lens i32 [B + 1], seq_starts i32 [B] or NULL (0). Rows of no sequence, past the
 * table or of no block are 0. */
SPF_API spf_status spf_gather_cache(const spf_tensor* cache, const spf_tensor* block_tables,
                                    const spf_tensor* cu_seq_lens, const spf_tensor* seq_starts,
                                    const spf_tensor* scale, const spf_tensor* out, const spf_launch* launch);

/* Numbers to codes or codes to numbers, by the types of source and out, [..., E] each; scale > 0 as above. */
SPF_API spf_status spf_convert_fp8(const spf_tensor* source, const spf_tensor* out, double scale,
                                   const spf_launch* launch);

#ifdef __cplusplus
}
#endif
#endif
