/* Rotary position embedding of query and key heads, in place, and the table that it reads.
 *
 * Shapes: positions are [...], i32 or i64; query, key and qkv are [..., heads, D] with the same leading dimensions (any
 * number, also none), f32, f16 or bf16; cos_sin is [P, R], contiguous, f32 or of the heads' type: row p holds the
 * cosines of the R/2 angles of position p, then their sines. R is even and at most D; the first R entries of a head
 * rotate, the others stay. The last dimension of the heads is contiguous, every other stride is free: query and key may
 * be slices of one fused row. Pointers need the alignment of one element. Any extent may be 0.
 *
 * A token whose position is not in [0, P) stays as it is. Arithmetic is f32 with one rounding at the end. Each head's
 * bits depend on that head, its position and the table only.
 *
 * With SPF_LAUNCH_PDL the weights may be read before the preceding kernel of the stream has ended: they must not be
 * written by it. Every other operand is touched after it only.
 *
 * Errors: SPF_INVALID_SHAPE, SPF_INVALID_TYPE, SPF_INVALID_STRIDE, SPF_INVALID_ALIGNMENT, SPF_INVALID_DEVICE or
 * SPF_INVALID_ARGUMENT (a parameter, or operands that overlap) for a call that breaks these rules; SPF_NOT_BUILT,
 * SPF_UNSUPPORTED or SPF_REQUIREMENT_UNMET as in plan.h; SPF_DEVICE_ERROR when the launch fails. */
#ifndef SPEARFISH_OPS_ROPE_H
#define SPEARFISH_OPS_ROPE_H

#include <stdint.h>

#include "spearfish/plan.h"

#ifdef __cplusplus
extern "C" {
#endif

/* For the i-th pair (a, b) of a head at position p: a, b = a cos - b sin, b cos + a sin, with cos = cos_sin[p, i] and
 * sin = cos_sin[p, R/2 + i]. Pairs are (i, i + R/2) as in GPT-NeoX and Llama, or (2i, 2i + 1) as in GPT-J if
 * interleaved. key may be NULL. */
SPF_API spf_status spf_rotary_embedding(const spf_tensor* positions, const spf_tensor* query, const spf_tensor* key,
                                        const spf_tensor* cos_sin, int32_t interleaved, const spf_launch* launch);

/* Heads [0, q_heads) of qkv are query, the next k_heads key; the others (value) stay. x = x * r * weight with
 * r = 1 / sqrt(mean(x^2) + epsilon) over the D entries of the head, then the rotation above; one rounding at the end.
 * q_weight and k_weight are [D], of qkv's type, contiguous; weight_plus_one != 0 multiplies by 1 + weight (Gemma). */
SPF_API spf_status spf_fused_qk_norm_rope(const spf_tensor* qkv, const spf_tensor* q_weight, const spf_tensor* k_weight,
                                          const spf_tensor* cos_sin, const spf_tensor* positions, int64_t q_heads,
                                          int64_t k_heads, double epsilon, int32_t interleaved, int32_t weight_plus_one,
                                          const spf_launch* launch);

/* rotary_embedding of query and key, [N, heads, D], and reshape_and_cache_flash (kv_cache.h) of the turned key and of
 * value, [N, KH, D], in one kernel, with the bits of the two. key_cache and value_cache are [NB, BS, KH, D], any
 * strides but the last one, of the heads' type or of e4m3 or e5m2 codes: nearest of x / scale, saturated. slot_mapping
 * is i32 or i64 [S], S at most N: a token without a slot in [0, NB * BS), or from S on, is turned but not written; one
 * whose position is not in [0, P) is written as it is. No two tokens name one slot. k_scale and v_scale are f32, above
 * 0, [1] or [KH], or NULL (1); NULL where the cache holds numbers. */
SPF_API spf_status spf_rotary_embedding_and_cache(const spf_tensor* positions, const spf_tensor* query,
                                                  const spf_tensor* key, const spf_tensor* value,
                                                  const spf_tensor* cos_sin, const spf_tensor* key_cache,
                                                  const spf_tensor* value_cache, const spf_tensor* slot_mapping,
                                                  const spf_tensor* k_scale, const spf_tensor* v_scale,
                                                  int32_t interleaved, const spf_launch* launch);

/* --- the table -------------------------------------------------------------------------------------------------- */

/* How the angles of a model are stretched to longer sequences than it was trained on. With f_i = base^(-2i / R):
 *   default   angle = p f_i
 *   linear    p f_i / factor
 *   dynamic   base * (factor n / L - (factor - 1))^(R / (R - 2)) in place of base, where n, the length of the sequence,
 *             is above L = original_positions
 *   yarn      between f_i (fast dimensions) and f_i / factor (slow ones) along a ramp; Peng et al., arXiv 2309.00071
 *   llama3    f_i for wavelengths below L / high_frequency_factor, f_i / factor above L / low_frequency_factor, a mix
 *             between (Llama 3.1)
 *   longrope  f_i / long_factors[i] where n is above L, else f_i / short_factors[i]; Ding et al., arXiv 2402.13753 */
typedef enum spf_rope_scaling {
  SPF_ROPE_DEFAULT = 0,
  SPF_ROPE_LINEAR = 1,
  SPF_ROPE_DYNAMIC = 2,
  SPF_ROPE_YARN = 3,
  SPF_ROPE_LLAMA3 = 4,
  SPF_ROPE_LONGROPE = 5
} spf_rope_scaling;

/* Zero-initialize, set struct_size; a field that its scaling does not name is not read. */
typedef struct spf_rope_config {
  uint32_t struct_size; /* in: sizeof(spf_rope_config) */
  spf_rope_scaling scaling;
  int64_t rotary_dim;           /* R: even, 0 or more */
  double base;                  /* theta, above 1; commonly 10000 */
  double factor;                /* linear, dynamic, yarn, llama3: at least 1 */
  int64_t original_positions;   /* L, above 0: dynamic, yarn, llama3, longrope */
  int64_t length;               /* n; 0 = the number of positions of the table: dynamic, longrope */
  double low_frequency_factor;  /* llama3: above 0 */
  double high_frequency_factor; /* llama3: above low_frequency_factor */
  double beta_fast, beta_slow;  /* yarn: rotations over L that bound the ramp; 0 = 32 and 1 */
  int32_t no_truncate; /* yarn: != 0 leaves the ramp's bounds between dimensions instead of rounding outwards */
  double mscale, mscale_all_dim; /* yarn: attention factor = m(mscale) / m(mscale_all_dim), m(s) = 0.1 s ln(factor) + 1,
                                    where both are given; else m(1) */
  double attention_factor;       /* yarn, longrope: multiplies cosines and sines; 0 = computed, for longrope as
                                    sqrt(1 + ln(s) / ln(L)) with s = max(factor, 1), the stretched length over L */
  const double* short_factors;   /* longrope: R/2 numbers above 0 */
  const double* long_factors;
} spf_rope_config;

/* Writes rows 0 .. positions - 1 of cos_sin, [positions, R] in C order, to host memory. Angles are f64, each entry is
 * rounded once. SPF_INVALID_ARGUMENT names the field that is out of range; then nothing is written. */
SPF_API spf_status spf_rope_cache(const spf_rope_config* config, int64_t positions, float* out);

#ifdef __cplusplus
}
#endif
#endif
