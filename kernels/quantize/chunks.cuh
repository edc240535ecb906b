// What the kernels of this family share: when rows are whole chunks, gated numbers, and the names that the manifest
// calls ops by.
#pragma once

#include "kernels/common/cuda/launch.cuh"
#include "kernels/common/cuda/math.cuh"
#include "kernels/common/cuda/memory.cuh"
#include "kernels/common/cuda/quantize.cuh"
#include "kernels/common/cuda/reduce.cuh"
#include "kernels/common/cuda/rows.cuh"
#include "kernels/quantize/args.h"

namespace spf::quantize {

using enum QuantOp;

// Every row of x starts on 16 bytes and holds whole chunks; every row of out starts on a chunk's codes.
template <spf_scalar_type T>
bool whole_chunks(const QuantArgs& args) {
  constexpr int64_t kElements = cuda::kChunkElements<T>;
  uintptr_t in = reinterpret_cast<uintptr_t>(args.x) | static_cast<uintptr_t>(args.k * (16 / kElements));
  uintptr_t out = reinterpret_cast<uintptr_t>(args.out);
  for (int d = 0; d < args.space.dims; ++d) {
    in |= static_cast<uintptr_t>(args.space.stride[0][d] * (16 / kElements));
    out |= static_cast<uintptr_t>(args.space.stride[1][d]);
  }
  return in % 16 == 0 && out % kElements == 0;
}

// silu(gate) * up, rounded after each of the two as silu_and_mul does.
template <spf_scalar_type T>
__device__ __forceinline__ uint4 gated_chunk(const uint4& gate, const uint4& up) {
  constexpr int kElements = cuda::kChunkElements<T>;
  float v[kElements];
  cuda::unpack<T>(gate, v);
#pragma unroll
  for (int i = 0; i < kElements; ++i) v[i] = cuda::sigmoid_times<T>(v[i], 1.0f);
  return cuda::multiply_chunks<T>(cuda::pack<T>(v), up);
}

} // namespace spf::quantize
