/* Quantized weights: what a checkpoint's bytes mean (spf_quant_scheme, spf_quantized_weight) and the immutable packed
 * form that a kernel reads (spf_packed_weight).
 *
 * A weight is W[N,K]: N output features, K the reduction. It walks once, at load:
 *   named tensors -> spf_quantized_weight (borrowed views, no byte moves) -> spf_pack_size() -> caller allocates ->
 *   spf_pack() -> spf_packed_weight. */
#ifndef SPEARFISH_QUANT_H
#define SPEARFISH_QUANT_H

#include <stddef.h>
#include <stdint.h>

#include "spearfish/export.h"
#include "spearfish/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Checkpoint formats: the meaning of bytes, never the name of a kernel. */
typedef enum spf_format {
  SPF_FORMAT_NONE = 0,
  SPF_FORMAT_PLAIN = 1, /* f32, f16 or bf16 [N,K] */
  SPF_FORMAT_GPTQ =
      2, /* qweight i32 [K/pf,N], qzeros i32 [K/g,N/pf] (stored zero - 1), scales f16 [K/g,N], g_idx i32 [K] */
  SPF_FORMAT_GPTQ_V2 = 3, /* as GPTQ, zeros stored as they are */
  SPF_FORMAT_AWQ = 4,     /* qweight i32 [K,N/8] interleaved, qzeros i32 [K/g,N/8], scales f16 [K/g,N] */
  SPF_FORMAT_CT_INT = 5,  /* compressed-tensors pack-quantized: weight_packed i32 [N,K/pf], weight_scale [N,K/g],
                             weight_zero_point i32 [N/pf,K/g] optional, weight_g_idx i32 [K] optional */
  SPF_FORMAT_FP8 = 6,     /* e4m3 [N,K], scale f32/bf16: [1], [N] or [N,1], or [ceil(N/bn),ceil(K/bk)] */
  SPF_FORMAT_NVFP4 =
      7, /* e2m1 packed u8 [N,K/2], block scales e4m3 [N,K/16] (linear or swizzled), global scale f32 [1] */
  SPF_FORMAT_MXFP4 = 8, /* e2m1 packed u8 [N,K/2], e8m0 [N,K/32] */
  SPF_FORMAT_MXFP8 = 9, /* e4m3 or e5m2 [N,K], e8m0 [N,K/32] */
  SPF_FORMAT_Q4_0 = 20,
  SPF_FORMAT_Q4_1 = 21,
  SPF_FORMAT_Q5_0 = 22,
  SPF_FORMAT_Q5_1 = 23,
  SPF_FORMAT_Q8_0 = 24,
  SPF_FORMAT_Q2_K = 25,
  SPF_FORMAT_Q3_K = 26,
  SPF_FORMAT_Q4_K = 27,
  SPF_FORMAT_Q5_K = 28,
  SPF_FORMAT_Q6_K = 29,
  SPF_FORMAT_IQ2_XXS = 30,
  SPF_FORMAT_IQ2_XS = 31,
  SPF_FORMAT_IQ2_S = 32,
  SPF_FORMAT_IQ3_XXS = 33,
  SPF_FORMAT_IQ3_S = 34,
  SPF_FORMAT_IQ1_S = 35,
  SPF_FORMAT_IQ1_M = 36,
  SPF_FORMAT_IQ4_NL = 37,
  SPF_FORMAT_IQ4_XS = 38 /* GGUF: u8 [N, K/block*bytes] */
} spf_format;

/* How codes become values. */
typedef enum spf_zero_point_kind {
  SPF_ZERO_NONE = 0,    /* value = scale * decode(code) */
  SPF_ZERO_INTEGER = 1, /* value = scale * (code - zero), zero an integer */
  SPF_ZERO_MINIMUM = 2  /* value = scale * code - minimum (GGUF *_1 and K formats) */
} spf_zero_point_kind;

/* What is known of the places of values that are 0. */
typedef enum spf_sparsity {
  SPF_SPARSITY_NONE = 0,
  SPF_SPARSITY_2_OF_4 = 1 /* of columns 4 i to 4 i + 3 of a row, at most two hold a value that is not 0, for every i */
} spf_sparsity;

/* Full description of a weight's quantization. */
typedef struct spf_quant_scheme {
  uint32_t struct_size; /* in: sizeof(spf_quant_scheme) */
  spf_format format;
  spf_scalar_type weight; /* scalar type of a code: u4, u4b8, u8, u8b128, s4, s8, e4m3, e5m2, e2m1, f32, f16, bf16;
                             GGUF: the nearest (u4, s8, ...), the format decides */
  spf_scalar_type scale;  /* scalar type of a scale; NONE for plain weights */
  spf_zero_point_kind zero;
  int32_t group_k;          /* values along K that share a scale; -1 = all of K */
  int32_t group_n;          /* rows of N that share a scale: 1, or 128 for block scales; -1 = all of N (per-tensor) */
  int32_t has_g_idx;        /* 1: act order, group of column k is g_idx[k] */
  int32_t has_global_scale; /* 1: one f32 multiplies every value */
  int32_t scales_swizzled;  /* 1: NVFP4 block scales in the swizzled 128x4 order */
  spf_sparsity sparsity;    /* 2 of 4: plain weights, fp8 and compressed-tensors integers without zero points. A promise
                               about values; views and bytes of the checkpoint stay those of the dense matrix. The
                               layout "sparse24" stores the two values and their places, and refuses what breaks the
                               promise; every other layout stores the zeros too. */
} spf_quant_scheme;

/* A quantized weight as it stands in a checkpoint: borrowed host views. Unused views have type SPF_TYPE_NONE. */
typedef struct spf_quantized_weight {
  uint32_t struct_size; /* in: sizeof(spf_quantized_weight) */
  spf_quant_scheme scheme;
  int64_t n, k;
  spf_tensor codes;
  spf_tensor scales;
  spf_tensor zeros;
  spf_tensor g_idx;
  spf_tensor global_scale;
} spf_quantized_weight;

/* A packed weight: bytes that the caller owns, with a header that every op checks. Immutable once packed. May be copied
 * byte for byte to another device: copy the bytes, then copy this struct with data and device changed. */
typedef struct spf_packed_weight {
  uint32_t struct_size; /* in: sizeof(spf_packed_weight) */
  spf_quant_scheme scheme;
  char layout[32]; /* a name of spf_layout_name(): "reference", "cpu_n16", "marlin", ... */
  uint32_t layout_version;
  int64_t n, k; /* logical */
  int64_t padded_n, padded_k;
  spf_device device;
  void* data; /* 256-byte aligned */
  size_t bytes;
  size_t scales_offset; /* byte offsets of the sections inside data; 0 where absent (codes start at 0) */
  size_t zeros_offset;
  size_t g_idx_offset;
  size_t global_offset;
} spf_packed_weight;

/* "int4-g128" etc. -> scheme that spf_quantize() writes. Names: bf16, f16, f32, int4-g128, int4-g64, int4-g32,
 * int4-g32-asym, int4-g128-asym, int4-channel, int8, int8-g128, s8-channel, fp8, fp8-channel, fp8-block, nvfp4, mxfp4,
 * mxfp8, q4_0, q4_1, q5_0, q5_1, q8_0, q2_k, q3_k, q4_k, q5_k, q6_k; SPF_NOT_FOUND lists them. The decode-only formats
 * have names too, for readers: iq2_xxs, iq2_xs, iq2_s, iq3_xxs, iq3_s, iq1_s, iq1_m, iq4_nl, iq4_xs; and so have 2:4
 * sparse schemes, for weights that were pruned before: bf16-2of4, f16-2of4, int8-2of4, s8-channel-2of4, fp8-2of4,
 * fp8-channel-2of4; and mxfp8-e5m2, MXFP8 with codes in e5m2. */
SPF_API spf_status spf_quant_scheme_by_name(const char* name, spf_quant_scheme* scheme);

/* The i-th name of a scheme that spf_quantize() writes; NULL past the last. */
SPF_API const char* spf_quant_scheme_name(int32_t index);

/* Checks that the views fit the scheme, n and k: shapes, types, strides, device. Reads no element but those of g_idx
 * (every group index must be in range). */
SPF_API spf_status spf_quantized_weight_check(const spf_quantized_weight* weight);

/* Exact values of a quantized weight, W[N,K] in f32, row-major, contiguous: the oracle of every layout and kernel. */
SPF_API spf_status spf_dequantize(const spf_quantized_weight* weight, float* out);

/* Bytes that spf_quantize() needs for a scheme: total, and where each view will lie. */
SPF_API spf_status spf_quantize_size(const spf_quant_scheme* scheme, int64_t n, int64_t k, size_t* bytes);

/* Round-to-nearest quantization of W[N,K] (f32, row-major) into caller memory of spf_quantize_size() bytes (64-byte
 * aligned). *weight receives views into it. Deterministic. SPF_UNSUPPORTED for decode-only formats (the IQ types).
 * Under a 2:4 sparse scheme the two of every four values with the largest magnitude stay (of equals the first; NaN is
 * above all), the others become 0: nothing is lost of a matrix that is 2:4 sparse already. */
SPF_API spf_status spf_quantize(const spf_quant_scheme* scheme, int64_t n, int64_t k, const float* w, void* memory,
                                size_t bytes, spf_quantized_weight* weight);

/* As spf_quantize(), under scales of the caller's choice, for quantizers that weigh what a scale costs (clipping,
 * GPTQ). scales: f32 [ceil(N / group_n), G], row-major, where G = ceil(K / group_k) groups, an extent of 1 where the
 * group is all of N or K; finite, each rounded to the scheme's type first. zeros: [N,G], the zero points of
 * SPF_ZERO_INTEGER, within the range of a code; NULL otherwise. global_scale: the factor of schemes that have one,
 * above 0; else ignored. Each value becomes the code nearest to value / (scale * global_scale) + zero, 0 (plus zero)
 * where the scale is 0. Columns are in order: g_idx[k] = k / group_k. SPF_UNSUPPORTED for plain weights and for the
 * block formats of GGUF. */
SPF_API spf_status spf_quantize_with_scales(const spf_quant_scheme* scheme, int64_t n, int64_t k, const float* w,
                                            const float* scales, const int32_t* zeros, float global_scale, void* memory,
                                            size_t bytes, spf_quantized_weight* weight);

/* Bytes of the packed form in a layout. Any n, k >= 0. */
SPF_API spf_status spf_pack_size(const spf_quant_scheme* scheme, const char* layout, int64_t n, int64_t k,
                                 size_t* bytes);

/* Packs into caller memory (256-byte aligned, host). Every byte is written, padding included. *packed is valid on
 * success only; on failure nothing in *packed changes.
 *
 * The layout "sparse24" compresses: of every four columns it keeps two, codes of 8 bits in 62.5 % and of 16 bits in
 * 56.25 % of the bytes of the dense matrix. SPF_UNSUPPORTED names row and column of the first value that finds no
 * place, as in "codes[3, 17]". Zeros of either sign need none; negative ones take those that are free, and come back as
 * 0 where none is. NaN is a value like any other. */
SPF_API spf_status spf_pack(const spf_quantized_weight* weight, const char* layout, void* memory, size_t bytes,
                            spf_packed_weight* packed);

/* Exact values of a packed weight on the host: equal, bit for bit, to spf_dequantize() of what was packed. */
SPF_API spf_status spf_unpack(const spf_packed_weight* packed, float* out);

/* The i-th layout name known to this library; NULL past the last. */
SPF_API const char* spf_layout_name(int32_t index);

#ifdef __cplusplus
}
#endif
#endif
