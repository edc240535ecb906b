/* Linear layers on packed weights. */
#ifndef SPEARFISH_OPS_LINEAR_H
#define SPEARFISH_OPS_LINEAR_H

#include "spearfish/plan.h"
#include "spearfish/quant.h"

#ifdef __cplusplus
extern "C" {
#endif

/* out[..., N] = x[..., K] W[N, K]^T + bias[N].
 *
 * x and out have the same leading dimensions (any number, also none; M is their product), f32, f16 or bf16 each; the
 * last dimension is contiguous, every leading stride is free; x may broadcast with stride 0, rows of out must not
 * overlap each other or x. bias is contiguous, f32, f16 or bf16, or NULL. Pointers need the alignment of one element.
 * weight comes from spf_pack() in any layout that a kernel of the launch device reads; plan-only calls may leave
 * weight->data NULL and weight->layout empty, and learn the layout to pack into from the plan. M, N and K may be 0, 1
 * or odd; K = 0 gives the bias, or 0.
 *
 * Arithmetic: W has the values that spf_unpack() gives; kernels whose plan says "weights rounded to 16 bits" in its
 * "activation" multiply by those values rounded once to the type of x. Sums are f32 (the kernel "reference": f64) in a
 * fixed order: the same call gives the same bits, for every number of threads. Where the plan's determinism is
 * "row-invariant" a row's bits are also the same alone and in any batch; where it is "run-to-run" the order may depend
 * on M. Activations enter with at least 16 bits (as they are, as two bf16 terms, or as 16-bit fixed point per run of at
 * most 128 columns of one row); kernels that round them to 8 bits run only if launch->options->allow_activation_8bit is
 * set, and the plan says so in its "activation". A row of x that holds NaN or infinity gives a row of out without
 * finite values where W is not 0; other rows are not touched by it.
 *
 * With SPF_LAUNCH_PDL the packed weight may be read before the preceding kernel of the stream has ended: it must not be
 * written by it. Every other operand is touched after it only.
 *
 * Errors: SPF_INVALID_SHAPE, SPF_INVALID_TYPE, SPF_INVALID_STRIDE, SPF_INVALID_ALIGNMENT, SPF_INVALID_DEVICE for views
 * that break these rules; SPF_CORRUPT_DATA for a weight header that spf_pack() did not write; SPF_WORKSPACE_TOO_SMALL;
 * SPF_NOT_BUILT, SPF_UNSUPPORTED or SPF_REQUIREMENT_UNMET as in plan.h. */
SPF_API spf_status spf_linear(const spf_tensor* x, const spf_packed_weight* weight, const spf_tensor* bias,
                              const spf_tensor* out, const spf_launch* launch);

#ifdef __cplusplus
}
#endif
#endif
