// FP8 weights: e4m3 [N,K], any strides, with
//   one scale        [1]                        group_n = -1, group_k = -1
//   one a row        [N] or [N,1]               group_n = 1,  group_k = -1
//   one a block      [ceil(N/bn), ceil(K/bk)]   group_n = bn, group_k = bk (128 x 128 in checkpoints)
// value = e4m3 * scale. Checkpoints that store the reciprocal must say so to their reader; here a scale multiplies.
#include "formats/formats.hpp"

namespace spf::formats {
namespace {

spf_status check_fp8(const spf_quant_scheme& s, const char* op) {
  return SchemeRule{op, "fp8", s}
      .weight(SPF_E4M3)
      .scale(SPF_F32, SPF_BF16, SPF_F16)
      .one_of("zero", s.zero, {SPF_ZERO_NONE})
      .group("group_k", s.group_k)
      .group("group_n", s.group_n)
      .no_g_idx()
      .no_global()
      .not_swizzled()
      .status;
}

ViewSpecs fp8_views(const Extents& e) {
  ViewSpecs v;
  v.codes = {SPF_E4M3, e.n, e.k};
  v.scales = {e.scheme.scale, scale_rows(e), e.groups};
  return v;
}

Place fp8_code(const Extents&, int64_t n, int64_t k) { return {n, k, 0}; }

} // namespace

const Format kFp8 = {.id = SPF_FORMAT_FP8,
                     .name = "fp8",
                     .check_scheme = check_fp8,
                     .views = fp8_views,
                     .code_place = fp8_code,
                     .scale_place = scale_by_row,
                     .zero_place = nullptr,
                     .zero_offset = 0,
                     .block = nullptr};

} // namespace spf::formats
