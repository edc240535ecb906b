#include "model/input_scales.hpp"

#include <algorithm>
#include <cmath>

namespace spearfish::model {
namespace {

constexpr int64_t kMaxRows = 512; // of a weight that take part in the search
constexpr int kPowers = 10;       // 0.1, 0.2, ... 1
constexpr double kWorth = 0.97;   // of the error without scales that one with scales must stay below

// A weight's rows for the search, evenly spaced.
std::vector<float> sample(const Reader& reader, int64_t k) {
  const int64_t rows = std::min(reader.n, kMaxRows);
  std::vector<float> w;
  w.reserve(static_cast<size_t>(rows * k));
  for (int64_t r = 0; r < rows; ++r) {
    const float* row = reader.w + r * reader.n / rows * k;
    w.insert(w.end(), row, row + k);
  }
  return w;
}

std::vector<float> scales_of(const InputMoments& moments, const ChannelSharing& sharing, double power) {
  const auto k = static_cast<size_t>(moments.k());
  std::vector<double> magnitude = moments.magnitudes();
  if (!sharing.number.empty()) {
    std::vector<double> sums(static_cast<size_t>(sharing.count), 0.0);
    for (size_t c = 0; c < k; ++c) sums[static_cast<size_t>(sharing.number[c])] += magnitude[c];
    for (size_t c = 0; c < k; ++c) magnitude[c] = sums[static_cast<size_t>(sharing.number[c])];
  }
  double largest = 0;
  for (const double m : magnitude) largest = std::max(largest, m);
  std::vector<double> logs(k);
  double mean = 0;
  for (size_t c = 0; c < k; ++c) {
    logs[c] = power * std::log(std::max(magnitude[c], largest * 1e-4)); // channels that never speak stay harmless
    mean += logs[c] / static_cast<double>(k);
  }
  std::vector<float> scales(k);
  for (size_t c = 0; c < k; ++c) scales[c] = static_cast<float>(std::exp(logs[c] - mean));
  return scales;
}

} // namespace

void scale_columns(std::vector<float>& w, std::span<const float> scales) {
  for (size_t i = 0; i < w.size(); ++i) w[i] *= scales[i % scales.size()];
}

void unscale_rows(std::vector<float>& w, std::span<const float> scales) {
  const size_t k = w.size() / scales.size();
  for (size_t i = 0; i < w.size(); ++i) w[i] /= scales[i / k];
}

std::optional<std::vector<float>> search_input_scales(const QuantScheme& scheme, std::span<const Reader> readers,
                                                      const InputMoments& moments, const ChannelSharing& sharing) {
  const int64_t k = moments.k();
  if (!(*std::max_element(moments.magnitudes().begin(), moments.magnitudes().end()) > 0)) return std::nullopt;
  std::vector<std::vector<float>> samples;
  for (const Reader& reader : readers) samples.push_back(sample(reader, k));
  // Of all readers, rounded by `round` with their columns scaled.
  const auto error_with = [&](const std::vector<float>& scales, auto&& round) {
    const InputMoments divided = moments.divided_by(scales);
    double error = 0;
    for (std::vector<float> w : samples) {
      scale_columns(w, scales);
      const auto n = static_cast<int64_t>(w.size()) / k;
      error += output_error(divided, n, w.data(), round(divided, n, w.data()).data());
    }
    return error;
  };
  const auto nearest = [&](const InputMoments&, int64_t n, const float* w) {
    return QuantizedWeight::quantize(scheme, n, k, w).dequantize();
  };
  const std::vector<float> ones(static_cast<size_t>(k), 1.0f);
  double best = error_with(ones, nearest) * kWorth;
  std::optional<std::vector<float>> found;
  for (int p = 1; p <= kPowers; ++p) {
    std::vector<float> scales = scales_of(moments, sharing, p / static_cast<double>(kPowers));
    const double error = error_with(scales, nearest);
    if (error >= best) continue;
    best = error;
    found = std::move(scales);
  }
  if (!found) return found;
  // GPTQ makes good much of what scales would: what counts is what is left after it.
  const auto corrected = [&](const InputMoments& divided, int64_t n, const float* w) {
    return gptq(scheme, n, k, w, divided).weight().dequantize();
  };
  if (error_with(*found, corrected) >= kWorth * error_with(ones, corrected)) found.reset();
  return found;
}

} // namespace spearfish::model
