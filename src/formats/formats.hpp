// The format descriptions, one per file of this room, and what their files share.
#pragma once

#include <string>

#include "core/status.hpp"
#include "formats/format.hpp"

namespace spf::formats {

extern const Format kPlain, kGptq, kGptqV2, kAwq, kCtInt, kFp8, kNvfp4, kMxfp4, kMxfp8;
extern const Format kQ4_0, kQ4_1, kQ5_0, kQ5_1, kQ8_0;
extern const Format kQ2_K, kQ3_K, kQ4_K, kQ5_K, kQ6_K;
extern const Format kIq2Xxs, kIq2Xs, kIq2S, kIq3Xxs, kIq3S, kIq1S, kIq1M, kIq4Nl, kIq4Xs;

constexpr int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Rows of N that share a scale, as a divisor of n.
constexpr int64_t scale_rows(const Extents& e) { return e.scheme.group_n < 0 ? 1 : ceil_div(e.n, e.scheme.group_n); }

// Scale (n, g) of formats with scales [N / group_n, groups].
inline Place scale_by_row(const Extents& e, int64_t n, int64_t g) {
  return {e.scheme.group_n < 0 ? 0 : n / e.scheme.group_n, g, 0};
}
// Scale (n, g) of formats with scales [groups, N].
inline Place scale_by_group(const Extents&, int64_t n, int64_t g) { return {g, n, 0}; }

// Scheme rules, each a refusal that names the field.
struct SchemeRule {
  const char* op;
  const char* format;
  const spf_quant_scheme& scheme;
  spf_status status = SPF_OK;

  template <class... Types>
  SchemeRule& weight(Types... types) {
    return type("weight", scheme.weight, {types...});
  }
  template <class... Types>
  SchemeRule& scale(Types... types) {
    return type("scale", scheme.scale, {types...});
  }
  SchemeRule& type(const char* field, spf_scalar_type found, std::initializer_list<spf_scalar_type> allowed);
  // The field must hold one of the values.
  SchemeRule& one_of(const char* field, int32_t found, std::initializer_list<int32_t> allowed);
  // -1 or positive.
  SchemeRule& group(const char* field, int32_t found);
  // Fields that a format does not use stay 0.
  SchemeRule& no_g_idx() { return one_of("has_g_idx", scheme.has_g_idx, {0}); }
  SchemeRule& no_global() { return one_of("has_global_scale", scheme.has_global_scale, {0}); }
  SchemeRule& not_swizzled() { return one_of("scales_swizzled", scheme.scales_swizzled, {0}); }
};

} // namespace spf::formats
