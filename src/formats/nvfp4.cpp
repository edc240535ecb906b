// NVFP4: e2m1 codes, one e4m3 scale per 16 values of k, one f32 global scale.
//
//   codes   u8 [N, ceil(K/2)]          even k in the low nibble
//   scales  e4m3, linear [N, ceil(K/16)], or swizzled [ceil128(N), ceil4(ceil(K/16))] where scale (n, g) is byte
//
//       ((n/128) * nK + g/4) * 512 + (n%32) * 16 + ((n/32)%4) * 4 + g%4,   nK = ceil(groups / 4)
//
//     of the tensor read in order: a tile of 128 rows x 4 groups is 512 consecutive bytes, 16 for each n % 32.
//   global  f32 [1]
//
// value = e2m1 * scale * global: here the global scale multiplies. compressed-tensors checkpoints store
// weight_global_scale as a divisor (448 * 6 / absmax); their reader hands over its reciprocal.
#include "formats/formats.hpp"

namespace spf::formats {
namespace {

constexpr int64_t round_up(int64_t a, int64_t b) { return ceil_div(a, b) * b; }

spf_status check_nvfp4(const spf_quant_scheme& s, const char* op) {
  return SchemeRule{op, "nvfp4", s}
      .weight(SPF_E2M1)
      .scale(SPF_E4M3)
      .one_of("zero", s.zero, {SPF_ZERO_NONE})
      .one_of("group_k", s.group_k, {16})
      .one_of("group_n", s.group_n, {1})
      .no_g_idx()
      .one_of("has_global_scale", s.has_global_scale, {0, 1})
      .one_of("scales_swizzled", s.scales_swizzled, {0, 1})
      .status;
}

ViewSpecs nvfp4_views(const Extents& e) {
  ViewSpecs v;
  v.codes = {SPF_U8, e.n, ceil_div(e.k, 2)};
  if (e.scheme.scales_swizzled)
    v.scales = {SPF_E4M3, round_up(e.n, 128), round_up(e.groups, 4)};
  else
    v.scales = {SPF_E4M3, e.n, e.groups};
  if (e.scheme.has_global_scale) v.global_scale = {SPF_F32, 1, 1};
  return v;
}

Place nvfp4_code(const Extents&, int64_t n, int64_t k) { return {n, k / 2, static_cast<int>(k % 2) * 4}; }

Place nvfp4_scale(const Extents& e, int64_t n, int64_t g) {
  if (!e.scheme.scales_swizzled) return {n, g, 0};
  const int64_t tiles = ceil_div(e.groups, 4);
  const int64_t byte = ((n / 128) * tiles + g / 4) * 512 + (n % 32) * 16 + ((n / 32) % 4) * 4 + g % 4;
  return {byte / (4 * tiles), byte % (4 * tiles), 0};
}

} // namespace

const Format kNvfp4 = {.id = SPF_FORMAT_NVFP4,
                       .name = "nvfp4",
                       .check_scheme = check_nvfp4,
                       .views = nvfp4_views,
                       .code_place = nvfp4_code,
                       .scale_place = nvfp4_scale,
                       .zero_place = nullptr,
                       .zero_offset = 0,
                       .block = nullptr};

} // namespace spf::formats
