/* Block-scaled quantization of activations: NVFP4, MXFP4 and MXFP8.
 *
 * x is [..., K], f32, f16 or bf16; the last dimension is contiguous, every leading stride is free. K is a multiple of
 * the block, 16 for NVFP4 and 32 for MX, else SPF_INVALID_SHAPE names x.shape; so is the number of rows or K 0, or 1,
 * or odd numbers of blocks. With rows or K of 0 nothing is read or written.
 *
 * codes     e2m1: u8 [..., K/2], the even element in the low half of a byte. MXFP8: e4m3 or e5m2 [..., K].
 * scales    [..., K/block], a row of scales for a row of x; e4m3 (NVFP4) or e8m0 (MX).
 * scales_swizzled
 *           [ceil128(rows), ceil4(K/block)], contiguous, rows being the product of the leading dimensions: what
 *           block-scaled tensor cores read. The scale of (row m, block j) is byte
 *               (m/128 * tiles + j/4) * 512 + m%32 * 16 + m/32%4 * 4 + j%4,   tiles = ceil(K/block / 4)
 *           and bytes of rows and blocks that do not exist are written as 0.
 * Either of the two may be NULL, not both.
 *
 * NVFP4     scale = e4m3(g * (amax / 6)) with g = *global_scale, positive and finite, usually 448 * 6 / (largest
 *           magnitude of the tensor); code = e2m1(x / (scale / g)), 0 where the scale rounded to 0. Division by 6, by g
 *           and by scale / g is multiplication with the reciprocal rounded to f32. x is about code * scale / g.
 * MX        scale = 2^k by the scale rule below, 2^-127 at least; code = e2m1, e4m3 or e5m2 of x / scale.
 *
 * amax is the largest magnitude of the block; NaN does not count. Codes are rounded to nearest even and saturate,
 * infinities too. NaN becomes 0 in e2m1 and 0x7f in e4m3 and e5m2. Codes and scales are the same bits on every device
 * and from every kernel. For other values of *global_scale they are unspecified, but written.
 *
 * Outputs must not overlap anything. Pointers need the alignment of one element.
 *
 * Errors: SPF_INVALID_SHAPE, SPF_INVALID_TYPE, SPF_INVALID_STRIDE, SPF_INVALID_ALIGNMENT, SPF_INVALID_DEVICE or
 * SPF_INVALID_ARGUMENT (a parameter) for a call that breaks these rules; SPF_NOT_BUILT, SPF_UNSUPPORTED or
 * SPF_REQUIREMENT_UNMET as in plan.h; SPF_DEVICE_ERROR when the launch fails. */
#ifndef SPEARFISH_OPS_BLOCK_QUANTIZE_H
#define SPEARFISH_OPS_BLOCK_QUANTIZE_H

#include <stdint.h>

#include "spearfish/plan.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The power of two that a block of largest magnitude amax is divided by; max is the largest number of the codes' type.
 */
typedef enum spf_mx_scale_rule {
  SPF_MX_SCALE_FLOOR = 0,  /* 2^(floor(log2 amax) - floor(log2 max)), OCP MX 1.0: values above max saturate */
  SPF_MX_SCALE_UP = 1,     /* the smallest with amax / scale <= max: nothing saturates */
  SPF_MX_SCALE_NEAREST = 2 /* as FLOOR, of amax rounded to the codes' number of fraction bits, ties away from 0 */
} spf_mx_scale_rule;

SPF_API spf_status spf_nvfp4_quantize(const spf_tensor* x, const spf_tensor* global_scale, const spf_tensor* codes,
                                      const spf_tensor* scales, const spf_tensor* scales_swizzled,
                                      const spf_launch* launch);

/* x is [..., 2K], gate in its first half and up in its second; round(silu(gate) * up) is quantized, round() to the type
 * of x. SiLU is x / (1 + e^-x) in f32 by one sequence of operations on every device, within 3 ulp. */
SPF_API spf_status spf_silu_and_mul_nvfp4_quantize(const spf_tensor* x, const spf_tensor* global_scale,
                                                   const spf_tensor* codes, const spf_tensor* scales,
                                                   const spf_tensor* scales_swizzled, const spf_launch* launch);

/* scale_rule: an spf_mx_scale_rule. */
SPF_API spf_status spf_mxfp4_quantize(const spf_tensor* x, const spf_tensor* codes, const spf_tensor* scales,
                                      const spf_tensor* scales_swizzled, int32_t scale_rule, const spf_launch* launch);
SPF_API spf_status spf_mxfp8_quantize(const spf_tensor* x, const spf_tensor* codes, const spf_tensor* scales,
                                      const spf_tensor* scales_swizzled, int32_t scale_rule, const spf_launch* launch);

/* Rows sorted by expert: x is [M, K], expert_offsets i32 [E + 1] says which rows each of E experts has, from 0 to M in
 * order; rows before the first offset and from the last on are neither read nor written. Rows of an expert are
 * quantized with its number of global_scales [E]. scales_swizzled is [128 * B, ceil4(K/block)]: the scales of expert e
 * are a matrix of their own, whose row 0 is row scale_offsets[e] of the whole. scale_offsets i32 [E + 1] starts with 0,
 * each region ending at the next multiple of 128 after its rows. Regions are written to their ends, with zeros after
 * their rows; what lies behind the last is left as it is. B is at least min(M, E) + (M - min(M, E)) / 128, which is
 * room for every way to spread M rows. Offsets that break these rules give unspecified codes and scales, and nothing
 * outside the tensors is read or written as long as expert_offsets stay in [0, M] and do not fall. */
SPF_API spf_status spf_nvfp4_experts_quantize(const spf_tensor* x, const spf_tensor* global_scales,
                                              const spf_tensor* expert_offsets, const spf_tensor* scale_offsets,
                                              const spf_tensor* codes, const spf_tensor* scales_swizzled,
                                              const spf_launch* launch);
SPF_API spf_status spf_silu_and_mul_nvfp4_experts_quantize(const spf_tensor* x, const spf_tensor* global_scales,
                                                           const spf_tensor* expert_offsets,
                                                           const spf_tensor* scale_offsets, const spf_tensor* codes,
                                                           const spf_tensor* scales_swizzled, const spf_launch* launch);
SPF_API spf_status spf_mxfp8_experts_quantize(const spf_tensor* x, const spf_tensor* expert_offsets,
                                              const spf_tensor* scale_offsets, const spf_tensor* codes,
                                              const spf_tensor* scales_swizzled, int32_t scale_rule,
                                              const spf_launch* launch);

/* x is f16 or bf16 and rotation a matrix [R, R] of its type, contiguous, R = 32, 64 or 128, for NVFP4 also 16; K is a
 * multiple of R. Quantized is y[b R + j] = sum over i of x[b R + i] rotation[i, j] for each block b of R columns:
 * usually a Hadamard matrix over sqrt(R). Sums are f32, so codes next to a tie, and with them rarely a scale, may
 * differ between kernels. NVFP4 is nvfp4_quantize of y. */
SPF_API spf_status spf_rotate_nvfp4_quantize(const spf_tensor* x, const spf_tensor* rotation,
                                             const spf_tensor* global_scale, const spf_tensor* codes,
                                             const spf_tensor* scales, const spf_tensor* scales_swizzled,
                                             const spf_launch* launch);

/* Scales of rotated MXFP4, as powers of two at or below a size plus 1e-8; NaN counts as 0. */
typedef enum spf_rotated_scale_rule {
  SPF_ROTATED_SCALE_QUEST = 0,  /* of 2.92247856 / 6 times the block's standard deviation; code = e2m1(y / scale) */
  SPF_ROTATED_SCALE_ABS_MAX = 1 /* of amax; code = e2m1(3 y / scale), so y is about code * scale / 3 */
} spf_rotated_scale_rule;

/* scale_rule: an spf_rotated_scale_rule. */
SPF_API spf_status spf_rotate_mxfp4_quantize(const spf_tensor* x, const spf_tensor* rotation, const spf_tensor* codes,
                                             const spf_tensor* scales, const spf_tensor* scales_swizzled,
                                             int32_t scale_rule, const spf_launch* launch);

/* Block scales of any number of matrices, e4m3 or e8m0, from rows [..., R, G] into tiles [..., ceil128(R), ceil4(G)] as
 * scales_swizzled above, padding written as 0, and back, padding not read. Rows may have any stride, tiles are
 * contiguous. */
SPF_API spf_status spf_swizzle_scales(const spf_tensor* scales, const spf_tensor* swizzled, const spf_launch* launch);
SPF_API spf_status spf_unswizzle_scales(const spf_tensor* swizzled, const spf_tensor* scales, const spf_launch* launch);

#ifdef __cplusplus
}
#endif
#endif
