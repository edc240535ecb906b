/* Activation functions, elementwise and gated.
 *
 * Gated ops read x[..., 2*D] and write out[..., D]: the first D elements of a row are the gate, the last D are up
 * (swigluoai_and_mul: gate at even, up at odd positions). Elementwise ops read x[..., D] and write out[..., D]. f32,
 * f16 or bf16, the same for both. The last dimension is contiguous; every leading stride is free; inputs may broadcast
 * with stride 0, rows of the output must not overlap. Pointers need the alignment of one element. D and the number of
 * rows may be 0, 1 or odd. Elementwise ops may run in place (out exactly x); any other overlap is undefined.
 *
 * Arithmetic is f32; round() is one rounding to the scalar type of x, to nearest even; sigmoid(v) = 1 / (1 + exp(-v)).
 * NaN in gives NaN out, also through the clamps of swigluoai_and_mul; fatrelu_and_mul sends a NaN gate to 0. An
 * element's bits depend on its inputs only.
 *
 * Errors: SPF_INVALID_SHAPE, SPF_INVALID_TYPE, SPF_INVALID_STRIDE, SPF_INVALID_ALIGNMENT, SPF_INVALID_DEVICE or
 * SPF_INVALID_ARGUMENT (a parameter) for a call that breaks these rules; SPF_NOT_BUILT, SPF_UNSUPPORTED or
 * SPF_REQUIREMENT_UNMET as in plan.h; SPF_DEVICE_ERROR when the launch fails. */
#ifndef SPEARFISH_OPS_ACTIVATION_H
#define SPEARFISH_OPS_ACTIVATION_H

#include "spearfish/plan.h"

#ifdef __cplusplus
extern "C" {
#endif

/* --- gated: x[..., 2*D] -> out[..., D] ------------------------------------------------------------------------- */

/* out = round(round(silu(gate)) * up), silu(v) = v * sigmoid(v). */
SPF_API spf_status spf_silu_and_mul(const spf_tensor* x, const spf_tensor* out, const spf_launch* launch);

/* out = round(gate * round(silu(up))): the first half is multiplied by the activated second half. */
SPF_API spf_status spf_mul_and_silu(const spf_tensor* x, const spf_tensor* out, const spf_launch* launch);

/* out = round(round(gelu(gate)) * up), gelu(v) = 0.5 v (1 + erf(v / sqrt(2))). */
SPF_API spf_status spf_gelu_and_mul(const spf_tensor* x, const spf_tensor* out, const spf_launch* launch);

/* out = round(round(gelu_tanh(gate)) * up), gelu_tanh(v) = 0.5 v (1 + tanh(sqrt(2 / pi) (v + 0.044715 v^3))). */
SPF_API spf_status spf_gelu_tanh_and_mul(const spf_tensor* x, const spf_tensor* out, const spf_launch* launch);

/* out = round((gate > threshold ? gate : 0) * up). The threshold is used in f32. */
SPF_API spf_status spf_fatrelu_and_mul(const spf_tensor* x, const spf_tensor* out, double threshold,
                                       const spf_launch* launch);

/* Interleaved SwiGLU of gpt-oss: gate = min(x[2i], limit), up = clamp(x[2i+1], -limit, limit),
 * out = round((up + 1) * gate * sigmoid(alpha * gate)). The model uses alpha 1.702, limit 7. */
SPF_API spf_status spf_swigluoai_and_mul(const spf_tensor* x, const spf_tensor* out, double alpha, double limit,
                                         const spf_launch* launch);

/* --- elementwise: x[..., D] -> out[..., D] --------------------------------------------------------------------- */

/* out = round(x * sigmoid(x)). */
SPF_API spf_status spf_silu(const spf_tensor* x, const spf_tensor* out, const spf_launch* launch);

/* out = round(0.5 x (1 + erf(x / sqrt(2)))). */
SPF_API spf_status spf_gelu(const spf_tensor* x, const spf_tensor* out, const spf_launch* launch);

/* out = round(0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))), all of it in f32. */
SPF_API spf_status spf_gelu_tanh(const spf_tensor* x, const spf_tensor* out, const spf_launch* launch);

/* GPT-2's tanh form with every intermediate rounded to the scalar type: c = round(round(x x) x),
 * t = round(tanh(round(0.79788456 round(x + round(0.044715 c))))), out = round(round(0.5 x) round(1 + t)). */
SPF_API spf_status spf_gelu_new(const spf_tensor* x, const spf_tensor* out, const spf_launch* launch);

/* The factored tanh form with rounded intermediates: s = round(0.79788456 x),
 * t = round(tanh(round(s round(1 + round(round(0.044715 x) x))))), out = round(round(0.5 x) round(1 + t)). */
SPF_API spf_status spf_gelu_fast(const spf_tensor* x, const spf_tensor* out, const spf_launch* launch);

/* out = round(x * sigmoid(1.702 x)). */
SPF_API spf_status spf_gelu_quick(const spf_tensor* x, const spf_tensor* out, const spf_launch* launch);

#ifdef __cplusplus
}
#endif
#endif
