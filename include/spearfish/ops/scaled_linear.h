/* Linear layers whose activations come as 8-bit codes: W8A8 and W4A8. */
#ifndef SPEARFISH_OPS_SCALED_LINEAR_H
#define SPEARFISH_OPS_SCALED_LINEAR_H

#include "spearfish/plan.h"
#include "spearfish/quant.h"

#ifdef __cplusplus
extern "C" {
#endif

/* out[m,n] = channel_scale[n] * sum over k of x_scale[m, g(k)] x[m,k] W[n,k] + bias[n]
 *
 *   x              codes [..., K], e4m3 or s8 (symmetric: the value of a code is the code). M is the product of the
 *                  leading dimensions; the last dimension is contiguous, leading strides are free.
 *   x_scale        f32 [..., G], above 0, any strides. G = 1: one scale a token, g(k) = 0; a leading stride of 0 makes
 *                  that one scale for all. G = ceil(K / 128): one a token and 128 columns, g(k) = k / 128.
 *                  Column-major scales are views with a stride of 1 along the tokens.
 *   weight         from spf_pack(). Usual: e4m3 with a scale for all, a channel, or 128 x 128 values; s8 with a scale a
 *                  channel; u4b8 with groups; e4m3 and s8 also 2:4 sparse. W has the values that spf_unpack() gives.
 *   bias           f32, f16 or bf16 [N], or NULL.
 *   azp, azp_adj   i32 [...] and i32 [N], or NULL: zero points of x. With s8 x, integer weights of one scale a channel
 *                  and G = 1 the integer azp[m] * azp_adj[n] is taken from the integer sum of x[m,k] w[n,k] before any
 *                  scale; azp_adj[n] is then the sum of channel n's codes. azp_adj alone is taken as it is: a zero
 *                  point of all tokens, multiplied in by the caller. Differences and products are taken modulo 2^32.
 *                  azp may have any strides, 0 too.
 *   channel_scale  f32 [N], above 0, or NULL: a second factor of W's rows, for 4-bit weights whose group scales are
 *                  8-bit.
 *   out_factor     f32 [1], above 0; given if and only if out is e4m3. out is then the code nearest to
 *                  out[m,n] * out_factor, saturated: the next layer's input, quantized by 1 / its scale.
 *   out            [..., N], f32, f16, bf16 or e4m3; rows must not overlap each other or an input.
 *
 * Any M, N and K may be 0, 1 or odd; K = 0 gives the bias, or 0. K is below 2^17 for s8 x, so that integer sums fit 32
 * bits.
 *
 * Arithmetic: integer products are summed exactly where a scale covers all of K. Sums of e4m3 products are f32 on the
 * CPU; tensor cores sum up to 128 columns (G > 1, or groups of the weight) or all of K (else) in accumulators that cut
 * each addition to 13 bits below its largest term, and the rest in f32. Scales are applied in f32, and the result is
 * rounded once. The reference sums in f64. Same bits at every run; whether a row has the same bits alone and in a batch
 * is what the plan's determinism says. NaN in x, a scale or bias reaches the results that it takes part in and no
 * other.
 *
 * With SPF_LAUNCH_PDL the packed weight may be read before the preceding kernel of the stream has ended: it must not be
 * written by it. Every other operand is touched after it only.
 *
 * Errors: as spf_linear(); SPF_INVALID_SHAPE for a G that is neither 1 nor ceil(K / 128); SPF_INVALID_ARGUMENT for azp
 * without azp_adj or an out_factor that does not fit out's type. Formula: vLLM's cutlass_scaled_mm and its azp and W4A8
 * relatives. */
SPF_API spf_status spf_scaled_linear(const spf_tensor* x, const spf_tensor* x_scale, const spf_packed_weight* weight,
                                     const spf_tensor* bias, const spf_tensor* azp, const spf_tensor* azp_adj,
                                     const spf_tensor* channel_scale, const spf_tensor* out_factor,
                                     const spf_tensor* out, const spf_launch* launch);

#ifdef __cplusplus
}
#endif
#endif
