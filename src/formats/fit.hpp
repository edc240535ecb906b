// Choosing scales: how a run of values becomes integer codes with one scale, or one scale and one minimum, at the least
// squared error among a fixed list of candidates. Deterministic: fixed candidates, fixed order, first best wins.
#pragma once

#include "core/scalar.hpp"

namespace spf::formats {

// The nearest f16, saturated to its finite range.
inline float round_to_f16(float value) {
  const float limited = value > 65504.0f ? 65504.0f : value < -65504.0f ? -65504.0f : value;
  return f16_to_f32(f32_to_f16(limited));
}

// x / scale, rounded to nearest even and limited to [lo, hi]; 0 limited to that range for a scale of 0.
int nearest_code(float x, float scale, int lo, int hi);

// Symmetric: x ~ scale * q, q in [-half, half - 1]. Returns the scale (its sign is free). 0 if all values are 0.
float fit_symmetric(const float* x, int count, int half);

// Affine with a floor at or below 0: x ~ scale * q - minimum, q in [0, top], minimum >= 0.
struct ScaleMinimum {
  float scale, minimum;
};
ScaleMinimum fit_affine(const float* x, int count, int top);

} // namespace spf::formats
