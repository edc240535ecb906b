/* Linear layers whose activations and weights are both block-scaled: NVFP4 x NVFP4, MXFP4 x MXFP4, MXFP8 x MXFP8 and
 * MXFP8 x MXFP4. Activations are what spearfish/ops/block_quantize.h writes. */
#ifndef SPEARFISH_OPS_BLOCK_LINEAR_H
#define SPEARFISH_OPS_BLOCK_LINEAR_H

#include "spearfish/plan.h"
#include "spearfish/quant.h"

#ifdef __cplusplus
extern "C" {
#endif

/* out[m,n] = alpha * sum over k of x_scales(m, k / block) x[m,k] W[n,k] + bias[n]
 *
 *   x          codes, M rows, M being the product of the leading dimensions. NVFP4 and MXFP4: u8 [..., K/2], two e2m1 a
 *              byte, the even element in its low half. MXFP8: e4m3 or e5m2 [..., K]. The last dimension is contiguous,
 *              leading strides are free.
 *   x_scales   [ceil128(M), ceil4(K/block)], contiguous: scales_swizzled of the quantizers, whose formula says where
 *              the scale of a block lies. NVFP4: e4m3, blocks of 16. MX: e8m0, blocks of 32. Not negative. Scales of
 *              rows and blocks that do not exist must not be NaN, and have no effect; the quantizers write 0.
 *   weight     from spf_pack(): NVFP4 for spf_nvfp4_linear, MXFP4 for spf_mxfp4_linear, MXFP8 or MXFP4 for
 *              spf_mxfp8_linear. W has the values that spf_unpack() gives, the weight's global scale among them.
 *   alpha      f32 [1], or NULL for 1: for NVFP4 the reciprocal of the global_scale that x was quantized with.
 *   bias       f32, f16 or bf16 [N], or NULL.
 *   out        [..., N], f32, f16 or bf16; rows must not overlap each other or an input.
 *
 * K is a multiple of the block, else SPF_INVALID_SHAPE names weight.k; M, N and the number of blocks may be 0, 1 or
 * odd. K = 0 gives the bias, or 0.
 *
 * Arithmetic: a product of codes and scales is exact. Tensor cores sum products of 64 (e2m1) or 32 values in
 * accumulators of their own precision, and these sums in f32; alpha, the global scale and the bias are applied in f32,
 * and the result is rounded once. The reference sums in f64. Same bits at every run; whether a row has the same bits
 * alone and in a batch is what the plan's determinism says. NaN in x, a scale or bias reaches the results that it takes
 * part in and no other.
 *
 * Where no kernel serves these types (every GPU before 10.0), the same checkpoint runs with 16-bit activations:
 * spf_linear() takes weights of these formats.
 *
 * With SPF_LAUNCH_PDL the packed weight may be read before the preceding kernel of the stream has ended: it must not be
 * written by it. Every other operand is touched after it only.
 *
 * Errors: as spf_linear(). Formulas: OCP MX 1.0; NVFP4 as vLLM's cutlass_scaled_fp4_mm. */
SPF_API spf_status spf_nvfp4_linear(const spf_tensor* x, const spf_tensor* x_scales, const spf_packed_weight* weight,
                                    const spf_tensor* alpha, const spf_tensor* bias, const spf_tensor* out,
                                    const spf_launch* launch);
SPF_API spf_status spf_mxfp4_linear(const spf_tensor* x, const spf_tensor* x_scales, const spf_packed_weight* weight,
                                    const spf_tensor* alpha, const spf_tensor* bias, const spf_tensor* out,
                                    const spf_launch* launch);
SPF_API spf_status spf_mxfp8_linear(const spf_tensor* x, const spf_tensor* x_scales, const spf_packed_weight* weight,
                                    const spf_tensor* alpha, const spf_tensor* bias, const spf_tensor* out,
                                    const spf_launch* launch);

#ifdef __cplusplus
}
#endif
#endif
