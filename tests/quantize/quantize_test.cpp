// Against what vLLM's operators wrote, and what the generic drivers do not know: special numbers, bounds, zero points,
// exact quotients.
#include "kernels/common/quantize.hpp"

#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include <gtest/gtest.h>

#include "core/scalar.hpp"
#include "spearfish/spearfish.hpp"
#include "support/refusal.hpp"
#include "support/safetensors.hpp"

namespace {

using spearfish::Launch;
using spearfish::Tensor;
using support::goldens;
using support::refused_field;

constexpr float kInf = std::numeric_limits<float>::infinity(), kNan = std::numeric_limits<float>::quiet_NaN();
const char* const kKernels[] = {"quantize/reference", "quantize/avx2_rows", "quantize/avx512_rows"};

// Every CPU kernel that this machine has.
template <class Body>
void on_each_kernel(Body&& body) {
  for (const char* kernel : kKernels) {
    SCOPED_TRACE(kernel);
    Launch launch;
    launch.require(kernel);
    try {
      body(launch);
    } catch (const spearfish::Error& e) {
      if (e.status() != SPF_REQUIREMENT_UNMET) throw;
    }
  }
}

struct Rows {
  std::vector<uint8_t> codes;
  std::vector<float> scales;
  std::vector<int32_t> zeros;
};

Rows token_fp8(std::vector<float> x, int64_t rows, const Launch& launch, std::optional<float> bound = {}) {
  const int64_t k = static_cast<int64_t>(x.size()) / rows;
  Rows r{std::vector<uint8_t>(x.size()), std::vector<float>(static_cast<size_t>(rows)), {}};
  float ub = bound.value_or(0);
  spearfish::OptionalTensor ub_view;
  if (bound) ub_view = Tensor(&ub, SPF_F32, {1});
  spearfish::dynamic_per_token_scaled_fp8_quant(Tensor(x.data(), SPF_F32, {rows, k}), ub_view,
                                                Tensor(r.codes.data(), SPF_E4M3, {rows, k}),
                                                Tensor(r.scales.data(), SPF_F32, {rows, 1}), launch);
  return r;
}

Rows token_int8(std::vector<float> x, int64_t rows, bool zeros, const Launch& launch) {
  const int64_t k = static_cast<int64_t>(x.size()) / rows;
  Rows r{std::vector<uint8_t>(x.size()), std::vector<float>(static_cast<size_t>(rows)),
         std::vector<int32_t>(static_cast<size_t>(rows))};
  spearfish::OptionalTensor azp;
  if (zeros) azp = Tensor(r.zeros.data(), SPF_I32, {rows, 1});
  spearfish::dynamic_scaled_int8_quant(Tensor(x.data(), SPF_F32, {rows, k}), Tensor(r.codes.data(), SPF_S8, {rows, k}),
                                       Tensor(r.scales.data(), SPF_F32, {rows, 1}), azp, launch);
  return r;
}

int code_of(const Rows& r, size_t i) { return static_cast<int8_t>(r.codes[i]); }

// --- golden vectors ----------------------------------------------------------------------------------------------

TEST(QuantizeGolden, TokensToFp8) {
  auto x = goldens()["nvfp4.x"].as<uint16_t>();
  const auto codes = goldens()["fp8.token_codes"].bytes;
  const auto scales = goldens()["fp8.token_scales"].as<float>();
  const int64_t rows = static_cast<int64_t>(scales.size()), k = static_cast<int64_t>(x.size()) / rows;
  on_each_kernel([&](const Launch& launch) {
    std::vector<uint8_t> got(x.size());
    std::vector<float> got_scales(scales.size());
    spearfish::dynamic_per_token_scaled_fp8_quant(Tensor(x.data(), SPF_BF16, {rows, k}), {},
                                                  Tensor(got.data(), SPF_E4M3, {rows, k}),
                                                  Tensor(got_scales.data(), SPF_F32, {rows, 1}), launch);
    EXPECT_EQ(got_scales, scales);
    EXPECT_EQ(got, codes);
  });
}

TEST(QuantizeGolden, StaticFp8) {
  auto x = goldens()["nvfp4.x"].as<uint16_t>();
  const auto codes = goldens()["fp8.static_codes"].bytes;
  auto scale = goldens()["fp8.static_scale"].as<float>();
  const auto count = static_cast<int64_t>(x.size());
  on_each_kernel([&](const Launch& launch) {
    std::vector<uint8_t> got(x.size());
    spearfish::static_scaled_fp8_quant(Tensor(x.data(), SPF_BF16, {count}), Tensor(scale.data(), SPF_F32, {1, 1}),
                                       Tensor(got.data(), SPF_E4M3, {count}), launch);
    EXPECT_EQ(got, codes);
  });
}

// The norm's sum has another order there, so a rounding of a normed number may differ, and a code with it.
TEST(QuantizeGolden, NormsToFp8) {
  auto x = goldens()["nvfp4.x"].as<uint16_t>();
  auto weight = goldens()["norm.weight"].as<uint16_t>();
  const auto codes = goldens()["norm.dyn_fp8_codes"].bytes;
  const auto scales = goldens()["norm.dyn_fp8_scales"].as<float>();
  const int64_t rows = static_cast<int64_t>(scales.size()), k = static_cast<int64_t>(x.size()) / rows;
  for (const char* kernel : {"norm/reference", "norm/avx2_rows", "norm/avx512_rows"}) {
    std::vector<uint8_t> got(x.size());
    std::vector<float> got_scales(scales.size());
    try {
      spearfish::rms_norm_dynamic_per_token_quant(
          Tensor(x.data(), SPF_BF16, {rows, k}), {}, Tensor(weight.data(), SPF_BF16, {k}), {},
          Tensor(got.data(), SPF_E4M3, {rows, k}), Tensor(got_scales.data(), SPF_F32, {rows, 1}), {1e-5, false},
          Launch().require(kernel));
    } catch (const spearfish::Error& e) {
      if (e.status() != SPF_REQUIREMENT_UNMET) throw;
      continue;
    }
    EXPECT_EQ(got_scales, scales) << kernel;
    int different = 0;
    for (size_t i = 0; i < codes.size(); ++i) different += got[i] != codes[i];
    EXPECT_LE(different, 4) << kernel << ": of " << codes.size();
  }
}

// --- special numbers ---------------------------------------------------------------------------------------------

TEST(Quantize, ARowOfZerosHasTheLeastScaleAndCodesOfZero) {
  on_each_kernel([](const Launch& launch) {
    const Rows fp8 = token_fp8(std::vector<float>(19, 0.0f), 1, launch);
    EXPECT_EQ(fp8.scales[0], 1.0f / (448.0f * 512.0f));
    EXPECT_EQ(fp8.codes, std::vector<uint8_t>(19, 0));
    const Rows int8 = token_int8(std::vector<float>(19, 0.0f), 1, false, launch);
    EXPECT_EQ(int8.scales[0], 0.0f);
    EXPECT_EQ(int8.codes, std::vector<uint8_t>(19, 0));
  });
}

TEST(Quantize, NansAreNotAmaxAndInfinitiesSaturate) {
  on_each_kernel([](const Launch& launch) {
    const Rows nan = token_fp8({1.0f, kNan, -448.0f, 2.0f}, 1, launch);
    EXPECT_EQ(nan.scales[0], 1.0f);
    EXPECT_EQ(nan.codes[1] & 0x7f, 0x7f);
    EXPECT_EQ(spf::e4m3_to_f32(nan.codes[2]), -448.0f);
    const Rows infinite = token_fp8({1.0f, kInf, -kInf, 0.0f}, 1, launch);
    EXPECT_EQ(infinite.scales[0], std::numeric_limits<float>::max() / 448.0f);
    EXPECT_EQ(spf::e4m3_to_f32(infinite.codes[0]), 0.0f);
    EXPECT_EQ(spf::e4m3_to_f32(infinite.codes[1]), 448.0f);
    EXPECT_EQ(spf::e4m3_to_f32(infinite.codes[2]), -448.0f);
    const Rows int8 = token_int8({-2.0f, kNan, kInf, -kInf}, 1, false, launch);
    EXPECT_EQ(code_of(int8, 0), 0);
    EXPECT_EQ(code_of(int8, 1), 0);
    EXPECT_EQ(code_of(int8, 2), 127);
    EXPECT_EQ(code_of(int8, 3), -128);
  });
}

TEST(Quantize, DenormalsDoNotBecomeNans) {
  on_each_kernel([](const Launch& launch) {
    const float tiny = std::numeric_limits<float>::denorm_min();
    const Rows int8 = token_int8({tiny, -tiny, 0.0f, 8 * tiny}, 1, false, launch);
    for (size_t i = 0; i < 4; ++i) EXPECT_EQ(code_of(int8, i), 0);
    std::vector<float> x = {tiny, -3 * tiny, 0.0f};
    std::vector<uint8_t> codes(3);
    float scale = -1;
    spearfish::dynamic_scaled_fp8_quant(Tensor(x.data(), SPF_F32, {3}), Tensor(codes.data(), SPF_E4M3, {3}),
                                        Tensor(&scale, SPF_F32, {1}), launch);
    EXPECT_EQ(scale, 0.0f); // 3 denorm_min / 448 rounds to 0
    for (uint8_t code : codes) EXPECT_EQ(code & 0x7f, 0);
  });
}

// A scale has a number where its inverse has none.
TEST(Quantize, ScalesOfDenormalsAreKept) {
  for (const float top : {1.0f, 9.4e-39f, 7.3e-40f}) {
    const float* volatile hidden = &top; // the compiler must not know it
    const auto even = spf::quantize::symmetric_step(*hidden);
    EXPECT_EQ(even.scale, static_cast<float>(static_cast<double>(top) / 127.0));
    EXPECT_EQ(even.factor, top == 1.0f ? 127.0f : 0.0f);
    const auto shifted = spf::quantize::asymmetric_step(0.0f, *hidden);
    EXPECT_EQ(shifted.scale, static_cast<float>(static_cast<double>(top) / (top == 1.0f ? 255.0 : 127.0)));
  }
}

TEST(Quantize, TheBoundCapsTheScaleAndLargerNumbersSaturate) {
  on_each_kernel([](const Launch& launch) {
    const Rows r = token_fp8({896.0f, 100.0f, -3e38f, 1.0f}, 1, launch, 448.0f);
    EXPECT_EQ(r.scales[0], 1.0f);
    EXPECT_EQ(spf::e4m3_to_f32(r.codes[0]), 448.0f);
    EXPECT_EQ(spf::e4m3_to_f32(r.codes[1]), 96.0f); // 100 lies between 96 and 104, a tie, and 96 is even
    EXPECT_EQ(spf::e4m3_to_f32(r.codes[2]), -448.0f);
    EXPECT_EQ(token_fp8({896.0f, 1.0f}, 1, launch, 1e-20f).scales[0], 1.0f / (448.0f * 512.0f));
  });
}

// --- zero points -------------------------------------------------------------------------------------------------

TEST(Quantize, ZeroPointsSpendAllCodesOnTheRange) {
  on_each_kernel([](const Launch& launch) {
    std::vector<float> x;
    for (int i = 0; i < 256; ++i) x.push_back(10.0f + static_cast<float>(i) / 16);
    const Rows r = token_int8(x, 1, true, launch);
    EXPECT_EQ(r.scales[0], 1.0f / 16);
    EXPECT_EQ(r.zeros[0], -288); // -128 - 10 * 16
    for (size_t i = 0; i < x.size(); ++i) {
      EXPECT_EQ(code_of(r, i), static_cast<int>(i) - 128);
      EXPECT_EQ(r.scales[0] * static_cast<float>(code_of(r, i) - r.zeros[0]), x[i]);
    }
  });
}

TEST(Quantize, ARowOfOneNumberKeepsIt) {
  on_each_kernel([](const Launch& launch) {
    const Rows r = token_int8(std::vector<float>(21, -3.0f), 1, true, launch);
    EXPECT_EQ(r.zeros[0], 0);
    for (size_t i = 0; i < 21; ++i) EXPECT_NEAR(r.scales[0] * static_cast<float>(code_of(r, i)), -3.0f, 1e-6f);
  });
}

TEST(Quantize, NearlyEqualNumbersStayInsideTheirZeroPoint) {
  on_each_kernel([](const Launch& launch) {
    const float base = 1e8f, next = std::nextafter(base, 2e8f);
    const Rows r = token_int8({base, next, base}, 1, true, launch);
    EXPECT_LE(std::abs(r.zeros[0]), 1 << 30);
    for (size_t i = 0; i < 3; ++i) EXPECT_GE(code_of(r, i), -128);
  });
}

TEST(Quantize, GivenZeroPointsShiftAfterRounding) {
  on_each_kernel([](const Launch& launch) {
    std::vector<float> x = {-2.5f, -0.5f, 0.5f, 1.5f, 300.0f, kNan};
    std::vector<int8_t> codes(x.size());
    float scale = 1.0f;
    int32_t azp = 7;
    const auto count = static_cast<int64_t>(x.size());
    spearfish::static_scaled_int8_quant(Tensor(x.data(), SPF_F32, {count}), Tensor(&scale, SPF_F32, {1}),
                                        Tensor(&azp, SPF_I32, {1}), Tensor(codes.data(), SPF_S8, {count}), launch);
    EXPECT_EQ(codes, (std::vector<int8_t>{5, 7, 7, 9, 127, 7}));
    azp = std::numeric_limits<int32_t>::min();
    spearfish::static_scaled_int8_quant(Tensor(x.data(), SPF_F32, {count}), Tensor(&scale, SPF_F32, {1}),
                                        Tensor(&azp, SPF_I32, {1}), Tensor(codes.data(), SPF_S8, {count}), launch);
    EXPECT_EQ(codes, std::vector<int8_t>(x.size(), -128));
  });
}

// --- extents -----------------------------------------------------------------------------------------------------

TEST(Quantize, NoTokensAreASuccess) {
  float scale = -1;
  on_each_kernel([&](const Launch& launch) {
    spearfish::dynamic_per_token_scaled_fp8_quant(Tensor(nullptr, SPF_BF16, {0, 64}), {},
                                                  Tensor(nullptr, SPF_E4M3, {0, 64}), Tensor(nullptr, SPF_F32, {0, 1}),
                                                  launch);
    scale = -1;
    spearfish::dynamic_scaled_fp8_quant(Tensor(nullptr, SPF_BF16, {0, 64}), Tensor(nullptr, SPF_E4M3, {0, 64}),
                                        Tensor(&scale, SPF_F32, {1}), launch);
    EXPECT_EQ(scale, 0.0f);
  });
}

TEST(Quantize, ScalesThatDoNotCoverXAreRefused) {
  std::vector<float> x(24), scale(6, 1.0f);
  std::vector<uint8_t> codes(24);
  const auto field = [&](const spearfish::Shape& of_scale) {
    return refused_field([&] {
      spearfish::static_scaled_fp8_quant(Tensor(x.data(), SPF_F32, {4, 6}), Tensor(scale.data(), SPF_F32, of_scale),
                                         Tensor(codes.data(), SPF_E4M3, {4, 6}));
    });
  };
  EXPECT_EQ(field({2, 3}), "");
  EXPECT_EQ(field({3, 1}), "scale.shape[0]");
  EXPECT_EQ(field({1, 4}), "scale.shape[1]");
}

// --- groups ------------------------------------------------------------------------------------------------------

std::vector<float> ramp(int64_t rows, int64_t k) { // the largest number of row r, group g is 448 (r + 1) / (g + 1)
  std::vector<float> x(static_cast<size_t>(rows * k));
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t i = 0; i < k; ++i)
      x[static_cast<size_t>(r * k + i)] =
          448.0f * static_cast<float>(r + 1) / static_cast<float>(i / 64 + 1) * (i % 64 == 7 ? -1.0f : 0.25f);
  return x;
}

TEST(QuantizeGroups, ScalesLieWhereTheirStridesSay) {
  constexpr int64_t kRows = 5, kK = 192, kGroups = 3, kColumn = 8; // columns ceil(5 / 4) * 4 apart
  on_each_kernel([&](const Launch& launch) {
    std::vector<float> x = ramp(kRows, kK), scales(kGroups * kColumn, -7.0f);
    std::vector<uint8_t> codes(x.size());
    const Tensor scale(scales.data(), SPF_F32, {kRows, kGroups}, spearfish::Shape{1, kColumn});
    spearfish::per_token_group_fp8_quant(Tensor(x.data(), SPF_F32, {kRows, kK}), {},
                                         Tensor(codes.data(), SPF_E4M3, {kRows, kK}), scale, {64, 1e-10, false, false},
                                         launch);
    for (int64_t g = 0; g < kGroups; ++g)
      for (int64_t r = 0; r < kColumn; ++r)
        EXPECT_EQ(scales[static_cast<size_t>(g * kColumn + r)],
                  r < kRows ? 448.0f * static_cast<float>(r + 1) / static_cast<float>(g + 1) / 448.0f : -7.0f);
    EXPECT_EQ(spf::e4m3_to_f32(codes[7]), -448.0f);
    EXPECT_EQ(spf::e4m3_to_f32(codes[8]), 112.0f);
  });
}

TEST(QuantizeGroups, PackedExponentsFillWordsAndPaddingRows) {
  constexpr int64_t kRows = 3, kPadded = 4, kK = 320, kGroups = 5, kWords = 2;
  on_each_kernel([&](const Launch& launch) {
    std::vector<float> x = ramp(kRows, kK);
    std::vector<uint8_t> codes(x.size()), bytes(kPadded * kWords * 4, 0xee);
    const Tensor scale(bytes.data(), SPF_I32, {kPadded, kWords}, spearfish::Shape{1, kPadded});
    spearfish::per_token_group_fp8_quant_packed(Tensor(x.data(), SPF_F32, {kRows, kK}), {},
                                                Tensor(codes.data(), SPF_E4M3, {kRows, kK}), scale,
                                                {64, 1e-10, false, false}, launch);
    for (int64_t r = 0; r < kPadded; ++r)
      for (int64_t g = 0; g < 4 * kWords; ++g) {
        const double amax = static_cast<double>(r + 1) / static_cast<double>(g + 1);
        const int want = r < kRows && g < kGroups ? static_cast<int>(std::ceil(std::log2(amax))) + 127 : 0;
        EXPECT_EQ(bytes[static_cast<size_t>((g / 4 * kPadded + r) * 4 + g % 4)], want) << r << " " << g;
      }
  });
}

TEST(QuantizeGroups, TruncationCutsFractionsOff) {
  on_each_kernel([](const Launch& launch) {
    std::vector<float> x(32, 0.0f);
    x[0] = 127.0f, x[1] = 2.75f, x[2] = -2.75f;
    std::vector<int8_t> codes(32);
    float scale = 0;
    for (bool truncate : {false, true}) {
      spearfish::per_token_group_quant_int8(Tensor(x.data(), SPF_F32, {32}), {}, Tensor(codes.data(), SPF_S8, {32}),
                                            Tensor(&scale, SPF_F32, {1}), {32, 1e-10, false, truncate}, launch);
      EXPECT_EQ(scale, 1.0f);
      EXPECT_EQ(codes[1], truncate ? 2 : 3);
      EXPECT_EQ(codes[2], truncate ? -2 : -3);
    }
  });
}

TEST(QuantizeGroups, TokensThatAreNotCountedStay) {
  constexpr int64_t kExperts = 2, kTokens = 3, kK = 128;
  on_each_kernel([&](const Launch& launch) {
    std::vector<float> x(kExperts * kTokens * 2 * kK, 2.0f), scales(kExperts * kTokens, -7.0f);
    std::vector<uint8_t> codes(kExperts * kTokens * kK, 0xee);
    std::vector<int32_t> counts = {1, 7}; // the second as if all
    spearfish::persistent_masked_m_silu_mul_quant(
        Tensor(x.data(), SPF_F32, {kExperts, kTokens, 2 * kK}), Tensor(counts.data(), SPF_I32, {kExperts}),
        Tensor(codes.data(), SPF_E4M3, {kExperts, kTokens, kK}), Tensor(scales.data(), SPF_F32, {kExperts, kTokens, 1}),
        1e-10, false, launch);
    for (int64_t t = 0; t < kExperts * kTokens; ++t) {
      const bool counted = t == 0 || t >= kTokens;
      EXPECT_EQ(scales[static_cast<size_t>(t)] != -7.0f, counted) << t;
      EXPECT_EQ(codes[static_cast<size_t>(t * kK)], counted ? 0x7e : 0xee) << t; // all the same: the largest code
    }
  });
}

TEST(QuantizeGroups, WhatDoesNotCoverARowIsRefused) {
  std::vector<float> x(300), scale(8);
  std::vector<uint8_t> codes(300);
  const auto field = [&](int64_t k, int64_t groups, int64_t size) {
    return refused_field([&] {
      spearfish::per_token_group_fp8_quant(Tensor(x.data(), SPF_F32, {1, k}), {},
                                           Tensor(codes.data(), SPF_E4M3, {1, k}),
                                           Tensor(scale.data(), SPF_F32, {1, groups}), {size, 1e-10, false, false});
    });
  };
  EXPECT_EQ(field(256, 2, 128), "");
  EXPECT_EQ(field(300, 2, 128), "out.shape[-1]");
  EXPECT_EQ(field(256, 3, 128), "scale.shape[-1]");
  EXPECT_EQ(field(288, 3, 96), "group_size");
}

// --- quotients ---------------------------------------------------------------------------------------------------

TEST(Quantize, QuotientsByWayOfTheReciprocalAreTheRoundedOnes) {
  std::mt19937_64 random(7);
  const auto number = [&](int low, int high) { // random digits, exponents from low to high
    const auto digits = static_cast<uint32_t>(random() & 0x7fffff);
    const uint32_t exponent =
        static_cast<uint32_t>(127 + low + static_cast<int>(random() % static_cast<uint64_t>(high - low)));
    const uint32_t bits = (static_cast<uint32_t>(random() & 1) << 31) | exponent << 23 | digits;
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
  };
  for (int i = 0; i < 2'000'000; ++i) {
    const float scale = std::abs(number(i % 2 ? -18 : -90, i % 2 ? 12 : 120));
    float x = number(-12, 12) * scale;
    // Next to a tie of codes: that is where one unit decides.
    if (i % 3 == 0)
      x = std::ldexp(static_cast<float>(17 + 2 * (random() % 8)), static_cast<int>(random() % 12) - 8) * scale;
    if (i % 3 == 1) x = std::nextafter(x, random() & 1 ? 1e38f : -1e38f);
    ASSERT_EQ(spf::quantize::Division(scale)(x), x / scale) << x << " / " << scale;
  }
  const spf::quantize::Division least(1.0f / (448.0f * 512.0f));
  EXPECT_EQ(least(kInf), kInf);
  EXPECT_EQ(least(-kInf), -kInf);
  EXPECT_TRUE(std::isnan(least(kNan)));
  EXPECT_GT(least(3e38f), 448.0f);
  for (float tiny : {0.0f, 1e-45f, 1e-40f, 1e-37f}) {
    EXPECT_EQ(least(tiny), tiny / (1.0f / (448.0f * 512.0f)));
    EXPECT_FALSE(std::signbit(least(tiny)));
    EXPECT_TRUE(std::signbit(least(-tiny)));
    EXPECT_TRUE(std::signbit(spf::quantize::Division(1e35f)(-tiny)));
  }
}

// Of numbers of 16 bits, to the codes that follow: all significands of f16, which hold those of bf16, under scales of
// any digits and of those where reciprocals round worst.
TEST(Quantize, QuotientsOfShortNumbersGiveTheCodesOfRoundedOnes) {
  std::mt19937_64 random(11);
  for (int i = 0; i < 12'000; ++i) {
    const auto digits = static_cast<uint32_t>(random() & 0x7fffff);
    const uint32_t worst[] = {0, 1, 2, 0x7fffff, 0x7ffffe, 0x400000, 0x3fffff, 0x249249, 0x124925};
    const uint32_t bits = 127u << 23 | (i < 200 ? worst[i % 9] ^ static_cast<uint32_t>(i / 9) : digits);
    float scale;
    std::memcpy(&scale, &bits, sizeof scale);
    const int exponent = i % 3 == 0 ? -90 : i % 3 == 1 ? 89 : static_cast<int>(random() % 40) - 20;
    scale = std::ldexp(scale, exponent);
    ASSERT_TRUE(spf::quantize::Quotient::covers(scale));
    // A reciprocal may be off by two units either way.
    const float exact = 1.0f / scale;
    const float up = std::nextafter(exact, 3e38f), down = std::nextafter(exact, 0.0f);
    const spf::quantize::Quotient quotient(scale, i % 4 == 0 ? up : i % 4 == 1 ? down : exact);
    for (int significand = 1024; significand < 2048; ++significand) {
      const int places = static_cast<int>(random() % 22) - 12; // from below the least code to above the largest
      const float x = std::ldexp(static_cast<float>(significand), exponent + places - 10), right = x / scale;
      const float found = quotient(significand % 2 ? x : -x) * (significand % 2 ? 1.0f : -1.0f);
      ASSERT_EQ(spf::f32_to_e4m3(found), spf::f32_to_e4m3(right)) << x << " / " << scale;
      if (right >= 512.0f) continue;
      ASSERT_EQ(std::nearbyint(found), std::nearbyint(right)) << x << " / " << scale;
      ASSERT_EQ(std::trunc(found), std::trunc(right)) << x << " / " << scale;
    }
  }
  for (float scale : {1.0f, 3.0f, 0x1p-90f, 0x1.fffffep89f}) {
    const spf::quantize::Quotient quotient(scale, 1.0f / scale);
    EXPECT_EQ(quotient(kInf), kInf);
    EXPECT_EQ(quotient(-kInf), -kInf);
    EXPECT_TRUE(std::isnan(quotient(kNan)));
    EXPECT_EQ(quotient(0.0f), 0.0f);
    EXPECT_TRUE(std::signbit(quotient(-0.0f)));
    EXPECT_GT(quotient(3.3e38f), 448.0f);
    EXPECT_LT(quotient(-3.3e38f), -448.0f);
  }
}

TEST(Quantize, QuotientsByTheLargestCodesAreTheRoundedOnes) {
  for (uint32_t digits = 0; digits < 1u << 23; digits += 7) {
    for (uint32_t exponent : {48u, 127u, 254u}) {
      const uint32_t bits = exponent << 23 | digits;
      float v;
      std::memcpy(&v, &bits, sizeof v);
      ASSERT_EQ(spf::quantize::over_fp8_max(v), v / 448.0f) << v;
      ASSERT_EQ(spf::quantize::over_int8_max(v), v / 127.0f) << v;
    }
  }
}

} // namespace
