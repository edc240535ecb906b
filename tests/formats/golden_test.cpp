// Checkpoint bytes written by vLLM's packers and quantizers, read by ours.
#include <cmath>

#include <gtest/gtest.h>

#include "formats/format.hpp"
#include "formats/quantize.hpp"
#include "support/safetensors.hpp"
#include "support/weights.hpp"

namespace {

using support::goldens;
constexpr int64_t kN = 128, kK = 128, kGroup = 64;

spf_tensor matrix(void* data, spf_scalar_type type, int64_t rows, int64_t cols) {
  spf_tensor t = {};
  const int64_t shape[2] = {rows, cols};
  EXPECT_EQ(spf_tensor_init(&t, data, type, 2, shape, {SPF_CPU, 0}), SPF_OK);
  return t;
}

spf_quantized_weight weight(const spf_quant_scheme& s) {
  spf_quantized_weight w = {};
  w.struct_size = sizeof w;
  w.scheme = s;
  w.n = kN;
  w.k = kK;
  return w;
}

TEST(Golden, GptqCodes) {
  for (int bits : {4, 8}) {
    const std::string base = "gptq" + std::to_string(bits);
    const auto codes = goldens()[base + ".codes"].as<int32_t>();
    auto qweight = goldens()[base + ".qweight"].as<int32_t>();
    auto scales = goldens()["scales.grouped"].as<uint16_t>();
    auto w = weight(support::scheme(SPF_FORMAT_GPTQ_V2, bits == 4 ? SPF_U4B8 : SPF_U8B128, SPF_F16, kGroup));
    w.codes = matrix(qweight.data(), SPF_I32, kK * bits / 32, kN);
    w.scales = matrix(scales.data(), SPF_F16, kK / kGroup, kN);
    ASSERT_EQ(spf::formats::check(w, "test"), SPF_OK);
    const spf::formats::Decoder decoder(w);
    std::vector<float> values(kK);
    for (int64_t n = 0; n < kN; ++n) {
      decoder.dequantize_row(n, values.data());
      for (int64_t k = 0; k < kK; ++k) {
        const int32_t code = codes[static_cast<size_t>(k * kN + n)];
        ASSERT_EQ(decoder.code(n, k), static_cast<uint32_t>(code));
        const float scale = spf::f16_to_f32(scales[static_cast<size_t>(k / kGroup * kN + n)]);
        ASSERT_EQ(values[static_cast<size_t>(k)], static_cast<float>(code - (bits == 4 ? 8 : 128)) * scale);
      }
    }
  }
}

TEST(Golden, AwqCodesAndZeros) {
  const auto codes = goldens()["gptq4.codes"].as<int32_t>();
  const auto zero_codes = goldens()["zp4.codes"].as<int32_t>();
  auto qweight = goldens()["awq4.qweight"].as<int32_t>();
  auto qzeros = goldens()["zp4.awq"].as<int32_t>();
  auto scales = goldens()["scales.grouped"].as<uint16_t>();
  auto w = weight(support::scheme(SPF_FORMAT_AWQ, SPF_U4, SPF_F16, kGroup, 1, SPF_ZERO_INTEGER));
  w.codes = matrix(qweight.data(), SPF_I32, kK, kN / 8);
  w.scales = matrix(scales.data(), SPF_F16, kK / kGroup, kN);
  w.zeros = matrix(qzeros.data(), SPF_I32, kK / kGroup, kN / 8);
  ASSERT_EQ(spf::formats::check(w, "test"), SPF_OK);
  const spf::formats::Decoder decoder(w);
  std::vector<float> values(kK);
  for (int64_t n = 0; n < kN; ++n) {
    decoder.dequantize_row(n, values.data());
    for (int64_t k = 0; k < kK; ++k) {
      const int32_t code = codes[static_cast<size_t>(k * kN + n)];
      const int32_t zero = zero_codes[static_cast<size_t>(k / kGroup * kN + n)];
      ASSERT_EQ(decoder.code(n, k), static_cast<uint32_t>(code));
      ASSERT_EQ(decoder.zero(n, k / kGroup), static_cast<float>(zero));
      const float scale = spf::f16_to_f32(scales[static_cast<size_t>(k / kGroup * kN + n)]);
      ASSERT_EQ(values[static_cast<size_t>(k)], static_cast<float>(code - zero) * scale);
    }
  }
}

// The quantizer of activations uses an approximate reciprocal, so a value that sits on a rounding border may differ by
// one code; block scales are the same throughout.
TEST(Golden, Nvfp4Blocks) {
  const auto x = goldens()["nvfp4.x"].as<uint16_t>();
  const auto values = goldens()["nvfp4.values"].as<float>();
  const auto scales = goldens()["nvfp4.block_scales"].as<float>();
  const float multiplier = goldens()["nvfp4.global_scale"].as<float>()[0];
  int different = 0;
  for (size_t block = 0; block < x.size() / 16; ++block) {
    float in[16];
    for (size_t i = 0; i < 16; ++i) in[i] = spf::bf16_to_f32(x[16 * block + i]);
    uint8_t codes[16], scale;
    spf::formats::nvfp4_block(in, 16, multiplier, codes, &scale);
    ASSERT_EQ(spf::e4m3_to_f32(scale), scales[block]) << block;
    for (size_t i = 0; i < 16; ++i) different += spf::e2m1_to_f32(codes[i]) != values[16 * block + i];
  }
  EXPECT_LE(different, 2) << "of " << x.size();
}

TEST(Golden, Fp8Codes) {
  const auto x = goldens()["nvfp4.x"].as<uint16_t>();
  const auto codes = goldens()["fp8.static_codes"].bytes;
  const float scale = goldens()["fp8.static_scale"].as<float>()[0];
  for (size_t i = 0; i < x.size(); ++i)
    ASSERT_EQ(spf::f32_to_e4m3(spf::bf16_to_f32(x[i]) * (1.0f / scale)), codes[i]) << i;
}

} // namespace
