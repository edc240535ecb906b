// The layout "sparse24" and the schemes it holds: every pattern of two in four, what breaks it, zeros of both signs,
// NaN.
#include <cmath>
#include <limits>

#include <gtest/gtest.h>

#include "core/scalar.hpp"
#include "support/weights.hpp"

namespace {

using support::AlignedBytes;

spf_quant_scheme scheme_of(const char* name) {
  spf_quant_scheme s = {};
  s.struct_size = sizeof s;
  EXPECT_EQ(spf_quant_scheme_by_name(name, &s), SPF_OK) << name;
  return s;
}

constexpr const char* kSchemes[] = {"bf16-2of4",       "f16-2of4", "int8-2of4",
                                    "s8-channel-2of4", "fp8-2of4", "fp8-channel-2of4"};

// A matrix of codes as a checkpoint would hold it, to be changed at will.
struct Codes {
  spf_quant_scheme scheme;
  int64_t n, k;
  int width;
  std::vector<uint8_t> bytes;
  std::vector<float> scales;
  spf_quantized_weight weight = {};

  Codes(const char* name, int64_t rows, int64_t columns)
      : scheme(scheme_of(name)), n(rows), k(columns), width(spf::scalar_info(scheme.weight).bits / 8) {
    bytes.assign(static_cast<size_t>(n * k * width), 0);
    scales.assign(static_cast<size_t>(n), 0.0f);
    for (size_t i = 0; i < scales.size(); ++i) scales[i] = 0.5f + 0.25f * static_cast<float>(i % 7);
    weight.struct_size = sizeof weight;
    weight.scheme = scheme;
    weight.n = n;
    weight.k = k;
    tensor(&weight.codes, bytes.data(), scheme.weight, n, k);
    if (scheme.format != SPF_FORMAT_PLAIN) tensor(&weight.scales, scales.data(), SPF_F32, n, 1);
  }
  static void tensor(spf_tensor* t, void* data, spf_scalar_type type, int64_t rows, int64_t columns) {
    const int64_t shape[] = {rows, columns};
    t->struct_size = sizeof *t;
    ASSERT_EQ(spf_tensor_init(t, data, type, 2, shape, {SPF_CPU, 0}), SPF_OK);
  }
  void set(int64_t row, int64_t column, uint32_t code) {
    std::memcpy(&bytes[static_cast<size_t>((row * k + column) * width)], &code, static_cast<size_t>(width));
  }
  void set_value(int64_t row, int64_t column, double value) {
    set(row, column, static_cast<uint32_t>(spf::encode(scheme.weight, value)));
  }
};

struct Packed {
  spf_status status;
  AlignedBytes memory;
  spf_packed_weight header;
};
Packed pack(const spf_quantized_weight& w, int poison = 0xa5) {
  size_t bytes = 0;
  EXPECT_EQ(spf_pack_size(&w.scheme, "sparse24", w.n, w.k, &bytes), SPF_OK);
  Packed p{SPF_OK, AlignedBytes(bytes, poison), {}};
  p.header.struct_size = sizeof p.header;
  p.status = spf_pack(&w, "sparse24", p.memory.data(), bytes, &p.header);
  return p;
}

// Schemes whose codes stand in rows of elements.
constexpr const char* kElementwise[] = {"bf16-2of4", "f16-2of4", "s8-channel-2of4", "fp8-channel-2of4"};

// Rows and columns beyond one block, each group with one of all 11 patterns of at most two values.
TEST(Sparse24, HoldsEveryPattern) {
  for (const char* name : kElementwise)
    for (const auto& [n, k] : {std::pair{66, 1}, {66, 2}, {66, 3}, {130, 260}, {64, 128}, {1, 64}}) {
      Codes codes(name, n, k);
      std::mt19937 random(3);
      for (int64_t row = 0; row < n; ++row)
        for (int64_t group = 0; group * 4 < k; ++group) {
          static constexpr int kPatterns[] = {0, 1, 2, 4, 8, 3, 5, 9, 6, 10, 12};
          const int pattern = kPatterns[(row * 5 + group) % 11];
          for (int i = 0; i < 4; ++i)
            if ((pattern >> i & 1) != 0 && group * 4 + i < k)
              codes.set_value(row, group * 4 + i, static_cast<int>(random() % 100) - 120);
        }
      const Packed p = pack(codes.weight, 0x00), q = pack(codes.weight, 0xff);
      ASSERT_EQ(p.status, SPF_OK) << name << support::last_error_field();
      ASSERT_EQ(std::memcmp(p.memory.data(), q.memory.data(), p.memory.size()), 0) << name;
      const std::vector<float> want = support::dequantized(codes.weight);
      std::vector<float> got(want.size(), -77.0f);
      ASSERT_EQ(spf_unpack(&p.header, got.data()), SPF_OK);
      EXPECT_EQ(std::memcmp(got.data(), want.data(), want.size() * sizeof(float)), 0) << name << " " << n << " x " << k;
    }
}

TEST(Sparse24, IsAsSmallAsItSays) {
  for (const char* name : kElementwise) {
    const spf_quant_scheme s = scheme_of(name);
    size_t bytes = 0;
    ASSERT_EQ(spf_pack_size(&s, "sparse24", 4096, 4096, &bytes), SPF_OK);
    const size_t width = static_cast<size_t>(spf::scalar_info(s.weight).bits / 8);
    const size_t scales = s.format == SPF_FORMAT_PLAIN ? 0 : 4096 * sizeof(float);
    EXPECT_EQ(bytes - scales, size_t{4096} * 4096 * width / 2 + size_t{4096} * 4096 / 8) << name;
  }
}

// The first value too many, wherever it stands; nothing is returned then.
TEST(Sparse24, RefusesAThirdValueByRowAndColumn) {
  for (const char* name : kElementwise)
    for (int zero = -1; zero < 4; ++zero) { // which of four is 0; -1: none
      Codes codes(name, 70, 140);
      for (int i = 0; i < 4; ++i)
        if (i != zero) codes.set_value(67, 132 + i, i + 1);
      const Packed p = pack(codes.weight);
      EXPECT_EQ(p.status, SPF_UNSUPPORTED) << name;
      EXPECT_EQ(support::last_error_field(), "codes[67, " + std::to_string(132 + (zero < 0 || zero > 2 ? 2 : 3)) + "]");
      EXPECT_EQ(p.header.data, nullptr);
    }
}

TEST(Sparse24, NegativeZerosAreZeros) {
  for (const auto& [name, negative] :
       {std::pair{"bf16-2of4", 0x8000u}, {"f16-2of4", 0x8000u}, {"fp8-channel-2of4", 0x80u}}) {
    Codes codes(name, 1, 12);
    codes.set(0, 0, negative); // two values and two negative zeros
    codes.set_value(0, 1, 1);
    codes.set(0, 2, negative);
    codes.set_value(0, 3, 2);
    codes.set_value(0, 4, 3); // one value, one negative zero
    codes.set(0, 7, negative);
    for (int i = 8; i < 12; ++i) codes.set(0, i, negative);
    const Packed p = pack(codes.weight);
    ASSERT_EQ(p.status, SPF_OK) << name;
    std::vector<float> got(12), want = support::dequantized(codes.weight);
    ASSERT_EQ(spf_unpack(&p.header, got.data()), SPF_OK);
    EXPECT_EQ(got, want); // zeros of both signs are equal
    for (int i : {0, 2, 10, 11}) EXPECT_FALSE(std::signbit(got[static_cast<size_t>(i)])) << name << " " << i;
    for (int i : {7, 8, 9}) EXPECT_TRUE(std::signbit(got[static_cast<size_t>(i)])) << name << " " << i;
  }
}

TEST(Sparse24, NanIsAValue) {
  for (const auto& [name, nan] :
       {std::pair{"bf16-2of4", 0x7fc1u}, {"f16-2of4", 0x7e01u}, {"fp8-channel-2of4", 0xffu}}) {
    Codes codes(name, 2, 8);
    codes.set(1, 5, nan);
    codes.set_value(1, 7, 2);
    Packed p = pack(codes.weight);
    ASSERT_EQ(p.status, SPF_OK) << name;
    std::vector<float> got(16);
    ASSERT_EQ(spf_unpack(&p.header, got.data()), SPF_OK);
    for (size_t i = 0; i < got.size(); ++i) EXPECT_EQ(std::isnan(got[i]), i == 13) << name << " " << i;
    codes.set(1, 4, nan);
    p = pack(codes.weight);
    EXPECT_EQ(p.status, SPF_UNSUPPORTED);
    EXPECT_EQ(support::last_error_field(), "codes[1, 7]");
  }
}

TEST(Sparse24, RefusesPlacesThatDoNotAscend) {
  Codes codes("fp8-channel-2of4", 20, 40);
  const Packed p = pack(codes.weight);
  ASSERT_EQ(p.status, SPF_OK);
  std::vector<float> out(800);
  ASSERT_EQ(spf_unpack(&p.header, out.data()), SPF_OK);
  // Row 9, group 3: warp 0, the lane of row 1, its upper row; first step.
  p.memory.data()[4096 + (1 * 4 + 1) * 4 + 1] = 0x54;
  EXPECT_EQ(spf_unpack(&p.header, out.data()), SPF_CORRUPT_DATA);
  EXPECT_EQ(support::last_error_field(), "places[9, 3]");
}

TEST(Sparse24, AWeightWithoutBytesLiesAnywhere) {
  Codes codes("bf16-2of4", 4, 0);
  Packed p = pack(codes.weight);
  ASSERT_EQ(p.status, SPF_OK);
  ASSERT_EQ(p.header.bytes, 0u);
  p.header.data = p.memory.data() + 8;
  EXPECT_EQ(spf_unpack(&p.header, nullptr), SPF_OK);
}

TEST(Sparse24, IsForSparseSchemesOnly) {
  size_t bytes = 0;
  for (const char* name : kSchemes) {
    spf_quant_scheme s = scheme_of(name);
    EXPECT_EQ(spf_pack_size(&s, "sparse24", 4, 8, &bytes), SPF_OK) << name;
    s.sparsity = SPF_SPARSITY_NONE;
    EXPECT_EQ(spf_pack_size(&s, "sparse24", 4, 8, &bytes), SPF_UNSUPPORTED) << name;
    s.sparsity = static_cast<spf_sparsity>(2);
    EXPECT_EQ(spf_pack_size(&s, "reference", 4, 8, &bytes), SPF_INVALID_ARGUMENT) << name;
    EXPECT_EQ(support::last_error_field(), "scheme.sparsity");
  }
  for (const char* name : {"fp8-block", "int8-g128", "f32"}) { // sparse, but not held
    spf_quant_scheme s = scheme_of(name);
    s.sparsity = SPF_SPARSITY_2_OF_4;
    EXPECT_EQ(spf_pack_size(&s, "reference", 4, 8, &bytes), SPF_OK) << name;
    EXPECT_EQ(spf_pack_size(&s, "sparse24", 4, 8, &bytes), SPF_UNSUPPORTED) << name;
  }
  for (const char* name : {"int4-g128-asym", "nvfp4", "mxfp8", "q8_0"}) { // 0 is no code's value, or not the only one
    spf_quant_scheme s = scheme_of(name);
    s.sparsity = SPF_SPARSITY_2_OF_4;
    EXPECT_EQ(spf_pack_size(&s, "reference", 4, 8, &bytes), SPF_INVALID_ARGUMENT) << name;
  }
}

// Quantizing keeps the two largest of four, and exactly a matrix that is sparse already.
TEST(Sparse24, QuantizingKeepsTheTwoLargest) {
  const float w[] = {1, -3, 2, 0.5f, 4, 4, -4, 4, 0, 0, 0, -7, 5, 6}; // the last group has two
  const float kept[] = {0, -3, 2, 0, 4, 4, 0, 0, 0, 0, 0, -7, 5, 6};
  for (const char* name : {"bf16-2of4", "f16-2of4"}) {
    const auto q = support::quantized(scheme_of(name), 1, 14, {std::begin(w), std::end(w)});
    EXPECT_EQ(support::dequantized(q.weight), std::vector<float>(std::begin(kept), std::end(kept))) << name;
  }
  for (const char* name : kSchemes) {
    const auto q = support::quantized(scheme_of(name), 37, 99, support::random_matrix(37, 99, 5));
    const std::vector<float> values = support::dequantized(q.weight);
    int64_t zeros = 0;
    for (int64_t row = 0; row < 37; ++row)
      for (int64_t k = 0; k < 99; ++k) zeros += values[static_cast<size_t>(row * 99 + k)] == 0 ? 1 : 0;
    EXPECT_GE(zeros, 37 * 49) << name; // 24 groups of two, and one of the three columns that are left
    EXPECT_LE(zeros, 37 * 53) << name;
    EXPECT_EQ(pack(q.weight).status, SPF_OK) << name;
  }
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const auto q = support::quantized(scheme_of("bf16-2of4"), 1, 4, {8, nan, 9, -HUGE_VALF});
  const std::vector<float> values = support::dequantized(q.weight);
  EXPECT_TRUE(values[0] == 0 && std::isnan(values[1]) && values[2] == 0 && values[3] == -HUGE_VALF);
}

} // namespace
