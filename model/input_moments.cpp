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
  constexpr int64_t kRows = 16; // of W at a time: what one load of H serves
  const int64_t k = moments.k();
  std::vector<double> of_part(static_cast<size_t>((n + kRows - 1) / kRows));
  parallel_for(static_cast<int64_t>(of_part.size()), [&](int64_t part) {
    const int64_t first = part * kRows, count = std::min(kRows, n - first);
    std::vector<double> errors(static_cast<size_t>(k * kRows)); // [K][kRows]
    for (int64_t r = 0; r < count; ++r)
      for (int64_t c = 0; c < k; ++c)
        errors[static_cast<size_t>(c * kRows + r)] =
            static_cast<double>(w[(first + r) * k + c]) - static_cast<double>(rounded[(first + r) * k + c]);
    double sums[kRows] = {};
    for (int64_t i = 0; i < k; ++i) {
      // H is symmetric: what stands left of the diagonal counts twice.
      const double *h = moments.sums().data() + i * k, *e = errors.data(), *at = e + i * kRows;
      double left[kRows] = {};
      for (int64_t j = 0; j < i; ++j)
        for (int64_t r = 0; r < kRows; ++r) left[r] += h[j] * e[j * kRows + r];
      for (int64_t r = 0; r < kRows; ++r) sums[r] += at[r] * (2 * left[r] + h[i] * at[r]);
    }
    of_part[static_cast<size_t>(part)] = std::accumulate(sums, sums + kRows, 0.0);
  });
  return std::accumulate(of_part.begin(), of_part.end(), 0.0);
}

} // namespace spearfish::model
