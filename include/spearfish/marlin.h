/* Single tensors into the Marlin byte orders, for callers that hold checkpoints as tensors of their own: the same bytes
 * as the functions of these names in vLLM. spf_pack() with the layout "marlin" does all of it at once.
 *
 * All pointers are host memory, dense, row-major; outputs are written whole and may not overlap inputs (where nothing
 * else is said). pf = 32 / bits codes lie in a word, the first in its lowest bits. N is a multiple of 64, K of 16.
 * act8: 1 for kernels with 8-bit activations (K a multiple of 32), 0 for 16-bit ones.
 *
 * SPF_INVALID_ARGUMENT: a pointer that is NULL, bits that are not 4 or 8, act8 that is not 0 or 1. SPF_INVALID_SHAPE:
 * an extent that is negative or no such multiple. Nothing is written then. */
#ifndef SPEARFISH_MARLIN_H
#define SPEARFISH_MARLIN_H

#include <stdint.h>

#include "spearfish/export.h"
#include "spearfish/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Codes. qweight [K/pf, N], pf consecutive k a word, as GPTQ has it -> out [K/16, N*16/pf]. perm [K] or NULL: row r of
 * the result is row perm[r] (act order; not with act8). SPF_CORRUPT_DATA: an index out of 0 .. K-1. */
SPF_API spf_status spf_gptq_marlin_repack(const int32_t* qweight, const int32_t* perm, int64_t k, int64_t n,
                                          int32_t bits, int32_t act8, int32_t* out);

/* Codes. qweight [K, N/pf], columns interleaved as AWQ has them -> out [K/16, N*16/pf]. */
SPF_API spf_status spf_awq_marlin_repack(const int32_t* qweight, int64_t k, int64_t n, int32_t bits, int32_t act8,
                                         int32_t* out);

/* 4-bit codes for e4m3 activations, in any order of words: code c of zero point z becomes c - z where c >= z, else 15 -
 * c; z is 8 without zero points. qweight [rows, words]; qzeros [groups, words], interleaved in the same way, or NULL;
 * row r belongs to group r / (rows / groups). out may be qweight. SPF_INVALID_SHAPE: groups does not divide rows. */
SPF_API spf_status spf_marlin_int4_fp8_preprocess(const int32_t* qweight, int64_t rows, int64_t words,
                                                  const int32_t* qzeros, int64_t groups, int32_t* out);

/* Scales [groups, N] of element_bytes (1, 2 or 4) each -> the same shape, columns in the order of the kernels. grouped:
 * 1 for scales of groups with 16-bit activations, 0 for one scale a column and for 8-bit activations. */
SPF_API spf_status spf_marlin_permute_scales(const void* scales, int64_t groups, int64_t n, int32_t element_bytes,
                                             int32_t grouped, void* out);

/* bias [N] likewise. */
SPF_API spf_status spf_marlin_permute_bias(const void* bias, int64_t n, int32_t element_bytes, void* out);

/* Zero points, one in each element of codes [groups, N] -> out [groups, N/pf]. */
SPF_API spf_status spf_marlin_zero_points(const int32_t* codes, int64_t groups, int64_t n, int32_t bits, int32_t act8,
                                          int32_t* out);

/* Zero points as AWQ has them, qzeros [groups, N/pf] -> out [groups, N/pf]. */
SPF_API spf_status spf_awq_marlin_zero_points(const int32_t* qzeros, int64_t groups, int64_t n, int32_t bits,
                                              int32_t act8, int32_t* out);

/* f16 scales for s8 activations: out = round(s / max(s) * 4096), the quotient rounded to f16; *factor = max(s) / 4096
 * goes to the activations' scales. Elementwise, permuted or not. */
SPF_API spf_status spf_marlin_int8_scales(const uint16_t* scales, int64_t count, int16_t* out, float* factor);

/* NVFP4 block scales, given in f16 [groups, N] -> bytes. SPF_UNSUPPORTED: a scale below 0 or above 448. */
SPF_API spf_status spf_marlin_nvfp4_scales(const uint16_t* scales, int64_t groups, int64_t n, uint8_t* out);

/* MXFP4 scales, e8m0 [groups, N] -> bytes. */
SPF_API spf_status spf_marlin_mxfp4_scales(const uint8_t* scales, int64_t groups, int64_t n, int32_t act8,
                                           uint8_t* out);

#ifdef __cplusplus
}
#endif
#endif
