// What every layout promises, over every scheme that it accepts: unpack equals dequantize bit for bit, every byte is
// written, sizes are those of the query, headers are checked.
#include "pack/layout.hpp"

#include <gtest/gtest.h>

#include "support/gguf_blocks.hpp"
#include "support/weights.hpp"

namespace {

using support::AlignedBytes;
using support::all_schemes;
using support::NamedScheme;

class Layouts : public testing::TestWithParam<NamedScheme> {};

INSTANTIATE_TEST_SUITE_P(All, Layouts, testing::ValuesIn(all_schemes()), support::test_name);

std::vector<const spf::pack::LayoutRow*> accepting(const spf_quant_scheme& s) {
  std::vector<const spf::pack::LayoutRow*> rows;
  const char* why = "";
  for (const auto* row : spf::pack::all_layouts())
    if (row->accepts(s, &why)) rows.push_back(row);
  return rows;
}

support::PackedWeight packed(const spf_quantized_weight& w, const char* layout, int poison) {
  support::PackedWeight p = support::packed(w, layout, poison);
  EXPECT_EQ(p.header.bytes, p.memory.size());
  EXPECT_STREQ(p.header.layout, layout);
  return p;
}

TEST_P(Layouts, UnpackEqualsDequantize) {
  const auto rows = accepting(GetParam().scheme);
  ASSERT_FALSE(rows.empty());
  std::mt19937 random(21);
  std::vector<std::pair<int64_t, int64_t>> sizes = {{0, 5}, {5, 0}, {1, 1}, {2, 3}, {64, 128}, {65, 129}, {127, 257}};
  for (int i = 0; i < 4; ++i) sizes.push_back({1 + random() % 150, 1 + random() % 400});
  for (const auto& [n, k] : sizes) {
    const auto q = support::quantized(GetParam().scheme, n, k, support::random_matrix(n, k, 22));
    const std::vector<float> want = support::dequantized(q.weight);
    for (const auto* row : rows) {
      const support::PackedWeight a = packed(q.weight, row->name, 0x00), b = packed(q.weight, row->name, 0xff);
      ASSERT_EQ(std::memcmp(a.memory.data(), b.memory.data(), a.memory.size()), 0)
          << row->name << " " << n << " x " << k;
      EXPECT_GE(a.header.padded_n, n);
      EXPECT_GE(a.header.padded_k, k);
      std::vector<float> out(want.size(), -77.0f);
      ASSERT_EQ(spf_unpack(&a.header, out.data()), SPF_OK);
      if (!want.empty()) {
        ASSERT_EQ(std::memcmp(out.data(), want.data(), want.size() * sizeof(float)), 0)
            << row->name << " " << n << " x " << k;
      }
    }
  }
}

TEST_P(Layouts, HeadersAreChecked) {
  const auto q = support::quantized(GetParam().scheme, 40, 80, support::random_matrix(40, 80, 23));
  for (const auto* row : accepting(GetParam().scheme)) {
    const support::PackedWeight p = packed(q.weight, row->name, 0);
    std::vector<float> out(40 * 80);
    const auto refused = [&](auto change, spf_status status) {
      spf_packed_weight header = p.header;
      change(header);
      EXPECT_EQ(spf_unpack(&header, out.data()), status) << row->name << " " << support::last_error_field();
    };
    refused([](auto& h) { h.struct_size = 8; }, SPF_ABI_MISMATCH);
    refused([](auto& h) { h.layout[0] = '?'; }, SPF_NOT_FOUND);
    refused([](auto& h) { std::memset(h.layout, 'x', sizeof h.layout); }, SPF_CORRUPT_DATA);
    refused([](auto& h) { h.layout_version += 1; }, SPF_CORRUPT_DATA);
    refused([](auto& h) { h.padded_n += 1; }, SPF_CORRUPT_DATA);
    refused([](auto& h) { h.padded_k += 1; }, SPF_CORRUPT_DATA);
    refused([](auto& h) { h.n += 1000; }, SPF_CORRUPT_DATA);
    refused([](auto& h) { h.k += 1000; }, SPF_CORRUPT_DATA);
    refused([](auto& h) { h.bytes -= 1; }, SPF_CORRUPT_DATA);
    refused([](auto& h) { h.scales_offset += 256; }, SPF_CORRUPT_DATA);
    refused([](auto& h) { h.zeros_offset += 256; }, SPF_CORRUPT_DATA);
    refused([](auto& h) { h.g_idx_offset += 256; }, SPF_CORRUPT_DATA);
    refused([](auto& h) { h.global_offset += 256; }, SPF_CORRUPT_DATA);
    refused([](auto& h) { h.data = nullptr; }, SPF_INVALID_ARGUMENT);
    refused([](auto& h) { h.data = static_cast<char*>(h.data) + 16; }, SPF_INVALID_ALIGNMENT);
    refused([](auto& h) { h.device.kind = SPF_CUDA; }, SPF_INVALID_DEVICE);
  }
}

// The decode-only formats, from blocks that stand in tests/data.
TEST(GgufBlocks, UnpackEqualsDequantizeForGgufBlocks) {
  for (support::Fixture& f : support::load_fixtures()) {
    const int64_t k = 2 * int64_t{f.values} - 5;
    const spf_quantized_weight w = support::weight_over(f, f.blocks / 2, k, f.data);
    const std::vector<float> want = support::dequantized(w);
    for (const auto* row : accepting(w.scheme)) {
      const support::PackedWeight p = packed(w, row->name, 0xff);
      std::vector<float> out(want.size(), -77.0f);
      ASSERT_EQ(spf_unpack(&p.header, out.data()), SPF_OK);
      ASSERT_EQ(std::memcmp(out.data(), want.data(), want.size() * sizeof(float)), 0) << row->name << " ggml " << f.id;
    }
  }
}

TEST(PackRefuses, IndicesThatLeadOutOfThePackedBytes) {
  spf_quant_scheme s = {};
  s.struct_size = sizeof s;
  ASSERT_EQ(spf_quant_scheme_by_name("int4-g32", &s), SPF_OK);
  s.has_g_idx = 1;
  const auto q = support::quantized(s, 8, 64, support::random_matrix(8, 64, 25));
  std::vector<float> out(8 * 64);
  for (const char* layout : {"reference", "marlin"})
    for (int32_t bad : {-1, 2, 64}) {
      const support::PackedWeight p = packed(q.weight, layout, 0);
      auto* index = reinterpret_cast<int32_t*>(p.memory.data() + p.header.g_idx_offset);
      ASSERT_EQ(spf_unpack(&p.header, out.data()), SPF_OK);
      index[5] = bad;
      EXPECT_EQ(spf_unpack(&p.header, out.data()), SPF_CORRUPT_DATA) << layout << " " << bad;
      EXPECT_EQ(support::last_error_field(), "g_idx[5]");
    }
  const support::PackedWeight p = packed(q.weight, "marlin", 0);
  reinterpret_cast<int32_t*>(p.memory.data() + p.header.g_idx_offset)[64 + 7] = 64;
  EXPECT_EQ(spf_unpack(&p.header, out.data()), SPF_CORRUPT_DATA);
  EXPECT_EQ(support::last_error_field(), "perm[7]");
}

TEST(PackRefuses, BadInput) {
  spf_quant_scheme s = {};
  s.struct_size = sizeof s;
  ASSERT_EQ(spf_quant_scheme_by_name("int4-g32", &s), SPF_OK);
  size_t bytes = 0;
  EXPECT_EQ(spf_pack_size(&s, "nosuch", 4, 64, &bytes), SPF_NOT_FOUND);
  EXPECT_EQ(spf_pack_size(&s, nullptr, 4, 64, &bytes), SPF_INVALID_ARGUMENT);
  EXPECT_EQ(spf_pack_size(&s, "reference", 4, -64, &bytes), SPF_INVALID_SHAPE);
  EXPECT_EQ(spf_pack_size(nullptr, "reference", 4, 64, &bytes), SPF_INVALID_ARGUMENT);
  EXPECT_STREQ(spf_layout_name(0), "reference");
  EXPECT_EQ(spf_layout_name(-1), nullptr);
  EXPECT_EQ(spf_layout_name(1000), nullptr);

  const auto q = support::quantized(s, 4, 64, support::random_matrix(4, 64, 24));
  ASSERT_EQ(spf_pack_size(&s, "reference", 4, 64, &bytes), SPF_OK);
  AlignedBytes memory(bytes);
  spf_packed_weight p = {};
  EXPECT_EQ(spf_pack(&q.weight, "reference", memory.data(), bytes, &p), SPF_ABI_MISMATCH);
  p.struct_size = sizeof p;
  const spf_packed_weight before = p;
  EXPECT_EQ(spf_pack(&q.weight, "reference", memory.data(), bytes - 1, &p), SPF_INVALID_ARGUMENT);
  EXPECT_EQ(spf_pack(&q.weight, "reference", nullptr, bytes, &p), SPF_INVALID_ARGUMENT);
  EXPECT_EQ(spf_pack(&q.weight, "reference", memory.data() + 64, bytes, &p), SPF_INVALID_ALIGNMENT);
  EXPECT_EQ(std::memcmp(&p, &before, sizeof p), 0); // nothing changes on failure
}

} // namespace
