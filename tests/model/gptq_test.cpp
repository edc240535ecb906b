// GPTQ, the moments it reads and the scaling of inputs, against brute force.
#include "model/gptq.hpp"

#include <cmath>
#include <map>
#include <random>

#include "model/input_scales.hpp"
#include "support.hpp"

namespace model_test {
namespace {

using namespace spearfish;
using namespace spearfish::model;

std::vector<float> random_values(size_t count, unsigned seed, float spread = 1.0f) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.0f, spread);
  std::vector<float> values(count);
  for (float& v : values) v = normal(random);
  return values;
}

// Inputs whose columns depend on each other, some large, some small.
std::vector<float> correlated_inputs(int64_t rows, int64_t k, unsigned seed) {
  const std::vector<float> sources = random_values(static_cast<size_t>(rows * k), seed);
  const std::vector<float> mix = random_values(static_cast<size_t>(k * k), seed + 1, 0.4f);
  std::vector<float> x(static_cast<size_t>(rows * k));
  for (int64_t t = 0; t < rows; ++t)
    for (int64_t i = 0; i < k; ++i) {
      double sum = sources[static_cast<size_t>(t * k + i)];
      for (int64_t j = 0; j < k; ++j)
        sum += static_cast<double>(mix[static_cast<size_t>(i * k + j)]) * sources[static_cast<size_t>(t * k + j)];
      x[static_cast<size_t>(t * k + i)] = static_cast<float>(sum * (i % 7 == 3 ? 4.0 : 1.0));
    }
  return x;
}

InputMoments moments_of(const std::vector<float>& x, int64_t k) {
  InputMoments moments(k);
  moments.add(x.data(), static_cast<int64_t>(x.size()) / k, k);
  return moments;
}

// |x (w - r)^T|^2 over all inputs, straight from its definition.
double error_by_hand(const std::vector<float>& x, const std::vector<float>& w, const std::vector<float>& r, int64_t k) {
  double error = 0;
  const int64_t rows = static_cast<int64_t>(x.size()) / k, n = static_cast<int64_t>(w.size()) / k;
  for (int64_t t = 0; t < rows; ++t)
    for (int64_t row = 0; row < n; ++row) {
      double sum = 0;
      for (int64_t c = 0; c < k; ++c)
        sum += static_cast<double>(x[static_cast<size_t>(t * k + c)]) *
               (static_cast<double>(w[static_cast<size_t>(row * k + c)]) - r[static_cast<size_t>(row * k + c)]);
      error += sum * sum;
    }
  return error;
}

TEST(InputMoments, AreTheSumsOfProducts) {
  for (const int64_t k : {1, 5, 64, 65, 130}) {
    const int64_t rows = 203, stride = k + 3;
    const std::vector<float> x = random_values(static_cast<size_t>(rows * stride), 3);
    InputMoments moments(k);
    moments.add(x.data(), 150, stride);
    moments.add(x.data() + 150 * stride, rows - 150, stride);
    EXPECT_EQ(moments.rows(), rows);
    for (int64_t i = 0; i < k; ++i) {
      double magnitude = 0;
      for (int64_t t = 0; t < rows; ++t) magnitude += std::fabs(x[static_cast<size_t>(t * stride + i)]);
      EXPECT_NEAR(moments.magnitudes()[static_cast<size_t>(i)], magnitude, 1e-9 * magnitude);
      for (int64_t j = 0; j < k; ++j) {
        double sum = 0;
        for (int64_t t = 0; t < rows; ++t)
          sum += static_cast<double>(x[static_cast<size_t>(t * stride + i)]) * x[static_cast<size_t>(t * stride + j)];
        ASSERT_NEAR(moments.sums()[static_cast<size_t>(i * k + j)], sum, 1e-3) << k << ": " << i << ", " << j;
      }
    }
  }
}

TEST(InputMoments, OutputErrorIsTheErrorOfTheOutputs) {
  const int64_t n = 9, k = 33;
  const std::vector<float> x = correlated_inputs(80, k, 1), w = random_values(n * k, 2), r = random_values(n * k, 3);
  const double by_hand = error_by_hand(x, w, r, k);
  EXPECT_NEAR(output_error(moments_of(x, k), n, w.data(), r.data()), by_hand, 1e-5 * by_hand);
}

class Gptq : public testing::TestWithParam<const char*> {};

// Never worse than rounding to nearest on inputs like those it saw, and clearly better where columns depend on each
// other; the same bits every time; values that the scheme can say.
TEST_P(Gptq, BeatsRoundingToNearest) {
  const QuantScheme scheme = quant_scheme(GetParam());
  const int64_t n = 70, k = 512; // more rows than are rounded at a time, two blocks of the longest kind
  const std::vector<float> x = correlated_inputs(700, k, 5), w = random_values(n * k, 6, 0.05f);
  const InputMoments moments = moments_of(x, k);
  const auto error = [&](const std::vector<float>& r) { return output_error(moments, n, w.data(), r.data()); };
  const double nearest = error(QuantizedWeight::quantize(scheme, n, k, w.data()).dequantize());
  GptqOptions options;
  options.refinements = 0;
  const RoundedWeight plain = gptq(scheme, n, k, w.data(), moments, options);
  options.refinements = 4;
  const RoundedWeight refined = gptq(scheme, n, k, w.data(), moments, options);
  options.by_importance = true;
  const RoundedWeight ordered = gptq(scheme, n, k, w.data(), moments, options);
  // Blocks of 256 leave little to correct: half of the columns see no error but their own block's.
  const bool long_blocks = scheme.format >= SPF_FORMAT_Q2_K;
  EXPECT_LT(error(plain.weight().dequantize()), (long_blocks ? 0.95 : 0.75) * nearest);
  EXPECT_LE(error(refined.weight().dequantize()), error(plain.weight().dequantize()) * 1.0001);
  EXPECT_LT(error(ordered.weight().dequantize()), (long_blocks ? 0.95 : 0.75) * nearest);
  const RoundedWeight again = gptq(scheme, n, k, w.data(), moments, {});
  EXPECT_EQ(again.weight().dequantize(), refined.weight().dequantize());
  EXPECT_EQ(spf_quantized_weight_check(again.weight().get()), SPF_OK);
}

INSTANTIATE_TEST_SUITE_P(Formats, Gptq,
                         testing::Values("int4-g128", "int4-g32-asym", "int4-channel", "int8", "fp8", "fp8-channel",
                                         "fp8-block", "nvfp4", "mxfp4", "q4_0", "q8_0", "q4_k", "q6_k"),
                         [](const auto& param_info) {
                           std::string name = param_info.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

// The published algorithm, with the inverse of H and its Cholesky factor, in f64: columns in the order given, scales
// fixed. Returns the rounded row.
std::vector<double> textbook_gptq(const std::vector<double>& h, const std::vector<double>& row,
                                  const std::vector<double>& scales, const std::vector<size_t>& order) {
  const size_t k = row.size();
  // Inverse by Gauss-Jordan elimination.
  std::vector<double> a(k * k), inverse(k * k, 0.0);
  for (size_t i = 0; i < k; ++i) {
    inverse[i * k + i] = 1;
    for (size_t j = 0; j < k; ++j) a[i * k + j] = h[order[i] * k + order[j]];
  }
  for (size_t p = 0; p < k; ++p) {
    const double pivot = a[p * k + p];
    for (size_t j = 0; j < k; ++j) {
      a[p * k + j] /= pivot;
      inverse[p * k + j] /= pivot;
    }
    for (size_t i = 0; i < k; ++i) {
      const double f = a[i * k + p];
      if (i == p || f == 0) continue;
      for (size_t j = 0; j < k; ++j) {
        a[i * k + j] -= f * a[p * k + j];
        inverse[i * k + j] -= f * inverse[p * k + j];
      }
    }
  }
  // inverse = U^T U, U upper.
  std::vector<double> u(k * k, 0.0);
  for (size_t i = 0; i < k; ++i)
    for (size_t j = i; j < k; ++j) {
      double sum = inverse[i * k + j];
      for (size_t t = 0; t < i; ++t) sum -= u[t * k + i] * u[t * k + j];
      u[i * k + j] = i == j ? std::sqrt(sum) : sum / u[i * k + i];
    }
  std::vector<double> w(k), result(k);
  for (size_t i = 0; i < k; ++i) w[i] = row[order[i]];
  for (size_t i = 0; i < k; ++i) {
    const double scale = scales[order[i]];
    const double code = std::clamp(std::nearbyint(w[i] / scale), -8.0, 7.0);
    result[order[i]] = code * scale;
    const double step = (w[i] - code * scale) / u[i * k + i];
    for (size_t j = i; j < k; ++j) w[j] -= step * u[i * k + j];
  }
  return result;
}

TEST(Gptq, IsThePublishedRecursion) {
  const QuantScheme scheme = quant_scheme("int4-g32");
  const int64_t n = 20, k = 96, group = 32;
  const std::vector<float> x = correlated_inputs(300, k, 8), w = random_values(n * k, 9, 0.05f);
  const InputMoments moments = moments_of(x, k);
  for (const bool by_importance : {true, false}) {
    GptqOptions options;
    options.refinements = 0;
    options.by_importance = by_importance;
    const RoundedWeight rounded = gptq(scheme, n, k, w.data(), moments, options);
    const std::vector<float> got = rounded.weight().dequantize();
    const spf_tensor& scale_view = rounded.weight().get()->scales;
    std::vector<double> scales(static_cast<size_t>(n * k / group));
    ASSERT_EQ(spf_decode(scale_view.type, scale_view.data, n * k / group, scales.data()), SPF_OK);
    double mean = 0;
    std::vector<double> h = moments.sums();
    for (size_t i = 0; i < static_cast<size_t>(k); ++i) mean += h[i * static_cast<size_t>(k + 1)] / k;
    for (size_t i = 0; i < static_cast<size_t>(k); ++i) h[i * static_cast<size_t>(k + 1)] += options.damping * mean;
    std::vector<size_t> order(static_cast<size_t>(k));
    for (size_t i = 0; i < order.size(); ++i) order[i] = i;
    if (by_importance)
      std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
        return h[a * static_cast<size_t>(k + 1)] > h[b * static_cast<size_t>(k + 1)];
      });
    size_t same = 0;
    for (int64_t row = 0; row < n; ++row) {
      std::vector<double> values(w.begin() + row * k, w.begin() + (row + 1) * k), of_column;
      for (int64_t c = 0; c < k; ++c) of_column.push_back(scales[static_cast<size_t>(row * (k / group) + c / group)]);
      const std::vector<double> expected = textbook_gptq(h, values, of_column, order);
      for (int64_t c = 0; c < k; ++c)
        same += std::fabs(expected[static_cast<size_t>(c)] - got[static_cast<size_t>(row * k + c)]) < 1e-6 ? 1 : 0;
    }
    // A value that lies between two codes to the last bit may fall either way, and takes the rest of its row with it.
    EXPECT_GE(same, static_cast<size_t>(n * k) * 99 / 100) << "by importance: " << by_importance;
  }
}

// Of all codes that a small row can have, under the scale that was chosen.
TEST(Gptq, ComesNearTheBestOfAll) {
  const QuantScheme scheme = quant_scheme("int4-channel");
  const int64_t n = 12, k = 4;
  const std::vector<float> x = correlated_inputs(100, k, 12), w = random_values(n * k, 13, 0.05f);
  const InputMoments moments = moments_of(x, k);
  const RoundedWeight rounded = gptq(scheme, n, k, w.data(), moments, {});
  const std::vector<float> got = rounded.weight().dequantize();
  std::vector<double> scales(static_cast<size_t>(n));
  ASSERT_EQ(spf_decode(rounded.weight().get()->scales.type, rounded.weight().get()->scales.data, n, scales.data()),
            SPF_OK);
  double best_of_all = 0;
  for (int64_t row = 0; row < n; ++row) {
    double best = 1e300;
    for (int codes = 0; codes < 65536; ++codes) {
      std::vector<float> r(static_cast<size_t>(k));
      for (int c = 0; c < k; ++c)
        r[static_cast<size_t>(c)] =
            static_cast<float>((((codes >> (4 * c)) & 15) - 8) * scales[static_cast<size_t>(row)]);
      best = std::min(best, output_error(moments, 1, w.data() + row * k, r.data()));
    }
    best_of_all += best;
  }
  const double mine = output_error(moments, n, w.data(), got.data());
  EXPECT_GE(mine, best_of_all * 0.999);
  EXPECT_LE(mine, best_of_all * 1.6);
}

TEST(Gptq, KeepsWhatTheGridCanSay) {
  const QuantScheme scheme = quant_scheme("int4-g32");
  const int64_t n = 5, k = 64;
  std::vector<float> w(static_cast<size_t>(n * k));
  for (size_t i = 0; i < w.size(); ++i) w[i] = 0.25f * static_cast<float>(static_cast<int>(i * 7 % 15) - 7);
  EXPECT_EQ(gptq(scheme, n, k, w.data(), moments_of(correlated_inputs(90, k, 4), k), {}).weight().dequantize(), w);
}

TEST(Gptq, InputsOfZeroAndRefusals) {
  const QuantScheme scheme = quant_scheme("int4-g32");
  const int64_t n = 3, k = 64;
  const std::vector<float> w = random_values(n * k, 2);
  const InputMoments nothing(k);
  for (const float v : gptq(scheme, n, k, w.data(), nothing, {}).weight().dequantize()) EXPECT_TRUE(std::isfinite(v));
  std::vector<float> bad(k, 1.0f);
  bad[5] = INFINITY;
  EXPECT_EQ(refusal([&] { gptq(scheme, n, k, w.data(), moments_of(bad, k), {}); }).status(), SPF_INVALID_ARGUMENT);
  EXPECT_EQ(refusal([&] { gptq(scheme, n, 32, w.data(), nothing, {}); }).value(), "64 columns");
}

TEST(InputScales, HelpWhereFewChannelsAreLoud) {
  const QuantScheme scheme = quant_scheme("int4-g128");
  const int64_t n = 64, k = 128;
  std::vector<float> x = random_values(400 * k, 1);
  for (size_t i = 0; i < x.size(); ++i)
    if (i % static_cast<size_t>(k) % 32 == 7) x[i] *= 30;
  const std::vector<float> w = random_values(n * k, 2, 0.05f);
  const InputMoments moments = moments_of(x, k);
  const Reader reader{n, w.data()};
  const auto scales = search_input_scales(scheme, std::span(&reader, 1), moments);
  ASSERT_TRUE(scales.has_value());
  EXPECT_GT((*scales)[7], (*scales)[8] * 1.5f);
  // (W S) rounded, on x / S, by hand.
  std::vector<float> scaled = w;
  scale_columns(scaled, *scales);
  std::vector<float> rounded = QuantizedWeight::quantize(scheme, n, k, scaled.data()).dequantize();
  std::vector<float> divided = x;
  for (size_t i = 0; i < x.size(); ++i) divided[i] /= (*scales)[i % static_cast<size_t>(k)];
  const double with = error_by_hand(divided, scaled, rounded, k);
  const double without = error_by_hand(x, w, QuantizedWeight::quantize(scheme, n, k, w.data()).dequantize(), k);
  EXPECT_LT(with, 0.8 * without);
  EXPECT_NEAR(output_error(moments.divided_by(*scales), n, scaled.data(), rounded.data()), with, 1e-4 * with);

  const InputMoments silent(k);
  EXPECT_FALSE(search_input_scales(scheme, std::span(&reader, 1), silent).has_value());
}

TEST(InputScales, ShareWhatMustBeShared) {
  const int64_t n = 64, k = 128;
  std::vector<float> x = random_values(400 * k, 1);
  for (size_t i = 0; i < x.size(); ++i)
    if (i % 32 == 7) x[i] *= i % 128 == 7 ? 40.0f : 30.0f;
  const std::vector<float> w = random_values(n * k, 2, 0.05f);
  ChannelSharing sharing;
  sharing.count = 64;
  for (int64_t c = 0; c < k; ++c) sharing.number.push_back(c % 64);
  const Reader reader{n, w.data()};
  const auto scales = search_input_scales(quant_scheme("int4-g128"), std::span(&reader, 1), moments_of(x, k), sharing);
  ASSERT_TRUE(scales.has_value());
  for (size_t c = 0; c < 64; ++c) EXPECT_EQ((*scales)[c], (*scales)[c + 64]);
}

} // namespace
} // namespace model_test
