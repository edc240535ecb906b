// Elements of a row in vectors of kLanes floats, whole vectors first. Internal like lanes.hpp, and for the same reason.
#pragma once

#include "kernels/common/simd/lanes.hpp"

namespace spf::simd {
namespace {

template <spf_scalar_type T, int kLanes>
struct Elements {
  using L = Lanes<kLanes>;
  using F = typename L::F;
  static constexpr int64_t kBytes = T == SPF_F32 ? 4 : 2;

  // body(first element, how many) over `count` elements.
  template <class Body>
  static void each(int64_t count, Body&& body) {
    int64_t i = 0;
    for (; i + kLanes <= count; i += kLanes) body(i, int64_t{kLanes});
    if (i < count) body(i, count - i);
  }

  static F read(const void* data, int64_t i, int64_t n) {
    return L::template load<T>(static_cast<const char*>(data) + i * kBytes, n);
  }
  static void write(void* data, int64_t i, F v, int64_t n) {
    L::template store<T>(static_cast<char*>(data) + i * kBytes, v, n);
  }
};

} // namespace
} // namespace spf::simd
