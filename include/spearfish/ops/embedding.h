/* Rows of a table by id.
 *
 * Shapes: ids is [...], i32 or i64, contiguous; table is [V, H] and out [..., H], of one type, f32, f16 or bf16, with
 * the last dimension contiguous and every other stride free (rows of out must not overlap). Pointers need the alignment
 * of one element. Every extent may be 0. out must not overlap ids or table. The result is exact, or for a scale other
 * than 1 rounded once, so it is the same everywhere.
 *
 * With SPF_LAUNCH_PDL every operand is touched after the preceding kernel of the stream only.
 *
 * Errors: SPF_INVALID_SHAPE, SPF_INVALID_TYPE, SPF_INVALID_STRIDE, SPF_INVALID_ALIGNMENT, SPF_INVALID_DEVICE or
 * SPF_INVALID_ARGUMENT for a call that breaks these rules; SPF_NOT_BUILT, SPF_UNSUPPORTED or SPF_REQUIREMENT_UNMET as
 * in plan.h; SPF_DEVICE_ERROR when the launch fails. An id outside the table is data, not an error: its row is zeros.
 */
#ifndef SPEARFISH_OPS_EMBEDDING_H
#define SPEARFISH_OPS_EMBEDDING_H

#include "spearfish/plan.h"

#ifdef __cplusplus
extern "C" {
#endif

/* out[r, :] = round(table[ids[r], :] * scale), to nearest even; a row of +0 where ids[r] is negative or not below V.
 * scale is rounded to f32; it is 1 but for models that scale what they embed (Gemma: the square root of H). */
SPF_API spf_status spf_embedding(const spf_tensor* ids, const spf_tensor* table, const spf_tensor* out, double scale,
                                 const spf_launch* launch);

#ifdef __cplusplus
}
#endif
#endif
