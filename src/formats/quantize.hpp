// Round-to-nearest quantization of f32 weights into any checkpoint format that has an encoder. Deterministic.
#pragma once

#include <cstddef>

#include "formats/format.hpp"

namespace spf::formats {

inline constexpr size_t kViewAlign = 64; // of quantized memory and of every view in it

// Bytes that quantize() fills for a checked scheme and extents.
size_t quantized_bytes(const spf_quant_scheme& scheme, int64_t n, int64_t k);

// Views of a checked scheme over memory of quantized_bytes(): codes, scales, zeros, g_idx, global scale, each
// contiguous.
spf_quantized_weight place_views(const spf_quant_scheme& scheme, int64_t n, int64_t k, void* memory);

// Quantizes w[N,K] (finite unless plain) into the views of place_views(); every byte of memory is written.
//
// Integers: symmetric scale = absmax / 7 (or 127), asymmetric (max - min) / 15 (or 255) with zero inside the range.
// fp8: absmax / 448. NVFP4: nvfp4_block() with global scale absmax / (448 * 6). MX: the power of two, of the two around
// absmax / max, with the smaller squared error. Act order: g_idx[k] = k / group_k. The scale is rounded to its type
// first; codes are nearest to x / (rounded scale). 2:4 sparse: what is not among the two largest of four is 0.
void quantize(const float* w, const spf_quantized_weight& weight, void* memory);

// Scales from elsewhere: row-major [ceil(N / group_n), groups]; zeros for SPF_ZERO_INTEGER only.
struct GivenScales {
  const float* scales;
  const int32_t* zeros;
  float global_scale;
};
// Quantizes w[N,K] under given scales, each rounded to its type: codes are nearest to x / (scale * global scale) +
// zero, within the code's range. No plain and no block format.
void quantize_with_scales(const float* w, const GivenScales& given, const spf_quantized_weight& weight, void* memory);

// One NVFP4 block of up to 16 values: scale = e4m3(multiplier * absmax / 6), code = e2m1(x / (scale / multiplier)),
// with f32 reciprocals as the activation quantizer of checkpoints computes them. multiplier = 1 / global scale.
void nvfp4_block(const float* x, int count, float multiplier, uint8_t* codes, uint8_t* scale);

// The scheme names of spf_quant_scheme_by_name().
struct NamedScheme {
  const char* name;
  spf_quant_scheme scheme;
};
std::span<const NamedScheme> named_schemes();       // those that quantize() writes
std::span<const NamedScheme> decode_only_schemes(); // the IQ formats
std::span<const NamedScheme> unlisted_schemes();    // 2:4 sparse, MXFP8 in e5m2: written too, but nobody's first choice

} // namespace spf::formats
