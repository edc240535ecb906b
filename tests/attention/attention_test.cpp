// Attention against outputs of vLLM's paged_attention, and properties that the generic drivers do not know: what nobody
// sees has no influence, and parts merge to the whole.
#include <algorithm>
#include <cmath>
#include <limits>

#include <gtest/gtest.h>

#include "core/scalar.hpp"
#include "spearfish/spearfish.hpp"
#include "support/safetensors.hpp"

namespace spearfish {
namespace {

constexpr const char* kKernels[] = {"attention/avx512_tiles", "attention/avx2_tiles", "attention/reference"};

// False where this machine cannot run the kernel.
template <class Call>
bool runs(const char* kernel, Call&& call) {
  try {
    call(Launch().require(kernel));
    return true;
  } catch (const Error& error) {
    EXPECT_EQ(error.status(), SPF_REQUIREMENT_UNMET) << kernel << ": " << error.what();
    return false;
  }
}

void expect_near(const std::vector<uint16_t>& got, const std::vector<uint16_t>& want, const char* what) {
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < got.size(); ++i) {
    const float a = spf::bf16_to_f32(got[i]), b = spf::bf16_to_f32(want[i]);
    ASSERT_NEAR(a, b, 0.01 * std::max(1.0f, std::abs(b))) << what << ", element " << i;
  }
}

TEST(Golden, PagedAttentionInEveryLayout) {
  constexpr int64_t kBlocks = 40, kHeads = 2, kDims = 64, kPage = 16, kRun = 8;
  const support::Safetensors& goldens = support::goldens();
  const auto q = goldens["paged.q"].as<uint16_t>(), k = goldens["paged.k"].as<uint16_t>(),
             v = goldens["paged.v"].as<uint16_t>(), want = goldens["paged.out"].as<uint16_t>();
  const auto lengths = goldens["paged.lens"].as<int32_t>(), table = goldens["paged.table"].as<int32_t>();
  const Tensor query(q.data(), SPF_BF16, {3, 4, kDims}), tables = view(table.data(), {3, 10}),
                                                         lens = view(lengths.data(), {3});
  std::vector<uint16_t> got(want.size());
  const Tensor out(got.data(), SPF_BF16, {3, 4, kDims});

  // The same keys and values as pages of heads by tokens.
  std::vector<uint16_t> hnd_k(k.size()), hnd_v(v.size());
  for (int64_t page = 0; page < kBlocks * kHeads; ++page)
    for (int64_t token = 0; token < kPage; ++token)
      for (int64_t d = 0; d < kDims; ++d) {
        const auto to = static_cast<size_t>((page * kPage + token) * kDims + d);
        hnd_k[to] = k[static_cast<size_t>(((page * (kDims / kRun) + d / kRun) * kPage + token) * kRun + d % kRun)];
        hnd_v[to] = v[static_cast<size_t>((page * kDims + d) * kPage + token)];
      }
  const auto pages = [&](const std::vector<uint16_t>& data) {
    return Tensor(data.data(), SPF_BF16, {kBlocks, kPage, kHeads, kDims},
                  {kHeads * kPage * kDims, kDims, kPage * kDims, 1});
  };
  const Tensor v0_k(k.data(), SPF_BF16, {kBlocks, kHeads, kDims / kRun, kPage, kRun});
  const Tensor v0_v(v.data(), SPF_BF16, {kBlocks, kHeads, kDims, kPage});
  for (const char* kernel : kKernels) {
    if (runs(kernel, [&](const Launch& launch) {
          paged_attention(out, query, v0_k, v0_v, tables, lens, 0.125, 0, {}, nullptr, launch);
        }))
      expect_near(got, want, kernel);
    if (runs(kernel, [&](const Launch& launch) {
          attention_decode(out, query, pages(hnd_k), pages(hnd_v), tables, lens, {0.125}, {}, launch);
        }))
      expect_near(got, want, kernel);
  }
}

// Keys that no query sees hold NaN: past the length, before the window, in pages of nobody.
TEST(Decode, WhatNobodySeesHasNoInfluence) {
  constexpr int64_t kPages = 4, kPage = 8, kDims = 24, kLength = 19, kWindow = 6;
  std::vector<float> cache(kPages * kPage * kDims), query(2 * kDims, 0.5f), out(2 * kDims), clean(2 * kDims);
  for (size_t i = 0; i < cache.size(); ++i) cache[i] = static_cast<float>(i * 37 % 41) / 20 - 1;
  std::vector<float> dirty = cache;
  const std::vector<int32_t> table = {2, 0, 3}, length = {kLength};
  for (int64_t page = 0; page < kPages; ++page)
    for (int64_t token = 0; token < kPage; ++token) {
      const auto at = std::find(table.begin(), table.end(), page);
      const int64_t position = at == table.end() ? kLength : (at - table.begin()) * kPage + token;
      if (position >= kLength - kWindow && position < kLength) continue;
      for (int64_t d = 0; d < kDims; ++d)
        dirty[static_cast<size_t>((page * kPage + token) * kDims + d)] = std::numeric_limits<float>::quiet_NaN();
    }
  const auto decode = [&](const std::vector<float>& data, std::vector<float>& to, const Launch& launch) {
    const Tensor pages = view(data.data(), {kPages, kPage, 1, kDims});
    attention_decode(view(to.data(), {1, 2, kDims}), view(query.data(), {1, 2, kDims}), pages, pages,
                     view(table.data(), {1, 3}), view(length.data(), {1}), {0.2, 0, kWindow}, {}, launch);
  };
  for (const char* kernel : kKernels) {
    if (!runs(kernel, [&](const Launch& launch) { decode(cache, clean, launch); })) continue;
    decode(dirty, out, Launch().require(kernel));
    EXPECT_EQ(out, clean) << kernel;
  }
}

// Blocks and offsets that lead out of the operands are refused by name, before anything is written.
TEST(Numbers, OutsideAreRefusedOnTheCpu) {
  constexpr int64_t kPages = 4, kPage = 8, kDims = 16, kRows = 5;
  const std::vector<float> cache(kPages * kPage * kDims, 0.25f), query(kRows * kDims, 0.5f);
  const Tensor pages = view(cache.data(), {kPages, kPage, 1, kDims}), keys = view(cache.data(), {32, 1, kDims});
  struct Bad {
    std::vector<int32_t> queries, keys, tables, lengths;
    const char* field; // nullptr: allowed
  };
  const std::vector<int32_t> offsets = {0, 2, 5}, key_offsets = {0, 20, 32}, tables = {2, 0, -9, 3, 99, 1},
                             lengths = {16, 8};
  const Bad rows[] = {
      {offsets, key_offsets, tables, lengths, nullptr}, // what lies behind a length is nobody's
      {offsets, key_offsets, {2, 4, -9, 3, 99, 1}, lengths, "block_tables[0, 1]"},
      {offsets, key_offsets, {2, 0, -9, -1, 99, 1}, lengths, "block_tables[1, 0]"},
      {offsets, key_offsets, {2, 0, INT32_MIN, 3, 99, 1}, {17, 8}, "block_tables[0, 2]"},
      {offsets, key_offsets, {2, 0, -9, 3, INT32_MAX, 1}, {-5, 1 << 30}, "block_tables[1, 1]"},
      {{0, 3, 6}, {0, 3, 33}, tables, lengths, "[2]"},
      {{0, 3, 2}, {0, 9, 8}, tables, lengths, "[2]"},
      {{-1, 3, 5}, {-4, 9, 32}, tables, lengths, "[0]"},
  };
  for (const char* kernel : kKernels)
    for (const Bad& bad : rows) {
      const std::vector<float> untouched(kRows * kDims, 7.0f);
      std::vector<float> out = untouched;
      const Tensor to = view(out.data(), {kRows, 1, kDims}), from = view(query.data(), {kRows, 1, kDims});
      const auto expect = [&](const char* name, bool refused, auto&& call) {
        out = untouched;
        if (!refused) {
          runs(kernel, call);
          return;
        }
        try {
          call(Launch().require(kernel));
          ADD_FAILURE() << kernel << " " << name << " took " << bad.field;
        } catch (const Error& e) {
          if (e.status() == SPF_REQUIREMENT_UNMET) return; // not on this machine
          EXPECT_EQ(e.status(), SPF_INVALID_ARGUMENT) << e.what();
          EXPECT_NE(e.field().find(bad.field), std::string::npos) << e.what();
          EXPECT_NE(e.allowed(), "");
          EXPECT_EQ(out, untouched);
        }
      };
      const bool any = bad.field != nullptr, table = any && bad.field[0] == 'b';
      const Tensor blocks = view(bad.tables.data(), {2, 3}), seen = view(bad.lengths.data(), {2}),
                   starts = view(bad.queries.data(), {3});
      expect("attention_decode", table, [&](const Launch& launch) {
        attention_decode(to.slice(0, 0, 2), from.slice(0, 0, 2), pages, pages, blocks, seen, {0.25}, {}, launch);
      });
      expect("attention_prefill_paged", any, [&](const Launch& launch) {
        attention_prefill_paged(to, from, pages, pages, starts, blocks, seen, {0.25}, {}, launch);
      });
      expect("attention_prefill", any && !table, [&](const Launch& launch) {
        attention_prefill(to, from, keys, keys, starts, view(bad.keys.data(), {3}), {0.25}, {}, launch);
      });
    }
}

// Attention over all keys is the merge of attention over the first and over the last of them.
TEST(Merge, PartsMakeTheWhole) {
  constexpr int64_t kQueries = 5, kKeys = 40, kSplit = 13, kHeads = 2, kDims = 16;
  std::vector<float> q(kQueries * kHeads * kDims), kv(kKeys * kHeads * kDims);
  for (size_t i = 0; i < q.size(); ++i) q[i] = static_cast<float>(i * 29 % 31) / 10 - 1.5f;
  for (size_t i = 0; i < kv.size(); ++i) kv[i] = static_cast<float>(i * 23 % 37) / 12 - 1.5f;
  struct State {
    std::vector<float> out = std::vector<float>(kQueries * kHeads * kDims), lse = std::vector<float>(kQueries * kHeads);
    Tensor o() { return view(out.data(), {kQueries, kHeads, kDims}); }
    Tensor l() { return view(lse.data(), {kHeads, kQueries}); }
  };
  const std::vector<int32_t> queries = {0, kQueries};
  const auto attend = [&](int64_t begin, int64_t end, State& state) {
    const std::vector<int32_t> keys = {0, static_cast<int32_t>(end - begin)};
    const Tensor part = view(kv.data(), {kKeys, kHeads, kDims}).slice(0, begin, end);
    AttentionExtras extras;
    extras.lse = state.l();
    attention_prefill(state.o(), view(q.data(), {kQueries, kHeads, kDims}), part, part, view(queries.data(), {2}),
                      view(keys.data(), {2}), {0.25, 0, 0, false}, extras);
  };
  State whole, prefix, suffix, merged;
  attend(0, kKeys, whole);
  attend(0, kSplit, prefix);
  attend(kSplit, kKeys, suffix);
  merge_attn_states(merged.o(), prefix.o(), prefix.l(), suffix.o(), suffix.l(), merged.l());
  for (size_t i = 0; i < whole.out.size(); ++i) EXPECT_NEAR(merged.out[i], whole.out[i], 2e-6) << i;
  for (size_t i = 0; i < whole.lse.size(); ++i) EXPECT_NEAR(merged.lse[i], whole.lse[i], 4e-6) << i;
}

} // namespace
} // namespace spearfish
