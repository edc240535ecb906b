/* Choosing tokens from logits, and the K best of anything.
 *
 * Shapes: logits is [..., V], f32, f16 or bf16, its last dimension contiguous, its leading strides free; so are other
 * operands that end in V or K. Every other operand holds one value per row, in the leading shape of logits, contiguous.
 * Pointers need the alignment of one element. Outputs must not overlap other operands, except that ids may be exactly
 * top_k. Every extent may be 0 or 1.
 *
 * A row's answer depends on that row's operands alone: neither on the other rows, nor on its place in the batch, nor on
 * strides and alignment. It is the same on every device and with every kernel, bit for bit: sample computes with
 * integers (kernels/sampling/definition.h), whose sums do not depend on their order. An id is in [0, V), whatever the
 * logits hold (0 where V is 0).
 *
 * With SPF_LAUNCH_PDL every operand is touched after the preceding kernel of the stream only.
 *
 * Errors: SPF_INVALID_SHAPE, SPF_INVALID_TYPE, SPF_INVALID_STRIDE, SPF_INVALID_ALIGNMENT, SPF_INVALID_DEVICE or
 * SPF_INVALID_ARGUMENT for a call that breaks these rules; SPF_NOT_BUILT, SPF_UNSUPPORTED or SPF_REQUIREMENT_UNMET as
 * in plan.h; SPF_WORKSPACE_TOO_SMALL; SPF_DEVICE_ERROR when the launch fails. What a row holds is data, not an error:
 * see flags. */
#ifndef SPEARFISH_OPS_SAMPLING_H
#define SPEARFISH_OPS_SAMPLING_H

#include "spearfish/plan.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Bits of flags, a u8 per row: why a row's answer is 0 instead of a choice. 0 for every other row. */
enum {
  SPF_ROW_NAN = 1,      /* a logit is NaN */
  SPF_ROW_EMPTY = 2,    /* sample: no logit is above -inf, or V is 0 */
  SPF_ROW_PARAMETER = 4 /* sample: temperature is negative or NaN, or top_p or min_p is NaN */
};

/* In place, for tokens that prompt_mask (bool, [..., V]) marks or output_counts (i32, [..., V]) counts above 0:
 *
 *   logit = round(s - frequency * count - presence), s = logit / repetition where logit > 0, else logit * repetition
 *
 * where the last two terms stand for counted tokens only. repetition, presence and frequency are f32, one per row; each
 * may be NULL (1, 0, 0), and so may mask and counts. Arithmetic is f32 with one rounding to the type of logits; logits
 * of other tokens are not touched. */
SPF_API spf_status spf_apply_penalties(const spf_tensor* logits, const spf_tensor* prompt_mask,
                                       const spf_tensor* output_counts, const spf_tensor* repetition,
                                       const spf_tensor* presence, const spf_tensor* frequency,
                                       const spf_launch* launch);

/* out[r] = the first index of the largest logit of row r. out is i32 or i64; flags may be NULL. */
SPF_API spf_status spf_argmax(const spf_tensor* logits, const spf_tensor* out, const spf_tensor* flags,
                              const spf_launch* launch);

/* ids[r] = a token of row r, i32. Filters come in this order, each over what the ones before it left:
 *
 *   temperature f32   probabilities are softmax(logits / temperature). 0, or no tensor at all: the argmax, no draw
 *   top_k       i32   tokens with fewer than k strictly more probable ones, so those that tie with the k-th all stay.
 *                     0 or less: off
 *   top_p       f32   tokens with less than top_p of the remaining probability strictly above them, so those that tie
 *                     with the last all stay. 1 or more: off; 0 or less: the most probable
 *   min_p       f32   tokens of at least min_p times the largest probability. 0 or less: off
 *
 * Each of the four may be NULL. The draw is one 64-bit number of Philox4x32-10 with key seeds[r] and counter
 * positions[r] (i64 each, all values allowed), which falls into the running sum of what remains, in order of index:
 * give each sequence a seed and each of its tokens a position, and a text repeats wherever its sequence stands in a
 * batch.
 *
 * Precision: logits / temperature are told apart down to 2^-24 octaves (factors of two of probability), probabilities
 * carry 24 bits, and those below 2^-40 of the largest count as 0. A logit of -inf is never drawn.
 *
 * V is below 2^23. Workspace: as the plan says. */
SPF_API spf_status spf_sample(const spf_tensor* logits, const spf_tensor* ids, const spf_tensor* temperature,
                              const spf_tensor* top_k, const spf_tensor* top_p, const spf_tensor* min_p,
                              const spf_tensor* seeds, const spf_tensor* positions, const spf_tensor* flags,
                              const spf_launch* launch);

/* --- the K best ------------------------------------------------------------------------------------------------------
 * Larger values come first, NaN above all, -0 equal to +0, and of equal values the lower index, so the K best are one
 * set whatever the values are. Where a row or its window has fewer than K entries, the places left over hold index -1
 * (and value -inf). K is the last extent of indices; GPU kernels take up to 4096. Workspace: as the plan says. */

/* values[r, :] = the K best entries of row r in descending order, with their indices (i32 or i64). */
SPF_API spf_status spf_top_k(const spf_tensor* logits, const spf_tensor* values, const spf_tensor* indices,
                             const spf_launch* launch);

/* indices[r, :] (i32) = the K best of entries [row_starts[r], row_ends[r]) of row r, relative to the start, ascending.
 * Windows (i32) are cut to the row; one that ends at or before its start is empty. */
SPF_API spf_status spf_top_k_per_row_prefill(const spf_tensor* logits, const spf_tensor* row_starts,
                                             const spf_tensor* row_ends, const spf_tensor* indices,
                                             const spf_launch* launch);

/* logits [B, N, V] are the last N rows of each of B sequences; row n of sequence b sees its first
 * seq_lens[b] - N + n + 1 entries. indices [B, N, K] as above. */
SPF_API spf_status spf_top_k_per_row_decode(const spf_tensor* logits, const spf_tensor* seq_lens,
                                            const spf_tensor* indices, const spf_launch* launch);

/* indices[r, :] = the K best of lengths[r] entries of row r from row_starts[r] on (from its first where that is NULL),
 * relative to the start, ascending. */
SPF_API spf_status spf_large_context_topk(const spf_tensor* logits, const spf_tensor* lengths,
                                          const spf_tensor* row_starts, const spf_tensor* indices,
                                          const spf_launch* launch);

#ifdef __cplusplus
}
#endif
#endif
