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

#include <stdint.h>

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

/* --- one scale for each group of columns ----------------------------------------------------------------------- */

/* For each group of group_size (32, 64, 128, 256 or 512) columns of a row, K a multiple of it:
 *   s = max(min(amax, scale_ub), eps) / 448, or / 127 for s8, scale_ub as above;
 *       with ue8m0 then 2^ceil(log2(max(s, 1e-10)))
 *   code = e4m3(x / s), or s8(x / s); with truncate the fraction is cut off instead of rounded
 * eps is at least 1e-20, commonly 1e-10. scale is [..., K / group_size] with any strides: row-major; column-major; or
 * column-major with columns ceil(rows / 4) * 4 apart, as copy engines want it. */
SPF_API spf_status spf_per_token_group_fp8_quant(const spf_tensor* x, const spf_tensor* scale_ub, const spf_tensor* out,
                                                 const spf_tensor* scale, int64_t group_size, double eps, int32_t ue8m0,
                                                 const spf_launch* launch);
SPF_API spf_status spf_per_token_group_quant_int8(const spf_tensor* x, const spf_tensor* scale_ub,
                                                  const spf_tensor* out, const spf_tensor* scale, int64_t group_size,
                                                  double eps, int32_t truncate, const spf_launch* launch);

/* The same with ue8m0, scale i32 [P, ceil(K / group_size / 4)] with any strides, P at least the number of rows: byte
 * g % 4 of word g / 4 is the exponent of group g, plus 127. Bytes of no group and rows that x does not have become 0.
 */
SPF_API spf_status spf_per_token_group_fp8_quant_packed(const spf_tensor* x, const spf_tensor* scale_ub,
                                                        const spf_tensor* out, const spf_tensor* scale,
                                                        int64_t group_size, double eps, const spf_launch* launch);

/* --- silu(gate) * up, then codes -------------------------------------------------------------------------------
 *
 * x is [..., 2*K], gate first; y = round(round(silu(gate)) * up) in its scalar type, as silu_and_mul in activation.h.
 * An exponential decides y, so codes and scales are equal on every device only where y is. */

/* code = e4m3(y * (1 / scale[0])); scale is [1], above 0. */
SPF_API spf_status spf_silu_and_mul_quant(const spf_tensor* x, const spf_tensor* scale, const spf_tensor* out,
                                          const spf_launch* launch);

/* One scale for each group of columns, [..., K / group_size] with any strides; with a = min(amax, scale_ub), where
 * scale_ub is [1], above 0, or NULL: e4m3 s = max(a / 448, 1 / (448 * 512)), s8 s = max(a / 127, 2^-23); code = e4m3(y
 * / s) or s8(y / s). */
SPF_API spf_status spf_silu_and_mul_per_block_quant(const spf_tensor* x, const spf_tensor* scale_ub,
                                                    const spf_tensor* out, const spf_tensor* scale, int64_t group_size,
                                                    const spf_launch* launch);

/* x is [E, M, 2*K], out [E, M, K], counts i32 [E]: of expert e only the first counts[e] tokens (none below 0, all from
 * M on) are coded, in groups of 128 columns, under s = max(amax, eps) / 448. scale is f32 [E, M, K / 128], powers of
 * two with ue8m0, or i32 [E, M, ceil(K / 512)] with exponents as above, any strides. What belongs to other tokens stays
 * as it is. */
SPF_API spf_status spf_persistent_masked_m_silu_mul_quant(const spf_tensor* x, const spf_tensor* counts,
                                                          const spf_tensor* out, const spf_tensor* scale, double eps,
                                                          int32_t ue8m0, const spf_launch* launch);

#ifdef __cplusplus
}
#endif
#endif
