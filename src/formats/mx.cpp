// OCP microscaling: one e8m0 scale per 32 values of k. value = element * 2^(scale - 127); a scale of 255 is NaN.
//
//   MXFP4  codes u8 [N, ceil(K/2)], e2m1, even k in the low nibble     scales e8m0 [N, ceil(K/32)]
//   MXFP8  codes e4m3 or e5m2 [N, K]                                   scales e8m0 [N, ceil(K/32)]
#include "formats/formats.hpp"

namespace spf::formats {
namespace {

SchemeRule& mx_common(SchemeRule& rule) {
  const spf_quant_scheme& s = rule.scheme;
  return rule.scale(SPF_E8M0)
      .one_of("zero", s.zero, {SPF_ZERO_NONE})
      .one_of("group_k", s.group_k, {32})
      .one_of("group_n", s.group_n, {1})
      .no_g_idx()
      .no_global()
      .not_swizzled();
}

spf_status check_mxfp4(const spf_quant_scheme& s, const char* op) {
  SchemeRule rule{op, "mxfp4", s};
  return mx_common(rule.weight(SPF_E2M1)).status;
}

spf_status check_mxfp8(const spf_quant_scheme& s, const char* op) {
  SchemeRule rule{op, "mxfp8", s};
  return mx_common(rule.weight(SPF_E4M3, SPF_E5M2)).status;
}

ViewSpecs mxfp4_views(const Extents& e) {
  return {.codes = {SPF_U8, e.n, ceil_div(e.k, 2)}, .scales = {SPF_E8M0, e.n, e.groups}};
}

ViewSpecs mxfp8_views(const Extents& e) {
  return {.codes = {e.scheme.weight, e.n, e.k}, .scales = {SPF_E8M0, e.n, e.groups}};
}

Place mxfp4_code(const Extents&, int64_t n, int64_t k) { return {n, k / 2, static_cast<int>(k % 2) * 4}; }
Place mxfp8_code(const Extents&, int64_t n, int64_t k) { return {n, k, 0}; }

} // namespace

const Format kMxfp4 = {.id = SPF_FORMAT_MXFP4,
                       .name = "mxfp4",
                       .check_scheme = check_mxfp4,
                       .views = mxfp4_views,
                       .code_place = mxfp4_code,
                       .scale_place = scale_by_row,
                       .zero_place = nullptr,
                       .zero_offset = 0,
                       .block = nullptr};

const Format kMxfp8 = {.id = SPF_FORMAT_MXFP8,
                       .name = "mxfp8",
                       .check_scheme = check_mxfp8,
                       .views = mxfp8_views,
                       .code_place = mxfp8_code,
                       .scale_place = scale_by_row,
                       .zero_place = nullptr,
                       .zero_offset = 0,
                       .block = nullptr};

} // namespace spf::formats
