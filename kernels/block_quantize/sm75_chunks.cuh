// Block quantizers: a thread takes eight neighbours of a row, 2 (NVFP4) or 4 (MX) lanes a block.
//
//   row:   |8 values|8 values|8 values|8 values| ...
//           lane 0    lane 1   lane 2   lane 3            the block's largest magnitude by shuffles
//   codes: |4 bytes |4 bytes | ...                        8 of 8-bit codes
//   scale: the first lane of a block writes it; the last block of a row also writes what pads the row of scales,
//   pads:  threads after the last row's write the scales of rows that do not exist, 4 groups a thread
//   expert of a row: a search in the offsets, a few steps that stay in L1
//
// Everything is streamed once and nothing is shared between blocks, so the hardware's own scheduling of many small
// blocks keeps memory busy: 16 bytes in flight a thread, 2048 threads a multiprocessor.
#pragma once

#include "kernels/block_quantize/chunks.cuh"
#include "kernels/common/cuda/launch.cuh"
#include "kernels/common/cuda/rows.cuh"

namespace spf::block_quantize {

inline constexpr int kThreads = 256;

struct ChunkArgs : BlockArgs {
  explicit ChunkArgs(const BlockArgs& args, int group)
      : BlockArgs(args),
        chunks(args.groups * (group / kValues)),
        units(args.space.rows * chunks),
        pads(args.swizzled == nullptr ? 0
             : args.experts > 0       ? args.experts * 128 * args.tiles // more than a tile can lack
                                      : (args.padded_rows - args.space.rows) * args.tiles),
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

// The last expert whose rows begin at or before this one; the first if there is none.
__device__ __forceinline__ int64_t expert_of(const ChunkArgs& args, int64_t row) {
  int64_t low = 0, high = args.experts;
  while (high - low > 1) {
    const int64_t middle = (low + high) / 2;
    if (args.offsets[middle] <= row)
      low = middle;
    else
      high = middle;
  }
  return low;
}

// Four scales of a row that does not exist; -1 where pad `index` is of one that does.
template <BlockOp kOp>
__device__ __forceinline__ int64_t padding_row(const ChunkArgs& args, int64_t index) {
  if constexpr (!kExperts<kOp>) return args.space.rows + index;
  const int64_t expert = index / 128, tokens = args.offsets[expert + 1] - args.offsets[expert];
  const int64_t missing = index % 128, row = args.scale_offsets[expert] + tokens + missing;
  return missing < (128 - tokens % 128) % 128 && row >= 0 && row < args.padded_rows ? row : -1;
}

template <BlockOp kOp, spf_scalar_type T, spf_scalar_type C>
__global__ void __launch_bounds__(kThreads) quantize_chunks(const __grid_constant__ ChunkArgs args) {
  using namespace spf::cuda;
  constexpr int kLanes = kGroup<kOp> / kValues; // of a block
  constexpr int kWords = C == SPF_E2M1 ? 1 : 2;
  launch_dependents();
  wait_for_primary();

  const int64_t unit = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  const int64_t row = unit < args.units ? args.row_of(unit) : 0;
  int64_t expert = 0, scale_row = row;
  bool exists = unit < args.units;
  if constexpr (kExperts<kOp>) {
    expert = expert_of(args, row);
    const int64_t within = row - args.offsets[expert];
    scale_row = args.scale_offsets[expert] + within;
    exists = exists && within >= 0 && row < args.offsets[expert + 1] && scale_row >= 0 && scale_row < args.padded_rows;
  }
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
  const float largest = largest_of<kLanes>(v);

  // Its scale, and the codes.
  BlockScale scale;
  if constexpr (kNvfp4<kOp>) {
    scale = nvfp4_block(largest, args.global_scale[expert]);
  } else {
    scale.code = mx_scale<C>(largest, args.rule);
    scale.factor = mx_factor(scale.code);
  }
#pragma unroll
  for (int i = 0; i < kValues; ++i) v[i] = __fmul_rn(v[i], scale.factor);
  uint32_t words[kWords];
  narrow<C>(v, words);

  if (exists) {
    store_codes(args.codes + at[1] + chunk * 4 * kWords, words);
    if (threadIdx.x % kLanes == 0) store_scale(args, at[2], scale_row, chunk / kLanes, scale.code);
  } else if (const int64_t pad = unit - args.units; pad >= 0 && pad < args.pads) {
    const int64_t index = pad / args.tiles, tile = pad - index * args.tiles;
    if (const int64_t missing = padding_row<kOp>(args, index); missing >= 0) pad_scales(args, missing, tile);
  }
}

// --- launch ------------------------------------------------------------------------------------------------------

// The ops by their names in the manifest.
inline constexpr BlockOp nvfp4_quantize = BlockOp::kNvfp4;
inline constexpr BlockOp silu_and_mul_nvfp4_quantize = BlockOp::kSiluNvfp4;
inline constexpr BlockOp nvfp4_experts_quantize = BlockOp::kNvfp4Experts;
inline constexpr BlockOp silu_and_mul_nvfp4_experts_quantize = BlockOp::kSiluNvfp4Experts;
inline constexpr BlockOp mxfp4_quantize = BlockOp::kMxfp4;
inline constexpr BlockOp mxfp8_quantize = BlockOp::kMxfp8;
inline constexpr BlockOp mxfp8_experts_quantize = BlockOp::kMxfp8Experts;

template <BlockOp kOp, spf_scalar_type T, spf_scalar_type C>
spf_status launch_chunks(const Call& call, const LaunchContext& ctx) {
  const BlockArgs args = block_args(call, kOp);
  if (args.empty()) return SPF_OK;
  const ChunkArgs chunks(args, kGroup<kOp>);
  const int64_t grid = (chunks.units + chunks.pads + kThreads - 1) / kThreads;
  return cuda::launch(call.problem.op->name, ctx, quantize_chunks<kOp, T, C>, grid, kThreads, 0, chunks);
}

} // namespace spf::block_quantize
