// Against what vLLM's operator wrote, and the uses that the generic drivers do not know: slices of one fused row, and
// what is refused.
#include <cmath>

#include <gtest/gtest.h>

#include "core/scalar.hpp"
#include "spearfish/spearfish.hpp"
#include "support/refusal.hpp"
#include "support/safetensors.hpp"

namespace {

using spearfish::Tensor;
using support::goldens;
using support::refused_field;

// vLLM rounds each product to bf16 before the sum; ours are rounded once. Half an ulp of each product, and of the sum.
void expect_close(const std::vector<uint16_t>& got, const std::vector<uint16_t>& want, const std::vector<uint16_t>& in,
                  int64_t size, const std::string& what) {
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < got.size(); ++i) {
    double largest = 0; // of the head
    for (size_t e = i / static_cast<size_t>(size) * static_cast<size_t>(size), n = 0; n < static_cast<size_t>(size);
         ++n)
      largest = std::max(largest, std::abs(static_cast<double>(spf::bf16_to_f32(in[e + n]))));
    EXPECT_NEAR(spf::bf16_to_f32(got[i]), spf::bf16_to_f32(want[i]), largest * 5 * 0x1p-9) << what << " " << i;
  }
}

TEST(RopeGolden, BothPairings) {
  auto positions = goldens()["rope.pos"].as<int64_t>();
  auto cos_sin = goldens()["rope.cos_sin"].as<uint16_t>();
  for (const bool interleaved : {false, true}) {
    const std::string suffix = interleaved ? "_gptj" : "_neox";
    auto q = goldens()["rope.q"].as<uint16_t>(), k = goldens()["rope.k"].as<uint16_t>();
    const auto q_before = q, k_before = k;
    spearfish::rotary_embedding(Tensor(positions.data(), SPF_I64, {37}), Tensor(q.data(), SPF_BF16, {37, 4, 64}),
                                Tensor(k.data(), SPF_BF16, {37, 2, 64}), Tensor(cos_sin.data(), SPF_BF16, {512, 64}),
                                {interleaved});
    expect_close(q, goldens()["rope.q" + suffix].as<uint16_t>(), q_before, 64, "q" + suffix);
    expect_close(k, goldens()["rope.k" + suffix].as<uint16_t>(), k_before, 64, "k" + suffix);
  }
}

TEST(Rope, SlicesOfOneFusedRowAreRotatedInPlace) {
  std::vector<float> fused(3 * 8 * 4), apart_q, apart_k;
  for (size_t i = 0; i < fused.size(); ++i) fused[i] = static_cast<float>(i % 13) - 6;
  std::vector<float> before = fused;
  for (size_t t = 0; t < 3; ++t) {
    apart_q.insert(apart_q.end(), fused.begin() + static_cast<long>(t) * 32,
                   fused.begin() + static_cast<long>(t) * 32 + 16);
    apart_k.insert(apart_k.end(), fused.begin() + static_cast<long>(t) * 32 + 16,
                   fused.begin() + static_cast<long>(t) * 32 + 24);
  }
  std::vector<int32_t> positions = {1, 5, 2};
  std::vector<float> table = spearfish::rope_cache(spearfish::rope_config(4), 8);
  const Tensor cos_sin(table.data(), SPF_F32, {8, 4}), ids(positions.data(), SPF_I32, {3});
  spearfish::rotary_embedding(ids, Tensor(fused.data(), SPF_F32, {3, 4, 4}, {32, 4, 1}),
                              Tensor(fused.data() + 16, SPF_F32, {3, 2, 4}, {32, 4, 1}), cos_sin);
  spearfish::rotary_embedding(ids, Tensor(apart_q.data(), SPF_F32, {3, 4, 4}),
                              Tensor(apart_k.data(), SPF_F32, {3, 2, 4}), cos_sin);
  for (size_t t = 0; t < 3; ++t)
    for (size_t i = 0; i < 32; ++i) {
      const float expected = i < 16 ? apart_q[t * 16 + i] : i < 24 ? apart_k[t * 8 + i - 16] : before[t * 32 + i];
      EXPECT_EQ(fused[t * 32 + i], expected) << t << " " << i;
    }
}

TEST(Rope, WhatIsRefused) {
  std::vector<float> data(256);
  std::vector<int64_t> ids(4);
  const Tensor positions(ids.data(), SPF_I64, {4}), query(data.data(), SPF_F32, {4, 2, 8});
  const auto with_table = [&](spf_scalar_type type, int64_t rotary) {
    return refused_field([&] {
      spearfish::rotary_embedding(positions, query, {}, Tensor(data.data() + 128, type, {3, rotary}));
    });
  };
  EXPECT_EQ(with_table(SPF_F32, 8), "");
  EXPECT_EQ(with_table(SPF_F32, 7), "cos_sin.shape[1]");
  EXPECT_EQ(with_table(SPF_F32, 10), "cos_sin.shape[1]");
  EXPECT_EQ(with_table(SPF_F16, 8), "cos_sin.type");
  spearfish::FusedQkNormRopeParams params;
  params.q_heads = params.k_heads = 2;
  std::vector<float> weight(8, 1.0f);
  const Tensor w(weight.data(), SPF_F32, {8}), table(data.data() + 128, SPF_F32, {3, 8});
  EXPECT_EQ(refused_field([&] { spearfish::fused_qk_norm_rope(query, w, w, table, positions, params); }), "k_heads");
}

// One kernel, the bits of two: query and key as rotary_embedding leaves them, the cache as reshape_and_cache_flash
// does.
TEST(Rope, WithTheCacheIsRopeAndThenTheCache) {
  constexpr int64_t kTokens = 37;
  auto positions = goldens()["rope.pos"].as<int64_t>();
  auto cos_sin = goldens()["rope.cos_sin"].as<uint16_t>();
  auto slots = goldens()["cache.slots"].as<int64_t>();
  auto value = goldens()["cache.value"].as<uint16_t>();
  positions[3] = -1; // turned by nothing, and still written
  float k_scale = 0.3f, v_scale = 0.7f;
  const Tensor table(cos_sin.data(), SPF_BF16, {512, 64}), at(positions.data(), SPF_I64, {kTokens});
  const Tensor v(value.data(), SPF_BF16, {kTokens, 2, 64}), slot(slots.data(), SPF_I64, {kTokens});
  const spearfish::OptionalTensor ks = Tensor(&k_scale, SPF_F32, {1}), vs = Tensor(&v_scale, SPF_F32, {1});
  for (const char* isa : {"reference", "avx2", "avx512"}) {
    const bool reference = isa == std::string("reference");
    const auto kernel = [&](const char* family, const char* rows) {
      return spearfish::Launch().require(std::string(family) + "/" + isa + (reference ? "" : rows));
    };
    auto q = goldens()["rope.q"].as<uint16_t>(), k = goldens()["rope.k"].as<uint16_t>();
    auto q_apart = q, k_apart = k;
    std::vector<uint8_t> keys(8 * 16 * 2 * 64, 0x11), values(keys.size(), 0x22);
    auto keys_apart = keys, values_apart = values;
    const std::vector<int64_t> pages = {8, 16, 2, 64};
    const auto heads = [&](std::vector<uint16_t>& x, int64_t count) {
      return Tensor(x.data(), SPF_BF16, {kTokens, count, 64});
    };
    const auto cache = [&](std::vector<uint8_t>& x) { return Tensor(x.data(), SPF_E4M3, pages); };
    try {
      spearfish::rotary_embedding_and_cache(at, heads(q, 4), heads(k, 2), v, table, cache(keys), cache(values), slot,
                                            {ks, vs}, {}, kernel("rope", "_heads"));
      spearfish::rotary_embedding(at, heads(q_apart, 4), heads(k_apart, 2), table, {}, kernel("rope", "_heads"));
    } catch (const spearfish::Error& e) {
      if (e.status() != SPF_REQUIREMENT_UNMET) throw;
      continue;
    }
    spearfish::reshape_and_cache_flash(heads(k_apart, 2), v, cache(keys_apart), cache(values_apart), slot, ks, vs);
    EXPECT_EQ(q, q_apart) << isa;
    EXPECT_EQ(k, k_apart) << isa;
    EXPECT_EQ(keys, keys_apart) << isa;
    EXPECT_EQ(values, values_apart) << isa;
  }
}

} // namespace
