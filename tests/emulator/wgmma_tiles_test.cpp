// sm90_wgmma on a device of so few multiprocessors that a block has several tiles: a warp writes the results of one
// while the next is multiplied.
#include <cmath>
#include <functional>
#include <random>

#include "core/scalar.hpp"
#include "emulator/device.hpp"
#include "kernels/linear/sm90_dense.cuh"
#include "pack/marlin.hpp"

namespace spf::emulated_tests {
namespace {

using namespace spf::linear;

struct Case {
  int multiprocessors;
  int64_t m, n, k;
  int64_t pitch;       // of out, elements
  bool halves = false; // out has two leading dimensions that no single distance describes
  bool split = false;  // K is divided over blocks
};

std::vector<uint16_t> normal(int64_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> value;
  std::vector<uint16_t> out(static_cast<size_t>(count));
  for (uint16_t& v : out) v = static_cast<uint16_t>(encode(SPF_BF16, value(random)));
  return out;
}

std::string last_error() {
  spf_error_detail detail = {};
  detail.struct_size = sizeof detail;
  spf_last_error(&detail);
  return detail.message;
}

// Multiplies, and compares with sums over w(n, k). weight: its parts in device memory.
template <class C>
void expect_product(const Case& c, std::initializer_list<cuda::Matrix> weight, int group, float unit,
                    const std::function<double(int64_t, int64_t)>& w) {
  constexpr uint16_t kUntouched = 0x1234;
  spf_device_facts facts = {};
  facts.sm_count = c.multiprocessors;
  facts.compute_capability = 90;
  const std::vector<uint16_t> x = normal(c.m * c.k, 3);
  DeviceArray<uint16_t> device_x(x), out(std::vector<uint16_t>(static_cast<size_t>(2 * c.m * c.pitch), kUntouched));
  WgmmaArgs a = {};
  a.rows.dims = c.halves ? 2 : 1;
  a.rows.extent[0] = c.halves ? 2 : c.m;
  a.rows.stride[0][0] = c.halves ? c.m * c.pitch : c.pitch;
  a.rows.extent[1] = (c.m + 1) / 2;
  a.rows.stride[0][1] = c.pitch;
  a.out = out.data();
  a.vector_out = c.pitch % 8 == 0;
  a.m = static_cast<int32_t>(c.m);
  a.n = static_cast<int32_t>(c.n);
  a.group = group;
  a.unit = unit;
  const WgmmaPlan plan = wgmma_plan({c.m, c.n, c.k, C::Tile::kBits, C::Tile::kDecode}, facts,
                                    {C::kN, C::kT, C::kChannelGroups, C::kShare, C::kParts});
  EXPECT_EQ(plan.split > 1, c.split) << plan.split;
  LaunchContext ctx;
  ctx.facts = &facts;
  ASSERT_EQ(launch_wgmma<C>(ctx, {device_x.data(), c.k}, c.k, weight, &a), SPF_OK) << last_error();
  const std::vector<uint16_t> got = out.read();
  for (int64_t m = 0; m < c.m; ++m) {
    const int64_t half = (c.m + 1) / 2, row = c.halves ? m / half * c.m + m % half : m;
    for (int64_t n = m % 7; n < c.n; n += 7) {
      double sum = 0;
      for (int64_t k = 0; k < c.k; ++k) sum += decode(SPF_BF16, x[static_cast<size_t>(m * c.k + k)]) * w(n, k);
      ASSERT_NEAR(decode(SPF_BF16, got[static_cast<size_t>(row * c.pitch + n)]), sum, 0.005 * std::abs(sum) + 0.005)
          << "row " << m << ", column " << n;
    }
    for (int64_t n = c.n; n < c.pitch; ++n) ASSERT_EQ(got[static_cast<size_t>(row * c.pitch + n)], kUntouched);
  }
}

template <int kTokens, int kShare>
void expect_dense(const Case& c) {
  using C = WgmmaConfig<SPF_BF16, SPF_BF16, 0, kTokens, 1, 2, kShare>;
  const std::vector<uint16_t> w = normal(c.n * c.k, 4);
  DeviceArray<uint16_t> device_w(w);
  expect_product<C>(c, {dense_weight<C>(device_w.data(), c.n, c.k, c.k)}, 1, 1.0f,
                    [&](int64_t n, int64_t k) { return decode(SPF_BF16, w[static_cast<size_t>(n * c.k + k)]); });
}

// Four-bit integers in groups of 128, or of 16 kFold; 0: without scales.
template <int kTokens, int kTiles, int kShare, int kGroups = 2, int kParts = 1, int kFold = 8>
void expect_int4(const Case& c) {
  using C = WgmmaConfig<SPF_BF16, SPF_U4B8, kFold, kTokens, kTiles, kGroups, kShare, kParts>;
  using Tile = typename C::Tile;
  constexpr int kGroup = kFold == 0 ? 128 : 16 * kFold;
  const int64_t padded = (c.n + 63) / 64 * 64, groups = (c.k + kGroup - 1) / kGroup, row = padded / 2;
  std::vector<uint32_t> words(static_cast<size_t>(padded * c.k / 8));
  std::mt19937 random(9);
  for (uint32_t& word : words) word = random();
  std::vector<uint16_t> scales(static_cast<size_t>(padded * groups));
  for (uint16_t& s : scales) s = static_cast<uint16_t>(encode(SPF_BF16, 0.01 * static_cast<double>(1 + random() % 16)));
  DeviceArray<uint32_t> device_words(words);
  DeviceArray<uint16_t> device_scales(scales);
  const cuda::Matrix codes = {device_words.data(),
                              CU_TENSOR_MAP_DATA_TYPE_UINT64,
                              row * 2,
                              c.k / 16,
                              row * 16,
                              Tile::kBoxWidth,
                              Tile::kRows,
                              false};
  const cuda::Matrix factors = {
      device_scales.data(), CU_TENSOR_MAP_DATA_TYPE_UINT16, padded, groups, padded * 2, Tile::kChannels,
      Tile::kScaleRows};
  const auto w = [&](int64_t n, int64_t k) -> double {
    const pack::marlin::Slot at = pack::marlin::slot<4, false>(k, n, padded);
    const int code = static_cast<int>(words[static_cast<size_t>(at.word)] >> at.shift & 15) - 8;
    if (kFold == 0) return code;
    const int64_t place = k / kGroup * padded + n / 64 * 64 + n % 8 * 8 + n % 64 / 8;
    return decode(SPF_BF16, encode(SPF_BF16, code * decode(SPF_BF16, scales[static_cast<size_t>(place)])));
  };
  if constexpr (kFold == 0)
    expect_product<C>(c, {codes}, 1, C::Fragment::kUnit, w);
  else
    expect_product<C>(c, {codes, factors}, kGroup, C::Fragment::kUnit, w);
}

// Which tiles of int4 have their results written aside, and which have no room for that.
template <int kTokens, int kGroups, int kTiles = 1>
inline constexpr bool kAside = WgmmaConfig<SPF_BF16, SPF_U4B8, 8, kTokens, kTiles, kGroups, 1>::kAside;
static_assert(kAside<128, 2> && kAside<128, 2, 2> && kAside<192, 3> && kAside<256, 2>);
static_assert(!kAside<64, 2> && !kAside<64, 3> && !kAside<96, 2> && !kAside<96, 3>);
static_assert(!kAside<128, 3> && !kAside<160, 2> && !kAside<160, 3> && !kAside<192, 2>);

TEST(WgmmaTiles, Dense) { expect_dense<128, 1>({1, 300, 250, 192, 256}); }
TEST(WgmmaTiles, DenseWithoutRoomForAWholeTile) { expect_dense<256, 1>({1, 300, 250, 192, 256}); }
TEST(WgmmaTiles, RowsOfAnyDistance) { expect_dense<128, 1>({1, 300, 250, 64, 251}); }
TEST(WgmmaTiles, RowsOfTwoDimensions) { expect_dense<128, 1>({1, 300, 136, 64, 144, true}); }
TEST(WgmmaTiles, Int4) { expect_int4<256, 1, 1>({2, 700, 320, 256, 320}); }
TEST(WgmmaTiles, Int4SharedTokens) { expect_int4<256, 1, 2>({2, 800, 200, 128, 200}); }
TEST(WgmmaTiles, Int4OfTwoTilesAWarpgroup) { expect_int4<128, 2, 1>({1, 300, 320, 128, 328}); }

// Two blocks that divide tiles: a last wave of one or two 64-channel tiles in halves of K; of five or seven by turns at
// the stages; odd numbers of stages, ends of N and M inside of a tile.
TEST(WgmmaTiles, DividedInHalves) { expect_int4<256, 1, 2>({2, 256, 320, 320, 320}); }
TEST(WgmmaTiles, DividedInHalvesTwice) { expect_int4<256, 1, 2>({2, 300, 375, 320, 376}); }
TEST(WgmmaTiles, DividedInHalvesOfOneStage) { expect_int4<256, 1, 2>({2, 200, 128, 64, 131}); }
TEST(WgmmaTiles, DividedOfFewTokens) { expect_int4<64, 1, 2, 4>({2, 64, 448, 640, 448}); }
TEST(WgmmaTiles, DividedOfFewTokensByFive) { expect_int4<64, 1, 2, 4>({2, 50, 800, 384, 800}); }
TEST(WgmmaTiles, DividedOfFewTokensByFour) { expect_int4<64, 1, 2, 4>({4, 33, 512, 512, 512}); }
TEST(WgmmaTiles, DividedOfFewTokensByTurns) { expect_int4<64, 1, 2, 4>({2, 60, 430, 192, 432}); }
TEST(WgmmaTiles, DividedOfOneStage) { expect_int4<64, 1, 2, 4>({2, 64, 448, 128, 448}); }
TEST(WgmmaTiles, PartsOfFewTokens) { expect_int4<64, 1, 1, 2, 2>({2, 64, 256, 896, 256}); }
TEST(WgmmaTiles, PartsOfFewTokensSplit) { expect_int4<64, 1, 1, 2, 2>({8, 60, 128, 1920, 128, false, true}); }

// 192 channels by three warpgroups.
TEST(WgmmaTiles, ThreeWarpgroups) { expect_int4<128, 1, 1, 3>({2, 300, 500, 192, 504}); }
TEST(WgmmaTiles, ThreeWarpgroupsFewTokens) { expect_int4<64, 1, 1, 3>({2, 100, 400, 384, 400}); }
TEST(WgmmaTiles, ThreeWarpgroupsSplit) { expect_int4<128, 1, 1, 3>({8, 100, 192, 1920, 192, false, true}); }

// 96 and 160 tokens; results that have no room beside the ring.
TEST(WgmmaTiles, Tokens96) { expect_int4<96, 1, 1>({2, 200, 256, 384, 256}); }
TEST(WgmmaTiles, Tokens96Split) { expect_int4<96, 1, 1, 3>({8, 90, 192, 1920, 192, false, true}); }
TEST(WgmmaTiles, Tokens160) { expect_int4<160, 1, 1>({2, 330, 300, 320, 304}); }
TEST(WgmmaTiles, Tokens160ByThree) { expect_int4<160, 1, 1, 3>({2, 200, 400, 320, 400}); }
TEST(WgmmaTiles, Tokens192ByThree) { expect_int4<192, 1, 1, 3>({1, 200, 256, 192, 256}); }

// Two blocks that share x, the last tile of which has rows for one of them only.
TEST(WgmmaTiles, RowsForOneOfTwo) { expect_int4<192, 1, 2>({2, 200, 512, 384, 512}); }

// K split over clusters of two to eight blocks.
TEST(WgmmaTiles, Split) { expect_int4<64, 1, 1>({8, 60, 128, 1920, 128, false, true}); }
TEST(WgmmaTiles, SplitOfMany) { expect_int4<256, 1, 1>({16, 250, 256, 1280, 256, false, true}); }
TEST(WgmmaTiles, SplitOfTwoTilesAWarpgroup) { expect_int4<128, 2, 1>({12, 128, 256, 1536, 259, false, true}); }
TEST(WgmmaTiles, SplitOfFew) { expect_int4<16, 4, 1, 1, 4>({40, 13, 256, 4096, 256, false, true}); }
TEST(WgmmaTiles, Tokens192) { expect_int4<192, 1, 2>({2, 300, 320, 320, 320}); }
// Scales of two groups a stage, of one for two stages, and none.
TEST(WgmmaTiles, GroupsOf32) { expect_int4<64, 1, 1, 2, 2, 2>({2, 60, 128, 384, 128}); }
TEST(WgmmaTiles, GroupsOf64) { expect_int4<64, 1, 2, 4, 1, 4>({2, 60, 448, 320, 448}); }
TEST(WgmmaTiles, GroupsOf32ManyTokens) { expect_int4<192, 1, 1, 2, 1, 2>({1, 200, 128, 192, 128}); }
TEST(WgmmaTiles, WithoutGroups) { expect_int4<64, 1, 1, 2, 2, 0>({2, 60, 128, 384, 128}); }
TEST(WgmmaTiles, WithoutGroupsManyTokens) { expect_int4<192, 1, 2, 2, 1, 0>({2, 150, 256, 320, 256}); }
TEST(WgmmaTiles, SplitDense) { expect_dense<16, 1>({24, 11, 128, 1024, 128}); }

} // namespace
} // namespace spf::emulated_tests
