// Rows: an operand seen as `rows` rows whose last dimension is contiguous, whatever its leading dimensions and strides.
// Shared by host and device code of row-wise kernels.
#pragma once

#include <cstdint>

#include "spearfish/tensor.h"

#ifdef __CUDACC__
#define SPF_HOST_DEVICE __host__ __device__ __forceinline__
#else
#define SPF_HOST_DEVICE inline
#endif

namespace spf {

inline constexpr int kMaxLeading = SPF_MAX_RANK - 1;

// The common leading shape of N operands, with each operand's strides in elements. Dimensions that every operand walks
// without a gap are merged, so a contiguous or row-padded tensor of any rank has dims <= 1.
template <int N>
struct RowSpace {
  int64_t rows = 1;
  int32_t dims = 0;
  int64_t extent[kMaxLeading] = {};
  int64_t stride[N][kMaxLeading] = {};

  // Element offset of the first element of a row in each operand.
  SPF_HOST_DEVICE void offsets(int64_t row, int64_t (&offset)[N]) const {
    for (int n = 0; n < N; ++n) offset[n] = 0;
    if (dims == 1) {
      for (int n = 0; n < N; ++n) offset[n] = row * stride[n][0];
      return;
    }
    for (int d = dims - 1; d >= 0; --d) {
      const int64_t outer = row / extent[d];
      const int64_t index = row - outer * extent[d];
      for (int n = 0; n < N; ++n) offset[n] += index * stride[n][d];
      row = outer;
    }
  }
};

// All operands have the same rank >= 1 and the same leading extents; the last dimension is not looked at.
template <int N>
RowSpace<N> row_space(const spf_tensor* const (&operands)[N]) {
  RowSpace<N> space;
  const spf_tensor& first = *operands[0];
  for (int d = 0; d + 1 < first.rank; ++d) {
    const int64_t extent = first.shape[d];
    space.rows *= extent;
    if (extent == 1) continue;
    const int last = space.dims - 1;
    bool merge = last >= 0;
    for (int n = 0; n < N && merge; ++n) merge = space.stride[n][last] == operands[n]->stride[d] * extent;
    const int slot = merge ? last : space.dims++;
    space.extent[slot] = merge ? space.extent[slot] * extent : extent;
    for (int n = 0; n < N; ++n) space.stride[n][slot] = operands[n]->stride[d];
  }
  return space;
}

// Of an operand without a last dimension: its elements are rows of one.
inline RowSpace<1> single_space(spf_tensor t) {
  t.shape[t.rank] = 1;
  t.stride[t.rank++] = 1;
  return row_space({&t});
}

} // namespace spf
