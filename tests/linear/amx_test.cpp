// The emulated tiles against plain loops over the definition in the processor's manual.
#include "kernels/common/simd/amx.hpp"

#include <random>

#include <gtest/gtest.h>

namespace {

using spf::simd::AmxEmulated;

class EmulatedTiles : public testing::Test {
 protected:
  EmulatedTiles() { AmxEmulated::configure(spf::simd::full_tiles()); }
  ~EmulatedTiles() override { AmxEmulated::release(); }
  std::mt19937 random{1};
};

TEST_F(EmulatedTiles, MultiplySignedByUnsignedBytes) {
  int8_t a[16][64];
  uint8_t b[16][64];
  int32_t c[16][16];
  for (auto& row : a)
    for (int8_t& v : row) v = static_cast<int8_t>(random());
  for (auto& row : b)
    for (uint8_t& v : row) v = static_cast<uint8_t>(random());
  for (auto& row : c)
    for (int32_t& v : row) v = static_cast<int32_t>(random() % 1000);
  AmxEmulated::load<2>(c, 64);
  AmxEmulated::load<4>(a, 64);
  AmxEmulated::load<6>(b, 64);
  AmxEmulated::dot_s8u8<2, 4, 6>();
  int32_t got[16][16];
  AmxEmulated::store<2>(got, 64);
  for (int i = 0; i < 16; ++i)
    for (int j = 0; j < 16; ++j) {
      int32_t want = c[i][j];
      for (int k = 0; k < 64; ++k) want += a[i][k] * b[k / 4][4 * j + k % 4];
      EXPECT_EQ(got[i][j], want);
    }
}

TEST_F(EmulatedTiles, MultiplyBf16) {
  uint16_t a[16][32], b[16][32];
  const auto value = [](uint16_t code) { return std::ldexp(static_cast<float>(code & 0xff), -4); };
  const auto code = [](float v) {
    uint32_t bits;
    std::memcpy(&bits, &v, 4);
    return static_cast<uint16_t>(bits >> 16);
  };
  // Small integers over 16: exact in bf16, and so are their sums in f32.
  float av[16][32], bv[16][32];
  for (int i = 0; i < 16; ++i)
    for (int k = 0; k < 32; ++k) {
      av[i][k] = value(static_cast<uint16_t>(random() % 128));
      bv[i][k] = -value(static_cast<uint16_t>(random() % 128));
      a[i][k] = code(av[i][k]);
      b[i][k] = code(bv[i][k]);
    }
  AmxEmulated::zero<0>();
  AmxEmulated::load<5>(a, 64);
  AmxEmulated::load<7>(b, 64);
  AmxEmulated::dot_bf16<0, 5, 7>();
  float got[16][16];
  AmxEmulated::store<0>(got, 64);
  for (int i = 0; i < 16; ++i)
    for (int j = 0; j < 16; ++j) {
      float want = 0;
      for (int k = 0; k < 32; ++k) want += av[i][k] * bv[k / 2][2 * j + k % 2];
      EXPECT_EQ(got[i][j], want);
    }
}

TEST_F(EmulatedTiles, RowsAreAsWideAsConfigured) {
  spf::simd::TileConfig config = spf::simd::full_tiles();
  config.rows[1] = 3;
  config.row_bytes[1] = 20;
  AmxEmulated::configure(config);
  uint8_t from[16][64], to[16][64] = {};
  std::memset(from, 7, sizeof from);
  AmxEmulated::load<1>(from, 64);
  AmxEmulated::store<1>(to, 64);
  for (int i = 0; i < 16; ++i)
    for (int j = 0; j < 64; ++j) EXPECT_EQ(to[i][j], i < 3 && j < 20 ? 7 : 0);
}

} // namespace
