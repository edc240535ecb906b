// Hadamard transforms with a row in registers, in f32 until the one rounding at the end.
//
//   element (t + T k) C + e of a row is value k C + e of its thread t; a chunk of C elements is 16 bytes.
//
//   up to 1024 elements  e and k are bits in registers, t is one warp's lanes: shuffles
//   longer rows          what bits are in registers changes twice, by way of shared memory, where the row has room:
//
//     bits of an element's index    | top | leftover | next | middle | e |
//     in registers, first           | ... |          |      |        | . |     as loaded
//                   then            |     | shuffles |      |  ....  |   |     leftover bits are lanes
//                   last            |     |          | ...  |        | . |     as stored
//
// A change costs what two shuffles of every value cost, and stands for up to five of them. Where a device has no room
// for a long row (7.5), its warps exchange parts of at most 32 KB instead.
//
// f32 butterflies and not tensor cores: 15 additions an element and what moves it stay below what memory delivers, and
// a product with a 16 x 16 Hadamard matrix would round to 16 bits after every factor.
#pragma once

#include "kernels/common/cuda/launch.cuh"
#include "kernels/common/cuda/memory.cuh"
#include "kernels/hadamard/args.h"

namespace spf::hadamard {

template <spf_scalar_type T, int kWidth>
struct ButterflyConfig {
  static constexpr int kElements = 16 / (T == SPF_F32 ? 4 : 2);                                     // of a chunk
  static constexpr int kValues = kWidth <= 256 ? 8 : kWidth == 512 ? 16 : kWidth <= 4096 ? 32 : 64; // of a thread
  static constexpr int kThreads = kWidth / kValues;                                                 // of a row
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

// And between lanes, over the bits of their number from kFirst up to kEnd.
template <class Config, int kFirst, int kEnd>
__device__ __forceinline__ void over_lanes(float (&v)[Config::kValues], int lane) {
#pragma unroll
  for (int half = kFirst; half < kEnd; half *= 2) {
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

// --- a row in shared memory ----------------------------------------------------------------------------------------

constexpr int log2_of(int n) { return n <= 1 ? 0 : 1 + log2_of(n / 2); }

// Which bits of an index are in registers when, and where an element lies, so that no two lanes meet in a bank.
template <class Config, int kWidth>
struct Exchange {
  static constexpr int kBits = log2_of(kWidth), kE = log2_of(Config::kElements), kR = log2_of(Config::kValues);
  static constexpr int kMiddle = kE + kR;                     // the first bit above those in the middle
  static constexpr int kTop = kBits - (kR - kE);              // the first of the bits in registers at first
  static constexpr int kNext = kTop < 2 * kR ? kTop : 2 * kR; // the last of the bits after the middle, and one
  static constexpr bool kLeftover = kTop > kNext;
  // Lanes of the middle are e and the bits from here on; elements that differ there are a chunk's banks apart.
  static constexpr int kLane = kLeftover ? 2 * kR : kMiddle, kLaneBits = 5 - kE;
  static constexpr int kFloats = kWidth + (kWidth >> kLane) * Config::kElements; // of a row
  static_assert(kTop >= kMiddle && kTop - kNext <= kLaneBits && kBits >= kLane + kLaneBits);

  // How far apart elements lie, but for what `place` swaps.
  static __device__ __forceinline__ constexpr int distance(int index) {
    return index + (index >> kLane) * Config::kElements;
  }
  // Lanes 4 apart in eight that each access half a chunk of eight would meet: they take different halves. Bit 5 of an
  // index turns bit 2 of its place over.
  static constexpr bool kSwaps = kE == 3;
  static __device__ __forceinline__ int place(int index) { return distance(kSwaps ? index ^ (index >> 3 & 4) : index); }

  // The first element of a thread's first chunk, and the distance to the others, as loaded and as stored. As stored,
  // threads are the bits in the middle, and those above `next`.
  static __device__ __forceinline__ int loaded(int thread) { return thread * Config::kElements; }
  static constexpr int kLoadedStep = Config::kThreads * Config::kElements;
  static __device__ __forceinline__ int stored(int thread) {
    const int middle = thread & (Config::kValues - 1), above = thread >> kR;
    return middle << kE | above << (kMiddle + kR - kE);
  }
  static constexpr int kStoredStep = 1 << kMiddle;
  // The first element of a thread in the middle; the others are 1 << kE apart.
  static __device__ __forceinline__ int between(int thread) {
    const int e = thread & (Config::kElements - 1), lane = thread % 32 >> kE, warp = thread / 32;
    constexpr int kBelow = kLane - kMiddle; // bits of the warp that are below those of the lane
    return e | lane << kLane | (warp & ((1 << kBelow) - 1)) << kMiddle | warp >> kBelow << (kLane + kLaneBits);
  }
};

// A thread's values, 16 bytes at a time, to or from shared memory. at: of its first; step: elements from a chunk to the
// next.
template <class Where, class Config, bool kStore>
__device__ __forceinline__ void move_chunks(float (&v)[Config::kValues], float* row, int at, int step) {
#pragma unroll
  for (int k = 0; k < Config::kChunks; ++k)
#pragma unroll
    for (int e = 0; e < Config::kElements; e += 4) {
      float4& place = *reinterpret_cast<float4*>(row + (at ^ e) + Where::distance(k * step));
      float* const four = v + k * Config::kElements + e;
      if constexpr (kStore) {
        place = make_float4(four[0], four[1], four[2], four[3]);
      } else {
        const float4 read = place;
        four[0] = read.x, four[1] = read.y, four[2] = read.z, four[3] = read.w;
      }
    }
}

// Butterflies over the bits of an index that are not in registers, which hold other bits afterwards.
template <class Config, int kWidth>
__device__ __forceinline__ void over_row(float (&v)[Config::kValues], int thread, float* row) {
  using Where = Exchange<Config, kWidth>;
  move_chunks<Where, Config, true>(v, row, Where::place(Where::loaded(thread)), Where::kLoadedStep);
  __syncthreads();
  const int between = Where::place(Where::between(thread));
  const auto middle = [&](int j) -> float& {
    return row[(Where::kSwaps ? between ^ (j & 4) : between) + (j << Where::kE)];
  };
#pragma unroll
  for (int j = 0; j < Config::kValues; ++j) v[j] = middle(j);
  butterflies<Config::kValues, 1>(v);
  over_lanes<Config, Config::kElements, (Config::kElements << (Where::kTop - Where::kNext))>(v, thread % 32);
#pragma unroll
  for (int j = 0; j < Config::kValues; ++j) middle(j) = v[j];
  __syncthreads();
  move_chunks<Where, Config, false>(v, row, Where::place(Where::stored(thread)), Where::kStoredStep);
  constexpr int kCount = 1 << (Where::kNext - Where::kMiddle), kSpan = kCount * Config::kElements;
#pragma unroll
  for (int i = 0; i < Config::kValues; ++i)
    if (i % kSpan < Config::kElements) butterflies<kCount, Config::kElements>(v, i);
}

// kWhole: rows lie in shared memory whole.
template <spf_scalar_type T, class Config, int kWidth, bool kWhole>
__global__ void __launch_bounds__(Config::kBlock,
                                  (Config::kBlock > 512 ? 1 : (Config::kValues <= 32 ? 1024 : 512) / Config::kBlock))
    transform_rows(const __grid_constant__ HadamardArgs args) {
  using namespace spf::cuda;
  using Element = scalar_t<T>;
  constexpr int kElements = Config::kElements;
  __shared__ float parts[Config::kWarps > 1 && !kWhole ? Config::kPart * Config::kBlock : 1];
  SPF_DYNAMIC_SHARED(float, whole, 16);
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

  // All at once where they can be: a choice for each chunk would wait for one before it asks for the next.
  uint4 chunk[Config::kChunks];
  const auto first_of = [&](int k) { return (thread + k * Config::kThreads) * kElements; };
  if (vector_in && exists) {
#pragma unroll
    for (int k = 0; k < Config::kChunks; ++k) chunk[k] = load16(from + first_of(k));
  } else {
#pragma unroll
    for (int k = 0; k < Config::kChunks; ++k)
      chunk[k] = load_chunk<T>(from + first_of(k), exists ? kElements : 0, false);
  }
  float v[Config::kValues];
#pragma unroll
  for (int k = 0; k < Config::kChunks; ++k) {
    float part[kElements];
    unpack<T>(chunk[k], part);
#pragma unroll
    for (int e = 0; e < kElements; ++e) v[k * kElements + e] = part[e];
  }

  butterflies<Config::kValues, 1>(v); // bits e and k
  if constexpr (kWhole) {
    over_row<Config, kWidth>(v, thread, whole + slot * Exchange<Config, kWidth>::kFloats);
  } else {
    over_lanes<Config, 1, (Config::kThreads < 32 ? Config::kThreads : 32)>(v, thread % 32);
    if constexpr (Config::kWarps > 1) over_warps<Config>(v, thread, parts + slot * Config::kPart * Config::kThreads);
  }

  if (!exists) return;
#pragma unroll
  for (int k = 0; k < Config::kChunks; ++k) {
    int64_t first = static_cast<int64_t>(thread + k * Config::kThreads) * kElements;
    if constexpr (kWhole) first = Exchange<Config, kWidth>::stored(thread) + k * Exchange<Config, kWidth>::kStoredStep;
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
    if constexpr (Config::kWarps > 1) {
      constexpr size_t kBytes = sizeof(float) * Config::kRows * Exchange<Config, kWidth>::kFloats;
      if (kBytes + 1024 <= static_cast<size_t>(ctx.facts->shared_memory_per_block))
        return cuda::launch(op, ctx, transform_rows<T, Config, kWidth, true>, grid, Config::kBlock, kBytes, args);
    }
    return cuda::launch(op, ctx, transform_rows<T, Config, kWidth, false>, grid, Config::kBlock, 0, args);
  }
}

} // namespace spf::hadamard
