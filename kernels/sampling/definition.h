// The arithmetic of sample, in integers: what makes one (logits, seed, position) give one id on every device, whatever
// the order in which a kernel adds. Host and device code include it; reference.cpp puts the pieces together.
//
//   distance   how far a logit lies below its row's largest, in octaves of probability after the temperature
//              (log2 units), truncated to a multiple of 2^-24: an integer. Logits of one distance are one to every
//              filter.
//   mass       the probability relative to the largest, 2^-distance, as an integer below or at 2^40. From 40 octaves on
//              it is 0: such a token is never drawn. Sums of masses are exact in 64 bits for rows below 2^23 entries.
//   random     64 bits of Philox4x32-10 (Salmon, Moraes, Dror, Shaw: Parallel Random Numbers, as Easy as 1, 2, 3), its
//              key the seed, its counter the position.
#pragma once

#include <cstdint>

#include "kernels/common/rows.hpp"
#include "spearfish/ops/sampling.h"

namespace spf::sampling {

// --- integers ------------------------------------------------------------------------------------------------------

SPF_HOST_DEVICE uint32_t high_product(uint32_t a, uint32_t b) {
#ifdef __CUDA_ARCH__
  return __umulhi(a, b);
#else
  return static_cast<uint32_t>(static_cast<uint64_t>(a) * b >> 32);
#endif
}

SPF_HOST_DEVICE uint64_t high_product(uint64_t a, uint64_t b) {
#ifdef __CUDA_ARCH__
  return __umul64hi(a, b);
#else
  const uint64_t a0 = static_cast<uint32_t>(a), a1 = a >> 32, b0 = static_cast<uint32_t>(b), b1 = b >> 32;
  const uint64_t middle = a1 * b0 + (a0 * b0 >> 32), other = a0 * b1 + static_cast<uint32_t>(middle);
  return a1 * b1 + (middle >> 32) + (other >> 32);
#endif
}

// --- distance and mass ---------------------------------------------------------------------------------------------

inline constexpr int kDistanceBits = 24;                        // of the fraction
inline constexpr uint32_t kFarthest = 40u << kDistanceBits;     // mass 0 from here on
inline constexpr uint64_t kLargestMass = uint64_t{1} << 40;     // at distance 0
inline constexpr float kOctave = 0x1.715476p+24f;               // log2(e) in units of distance
inline constexpr int64_t kMostEntries = (int64_t{1} << 23) - 1; // of a row: 2^23 masses fit 64 bits

// scale: kOctave / temperature. best >= logit, neither NaN. Infinities: one equal to best is at 0, others are farthest.
SPF_HOST_DEVICE uint32_t distance(float best, float logit, float scale) {
  if (logit == best) return 0;
  const float far = (best - logit) * scale;
  return far < static_cast<float>(kFarthest) ? static_cast<uint32_t>(far) : kFarthest;
}

// 2^-distance * 2^40. The fraction is a polynomial, least maximum error under the conditions 2^0 = 1 and 2^-1 = 1/2:
// 1.0e-7 of the value, and not increasing anywhere.
SPF_HOST_DEVICE uint64_t mass(uint32_t distance) {
  const uint32_t f = distance << (32 - kDistanceBits);
  uint32_t p = 0x025a8645u - high_product(0x003d94deu, f);
  p = 0x0e275966u - high_product(p, f);
  p = 0x3d7c413cu - high_product(p, f);
  p = 0xb171d93du - high_product(p, f);
  const uint64_t value = static_cast<uint64_t>(0x80000000u - (high_product(p, f) >> 1)) << 9; // in (2^39, 2^40]
  return distance < kFarthest ? value >> (distance >> kDistanceBits) : 0;
}

// --- random bits ---------------------------------------------------------------------------------------------------

SPF_HOST_DEVICE uint64_t random_bits(uint64_t seed, uint64_t position) {
  uint32_t c0 = static_cast<uint32_t>(position), c1 = static_cast<uint32_t>(position >> 32), c2 = 0, c3 = 0;
  uint32_t k0 = static_cast<uint32_t>(seed), k1 = static_cast<uint32_t>(seed >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint32_t h0 = high_product(0xd2511f53u, c0), l0 = 0xd2511f53u * c0;
    const uint32_t h1 = high_product(0xcd9e8d57u, c2), l1 = 0xcd9e8d57u * c2;
    c0 = h1 ^ c1 ^ k0;
    c1 = l1;
    c2 = h0 ^ c3 ^ k1;
    c3 = l0;
    k0 += 0x9e3779b9u;
    k1 += 0xbb67ae85u;
  }
  return static_cast<uint64_t>(c1) << 32 | c0;
}

// --- a row's parameters --------------------------------------------------------------------------------------------

// What the parameters of a row ask for, as the integers that the filters compare.
struct RowRule {
  float scale = 0;                // of distance(); 0 with greedy
  bool greedy = true;             // the largest logit, no draw
  bool refused = false;           // SPF_ROW_PARAMETER
  uint32_t k = 0xffffffffu;       // tokens; all ones: no top-k
  uint64_t p = uint64_t{1} << 32; // of the mass, times 2^32; 2^32: no top-p
  uint64_t least_mass = 1;        // min-p

  SPF_HOST_DEVICE bool limits_count() const { return k != 0xffffffffu; }
  SPF_HOST_DEVICE bool limits_mass() const { return p < uint64_t{1} << 32; }
  // Of `total`, what top-p wants at least: a token stays while the mass before it is below that.
  SPF_HOST_DEVICE uint64_t wanted_mass(uint64_t total) const {
    const uint64_t wanted = high_product(total, p << 32);
    return wanted > 0 ? wanted : 1;
  }
  // The largest distance that min-p keeps; masses fall with distance.
  SPF_HOST_DEVICE uint32_t farthest_of_mass() const {
    uint32_t within = 0, beyond = kFarthest;
    while (beyond - within > 1) {
      const uint32_t middle = within + (beyond - within) / 2;
      (mass(middle) >= least_mass ? within : beyond) = middle;
    }
    return within;
  }
};

SPF_HOST_DEVICE RowRule row_rule(float temperature, int32_t top_k, float top_p, float min_p) {
  RowRule rule;
  rule.refused = !(temperature >= 0) || top_p != top_p || min_p != min_p;
  rule.greedy = !(temperature > 0);
  if (rule.greedy) return rule;
  rule.scale = kOctave / temperature;
  if (top_k > 0) rule.k = static_cast<uint32_t>(top_k);
  if (top_p < 1) rule.p = top_p > 0 ? static_cast<uint64_t>(top_p * 0x1p32f) : 0;
  if (min_p > 0) {
    const float least = (min_p < 1 ? min_p : 1.0f) * 0x1p40f;
    rule.least_mass = static_cast<uint64_t>(least);
    if (static_cast<float>(rule.least_mass) < least) ++rule.least_mass;
  }
  return rule;
}

// The draw: a number in [0, total) whose token is the first at which the running mass passes it.
SPF_HOST_DEVICE uint64_t draw(uint64_t seed, uint64_t position, uint64_t total) {
  return high_product(random_bits(seed, position), total);
}

} // namespace spf::sampling
