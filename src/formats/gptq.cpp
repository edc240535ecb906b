// GPTQ, 4 and 8 bit; pf = 32 / bits codes a word.
//
//   qweight i32 [ceil(K/pf), N]   code of (n,k): word (k/pf, n), bits [bits * (k % pf), +bits)
//
//        k = 8r+7  6  5  4  3  2  1  8r+0
//     n: [ c7 c6 c5 c4 c3 c2 c1 c0 ]      one 4-bit word: eight consecutive k of one n, the lowest k in the low bits
//
//   qzeros  i32 [G, ceil(N/pf)]   zero of (n,g): word (g, n/pf), bits [bits * (n % pf), +bits)
//                                 version 1 stores zero - 1 and the + 1 does not wrap: a stored 15 is zero point 16
//   scales      [G, N]
//   g_idx   i32 [K]               group of each column (act order)
//
// weight u4 / u8 with SPF_ZERO_INTEGER reads qzeros; u4b8 / u8b128 with SPF_ZERO_NONE is a symmetric checkpoint whose
// zeros are all 8 / 128, and needs no qzeros view.
#include "formats/formats.hpp"

namespace spf::formats {
namespace {

int bits_of(const Extents& e) { return scalar_info(e.scheme.weight).bits; }

spf_status check_gptq(const spf_quant_scheme& s, const char* op) {
  SchemeRule rule{op, "gptq", s};
  if (s.zero == SPF_ZERO_INTEGER)
    rule.weight(SPF_U4, SPF_U8);
  else
    rule.weight(SPF_U4B8, SPF_U8B128).one_of("zero", s.zero, {SPF_ZERO_NONE, SPF_ZERO_INTEGER});
  return rule.scale(SPF_F16, SPF_BF16, SPF_F32)
      .group("group_k", s.group_k)
      .one_of("group_n", s.group_n, {1})
      .one_of("has_g_idx", s.has_g_idx, {0, 1})
      .no_global()
      .not_swizzled()
      .status;
}

ViewSpecs gptq_views(const Extents& e) {
  const int64_t pf = 32 / bits_of(e);
  ViewSpecs v;
  v.codes = {SPF_I32, ceil_div(e.k, pf), e.n};
  v.scales = {e.scheme.scale, e.groups, e.n};
  if (e.scheme.zero == SPF_ZERO_INTEGER) v.zeros = {SPF_I32, e.groups, ceil_div(e.n, pf)};
  if (e.scheme.has_g_idx) v.g_idx = {SPF_I32, e.k, 1};
  return v;
}

Place gptq_code(const Extents& e, int64_t n, int64_t k) {
  const int bits = bits_of(e), pf = 32 / bits;
  return {k / pf, n, static_cast<int>(k % pf) * bits};
}

Place gptq_zero(const Extents& e, int64_t n, int64_t g) {
  const int bits = bits_of(e), pf = 32 / bits;
  return {g, n / pf, static_cast<int>(n % pf) * bits};
}

constexpr Format gptq(spf_format id, const char* name, int zero_offset) {
  return {.id = id,
          .name = name,
          .check_scheme = check_gptq,
          .views = gptq_views,
          .code_place = gptq_code,
          .scale_place = scale_by_group,
          .zero_place = gptq_zero,
          .zero_offset = zero_offset,
          .block = nullptr};
}

} // namespace

const Format kGptq = gptq(SPF_FORMAT_GPTQ, "gptq", 1);
const Format kGptqV2 = gptq(SPF_FORMAT_GPTQ_V2, "gptq_v2", 0);

} // namespace spf::formats
