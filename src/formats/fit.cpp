#include "formats/fit.hpp"

#include <algorithm>
#include <cmath>

namespace spf::formats {
namespace {

constexpr int kMaxCount = 32;

double squared_error(const float* x, const int* q, int count, double scale, double minimum) {
  double sum = 0;
  for (int i = 0; i < count; ++i) {
    const double e = x[i] - (scale * q[i] - minimum);
    sum += e * e;
  }
  return sum;
}

} // namespace

int nearest_code(float x, float scale, int lo, int hi) {
  const double ratio = scale == 0.0f ? 0.0 : static_cast<double>(x) / static_cast<double>(scale);
  const double limited = std::clamp(ratio, static_cast<double>(lo), static_cast<double>(hi));
  return static_cast<int>(decode(SPF_I32, encode(SPF_I32, limited)));
}

float fit_symmetric(const float* x, int count, int half) {
  float peak = 0;
  for (int i = 0; i < count; ++i)
    if (std::fabs(x[i]) > std::fabs(peak)) peak = x[i];
  if (peak == 0.0f) return 0.0f;
  // Start from scales that put the peak a little inside, on, or a little outside of the lowest code; the best scale for
  // the codes that such a start gives is sum(x q) / sum(q q).
  float best = 0;
  double best_error = -1;
  for (int step = -9; step <= 9; ++step) {
    const float start = peak / -(static_cast<float>(half) + 0.1f * static_cast<float>(step));
    int q[kMaxCount];
    double xq = 0, qq = 0;
    for (int i = 0; i < count; ++i) {
      q[i] = nearest_code(x[i], start, -half, half - 1);
      xq += static_cast<double>(x[i]) * q[i];
      qq += static_cast<double>(q[i]) * q[i];
    }
    if (qq == 0) continue;
    const double scale = xq / qq;
    const double error = squared_error(x, q, count, scale, 0);
    if (best_error < 0 || error < best_error) {
      best_error = error;
      best = static_cast<float>(scale);
    }
  }
  return best;
}

ScaleMinimum fit_affine(const float* x, int count, int top) {
  float lo = 0, hi = x[0];
  for (int i = 0; i < count; ++i) {
    lo = std::min(lo, x[i]);
    hi = std::max(hi, x[i]);
  }
  if (hi <= lo) return {0.0f, -lo};
  ScaleMinimum best = {(hi - lo) / static_cast<float>(top), -lo};
  double best_error = -1;
  for (int step = -1; step <= 20; ++step) {
    // step -1 is the full range itself; the others shrink or stretch it and solve for scale and minimum by least
    // squares.
    const float reach = static_cast<float>(top) + (step < 0 ? 0.0f : -1.0f + 0.1f * static_cast<float>(step));
    const float start = (hi - lo) / reach;
    int q[kMaxCount];
    double sq = 0, sqq = 0, sx = 0, sxq = 0;
    for (int i = 0; i < count; ++i) {
      q[i] = nearest_code(x[i] - lo, start, 0, top);
      sq += q[i];
      sqq += static_cast<double>(q[i]) * q[i];
      sx += x[i];
      sxq += static_cast<double>(x[i]) * q[i];
    }
    double scale = best.scale, minimum = best.minimum;
    if (step >= 0) {
      const double determinant = sqq * count - sq * sq;
      if (determinant <= 0) continue;
      scale = (sxq * count - sx * sq) / determinant;
      minimum = (sq * sxq - sqq * sx) / determinant;
      if (minimum < 0) {
        minimum = 0;
        scale = sxq / sqq;
      }
      if (scale <= 0) continue;
    }
    const double error = squared_error(x, q, count, scale, minimum);
    if (best_error < 0 || error < best_error) {
      best_error = error;
      best = {static_cast<float>(scale), static_cast<float>(minimum)};
    }
  }
  return best;
}

} // namespace spf::formats
