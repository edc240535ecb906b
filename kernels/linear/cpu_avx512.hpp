// AVX-512 pieces that the kernels of this family share: rows of any scalar type in and out, scales, and activations
// turned into integers. Internal linkage throughout; see args.h.
#pragma once

#include "kernels/common/simd/intrinsics.hpp"
#include "kernels/linear/args.h"
#include "kernels/linear/workspace.hpp"

namespace spf::linear {
namespace {

// e4m3 codes in 32-bit lanes. Exponent and mantissa, read as f32, are 2^120 too small, subnormals too.
inline __m512 e4m3_to_f32(__m512i code) {
  const __m512i magnitude = _mm512_and_si512(code, _mm512_set1_epi32(0x7f));
  const __m512i sign = _mm512_slli_epi32(_mm512_and_si512(code, _mm512_set1_epi32(0x80)), 24);
  __m512 value = _mm512_mul_ps(_mm512_castsi512_ps(_mm512_slli_epi32(magnitude, 20)), _mm512_set1_ps(0x1p120f));
  value = _mm512_mask_mov_ps(value, _mm512_cmpeq_epi32_mask(magnitude, _mm512_set1_epi32(0x7f)),
                             _mm512_set1_ps(__builtin_nanf("")));
  return _mm512_castsi512_ps(_mm512_or_si512(_mm512_castps_si512(value), sign));
}

// Elements [i, i + 16) of a contiguous row as f32; lanes outside the mask are 0 and not read.
inline __m512 load_row(const char* row, spf_scalar_type type, int64_t i, __mmask16 mask) {
  if (type == SPF_F32) return _mm512_maskz_loadu_ps(mask, row + i * 4);
  if (type == SPF_S8 || type == SPF_E4M3) {
    const __m128i codes = _mm_maskz_loadu_epi8(mask, row + i);
    if (type == SPF_S8) return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(codes));
    return e4m3_to_f32(_mm512_cvtepu8_epi32(codes));
  }
  const __m256i half = _mm256_maskz_loadu_epi16(mask, row + i * 2);
  if (type == SPF_F16) return _mm512_cvtph_ps(half);
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
}

// f32 -> bf16, to nearest even; NaN stays a (quiet) NaN. 16 codes in the low halves of the lanes.
inline __m512i to_bf16(__m512 v) {
  const __m512i bits = _mm512_castps_si512(v);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  const __m512i rounded =
      _mm512_srli_epi32(_mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff))), 16);
  const __m512i quiet = _mm512_or_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(0x40));
  return _mm512_mask_mov_epi32(rounded, _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q), quiet);
}

inline void store_row(char* row, spf_scalar_type type, int64_t i, __mmask16 mask, __m512 v) {
  if (type == SPF_F32) return _mm512_mask_storeu_ps(row + i * 4, mask, v);
  const __m256i half = type == SPF_F16 ? _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)
                                       : _mm512_cvtepi32_epi16(to_bf16(v));
  _mm256_mask_storeu_epi16(row + i * 2, mask, half);
}

inline __mmask16 first_lanes(int64_t count) {
  return count >= 16 ? static_cast<__mmask16>(0xffff) : static_cast<__mmask16>((1u << (count < 0 ? 0 : count)) - 1);
}

// The 16 scales (or minima) of a row of scales.
inline __m512 load_scales(const uint8_t* at, spf_scalar_type type) {
  if (type == SPF_F16) return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(at)));
  if (type == SPF_BF16)
    return _mm512_castsi512_ps(
        _mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(at))), 16));
  return _mm512_loadu_ps(at);
}

// The 128 (or fewer) activations of a segment as f32; positions beyond K and padding are 0.
inline void load_segment(const Args& a, const char* row, const CpuSegment& s, __m512 v[8]) {
  const int vectors = s.length / 16;
  if (!a.weight.layout.gathered) {
    for (int i = 0; i < vectors; ++i) {
      const int64_t k = s.start + 16 * i;
      v[i] = load_row(row, a.x.type, k, first_lanes(a.k - k));
    }
    return;
  }
  alignas(64) float values[kCpuMaxSegment];
  for (int i = 0; i < s.length; ++i) {
    const int64_t k = a.weight.column[s.start + i];
    values[i] = k < 0 ? 0.0f : _mm512_cvtss_f32(load_row(row, a.x.type, k, 1));
  }
  for (int i = 0; i < vectors; ++i) v[i] = _mm512_load_ps(values + 16 * i);
}

// Row of the prepared activations at which a plane of a token stands. With two planes, eight tokens form one AMX tile:
// eight rows of high bytes, eight of low ones.
template <int kPlanes>
inline int64_t plane_row(int64_t token, int plane) {
  return kPlanes == 1 ? token : token / 8 * 16 + plane * 8 + token % 8;
}

// Integers of one row (slot of the chunk) for the segments [first, last).
//   step = max|x| / limit over the segment, limit = 127 or 32639 (the largest 256 * high + low with two signed bytes);
//   code = x / max|x| * limit, to nearest even. A segment that holds NaN or infinity gets codes 0 and step NaN.
// With x_scale x are the codes, and step is their scale.
//
// kTiled: a row of a plane is not a run of bytes but 64 bytes of each of a row tile's column tiles, 1 KiB apart; a
// segment has two column tiles if it may be longer than 64, else one. One AMX tile is then 1 KiB without gaps.
template <int kPlanes, bool kTiled = false>
inline void prepare_integers(const Args& a, const IntegerWorkspace& ws, int64_t m, int64_t slot, int64_t first,
                             int64_t last) {
  constexpr float kLimit = kPlanes == 1 ? 127.0f : 32639.0f;
  // 4-bit weights are read in the order 0 4 1 5 2 6 3 7 of each eight columns; see core/cpu_packed.hpp.
  const __m128i nibble_order = _mm_setr_epi8(0, 4, 1, 5, 2, 6, 3, 7, 8, 12, 9, 13, 10, 14, 11, 15);
  const bool nibbles = a.weight.layout.codes == CpuCodes::kNibble;
  const char* row = row_at(a.x, m);
  char* planes[kPlanes];
  for (int p = 0; p < kPlanes; ++p) {
    const int64_t at = plane_row<kPlanes>(slot, p);
    planes[p] = a.workspace + ws.codes + (kTiled ? at / 16 * ws.pitch * 16 + at % 16 * 64 : at * ws.pitch);
  }
  const int64_t segment_tiles = a.weight.layout.segment_k > 64 ? 2 : 1;
  float* steps = reinterpret_cast<float*>(a.workspace + ws.steps) + slot * a.weight.layout.segments;
  int32_t* sums = reinterpret_cast<int32_t*>(a.workspace + ws.sums) + slot * a.weight.layout.segments;
  int32_t* offsets = reinterpret_cast<int32_t*>(a.workspace + ws.offsets) + slot * a.weight.layout.segments;
  for (int64_t i = first; i < last; ++i) {
    const CpuSegment s = cpu_segment(a.weight, i);
    const int vectors = s.length / 16;
    __m512 v[8];
    load_segment(a, row, s, v);
    const bool given = a.x_scale != nullptr;
    bool finite = true;
    __m512 inverse = _mm512_set1_ps(1.0f);
    if (given) {
      steps[i] = x_scale_at(a, m, s.start);
    } else {
      // As integers, |x| orders like the floats, with infinity and NaN above every number.
      __m512i top = _mm512_setzero_si512();
      for (int j = 0; j < vectors; ++j)
        top = _mm512_max_epu32(top, _mm512_and_si512(_mm512_castps_si512(v[j]), _mm512_set1_epi32(0x7fffffff)));
      const uint32_t top_bits = _mm512_reduce_max_epu32(top);
      const bool zero = top_bits < 0x00800000u; // subnormal counts as zero
      finite = top_bits < 0x7f800000u;
      const float max = _mm512_cvtss_f32(_mm512_castsi512_ps(_mm512_set1_epi32(static_cast<int32_t>(top_bits))));
      inverse = _mm512_set1_ps(finite && !zero ? 1.0f / max : 0.0f);
      steps[i] = !finite ? __builtin_nanf("") : zero ? 0.0f : max * (1.0f / kLimit);
    }
    const __m512 limit = _mm512_set1_ps(given ? 1.0f : kLimit);
    __m512i sum = _mm512_setzero_si512();
    for (int j = 0; j < vectors; ++j) {
      __m512i code = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_mul_ps(v[j], inverse), limit));
      if (!finite) code = _mm512_setzero_si512();
      sum = _mm512_add_epi32(sum, code);
      const __m512i low = kPlanes == 1 ? code : _mm512_srai_epi32(_mm512_slli_epi32(code, 24), 24);
      const int64_t to = kTiled ? (i * segment_tiles + j / 4) * 1024 + j % 4 * 16 : s.start + 16 * j;
      __m128i bytes = _mm512_cvtepi32_epi8(low);
      if (nibbles) bytes = _mm_shuffle_epi8(bytes, nibble_order);
      _mm_storeu_si128(reinterpret_cast<__m128i*>(planes[kPlanes - 1] + to), bytes);
      if constexpr (kPlanes == 2) {
        bytes = _mm512_cvtepi32_epi8(_mm512_srai_epi32(_mm512_sub_epi32(code, low), 8));
        if (nibbles) bytes = _mm_shuffle_epi8(bytes, nibble_order);
        _mm_storeu_si128(reinterpret_cast<__m128i*>(planes[0] + to), bytes);
      }
    }
    sums[i] = _mm512_reduce_add_epi32(sum);
    offsets[i] = -a.weight.layout.zero * sums[i];
  }
}

// f32 sum of one segment from its exact integer dot product:
//   sum += step * scale * (dot - zero * sum_of_codes)         [- minimum * step * sum_of_codes]
// `dot` already lacks the constant zero point. The AVX2, AVX-512 and AMX kernels all do exactly these operations in
// this order, so that they agree bit for bit.
struct SegmentScale {
  __m512 scale, minimum;
  __m512i zero;
};

inline SegmentScale load_segment_scale(const CpuWeight& w, int64_t block, int64_t scale_row) {
  const CpuPacked& p = w.layout;
  SegmentScale s;
  if (p.scale_rows == 0) {
    s.scale = _mm512_set1_ps(p.scale_factor);
    return s;
  }
  const int64_t row = block * p.scale_rows + scale_row;
  s.scale = load_scales(w.scales + row * static_cast<int64_t>(p.scale_row_bytes), p.scale_type);
  if (p.zeros == SPF_ZERO_INTEGER)
    s.zero = _mm512_cvtepi16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(w.zeros + row * 32)));
  else if (p.zeros == SPF_ZERO_MINIMUM)
    s.minimum = load_scales(w.zeros + row * static_cast<int64_t>(p.scale_row_bytes), p.scale_type);
  return s;
}

inline __m512 add_segment(spf_zero_point_kind zeros, const SegmentScale& s, __m512 sum, __m512i dot, float step,
                          int32_t code_sum) {
  if (zeros == SPF_ZERO_INTEGER) dot = _mm512_sub_epi32(dot, _mm512_mullo_epi32(s.zero, _mm512_set1_epi32(code_sum)));
  sum = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot), _mm512_mul_ps(s.scale, _mm512_set1_ps(step)), sum);
  if (zeros == SPF_ZERO_MINIMUM)
    sum = _mm512_fnmadd_ps(s.minimum, _mm512_set1_ps(step * static_cast<float>(code_sum)), sum);
  return sum;
}

// Zero points, global and channel scales, bias, conversion, store: 16 features of row m from feature n on.
inline void finish(const Args& a, char* out_row, int64_t m, int64_t n, __m512 sum) {
  const __mmask16 mask = first_lanes(a.n - n);
  __m512 factor = _mm512_set1_ps(a.weight.global_scale);
  if (a.azp_adj != nullptr) {
    const __m512i zero =
        _mm512_mullo_epi32(_mm512_maskz_loadu_epi32(mask, a.azp_adj + n), _mm512_set1_epi32(azp_at(a, m)));
    const __m512 scale = load_segment_scale(a.weight, n / kCpuBlockN, 0).scale;
    sum = _mm512_fnmadd_ps(_mm512_cvtepi32_ps(zero), _mm512_mul_ps(scale, _mm512_set1_ps(x_scale_at(a, m, 0))), sum);
  }
  if (a.channel_scale != nullptr) factor = _mm512_mul_ps(factor, _mm512_maskz_loadu_ps(mask, a.channel_scale + n));
  if (a.bias != nullptr)
    sum = _mm512_fmadd_ps(sum, factor, load_row(a.bias, a.bias_type, n, mask));
  else
    sum = _mm512_mul_ps(sum, factor);
  store_row(out_row, a.out.type, n, mask, sum);
}

} // namespace
} // namespace spf::linear
