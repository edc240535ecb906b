// What the inputs of a linear layer are like, as far as the error of its outputs goes.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace spearfish::model {

// Second moments of a layer's inputs. The same rows in the same order give the same bits.
class InputMoments {
 public:
  explicit InputMoments(int64_t k) : k_(k), sums_(static_cast<size_t>(k * k)), magnitudes_(static_cast<size_t>(k)) {}
  // x: [rows, K], f32, rows `stride` elements apart.
  void add(const float* x, int64_t rows, int64_t stride);

  int64_t k() const noexcept { return k_; }
  int64_t rows() const noexcept { return rows_; }
  const std::vector<double>& sums() const noexcept { return sums_; }             // H, [K,K], symmetric
  const std::vector<double>& magnitudes() const noexcept { return magnitudes_; } // sum over rows of |x|, [K]
  // The moments of x / scales.
  InputMoments divided_by(std::span<const float> scales) const;

 private:
  int64_t k_, rows_ = 0;
  std::vector<double> sums_, magnitudes_;
};

// Sum over rows of e H e^T, e = w - rounded; both [N,K] row-major.
double output_error(const InputMoments& moments, int64_t n, const float* w, const float* rounded);

} // namespace spearfish::model
