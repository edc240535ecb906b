// Every GGUF block format against blocks that another implementation decoded (tests/data/make_gguf_fixtures.py).
#include <vector>

#include <gtest/gtest.h>

#include "formats/format.hpp"
#include "support/gguf_blocks.hpp"

namespace {

using namespace spf::formats;

using support::Fixture;
using support::kGgmlIds;
using support::load_fixtures;
using support::weight_over;

TEST(GgufDecode, EveryFormatIsCovered) {
  std::vector<Fixture> fixtures = load_fixtures();
  EXPECT_EQ(fixtures.size(), kGgmlIds.size());
  size_t block_formats = 0;
  for (const Format* f : all_formats()) block_formats += f->block != nullptr;
  EXPECT_EQ(block_formats, kGgmlIds.size());
}

TEST(GgufDecode, MatchesTheFixturesBitForBit) {
  for (Fixture& f : load_fixtures()) {
    // One row of all blocks, and one row a block.
    for (int64_t rows : {1, f.blocks}) {
      const int64_t k = int64_t{f.blocks} * f.values / rows;
      const spf_quantized_weight w = weight_over(f, rows, k, f.data);
      ASSERT_EQ(check(w, "test"), SPF_OK) << f.id;
      const Decoder decoder(w);
      std::vector<float> row(static_cast<size_t>(k));
      for (int64_t n = 0; n < rows; ++n) {
        decoder.dequantize_row(n, row.data());
        for (int64_t i = 0; i < k; ++i) {
          const float want = f.expected[static_cast<size_t>(n * k + i)];
          ASSERT_EQ(row[static_cast<size_t>(i)], want) << decoder.scheme().format << " value " << n * k + i;
        }
      }
    }
  }
}

TEST(GgufDecode, RowFunctionsAgreeWithElementFunctions) {
  for (Fixture& f : load_fixtures()) {
    const int64_t k = int64_t{f.values} * 2 - 7; // the last block is not full
    const spf_quantized_weight w = weight_over(f, f.blocks / 2, k, f.data);
    ASSERT_EQ(check(w, "test"), SPF_OK);
    const Decoder decoder(w);
    std::vector<uint8_t> codes(static_cast<size_t>(k));
    std::vector<float> scales(static_cast<size_t>(decoder.groups())), zeros(scales.size()), row(codes.size());
    for (int64_t n = 0; n < w.n; ++n) {
      decoder.codes_row(n, codes.data());
      decoder.scales_row(n, scales.data(), zeros.data());
      decoder.dequantize_row(n, row.data());
      for (int64_t i = 0; i < k; ++i) {
        const size_t g = static_cast<size_t>(decoder.group(i)), at = static_cast<size_t>(i);
        ASSERT_EQ(decoder.code(n, i), codes[at]);
        ASSERT_EQ(decoder.scale(n, decoder.group(i)), scales[g]);
        ASSERT_EQ(decoder.zero(n, decoder.group(i)), zeros[g]);
        ASSERT_EQ(row[at], dequantize(w.scheme.zero, decoder.code_value(n, i), scales[g], zeros[g]));
      }
    }
  }
}

} // namespace
