// 8-bit floating-point codes in f32 lanes. Internal like lanes.hpp, and for the same reason.
#pragma once

#include "kernels/common/simd/lanes.hpp"

namespace spf::simd {
namespace {

// How codes of a type lie in f32: a number's bits above `shift` are its code, but for the bias of the exponent.
template <spf_scalar_type C>
struct Fp8Code;
template <>
struct Fp8Code<SPF_E4M3> {
  static constexpr int kShift = 20;
  static constexpr uint32_t kBias = (127 - 7) << 3, kNan = 0x7f;
  static constexpr float kLargest = 448, kSmallestNormal = 0x1p-6f;
  static constexpr float kGrid = 0x1p14f; // f32 numbers from here on are a subnormal's unit apart
};
template <>
struct Fp8Code<SPF_E5M2> {
  static constexpr int kShift = 21;
  static constexpr uint32_t kBias = (127 - 15) << 2, kNan = 0x7f;
  static constexpr float kLargest = 57344, kSmallestNormal = 0x1p-14f;
  static constexpr float kGrid = 0x1p7f;
};

template <spf_scalar_type C, int kLanes>
struct Fp8Lanes {
  using K = Fp8Code<C>;
  using L = Lanes<kLanes>;
  using F = typename L::F;
  using U = typename L::U;

  // Nearest codes, ties to even, saturated; in the low byte of each lane.
  static U encode(F v) {
    const U sign = (L::bits(v) >> 24) & 0x80u;
    const F size = L::from_bits(L::bits(v) & 0x7fffffffu), largest = L::set(K::kLargest);
    const F clamped = size > largest ? largest : size;
    const U b = L::bits(clamped);
    const U normal = ((b + ((1u << (K::kShift - 1)) - 1) + ((b >> K::kShift) & 1u)) >> K::kShift) - K::kBias;
    const U subnormal = L::bits(clamped + K::kGrid) - L::bits(L::set(K::kGrid));
    const U code = clamped < L::set(K::kSmallestNormal) ? subnormal : normal;
    const U nan = U{} + K::kNan;
    return sign | (v == v ? code : nan);
  }

  static F decode(U code) {
    const U sign = (code & 0x80u) << 24, size = code & 0x7fu;
    // Exact, for subnormals too: the exponent's bias as a product.
    const F value = L::from_bits(size << K::kShift) * (C == SPF_E4M3 ? 0x1p120f : 0x1p112f);
    const U nan = U{} + 0x7fc00000u, infinity = U{} + 0x7f800000u;
    U bits = L::bits(value);
    if constexpr (C == SPF_E4M3) {
      bits = size == U{} + 0x7fu ? nan : bits;
    } else {
      bits = size > U{} + 0x7cu ? nan : bits;
      bits = size == U{} + 0x7cu ? infinity : bits;
    }
    return L::from_bits(sign | bits);
  }
};

} // namespace
} // namespace spf::simd
