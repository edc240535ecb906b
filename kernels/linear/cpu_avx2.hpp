// AVX2 pieces that the kernels of this family share; the twin of cpu_avx512.hpp, with two vectors for 16 lanes.
#pragma once

#include <cstring>

#include "kernels/common/simd/intrinsics.hpp"
#include "kernels/linear/args.h"

namespace spf::linear {
namespace {

struct Float16 {
  __m256 v[2];
};

// e4m3 codes in 32-bit lanes. Exponent and mantissa, read as f32, are 2^120 too small, subnormals too.
inline __m256 e4m3_to_f32(__m256i code) {
  const __m256i magnitude = _mm256_and_si256(code, _mm256_set1_epi32(0x7f));
  const __m256i sign = _mm256_slli_epi32(_mm256_and_si256(code, _mm256_set1_epi32(0x80)), 24);
  __m256 value = _mm256_mul_ps(_mm256_castsi256_ps(_mm256_slli_epi32(magnitude, 20)), _mm256_set1_ps(0x1p120f));
  value = _mm256_blendv_ps(value, _mm256_set1_ps(__builtin_nanf("")),
                           _mm256_castsi256_ps(_mm256_cmpeq_epi32(magnitude, _mm256_set1_epi32(0x7f))));
  return _mm256_or_ps(value, _mm256_castsi256_ps(sign));
}

// Elements [i, i + 16) of a contiguous row as f32; those from `count` on are 0 and not read.
inline Float16 load_row(const char* row, spf_scalar_type type, int64_t i, int64_t count) {
  const int64_t size = element_bytes(type);
  const char* from = row + i * size;
  char whole[64] = {};
  if (count < 16) {
    if (count > 0) std::memcpy(whole, from, static_cast<size_t>(count * size));
    from = whole;
  }
  Float16 out;
  for (int j = 0; j < 2; ++j) {
    if (type == SPF_F32) {
      out.v[j] = _mm256_loadu_ps(reinterpret_cast<const float*>(from) + 8 * j);
      continue;
    }
    if (type == SPF_S8 || type == SPF_E4M3) {
      const __m128i codes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(from + 8 * j));
      out.v[j] =
          type == SPF_S8 ? _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(codes)) : e4m3_to_f32(_mm256_cvtepu8_epi32(codes));
      continue;
    }
    const __m128i half = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from) + j);
    out.v[j] = type == SPF_F16 ? _mm256_cvtph_ps(half)
                               : _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(half), 16));
  }
  return out;
}

// f32 -> bf16, to nearest even; NaN stays a (quiet) NaN. Codes in the low halves of the lanes.
inline __m256i to_bf16(__m256 v) {
  const __m256i bits = _mm256_castps_si256(v), top = _mm256_srli_epi32(bits, 16);
  const __m256i odd = _mm256_and_si256(top, _mm256_set1_epi32(1));
  const __m256i rounded =
      _mm256_srli_epi32(_mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff))), 16);
  const __m256i quiet = _mm256_or_si256(top, _mm256_set1_epi32(0x40));
  return _mm256_blendv_epi8(rounded, quiet, _mm256_castps_si256(_mm256_cmp_ps(v, v, _CMP_UNORD_Q)));
}

inline void store_row(char* row, spf_scalar_type type, int64_t i, int64_t count, const Float16& values) {
  alignas(32) char whole[64];
  for (int j = 0; j < 2; ++j) {
    if (type == SPF_F32) {
      _mm256_store_ps(reinterpret_cast<float*>(whole) + 8 * j, values.v[j]);
      continue;
    }
    __m128i half;
    if (type == SPF_F16) {
      half = _mm256_cvtps_ph(values.v[j], _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    } else {
      const __m256i codes = to_bf16(values.v[j]);
      half = _mm_packus_epi32(_mm256_castsi256_si128(codes), _mm256_extracti128_si256(codes, 1));
    }
    _mm_store_si128(reinterpret_cast<__m128i*>(whole) + j, half);
  }
  const int64_t size = element_bytes(type);
  if (count > 0) std::memcpy(row + i * size, whole, static_cast<size_t>((count < 16 ? count : 16) * size));
}

// The 16 scales (or minima) of a row of scales.
inline Float16 load_scales(const uint8_t* at, spf_scalar_type type) {
  return load_row(reinterpret_cast<const char*>(at), type, 0, 16);
}

} // namespace
} // namespace spf::linear
