// nvfp4_linear, mxfp4_linear and mxfp8_linear: what they read is what the block quantizers and spf_quantize() write,
// decoded here from the bytes alone; and what they refuse.
#include <cmath>
#include <cstring>
#include <functional>

#include <gtest/gtest.h>
#include <spearfish/spearfish.hpp>

#include "support/weights.hpp"

using namespace spearfish;

namespace {

constexpr int64_t kM = 131, kN = 37, kK = 224; // two tiles of rows; half a tile of blocks at the end

double e2m1(int code) {
  constexpr double kValues[] = {0, 0.5, 1, 1.5, 2, 3, 4, 6};
  return code & 8 ? -kValues[code & 7] : kValues[code & 7];
}

// 8-bit floats by their definition.
double small_float(int code, int mantissa_bits, int bias) {
  const int exponent = (code & 127) >> mantissa_bits, mantissa = code & ((1 << mantissa_bits) - 1);
  const double value = exponent == 0 ? std::ldexp(mantissa, 1 - bias - mantissa_bits)
                                     : std::ldexp(mantissa + (1 << mantissa_bits), exponent - bias - mantissa_bits);
  return code & 128 ? -value : value;
}
double e4m3(int code) { return small_float(code, 3, 7); }

// Where the header of the quantizers says that a block's scale lies.
size_t swizzled(int64_t m, int64_t j, int64_t blocks) {
  const int64_t tiles = (blocks + 3) / 4;
  return static_cast<size_t>((m / 128 * tiles + j / 4) * 512 + m % 32 * 16 + m / 32 % 4 * 4 + j % 4);
}

// Activations of one of the formats, quantized from random numbers, and what they stand for.
struct Activation {
  std::vector<uint8_t> codes, scales;
  std::vector<double> values = std::vector<double>(kM * kK);
  int64_t width, block, blocks;
  ScalarType type, scale_type;

  Activation(ScalarType code_type, ScalarType scale, float global)
      : width(code_type == SPF_U8 ? kK / 2 : kK),
        block(scale == SPF_E4M3 ? 16 : 32),
        blocks(kK / block),
        type(code_type),
        scale_type(scale) {
    codes.resize(static_cast<size_t>(kM * width));
    scales.resize(static_cast<size_t>(256 * ((blocks + 3) / 4 * 4)));
    std::vector<float> x = support::normal_values(kM * kK, 5);
    const Tensor in(x.data(), SPF_F32, {kM, kK}), factor(&global, SPF_F32, {1});
    const Tensor to = codes_tensor(), tiles = scales_tensor();
    BlockScales where;
    where.swizzled = tiles;
    if (scale == SPF_E4M3)
      nvfp4_quantize(in, factor, to, where);
    else if (code_type == SPF_U8)
      mxfp4_quantize(in, to, where);
    else
      mxfp8_quantize(in, to, where);
    for (int64_t m = 0; m < kM; ++m)
      for (int64_t k = 0; k < kK; ++k) {
        const int raw = scales[swizzled(m, k / block, blocks)];
        const double of_block = scale == SPF_E4M3 ? e4m3(raw) : std::ldexp(1.0, raw - 127);
        values[static_cast<size_t>(m * kK + k)] = number(m, k) * of_block;
      }
  }

  double number(int64_t m, int64_t k) const {
    if (type == SPF_E4M3) return e4m3(codes[static_cast<size_t>(m * width + k)]);
    if (type == SPF_E5M2) return small_float(codes[static_cast<size_t>(m * width + k)], 2, 15);
    return e2m1(codes[static_cast<size_t>(m * width + k / 2)] >> (k % 2 * 4) & 15);
  }
  Tensor codes_tensor() { return Tensor(codes.data(), type, {kM, width}); }
  Tensor scales_tensor() { return Tensor(scales.data(), scale_type, {256, (blocks + 3) / 4 * 4}); }
};

using Function = std::function<void(const BlockActivation&, const PackedWeight&, const Tensor&,
                                    const BlockLinearExtras&, const Launch&)>;
using PlanFunction = std::function<Plan(const BlockActivation&, const QuantScheme&, const Tensor&)>;

void expect_product(Activation& x, const char* format, const PlanFunction& plan_of, const Function& function,
                    float alpha) {
  const std::vector<float> dense = support::normal_values(kN * kK, 9);
  const QuantizedWeight quantized = QuantizedWeight::quantize(quant_scheme(format), kN, kK, dense.data());
  const std::vector<float> w = quantized.dequantize();
  std::vector<float> bias = support::normal_values(kN, 11), out(kM * kN, -1.0f);
  BlockLinearExtras extras;
  extras.alpha = Tensor(&alpha, SPF_F32, {1});
  extras.bias = Tensor(bias.data(), SPF_F32, {kN});
  const Tensor codes = x.codes_tensor(), scales = x.scales_tensor(), to(out.data(), SPF_F32, {kM, kN});
  const BlockActivation in = {codes, scales};
  const Plan plan = plan_of(in, quantized.scheme(), to);
  const PackedWeight packed = PackedWeight::pack(quantized, plan.layout());
  const Buffer workspace(plan.workspace_bytes());
  function(in, packed, to, extras, Launch().workspace(workspace.data(), workspace.size()));
  for (int64_t m = 0; m < kM; ++m)
    for (int64_t n = 0; n < kN; ++n) {
      double sum = 0, size = 0;
      for (int64_t k = 0; k < kK; ++k) {
        const double term = x.values[static_cast<size_t>(m * kK + k)] *
                            static_cast<double>(w[static_cast<size_t>(n * kK + k)]) * static_cast<double>(alpha);
        sum += term;
        size += std::abs(term);
      }
      ASSERT_NEAR(static_cast<double>(out[static_cast<size_t>(m * kN + n)]),
                  sum + static_cast<double>(bias[static_cast<size_t>(n)]), 1e-5 * size + 1e-5)
          << m << " " << n;
    }
}

TEST(BlockLinear, Nvfp4ReadsWhatTheQuantizerWrites) {
  constexpr float kGlobal = 448 * 6 / 5.0f;
  Activation x(SPF_U8, SPF_E4M3, kGlobal);
  expect_product(
      x, "nvfp4",
      [](const auto& in, const QuantScheme& s, const Tensor& out) { return plan_nvfp4_linear(in, s, kN, kK, out); },
      [](const auto& in, const PackedWeight& w, const Tensor& out, const BlockLinearExtras& e, const Launch& l) {
        nvfp4_linear(in, w, out, e, l);
      },
      1 / kGlobal);
}

TEST(BlockLinear, Mxfp4ReadsWhatTheQuantizerWrites) {
  Activation x(SPF_U8, SPF_E8M0, 1);
  expect_product(
      x, "mxfp4",
      [](const auto& in, const QuantScheme& s, const Tensor& out) { return plan_mxfp4_linear(in, s, kN, kK, out); },
      [](const auto& in, const PackedWeight& w, const Tensor& out, const BlockLinearExtras& e, const Launch& l) {
        mxfp4_linear(in, w, out, e, l);
      },
      0.75f);
}

TEST(BlockLinear, Mxfp8ReadsWhatTheQuantizerWrites) {
  for (const ScalarType type : {SPF_E4M3, SPF_E5M2})
    for (const char* format : {"mxfp8", "mxfp4"}) {
      Activation x(type, SPF_E8M0, 1);
      expect_product(
          x, format,
          [](const auto& in, const QuantScheme& s, const Tensor& out) { return plan_mxfp8_linear(in, s, kN, kK, out); },
          [](const auto& in, const PackedWeight& w, const Tensor& out, const BlockLinearExtras& e, const Launch& l) {
            mxfp8_linear(in, w, out, e, l);
          },
          1.5f);
    }
}

TEST(BlockLinear, RefusesByName) {
  std::vector<uint8_t> bytes(1 << 16);
  std::vector<float> out(64);
  const auto refused = [&](int64_t k, int64_t width, int64_t blocks, const char* format) -> std::string {
    const Tensor codes(bytes.data(), SPF_U8, {2, width}), scales(bytes.data() + 32768, SPF_E4M3, {128, blocks});
    try {
      (void)plan_nvfp4_linear({codes, scales}, quant_scheme(format), 32, k, Tensor(out.data(), SPF_F32, {2, 32}));
    } catch (const Error& error) {
      return error.field();
    }
    return "";
  };
  EXPECT_EQ(refused(96, 48, 8, "nvfp4"), "");
  EXPECT_EQ(refused(96, 40, 8, "nvfp4"), "x.shape[1]");
  EXPECT_EQ(refused(96, 48, 6, "nvfp4"), "x_scales.shape[1]") << "padded to tiles of four";
  EXPECT_EQ(refused(88, 44, 8, "nvfp4"), "weight.k") << "half a block";
  EXPECT_EQ(refused(96, 48, 8, "mxfp4"), "weight.scheme.type") << "other blocks";
}

TEST(BlockLinear, LayoutsKeepCodesAndScalesAsTheyAre) {
  const std::vector<float> dense = support::normal_values(kN * kK, 3);
  for (const char* format : {"nvfp4", "mxfp4", "mxfp8"})
    for (const std::string layout : {"block_rows", "block_rows_a8"}) {
      if (layout == "block_rows_a8" && std::string(format) != "mxfp4") continue;
      const QuantizedWeight q = QuantizedWeight::quantize(quant_scheme(format), kN, kK, dense.data());
      const PackedWeight packed = PackedWeight::pack(q, layout);
      EXPECT_EQ(packed.unpack(), q.dequantize()) << format << " " << layout;
      const spf_packed_weight& p = *packed.get();
      EXPECT_EQ(p.padded_k % 128, 0);
      const auto* data = static_cast<const uint8_t*>(p.data);
      const int64_t block = q.scheme().group_k, pitch = p.padded_k / (std::string(format) == "mxfp8" ? 1 : 2);
      const auto* scales = static_cast<const uint8_t*>(q.get()->scales.data);
      const auto* codes = static_cast<const uint8_t*>(q.get()->codes.data);
      for (int64_t n = 0; n < kN; ++n) {
        for (int64_t g = 0; g < kK / block; ++g)
          ASSERT_EQ(data[p.scales_offset + swizzled(n, g, kK / block)], scales[n * (kK / block) + g]) << n << " " << g;
        const int64_t width = std::string(format) == "mxfp8" ? kK : kK / 2;
        for (int64_t i = 0; i < width && layout == "block_rows"; ++i)
          ASSERT_EQ(data[n * pitch + i], codes[n * width + i]) << n << " " << i;
        for (int64_t i = width; i < pitch; ++i) ASSERT_EQ(data[n * pitch + i], 0) << n << " " << i;
      }
      EXPECT_EQ(data[p.scales_offset + swizzled(kN, 0, kK / block)], 0) << "a row that does not exist";
    }
}

// MXFP8 as the bf16 numbers that it stands for, and what bf16 does not hold.
TEST(BlockLinear, Bf16RowsHoldMxfp8Exactly) {
  const std::vector<float> dense = support::normal_values(kN * kK, 7);
  for (const char* format : {"mxfp8", "mxfp8-e5m2"}) {
    const QuantizedWeight q = QuantizedWeight::quantize(quant_scheme(format), kN, kK, dense.data());
    const PackedWeight packed = PackedWeight::pack(q, "bf16_rows");
    EXPECT_EQ(packed.unpack(), q.dequantize());
    const auto* rows = static_cast<const uint16_t*>(packed.get()->data);
    const std::vector<float> values = q.dequantize();
    for (size_t i = 0; i < values.size(); ++i) {
      const uint32_t bits = static_cast<uint32_t>(rows[i]) << 16;
      float value;
      std::memcpy(&value, &bits, sizeof value);
      ASSERT_EQ(value, values[i]) << i;
    }
    static_cast<uint8_t*>(q.get()->scales.data)[3 * (kK / 32) + 1] = 0; // 2^-127
    static_cast<uint8_t*>(q.get()->codes.data)[3 * kK + 33] = 1;        // the least number
    try {
      (void)PackedWeight::pack(q, "bf16_rows");
      FAIL() << "2^-136 or 2^-143 is below bf16";
    } catch (const Error& e) {
      EXPECT_EQ(e.status(), SPF_UNSUPPORTED);
      EXPECT_EQ(e.field(), "values[3, 33]");
    }
  }
}

} // namespace
