// compressed-tensors integers.
//
// pack-quantized (weight u4b8, u4, u8b128, u8), pf = 32 / bits:
//   weight_packed     i32 [N, ceil(K/pf)]   code of (n,k): word (n, k/pf), bits [bits * (k % pf), +bits)
//   weight_scale          [N, G]
//   weight_zero_point i32 [ceil(N/pf), G]   packed along N: word (n/pf, g), bits [bits * (n % pf), +bits)
//   weight_g_idx      i32 [K]
// Signed numbers are stored plus 8 or 128. A symmetric weight is therefore u4b8 / u8b128; in an asymmetric one code and
// zero point carry the same offset, which cancels in code - zero, so it is u4 / u8.
//
// int-quantized (weight s8): weight s8 [N,K], weight_scale [N,G], symmetric.
//
// weight_scale [1] is a per-tensor scale (group_n = -1).
#include "formats/formats.hpp"

namespace spf::formats {
namespace {

int bits_of(const Extents& e) { return scalar_info(e.scheme.weight).bits; }
bool is_packed(const Extents& e) { return e.scheme.weight != SPF_S8; }

spf_status check_ct(const spf_quant_scheme& s, const char* op) {
  SchemeRule rule{op, "compressed-tensors", s};
  if (s.zero == SPF_ZERO_INTEGER)
    rule.weight(SPF_U4, SPF_U8);
  else
    rule.weight(SPF_U4B8, SPF_U8B128, SPF_S8).one_of("zero", s.zero, {SPF_ZERO_NONE, SPF_ZERO_INTEGER});
  if (s.zero == SPF_ZERO_INTEGER) rule.one_of("group_n", s.group_n, {1});
  return rule.scale(SPF_F16, SPF_BF16, SPF_F32)
      .group("group_k", s.group_k)
      .one_of("group_n", s.group_n, {1, -1})
      .one_of("has_g_idx", s.has_g_idx, {0, 1})
      .no_global()
      .not_swizzled()
      .status;
}

ViewSpecs ct_views(const Extents& e) {
  const int64_t pf = 32 / bits_of(e);
  ViewSpecs v;
  if (is_packed(e))
    v.codes = {SPF_I32, e.n, ceil_div(e.k, pf)};
  else
    v.codes = {SPF_S8, e.n, e.k};
  v.scales = {e.scheme.scale, scale_rows(e), e.groups};
  if (e.scheme.zero == SPF_ZERO_INTEGER) v.zeros = {SPF_I32, ceil_div(e.n, pf), e.groups};
  if (e.scheme.has_g_idx) v.g_idx = {SPF_I32, e.k, 1};
  return v;
}

Place ct_code(const Extents& e, int64_t n, int64_t k) {
  if (!is_packed(e)) return {n, k, 0};
  const int bits = bits_of(e), pf = 32 / bits;
  return {n, k / pf, static_cast<int>(k % pf) * bits};
}

Place ct_zero(const Extents& e, int64_t n, int64_t g) {
  const int bits = bits_of(e), pf = 32 / bits;
  return {n / pf, g, static_cast<int>(n % pf) * bits};
}

} // namespace

const Format kCtInt = {.id = SPF_FORMAT_CT_INT,
                       .name = "compressed-tensors",
                       .check_scheme = check_ct,
                       .views = ct_views,
                       .code_place = ct_code,
                       .scale_place = scale_by_row,
                       .zero_place = ct_zero,
                       .zero_offset = 0,
                       .block = nullptr};

} // namespace spf::formats
