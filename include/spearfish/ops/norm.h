/* Norms over the last dimension.
 *
 * Shapes: x, residual and out are [..., H] with the same leading dimensions (any number, also none), f32, f16 or bf16;
 * weight and bias are [H], contiguous, of the same type. The last dimension is contiguous; every leading stride is
 * free, a multiple of nothing; inputs may broadcast with stride 0, rows of outputs must not overlap. Pointers need the
 * alignment of one element. H and the number of rows may be 0, 1 or odd; nothing is read or written when either is 0.
 * out may be exactly x (in place); any other overlap of an output with another operand is undefined.
 *
 * Arithmetic is f32; round() is one rounding to the scalar type of x, to nearest even. Reductions run in a fixed order
 * that depends on H and the type only, so a row's bits are the same alone, in any batch, at any alignment.
 *
 * With SPF_LAUNCH_PDL, weight and bias may be read before the preceding kernel of the stream has ended: they must not
 * be written by it. Every other operand is touched after it only.
 *
 * Errors: SPF_INVALID_SHAPE, SPF_INVALID_TYPE, SPF_INVALID_STRIDE, SPF_INVALID_ALIGNMENT, SPF_INVALID_DEVICE or
 * SPF_INVALID_ARGUMENT (a parameter) for a call that breaks these rules; SPF_NOT_BUILT, SPF_UNSUPPORTED or
 * SPF_REQUIREMENT_UNMET as in plan.h; SPF_DEVICE_ERROR when the launch fails. */
#ifndef SPEARFISH_OPS_NORM_H
#define SPEARFISH_OPS_NORM_H

#include <stdint.h>

#include "spearfish/plan.h"

#ifdef __cplusplus
extern "C" {
#endif

/* out = round(round(x * r) * weight) with r = 1 / sqrt(mean(x^2) + epsilon). weight may be NULL: out = round(x * r).
 * weight_plus_one != 0 is Gemma's form, out = round(x * r * (1 + weight)). epsilon >= 0, commonly 1e-5 or 1e-6. */
SPF_API spf_status spf_rms_norm(const spf_tensor* x, const spf_tensor* weight, const spf_tensor* out, double epsilon,
                                int32_t weight_plus_one, const spf_launch* launch);

/* In place: residual = round(x + residual), then x = rms_norm(residual). weight, epsilon and weight_plus_one as above.
 */
SPF_API spf_status spf_fused_add_rms_norm(const spf_tensor* x, const spf_tensor* residual, const spf_tensor* weight,
                                          double epsilon, int32_t weight_plus_one, const spf_launch* launch);

/* out = round((x - mean) * r * weight + bias) with r = 1 / sqrt(mean((x - mean)^2) + epsilon). weight and bias may be
 * NULL (1 and 0). */
SPF_API spf_status spf_layer_norm(const spf_tensor* x, const spf_tensor* weight, const spf_tensor* bias,
                                  const spf_tensor* out, double epsilon, const spf_launch* launch);

/* --- norms that leave 8-bit codes --------------------------------------------------------------------------------
 *
 * y is what rms_norm gives, rounded to the scalar type of x; with a residual, residual = round(x + residual) first and
 * y is the norm of that; x stays as it is. out is [..., H], e4m3 or s8. Codes of y as in ops/quantize.h, whose e4m3(),
 * s8() and amax these are; but y hangs on a sum, so codes and scales are equal on every device only where y is:
 * elsewhere a rounding of y may move a code by one, and that of a row's largest number its scale. */

/* code = e4m3(y * (1 / scale[0])); scale is f32 [1], above 0. */
SPF_API spf_status spf_rms_norm_static_fp8_quant(const spf_tensor* x, const spf_tensor* weight, const spf_tensor* scale,
                                                 const spf_tensor* out, double epsilon, int32_t weight_plus_one,
                                                 const spf_launch* launch);
SPF_API spf_status spf_fused_add_rms_norm_static_fp8_quant(const spf_tensor* x, const spf_tensor* residual,
                                                           const spf_tensor* weight, const spf_tensor* scale,
                                                           const spf_tensor* out, double epsilon,
                                                           int32_t weight_plus_one, const spf_launch* launch);

/* One scale a row, f32 [..., 1]. With a = min(amax, scale_ub), where scale_ub is f32 [1], above 0, or NULL:
 *   e4m3   s = max(a / 448, 1 / (448 * 512)), code = e4m3(y / s)
 *   s8     s = max(a / 127, 2^-23),           code = s8(y * (1 / s))
 * residual and weight may be NULL. */
SPF_API spf_status spf_rms_norm_dynamic_per_token_quant(const spf_tensor* x, const spf_tensor* residual,
                                                        const spf_tensor* weight, const spf_tensor* scale_ub,
                                                        const spf_tensor* out, const spf_tensor* scale, double epsilon,
                                                        int32_t weight_plus_one, const spf_launch* launch);

/* The same with one scale for each group of group_size (32, 64 or 128) columns of a row; H is a multiple of it and
 * scale is f32 [..., H / group_size] with any strides: row-major, column-major, or column-major with columns apart as a
 * copy engine wants them. */
SPF_API spf_status spf_rms_norm_per_block_quant(const spf_tensor* x, const spf_tensor* residual,
                                                const spf_tensor* weight, const spf_tensor* scale_ub,
                                                const spf_tensor* out, const spf_tensor* scale, double epsilon,
                                                int32_t weight_plus_one, int64_t group_size, const spf_launch* launch);

#ifdef __cplusplus
}
#endif
#endif
