// What a weight's views may look like: accepted spellings decode to the same values, everything else is refused by
// name.
#include <functional>

#include <gtest/gtest.h>
#include <sys/mman.h>

#include "formats/format.hpp"
#include "support/weights.hpp"

namespace {

using support::dequantized;
using support::quantized;

spf_quant_scheme named(const char* name) {
  spf_quant_scheme s = {};
  s.struct_size = sizeof s;
  EXPECT_EQ(spf_quant_scheme_by_name(name, &s), SPF_OK);
  return s;
}

TEST(Views, StridedCodesScalesAndZeros) {
  const int64_t n = 24, k = 96;
  const auto w = support::random_matrix(n, k, 5);
  const auto q = quantized(support::scheme(SPF_FORMAT_GPTQ, SPF_U4, SPF_F16, 32, 1, SPF_ZERO_INTEGER), n, k, w);
  const auto want = dequantized(q.weight);
  // Each view is copied into the middle of a larger, transposed array.
  spf_quantized_weight strided = q.weight;
  std::vector<std::vector<uint8_t>> copies;
  for (spf_tensor* t : {&strided.codes, &strided.scales, &strided.zeros}) {
    const int64_t rows = t->shape[0], cols = t->shape[1], size = t->type == SPF_I32 ? 4 : 2;
    copies.emplace_back(static_cast<size_t>(3 * rows * cols * size + size));
    uint8_t* base = copies.back().data() + size;
    for (int64_t i = 0; i < rows; ++i)
      for (int64_t j = 0; j < cols; ++j)
        std::memcpy(base + (j * rows * 3 + i * 3) * size, static_cast<uint8_t*>(t->data) + (i * cols + j) * size,
                    static_cast<size_t>(size));
    t->data = base;
    t->stride[0] = 3;
    t->stride[1] = 3 * rows;
  }
  EXPECT_EQ(dequantized(strided), want);
}

TEST(Views, ScalesOfOneColumnMayHaveRankOneAndPerTensorRankZero) {
  const auto w = support::random_matrix(6, 40, 6);
  auto channel = quantized(named("fp8-channel"), 6, 40, w);
  const auto want = dequantized(channel.weight);
  channel.weight.scales.rank = 1;
  channel.weight.scales.stride[0] = 1;
  EXPECT_EQ(dequantized(channel.weight), want);
  auto tensor = quantized(named("fp8"), 6, 40, w);
  const auto want_tensor = dequantized(tensor.weight);
  for (int rank : {1, 0}) {
    tensor.weight.scales.rank = rank;
    EXPECT_EQ(dequantized(tensor.weight), want_tensor);
  }
}

TEST(Views, BytesMayStandForTheirType) {
  const auto w = support::random_matrix(6, 64, 7);
  auto q = quantized(named("nvfp4"), 6, 64, w);
  const auto want = dequantized(q.weight);
  q.weight.scales.type = SPF_U8;
  q.weight.codes.type = SPF_E2M1;
  q.weight.codes.packing = SPF_PACKING_LOW_FIRST;
  q.weight.codes.shape[1] = 64;
  q.weight.codes.stride[0] = 64;
  EXPECT_EQ(dequantized(q.weight), want);
  q.weight.codes.stride[0] = 63;
  EXPECT_EQ(spf_quantized_weight_check(&q.weight), SPF_INVALID_STRIDE);
}

TEST(Views, SwizzledScalesAreThoseOfTheLinearOrder) {
  const int64_t n = 150, k = 16 * 7 + 3;
  const auto w = support::random_matrix(n, k, 8);
  spf_quant_scheme s = named("nvfp4");
  const auto linear = quantized(s, n, k, w);
  s.scales_swizzled = 1;
  const auto swizzled = quantized(s, n, k, w);
  EXPECT_EQ(dequantized(linear.weight), dequantized(swizzled.weight));
  // The order itself, restated by counting: tiles of 128 x 4 along k first, in a tile 32 rows of 16 bytes.
  const auto* bytes = static_cast<const uint8_t*>(swizzled.weight.scales.data);
  const auto* rows = static_cast<const uint8_t*>(linear.weight.scales.data);
  size_t at = 0;
  for (int64_t tile_n = 0; tile_n < 2; ++tile_n)
    for (int64_t tile_k = 0; tile_k < 2; ++tile_k)
      for (int64_t row = 0; row < 32; ++row)
        for (int64_t quarter = 0; quarter < 4; ++quarter)
          for (int64_t j = 0; j < 4; ++j, ++at) {
            const int64_t r = 128 * tile_n + 32 * quarter + row, g = 4 * tile_k + j;
            const int want = r < n && g < 8 ? rows[r * 8 + g] : 0;
            ASSERT_EQ(bytes[at], want) << at;
          }
}

TEST(Views, GptqVersionOneStoresZeroMinusOneWithoutWrap) {
  const int64_t n = 8, k = 8;
  const auto w = support::random_matrix(n, k, 9);
  auto q = quantized(support::scheme(SPF_FORMAT_GPTQ, SPF_U4, SPF_F32, -1, 1, SPF_ZERO_INTEGER), n, k, w);
  *static_cast<uint32_t*>(q.weight.zeros.data) = 0xf7654320u;
  const spf::formats::Decoder v1(q.weight);
  EXPECT_EQ(v1.zero(0, 0), 1.0f);
  EXPECT_EQ(v1.zero(6, 0), 8.0f);
  EXPECT_EQ(v1.zero(7, 0), 16.0f);
  q.weight.scheme.format = SPF_FORMAT_GPTQ_V2;
  EXPECT_EQ(spf::formats::Decoder(q.weight).zero(7, 0), 15.0f);
}

TEST(Views, CompressedTensorsOrder) {
  // Row 3: code k is k % 16; zero of row n is n, packed along N.
  const int64_t n = 9, k = 20;
  std::vector<uint32_t> codes(9 * 3, 0), zeros(2 * 1, 0);
  for (uint32_t i = 0; i < 20; ++i) codes[3 * 3 + i / 8] |= (i % 16) << (4 * (i % 8));
  for (uint32_t r = 0; r < 9; ++r) zeros[r / 8] |= r << (4 * (r % 8));
  std::vector<float> scales(9, 2.0f);
  spf_quantized_weight w = {};
  w.struct_size = sizeof w;
  w.scheme = support::scheme(SPF_FORMAT_CT_INT, SPF_U4, SPF_F32, -1, 1, SPF_ZERO_INTEGER);
  w.n = n;
  w.k = k;
  const auto view = [](void* data, spf_scalar_type type, int64_t rows, int64_t cols) {
    spf_tensor t = {};
    const int64_t shape[2] = {rows, cols};
    EXPECT_EQ(spf_tensor_init(&t, data, type, 2, shape, {SPF_CPU, 0}), SPF_OK);
    return t;
  };
  w.codes = view(codes.data(), SPF_I32, 9, 3);
  w.scales = view(scales.data(), SPF_F32, 9, 1);
  w.zeros = view(zeros.data(), SPF_I32, 2, 1);
  const auto out = dequantized(w);
  for (int64_t i = 0; i < k; ++i) EXPECT_EQ(out[static_cast<size_t>(3 * k + i)], 2.0f * static_cast<float>(i % 16 - 3));
  EXPECT_EQ(out[static_cast<size_t>(8 * k)], -16.0f);
}

// Rows 2^33 elements apart: 64 GiB of addresses, of which three pages are ever touched.
TEST(Views, StridesBeyondThirtyTwoBits) {
  const int64_t stride = int64_t{1} << 33;
  const size_t bytes = static_cast<size_t>(2 * stride + 4) * sizeof(float);
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  ASSERT_NE(memory, MAP_FAILED);
  auto* values = static_cast<float*>(memory);
  spf_quantized_weight w = {};
  w.struct_size = sizeof w;
  w.scheme = named("f32");
  w.n = 3;
  w.k = 4;
  const int64_t shape[2] = {3, 4};
  ASSERT_EQ(spf_tensor_init(&w.codes, values, SPF_F32, 2, shape, {SPF_CPU, 0}), SPF_OK);
  w.codes.stride[0] = stride;
  for (int64_t n = 0; n < 3; ++n)
    for (int64_t k = 0; k < 4; ++k) values[n * stride + k] = static_cast<float>(10 * n + k);
  const auto out = dequantized(w);
  for (int64_t n = 0; n < 3; ++n)
    for (int64_t k = 0; k < 4; ++k) EXPECT_EQ(out[static_cast<size_t>(4 * n + k)], static_cast<float>(10 * n + k));
  munmap(memory, bytes);
}

struct Fault {
  const char* what;
  std::function<void(spf_quantized_weight&)> make;
  spf_status status;
  const char* field;
};

TEST(Views, FaultsAreNamed) {
  const Fault faults[] = {
      {"size", [](auto& w) { w.struct_size = 4; }, SPF_ABI_MISMATCH, "weight.struct_size"},
      {"scheme size", [](auto& w) { w.scheme.struct_size = 0; }, SPF_ABI_MISMATCH, "scheme.struct_size"},
      {"format", [](auto& w) { w.scheme.format = static_cast<spf_format>(15); }, SPF_INVALID_ARGUMENT, "scheme.format"},
      {"weight", [](auto& w) { w.scheme.weight = SPF_E4M3; }, SPF_INVALID_TYPE, "scheme.weight"},
      {"scale", [](auto& w) { w.scheme.scale = SPF_E8M0; }, SPF_INVALID_TYPE, "scheme.scale"},
      {"zero", [](auto& w) { w.scheme.zero = SPF_ZERO_MINIMUM; }, SPF_INVALID_ARGUMENT, "scheme.zero"},
      {"group", [](auto& w) { w.scheme.group_k = 0; }, SPF_INVALID_ARGUMENT, "scheme.group_k"},
      {"group_n", [](auto& w) { w.scheme.group_n = 2; }, SPF_INVALID_ARGUMENT, "scheme.group_n"},
      {"global", [](auto& w) { w.scheme.has_global_scale = 1; }, SPF_INVALID_ARGUMENT, "scheme.has_global_scale"},
      {"swizzle", [](auto& w) { w.scheme.scales_swizzled = 1; }, SPF_INVALID_ARGUMENT, "scheme.scales_swizzled"},
      {"n", [](auto& w) { w.n = -1; }, SPF_INVALID_SHAPE, "n"},
      {"k", [](auto& w) { w.k = 65; }, SPF_INVALID_SHAPE, "codes.shape"},
      {"codes type", [](auto& w) { w.codes.type = SPF_F32; }, SPF_INVALID_TYPE, "codes.type"},
      {"codes rank", [](auto& w) { w.codes.rank = 9; }, SPF_INVALID_SHAPE, "codes.rank"},
      {"codes shape", [](auto& w) { w.codes.shape[0] += 1; }, SPF_INVALID_SHAPE, "codes.shape"},
      {"codes device", [](auto& w) { w.codes.device.kind = SPF_CUDA; }, SPF_INVALID_DEVICE, "codes.device"},
      {"codes data", [](auto& w) { w.codes.data = nullptr; }, SPF_INVALID_ARGUMENT, "codes.data"},
      {"codes align", [](auto& w) { w.codes.data = static_cast<char*>(w.codes.data) + 2; }, SPF_INVALID_ALIGNMENT,
       "codes.data"},
      {"scales", [](auto& w) { w.scales.shape[1] = 3; }, SPF_INVALID_SHAPE, "scales.shape"},
      {"scales type", [](auto& w) { w.scales.type = SPF_BF16; }, SPF_INVALID_TYPE, "scales.type"},
      {"zeros given", [](auto& w) { w.zeros = w.codes; }, SPF_INVALID_TYPE, "zeros.type"},
      {"zeros missing",
       [](auto& w) {
         w.scheme.weight = SPF_U4;
         w.scheme.zero = SPF_ZERO_INTEGER;
       },
       SPF_INVALID_TYPE, "zeros.type"},
      {"g_idx low", [](auto& w) { static_cast<int32_t*>(w.g_idx.data)[7] = -1; }, SPF_CORRUPT_DATA, "g_idx[7]"},
      {"g_idx high", [](auto& w) { static_cast<int32_t*>(w.g_idx.data)[63] = 2; }, SPF_CORRUPT_DATA, "g_idx[63]"},
  };
  spf_quant_scheme s = named("int4-g32");
  s.has_g_idx = 1;
  const auto w = support::random_matrix(5, 64, 10);
  for (const Fault& fault : faults) {
    auto q = quantized(s, 5, 64, w);
    ASSERT_EQ(spf_quantized_weight_check(&q.weight), SPF_OK);
    fault.make(q.weight);
    EXPECT_EQ(spf_quantized_weight_check(&q.weight), fault.status) << fault.what;
    EXPECT_EQ(support::last_error_field(), fault.field) << fault.what;
    float out;
    EXPECT_EQ(spf_dequantize(&q.weight, &out), fault.status) << fault.what;
  }
  EXPECT_EQ(spf_quantized_weight_check(nullptr), SPF_INVALID_ARGUMENT);
  auto gguf = quantized(named("q4_0"), 4, 64, w);
  gguf.weight.codes.stride[1] = 2;
  EXPECT_EQ(spf_quantized_weight_check(&gguf.weight), SPF_INVALID_STRIDE);
}

} // namespace
