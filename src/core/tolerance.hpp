// How far an implementation may be from the reference: one rule for every op, from types and reduction length alone.
//
// The reference sums in fp64 and rounds where the op's definition rounds. An implementation sums in fp32 in an order of
// its own, so it differs in two ways:
//   - its exact value is off by a few fp32 roundings, growing with the length of the sum: `relative` and `absolute`;
//   - where that exact value lies next to a rounding boundary of the output (or of an intermediate that the definition
//     rounds), the rounding flips. One flip moves the result by an ulp; a flip before a cancellation moves it by an ulp
//     of what was cancelled. Flips are rare, so they get a wider bound, and only a small fraction of elements may use
//     it.
// `scale` is the magnitude that absolute errors are measured in: for row-wise ops the largest value of the row, for a
// matrix product |x| |w|, the product of the norms of the two vectors.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "core/scalar.hpp"

namespace spf {

struct Tolerance {
  double relative = 0;      // of the reference's magnitude
  double absolute = 0;      // of `scale`
  double flip_absolute = 0; // of `scale`: what a flipped rounding may do
  double flip_fraction = 0; // of the elements; at least one may flip
  double floor = 0;         // below this everything is equal: denormals may be flushed

  double limit(double reference, double scale) const {
    return relative * std::abs(reference) + absolute * scale + floor;
  }
  double flip_limit(double reference, double scale) const { return limit(reference, scale) + flip_absolute * scale; }
};

// Unit roundoff of a floating-point type: half the distance from 1 to the next number.
inline double unit_roundoff(spf_scalar_type type) { return std::ldexp(1.0, -scalar_info(type).mantissa_bits - 1); }

// What a kernel does to 16- and 32-bit activations before it multiplies.
enum class ActivationRounding : uint8_t {
  kNone, // nothing that 16 bits do not hold
  kBf16, // rounded to bf16
  kInt8, // quantized to 8 bits with one scale per token
};

// Elementwise ops and reductions over rows of k elements, output type `out`.
inline Tolerance row_tolerance(spf_scalar_type out, int64_t k) {
  const double fp32 = (32 + 2 * std::sqrt(static_cast<double>(std::max<int64_t>(k, 1)))) * unit_roundoff(SPF_F32);
  const double rounding = out == SPF_F32 ? 0 : unit_roundoff(out);
  Tolerance t;
  t.relative = fp32 + 4 * rounding;
  t.absolute = fp32;
  t.flip_absolute = 16 * rounding;
  t.flip_fraction = 1.0 / 256;
  const ScalarInfo& info = scalar_info(out);
  t.floor = std::max(2 * std::ldexp(1.0, 1 - info.exponent_bias - info.mantissa_bits), std::ldexp(1.0, -126));
  return t;
}

// A weighted mean of up to k rows whose weights are exponentials, or the logarithm of the weights' sum. An error of an
// exponent, a few fp32 roundings of numbers up to some tens, is a relative error of a weight; a kernel for 16-bit types
// may round the weights to 16 bits besides. Both errors have no common sign, as the rows have not, so they are measured
// in the largest result of a row. A mean of many rows can be tiny, and what is left of them is noise.
inline Tolerance mean_tolerance(spf_scalar_type out, int64_t k) {
  Tolerance t = row_tolerance(out, k);
  t.absolute = 16 * t.absolute + (out == SPF_F32 ? 0 : 4 * unit_roundoff(out));
  t.relative += t.absolute;
  t.floor = std::max(t.floor, std::ldexp(1.0, out == SPF_F32 ? -17 : -20));
  return t;
}

// Scales in f32, quotients of the largest of numbers that an f32 sum over k elements decides and that are rounded to
// `type`. A flipped rounding of the largest number moves its scale, alone or with the next rounding.
inline Tolerance scale_tolerance(spf_scalar_type type, int64_t k) {
  Tolerance t = row_tolerance(SPF_F32, k);
  t.flip_absolute = type == SPF_F32 ? 0 : 4 * unit_roundoff(type);
  t.flip_fraction = 1.0 / 64;
  return t;
}

// A product of K terms whose magnitudes have the 2-norms that `scale` multiplies. Weights decode exactly,
// unless `weights` names the type that a kernel rounds scaled weights to. Activations
// count as 16-bit numbers whatever type they come in: a kernel may carry them as 16-bit fixed point per run of columns,
// which is off by at most half a step of amax / 32767 <= |x| / 32767 in every element. An 8-bit activation is off by
// half a step of amax / 127. The sum sees sqrt(K) of that in the worst case and far less in any real one, for the
// errors have no common sign.
inline Tolerance product_tolerance(spf_scalar_type out, int64_t k, ActivationRounding activation,
                                   spf_scalar_type weights = SPF_F32) {
  Tolerance t = row_tolerance(out, k);
  t.absolute += 1.0 / 32767;
  if (activation == ActivationRounding::kBf16) t.absolute += 2 * unit_roundoff(SPF_BF16);
  if (activation == ActivationRounding::kInt8) t.absolute += 4.0 / 254;
  // Every scaled weight off by at most one roundoff of its size, independently: the sum is off by a standard deviation
  // below roundoff / sqrt(3) * |x w| of the single terms, which is |x| |w| / sqrt(K) for terms of like size.
  if (weights != SPF_F32)
    t.absolute += 4 * unit_roundoff(weights) / std::sqrt(static_cast<double>(std::max<int64_t>(k, 1)));
  t.flip_absolute += t.absolute;
  return t;
}

// Products of e4m3 numbers may be summed in tensor cores, 32 (of sparse weights 64) at a time, in accumulators that
// keep 13 bits below the largest term of a step, M, and cut the rest off every term, towards zero. A step of 32
// products and the sum so far thus loses up to 33 * 2^-13 M; in the mean 2^-14 of the sum, always of its sign, and of
// 32 products of either sign sqrt(32 / 3) * 2^-13 M, so K / 32 steps lose 2^-14 |sum| K / 32 + 3.3 * 2^-13 M sqrt(K /
// 32).
// - Terms of like size: |sum| is about |x| |w| / sqrt(K) and M a few |x| |w| / K, so the first part counts, sqrt(K) /
// 32 *
//   2^-14 |x| |w|; four times that are allowed.
// - A few large terms: they are M, a share of |x| |w| that falls with sqrt(K): 2/3 at K = 128 are allowed, 4 * 2^-13
//   |x| |w| for its four steps. Found on H200, the widest of 20000 checks: 1.5 * 2^-13 at K = 128, 0.9 * 2^-13 at K =
//   384.
inline void widen_by_short_sums(Tolerance& t, int64_t k) {
  const double steps = static_cast<double>(std::max<int64_t>(k, 32)) / 32;
  t.absolute += std::ldexp(2 * std::sqrt(steps / 32) + 4 * std::min(1.0, 2 / std::sqrt(steps)), -13);
  t.flip_absolute += t.absolute;
}

} // namespace spf
