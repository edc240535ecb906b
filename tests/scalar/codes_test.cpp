// Every code of every type of up to 16 bits, against an oracle that shares nothing with the library.
#include <cstring>
#include <random>
#include <string>

#include <gtest/gtest.h>

#include "core/scalar.hpp"
#include "core/scalar_traits.hpp"
#include "scalar/oracle.hpp"

namespace {

using oracle::Format;

class Codes : public testing::TestWithParam<Format> {};

std::string format_name(const testing::TestParamInfo<Format>& info) { return spf::scalar_info(info.param.type).name; }

INSTANTIATE_TEST_SUITE_P(All, Codes, testing::ValuesIn(oracle::formats()), format_name);

TEST_P(Codes, DecodeEveryCode) {
  const Format& f = GetParam();
  for (uint32_t c = 0; c < (1u << f.bits); ++c) {
    const long double want = oracle::value(f, c);
    const double got = spf::decode(f.type, c);
    if (std::isnan(want)) {
      ASSERT_TRUE(std::isnan(got)) << c;
    } else {
      ASSERT_EQ(got, static_cast<double>(want)) << c;
      ASSERT_EQ(std::signbit(got), std::signbit(want)) << c;
    }
  }
}

TEST_P(Codes, EncodeOfDecodeIsIdentity) {
  const Format& f = GetParam();
  for (uint32_t c = 0; c < (1u << f.bits); ++c) {
    const uint64_t back = spf::encode(f.type, spf::decode(f.type, c));
    ASSERT_EQ(back, c);
  }
}

// Values on, next to, and half way between neighbours round as nearest-even says; the rule is restated here on codes.
TEST_P(Codes, EncodeMidpointsAndNeighbours) {
  const Format& f = GetParam();
  const std::vector<uint32_t> codes = oracle::ascending(f);
  const uint32_t sign = f.exponent >= 0 && f.sign ? 1u << (f.bits - 1) : 0;
  for (size_t i = 0; i + 1 < codes.size(); ++i) {
    const double lo = static_cast<double>(oracle::value(f, codes[i]));
    const double hi = static_cast<double>(oracle::value(f, codes[i + 1]));
    const double mid = lo + (hi - lo) / 2;
    uint32_t even;
    if (f.exponent < 0)
      even = static_cast<int64_t>(lo) % 2 == 0 ? codes[i] : codes[i + 1];
    else if (f.type == SPF_E8M0)
      even = codes[i + 1];
    else
      even = codes[i] % 2 == 0 ? codes[i] : codes[i + 1];
    ASSERT_EQ(spf::encode(f.type, mid), even) << lo << " " << hi;
    ASSERT_EQ(spf::encode(f.type, std::nextafter(mid, lo)), codes[i]) << lo << " " << hi;
    ASSERT_EQ(spf::encode(f.type, std::nextafter(mid, hi)), codes[i + 1]) << lo << " " << hi;
    ASSERT_EQ(spf::encode(f.type, std::nextafter(lo, hi)), codes[i]);
    ASSERT_EQ(spf::encode(f.type, std::nextafter(hi, lo)), codes[i + 1]);
    if (sign == 0) continue;
    ASSERT_EQ(spf::encode(f.type, -mid), even | sign);
    ASSERT_EQ(spf::encode(f.type, -std::nextafter(mid, lo)), codes[i] | sign);
    ASSERT_EQ(spf::encode(f.type, -std::nextafter(mid, hi)), codes[i + 1] | sign);
  }
}

TEST_P(Codes, EncodeBeyondRange) {
  const Format& f = GetParam();
  const std::vector<uint32_t> codes = oracle::ascending(f);
  const uint32_t top = codes.back();
  const double max = static_cast<double>(oracle::value(f, top));
  const double below = static_cast<double>(oracle::value(f, codes[codes.size() - 2]));
  const double limit = f.exponent < 0 ? max + 0.5 : f.type == SPF_E8M0 ? max * 1.5 : max + (max - below) / 2;
  const double infinity = std::numeric_limits<double>::infinity();
  EXPECT_EQ(spf::encode(f.type, std::nextafter(limit, 0.0)), top);
  const uint32_t beyond = f.infinity ? top + 1 : top; // the code after the largest finite one is infinity
  for (double v : {limit, std::nextafter(limit, infinity), max * 16 + 16, 1e308, infinity})
    EXPECT_EQ(spf::encode(f.type, v), beyond) << v;
  if (f.exponent >= 0 && f.sign) {
    const uint32_t sign = 1u << (f.bits - 1);
    for (double v : {limit, 1e308, infinity}) EXPECT_EQ(spf::encode(f.type, -v), beyond | sign) << v;
    EXPECT_EQ(spf::encode(f.type, -0.0), sign);
    EXPECT_EQ(spf::encode(f.type, 5e-324), 0u);
    EXPECT_EQ(spf::encode(f.type, -5e-324), sign);
  } else {
    for (double v : {-1e9, -infinity}) EXPECT_EQ(spf::encode(f.type, v), codes.front()) << v;
  }
  const uint64_t nan = spf::encode(f.type, std::numeric_limits<double>::quiet_NaN());
  if (f.infinity || f.nan_ones)
    EXPECT_TRUE(std::isnan(spf::decode(f.type, nan)));
  else
    EXPECT_EQ(spf::decode(f.type, nan), 0.0);
}

// The f32 helpers agree with the f64 routine: all codes one way; all neighbours and 2^20 random patterns the other.
template <spf_scalar_type T>
void check_f32_helpers() {
  const int bits = spf::scalar_info(T).bits;
  for (uint32_t c = 0; c < (1u << bits); ++c) {
    const auto code = static_cast<spf::storage_t<T>>(c);
    const float got = spf::to_f32<T>(code);
    const double want = spf::decode(T, c);
    if (std::isnan(want)) {
      ASSERT_TRUE(std::isnan(got));
    } else {
      ASSERT_EQ(static_cast<double>(got), want);
      ASSERT_EQ(std::signbit(got), std::signbit(want));
    }
    ASSERT_EQ(static_cast<uint64_t>(spf::from_f32<T>(got)), spf::encode(T, want)) << c;
    for (float near : {std::nextafter(got, INFINITY), std::nextafter(got, -INFINITY)})
      ASSERT_EQ(static_cast<uint64_t>(spf::from_f32<T>(near)), spf::encode(T, static_cast<double>(near))) << c;
  }
  std::mt19937 random(7);
  for (int i = 0; i < (1 << 20); ++i) {
    const uint32_t pattern = static_cast<uint32_t>(random());
    const float v = std::bit_cast<float>(pattern);
    // Widened by decode(): a cast to double would turn a signalling NaN into a quiet one.
    ASSERT_EQ(static_cast<uint64_t>(spf::from_f32<T>(v)), spf::encode(T, spf::decode(SPF_F32, pattern))) << v;
  }
}

TEST(FloatHelpers, F16) { check_f32_helpers<SPF_F16>(); }
TEST(FloatHelpers, Bf16) { check_f32_helpers<SPF_BF16>(); }
TEST(FloatHelpers, E4m3) { check_f32_helpers<SPF_E4M3>(); }
TEST(FloatHelpers, E5m2) { check_f32_helpers<SPF_E5M2>(); }
TEST(FloatHelpers, E8m0) { check_f32_helpers<SPF_E8M0>(); }
TEST(FloatHelpers, E2m1) { check_f32_helpers<SPF_E2M1>(); }
TEST(FloatHelpers, S8) { check_f32_helpers<SPF_S8>(); }
TEST(FloatHelpers, U4b8) { check_f32_helpers<SPF_U4B8>(); }

TEST(Wide, F32MatchesTheHardwareConversion) {
  std::mt19937_64 random(3);
  for (int i = 0; i < (1 << 20); ++i) {
    // Exponents around and beyond the range of f32.
    double v = std::ldexp(static_cast<double>(random() | 1) * 0x1p-64, static_cast<int>(random() % 320) - 170);
    if (random() & 1) v = -v;
    ASSERT_EQ(spf::encode(SPF_F32, v), std::bit_cast<uint32_t>(static_cast<float>(v))) << v;
    const uint32_t bits = static_cast<uint32_t>(random());
    const float f = std::bit_cast<float>(bits);
    if (!std::isnan(f)) {
      ASSERT_EQ(spf::decode(SPF_F32, bits), static_cast<double>(f));
    }
    ASSERT_EQ(spf::encode(SPF_F32, spf::decode(SPF_F32, bits)), bits);
  }
}

TEST(Wide, IntegersAndBool) {
  EXPECT_EQ(spf::encode(SPF_I32, 2.5), 2u);
  EXPECT_EQ(spf::encode(SPF_I32, 3.5), 4u);
  EXPECT_EQ(spf::encode(SPF_I32, -2.5), 0xfffffffeu);
  EXPECT_EQ(spf::encode(SPF_I32, 1e300), 0x7fffffffu);
  EXPECT_EQ(spf::encode(SPF_I32, -1e300), 0x80000000u);
  EXPECT_EQ(spf::encode(SPF_I64, 1e300), 0x7fffffffffffffffu);
  EXPECT_EQ(spf::encode(SPF_I64, -1e300), 0x8000000000000000u);
  EXPECT_EQ(spf::encode(SPF_I64, -1.0), ~uint64_t{0});
  EXPECT_EQ(spf::encode(SPF_I64, 0x1p62), uint64_t{1} << 62);
  EXPECT_EQ(spf::decode(SPF_I32, 0x80000000u), -2147483648.0);
  EXPECT_EQ(spf::decode(SPF_I64, ~uint64_t{0}), -1.0);
  EXPECT_EQ(spf::encode(SPF_BOOL, 0.0), 0u);
  EXPECT_EQ(spf::encode(SPF_BOOL, -0.25), 1u);
  EXPECT_EQ(spf::decode(SPF_BOOL, 7), 1.0);
}

TEST(Nan, PayloadAndSignSurvive) {
  EXPECT_EQ(spf::f32_to_bf16(std::bit_cast<float>(0xffc10000u)), 0xffc1u);
  EXPECT_EQ(spf::f32_to_bf16(std::bit_cast<float>(0x7f800001u)), 0x7fc0u); // payload below bf16: still NaN
  EXPECT_EQ(spf::f32_to_f16(std::bit_cast<float>(0x7f800001u)), 0x7e00u);
  EXPECT_EQ(spf::f32_to_e4m3(std::bit_cast<float>(0xff800001u)), 0xffu);
  EXPECT_EQ(spf::f32_to_e8m0(std::bit_cast<float>(0xff800001u)), 0xffu);
}

TEST(Memory, LoadAndStore) {
  uint8_t nibbles[3] = {0xff, 0xff, 0xff};
  spf::store<SPF_S4>(nibbles, 0, -8.0f);
  spf::store<SPF_S4>(nibbles, 3, 5.0f);
  EXPECT_EQ(nibbles[0], 0xf8);
  EXPECT_EQ(nibbles[1], 0x5f);
  EXPECT_EQ(nibbles[2], 0xff);
  EXPECT_EQ(spf::load<SPF_S4>(nibbles, 0), -8.0f);
  EXPECT_EQ(spf::load<SPF_S4>(nibbles, 1), -1.0f);
  EXPECT_EQ(spf::load<SPF_E2M1>(nibbles, 3), 3.0f);
  alignas(4) unsigned char bytes[9] = {};
  spf::store<SPF_F32>(bytes + 1, 1, 1.5f); // unaligned on purpose
  EXPECT_EQ(spf::load<SPF_F32>(bytes + 1, 1), 1.5f);
  spf::store<SPF_BF16>(bytes, 2, -2.0f);
  EXPECT_EQ(spf::load<SPF_BF16>(bytes, 2), -2.0f);
  spf::store<SPF_I32>(bytes, 0, 1e20f);
  EXPECT_EQ(spf::load<SPF_I32>(bytes, 0), 2147483648.0f);
}

} // namespace
