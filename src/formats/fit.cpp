#include "formats/fit.hpp"

#include <algorithm>
#include <cmath>

namespace spf::formats {
namespace {

constexpr int kMaxCount = 32;

// Codes of all values for a trial step, as floats: plain arithmetic that the compiler turns into vectors.
void trial_codes(const float* x, int count, float offset, float inverse, float lo, float hi, float* q) {
  constexpr float kRound = 0x1.8p23f; // adding and subtracting it rounds to the nearest integer, ties to even
  for (int i = 0; i < count; ++i) {
    const float limited = std::min(std::max((x[i] - offset) * inverse, lo), hi);
    q[i] = (limited + kRound) - kRound;
  }
}

struct Sums {
  double q = 0, qq = 0, x = 0, xq = 0;
};
Sums sums_of(const float* x, const float* q, int count) {
  Sums s;
  for (int i = 0; i < count; ++i) {
    const double xi = x[i], qi = q[i];
    s.q += qi;
    s.qq += qi * qi;
    s.x += xi;
    s.xq += xi * qi;
  }
  return s;
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
  // Start from steps that put the peak a little inside, on, or a little outside of the lowest code. The best scale for
  // the codes of such a start is sum(x q) / sum(q q), and takes sum(x q)^2 / sum(q q) off the squared error.
  float best = 0;
  double best_gain = -1;
  for (int step = -9; step <= 9; ++step) {
    const float inverse = -(static_cast<float>(half) + 0.1f * static_cast<float>(step)) / peak;
    if (!std::isfinite(inverse)) break;
    float q[kMaxCount];
    trial_codes(x, count, 0.0f, inverse, static_cast<float>(-half), static_cast<float>(half - 1), q);
    const Sums s = sums_of(x, q, count);
    if (s.qq == 0) continue;
    const double gain = s.xq * s.xq / s.qq;
    if (gain <= best_gain) continue;
    best_gain = gain;
    best = static_cast<float>(s.xq / s.qq);
  }
  return best_gain < 0 ? peak / static_cast<float>(-half) : best;
}

ScaleMinimum fit_affine(const float* x, int count, int top) {
  float lo = 0, hi = x[0];
  for (int i = 0; i < count; ++i) {
    lo = std::min(lo, x[i]);
    hi = std::max(hi, x[i]);
  }
  if (hi <= lo) return {0.0f, -lo};
  // Steps that stretch or shrink the range by up to one code, each solved for scale and minimum by least squares; the
  // solution takes scale * sum(x q) - minimum * sum(x) off the squared error.
  ScaleMinimum best = {(hi - lo) / static_cast<float>(top), -lo};
  double best_gain = -1;
  for (int step = 0; step <= 20; ++step) {
    const float inverse = (static_cast<float>(top) - 1.0f + 0.1f * static_cast<float>(step)) / (hi - lo);
    if (!std::isfinite(inverse)) break;
    float q[kMaxCount];
    trial_codes(x, count, lo, inverse, 0.0f, static_cast<float>(top), q);
    const Sums s = sums_of(x, q, count);
    const double determinant = s.qq * count - s.q * s.q;
    if (determinant <= 0) continue;
    double scale = (s.xq * count - s.x * s.q) / determinant;
    double minimum = (s.q * s.xq - s.qq * s.x) / determinant;
    if (minimum < 0) { // not representable: the best line through 0 instead
      minimum = 0;
      scale = s.xq / s.qq;
    }
    const double gain = scale * s.xq - minimum * s.x;
    if (scale <= 0 || gain <= best_gain) continue;
    best_gain = gain;
    best = {static_cast<float>(scale), static_cast<float>(minimum)};
  }
  return best;
}

} // namespace spf::formats
