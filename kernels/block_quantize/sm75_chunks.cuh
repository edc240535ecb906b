// Block quantizers: a thread takes eight neighbours of a row, 2 (NVFP4) or 4 (MX) lanes a block.
//
//   row:   |8 values|8 values|8 values|8 values| ...
//           lane 0    lane 1   lane 2   lane 3            the block's largest magnitude by shuffles
//   codes: |4 bytes |4 bytes | ...                        8 of 8-bit codes
//   scale: the first lane of a block writes it; the last block of a row also writes what pads the row of scales,
//   pads:  threads after the last row's write the scales of rows that do not exist, 4 groups a thread
//
// Everything is streamed once and nothing is shared between blocks, so the hardware's own scheduling of many small
// blocks keeps memory busy: 16 bytes in flight a thread, 2048 threads a multiprocessor.
#pragma once

#include "kernels/block_quantize/args.h"
#include "kernels/common/cuda/fp4.cuh"
#include "kernels/common/cuda/fp8.cuh"
#include "kernels/common/cuda/launch.cuh"
#include "kernels/common/cuda/memory.cuh"
#include "kernels/common/cuda/rows.cuh"

namespace spf::block_quantize {

template <BlockOp kOp>
inline constexpr int kGroup = group_of(kOp);
template <BlockOp kOp>
inline constexpr bool kNvfp4 = is_nvfp4(kOp);
template <BlockOp kOp>
inline constexpr bool kGated = is_gated(kOp);

inline constexpr int kThreads = 256;
inline constexpr int kValues = 8; // of a thread

struct ChunkArgs : BlockArgs {
  explicit ChunkArgs(const BlockArgs& args, int group)
      : BlockArgs(args),
        chunks(args.groups * (group / kValues)),
        units(args.space.rows * chunks),
        pads(args.swizzled != nullptr ? (args.padded_rows - args.space.rows) * args.tiles : 0),
        by_chunks(units < cuda::DeviceRows<1>::kEndless ? chunks : 2) {}

  int64_t chunks; // of a row
  int64_t units;  // threads with values
  int64_t pads;   // threads that pad
  cuda::Divisor by_chunks;

  __device__ __forceinline__ int64_t row_of(int64_t unit) const {
    return units < cuda::DeviceRows<1>::kEndless ? static_cast<int64_t>(by_chunks.quotient(static_cast<uint32_t>(unit)))
                                                 : unit / chunks;
  }
};

// Eight values from any address.
template <spf_scalar_type T>
__device__ __forceinline__ void load_values(const void* data, int64_t at, float (&v)[kValues]) {
  using namespace spf::cuda;
  constexpr int kElements = kChunkElements<T>;
  const auto* const from = static_cast<const scalar_t<T>*>(data) + at;
  const bool vector = on_16_bytes(from);
#pragma unroll
  for (int c = 0; c < kValues / kElements; ++c) {
    float part[kElements];
    unpack<T>(load_chunk<T>(from + c * kElements, kElements, vector), part);
#pragma unroll
    for (int i = 0; i < kElements; ++i) v[c * kElements + i] = part[i];
  }
}

template <int kWords>
__device__ __forceinline__ void store_codes(uint8_t* to, const uint32_t (&words)[kWords]) {
  const bool aligned = (reinterpret_cast<uintptr_t>(to) & (4 * kWords - 1)) == 0;
  if (aligned && kWords == 1) *reinterpret_cast<uint32_t*>(to) = words[0];
  if (aligned && kWords == 2) *reinterpret_cast<uint2*>(to) = make_uint2(words[0], words[kWords - 1]);
  if (aligned) return;
#pragma unroll
  for (int i = 0; i < 4 * kWords; ++i) to[i] = static_cast<uint8_t>(words[i / 4] >> (8 * (i % 4)));
}

// The codes of eight values that are scaled already.
template <spf_scalar_type C>
__device__ __forceinline__ void narrow(const float (&v)[kValues], uint32_t (&words)[1]) {
  static_assert(C == SPF_E2M1);
  words[0] = cuda::narrow_e2m1x8(v);
}
template <spf_scalar_type C>
__device__ __forceinline__ void narrow(const float (&v)[kValues], uint32_t (&words)[2]) {
#pragma unroll
  for (int w = 0; w < 2; ++w) {
    words[w] = cuda::narrow_fp8x2<C>(v[4 * w], v[4 * w + 1]) | cuda::narrow_fp8x2<C>(v[4 * w + 2], v[4 * w + 3]) << 16;
#if __CUDA_ARCH__ < 890 // the toolkit's sequence keeps a NaN's sign, the instruction does not
#pragma unroll
    for (int i = 0; i < 4; ++i)
      if (v[4 * w + i] != v[4 * w + i]) words[w] = (words[w] & ~(0xffu << (8 * i))) | 0x7fu << (8 * i);
#endif
  }
}

// Scales of groups up to the next multiple of 4.
__device__ __forceinline__ void pad_row(const ChunkArgs& args, int64_t row) {
  for (int64_t g = args.groups; g < 4 * args.tiles; ++g) args.swizzled[swizzled_scale(row, g, args.tiles)] = 0;
}

template <BlockOp kOp, spf_scalar_type T, spf_scalar_type C>
__global__ void __launch_bounds__(kThreads) quantize_chunks(const __grid_constant__ ChunkArgs args) {
  using namespace spf::cuda;
  constexpr int kLanes = kGroup<kOp> / kValues; // of a block
  constexpr int kWords = C == SPF_E2M1 ? 1 : 2;
  launch_dependents();
  wait_for_primary();

  const int64_t unit = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  const bool exists = unit < args.units;
  const int64_t row = exists ? args.row_of(unit) : 0;
  const int64_t chunk = unit - row * args.chunks, first = chunk * kValues;
  int64_t at[3];
  args.space.offsets(row, at);

  // Values, and the largest of the block.
  float v[kValues] = {};
  if (exists) {
    load_values<T>(args.x, at[0] + first, v);
    if constexpr (kGated<kOp>) {
      float up[kValues];
      load_values<T>(args.x, at[0] + args.groups * kGroup<kOp> + first, up);
#pragma unroll
      for (int i = 0; i < kValues; ++i) v[i] = round_to<T>(__fmul_rn(silu(v[i]), up[i]));
    }
  }
  float largest = 0;
#pragma unroll
  for (int i = 0; i < kValues; ++i) largest = fmaxf(largest, fabsf(v[i])); // not a NaN
#pragma unroll
  for (int step = 1; step < kLanes; step *= 2) largest = fmaxf(largest, __shfl_xor_sync(0xffffffffu, largest, step));

  // Its scale, and the codes.
  uint32_t scale;
  float factor;
  if constexpr (kNvfp4<kOp>) {
    const float global_scale = *args.global_scale;
    scale = narrow_fp8x2<SPF_E4M3>(nvfp4_scale(largest, global_scale), 0.0f) & 0xffu;
    factor = nvfp4_factor(widen_fp8x2<SPF_E4M3>(scale).x, __frcp_rn(global_scale));
  } else {
    scale = mx_scale<C>(largest, args.rule);
    factor = mx_factor(scale);
  }
#pragma unroll
  for (int i = 0; i < kValues; ++i) v[i] = __fmul_rn(v[i], factor);
  uint32_t words[kWords];
  narrow<C>(v, words);

  if (exists) {
    store_codes(args.codes + at[1] + chunk * 4 * kWords, words);
    const int64_t group = chunk / kLanes;
    if (threadIdx.x % kLanes != 0) return;
    if (args.scales != nullptr) args.scales[at[2] + group] = static_cast<uint8_t>(scale);
    if (args.swizzled == nullptr) return;
    args.swizzled[swizzled_scale(row, group, args.tiles)] = static_cast<uint8_t>(scale);
    if (group == args.groups - 1) pad_row(args, row);
  } else if (const int64_t pad = unit - args.units; pad < args.pads) {
    const int64_t below = pad / args.tiles, tile = pad - below * args.tiles;
    uint8_t* const four = args.swizzled + swizzled_scale(args.space.rows + below, tile * 4, args.tiles);
#pragma unroll
    for (int i = 0; i < 4; ++i) four[i] = 0;
  }
}

// --- launch ------------------------------------------------------------------------------------------------------

// The ops by their names in the manifest.
inline constexpr BlockOp nvfp4_quantize = BlockOp::kNvfp4;
inline constexpr BlockOp silu_and_mul_nvfp4_quantize = BlockOp::kSiluNvfp4;
inline constexpr BlockOp mxfp4_quantize = BlockOp::kMxfp4;
inline constexpr BlockOp mxfp8_quantize = BlockOp::kMxfp8;

template <BlockOp kOp, spf_scalar_type T, spf_scalar_type C>
spf_status launch_chunks(const Call& call, const LaunchContext& ctx) {
  const BlockArgs args = block_args(call, kOp);
  if (args.empty()) return SPF_OK;
  const ChunkArgs chunks(args, kGroup<kOp>);
  const int64_t grid = (chunks.units + chunks.pads + kThreads - 1) / kThreads;
  return cuda::launch(call.problem.op->name, ctx, quantize_chunks<kOp, T, C>, grid, kThreads, 0, chunks);
}

} // namespace spf::block_quantize
