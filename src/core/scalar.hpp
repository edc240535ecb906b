// Scalar types by structure, and conversions between codes and values.
//
// One table row says what a type is; one widening and one narrowing routine, driven by that row, serve every type. The
// named float helpers below them (f32_to_bf16 and so on) are the same routines with the row folded in at compile time,
// or a table where that is faster. All of it is integer arithmetic on bit patterns: the result does not depend on the
// rounding mode, on flush-to-zero flags or on -ffast-math.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "spearfish/types.h"

namespace spf {

// What values beyond the largest finite one become.
enum class Overflow : uint8_t { kSaturate, kInfinity };

// One scalar type. Fields mean what spf_scalar_type_info says.
struct ScalarInfo {
  spf_scalar_type type;
  const char* name;
  int bits;
  int exponent_bits;
  int mantissa_bits;
  bool is_signed;
  int exponent_bias;
  int integer_bias;
  spf_nan_rule nan_rule;
  Overflow overflow;
  double max_value;
  double min_value;

  constexpr bool is_float() const { return exponent_bits > 0; }
};

inline constexpr std::array<ScalarInfo, SPF_TYPE_COUNT> kScalarTable = {{
    {SPF_TYPE_NONE, "none", 0, 0, 0, false, 0, 0, SPF_NAN_NONE, Overflow::kSaturate, 0, 0},
    {SPF_F32, "f32", 32, 8, 23, true, 127, 0, SPF_NAN_IEEE, Overflow::kInfinity, 0x1.fffffep127, -0x1.fffffep127},
    {SPF_F16, "f16", 16, 5, 10, true, 15, 0, SPF_NAN_IEEE, Overflow::kInfinity, 65504.0, -65504.0},
    {SPF_BF16, "bf16", 16, 8, 7, true, 127, 0, SPF_NAN_IEEE, Overflow::kInfinity, 0x1.fep127, -0x1.fep127},
    {SPF_E4M3, "e4m3", 8, 4, 3, true, 7, 0, SPF_NAN_ALL_ONES, Overflow::kSaturate, 448.0, -448.0},
    {SPF_E5M2, "e5m2", 8, 5, 2, true, 15, 0, SPF_NAN_IEEE, Overflow::kInfinity, 57344.0, -57344.0},
    {SPF_E8M0, "e8m0", 8, 8, 0, false, 127, 0, SPF_NAN_ALL_ONES, Overflow::kSaturate, 0x1p127, 0x1p-127},
    {SPF_E2M1, "e2m1", 4, 2, 1, true, 1, 0, SPF_NAN_NONE, Overflow::kSaturate, 6.0, -6.0},
    {SPF_S8, "s8", 8, 0, 7, true, 0, 0, SPF_NAN_NONE, Overflow::kSaturate, 127.0, -128.0},
    {SPF_U8, "u8", 8, 0, 8, false, 0, 0, SPF_NAN_NONE, Overflow::kSaturate, 255.0, 0.0},
    {SPF_S4, "s4", 4, 0, 3, true, 0, 0, SPF_NAN_NONE, Overflow::kSaturate, 7.0, -8.0},
    {SPF_U4, "u4", 4, 0, 4, false, 0, 0, SPF_NAN_NONE, Overflow::kSaturate, 15.0, 0.0},
    {SPF_U4B8, "u4b8", 4, 0, 4, false, 0, 8, SPF_NAN_NONE, Overflow::kSaturate, 7.0, -8.0},
    {SPF_U8B128, "u8b128", 8, 0, 8, false, 0, 128, SPF_NAN_NONE, Overflow::kSaturate, 127.0, -128.0},
    {SPF_I32, "i32", 32, 0, 31, true, 0, 0, SPF_NAN_NONE, Overflow::kSaturate, 2147483647.0, -2147483648.0},
    // The largest i64, 2^63 - 1, has no f64; max_value is the next one up.
    {SPF_I64, "i64", 64, 0, 63, true, 0, 0, SPF_NAN_NONE, Overflow::kSaturate, 0x1p63, -0x1p63},
    {SPF_BOOL, "bool", 8, 0, 1, false, 0, 0, SPF_NAN_NONE, Overflow::kSaturate, 1.0, 0.0},
}};

// True for the named types, false for SPF_TYPE_NONE and values outside the enum.
constexpr bool is_scalar_type(spf_scalar_type t) {
  return static_cast<int>(t) > SPF_TYPE_NONE && static_cast<int>(t) < SPF_TYPE_COUNT;
}

// The row of a type; the SPF_TYPE_NONE row for anything unknown.
constexpr const ScalarInfo& scalar_info(spf_scalar_type t) {
  return kScalarTable[is_scalar_type(t) ? static_cast<size_t>(t) : 0];
}

// Bytes of one unpacked code: 1 for types of up to 8 bits, else 2, 4 or 8. 0 for SPF_TYPE_NONE.
constexpr int storage_bytes(spf_scalar_type t) {
  const int bits = scalar_info(t).bits;
  return bits == 0 ? 0 : bits <= 8 ? 1 : bits / 8;
}

namespace detail {

// IEEE binary32 and binary64 as the wide side of a conversion.
template <class F>
struct Wide;
template <>
struct Wide<float> {
  using Bits = uint32_t;
  static constexpr int kMantissa = 23, kBias = 127;
};
template <>
struct Wide<double> {
  using Bits = uint64_t;
  static constexpr int kMantissa = 52, kBias = 1023;
};

// Code -> value, exact. F must hold every value of the type.
template <class F>
constexpr F widen(const ScalarInfo& s, uint64_t code) {
  using Bits = typename Wide<F>::Bits;
  constexpr int kM = Wide<F>::kMantissa;
  constexpr Bits kInfinity = static_cast<Bits>(Wide<F>::kBias * 2 + 1) << kM;
  const int em_bits = s.exponent_bits + s.mantissa_bits;
  const uint64_t em_mask = (uint64_t{1} << em_bits) - 1;
  const uint64_t em = code & em_mask;
  const Bits sign = s.is_signed && ((code >> em_bits) & 1) ? Bits{1} << (sizeof(Bits) * 8 - 1) : Bits{0};
  uint64_t exponent = em >> s.mantissa_bits;
  uint64_t mantissa = em & ((uint64_t{1} << s.mantissa_bits) - 1);
  const uint64_t top = (uint64_t{1} << s.exponent_bits) - 1;
  if (s.nan_rule == SPF_NAN_IEEE && exponent == top)
    return std::bit_cast<F>(
        static_cast<Bits>(sign | kInfinity | (static_cast<Bits>(mantissa) << (kM - s.mantissa_bits))));
  if (s.nan_rule == SPF_NAN_ALL_ONES && em == em_mask)
    return std::bit_cast<F>(static_cast<Bits>(sign | kInfinity | (Bits{1} << (kM - 1))));
  // value = significand * 2^scale; the significand has at most 24 bits.
  int scale = static_cast<int>(exponent) - s.exponent_bias - s.mantissa_bits;
  uint64_t significand = mantissa | (uint64_t{1} << s.mantissa_bits);
  if (exponent == 0 && s.mantissa_bits > 0) {
    if (mantissa == 0) return std::bit_cast<F>(sign);
    significand = mantissa;
    scale += 1;
  }
  const int lead = 63 - std::countl_zero(significand);
  const int biased = scale + lead + Wide<F>::kBias;
  if (biased >= 1) {
    const Bits fraction = (static_cast<Bits>(significand) ^ (Bits{1} << lead)) << (kM - lead);
    return std::bit_cast<F>(static_cast<Bits>(sign | (static_cast<Bits>(biased) << kM) | fraction));
  }
  // Subnormal in F: bf16 subnormals and e8m0 code 0 in binary32.
  return std::bit_cast<F>(static_cast<Bits>(sign | (static_cast<Bits>(significand) << (kM - lead + biased - 1))));
}

// Value -> code, one rounding to nearest even.
template <class F>
constexpr uint64_t narrow(const ScalarInfo& s, F value) {
  using Bits = typename Wide<F>::Bits;
  constexpr int kM = Wide<F>::kMantissa;
  constexpr Bits kInfinity = static_cast<Bits>(Wide<F>::kBias * 2 + 1) << kM;
  const Bits bits = std::bit_cast<Bits>(value);
  const Bits magnitude = bits & (~Bits{0} >> 1);
  const bool negative = bits != magnitude;
  const int em_bits = s.exponent_bits + s.mantissa_bits;
  const uint64_t em_mask = (uint64_t{1} << em_bits) - 1;
  const uint64_t sign = s.is_signed && negative ? uint64_t{1} << em_bits : 0;
  const uint64_t infinity = em_mask & ~((uint64_t{1} << s.mantissa_bits) - 1); // IEEE rule only

  if (magnitude > kInfinity) {
    if (s.nan_rule == SPF_NAN_NONE) return 0;
    if (s.nan_rule == SPF_NAN_ALL_ONES) return sign | em_mask;
    const uint64_t payload = (magnitude & ((Bits{1} << kM) - 1)) >> (kM - s.mantissa_bits);
    return sign | infinity | (payload != 0 ? payload : uint64_t{1} << (s.mantissa_bits - 1));
  }
  const uint64_t largest = s.nan_rule == SPF_NAN_IEEE   ? infinity - 1
                           : s.nan_rule == SPF_NAN_NONE ? em_mask
                                                        : em_mask - 1;
  const uint64_t beyond = s.overflow == Overflow::kInfinity ? infinity : largest;
  if (magnitude == kInfinity) return negative && !s.is_signed ? 0 : sign | beyond;

  const int source_exponent = static_cast<int>(magnitude >> kM);
  const Bits fraction = magnitude & ((Bits{1} << kM) - 1);
  if (s.mantissa_bits == 0) {
    // e8m0: no zero, no sign. Nearest power of two; the tie 1.5 * 2^e goes up, because the implied bit that would stay
    // last is a 1.
    if (negative || magnitude == 0) return 0;
    if (source_exponent == 0 && Wide<F>::kBias > s.exponent_bias) return 0;
    int exponent = source_exponent - Wide<F>::kBias + s.exponent_bias;
    bool up = (fraction >> (kM - 1)) & 1;
    if (source_exponent == 0) { // binary32 subnormal: 2^-127 is its leading fraction bit
      exponent = 0;
      up = (fraction >> (kM - 2)) == 3;
    }
    exponent += up;
    return exponent < 0 ? 0 : exponent > static_cast<int>(largest) ? largest : static_cast<uint64_t>(exponent);
  }
  const Bits significand = source_exponent == 0 ? fraction : fraction | (Bits{1} << kM);
  const int exponent = (source_exponent == 0 ? 1 : source_exponent) - Wide<F>::kBias;
  const int min_exponent = 1 - s.exponent_bias;
  int shift = kM - s.mantissa_bits;
  uint64_t base = 0;
  if (exponent < min_exponent) {
    shift += min_exponent - exponent;
    if (shift > kM + 1) return sign; // below half of the smallest subnormal
  } else {
    base = static_cast<uint64_t>(exponent - min_exponent) << s.mantissa_bits;
  }
  Bits kept = significand;
  if (shift > 0) {
    kept = significand >> shift;
    const Bits rest = significand & ((Bits{1} << shift) - 1);
    const Bits half = Bits{1} << (shift - 1);
    kept += rest > half || (rest == half && (kept & 1));
  }
  const uint64_t code = base + kept; // a carry out of the mantissa moves into the exponent by itself
  return sign | (code > largest ? beyond : code);
}

constexpr uint64_t encode_integer(const ScalarInfo& s, double value) {
  if (s.type == SPF_BOOL) return value != 0.0;
  const uint64_t mask = s.bits == 64 ? ~uint64_t{0} : (uint64_t{1} << s.bits) - 1;
  int64_t integer = 0;
  if (value != value) {
    integer = 0;
  } else if (value >= s.max_value) {
    integer = s.bits == 64 ? std::numeric_limits<int64_t>::max() : static_cast<int64_t>(s.max_value);
  } else if (value <= s.min_value) {
    integer = static_cast<int64_t>(s.min_value);
  } else {
    integer = static_cast<int64_t>(value); // toward zero; exact from here on, |value| < 2^63
    const double rest = value - static_cast<double>(integer);
    const double size = rest < 0 ? -rest : rest;
    if (size > 0.5 || (size == 0.5 && (integer & 1))) integer += rest < 0 ? -1 : 1;
  }
  return static_cast<uint64_t>(integer + s.integer_bias) & mask;
}

constexpr double decode_integer(const ScalarInfo& s, uint64_t code) {
  if (s.type == SPF_BOOL) return (code & 0xff) != 0 ? 1.0 : 0.0;
  if (s.bits == 64) return static_cast<double>(static_cast<int64_t>(code));
  code &= (uint64_t{1} << s.bits) - 1;
  int64_t integer = static_cast<int64_t>(code);
  if (s.is_signed && (code >> (s.bits - 1))) integer -= int64_t{1} << s.bits;
  return static_cast<double>(integer - s.integer_bias);
}

} // namespace detail

// Value of a code (in the low bits of `code`; higher bits are ignored). Exact, except i64 beyond 2^53, which rounds to
// nearest even. NaN keeps sign and payload. 0 for SPF_TYPE_NONE.
constexpr double decode(spf_scalar_type t, uint64_t code) {
  const ScalarInfo& s = scalar_info(t);
  if (s.bits == 0) return 0.0;
  return s.is_float() ? detail::widen<double>(s, code) : detail::decode_integer(s, code);
}

// Code of a value: one rounding to nearest even, overflow and NaN as spf_encode() documents (NaN becomes the value 0
// in e2m1 and in integers; NaN keeps sign and leading payload bits in IEEE types). e8m0 ties (1.5 * 2^e) go to the
// larger power; zero and negatives become 2^-127. Unused high bits of the result are 0.
constexpr uint64_t encode(spf_scalar_type t, double value) {
  const ScalarInfo& s = scalar_info(t);
  if (s.bits == 0) return 0;
  return s.is_float() ? detail::narrow<double>(s, value) : detail::encode_integer(s, value);
}

namespace detail {
template <spf_scalar_type T>
constexpr std::array<float, size_t{1} << scalar_info(T).bits> value_table() {
  std::array<float, size_t{1} << scalar_info(T).bits> table{};
  for (size_t i = 0; i < table.size(); ++i) table[i] = widen<float>(scalar_info(T), i);
  return table;
}
} // namespace detail

// Values by code.
inline constexpr auto kE4M3Values = detail::value_table<SPF_E4M3>();
inline constexpr auto kE2M1Values = detail::value_table<SPF_E2M1>();

constexpr float bf16_to_f32(uint16_t code) { return std::bit_cast<float>(static_cast<uint32_t>(code) << 16); }

constexpr uint16_t f32_to_bf16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const uint16_t high = static_cast<uint16_t>(bits >> 16);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return (high & 0x7f) != 0 ? high : static_cast<uint16_t>(high | 0x40);
  return static_cast<uint16_t>((bits + 0x7fffu + (high & 1u)) >> 16);
}

constexpr float f16_to_f32(uint16_t code) {
  const uint32_t sign = static_cast<uint32_t>(code & 0x8000u) << 16;
  const uint32_t em = code & 0x7fffu;
  if (em >= 0x7c00u) return std::bit_cast<float>(sign | 0x7f800000u | ((em & 0x3ffu) << 13));
  if (em >= 0x400u) return std::bit_cast<float>(sign | ((em << 13) + (112u << 23)));
  // Subnormal: em * 2^-24, a normal binary32.
  const float magnitude = static_cast<float>(static_cast<int32_t>(em)) * 0x1p-24f;
  return std::bit_cast<float>(sign | std::bit_cast<uint32_t>(magnitude));
}

constexpr uint16_t f32_to_f16(float value) {
  return static_cast<uint16_t>(detail::narrow<float>(scalar_info(SPF_F16), value));
}

constexpr float e4m3_to_f32(uint8_t code) { return kE4M3Values[code]; }
constexpr uint8_t f32_to_e4m3(float value) {
  return static_cast<uint8_t>(detail::narrow<float>(scalar_info(SPF_E4M3), value));
}

// e5m2 is the upper byte of f16.
constexpr float e5m2_to_f32(uint8_t code) { return f16_to_f32(static_cast<uint16_t>(code << 8)); }
constexpr uint8_t f32_to_e5m2(float value) {
  return static_cast<uint8_t>(detail::narrow<float>(scalar_info(SPF_E5M2), value));
}

constexpr float e8m0_to_f32(uint8_t code) {
  return std::bit_cast<float>(code == 0 ? 0x00400000u : code == 255 ? 0x7fc00000u : static_cast<uint32_t>(code) << 23);
}
constexpr uint8_t f32_to_e8m0(float value) {
  return static_cast<uint8_t>(detail::narrow<float>(scalar_info(SPF_E8M0), value));
}

constexpr float e2m1_to_f32(uint8_t code) { return kE2M1Values[code & 15]; }
constexpr uint8_t f32_to_e2m1(float value) {
  return static_cast<uint8_t>(detail::narrow<float>(scalar_info(SPF_E2M1), value));
}

} // namespace spf
