// The Marlin orders against vectors from vLLM's own packers: repacking functions on checkpoint bytes, and the sections
// that the layouts write.
#include "pack/marlin.hpp"

#include <gtest/gtest.h>

#include "spearfish/spearfish.hpp"
#include "support/safetensors.hpp"
#include "support/weights.hpp"

namespace {

using support::goldens;
namespace marlin = spf::pack::marlin;
constexpr int64_t kN = 128, kK = 128, kGroup = 64, kGroups = kK / kGroup;

std::vector<int32_t> golden_i32(const std::string& name) { return goldens()[name].as<int32_t>(); }

std::string suffix(bool act8) { return act8 ? "marlin_a8bit" : "marlin"; }

TEST(Marlin, RepackGptq) {
  for (int bits : {4, 8}) {
    const std::string base = "gptq" + std::to_string(bits) + ".";
    const auto qweight = golden_i32(base + "qweight");
    std::vector<int32_t> out(qweight.size(), 0x55555555);
    for (bool act8 : {false, true}) {
      ASSERT_EQ(marlin::gptq_repack(qweight.data(), nullptr, kK, kN, bits, act8, out.data()), SPF_OK);
      EXPECT_EQ(out, golden_i32(base + suffix(act8))) << bits;
    }
    const auto perm = golden_i32(base + "perm");
    ASSERT_EQ(marlin::gptq_repack(qweight.data(), perm.data(), kK, kN, bits, false, out.data()), SPF_OK);
    EXPECT_EQ(out, golden_i32(base + "marlin_perm"));
    EXPECT_EQ(marlin::gptq_repack(qweight.data(), perm.data(), kK, kN, bits, true, out.data()), SPF_INVALID_ARGUMENT);
    auto broken = perm;
    broken[5] = kK;
    EXPECT_EQ(marlin::gptq_repack(qweight.data(), broken.data(), kK, kN, bits, false, out.data()), SPF_CORRUPT_DATA);
  }
}

// The C functions are the same ones behind checks of their arguments.
TEST(Marlin, PublicFunctionsWriteVllmBytes) {
  const auto gptq = golden_i32("gptq4.qweight"), awq = golden_i32("awq8.qweight");
  EXPECT_EQ(spearfish::gptq_marlin_repack(gptq.data(), kK, kN, 4), golden_i32("gptq4.marlin"));
  EXPECT_EQ(spearfish::gptq_marlin_repack(gptq.data(), kK, kN, 4, golden_i32("gptq4.perm").data()),
            golden_i32("gptq4.marlin_perm"));
  EXPECT_EQ(spearfish::awq_marlin_repack(awq.data(), kK, kN, 8, true), golden_i32("awq8.marlin_a8bit"));
  EXPECT_THROW(spearfish::gptq_marlin_repack(gptq.data(), 24, 64, 4), spearfish::Error);

  const auto codes = golden_i32("zp4.codes"), packed = golden_i32("zp4.awq"), want = golden_i32("zp4.marlin");
  std::vector<int32_t> words(want.size());
  ASSERT_EQ(spf_marlin_zero_points(codes.data(), kGroups, kN, 4, 0, words.data()), SPF_OK);
  EXPECT_EQ(words, want);
  std::fill(words.begin(), words.end(), 0);
  ASSERT_EQ(spf_awq_marlin_zero_points(packed.data(), kGroups, kN, 4, 0, words.data()), SPF_OK);
  EXPECT_EQ(words, want);

  auto in_place = golden_i32("int4_fp8_preprocess.in");
  ASSERT_EQ(spf_marlin_int4_fp8_preprocess(in_place.data(), 16, 128, nullptr, 0, in_place.data()), SPF_OK);
  EXPECT_EQ(in_place, golden_i32("int4_fp8_preprocess.out"));

  const auto scales = goldens()["scales.grouped"].bytes, bias = goldens()["bias"].bytes;
  std::vector<uint8_t> bytes(scales.size());
  ASSERT_EQ(spf_marlin_permute_scales(scales.data(), 2, kN, 2, 1, bytes.data()), SPF_OK);
  EXPECT_EQ(bytes, goldens()["scales.grouped_marlin"].bytes);
  bytes.resize(bias.size());
  ASSERT_EQ(spf_marlin_permute_bias(bias.data(), kN, 2, bytes.data()), SPF_OK);
  EXPECT_EQ(bytes, goldens()["bias.marlin"].bytes);
  const auto halves = goldens()["scales.grouped"].as<uint16_t>();
  std::vector<int16_t> steps(halves.size());
  float factor = 0;
  ASSERT_EQ(spf_marlin_int8_scales(halves.data(), static_cast<int64_t>(halves.size()), steps.data(), &factor), SPF_OK);
  EXPECT_EQ(steps, goldens()["scales.int8act"].as<int16_t>());
  EXPECT_EQ(factor, goldens()["scales.int8act_factor"].as<float>()[0]);
  const auto blocks = goldens()["nvfp4.weight_scales"].as<uint16_t>();
  bytes.resize(blocks.size());
  ASSERT_EQ(spf_marlin_nvfp4_scales(blocks.data(), 8, kN, bytes.data()), SPF_OK);
  EXPECT_EQ(bytes, goldens()["nvfp4.marlin_scales_bytes"].bytes);
}

TEST(Marlin, PublicFunctionsRefuseByName) {
  int32_t word = 0;
  EXPECT_EQ(spf_gptq_marlin_repack(nullptr, nullptr, 16, 64, 4, 0, &word), SPF_INVALID_ARGUMENT);
  EXPECT_EQ(spf_gptq_marlin_repack(&word, nullptr, 16, 64, 4, 2, &word), SPF_INVALID_ARGUMENT);
  EXPECT_EQ(spf_awq_marlin_repack(&word, 16, 64, 3, 0, &word), SPF_INVALID_ARGUMENT);
  EXPECT_EQ(spf_awq_marlin_repack(&word, 16, 96, 4, 0, &word), SPF_INVALID_SHAPE);
  EXPECT_EQ(spf_marlin_permute_scales(&word, 1, 64, 3, 1, &word), SPF_INVALID_ARGUMENT);
  EXPECT_EQ(spf_marlin_permute_scales(&word, -1, 64, 4, 1, &word), SPF_INVALID_SHAPE);
  EXPECT_EQ(spf_marlin_int4_fp8_preprocess(&word, -1, 1, nullptr, 0, &word), SPF_INVALID_SHAPE);
  EXPECT_EQ(spf_marlin_int8_scales(nullptr, 1, nullptr, nullptr), SPF_INVALID_ARGUMENT);
  EXPECT_EQ(spf_marlin_mxfp4_scales(nullptr, 1, 64, 0, nullptr), SPF_INVALID_ARGUMENT);
}

TEST(Marlin, RepackAwq) {
  for (int bits : {4, 8})
    for (bool act8 : {false, true}) {
      const std::string base = "awq" + std::to_string(bits) + ".";
      const auto qweight = golden_i32(base + "qweight");
      std::vector<int32_t> out(qweight.size());
      ASSERT_EQ(marlin::awq_repack(qweight.data(), kK, kN, bits, act8, out.data()), SPF_OK);
      EXPECT_EQ(out, golden_i32(base + suffix(act8))) << bits << act8;
    }
}

TEST(Marlin, RepackRefusesOtherShapes) {
  int32_t none = 0;
  EXPECT_EQ(marlin::gptq_repack(&none, nullptr, 24, 64, 4, false, &none), SPF_INVALID_SHAPE);
  EXPECT_EQ(marlin::gptq_repack(&none, nullptr, 16, 32, 4, false, &none), SPF_INVALID_SHAPE);
  EXPECT_EQ(marlin::gptq_repack(&none, nullptr, 16, 64, 4, true, &none), SPF_INVALID_SHAPE);
  EXPECT_EQ(marlin::gptq_repack(&none, nullptr, 16, 64, 3, false, &none), SPF_INVALID_ARGUMENT);
  EXPECT_EQ(marlin::awq_repack(&none, 16, 96, 4, false, &none), SPF_INVALID_SHAPE);
}

TEST(Marlin, ZeroPoints) {
  for (int bits : {4, 8})
    for (bool act8 : {false, true}) {
      const std::string base = "zp" + std::to_string(bits) + ".";
      const auto codes = golden_i32(base + "codes");
      const auto want = golden_i32(base + suffix(act8));
      std::vector<int32_t> out(want.size());
      ASSERT_EQ(marlin::pack_zero_points(codes.data(), kGroups, kN, bits, act8, out.data()), SPF_OK);
      EXPECT_EQ(out, want) << bits << act8;
      const auto awq = golden_i32(base + "awq");
      std::fill(out.begin(), out.end(), 0);
      ASSERT_EQ(marlin::awq_zero_points(awq.data(), kGroups, kN, bits, act8, out.data()), SPF_OK);
      EXPECT_EQ(out, want) << bits << act8;
    }
}

TEST(Marlin, ScalesAndBias) {
  const struct {
    const char *in, *out;
    int64_t groups;
    bool in_64;
  } rows[] = {{"scales.grouped", "scales.grouped_marlin", 2, true},
              {"scales.grouped", "scales.grouped_marlin_a8bit", 2, false},
              {"scales.channel", "scales.channel_marlin", 1, false}};
  for (const auto& row : rows) {
    const auto in = goldens()[row.in].bytes;
    std::vector<uint8_t> out(in.size());
    ASSERT_EQ(marlin::permute_scales(in.data(), row.groups, kN, 2, row.in_64, out.data()), SPF_OK);
    EXPECT_EQ(out, goldens()[row.out].bytes) << row.out;
  }
  const auto bias = goldens()["bias"].bytes;
  std::vector<uint8_t> out(bias.size());
  ASSERT_EQ(marlin::permute_bias(bias.data(), kN, 2, out.data()), SPF_OK);
  EXPECT_EQ(out, goldens()["bias.marlin"].bytes);
}

TEST(Marlin, Int8ActivationScales) {
  const auto want = goldens()["scales.int8act"].as<int16_t>();
  const auto in = goldens()["scales.grouped"].as<uint16_t>();
  std::vector<int16_t> out(in.size());
  const float factor = marlin::int8_activation_scales(in.data(), static_cast<int64_t>(in.size()), out.data());
  EXPECT_EQ(factor, goldens()["scales.int8act_factor"].as<float>()[0]);
  EXPECT_EQ(out, want);
}

TEST(Marlin, Int4CodesForE4m3Activations) {
  const auto in = golden_i32("int4_fp8_preprocess.in");
  std::vector<int32_t> out(in.size());
  ASSERT_EQ(marlin::int4_fp8_preprocess(in.data(), 16, 128, nullptr, 0, out.data()), SPF_OK);
  EXPECT_EQ(out, golden_i32("int4_fp8_preprocess.out"));
  // With zero points, nibble by nibble; the map is one to one for every zero point.
  for (uint32_t zero = 0; zero < 16; ++zero) {
    uint32_t seen = 0;
    for (uint32_t code = 0; code < 16; ++code) {
      const int32_t word = static_cast<int32_t>(code << 8), zeros = static_cast<int32_t>(zero << 8);
      int32_t mapped;
      ASSERT_EQ(marlin::int4_fp8_preprocess(&word, 1, 1, &zeros, 1, &mapped), SPF_OK);
      const uint32_t got = (static_cast<uint32_t>(mapped) >> 8) & 15;
      EXPECT_EQ(got, code >= zero ? code - zero : 15 - code);
      EXPECT_EQ(marlin::e4m3_code_inverse(got, zero), code);
      seen |= 1u << got;
    }
    EXPECT_EQ(seen, 0xffffu);
  }
  EXPECT_EQ(marlin::int4_fp8_preprocess(in.data(), 16, 128, in.data(), 3, out.data()), SPF_INVALID_SHAPE);
}

TEST(Marlin, Fp4Scales) {
  const auto nvfp4 = goldens()["nvfp4.weight_scales"].as<uint16_t>();
  std::vector<uint8_t> out(nvfp4.size());
  ASSERT_EQ(marlin::nvfp4_scales(nvfp4.data(), 8, kN, out.data()), SPF_OK);
  EXPECT_EQ(out, goldens()["nvfp4.marlin_scales_bytes"].bytes);
  for (uint8_t code = 0; code < 0x7f; ++code) // every e4m3 scale there is comes back
    EXPECT_EQ(marlin::nvfp4_scale_from_byte(marlin::nvfp4_scale_byte(spf::e4m3_to_f32(code))), spf::e4m3_to_f32(code));
  auto negative = nvfp4;
  negative[3] = 0xb800;
  EXPECT_EQ(marlin::nvfp4_scales(negative.data(), 8, kN, out.data()), SPF_UNSUPPORTED);

  const auto mxfp4 = goldens()["mxfp4.weight_scales_bytes"].bytes;
  out.resize(mxfp4.size());
  ASSERT_EQ(marlin::mxfp4_scales(mxfp4.data(), 4, kN, false, out.data()), SPF_OK);
  EXPECT_EQ(out, goldens()["mxfp4.marlin_scales_bytes"].bytes);
}

// ---- the layouts' sections
// -------------------------------------------------------------------------------------------

spf_tensor matrix(void* data, spf_scalar_type type, int64_t rows, int64_t cols) {
  spf_tensor t = {};
  const int64_t shape[2] = {rows, cols};
  EXPECT_EQ(spf_tensor_init(&t, data, type, 2, shape, {SPF_CPU, 0}), SPF_OK);
  return t;
}

template <class T>
std::vector<T> section(const support::PackedWeight& p, size_t offset, size_t count) {
  std::vector<T> values(count);
  std::memcpy(values.data(), p.memory.data() + offset, count * sizeof(T));
  return values;
}

TEST(MarlinLayout, GptqSectionsAreVllmTensors) {
  for (int bits : {4, 8}) {
    const std::string base = "gptq" + std::to_string(bits) + ".";
    auto qweight = golden_i32(base + "qweight");
    auto scales = goldens()["scales.grouped"].as<uint16_t>();
    spf_quantized_weight w = {};
    w.struct_size = sizeof w;
    w.scheme = support::scheme(SPF_FORMAT_GPTQ, bits == 4 ? SPF_U4B8 : SPF_U8B128, SPF_F16, kGroup);
    w.n = kN;
    w.k = kK;
    w.codes = matrix(qweight.data(), SPF_I32, kK * bits / 32, kN);
    w.scales = matrix(scales.data(), SPF_F16, kGroups, kN);
    for (bool act8 : {false, true}) {
      const support::PackedWeight p = support::packed(w, act8 ? "marlin_a8" : "marlin");
      EXPECT_EQ(section<int32_t>(p, 0, qweight.size()), golden_i32(base + suffix(act8)));
      EXPECT_EQ(section<uint16_t>(p, p.header.scales_offset, scales.size()),
                goldens()["scales.grouped_" + suffix(act8)].as<uint16_t>());
    }
  }
}

TEST(MarlinLayout, ActOrderSectionsAreVllmTensors) {
  auto qweight = golden_i32("gptq4.qweight");
  auto scales = goldens()["scales.grouped"].as<uint16_t>();
  const auto perm = golden_i32("gptq4.perm");
  std::vector<int32_t> g_idx(kK);
  for (int32_t r = 0; r < kK; ++r)
    g_idx[static_cast<size_t>(perm[static_cast<size_t>(r)])] = r / static_cast<int32_t>(kGroup);
  spf_quantized_weight w = {};
  w.struct_size = sizeof w;
  w.scheme = support::scheme(SPF_FORMAT_GPTQ, SPF_U4B8, SPF_F16, kGroup);
  w.scheme.has_g_idx = 1;
  w.n = kN;
  w.k = kK;
  w.codes = matrix(qweight.data(), SPF_I32, kK / 8, kN);
  w.scales = matrix(scales.data(), SPF_F16, kGroups, kN);
  w.g_idx = matrix(g_idx.data(), SPF_I32, kK, 1);
  const support::PackedWeight p = support::packed(w, "marlin");
  const auto order = section<int32_t>(p, p.header.g_idx_offset, 2 * kK);
  std::vector<int32_t> ours(order.begin() + kK, order.end());
  for (size_t r = 0; r < kK; ++r) EXPECT_EQ(order[r], static_cast<int32_t>(r) / kGroup);
  // Any order inside a group is a right one; ours is ascending. Repacking with it gives the section.
  std::vector<int32_t> want(qweight.size());
  ASSERT_EQ(marlin::gptq_repack(qweight.data(), ours.data(), kK, kN, 4, false, want.data()), SPF_OK);
  EXPECT_EQ(section<int32_t>(p, 0, want.size()), want);
  auto sorted = perm;
  std::sort(sorted.begin(), sorted.begin() + kGroup);
  std::sort(sorted.begin() + kGroup, sorted.end());
  EXPECT_EQ(ours, sorted);
}

TEST(MarlinLayout, AwqSectionsAreVllmTensors) {
  auto qweight = golden_i32("awq4.qweight");
  auto qzeros = golden_i32("zp4.awq");
  auto scales = goldens()["scales.grouped"].as<uint16_t>();
  spf_quantized_weight w = {};
  w.struct_size = sizeof w;
  w.scheme = support::scheme(SPF_FORMAT_AWQ, SPF_U4, SPF_F16, kGroup, 1, SPF_ZERO_INTEGER);
  w.n = kN;
  w.k = kK;
  w.codes = matrix(qweight.data(), SPF_I32, kK, kN / 8);
  w.scales = matrix(scales.data(), SPF_F16, kGroups, kN);
  w.zeros = matrix(qzeros.data(), SPF_I32, kGroups, kN / 8);
  for (bool act8 : {false, true}) {
    const support::PackedWeight p = support::packed(w, act8 ? "marlin_a8" : "marlin");
    EXPECT_EQ(section<int32_t>(p, 0, qweight.size()), golden_i32("awq4." + suffix(act8)));
    EXPECT_EQ(section<int32_t>(p, p.header.zeros_offset, qzeros.size()), golden_i32("zp4." + suffix(act8)));
  }
}

TEST(MarlinLayout, Fp8CarriesItsFactorAndRawCodes) {
  for (auto [type, factor] : {std::pair{SPF_F16, 0x1p8f}, std::pair{SPF_BF16, 0x1p120f}, std::pair{SPF_F32, 1.0f}}) {
    const auto s = support::scheme(SPF_FORMAT_FP8, SPF_E4M3, type, -1);
    const auto q = support::quantized(s, kN, kK, support::random_matrix(kN, kK, 31));
    const support::PackedWeight p = support::packed(q.weight, "marlin");
    const spf::formats::Decoder decoder(q.weight);
    for (int64_t position = 0; position < kN; ++position) {
      uint32_t raw = 0;
      const size_t size = static_cast<size_t>(spf::storage_bytes(type));
      std::memcpy(&raw, p.memory.data() + p.header.scales_offset + static_cast<size_t>(position) * size, size);
      EXPECT_EQ(spf::formats::scale_value(type, raw), decoder.scale(marlin::scale_source(position, false), 0) * factor);
    }
    // The codes are those of an 8-bit integer weight with the same bits, brought into GPTQ words.
    std::vector<int32_t> words(kK / 4 * kN), want(words.size());
    for (int64_t k = 0; k < kK; ++k)
      for (int64_t n = 0; n < kN; ++n)
        words[static_cast<size_t>(k / 4 * kN + n)] |= static_cast<int32_t>(decoder.code(n, k) << (8 * (k % 4)));
    ASSERT_EQ(marlin::gptq_repack(words.data(), nullptr, kK, kN, 8, false, want.data()), SPF_OK);
    EXPECT_EQ(section<int32_t>(p, 0, want.size()), want);
  }
}

TEST(MarlinLayout, RefusesWhatItCannotHold) {
  const auto w = support::random_matrix(64, 64, 32);
  const auto refused = [](const spf_quantized_weight& weight, const char* layout) {
    support::AlignedBytes memory(1 << 20);
    spf_packed_weight p = {};
    p.struct_size = sizeof p;
    return spf_pack(&weight, layout, memory.data(), memory.size(), &p);
  };
  // Zero point 16 of a version 1 checkpoint.
  auto gptq = support::quantized(support::scheme(SPF_FORMAT_GPTQ, SPF_U4, SPF_F16, 32, 1, SPF_ZERO_INTEGER), 64, 64, w);
  ASSERT_EQ(refused(gptq.weight, "marlin"), SPF_OK);
  static_cast<uint32_t*>(gptq.weight.zeros.data)[3] |= 0xf;
  EXPECT_EQ(refused(gptq.weight, "marlin"), SPF_UNSUPPORTED);
  EXPECT_EQ(support::last_error_field(), "zero[n 24, group 0]");
  // A negative block scale.
  auto nvfp4 = support::quantized(support::scheme(SPF_FORMAT_NVFP4, SPF_E2M1, SPF_E4M3, 16), 64, 64, w);
  static_cast<uint8_t*>(nvfp4.weight.scales.data)[5] = 0xb8;
  EXPECT_EQ(refused(nvfp4.weight, "marlin"), SPF_UNSUPPORTED);
  // A scale that 2^8 takes out of f16.
  auto fp8 = support::quantized(support::scheme(SPF_FORMAT_FP8, SPF_E4M3, SPF_F16, -1), 64, 64, w);
  static_cast<uint16_t*>(fp8.weight.scales.data)[9] = spf::f32_to_f16(300.0f);
  EXPECT_EQ(refused(fp8.weight, "marlin"), SPF_UNSUPPORTED);
  EXPECT_EQ(refused(fp8.weight, "marlin_a8_e4m3"), SPF_OK);
  // MXFP4 exponents above 249 - 6.
  auto mxfp4 = support::quantized(support::scheme(SPF_FORMAT_MXFP4, SPF_E2M1, SPF_E8M0, 32), 64, 64, w);
  static_cast<uint8_t*>(mxfp4.weight.scales.data)[1] = 243;
  EXPECT_EQ(refused(mxfp4.weight, "marlin_a8_e4m3"), SPF_OK);
  static_cast<uint8_t*>(mxfp4.weight.scales.data)[1] = 244;
  EXPECT_EQ(refused(mxfp4.weight, "marlin_a8_e4m3"), SPF_UNSUPPORTED);
  EXPECT_EQ(refused(mxfp4.weight, "marlin"), SPF_OK);
  // Whole schemes.
  const auto q4k =
      support::quantized(support::scheme(SPF_FORMAT_Q4_K, SPF_U4, SPF_F16, 32, 1, SPF_ZERO_MINIMUM), 64, 64, w);
  EXPECT_EQ(refused(q4k.weight, "marlin"), SPF_UNSUPPORTED);
  EXPECT_EQ(refused(nvfp4.weight, "marlin_a8"), SPF_UNSUPPORTED);
}

} // namespace
