// Floating-point weights of up to 8 bits, and bf16 ones, as pairs of bf16: what vdpbf16ps and the AMX tiles multiply.
// Codes become bf16 exactly, scales are applied to f32 sums. Activations are one bf16 term if they are bf16, else two
// (high and the rest), which keeps 16 bits of them. Internal linkage throughout; see args.h.
#pragma once

#include "kernels/linear/cpu_avx512.hpp"

namespace spf::linear {
namespace {

inline int bf16_terms(spf_scalar_type x) { return x == SPF_BF16 || x == SPF_E4M3 ? 1 : 2; }

class Bf16Operands {
 public:
  Bf16Operands(const Args& a, const Bf16Workspace& ws) : a_(a), ws_(ws), w_(a.weight), p_(a.weight.layout) {}

  // Terms of a prepared row.
  const char* x(int64_t slot, int term) const { return a_.workspace + (slot * ws_.terms + term) * ws_.pitch; }
  int64_t row_stride() const { return ws_.terms * ws_.pitch; }

  // Row m of x, in the order of the weight's positions; positions up to the pitch are 0.
  void prepare(int64_t m, int64_t slot) const {
    const char* row = row_at(a_.x, m);
    char* to = a_.workspace + slot * row_stride();
    int64_t at = 0;
    for (int64_t i = 0; i < w_.segments; ++i) {
      const CpuSegment s = cpu_segment(w_, i);
      __m512 v[8];
      load_segment(a_, row, s, v);
      for (at = s.start; at < s.start + s.length; at += 16) {
        const __m512 value = v[(at - s.start) / 16];
        const __m512i high = to_bf16(value);
        put(to, at, high);
        if (ws_.terms == 1) continue;
        const __m512 rest = _mm512_sub_ps(value, _mm512_castsi512_ps(_mm512_slli_epi32(high, 16)));
        // Infinity minus itself would make NaN of every product.
        const __mmask16 finite = _mm512_cmp_ps_mask(_mm512_abs_ps(rest), _mm512_set1_ps(__builtin_inff()), _CMP_LT_OQ);
        put(to + ws_.pitch, at, _mm512_maskz_mov_epi32(finite, to_bf16(rest)));
      }
    }
    for (; 2 * at < ws_.pitch; at += 16)
      for (int t = 0; t < ws_.terms; ++t) put(to + t * ws_.pitch, at, _mm512_setzero_si512());
  }

  // Pairs [length / 2][16][2] of a segment: the packed bytes themselves if they are bf16, else decoded into scratch.
  const char* pairs(int64_t block, const CpuSegment& s, char* scratch) const {
    const uint8_t* codes = w_.codes + block * static_cast<int64_t>(p_.block_code_bytes);
    if (p_.codes == CpuCodes::kBF16) return reinterpret_cast<const char*>(codes + s.start * 32);
    codes += s.start * 16;
    for (int32_t k = 0; k < s.length; k += 2, codes += 32) {
      const __m512i code = _mm512_cvtepu8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(codes)));
      _mm512_storeu_si512(scratch + k * 32, p_.codes == CpuCodes::kE4M3 ? e4m3(code) : e5m2(code));
    }
    return scratch;
  }

  __m512 scale(int64_t block, int64_t scale_row) const {
    if (p_.scale_rows == 0) return _mm512_set1_ps(1.0f);
    const int64_t row = block * p_.scale_rows + scale_row;
    return load_scales(w_.scales + row * static_cast<int64_t>(p_.scale_row_bytes), p_.scale_type);
  }

 private:
  static void put(char* to, int64_t at, __m512i codes) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + 2 * at), _mm512_cvtepi32_epi16(codes));
  }

  // Codes in 16-bit lanes to bf16. Exponents are re-based by 120; the seven subnormals m * 2^-9 come from a table.
  static __m512i e4m3(__m512i code) {
    const __m512i magnitude = _mm512_and_si512(code, _mm512_set1_epi16(0x7f));
    const __m512i sign = _mm512_slli_epi16(_mm512_and_si512(code, _mm512_set1_epi16(0x80)), 8);
    const __m512i normal = _mm512_add_epi16(_mm512_slli_epi16(magnitude, 4), _mm512_set1_epi16(120 << 7));
    const __m512i subnormals =
        _mm512_castsi128_si512(_mm_setr_epi16(0, 0x3b00, 0x3b80, 0x3bc0, 0x3c00, 0x3c20, 0x3c40, 0x3c60));
    __m512i out = _mm512_mask_permutexvar_epi16(normal, _mm512_cmplt_epu16_mask(magnitude, _mm512_set1_epi16(8)),
                                                magnitude, subnormals);
    out = _mm512_mask_mov_epi16(out, _mm512_cmpeq_epi16_mask(magnitude, _mm512_set1_epi16(0x7f)),
                                _mm512_set1_epi16(0x7fc0));
    return _mm512_or_si512(out, sign);
  }

  // As above with a re-basing of 112, subnormals m * 2^-16, and infinity and NaN at the top.
  static __m512i e5m2(__m512i code) {
    const __m512i magnitude = _mm512_and_si512(code, _mm512_set1_epi16(0x7f));
    const __m512i sign = _mm512_slli_epi16(_mm512_and_si512(code, _mm512_set1_epi16(0x80)), 8);
    const __m512i normal = _mm512_add_epi16(_mm512_slli_epi16(magnitude, 5), _mm512_set1_epi16(112 << 7));
    const __m512i subnormals = _mm512_castsi128_si512(_mm_setr_epi16(0, 0x3780, 0x3800, 0x3840, 0, 0, 0, 0));
    __m512i out = _mm512_mask_permutexvar_epi16(normal, _mm512_cmplt_epu16_mask(magnitude, _mm512_set1_epi16(4)),
                                                magnitude, subnormals);
    const __mmask32 special = _mm512_cmpge_epu16_mask(magnitude, _mm512_set1_epi16(0x7c));
    out = _mm512_mask_add_epi16(out, special, out, _mm512_set1_epi16(112 << 7));
    return _mm512_or_si512(out, sign);
  }

  const Args& a_;
  const Bf16Workspace& ws_;
  const CpuWeight& w_;
  const CpuPacked& p_;
};

} // namespace
} // namespace spf::linear
