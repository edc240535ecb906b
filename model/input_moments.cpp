#include "model/input_moments.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "model/parallel.hpp"

namespace spearfish::model {

void InputMoments::add(const float* x, int64_t rows, int64_t stride) {
  constexpr int64_t kChunk = 128, kTile = 64; // rows whose products are summed in f32 before they go into f64; of H
  const int64_t tiles = (k_ + kTile - 1) / kTile;
  for (int64_t at = 0; at < rows; at += kChunk) {
    const int64_t count = std::min(kChunk, rows - at);
    parallel_for(tiles * (tiles + 1) / 2, [&](int64_t index) {
      int64_t ti = 0;
      while ((ti + 1) * (ti + 2) / 2 <= index) ++ti;
      const int64_t tj = index - ti * (ti + 1) / 2;
      float sums[kTile][kTile] = {};
      const int64_t mi = std::min(kTile, k_ - ti * kTile), mj = std::min(kTile, k_ - tj * kTile);
      int64_t t = 0;
      for (; t + 4 <= count; t += 4) { // four products for each load and store of a sum
        const float *a = x + (at + t) * stride + ti * kTile, *b = x + (at + t) * stride + tj * kTile;
        for (int64_t i = 0; i < mi; ++i) {
          const float a0 = a[i], a1 = a[i + stride], a2 = a[i + 2 * stride], a3 = a[i + 3 * stride];
          for (int64_t j = 0; j < mj; ++j)
            sums[i][j] += (a0 * b[j] + a1 * b[j + stride]) + (a2 * b[j + 2 * stride] + a3 * b[j + 3 * stride]);
        }
      }
      for (; t < count; ++t) {
        const float *a = x + (at + t) * stride + ti * kTile, *b = x + (at + t) * stride + tj * kTile;
        for (int64_t i = 0; i < mi; ++i)
          for (int64_t j = 0; j < mj; ++j) sums[i][j] += a[i] * b[j];
      }
      for (int64_t i = 0; i < mi; ++i)
        for (int64_t j = 0; j < mj; ++j) {
          const int64_t row = ti * kTile + i, column = tj * kTile + j;
          const double sum = sums[i][j];
          sums_[static_cast<size_t>(row * k_ + column)] += sum;
          if (ti != tj) sums_[static_cast<size_t>(column * k_ + row)] += sum;
        }
    });
  }
  for (int64_t t = 0; t < rows; ++t)
    for (int64_t i = 0; i < k_; ++i) magnitudes_[static_cast<size_t>(i)] += std::fabs(x[t * stride + i]);
  rows_ += rows;
}

InputMoments InputMoments::divided_by(std::span<const float> scales) const {
  InputMoments result = *this;
  for (int64_t i = 0; i < k_; ++i) {
    const double si = scales[static_cast<size_t>(i)];
    result.magnitudes_[static_cast<size_t>(i)] /= si;
    for (int64_t j = 0; j < k_; ++j)
      result.sums_[static_cast<size_t>(i * k_ + j)] /= si * static_cast<double>(scales[static_cast<size_t>(j)]);
  }
  return result;
}

double output_error(const InputMoments& moments, int64_t n, const float* w, const float* rounded) {
  const int64_t k = moments.k();
  std::vector<double> of_row(static_cast<size_t>(n));
  parallel_for(n, [&](int64_t row) {
    std::vector<double> e(static_cast<size_t>(k));
    for (int64_t c = 0; c < k; ++c)
      e[static_cast<size_t>(c)] = static_cast<double>(w[row * k + c]) - static_cast<double>(rounded[row * k + c]);
    double sum = 0;
    for (int64_t i = 0; i < k; ++i) {
      const double* h = moments.sums().data() + i * k;
      double inner = 0;
      for (int64_t j = 0; j < k; ++j) inner += h[j] * e[static_cast<size_t>(j)];
      sum += inner * e[static_cast<size_t>(i)];
    }
    of_row[static_cast<size_t>(row)] = sum;
  });
  return std::accumulate(of_row.begin(), of_row.end(), 0.0);
}

} // namespace spearfish::model
