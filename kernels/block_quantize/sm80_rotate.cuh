// Rows times a small matrix, block by block, and the product quantized from registers: y[b] = x[b] R, codes of y.
//
//   x      a warp takes 16 rows of one block of R columns and holds them as A fragments
//   R      in shared memory, transposed: k runs along a row of it; 16 columns are doubled to 32 on the diagonal
//   y      32 columns at a time in the accumulators, never stored
//
// Which column of a block a fragment's slot stands for is ours to choose, as long as A and B agree in k. Lane t of a
// quad takes k = 8t..8t+7 of 32 for two steps, so it loads 16 bytes of x and of R at once, and columns 8t..8t+7 of the
// product, so it holds eight neighbours and quantizes them as quantize_chunks does.
#pragma once

#include <algorithm>

#include "kernels/block_quantize/chunks.cuh"
#include "kernels/common/cuda/launch.cuh"
#include "kernels/common/cuda/rows.cuh"
#include "kernels/common/mma/m16n8k16.cuh"

namespace spf::block_quantize {

inline constexpr int kRotateWarps = 4;
inline constexpr int kRotateRows = 16 * kRotateWarps; // of a block

struct RotateArgs : BlockArgs {
  explicit RotateArgs(const BlockArgs& args, int group, int width)
      : BlockArgs(args),
        columns(args.groups * group),
        blocks((columns + width - 1) / width),
        row_tiles((args.space.rows + kRotateRows - 1) / kRotateRows),
        pads(args.swizzled != nullptr ? (args.padded_rows - args.space.rows) * args.tiles : 0),
        by_blocks(row_tiles * blocks < cuda::DeviceRows<1>::kEndless && blocks > 1 ? blocks : 2),
        rows(args.space) {}

  int64_t columns;   // of x
  int64_t blocks;    // of a row, that R applies to
  int64_t row_tiles; // of kRotateRows
  int64_t pads;
  cuda::Divisor by_blocks;
  cuda::DeviceRows<3> rows; // where the kernel is kVector

  // x and the rotation as whole chunks, and numbers of 31 bits.
  bool vector() const {
    uintptr_t starts = reinterpret_cast<uintptr_t>(x) | reinterpret_cast<uintptr_t>(rotation);
    for (int d = 0; d < space.dims; ++d) starts |= static_cast<uintptr_t>(space.stride[0][d] * 2);
    return starts % 16 == 0 && cuda::DeviceRows<3>::fits(space) && row_tiles * blocks < cuda::DeviceRows<1>::kEndless;
  }
  template <bool kVector>
  __device__ __forceinline__ int64_t row_tile(int64_t tile) const {
    if (blocks == 1) return tile;
    if constexpr (kVector) return by_blocks.quotient(static_cast<uint32_t>(tile));
    return tile / blocks;
  }
};

// kWidth: columns that a warp takes, 32 for a rotation of 16.
template <int kWidth>
struct RotateConfig {
  static constexpr int kThirties = kWidth / 32;                  // blocks of 32 columns
  static constexpr int kPitch = kWidth == 32 ? 32 : kWidth + 32; // elements: two rows of R meet no bank twice
  static constexpr int kSharedBytes = kWidth * kPitch * 2;       // 40 KB at most
};

// The chunk at `from`, of which nothing is read where it does not exist. kVector: it is on 16 bytes; known when
// compiling, for a choice at each load would wait for one before it asks for the next.
template <bool kVector>
__device__ __forceinline__ uint4 load_halves(const void* from, bool exists) {
  if constexpr (kVector) return exists ? cuda::load16(from) : make_uint4(0, 0, 0, 0);
  return cuda::load_chunk<SPF_F16>(static_cast<const __half*>(from), exists ? 8 : 0, false);
}

// R transposed, by warps: lanes take neighbouring rows k of R, 16 bytes of each, so that their stores fall into
// different banks. Both copies of a 16 x 16 one stand on the diagonal, with zeros beside them.
template <int kWidth, bool kVector>
__device__ __forceinline__ void stage_rotation(const RotateArgs& args, uint16_t* shared) {
  constexpr int kThreads = 32 * kRotateWarps, kAll = kWidth * kWidth / (8 * kThreads), kBatch = kAll < 8 ? kAll : 8;
  const int size = static_cast<int>(args.rotation_size); // a power of two
  const auto* const rotation = static_cast<const uint16_t*>(args.rotation);
#pragma unroll
  for (int first = 0; first < kAll; first += kBatch) {
    uint4 eight[kBatch];
    const auto k_of = [&](int j) { return (static_cast<int>(threadIdx.x) + (first + j) * kThreads) % kWidth; };
    const auto n_of = [&](int j) { return (static_cast<int>(threadIdx.x) + (first + j) * kThreads) / kWidth * 8; };
#pragma unroll
    for (int j = 0; j < kBatch; ++j) {
      const int k = k_of(j), n = n_of(j);
      const bool inside = (k ^ n) < size; // in the same copy
      eight[j] = load_halves<kVector>(rotation + (k & (size - 1)) * size + (n & (size - 1)), inside);
    }
#pragma unroll
    for (int j = 0; j < kBatch; ++j) {
      const uint32_t words[4] = {eight[j].x, eight[j].y, eight[j].z, eight[j].w};
#pragma unroll
      for (int e = 0; e < 8; ++e)
        shared[(n_of(j) + e) * RotateConfig<kWidth>::kPitch + k_of(j)] =
            static_cast<uint16_t>(words[e / 2] >> (16 * (e % 2)));
    }
  }
}

// Eight neighbours of a row of the product: scale and codes. Lanes of a quad hold 32 columns.
template <BlockOp kOp>
__device__ __forceinline__ void quantize_product(const RotateArgs& args, const GlobalScale& global, float (&v)[kValues],
                                                 int64_t row, const int64_t (&at)[3], int64_t column) {
  constexpr int kLanes = kGroup<kOp> / kValues;
  BlockScale scale;
  if constexpr (kNvfp4<kOp>) {
    scale = nvfp4_block<true>(largest_of<kLanes>(v), global, v);
  } else if (args.rotated_rule == RotatedRule::kAbsMax) {
    scale.code = rotated_scale(largest_of<kLanes>(v));
    scale.factor = 3.0f * mx_factor(scale.code);
  } else {
    // The squares of numbers that are larger than this need not fit into f32.
    const float down = largest_of<kLanes>(v) > 0x1p50f ? 0x1p-70f : 1.0f;
    float sum = 0, squares = 0;
#pragma unroll
    for (int i = 0; i < kValues; ++i) sum = __fmaf_rn(v[i], down, sum);
    sum += __shfl_xor_sync(0xffffffffu, sum, 1);
    sum += __shfl_xor_sync(0xffffffffu, sum, 2);
    const float mean = sum * (1.0f / 32);
#pragma unroll
    for (int i = 0; i < kValues; ++i) {
      const float off = __fmaf_rn(v[i], down, -mean);
      squares = __fmaf_rn(off, off, squares);
    }
    squares += __shfl_xor_sync(0xffffffffu, squares, 1);
    squares += __shfl_xor_sync(0xffffffffu, squares, 2);
    scale.code = rotated_scale(sqrtf(squares * (1.0f / 32)) / down * kQuest);
    scale.factor = mx_factor(scale.code);
  }
  const uint32_t words[1] = {cuda::narrow_e2m1x8(v, scale.factor)};
  if (row >= args.space.rows || column >= args.columns) return;
  store_codes<false>(args.codes + at[1] + column / 2, words);
  if (threadIdx.x % kLanes == 0) store_scale(args, at[2], row, column / kGroup<kOp>, scale.code);
}

// 32 columns of x, eight a lane, times as many of R.
template <spf_scalar_type T>
__device__ __forceinline__ void multiply(float (&d)[4], const uint4 (&a)[2], const uint4& b) {
  cuda::mma_m16n8k16<T>(d, a[0].x, a[1].x, a[0].y, a[1].y, b.x, b.y);
  cuda::mma_m16n8k16<T>(d, a[0].z, a[1].z, a[0].w, a[1].w, b.z, b.w);
}

// Column n of four of a lane's eight columns of R in shared memory, for the columns of x from `first` on.
template <int kWidth>
__device__ __forceinline__ uint4 rotation_columns(const uint16_t* rotation, int out, int n, int first) {
  const int lane = static_cast<int>(threadIdx.x) % 32, g = lane / 4, t = lane % 4;
  const int column = 32 * out + 8 * (g >> 1) + 2 * n + (g & 1);
  return *reinterpret_cast<const uint4*>(rotation + column * RotateConfig<kWidth>::kPitch + first + 8 * t);
}

// The product with two copies of a 16 x 16 rotation. Zeros beside a copy do not take infinities and NaNs out of what
// belongs to the other one, so each is multiplied by its own columns of x, and a lane keeps what its columns are of.
template <spf_scalar_type T>
__device__ __forceinline__ void multiply_copies(const uint4 (&a)[2], const uint16_t* rotation, float (&d)[4][4]) {
  const bool second = threadIdx.x % 4 >= 2; // columns of lanes 2 and 3 of a quad
  const uint4 zeros = make_uint4(0, 0, 0, 0);
#pragma unroll
  for (int n = 0; n < 4; ++n) {
    const uint4 b = rotation_columns<32>(rotation, 0, n, 0);
    float both[2][4] = {};
#pragma unroll
    for (int copy = 0; copy < 2; ++copy) {
      const bool own = second == (copy == 1);
      const uint4 part[2] = {own ? a[0] : zeros, own ? a[1] : zeros};
      multiply<T>(both[copy], part, b);
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) d[n][i] = second ? both[1][i] : both[0][i];
  }
}

template <BlockOp kOp, spf_scalar_type T, int kWidth, bool kVector>
__global__ void __launch_bounds__(32 * kRotateWarps) rotate_rows(const __grid_constant__ RotateArgs args) {
  using namespace spf::cuda;
  using Config = RotateConfig<kWidth>;
  using Element = scalar_t<T>;
  __shared__ __align__(16) uint16_t rotation[kWidth * Config::kPitch];
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  const int g = lane / 4, t = lane % 4;
  launch_dependents();
  wait_for_primary();
  GlobalScale global;
  if constexpr (kNvfp4<kOp>) global = global_scale_of(*args.global_scale);
  stage_rotation<kWidth, kVector>(args, rotation);
  __syncthreads();

  for (int64_t tile = blockIdx.x; tile < args.row_tiles * args.blocks; tile += gridDim.x) {
    const int64_t row_tile = args.template row_tile<kVector>(tile), block = tile - row_tile * args.blocks;
    const int64_t row = row_tile * kRotateRows + warp * 16 + g, first = block * kWidth;

    // A fragments: eight columns of rows g and g + 8 for each 32 columns.
    uint4 a[Config::kThirties][2];
    int64_t at[2][3];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const bool exists = row + 8 * half < args.space.rows;
      if constexpr (kVector) {
#pragma unroll
        for (int n = 0; n < 3; ++n)
          at[half][n] = args.rows.offset(n, exists ? static_cast<uint32_t>(row + 8 * half) : 0);
      } else {
        args.space.offsets(exists ? row + 8 * half : 0, at[half]);
      }
      const Element* const from = static_cast<const Element*>(args.x) + at[half][0] + first + 8 * t;
#pragma unroll
      for (int i = 0; i < Config::kThirties; ++i)
        a[i][half] = load_halves<kVector>(from + 32 * i, exists && first + 32 * i + 8 * t < args.columns);
    }

#pragma unroll 1
    for (int out = 0; out < Config::kThirties; ++out) {
      float d[4][4] = {};
#pragma unroll
      for (int i = 0; i < Config::kThirties; ++i)
#pragma unroll
        for (int n = 0; n < 4; ++n) multiply<T>(d[n], a[i], rotation_columns<kWidth>(rotation, out, n, 32 * i));
      if constexpr (kWidth == 32)
        if (args.rotation_size == 16) multiply_copies<T>(a[0], rotation, d);
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        float v[kValues];
#pragma unroll
        for (int i = 0; i < kValues; ++i) v[i] = d[i / 2][2 * half + i % 2];
        quantize_product<kOp>(args, global, v, row + 8 * half, at[half], first + 32 * out + 8 * t);
      }
    }
  }

  const int64_t stride = static_cast<int64_t>(gridDim.x) * (32 * kRotateWarps);
  for (int64_t pad = static_cast<int64_t>(blockIdx.x) * (32 * kRotateWarps) + threadIdx.x; pad < args.pads;
       pad += stride) {
    const int64_t below = pad / args.tiles;
    pad_scales(args, args.space.rows + below, pad - below * args.tiles);
  }
}

// --- launch ------------------------------------------------------------------------------------------------------

inline constexpr BlockOp rotate_nvfp4_quantize = BlockOp::kRotateNvfp4;
inline constexpr BlockOp rotate_mxfp4_quantize = BlockOp::kRotateMxfp4;

// kWidth: 32 (also for rotations of 16), 64 or 128.
template <BlockOp kOp, spf_scalar_type T, int kWidth>
spf_status launch_rotate(const Call& call, const LaunchContext& ctx) {
  const BlockArgs args = block_args(call, kOp);
  if (args.empty()) return SPF_OK;
  const RotateArgs rotate(args, kGroup<kOp>, kWidth);
  // A block brings R along, so there are no more of them than run at once.
  const int64_t resident = static_cast<int64_t>(std::max(ctx.facts->sm_count, 1)) * 4;
  const int64_t grid = std::min(rotate.row_tiles * rotate.blocks, resident);
  const auto with = [&](auto kernel) {
    return cuda::launch(call.problem.op->name, ctx, kernel, grid, 32 * kRotateWarps, 0, rotate);
  };
  return rotate.vector() ? with(rotate_rows<kOp, T, kWidth, true>) : with(rotate_rows<kOp, T, kWidth, false>);
}

} // namespace spf::block_quantize
