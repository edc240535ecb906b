/* Columns in another order.
 *
 * x and out are [..., K] with the same leading dimensions, f32, f16 or bf16; the last dimension is contiguous, every
 * leading stride is free; inputs may broadcast with stride 0, rows of out must not overlap. perm is i32 [K],
 * contiguous. Pointers need the alignment of one element. The number of rows and K may be 0. out must not overlap x or
 * perm.
 *
 * out[..., j] = x[..., perm[j]], every bit; 0 where perm[j] lies outside [0, K). perm need not be a permutation.
 *
 * Errors: SPF_INVALID_SHAPE, SPF_INVALID_TYPE, SPF_INVALID_STRIDE, SPF_INVALID_ALIGNMENT, SPF_INVALID_DEVICE or
 * SPF_INVALID_ARGUMENT (an overlap) for a call that breaks these rules; SPF_NOT_BUILT, SPF_UNSUPPORTED or
 * SPF_REQUIREMENT_UNMET as in plan.h; SPF_DEVICE_ERROR when the launch fails. */
#ifndef SPEARFISH_OPS_PERMUTE_H
#define SPEARFISH_OPS_PERMUTE_H

#include "spearfish/plan.h"

#ifdef __cplusplus
extern "C" {
#endif

SPF_API spf_status spf_permute_cols(const spf_tensor* x, const spf_tensor* perm, const spf_tensor* out,
                                    const spf_launch* launch);

#ifdef __cplusplus
}
#endif
#endif
