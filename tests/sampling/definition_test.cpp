// The integers under sample: Philox against its published vectors, masses against exp2, distances at their borders.
#include "kernels/sampling/definition.h"

#include <array>
#include <cmath>
#include <limits>

#include <gtest/gtest.h>

namespace spf::sampling {
namespace {

using Words = std::array<uint32_t, 4>;

// Philox4x32-10 as its authors state it, written apart from the library's.
Words philox(Words counter, std::array<uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t a = uint64_t{0xD2511F53} * counter[0], b = uint64_t{0xCD9E8D57} * counter[2];
    counter = {static_cast<uint32_t>(b >> 32) ^ counter[1] ^ key[0], static_cast<uint32_t>(b),
               static_cast<uint32_t>(a >> 32) ^ counter[3] ^ key[1], static_cast<uint32_t>(a)};
    key = {key[0] + 0x9E3779B9, key[1] + 0xBB67AE85};
  }
  return counter;
}

TEST(Definition, PhiloxGivesThePublishedVectors) {
  constexpr uint32_t kOnes = 0xffffffff;
  EXPECT_EQ(philox({0, 0, 0, 0}, {0, 0}), (Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(philox({kOnes, kOnes, kOnes, kOnes}, {kOnes, kOnes}),
            (Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
  uint64_t value = 1;
  for (int i = 0; i < 1000; ++i) {
    const uint64_t seed = value *= 0x9e3779b97f4a7c15u, position = value *= 0xbf58476d1ce4e5b9u;
    const Words words = philox({static_cast<uint32_t>(position), static_cast<uint32_t>(position >> 32), 0, 0},
                               {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)});
    ASSERT_EQ(random_bits(seed, position), uint64_t{words[1]} << 32 | words[0]);
  }
}

TEST(Definition, HighProductIsThatOf128Bits) {
  __extension__ using Wide = unsigned __int128;
  uint64_t a = 3, b = ~uint64_t{0};
  for (int i = 0; i < 1000; ++i) {
    ASSERT_EQ(high_product(a, b), static_cast<uint64_t>(static_cast<Wide>(a) * b >> 64));
    a = a * 0xda942042e4dd58b5u + 1;
    b = b * 0x9e3779b97f4a7c15u + 7;
  }
}

TEST(Definition, MassIsThePowerOfTwoAndNeverRises) {
  EXPECT_EQ(mass(0), kLargestMass);
  EXPECT_EQ(mass(1u << kDistanceBits), kLargestMass / 2);
  EXPECT_EQ(mass(39u << kDistanceBits), 2u);
  EXPECT_EQ(mass(kFarthest), 0u);
  double worst = 0;
  for (uint32_t d = 0; d < 2u << kDistanceBits; d += 7) {
    const double exact = std::ldexp(std::exp2(-std::ldexp(d, -kDistanceBits)), 40);
    worst = std::max(worst, std::abs(static_cast<double>(mass(d)) - exact) / exact);
  }
  EXPECT_LT(worst, 1.1e-7);
  for (uint32_t d = 0; d < 1u << kDistanceBits; ++d) ASSERT_GE(mass(d), mass(d + 1)) << d;
  for (uint32_t d = 0; d < kFarthest; d += 4099) ASSERT_GE(mass(d), mass(d + 4099)) << d;
}

TEST(Definition, DistanceOfEveryKindOfLogit) {
  constexpr float kInf = std::numeric_limits<float>::infinity();
  const float scale = kOctave; // temperature 1
  EXPECT_EQ(distance(3, 3, scale), 0u);
  EXPECT_EQ(distance(0.0f, -0.0f, scale), 0u);
  EXPECT_NEAR(distance(1, 0, scale), std::ldexp(1 / std::log(2.0), kDistanceBits), 2);
  EXPECT_EQ(distance(1, -kInf, scale), kFarthest);
  EXPECT_EQ(distance(kInf, kInf, scale), 0u);
  EXPECT_EQ(distance(kInf, 5, scale), kFarthest);
  EXPECT_EQ(distance(3e38f, -3e38f, scale), kFarthest) << "a difference that overflows";
  EXPECT_EQ(distance(1, 1, kInf), 0u) << "a temperature next to 0";
  EXPECT_EQ(distance(1, 0.99f, kInf), kFarthest);
  EXPECT_EQ(distance(1, -1, 0), 0u) << "an endless temperature";
  EXPECT_EQ(distance(1, -kInf, 0), kFarthest) << "-inf is never drawn";
}

TEST(Definition, MinPKeepsWhatHasTheMass) {
  for (const float min_p : {1e-30f, 1e-6f, 0.02f, 0.5f, 0.999f, 1.0f, 7.0f}) {
    const RowRule rule = row_rule(1, 0, 1, min_p);
    const uint32_t farthest = rule.farthest_of_mass();
    const double least = std::ldexp(std::min(1.0, static_cast<double>(min_p)), 40);
    EXPECT_GE(static_cast<double>(mass(farthest)), least) << min_p;
    EXPECT_LT(static_cast<double>(mass(farthest + 1)), std::max(least, 1.0)) << min_p;
  }
  EXPECT_EQ(row_rule(1, 0, 1, 0).farthest_of_mass(), kFarthest - 1);
}

} // namespace
} // namespace spf::sampling
