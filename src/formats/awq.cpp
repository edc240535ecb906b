// AWQ, 4 bit. Words run along N and hold eight columns in an interleaved order.
//
//   qweight i32 [K, ceil(N/8)]   word j holds columns 8j .. 8j+7:
//
//     bits   31..28  27..24  23..20  19..16  15..12  11..8  7..4  3..0
//     column   8j+7    8j+5    8j+3    8j+1    8j+6   8j+4  8j+2  8j+0
//
//   qzeros  i32 [G, ceil(N/8)]   the same interleave, stored as they are
//   scales      [G, N]
#include "formats/formats.hpp"

namespace spf::formats {
namespace {

constexpr int kNibbleOfColumn[8] = {0, 4, 1, 5, 2, 6, 3, 7};

spf_status check_awq(const spf_quant_scheme& s, const char* op) {
  return SchemeRule{op, "awq", s}
      .weight(SPF_U4)
      .scale(SPF_F16, SPF_BF16, SPF_F32)
      .one_of("zero", s.zero, {SPF_ZERO_INTEGER})
      .group("group_k", s.group_k)
      .one_of("group_n", s.group_n, {1})
      .no_g_idx()
      .no_global()
      .not_swizzled()
      .status;
}

ViewSpecs awq_views(const Extents& e) {
  const int64_t words = ceil_div(e.n, 8);
  ViewSpecs v;
  v.codes = {SPF_I32, e.k, words};
  v.scales = {e.scheme.scale, e.groups, e.n};
  v.zeros = {SPF_I32, e.groups, words};
  return v;
}

// Codes and zeros alike: row k or g, column n.
Place awq_place(const Extents&, int64_t n, int64_t row) { return {row, n / 8, 4 * kNibbleOfColumn[n % 8]}; }

} // namespace

const Format kAwq = {.id = SPF_FORMAT_AWQ,
                     .name = "awq",
                     .check_scheme = check_awq,
                     .views = awq_views,
                     .code_place = awq_place,
                     .scale_place = scale_by_group,
                     .zero_place = awq_place,
                     .zero_offset = 0,
                     .block = nullptr};

} // namespace spf::formats
