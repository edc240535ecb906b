/* Numbers to 8-bit codes with scales: what an 8-bit linear layer takes.
 *
 * Shapes: x is [..., K], f32, f16 or bf16; out is [..., K] with the same leading dimensions (any number, also none),
 * e4m3 or s8. The last dimension is contiguous, every leading stride is free; x may broadcast with stride 0, rows of
 * outputs must not overlap. Scales are f32. Pointers need the alignment of one element. K and the number of rows may be
 * 0, 1 or odd; of no rows nothing is written but what is not a row's. Outputs must not overlap other operands.
 *
 * Arithmetic is f32, each step rounded once to nearest even, so codes and scales are the same bits on every device:
 *   e4m3(v)   nearest code, ties to even, saturated to +-448; NaN stays NaN
 *   s8(v)     round(v) to nearest even, saturated to [-128, 127]; NaN counts as 0
 *   1 / s     is 0 where s is 0 or so small (below 2^-128) that there is no such f32 number
 * The largest number of a row, amax, and its lowest and highest pass over NaNs and count infinities as the largest f32
 * number; of no numbers amax is 0.
 *
 * Errors: SPF_INVALID_SHAPE, SPF_INVALID_TYPE, SPF_INVALID_STRIDE, SPF_INVALID_ALIGNMENT, SPF_INVALID_DEVICE or
 * SPF_INVALID_ARGUMENT for a call that breaks these rules; SPF_WORKSPACE_TOO_SMALL, SPF_NOT_BUILT, SPF_UNSUPPORTED or
 * SPF_REQUIREMENT_UNMET as in plan.h; SPF_DEVICE_ERROR when the launch fails. */
#ifndef SPEARFISH_OPS_QUANTIZE_H
#define SPEARFISH_OPS_QUANTIZE_H

#include "spearfish/plan.h"

#ifdef __cplusplus
extern "C" {
#endif

/* --- e4m3 ------------------------------------------------------------------------------------------------------ */

/* code = e4m3(x * (1 / s)) with the s of its block. scale is [SR, SC], any strides, above 0; SR divides the number of
 * rows and SC divides K: [1, 1] for all, [rows, 1] one a row, [1, K] one a column, or one a block of
 * rows / SR x K / SC. */
SPF_API spf_status spf_static_scaled_fp8_quant(const spf_tensor* x, const spf_tensor* scale, const spf_tensor* out,
                                               const spf_launch* launch);

/* scale[0] = amax / 448 over all of x, code = e4m3(x * (1 / scale[0])). Needs a workspace on CUDA: see the plan. */
SPF_API spf_status spf_dynamic_scaled_fp8_quant(const spf_tensor* x, const spf_tensor* out, const spf_tensor* scale,
                                                const spf_launch* launch);

/* For each row, with scale [..., 1]: s = max(min(amax, scale_ub) / 448, 1 / (448 * 512)), code = e4m3(x / s). scale_ub
 * is [1], above 0, or NULL. */
SPF_API spf_status spf_dynamic_per_token_scaled_fp8_quant(const spf_tensor* x, const spf_tensor* scale_ub,
                                                          const spf_tensor* out, const spf_tensor* scale,
                                                          const spf_launch* launch);

/* --- s8 -------------------------------------------------------------------------------------------------------- */

/* code = s8(x / s) with scale [1], above 0; with azp, i32 [1], code = s8(round(x * (1 / s)) + azp), where azp counts as
 * a number within +-2^30. A code stands for s * (code - azp). */
SPF_API spf_status spf_static_scaled_int8_quant(const spf_tensor* x, const spf_tensor* scale, const spf_tensor* azp,
                                                const spf_tensor* out, const spf_launch* launch);

/* For each row, with scale [..., 1]: s = amax / 127, code = s8(x * (127 / amax)). With azp, i32 [..., 1]:
 * s = (highest - lowest) / 255, azp = round(-128 - lowest / s) within +-2^30, code = s8(round(x * (1 / s)) + azp); a
 * row whose numbers are all the same, or so near that 1 / s is 0, is coded as without zero points, with azp 0. */
SPF_API spf_status spf_dynamic_scaled_int8_quant(const spf_tensor* x, const spf_tensor* out, const spf_tensor* scale,
                                                 const spf_tensor* azp, const spf_launch* launch);

#ifdef __cplusplus
}
#endif
#endif
