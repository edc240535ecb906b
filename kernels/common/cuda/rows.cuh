// Row offsets on the device: RowSpace with its divisions turned into multiplications.
#pragma once

#include "kernels/common/rows.hpp"

namespace spf::cuda {

// n / divisor for 0 <= n < 2^31, 2 <= divisor < 2^31: floor(n * ceil(2^(31+b) / divisor) / 2^(31+b)) with b = ceil(log2
// divisor). Exact, because the rounding of the multiplier adds less than n * divisor <= n * 2^b < 2^(31+b).
struct Divisor {
  uint32_t divisor, multiplier, shift;

  explicit Divisor(int64_t d) : divisor(static_cast<uint32_t>(d)) {
    uint32_t bits = 1;
    while ((int64_t{1} << bits) < d) ++bits;
    multiplier = static_cast<uint32_t>(((uint64_t{1} << (31 + bits)) + divisor - 1) / divisor);
    shift = bits - 1;
  }
  __device__ __forceinline__ uint32_t quotient(uint32_t n) const { return __umulhi(n, multiplier) >> shift; }
};

// Up to two leading dimensions after merging, up to 2^31 - 2 rows; no branch and no loop, because a kernel of one
// microsecond spends a good part of it before its first load. One dimension, and no row at all, is an inner one that
// never ends.
template <int N>
struct DeviceRows {
  int64_t inner_stride[N] = {};
  int64_t outer_stride[N] = {};
  Divisor inner;
  uint32_t rows;

  static constexpr int64_t kEndless = 0x7fffffff;
  static bool fits(const RowSpace<N>& space) { return space.dims <= 2 && space.rows < kEndless; }

  explicit DeviceRows(const RowSpace<N>& space)
      : inner(space.dims == 2 && space.rows > 0 ? space.extent[1] : kEndless), rows(static_cast<uint32_t>(space.rows)) {
    for (int n = 0; n < N && space.dims > 0; ++n) {
      inner_stride[n] = space.stride[n][space.dims - 1];
      outer_stride[n] = space.stride[n][0];
    }
  }

  // Element offset of a row in operand n.
  __device__ __forceinline__ int64_t offset(int n, uint32_t row) const {
    const uint32_t outer = inner.quotient(row);
    return outer * outer_stride[n] + (row - outer * inner.divisor) * inner_stride[n];
  }
};

} // namespace spf::cuda
