// Hadamard transforms with a row in registers, in f32 until the one rounding at the end.
//
//   element (t + T k) C + e of a row is value k C + e of its thread t; a chunk of C elements is 16 bytes:
//
//     bits of an element's index:   k | warp of t | lane of t | e
//     butterflies over them by:     registers | shared memory | shuffles | registers
//
// An exchange through shared memory gives each thread the values of all warps at its lane, which are a transform of
// their own, and takes them back; long rows pass it in parts of at most 32 KB.
//
// f32 butterflies and not tensor cores: 15 additions and 5 shuffles an element stay below what memory delivers, and a
// product with a 16 x 16 Hadamard matrix would round to 16 bits after every factor.
#pragma once

#include "kernels/common/cuda/launch.cuh"
#include "kernels/common/cuda/memory.cuh"
#include "kernels/hadamard/args.h"

namespace spf::hadamard {

template <spf_scalar_type T, int kWidth>
struct ButterflyConfig {
  static constexpr int kElements = 16 / (T == SPF_F32 ? 4 : 2);                                      // of a chunk
  static constexpr int kValues = kWidth <= 256 ? 8 : kWidth == 512 ? 16 : kWidth <= 16384 ? 32 : 64; // of a thread
  static constexpr int kThreads = kWidth / kValues;                                                  // of a row
  static constexpr int kChunks = kValues / kElements;
  static constexpr int kBlock = kThreads < 128 ? 128 : kThreads;
  static constexpr int kRows = kBlock / kThreads; // of a block
  static constexpr int kWarps = kThreads > 32 ? kThreads / 32 : 1;
  // Values of a thread that go through shared memory at once: all, or what 32 KB hold.
  static constexpr int kPart = kValues * kBlock > 8192 ? 8192 / kBlock : kValues;
  static_assert(kWarps == 1 || kPart % kWarps == 0, "a warp takes whole columns of values");
};

// Butterflies over the bits of an index into `kCount` values `kStep` apart.
template <int kCount, int kStep, int kValues>
__device__ __forceinline__ void butterflies(float (&v)[kValues], int base = 0) {
#pragma unroll
  for (int half = kStep; half < kCount * kStep; half *= 2)
#pragma unroll
    for (int i = 0; i < kCount * kStep; i += kStep)
      if ((i & half) == 0) {
        const float a = v[base + i], b = v[base + i + half];
        v[base + i] = a + b;
        v[base + i + half] = a - b;
      }
}

template <class Config>
__device__ __forceinline__ void over_lanes(float (&v)[Config::kValues], int lane) {
#pragma unroll
  for (int half = 1; half < 32 && half < Config::kThreads; half *= 2) {
    const float sign = (lane & half) != 0 ? -1.0f : 1.0f;
#pragma unroll
    for (int i = 0; i < Config::kValues; ++i) // upper lanes: other - own
      v[i] = __fmaf_rn(sign, v[i], __shfl_xor_sync(0xffffffffu, v[i], half));
  }
}

// thread: within the row. All threads of the block come here.
template <class Config>
__device__ __forceinline__ void over_warps(float (&v)[Config::kValues], int thread, float* row) {
  constexpr int kColumns = Config::kPart / Config::kWarps; // that a warp takes of each other warp
  const int warp = thread / 32, lane = thread % 32;
#pragma unroll
  for (int part = 0; part < Config::kValues; part += Config::kPart) {
    if (part > 0) __syncthreads();
#pragma unroll
    for (int i = 0; i < Config::kPart; ++i) row[i * Config::kThreads + thread] = v[part + i];
    __syncthreads();
    float u[Config::kPart];
#pragma unroll
    for (int c = 0; c < kColumns; ++c) {
      float* const column = row + (warp * kColumns + c) * Config::kThreads + lane;
#pragma unroll
      for (int w = 0; w < Config::kWarps; ++w) u[c * Config::kWarps + w] = column[w * 32];
      butterflies<Config::kWarps, 1>(u, c * Config::kWarps);
#pragma unroll
      for (int w = 0; w < Config::kWarps; ++w) column[w * 32] = u[c * Config::kWarps + w];
    }
    __syncthreads();
#pragma unroll
    for (int i = 0; i < Config::kPart; ++i) v[part + i] = row[i * Config::kThreads + thread];
  }
}

template <spf_scalar_type T, class Config>
__global__ void __launch_bounds__(Config::kBlock) transform_rows(const __grid_constant__ HadamardArgs args) {
  using namespace spf::cuda;
  using Element = scalar_t<T>;
  constexpr int kElements = Config::kElements;
  __shared__ float exchange[Config::kWarps > 1 ? Config::kPart * Config::kBlock : 1];
  launch_dependents();
  wait_for_primary();

  const int thread = static_cast<int>(threadIdx.x) % Config::kThreads;
  const int slot = static_cast<int>(threadIdx.x) / Config::kThreads;
  const int64_t r = static_cast<int64_t>(blockIdx.x) * Config::kRows + slot;
  const bool exists = r < args.space.rows;
  int64_t at[2];
  args.space.offsets(exists ? r : 0, at);
  const Element* const from = static_cast<const Element*>(args.x) + at[0];
  Element* const to = static_cast<Element*>(args.out) + at[1];
  const bool vector_in = on_16_bytes(from), vector_out = on_16_bytes(to);

  float v[Config::kValues];
#pragma unroll
  for (int k = 0; k < Config::kChunks; ++k) {
    const int64_t first = static_cast<int64_t>(thread + k * Config::kThreads) * kElements;
    float part[kElements];
    unpack<T>(load_chunk<T>(from + first, exists ? kElements : 0, vector_in), part);
#pragma unroll
    for (int e = 0; e < kElements; ++e) v[k * kElements + e] = part[e];
  }

  butterflies<Config::kValues, 1>(v); // bits e and k
  over_lanes<Config>(v, thread % 32);
  if constexpr (Config::kWarps > 1) over_warps<Config>(v, thread, exchange + slot * Config::kPart * Config::kThreads);

  if (!exists) return;
#pragma unroll
  for (int k = 0; k < Config::kChunks; ++k) {
    const int64_t first = static_cast<int64_t>(thread + k * Config::kThreads) * kElements;
    float part[kElements];
#pragma unroll
    for (int e = 0; e < kElements; ++e) part[e] = v[k * kElements + e] * args.scale;
    store_chunk<T>(to + first, pack<T>(part), kElements, vector_out);
  }
}

// Rows of fewer than 32 elements: a thread each.
template <spf_scalar_type T>
__global__ void __launch_bounds__(128) transform_short_rows(const __grid_constant__ HadamardArgs args) {
  using namespace spf::cuda;
  launch_dependents();
  wait_for_primary();
  const int64_t r = static_cast<int64_t>(blockIdx.x) * 128 + threadIdx.x;
  if (r >= args.space.rows) return;
  int64_t at[2];
  args.space.offsets(r, at);
  const auto* const from = static_cast<const scalar_t<T>*>(args.x) + at[0];
  auto* const to = static_cast<scalar_t<T>*>(args.out) + at[1];
  const int n = static_cast<int>(args.n);
  float v[16];
#pragma unroll
  for (int i = 0; i < 16; ++i) v[i] = i < n ? Scalar<T>::widen(from[i]) : 0.0f;
  // Zeros behind the row add nothing to the row's own sums.
  butterflies<16, 1>(v);
#pragma unroll
  for (int i = 0; i < 16; ++i)
    if (i < n) to[i] = Scalar<T>::narrow(v[i] * args.scale);
}

// --- launch ------------------------------------------------------------------------------------------------------

template <spf_scalar_type T, int kWidth>
spf_status launch_butterfly(const Call& call, const LaunchContext& ctx) {
  const HadamardArgs args = hadamard_args(call);
  if (args.empty()) return SPF_OK;
  const char* const op = call.problem.op->name;
  if constexpr (kWidth == 0) {
    return cuda::launch(op, ctx, transform_short_rows<T>, (args.space.rows + 127) / 128, 128, 0, args);
  } else {
    using Config = ButterflyConfig<T, kWidth>;
    const int64_t grid = (args.space.rows + Config::kRows - 1) / Config::kRows;
    return cuda::launch(op, ctx, transform_rows<T, Config>, grid, Config::kBlock, 0, args);
  }
}

} // namespace spf::hadamard
