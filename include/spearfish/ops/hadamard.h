/* Walsh-Hadamard transform of rows.
 *
 * x and out are [..., N] with the same leading dimensions, f32, f16 or bf16, N a power of two from 1 to 32768; the last
 * dimension is contiguous, every leading stride is free; inputs may broadcast with stride 0, rows of out must not
 * overlap. Pointers need the alignment of one element. The number of rows may be 0. out may be exactly x (in place);
 * any other overlap is an error.
 *
 *   out[j] = round(scale * sum over i of (-1)^popcount(i & j) x[i])
 *
 * Sylvester's order of rows, H[2n] = [H[n] H[n]; H[n] -H[n]]; scale is 1 / sqrt(N), or 1 without normalize. Sums are
 * f32 in a fixed order that depends on N and the type only; round() is one rounding to the type, to nearest even. With
 * normalize the transform is its own inverse.
 *
 * Errors: SPF_INVALID_SHAPE, SPF_INVALID_TYPE, SPF_INVALID_STRIDE, SPF_INVALID_ALIGNMENT, SPF_INVALID_DEVICE or
 * SPF_INVALID_ARGUMENT (a parameter, an overlap) for a call that breaks these rules; SPF_NOT_BUILT, SPF_UNSUPPORTED or
 * SPF_REQUIREMENT_UNMET as in plan.h; SPF_DEVICE_ERROR when the launch fails. */
#ifndef SPEARFISH_OPS_HADAMARD_H
#define SPEARFISH_OPS_HADAMARD_H

#include <stdint.h>

#include "spearfish/plan.h"

#ifdef __cplusplus
extern "C" {
#endif

SPF_API spf_status spf_hadamard_transform(const spf_tensor* x, const spf_tensor* out, int32_t normalize,
                                          const spf_launch* launch);

#ifdef __cplusplus
}
#endif
#endif
