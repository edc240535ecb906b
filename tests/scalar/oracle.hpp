// An oracle for scalar types that shares nothing with the library: the formats written down again, values by ldexp in
// long double, and encoding by searching the sorted list of all values.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "spearfish/types.h"

namespace oracle {

struct Format {
  spf_scalar_type type;
  int bits;
  // Floating point: exponent and mantissa width, bias; integers: exponent < 0.
  int exponent, mantissa, bias;
  bool sign;
  bool infinity; // IEEE infinities and NaNs
  bool nan_ones; // all-ones magnitude is NaN
};

inline const std::vector<Format>& formats() {
  static const std::vector<Format> all = {
      {SPF_F16, 16, 5, 10, 15, true, true, false},  {SPF_BF16, 16, 8, 7, 127, true, true, false},
      {SPF_E4M3, 8, 4, 3, 7, true, false, true},    {SPF_E5M2, 8, 5, 2, 15, true, true, false},
      {SPF_E8M0, 8, 8, 0, 127, false, false, true}, {SPF_E2M1, 4, 2, 1, 1, true, false, false},
      {SPF_S8, 8, -1, 0, 0, true, false, false},    {SPF_U8, 8, -1, 0, 0, false, false, false},
      {SPF_S4, 4, -1, 0, 0, true, false, false},    {SPF_U4, 4, -1, 0, 0, false, false, false},
      {SPF_U4B8, 4, -1, 0, 8, false, false, false}, {SPF_U8B128, 8, -1, 0, 128, false, false, false},
  };
  return all;
}

inline long double value(const Format& f, uint32_t code) {
  if (f.exponent < 0) {
    const int span = 1 << f.bits;
    const int raw = static_cast<int>(code);
    return static_cast<long double>(f.sign && raw >= span / 2 ? raw - span : raw - f.bias);
  }
  const uint32_t magnitude = f.sign ? code % (1u << (f.bits - 1)) : code;
  const long double sign = f.sign && code >= (1u << (f.bits - 1)) ? -1.0L : 1.0L;
  const uint32_t e = magnitude / (1u << f.mantissa);
  const uint32_t m = magnitude % (1u << f.mantissa);
  const uint32_t top = (1u << f.exponent) - 1;
  if (f.infinity && e == top)
    return m ? std::numeric_limits<long double>::quiet_NaN() : sign * std::numeric_limits<long double>::infinity();
  if (f.nan_ones && e == top && m == (1u << f.mantissa) - 1) return std::numeric_limits<long double>::quiet_NaN();
  if (f.type == SPF_E8M0) return ldexpl(1.0L, static_cast<int>(e) - f.bias);
  const long double fraction = static_cast<long double>(m) / static_cast<long double>(1u << f.mantissa);
  if (e == 0) return sign * ldexpl(fraction, 1 - f.bias);
  return sign * ldexpl(1.0L + fraction, static_cast<int>(e) - f.bias);
}

// Finite codes of non-negative value (floating point) or all codes (integers), ascending by value.
inline std::vector<uint32_t> ascending(const Format& f) {
  std::vector<uint32_t> codes;
  for (uint32_t c = 0; c < (1u << f.bits); ++c) {
    const long double v = value(f, c);
    if (!std::isfinite(v)) continue;
    if (f.exponent >= 0 && f.sign && c >= (1u << (f.bits - 1))) continue;
    codes.push_back(c);
  }
  std::sort(codes.begin(), codes.end(), [&](uint32_t a, uint32_t b) { return value(f, a) < value(f, b); });
  return codes;
}

} // namespace oracle
