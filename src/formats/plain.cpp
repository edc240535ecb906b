// Unquantized weights: f32, f16 or bf16 [N,K], any strides.
#include "formats/formats.hpp"

namespace spf::formats {
namespace {

spf_status check_plain(const spf_quant_scheme& s, const char* op) {
  return SchemeRule{op, "plain", s}
      .weight(SPF_F32, SPF_F16, SPF_BF16)
      .scale(SPF_TYPE_NONE)
      .one_of("zero", s.zero, {SPF_ZERO_NONE})
      .no_g_idx()
      .no_global()
      .not_swizzled()
      .status;
}

ViewSpecs plain_views(const Extents& e) { return {.codes = {e.scheme.weight, e.n, e.k}}; }

} // namespace

const Format kPlain = {.id = SPF_FORMAT_PLAIN,
                       .name = "plain",
                       .check_scheme = check_plain,
                       .views = plain_views,
                       .code_place = nullptr,
                       .scale_place = nullptr,
                       .zero_place = nullptr,
                       .zero_offset = 0,
                       .block = nullptr};

} // namespace spf::formats
