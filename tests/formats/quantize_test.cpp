// spf_quantize and spf_dequantize for every format: error bounds, odd sizes, poisoned memory, refusals.
#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

#include <gtest/gtest.h>

#include "support/weights.hpp"

namespace {

using support::all_schemes;
using support::NamedScheme;

class Quantize : public testing::TestWithParam<NamedScheme> {};

INSTANTIATE_TEST_SUITE_P(All, Quantize, testing::ValuesIn(all_schemes()), support::test_name);

std::vector<NamedScheme> integer_schemes() {
  std::vector<NamedScheme> all = all_schemes();
  std::erase_if(all, [](const NamedScheme& named) {
    const spf_format f = named.scheme.format;
    return f != SPF_FORMAT_GPTQ && f != SPF_FORMAT_GPTQ_V2 && f != SPF_FORMAT_AWQ && f != SPF_FORMAT_CT_INT;
  });
  return all;
}

class QuantizeIntegers : public testing::TestWithParam<NamedScheme> {};

INSTANTIATE_TEST_SUITE_P(All, QuantizeIntegers, testing::ValuesIn(integer_schemes()), support::test_name);

// Root mean square error over that of the values, for normally distributed weights in groups as the format has them.
// The numbers are what the formats are known to give, with a margin of about 15 %.
double allowed_relative_error(const spf_quant_scheme& s) {
  switch (s.format) {
    case SPF_FORMAT_PLAIN:
      return s.weight == SPF_F32 ? 0.0 : s.weight == SPF_F16 ? 3e-4 : 2.2e-3;
    case SPF_FORMAT_FP8:
      return 0.031;
    case SPF_FORMAT_MXFP8:
      return s.weight == SPF_E4M3 ? 0.031 : 0.062;
    case SPF_FORMAT_NVFP4:
      return 0.115;
    case SPF_FORMAT_MXFP4:
      return 0.135;
    case SPF_FORMAT_Q4_0:
      return 0.1;
    case SPF_FORMAT_Q4_1:
      return 0.09;
    case SPF_FORMAT_Q5_0:
      return 0.05;
    case SPF_FORMAT_Q5_1:
      return 0.045;
    case SPF_FORMAT_Q8_0:
      return 0.007;
    case SPF_FORMAT_Q2_K:
      return 0.33;
    case SPF_FORMAT_Q3_K:
      return 0.17;
    case SPF_FORMAT_Q4_K:
      return 0.078;
    case SPF_FORMAT_Q5_K:
      return 0.04;
    case SPF_FORMAT_Q6_K:
      return 0.02;
    default:
      break;
  }
  const bool eight = s.weight == SPF_U8B128 || s.weight == SPF_U8 || s.weight == SPF_S8;
  const double group = s.group_k == 32 ? 0.105 : s.group_k == 64 ? 0.115 : s.group_k == 128 ? 0.13 : 0.2;
  return eight ? group / 15 : group;
}

TEST_P(Quantize, ErrorIsThatOfTheFormat) {
  const int64_t n = 24, k = 512;
  const std::vector<float> w = support::random_matrix(GetParam().scheme, n, k, 1);
  spf_quant_scheme s = GetParam().scheme;
  s.has_g_idx = 0; // a random g_idx would give columns the scale of others
  const auto q = support::quantized(s, n, k, w);
  const std::vector<float> back = support::dequantized(q.weight);
  double error = 0, size = 0;
  for (size_t i = 0; i < w.size(); ++i) {
    error += std::pow(back[i] - w[i], 2);
    size += std::pow(w[i], 2);
  }
  const double relative = std::sqrt(error / size), allowed = allowed_relative_error(s);
  EXPECT_LE(relative, allowed);
  EXPECT_GE(relative, allowed * 0.5); // a bound far above what happens would not notice a fault
}

// Integers: nearest to half a step, plus what rounding the scale to its type can move the end of the range.
TEST_P(QuantizeIntegers, WithinHalfAStep) {
  const spf_quant_scheme& s = GetParam().scheme;
  const int64_t n = 9, k = 160;
  std::vector<float> w = support::random_matrix(s, n, k, 2);
  for (int64_t i = 0; i < k; ++i) w[static_cast<size_t>(i)] = std::fabs(w[static_cast<size_t>(i)]); // one-sided ranges
  for (int64_t i = 0; i < k; ++i) w[static_cast<size_t>(k + i)] = -std::fabs(w[static_cast<size_t>(k + i)]);
  for (int64_t i = 0; i < k; ++i) w[static_cast<size_t>(2 * k + i)] = 0.0f;
  spf_quant_scheme plain = s;
  plain.has_g_idx = 0;
  const auto q = support::quantized(plain, n, k, w);
  const std::vector<float> back = support::dequantized(q.weight);
  const double levels = s.weight == SPF_U4B8 ? 7 : s.weight == SPF_U4 ? 15 : s.weight == SPF_U8 ? 255 : 127;
  const int64_t group = s.group_k < 0 ? k : s.group_k;
  for (int64_t row = 0; row < n; ++row) {
    for (int64_t g = 0; g * group < k; ++g) {
      float lo = 0, hi = 0;
      const int64_t first = s.group_n < 0 ? 0 : row, last = s.group_n < 0 ? n : row + 1;
      for (int64_t r = first; r < last; ++r)
        for (int64_t i = g * group; i < std::min(k, (g + 1) * group); ++i) {
          lo = std::min(lo, w[static_cast<size_t>(r * k + i)]);
          hi = std::max(hi, w[static_cast<size_t>(r * k + i)]);
        }
      const double span = s.zero == SPF_ZERO_INTEGER ? hi - lo : std::max(-lo, hi);
      // Version 1 of GPTQ has no zero point 0, so a range that starts at 0 has one level less.
      const double step = span / (s.format == SPF_FORMAT_GPTQ && s.zero == SPF_ZERO_INTEGER ? levels - 1 : levels);
      const double slack = s.scale == SPF_BF16 ? 0x1p-8 : 0x1p-11;
      // The nearest zero point can shift an asymmetric range by half a step.
      const double half_steps = s.zero == SPF_ZERO_INTEGER ? 1.0 : 0.5;
      for (int64_t i = g * group; i < std::min(k, (g + 1) * group); ++i) {
        const size_t at = static_cast<size_t>(row * k + i);
        EXPECT_NEAR(back[at], w[at], half_steps * step + slack * span + 1e-12) << row << " " << i;
      }
    }
  }
}

TEST_P(Quantize, OddSizesAndPoison) {
  for (int64_t n : {0, 1, 3, 130})
    for (int64_t k : {0, 1, 2, 31, 33, 257}) {
      const std::vector<float> w = support::random_matrix(n, k, 3);
      const auto a = support::quantized(GetParam().scheme, n, k, w, 0x00);
      const auto b = support::quantized(GetParam().scheme, n, k, w, 0xff);
      ASSERT_EQ(std::memcmp(a.memory.data(), b.memory.data(), a.memory.size()), 0) << n << " x " << k;
      ASSERT_EQ(spf_quantized_weight_check(&a.weight), SPF_OK);
      const std::vector<float> back = support::dequantized(a.weight);
      for (float x : back) ASSERT_TRUE(std::isfinite(x) && std::fabs(x) < 1.0f);
    }
}

TEST_P(Quantize, ZerosStayZero) {
  const std::vector<float> w(5 * 70, 0.0f);
  const auto q = support::quantized(GetParam().scheme, 5, 70, w);
  for (float x : support::dequantized(q.weight)) EXPECT_EQ(x, 0.0f);
}

TEST_P(Quantize, ExtremeMagnitudesStayFinite) {
  for (float size : {1e-30f, 1e-6f, 1e4f, 3e38f}) {
    std::vector<float> w = support::random_matrix(3, 64, 4);
    for (float& x : w) x = std::clamp(x * 10.0f, -1.0f, 1.0f) * size;
    const auto q = support::quantized(GetParam().scheme, 3, 64, w);
    if (GetParam().scheme.format == SPF_FORMAT_PLAIN) continue;
    for (float x : support::dequantized(q.weight)) EXPECT_TRUE(std::isfinite(x)) << size;
  }
}

std::vector<NamedScheme> scaled_schemes() {
  std::vector<NamedScheme> all = all_schemes();
  std::erase_if(all, [](const NamedScheme& named) {
    return named.scheme.format == SPF_FORMAT_PLAIN || named.scheme.format >= SPF_FORMAT_Q4_0;
  });
  return all;
}

class QuantizeWithScales : public testing::TestWithParam<NamedScheme> {};

INSTANTIATE_TEST_SUITE_P(All, QuantizeWithScales, testing::ValuesIn(scaled_schemes()), support::test_name);

// Every value is the nearest of all that its scale and zero point can say, found by trying every code.
TEST_P(QuantizeWithScales, TakesTheNearestCode) {
  const spf_quant_scheme& s = GetParam().scheme;
  const int64_t n = 40, k = 96;
  const int64_t groups = s.group_k > 0 ? (k + s.group_k - 1) / s.group_k : 1;
  const int64_t rows = s.group_n > 0 ? (n + s.group_n - 1) / s.group_n : 1;
  const float global = s.has_global_scale ? 0.37f : 1.0f;
  std::vector<float> scales;
  std::vector<int32_t> zeros;
  spf_scalar_type_info info = {};
  info.struct_size = sizeof info;
  ASSERT_EQ(spf_scalar_type_describe(s.weight, &info), SPF_OK);
  for (int64_t i = 0; i < rows * groups; ++i) {
    scales.push_back(std::ldexp(1.0f + 0.25f * static_cast<float>(i % 4), -4 - static_cast<int>(i % 3)));
    if (s.scale == SPF_E8M0) scales.back() = std::ldexp(1.0f, -4 - static_cast<int>(i % 3));
    zeros.push_back(1 + static_cast<int32_t>(i % 15));
  }
  scales[0] = s.scale == SPF_E8M0 ? scales[0] : 0.0f;
  const std::vector<float> w = support::random_matrix(s, n, k, 5);
  size_t bytes = 0;
  ASSERT_EQ(spf_quantize_size(&s, n, k, &bytes), SPF_OK);
  support::AlignedBytes memory(bytes, 0xa5);
  spf_quantized_weight q = {};
  q.struct_size = sizeof q;
  ASSERT_EQ(spf_quantize_with_scales(&s, n, k, w.data(), scales.data(), zeros.data(), global, memory.data(), bytes, &q),
            SPF_OK);
  EXPECT_EQ(spf_quantized_weight_check(&q), SPF_OK);
  std::vector<double> values(size_t{1} << info.bits);
  for (size_t code = 0; code < values.size(); ++code) {
    const auto raw = static_cast<uint8_t>(code);
    ASSERT_EQ(spf_decode(s.weight, &raw, 1, &values[code]), SPF_OK);
  }
  const std::vector<float> got = support::dequantized(q);
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j < k; ++j) {
      const int64_t g = s.group_k > 0 ? j / s.group_k : 0;
      const auto at = static_cast<size_t>((s.group_n > 0 ? i / s.group_n : 0) * groups + g);
      const double zero = s.zero == SPF_ZERO_INTEGER ? zeros[at] : 0;
      const double x = w[static_cast<size_t>(i * k + j)], value = got[static_cast<size_t>(i * k + j)];
      double best = 1e30;
      for (const double code : values)
        if (std::isfinite(code)) best = std::min(best, std::fabs(x - (code - zero) * scales[at] * global));
      ASSERT_LE(std::fabs(x - value), best + 1e-7) << i << " " << j;
    }
}

TEST(QuantizeRefuses, BadScales) {
  spf_quant_scheme s = {};
  s.struct_size = sizeof s;
  ASSERT_EQ(spf_quant_scheme_by_name("int4-g32-asym", &s), SPF_OK);
  size_t bytes = 0;
  ASSERT_EQ(spf_quantize_size(&s, 2, 64, &bytes), SPF_OK);
  support::AlignedBytes memory(bytes);
  const std::vector<float> w(128, 1.0f);
  std::vector<float> scales(4, 0.1f);
  std::vector<int32_t> zeros(4, 8);
  spf_quantized_weight q = {};
  q.struct_size = sizeof q;
  const auto status = [&](float global = 1.0f) {
    return spf_quantize_with_scales(&s, 2, 64, w.data(), scales.data(), zeros.data(), global, memory.data(),
                                    memory.size(), &q);
  };
  EXPECT_EQ(status(), SPF_OK);
  zeros[3] = 16;
  EXPECT_EQ(status(), SPF_INVALID_ARGUMENT);
  EXPECT_EQ(support::last_error_field(), "zeros[1, 1]");
  zeros[3] = 0;
  scales[2] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(status(), SPF_INVALID_ARGUMENT);
  EXPECT_EQ(support::last_error_field(), "scales[1, 0]");
  EXPECT_EQ(spf_quantize_with_scales(&s, 2, 64, w.data(), nullptr, zeros.data(), 1, memory.data(), bytes, &q),
            SPF_INVALID_ARGUMENT);
  EXPECT_EQ(spf_quantize_with_scales(&s, 2, 64, w.data(), scales.data(), nullptr, 1, memory.data(), bytes, &q),
            SPF_INVALID_ARGUMENT);
  ASSERT_EQ(spf_quant_scheme_by_name("nvfp4", &s), SPF_OK);
  support::AlignedBytes more(4096);
  std::swap(memory, more);
  scales.assign(8, 1.0f);
  EXPECT_EQ(status(0.0f), SPF_INVALID_ARGUMENT);
  EXPECT_EQ(support::last_error_field(), "global_scale");
  ASSERT_EQ(spf_quant_scheme_by_name("q8_0", &s), SPF_OK);
  EXPECT_EQ(status(), SPF_UNSUPPORTED);
}

TEST(QuantizeRefuses, BadInput) {
  spf_quant_scheme s = {};
  EXPECT_EQ(spf_quant_scheme_by_name("int4-g128", &s), SPF_ABI_MISMATCH);
  s.struct_size = sizeof s;
  EXPECT_EQ(spf_quant_scheme_by_name("int5", &s), SPF_NOT_FOUND);
  EXPECT_EQ(spf_quant_scheme_by_name(nullptr, &s), SPF_INVALID_ARGUMENT);
  ASSERT_EQ(spf_quant_scheme_by_name("int4-g128", &s), SPF_OK);
  EXPECT_EQ(s.struct_size, sizeof s);
  EXPECT_EQ(spf_quant_scheme_name(-1), nullptr);

  size_t bytes = 0;
  EXPECT_EQ(spf_quantize_size(&s, -1, 4, &bytes), SPF_INVALID_SHAPE);
  EXPECT_EQ(spf_quantize_size(&s, int64_t{1} << 40, 4, &bytes), SPF_INVALID_SHAPE);
  EXPECT_EQ(spf_quantize_size(&s, int64_t{1} << 31, int64_t{1} << 31, &bytes), SPF_INVALID_SHAPE);
  EXPECT_EQ(support::last_error_field(), "n * k");
  EXPECT_EQ(spf_quantize_size(nullptr, 1, 4, &bytes), SPF_INVALID_ARGUMENT);
  ASSERT_EQ(spf_quantize_size(&s, 2, 64, &bytes), SPF_OK);
  EXPECT_GT(bytes, 0u);

  support::AlignedBytes memory(bytes);
  std::vector<float> w(128, 1.0f);
  spf_quantized_weight q = {};
  q.struct_size = sizeof q;
  EXPECT_EQ(spf_quantize(&s, 2, 64, w.data(), memory.data(), bytes - 1, &q), SPF_INVALID_ARGUMENT);
  EXPECT_EQ(spf_quantize(&s, 2, 64, w.data(), memory.data() + 4, bytes, &q), SPF_INVALID_ALIGNMENT);
  EXPECT_EQ(spf_quantize(&s, 2, 64, nullptr, memory.data(), bytes, &q), SPF_INVALID_ARGUMENT);
  for (float bad : {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
    w[70] = bad;
    EXPECT_EQ(spf_quantize(&s, 2, 64, w.data(), memory.data(), bytes, &q), SPF_INVALID_ARGUMENT);
    EXPECT_EQ(support::last_error_field(), "w[1, 6]");
  }
  const auto iq = support::scheme(SPF_FORMAT_IQ4_NL, SPF_S8, SPF_F16, 32);
  EXPECT_EQ(spf_quantize_size(&iq, 1, 32, &bytes), SPF_UNSUPPORTED);
}

} // namespace
