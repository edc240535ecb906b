// Against what vLLM's operator wrote, and what the generic drivers do not know: the layouts by hand, the descriptor,
// the exact codes, one source for several targets.
#include <algorithm>
#include <cmath>
#include <cstring>

#include <gtest/gtest.h>

#include "core/scalar.hpp"
#include "spearfish/spearfish.hpp"
#include "support/refusal.hpp"
#include "support/safetensors.hpp"

namespace {

using spearfish::Tensor;
using support::goldens;
using support::refused_field;

TEST(KvCacheGolden, FlashLayout) {
  auto key = goldens()["cache.key"].as<uint16_t>(), value = goldens()["cache.value"].as<uint16_t>();
  auto slots = goldens()["cache.slots"].as<int64_t>();
  const auto want_k = goldens()["cache.flash_k"].as<uint16_t>(), want_v = goldens()["cache.flash_v"].as<uint16_t>();
  std::vector<uint16_t> k(want_k.size()), v(want_v.size());
  const std::vector<int64_t> pages = {8, 16, 2, 64};
  spearfish::reshape_and_cache_flash(Tensor(key.data(), SPF_BF16, {37, 2, 64}),
                                     Tensor(value.data(), SPF_BF16, {37, 2, 64}), Tensor(k.data(), SPF_BF16, pages),
                                     Tensor(v.data(), SPF_BF16, pages), Tensor(slots.data(), SPF_I64, {37}));
  EXPECT_EQ(k, want_k);
  EXPECT_EQ(v, want_v);
}

// Element (token, head, e) of a small problem, and where each layout keeps it.
constexpr int64_t kBlocks = 3, kBlockSize = 4, kHeads = 2, kSize = 16, kTokens = 5;
constexpr int64_t kSlots[kTokens] = {9, 0, -1, 4, 12};

size_t place(spf_kv_layout layout, bool is_key, int64_t slot, int64_t head, int64_t e) {
  const int64_t b = slot / kBlockSize, o = slot % kBlockSize, x = 8;
  int64_t at = 0;
  if (layout == SPF_KV_NHD) at = ((b * kBlockSize + o) * kHeads + head) * kSize + e;
  if (layout == SPF_KV_HND) at = ((b * kHeads + head) * kBlockSize + o) * kSize + e;
  if (layout == SPF_KV_V0)
    at = is_key ? (((b * kHeads + head) * (kSize / x) + e / x) * kBlockSize + o) * x + e % x
                : ((b * kHeads + head) * kSize + e) * kBlockSize + o;
  return static_cast<size_t>(at);
}

TEST(KvCache, EveryLayoutKeepsATokenWhereItSays) {
  std::vector<uint16_t> key(kTokens * kHeads * kSize), value(key.size());
  for (size_t i = 0; i < key.size(); ++i) {
    key[i] = static_cast<uint16_t>(i + 1);
    value[i] = static_cast<uint16_t>(i + 1001);
  }
  std::vector<int64_t> slots(kSlots, kSlots + kTokens);
  for (const spf_kv_layout layout : {SPF_KV_NHD, SPF_KV_HND, SPF_KV_V0}) {
    const auto bytes = static_cast<size_t>(spearfish::kv_cache_bytes(SPF_F16, kBlocks, kBlockSize, kHeads, kSize));
    std::vector<uint16_t> k(bytes / 2, 7), v(bytes / 2, 7), want_k = k, want_v = v;
    const spf_kv_cache cache =
        spearfish::kv_cache(SPF_F16, layout, kBlocks, kBlockSize, kHeads, kSize, k.data(), v.data());
    spearfish::kv_cache_write(cache, Tensor(key.data(), SPF_F16, {kTokens, kHeads, kSize}),
                              Tensor(value.data(), SPF_F16, {kTokens, kHeads, kSize}),
                              Tensor(slots.data(), SPF_I64, {kTokens}));
    for (int64_t t = 0; t < kTokens; ++t)
      for (int64_t h = 0; h < kHeads; ++h)
        for (int64_t e = 0; e < kSize; ++e) {
          if (kSlots[t] < 0 || kSlots[t] >= kBlocks * kBlockSize) continue;
          const auto from = static_cast<size_t>((t * kHeads + h) * kSize + e);
          want_k[place(layout, true, kSlots[t], h, e)] = key[from];
          want_v[place(layout, false, kSlots[t], h, e)] = value[from];
        }
    EXPECT_EQ(k, want_k) << layout;
    EXPECT_EQ(v, want_v) << layout;
  }
}

TEST(KvCache, CodesAreTheNearestAndSaturate) {
  // Every f16 number, by every implementation here, against the table of codes.
  std::vector<uint16_t> numbers(65536);
  for (size_t i = 0; i < numbers.size(); ++i) numbers[i] = static_cast<uint16_t>(i);
  for (const spf_scalar_type type : {SPF_E4M3, SPF_E5M2})
    for (const char* kernel : {"reference", "avx2_moves"}) {
      std::vector<uint8_t> codes(numbers.size());
      try {
        spearfish::convert_fp8(Tensor(numbers.data(), SPF_F16, {256, 256}), Tensor(codes.data(), type, {256, 256}), 0.5,
                               spearfish::Launch().require(kernel));
      } catch (const spearfish::Error& e) {
        ASSERT_EQ(e.status(), SPF_REQUIREMENT_UNMET) << e.what(); // no AVX2 here
        continue;
      }
      const double largest = spf::scalar_info(type).max_value;
      for (size_t i = 0; i < numbers.size(); ++i) {
        const double x = spf::f16_to_f32(numbers[i]) / 0.5;
        if (std::isnan(x)) {
          EXPECT_TRUE(std::isnan(spf::decode(type, codes[i]))) << kernel << " " << i;
          continue;
        }
        const uint64_t want = spf::encode(type, std::clamp(x, -largest, largest));
        ASSERT_EQ(codes[i], want) << kernel << " " << x;
      }
    }
}

TEST(KvCache, CodesAreReadBackExactly) {
  std::vector<uint8_t> codes(256);
  for (size_t i = 0; i < codes.size(); ++i) codes[i] = static_cast<uint8_t>(i);
  for (const spf_scalar_type type : {SPF_E4M3, SPF_E5M2})
    for (const char* kernel : {"reference", "avx2_moves"}) {
      std::vector<float> numbers(256);
      try {
        spearfish::convert_fp8(Tensor(codes.data(), type, {256}), Tensor(numbers.data(), SPF_F32, {256}), 3.0,
                               spearfish::Launch().require(kernel));
      } catch (const spearfish::Error& e) {
        ASSERT_EQ(e.status(), SPF_REQUIREMENT_UNMET) << e.what();
        continue;
      }
      for (size_t i = 0; i < codes.size(); ++i) {
        const double want = spf::decode(type, codes[i]) * 3.0;
        EXPECT_TRUE(numbers[i] == want || (std::isnan(numbers[i]) && std::isnan(want))) << kernel << " " << i;
      }
    }
}

TEST(KvCache, OneBlockMayBeCopiedToSeveral) {
  std::vector<float> keys(15), values(15);
  for (size_t i = 0; i < 15; ++i) {
    keys[i] = static_cast<float>(i);
    values[i] = static_cast<float>(100 + i);
  }
  std::vector<int64_t> pairs = {1, 3, 1, 4, 0, 7, -1, 2};
  spearfish::copy_blocks(Tensor(keys.data(), SPF_F32, {5, 3}), Tensor(values.data(), SPF_F32, {5, 3}),
                         Tensor(pairs.data(), SPF_I64, {4, 2}));
  EXPECT_EQ(keys, (std::vector<float>{0, 1, 2, 3, 4, 5, 6, 7, 8, 3, 4, 5, 3, 4, 5}));
  EXPECT_EQ(values[9], 103);
  EXPECT_EQ(values[6], 106);
}

TEST(KvCache, ADescriptorThatDisagreesIsRefusedByField) {
  std::vector<float> k(4 * 8 * 2 * 16), v(k.size()), s(2, 1.0f);
  const auto make = [&](spf_scalar_type type) {
    return spearfish::kv_cache(type, SPF_KV_NHD, 4, 8, 2, 16, k.data(), v.data());
  };
  const auto field = [](const spf_kv_cache& cache) {
    return refused_field([&] { spearfish::check(spf_kv_cache_check(&cache, "test")); });
  };
  EXPECT_EQ(field(make(SPF_BF16)), "");
  spf_kv_cache c = make(SPF_BF16);
  c.version = 2;
  EXPECT_EQ(field(c), "cache.version");
  c = make(SPF_BF16);
  c.layout = SPF_KV_HND;
  EXPECT_EQ(field(c), "cache.key.stride") << "the same extents, another order";
  c = make(SPF_BF16);
  c.block_size = 16;
  EXPECT_EQ(field(c), "cache.key.shape");
  c = make(SPF_BF16);
  c.value.type = SPF_F16;
  EXPECT_EQ(field(c), "cache.value.type");
  c = make(SPF_BF16);
  c.scale = SPF_KV_SCALE_TENSOR;
  EXPECT_EQ(field(c), "cache.scale") << "numbers have none";
  c = make(SPF_E4M3);
  const Tensor scales(s.data(), SPF_F32, {2});
  c.k_scale = c.v_scale = scales.get();
  EXPECT_EQ(field(c), "cache.k_scale");
  c.scale = SPF_KV_SCALE_TENSOR;
  EXPECT_EQ(field(c), "cache.k_scale.shape");
  c.scale = SPF_KV_SCALE_HEAD;
  EXPECT_EQ(field(c), "");
  EXPECT_EQ(refused_field([&] { (void)spearfish::kv_cache(SPF_I32, SPF_KV_NHD, 1, 1, 1, 1, nullptr, nullptr); }),
            "cache.type");
  EXPECT_EQ(refused_field([&] { (void)spearfish::kv_cache(SPF_F16, SPF_KV_V0, 1, 1, 1, 12, nullptr, nullptr); }),
            "cache.head_size");
  EXPECT_EQ(refused_field([&] { (void)spearfish::kv_cache_bytes(SPF_F32, int64_t{1} << 40, 1 << 20, 8, 128); }),
            "cache.heads");
}

TEST(KvCache, WhatIsRefused) {
  std::vector<float> data(4096);
  std::vector<int64_t> slots(4);
  const auto write = [&](std::vector<int64_t> cache, spf_scalar_type type, int64_t count, int64_t scales) {
    const Tensor token(data.data(), SPF_F32, {3, 2, 8}), ids(slots.data(), SPF_I64, {count});
    const Tensor k(data.data() + 512, type, cache), v(data.data() + 2048, type, cache);
    const spearfish::OptionalTensor scale =
        scales > 0 ? spearfish::OptionalTensor(Tensor(data.data() + 4000, SPF_F32, {scales})) : std::nullopt;
    return refused_field([&] { spearfish::reshape_and_cache_flash(token, token, k, v, ids, scale, scale); });
  };
  EXPECT_EQ(write({2, 4, 2, 8}, SPF_F32, 3, 0), "");
  EXPECT_EQ(write({2, 4, 2, 8}, SPF_E4M3, 3, 0), "");
  EXPECT_EQ(write({2, 4, 2, 8}, SPF_BF16, 3, 0), "key_cache.type");
  EXPECT_EQ(write({2, 4, 2, 8}, SPF_F32, 4, 0), "slot_mapping.shape[0]");
  EXPECT_EQ(write({2, 4, 2, 8}, SPF_F32, 3, 1), "k_scale") << "a cache of numbers";
  EXPECT_EQ(write({2, 4, 2, 8}, SPF_E5M2, 3, 3), "k_scale.shape[0]");
}

} // namespace
