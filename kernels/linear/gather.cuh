// Rows of x as a dense matrix, for kernels that cannot read them where they lie or in the order in which they lie.
#pragma once

#include "kernels/common/cuda/launch.cuh"
#include "kernels/common/rows.hpp"

namespace spf::linear {

template <class Element>
struct Gather {
  const Element* x;
  Element* to; // [rows][pitch]; columns k and beyond become 0
  RowSpace<1> rows;
  const int32_t* column; // [k]: column i comes from column[i]; nullptr: from i
  int32_t k, pitch;
};

template <class Element>
__global__ void __launch_bounds__(256) gather(const __grid_constant__ Gather<Element> a) {
  spf::cuda::launch_dependents();
  spf::cuda::wait_for_primary();
  int64_t from[1];
  a.rows.offsets(blockIdx.x, from);
  Element* to = a.to + static_cast<int64_t>(blockIdx.x) * a.pitch;
  for (int i = threadIdx.x; i < a.pitch; i += 256)
    to[i] = i < a.k ? a.x[from[0] + (a.column != nullptr ? a.column[i] : i)] : Element{0};
}

// Rows of k elements to `to`, `pitch` elements apart.
template <class Element>
spf_status launch_gather(const char* op, const LaunchContext& ctx, const void* x, const RowSpace<1>& rows, void* to,
                         int64_t k, int64_t pitch, const int32_t* column = nullptr) {
  const Gather<Element> g = {static_cast<const Element*>(x), static_cast<Element*>(to),  rows, column,
                             static_cast<int32_t>(k),        static_cast<int32_t>(pitch)};
  return cuda::launch(op, ctx, gather<Element>, rows.rows, 256, 0, g);
}

} // namespace spf::linear
