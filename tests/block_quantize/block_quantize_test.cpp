// Block quantizers against vLLM's own outputs, and their rules against arithmetic in f64.
#include <cmath>
#include <limits>

#include <gtest/gtest.h>

#include "core/scalar.hpp"
#include "spearfish/spearfish.hpp"
#include "support/safetensors.hpp"
#include "support/weights.hpp"

namespace {

using namespace spearfish;
constexpr float kInf = std::numeric_limits<float>::infinity(), kNan = std::numeric_limits<float>::quiet_NaN();

struct Quantized {
  std::vector<uint8_t> codes, scales, swizzled;

  double e2m1(size_t i) const { return spf::e2m1_to_f32(static_cast<uint8_t>(codes[i / 2] >> (4 * (i % 2)))); }
};

Quantized empty(int64_t rows, int64_t width, int64_t block, bool nibbles) {
  const int64_t groups = width / block;
  return {std::vector<uint8_t>(static_cast<size_t>(rows * width / (nibbles ? 2 : 1)), 0xa5),
          std::vector<uint8_t>(static_cast<size_t>(rows * groups), 0xa5),
          std::vector<uint8_t>(static_cast<size_t>((rows + 127) / 128 * 128 * ((groups + 3) / 4 * 4)), 0xa5)};
}

struct Views {
  Tensor codes, scales, swizzled;
};
Views views(Quantized& q, int64_t rows, int64_t width, int64_t block, ScalarType code, ScalarType scale) {
  const int64_t groups = width / block;
  return {Tensor(q.codes.data(), code, {rows, code == SPF_U8 ? width / 2 : width}),
          Tensor(q.scales.data(), scale, {rows, groups}),
          Tensor(q.swizzled.data(), scale, {(rows + 127) / 128 * 128, (groups + 3) / 4 * 4})};
}

Quantized nvfp4(std::vector<float> x, int64_t rows, float global_scale) {
  const int64_t width = static_cast<int64_t>(x.size()) / rows;
  Quantized q = empty(rows, width, 16, true);
  const Views v = views(q, rows, width, 16, SPF_U8, SPF_E4M3);
  nvfp4_quantize(Tensor(x.data(), SPF_F32, {rows, width}), Tensor(&global_scale, SPF_F32, {1}), v.codes,
                 {v.scales, v.swizzled});
  return q;
}

Quantized mx(std::vector<float> x, ScalarType code, spf_mx_scale_rule rule) {
  const auto width = static_cast<int64_t>(x.size());
  Quantized q = empty(1, width, 32, code == SPF_U8);
  const Views v = views(q, 1, width, 32, code, SPF_E8M0);
  const Tensor in(x.data(), SPF_F32, {1, width});
  if (code == SPF_U8)
    mxfp4_quantize(in, v.codes, {v.scales, v.swizzled}, rule);
  else
    mxfp8_quantize(in, v.codes, {v.scales, v.swizzled}, rule);
  return q;
}

TEST(BlockQuantize, GivesTheCodesAndScalesOfVllm) {
  auto x = support::goldens()["nvfp4.x"].as<uint16_t>();
  const auto values = support::goldens()["nvfp4.values"].as<float>();
  const auto scales = support::goldens()["nvfp4.block_scales"].as<float>();
  float global_scale = support::goldens()["nvfp4.global_scale"].as<float>()[0];
  const int64_t rows = support::goldens()["nvfp4.x"].shape[0], width = support::goldens()["nvfp4.x"].shape[1];
  Quantized q = empty(rows, width, 16, true);
  const Views v = views(q, rows, width, 16, SPF_U8, SPF_E4M3);
  nvfp4_quantize(Tensor(x.data(), SPF_BF16, {rows, width}), Tensor(&global_scale, SPF_F32, {1}), v.codes,
                 {v.scales, std::nullopt});
  int different = 0; // next to a tie, where an approximate reciprocal decides
  for (size_t i = 0; i < values.size(); ++i) different += q.e2m1(i) != values[i];
  EXPECT_LE(different, 2) << "of " << values.size();
  for (size_t i = 0; i < scales.size(); ++i) ASSERT_EQ(spf::e4m3_to_f32(q.scales[i]), scales[i]) << i;
}

TEST(BlockQuantize, TilesOf128RowsAnd4GroupsHoldTheScalesAndZeros) {
  const int64_t rows = 150, groups = 6;
  std::vector<float> x(static_cast<size_t>(rows * groups * 16));
  for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(1 + i * 7919 % 1000);
  const Quantized q = nvfp4(x, rows, 1);
  std::vector<uint8_t> expected(256 * 8, 0);
  for (int64_t m = 0; m < rows; ++m)
    for (int64_t j = 0; j < groups; ++j) // [m / 128][j / 4][m % 32][m / 32 % 4][j % 4]
      expected[static_cast<size_t>((((m / 128 * 2 + j / 4) * 32 + m % 32) * 4 + m / 32 % 4) * 4 + j % 4)] =
          q.scales[static_cast<size_t>(m * groups + j)];
  EXPECT_EQ(q.swizzled, expected);
}

TEST(BlockQuantize, CodesRoundTiesToEvenAndSaturate) {
  // Scale 1: the block's largest is 6, and the global scale 1.
  const std::vector<float> x = {6,     0.25f, 0.75f, 1.25f, 1.75f,  2.5f, 3.5f, 5,
                                -0.0f, -0.2f, -2.6f, kNan,  0.251f, 5.1f, 3.4f, -6};
  const std::vector<double> want = {6, 0, 1, 1, 2, 2, 4, 4, 0, 0, -3, 0, 0.5, 6, 3, -6};
  const Quantized q = nvfp4(x, 1, 1);
  ASSERT_EQ(spf::e4m3_to_f32(q.scales[0]), 1);
  for (size_t i = 0; i < 16; ++i) EXPECT_EQ(q.e2m1(i), want[i]) << x[i];
  EXPECT_EQ(q.codes[4], 0x88) << "zeros keep their signs";
  EXPECT_EQ(q.codes[5] >> 4, 0) << "NaN";
}

TEST(BlockQuantize, BlocksOfSpecialValues) {
  EXPECT_EQ(nvfp4(std::vector<float>(16, 0), 1, 3).scales[0], 0);
  EXPECT_EQ(nvfp4(std::vector<float>(16, kNan), 1, 3).codes, std::vector<uint8_t>(8, 0));
  EXPECT_EQ(nvfp4(std::vector<float>(16, 1e-30f), 1, 1).codes, std::vector<uint8_t>(8, 0)) << "the scale rounds to 0";
  const Quantized endless = nvfp4(std::vector<float>(16, -kInf), 1, 1);
  EXPECT_EQ(endless.scales[0], 0x7e); // 448
  EXPECT_EQ(endless.codes, std::vector<uint8_t>(8, 0xff));
  const Quantized large = nvfp4(std::vector<float>(16, 3e38f), 1, 1e-36f);
  EXPECT_NEAR(6 * spf::e4m3_to_f32(large.scales[0]) / 300, 1, 0.07);
  for (auto code : {SPF_U8, SPF_E4M3, SPF_E5M2}) {
    EXPECT_EQ(mx(std::vector<float>(32, 0), code, SPF_MX_SCALE_UP).scales[0], 0);
    EXPECT_EQ(mx(std::vector<float>(32, 1e-41f), code, SPF_MX_SCALE_UP).scales[0], 0) << "denormals";
    const Quantized nan = mx(std::vector<float>(32, kNan), code, SPF_MX_SCALE_FLOOR);
    EXPECT_EQ(nan.codes[0], code == SPF_U8 ? 0 : 0x7f);
    const Quantized infinite = mx(std::vector<float>(32, kInf), code, SPF_MX_SCALE_FLOOR);
    EXPECT_EQ(infinite.codes[0], code == SPF_U8 ? 0x77 : code == SPF_E4M3 ? 0x7e : 0x7b);
  }
}

// What a rule means, in f64.
int exponent_by(spf_mx_scale_rule rule, double largest, double max, int max_exponent, int fraction_bits) {
  if (rule == SPF_MX_SCALE_UP) return static_cast<int>(std::ceil(std::log2(largest / max)));
  const int floor = std::ilogb(largest);
  if (rule == SPF_MX_SCALE_FLOOR) return floor - max_exponent;
  return std::ilogb(std::round(std::ldexp(largest, fraction_bits - floor)) * std::ldexp(1.0, floor - fraction_bits)) -
         max_exponent;
}

TEST(BlockQuantize, MxScalesFollowTheirRules) {
  struct Element {
    ScalarType code;
    double max;
    int exponent, fraction_bits;
  };
  for (const Element& e : {Element{SPF_U8, 6, 2, 1}, Element{SPF_E4M3, 448, 8, 3}, Element{SPF_E5M2, 57344, 15, 2}})
    for (auto rule : {SPF_MX_SCALE_FLOOR, SPF_MX_SCALE_UP, SPF_MX_SCALE_NEAREST})
      for (float largest : {1.0f, 1.4f, 1.5f, 1.51f, 1.74f, 1.75f, 1.76f, 1.874f, 1.875f, 1.9f, 1.9375f, 1.99f, 96.0f,
                            448.0f, 449.0f, 57344.0f, 57400.0f, 3e-20f, 1e30f}) {
        std::vector<float> x(32, largest / 3);
        x[5] = -largest;
        const Quantized q = mx(x, e.code, rule);
        const int exponent = exponent_by(rule, largest, e.max, e.exponent, e.fraction_bits);
        ASSERT_EQ(q.scales[0], exponent + 127) << largest << " rule " << rule << " max " << e.max;
        const double scaled = std::ldexp(-double{largest}, -exponent);
        const double code = e.code == SPF_U8     ? q.e2m1(5)
                            : e.code == SPF_E4M3 ? spf::e4m3_to_f32(q.codes[5])
                                                 : spf::e5m2_to_f32(q.codes[5]);
        EXPECT_NEAR(code, std::max(scaled, -e.max), e.max / (2 << e.fraction_bits)) << largest << " rule " << rule;
      }
}

TEST(BlockQuantize, SiluIsTheFunction) {
  std::vector<float> x(32);
  float global_scale = 1;
  for (float gate = -100; gate < 100; gate += 0.37f) {
    std::fill(x.begin(), x.begin() + 16, gate);
    std::fill(x.begin() + 16, x.end(), 1.0f);
    const double silu = gate / (1 + std::exp(-double{gate}));
    global_scale = static_cast<float>(6 * 256 / std::abs(silu));
    if (!(global_scale < 1e30f)) continue;
    Quantized q = empty(1, 16, 16, true);
    const Views v = views(q, 1, 16, 16, SPF_U8, SPF_E4M3);
    silu_and_mul_nvfp4_quantize(Tensor(x.data(), SPF_F32, {1, 32}), Tensor(&global_scale, SPF_F32, {1}), v.codes,
                                {v.scales, std::nullopt});
    ASSERT_NEAR(spf::e4m3_to_f32(q.scales[0]), 256, 1e-3) << gate;
    ASSERT_EQ(q.e2m1(3), gate < 0 ? -6 : 6) << gate;
  }
}

// Each expert's rows are those of a quantization of its own; what lies behind the last region stays.
TEST(BlockQuantize, ExpertsAreQuantizedAlone) {
  const int64_t rows = 300, groups = 5, width = groups * 16, tiles = 2;
  std::vector<int32_t> offsets = {0, 0, 130, 131, 300}, scale_offsets = {0, 0, 256, 384, 640};
  std::vector<float> x(static_cast<size_t>(rows * width)), global_scales = {1, 2, 30, 0.5f};
  for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(static_cast<int64_t>(i * 7919 % 2001) - 1000) / 64;
  std::vector<uint8_t> codes(static_cast<size_t>(rows * width / 2)), swizzled(768 * 8, 0x5a);
  const Tensor expert_offsets(offsets.data(), SPF_I32, {5}), scale_rows(scale_offsets.data(), SPF_I32, {5});
  nvfp4_experts_quantize(Tensor(x.data(), SPF_F32, {rows, width}), Tensor(global_scales.data(), SPF_F32, {4}),
                         {expert_offsets, scale_rows}, Tensor(codes.data(), SPF_U8, {rows, width / 2}),
                         Tensor(swizzled.data(), SPF_E4M3, {768, 8}));
  for (size_t e = 0; e < 4; ++e) {
    const int64_t count = offsets[e + 1] - offsets[e];
    if (count == 0) continue;
    const auto begin = x.begin() + offsets[e] * width;
    const Quantized alone = nvfp4(std::vector<float>(begin, begin + count * width), count, global_scales[e]);
    EXPECT_TRUE(std::equal(alone.codes.begin(), alone.codes.end(), codes.begin() + offsets[e] * width / 2)) << e;
    EXPECT_TRUE(
        std::equal(alone.swizzled.begin(), alone.swizzled.end(), swizzled.begin() + scale_offsets[e] * tiles * 4))
        << e;
  }
  for (size_t i = 640 * 8; i < swizzled.size(); ++i) ASSERT_EQ(swizzled[i], 0x5a) << i;
}

TEST(BlockQuantize, ExpertsNeedRoomForEveryWayToSpreadTheRows) {
  std::vector<int32_t> offsets(4);
  std::vector<float> x(3 * 16), global_scales(3, 1);
  std::vector<uint8_t> codes(3 * 8), swizzled(256 * 4);
  const Tensor four(offsets.data(), SPF_I32, {4});
  try {
    nvfp4_experts_quantize(Tensor(x.data(), SPF_F32, {3, 16}), Tensor(global_scales.data(), SPF_F32, {3}), {four, four},
                           Tensor(codes.data(), SPF_U8, {3, 8}), Tensor(swizzled.data(), SPF_E4M3, {256, 4}));
    FAIL() << "three experts of a row each take three tiles";
  } catch (const Error& e) {
    EXPECT_EQ(e.field(), "scales_swizzled.shape[0]");
    EXPECT_EQ(e.allowed().substr(0, 3), "384");
  }
}

// A rotation by the unit matrix is none; QuEST's and the largest magnitude's scales by their definitions.
TEST(BlockQuantize, RotatedBlocksFollowTheirRules) {
  std::vector<float> x(64);
  for (size_t i = 0; i < x.size(); ++i)
    x[i] = static_cast<float>(static_cast<int>(i * 37 % 64) - 31) / (i < 32 ? 4 : 64);
  std::vector<uint16_t> half(x.size()), unit(32 * 32, 0), swap(32 * 32, 0);
  for (size_t i = 0; i < x.size(); ++i) half[i] = spf::f32_to_f16(x[i]);
  for (size_t i = 0; i < 32; ++i) unit[33 * i] = swap[(i ^ 1) + 32 * i] = spf::f32_to_f16(1);
  const Tensor in(half.data(), SPF_F16, {1, 64}), same(unit.data(), SPF_F16, {32, 32});
  for (auto rule : {SPF_ROTATED_SCALE_QUEST, SPF_ROTATED_SCALE_ABS_MAX}) {
    Quantized q = empty(1, 64, 32, true);
    const Views v = views(q, 1, 64, 32, SPF_U8, SPF_E8M0);
    rotate_mxfp4_quantize(in, same, v.codes, {v.scales, v.swizzled}, rule);
    for (size_t g = 0; g < 2; ++g) {
      double mean = 0, squares = 0, largest = 0;
      for (size_t i = 32 * g; i < 32 * g + 32; ++i) mean += x[i] / 32;
      for (size_t i = 32 * g; i < 32 * g + 32; ++i) {
        squares += (x[i] - mean) * (x[i] - mean) / 32;
        largest = std::max(largest, std::abs(double{x[i]}));
      }
      const bool quest = rule == SPF_ROTATED_SCALE_QUEST;
      const int exponent = std::ilogb((quest ? std::sqrt(squares) * 2.92247856 / 6 : largest) + 1e-8);
      ASSERT_EQ(q.scales[g], exponent + 127) << rule << " " << g;
      for (size_t i = 32 * g; i < 32 * g + 32; ++i) {
        const double scaled = std::ldexp(double{x[i]}, -exponent) * (quest ? 1 : 3);
        ASSERT_EQ(q.e2m1(i), spf::decode(SPF_E2M1, spf::encode(SPF_E2M1, scaled))) << rule << " " << i;
      }
    }
  }
  float global_scale = 5;
  Quantized plain = empty(1, 64, 16, true), swapped = plain;
  const Views p = views(plain, 1, 64, 16, SPF_U8, SPF_E4M3), s = views(swapped, 1, 64, 16, SPF_U8, SPF_E4M3);
  const Tensor g(&global_scale, SPF_F32, {1});
  nvfp4_quantize(in, g, p.codes, {p.scales, p.swizzled});
  rotate_nvfp4_quantize(in, Tensor(swap.data(), SPF_F16, {32, 32}), g, s.codes, {s.scales, s.swizzled});
  for (uint8_t& two : swapped.codes) two = static_cast<uint8_t>(two << 4 | two >> 4); // neighbours back
  EXPECT_EQ(swapped.codes, plain.codes);
  EXPECT_EQ(swapped.scales, plain.scales);
  EXPECT_EQ(swapped.swizzled, plain.swizzled);
}

TEST(BlockQuantize, ScalesGoIntoTilesAndBack) {
  const int64_t rows = 150, groups = 6;
  std::vector<float> x(static_cast<size_t>(rows * groups * 16));
  for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(1 + i * 7919 % 1000);
  Quantized q = nvfp4(x, rows, 1);
  std::vector<uint8_t> tiles(q.swizzled.size(), 0xa5), back(q.scales.size(), 0xa5);
  const Tensor in_rows(q.scales.data(), SPF_E4M3, {rows, groups}), in_tiles(tiles.data(), SPF_E4M3, {256, 8});
  swizzle_scales(in_rows, in_tiles);
  EXPECT_EQ(tiles, q.swizzled) << "what the quantizer itself writes";
  unswizzle_scales(in_tiles, Tensor(back.data(), SPF_E4M3, {rows, groups}));
  EXPECT_EQ(back, q.scales);
}

TEST(BlockQuantize, RefusesPartsOfBlocksAndCallsWithoutScales) {
  std::vector<float> x(24);
  std::vector<uint8_t> codes(12), scales(2);
  float global_scale = 1;
  const Tensor in(x.data(), SPF_F32, {1, 24}), g(&global_scale, SPF_F32, {1}), out(codes.data(), SPF_U8, {1, 12});
  try {
    nvfp4_quantize(in, g, out, {Tensor(scales.data(), SPF_E4M3, {1, 2}), std::nullopt});
    FAIL() << "24 values are no blocks";
  } catch (const Error& e) {
    EXPECT_EQ(e.field(), "x.shape[1]");
    EXPECT_EQ(e.allowed(), "a multiple of 16");
  }
  try {
    nvfp4_quantize(Tensor(x.data(), SPF_F32, {1, 16}), g, Tensor(codes.data(), SPF_U8, {1, 8}), {});
    FAIL() << "no scales";
  } catch (const Error& e) {
    EXPECT_EQ(e.field(), "scales");
  }
  try {
    nvfp4_quantize(Tensor(x.data(), SPF_F32, {1, 16}), g, Tensor(codes.data(), SPF_U8, {1, 8}),
                   {std::nullopt, Tensor(scales.data(), SPF_E4M3, {1, 2})});
    FAIL() << "scales without padding";
  } catch (const Error& e) {
    EXPECT_EQ(e.field(), "scales_swizzled.shape[0]");
    EXPECT_EQ(e.allowed(), "128");
  }
}

} // namespace
