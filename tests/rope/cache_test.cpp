// The table of every scaling against the formula of its source, written down once more and number by number.
#include <algorithm>
#include <cmath>
#include <numbers>

#include <gtest/gtest.h>

#include "spearfish/spearfish.hpp"

namespace {

using spearfish::rope_cache;
using spearfish::rope_config;

double angle_of(const std::vector<float>& table, int64_t rotary, int64_t position, int64_t i) {
  const float* row = table.data() + position * rotary;
  return std::atan2(row[rotary / 2 + i], row[i]);
}

// Frequency of pair i, read off position 1: angles below pi are their own.
std::vector<double> frequencies(const spf_rope_config& config, int64_t positions = 2) {
  const std::vector<float> table = rope_cache(config, positions);
  std::vector<double> f;
  for (int64_t i = 0; i < config.rotary_dim / 2; ++i) f.push_back(angle_of(table, config.rotary_dim, 1, i));
  return f;
}

double attention_factor(const spf_rope_config& config, int64_t positions = 2) {
  return rope_cache(config, positions)[0]; // cos(0) times it
}

std::string refused_field(const spf_rope_config& config) {
  try {
    (void)rope_cache(config, 2);
  } catch (const spearfish::Error& e) {
    return e.field();
  }
  return "";
}

TEST(RopeCache, Default) {
  const spf_rope_config config = rope_config(64);
  const std::vector<float> table = rope_cache(config, 5000);
  for (int64_t p : {0, 1, 7, 4999})
    for (int64_t i = 0; i < 32; ++i) {
      const double angle = static_cast<double>(p) * std::pow(10000.0, -static_cast<double>(i) / 32);
      EXPECT_EQ(table[static_cast<size_t>(p * 64 + i)], static_cast<float>(std::cos(angle)));
      EXPECT_EQ(table[static_cast<size_t>(p * 64 + 32 + i)], static_cast<float>(std::sin(angle)));
    }
  EXPECT_TRUE(rope_cache(rope_config(0), 3).empty());
  EXPECT_TRUE(rope_cache(config, 0).empty());
}

TEST(RopeCache, Linear) {
  spf_rope_config config = rope_config(64);
  const std::vector<double> plain = frequencies(config);
  config.scaling = SPF_ROPE_LINEAR;
  config.factor = 4;
  const std::vector<double> scaled = frequencies(config);
  for (size_t i = 0; i < plain.size(); ++i) EXPECT_NEAR(scaled[i], plain[i] / 4, 1e-7);
}

TEST(RopeCache, DynamicStretchesTheBaseBeyondTheOriginalLength) {
  spf_rope_config config = rope_config(64);
  const std::vector<double> plain = frequencies(config);
  config.scaling = SPF_ROPE_DYNAMIC;
  config.factor = 2;
  config.original_positions = 1024;
  EXPECT_EQ(frequencies(config), plain) << "a short table";
  config.length = 4096;
  const double base = 10000 * std::pow(2.0 * 4096 / 1024 - 1, 64.0 / 62);
  const std::vector<double> scaled = frequencies(config);
  for (size_t i = 0; i < plain.size(); ++i) EXPECT_NEAR(scaled[i], std::pow(base, -static_cast<double>(i) / 32), 1e-7);
  config.length = 0; // the table's own
  EXPECT_EQ(frequencies(config, 4096), scaled);
}

TEST(RopeCache, Llama3KeepsFastAnglesAndDividesSlowOnes) {
  spf_rope_config config = rope_config(128);
  config.base = 500000;
  const std::vector<double> plain = frequencies(config);
  config.scaling = SPF_ROPE_LLAMA3;
  config.factor = 8;
  config.low_frequency_factor = 1;
  config.high_frequency_factor = 4;
  config.original_positions = 8192;
  const std::vector<double> scaled = frequencies(config);
  int kept = 0, divided = 0, mixed = 0;
  for (size_t i = 0; i < plain.size(); ++i) {
    const double f = std::pow(500000.0, -static_cast<double>(i) / 64), wavelength = 2 * std::numbers::pi / f;
    double expected = f;
    if (wavelength > 8192.0 / 1) {
      expected = f / 8;
      ++divided;
    } else if (wavelength >= 8192.0 / 4) {
      const double smooth = (8192.0 / wavelength - 1) / (4.0 - 1);
      expected = (1 - smooth) * f / 8 + smooth * f;
      ++mixed;
    } else {
      ++kept;
    }
    EXPECT_NEAR(scaled[i], expected, 2e-7 * expected) << i;
  }
  EXPECT_GT(kept, 5);
  EXPECT_GT(divided, 5);
  EXPECT_GT(mixed, 2);
}

TEST(RopeCache, YarnRampsBetweenTheTwo) {
  spf_rope_config config = rope_config(64);
  config.scaling = SPF_ROPE_YARN;
  config.factor = 4;
  config.original_positions = 4096;
  const std::vector<double> scaled = frequencies(config);
  const auto dimension = [](double rotations) {
    return 64 * std::log(4096 / (rotations * 2 * std::numbers::pi)) / (2 * std::log(10000.0));
  };
  const double low = std::floor(dimension(32)), high = std::ceil(dimension(1)), m = 0.1 * std::log(4.0) + 1;
  for (size_t i = 0; i < scaled.size(); ++i) {
    const double f = std::pow(10000.0, -static_cast<double>(i) / 32);
    const double ramp = std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
    EXPECT_NEAR(scaled[i], f / 4 * ramp + f * (1 - ramp), 1e-7 * f);
  }
  EXPECT_FLOAT_EQ(static_cast<float>(attention_factor(config)), static_cast<float>(m));
  config.mscale = 0.707;
  config.mscale_all_dim = 1;
  EXPECT_FLOAT_EQ(static_cast<float>(attention_factor(config)),
                  static_cast<float>((0.1 * 0.707 * std::log(4.0) + 1) / m));
  config.attention_factor = 1.25;
  EXPECT_EQ(attention_factor(config), 1.25);
  config.no_truncate = 1;
  EXPECT_NE(frequencies(config), scaled) << "bounds between dimensions";
}

TEST(RopeCache, LongRopeChoosesItsFactorsByLength) {
  spf_rope_config config = rope_config(8);
  const std::vector<double> plain = frequencies(config);
  const double shorts[] = {1, 1.5, 2, 3}, longs[] = {4, 5, 6, 7};
  config.scaling = SPF_ROPE_LONGROPE;
  config.original_positions = 4096;
  config.factor = 32;
  config.short_factors = shorts;
  config.long_factors = longs;
  config.length = 4096;
  for (size_t i = 0; i < 4; ++i) EXPECT_NEAR(frequencies(config)[i], plain[i] / shorts[i], 1e-7);
  config.length = 4097;
  for (size_t i = 0; i < 4; ++i) EXPECT_NEAR(frequencies(config)[i], plain[i] / longs[i], 1e-7);
  EXPECT_FLOAT_EQ(static_cast<float>(attention_factor(config)),
                  static_cast<float>(std::sqrt(1 + std::log(32.0) / std::log(4096.0))));
  config.factor = 1;
  EXPECT_EQ(attention_factor(config), 1);
}

TEST(RopeCache, BadConfigurationsAreRefusedByField) {
  const auto with = [](auto change) {
    spf_rope_config config = rope_config(8);
    change(config);
    return refused_field(config);
  };
  EXPECT_EQ(with([](auto& c) { c.rotary_dim = 7; }), "config.rotary_dim");
  EXPECT_EQ(with([](auto& c) { c.base = 0; }), "config.base");
  EXPECT_EQ(with([](auto& c) { c.scaling = static_cast<spf_rope_scaling>(9); }), "config.scaling");
  EXPECT_EQ(with([](auto& c) { c.scaling = SPF_ROPE_LINEAR; }), "config.factor");
  EXPECT_EQ(with([](auto& c) { c.scaling = SPF_ROPE_YARN, c.factor = 2; }), "config.original_positions");
  EXPECT_EQ(with([](auto& c) { c.scaling = SPF_ROPE_LLAMA3, c.factor = 2, c.original_positions = 8; }),
            "config.low_frequency_factor");
  EXPECT_EQ(with([](auto& c) { c.scaling = SPF_ROPE_LONGROPE, c.original_positions = 8; }), "config.short_factors");
  EXPECT_EQ(with([](auto& c) { c.base = std::nan(""); }), "config.base");
  EXPECT_EQ(with([](auto& c) { c.struct_size = 4; }), "config.struct_size");
  const spf_rope_config config = rope_config(8);
  EXPECT_EQ(spf_rope_cache(&config, -1, nullptr), SPF_INVALID_ARGUMENT);
  EXPECT_EQ(spf_rope_cache(&config, 1, nullptr), SPF_INVALID_ARGUMENT);
  EXPECT_EQ(spf_rope_cache(nullptr, 1, nullptr), SPF_INVALID_ARGUMENT);
}

} // namespace
