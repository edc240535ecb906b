// Block quantizers: a thread takes 16 neighbours of a row, one block of NVFP4 or half of one of MX.
//
//   row:   |16 values|16 values|16 values|16 values| ...
//           lane 0     lane 1    lane 2    lane 3          the two halves of an MX block's largest by a shuffle
//   codes: | 8 bytes | 8 bytes | ...                       16 of 8-bit codes
//   scale: the first lane of a block writes it; the last block of a row also writes what pads the row of scales,
//   pads:  threads after the last row's write the scales of rows that do not exist, 4 groups a thread
//   expert of a row: the block counts the offsets up to its first one
//
// Everything is streamed once and nothing is shared between blocks, so the hardware's own scheduling of many small
// blocks keeps memory busy: 32 bytes of 16-bit values in flight a thread. What counts is instructions: a scale costs 40
// and a place 40, so a thread takes a whole block where it can, and its values stay packed until they are coded.
#pragma once

#include <type_traits>

#include "kernels/block_quantize/chunks.cuh"
#include "kernels/common/cuda/launch.cuh"
#include "kernels/common/cuda/quantize.cuh"
#include "kernels/common/cuda/rows.cuh"

namespace spf::block_quantize {

inline constexpr int kThreads = 256; // of a block, at most
inline constexpr int kOfThread = 16; // values

// How threads are numbered. What a block has in common costs a thread next to nothing: half of what it takes to find
// its place.
enum class Walk : uint8_t {
  kAny,    // row by row, any addresses
  kVector, // row by row; whole chunks, see ChunkArgs::vector
  kRows,   // the same, and a block has threads of one row only, which take two chunks each
};

// Chunks of a thread, a block's threads apart; values of gate and up are enough registers for one.
template <BlockOp kOp, Walk kWalk>
inline constexpr int kUnits = kWalk == Walk::kRows && !kGated<kOp> ? 2 : 1;

struct ChunkArgs : BlockArgs {
  // row_units: kUnits of Walk::kRows.
  explicit ChunkArgs(const BlockArgs& args, int group, int row_units)
      : BlockArgs(args),
        chunks(args.groups * (group / kOfThread)),
        threads(threads_for(chunks, row_units)),
        row_blocks(threads > 0 ? (chunks + threads * row_units - 1) / (threads * row_units) : 1),
        units(args.space.rows * chunks),
        pads(args.swizzled == nullptr ? 0
             : args.experts > 0       ? args.experts * 128 * args.tiles // more than a tile can lack
                                      : (args.padded_rows - args.space.rows) * args.tiles),
        by_chunks(units < cuda::DeviceRows<1>::kEndless && chunks > 1 ? chunks : 2),
        by_tiles(pads < cuda::DeviceRows<1>::kEndless && args.tiles > 1 ? args.tiles : 2),
        by_row_blocks(row_blocks > 1 ? row_blocks : 2),
        rows(args.space) {}

  int64_t chunks;     // of a row
  int32_t threads;    // of a block of one row; 0 where too many would have nothing to do
  int64_t row_blocks; // of a row, of such blocks
  int64_t units;      // threads with values
  int64_t pads;       // threads that pad
  cuda::Divisor by_chunks, by_tiles, by_row_blocks;
  cuda::DeviceRows<3> rows; // but for Walk::kAny

  // Every row of x starts on 16 bytes and its codes on those of a thread, and what is numbered fits into 31 bits.
  bool vector(int64_t element_bytes, int64_t code_bytes) const {
    uintptr_t in = reinterpret_cast<uintptr_t>(x), out = reinterpret_cast<uintptr_t>(codes);
    for (int d = 0; d < space.dims; ++d) {
      in |= static_cast<uintptr_t>(space.stride[0][d] * element_bytes);
      out |= static_cast<uintptr_t>(space.stride[1][d]);
    }
    constexpr int64_t kMost = cuda::DeviceRows<1>::kEndless;
    return in % 16 == 0 && out % static_cast<uintptr_t>(code_bytes) == 0 && cuda::DeviceRows<3>::fits(space) &&
           units < kMost && pads < kMost && padded_rows * tiles * 4 < kMost;
  }

  template <bool kVector>
  __device__ __forceinline__ int64_t row_of_pad(int64_t pad) const {
    return quotient<kVector>(pad, tiles, by_tiles);
  }

  template <bool kVector>
  static __device__ __forceinline__ int64_t quotient(int64_t number, int64_t divisor, const cuda::Divisor& fast) {
    if (divisor == 1) return number;
    if constexpr (kVector) return fast.quotient(static_cast<uint32_t>(number));
    return number / divisor;
  }

 private:
  // The largest block, up to 128 threads, of which at most an eighth has nothing to do. With 256, 8192 x 8192 takes
  // 50.4 us on H200 instead of 49.3.
  static int32_t threads_for(int64_t of_row, int32_t units) {
    for (int32_t n = 128; n >= 64; n /= 2)
      if ((of_row + n * units - 1) / (n * units) * (n * units) * 7 <= of_row * 8) return n;
    return 0;
  }
};

// The first chunk of a thread, or what it pads.
template <Walk kWalk, int kUnitsOfThread>
struct Place {
  using Chunk = std::conditional_t<kWalk == Walk::kRows, int32_t, int64_t>;
  int64_t row = 0;
  Chunk chunk = 0; // of the row
  bool exists;     // the row
  int64_t pad;     // below 0: nothing

  __device__ __forceinline__ explicit Place(const ChunkArgs& args) {
    if constexpr (kWalk == Walk::kRows) {
      const uint32_t blocks = args.rows.rows * static_cast<uint32_t>(args.row_blocks);
      exists = blockIdx.x < blocks;
      pad = exists ? -1 : static_cast<int64_t>(blockIdx.x - blocks) * blockDim.x + threadIdx.x;
      if (exists) row = ChunkArgs::quotient<true>(blockIdx.x, args.row_blocks, args.by_row_blocks);
      const uint32_t part = blockIdx.x - static_cast<uint32_t>(row) * static_cast<uint32_t>(args.row_blocks);
      chunk = static_cast<int32_t>(part * blockDim.x * kUnitsOfThread + threadIdx.x);
    } else {
      const int64_t unit = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
      exists = unit < args.units;
      pad = unit - args.units;
      if (exists) row = ChunkArgs::quotient<kWalk == Walk::kVector>(unit, args.chunks, args.by_chunks);
      chunk = unit - row * args.chunks;
    }
  }
};

// The codes of values times a factor. kConverts: the target has cvt_fp4.
template <spf_scalar_type C, bool kConverts>
__device__ __forceinline__ void narrow(const float (&v)[kOfThread], float factor, uint32_t (&words)[2]) {
  static_assert(C == SPF_E2M1);
#pragma unroll
  for (int w = 0; w < 2; ++w) {
    float eight[8];
#pragma unroll
    for (int i = 0; i < 8; ++i) eight[i] = v[8 * w + i];
    words[w] = kConverts ? cuda::convert_e2m1x8(eight, factor) : cuda::narrow_e2m1x8(eight, factor);
  }
}
template <spf_scalar_type C, bool>
__device__ __forceinline__ void narrow(const float (&v)[kOfThread], float factor, uint32_t (&words)[4]) {
#pragma unroll
  for (int w = 0; w < 4; ++w) {
    float y[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) y[i] = __fmul_rn(v[4 * w + i], factor);
    words[w] = cuda::narrow_fp8x2<C>(y[0], y[1]) | cuda::narrow_fp8x2<C>(y[2], y[3]) << 16;
#if __CUDA_ARCH__ < 890 // the toolkit's sequence keeps a NaN's sign, the instruction does not
#pragma unroll
    for (int i = 0; i < 4; ++i)
      if (y[i] != y[i]) words[w] = (words[w] & ~(0xffu << (8 * i))) | 0x7fu << (8 * i);
#endif
  }
}

// silu(gate) * up, rounded after the product only.
template <spf_scalar_type T>
__device__ __forceinline__ uint4 gated(const uint4& gate, const uint4& up) {
  constexpr int kElements = cuda::kChunkElements<T>;
  float v[kElements], w[kElements];
  cuda::unpack<T>(gate, v);
  cuda::unpack<T>(up, w);
  float least = 0;
#pragma unroll
  for (int i = 0; i < kElements; ++i) least = fminf(least, v[i]);
  if (least >= -87.0f) {
#pragma unroll
    for (int i = 0; i < kElements; ++i) v[i] = __fmul_rn(silu<true>(v[i]), w[i]);
  } else {
#pragma unroll
    for (int i = 0; i < kElements; ++i) v[i] = __fmul_rn(silu(v[i]), w[i]);
  }
  return cuda::pack<T>(v);
}

// The last expert whose rows begin at or before this one; the first if there is none. All threads of the block call it,
// with rows that do not fall: the block counts the experts up to its first row, and a thread goes on from there.
__device__ __forceinline__ int64_t expert_of(const ChunkArgs& args, int64_t row) {
  __shared__ int64_t first;
  if (threadIdx.x == 0) first = row;
  __syncthreads();
  int64_t expert = 0;
  for (int64_t base = 1; base < args.experts; base += blockDim.x) {
    const int64_t e = base + threadIdx.x;
    expert += __syncthreads_count(e < args.experts && args.offsets[e] <= first);
  }
  while (expert + 1 < args.experts && args.offsets[expert + 1] <= row) ++expert;
  return expert;
}

// Four scales of a row that does not exist; -1 where pad `index` is of one that does.
template <BlockOp kOp>
__device__ __forceinline__ int64_t padding_row(const ChunkArgs& args, int64_t index) {
  if constexpr (!kExperts<kOp>) return args.space.rows + index;
  const int64_t expert = index / 128, tokens = args.offsets[expert + 1] - args.offsets[expert];
  const int64_t missing = index % 128, row = args.scale_offsets[expert] + tokens + missing;
  return missing < (128 - tokens % 128) % 128 && row >= 0 && row < args.padded_rows ? row : -1;
}

// The codes of 16 values and the scale of their block, of which kLanes neighbouring lanes have a part each.
template <BlockOp kOp, spf_scalar_type T, spf_scalar_type C, bool kConverts, int kChunks, int kWords>
__device__ __forceinline__ uint32_t quantize_chunk(uint4 (&x)[kChunks], const GlobalScale& global, MxScaleRule rule,
                                                   uint32_t (&words)[kWords]) {
  constexpr int kElements = cuda::kChunkElements<T>;
  const float largest = largest_of_lanes<kGroup<kOp> / kOfThread>(cuda::amax_of<T>(x));
  float v[kOfThread];
#pragma unroll
  for (int k = 0; k < kChunks; ++k) {
    float part[kElements];
    cuda::stay_packed(x[k]);
    cuda::unpack<T>(x[k], part);
#pragma unroll
    for (int i = 0; i < kElements; ++i) v[k * kElements + i] = part[i];
  }
  BlockScale scale;
  if constexpr (kNvfp4<kOp>) {
    scale = nvfp4_block<!kConverts>(largest, global, v);
  } else {
    scale.code = mx_scale<C>(largest, rule);
    scale.factor = mx_factor(scale.code);
  }
  narrow<C, kConverts>(v, scale.factor, words);
  return scale.code;
}

template <BlockOp kOp, spf_scalar_type T, spf_scalar_type C, bool kConverts, Walk kWalk>
__global__ void __launch_bounds__(kThreads) quantize_chunks(const __grid_constant__ ChunkArgs args) {
  using namespace spf::cuda;
  constexpr bool kVector = kWalk != Walk::kAny;
  constexpr int kLanes = kGroup<kOp> / kOfThread; // of a block of values
  constexpr int kWords = C == SPF_E2M1 ? 2 : 4;
  constexpr int kElements = kChunkElements<T>, kChunks = kOfThread / kElements;
  launch_dependents();
  wait_for_primary();

  constexpr int kOwn = kUnits<kOp, kWalk>;
  const Place<kWalk, kOwn> place(args);
  const int64_t row = place.row;
  bool row_exists = place.exists;
  int64_t expert = 0, scale_row = row;
  if constexpr (kExperts<kOp>) {
    expert = expert_of(args, place.pad < 0 ? row : args.space.rows - 1);
    const int64_t within = row - args.offsets[expert];
    scale_row = args.scale_offsets[expert] + within;
    row_exists =
        row_exists && within >= 0 && row < args.offsets[expert + 1] && scale_row >= 0 && scale_row < args.padded_rows;
  }
  int64_t at[3];
  if constexpr (kVector) {
#pragma unroll
    for (int n = 0; n < 3; ++n) at[n] = args.rows.offset(n, static_cast<uint32_t>(row));
  } else {
    args.space.offsets(row, at);
  }
  const auto chunk_of = [&](int u) { return place.chunk + u * static_cast<int>(blockDim.x); };
  const auto exists = [&](int u) {
    return row_exists && (kWalk != Walk::kRows || chunk_of(u) < static_cast<int32_t>(args.chunks));
  };

  // Values.
  const auto load = [&](int u, int64_t columns, uint4(&to)[kChunks]) {
    const scalar_t<T>* const from = static_cast<const scalar_t<T>*>(args.x) + at[0] + columns + chunk_of(u) * kOfThread;
    const bool vector = kVector || on_16_bytes(from);
#pragma unroll
    for (int k = 0; k < kChunks; ++k)
      to[k] = exists(u) ? load_chunk<T>(from + k * kElements, kElements, vector) : make_uint4(0, 0, 0, 0);
  };
  uint4 x[kOwn][kChunks];
#pragma unroll
  for (int u = 0; u < kOwn; ++u) load(u, 0, x[u]);
  if constexpr (kGated<kOp>) {
    uint4 up[kOwn][kChunks];
#pragma unroll
    for (int u = 0; u < kOwn; ++u) load(u, args.groups * kGroup<kOp>, up[u]);
#pragma unroll
    for (int u = 0; u < kOwn; ++u)
#pragma unroll
      for (int k = 0; k < kChunks; ++k) x[u][k] = gated<T>(x[u][k], up[u][k]);
  }
  GlobalScale global;
  if constexpr (kNvfp4<kOp>) global = global_scale_of(args.global_scale[expert]);

  // Where the first chunk's codes and scale go; those of the others are as far apart as the chunks.
  using Index = std::conditional_t<kVector, uint32_t, int64_t>; // counts the bytes of all swizzled scales
  const auto group = place.chunk / kLanes;
  const uint32_t step = blockDim.x;
  uint8_t* codes = args.codes + at[1] + static_cast<int64_t>(place.chunk) * 4 * kWords;
  uint8_t* in_row = args.scales + at[2] + group;
  uint8_t* swizzled = args.swizzled + swizzled_scale<Index>(static_cast<Index>(scale_row), static_cast<Index>(group),
                                                            static_cast<Index>(args.tiles));
#pragma unroll
  for (int u = 0; u < kOwn; ++u) {
    uint32_t words[kWords];
    const uint32_t scale = quantize_chunk<kOp, T, C, kConverts>(x[u], global, args.rule, words);
    if (exists(u)) {
      store_codes<kVector>(codes, words);
      if (threadIdx.x % kLanes == 0) {
        if (args.scales != nullptr) *in_row = static_cast<uint8_t>(scale);
        if (args.swizzled != nullptr) *swizzled = static_cast<uint8_t>(scale);
      }
    }
    codes += step * (4 * kWords);
    in_row += step / kLanes;
    swizzled += step / (4 * kLanes) * 512; // as many tiles
  }
  if (args.swizzled != nullptr && args.groups % 4 != 0) {
#pragma unroll 1
    for (int u = 0; u < kOwn; ++u)
      if (exists(u) && threadIdx.x % kLanes == 0 && chunk_of(u) / kLanes == args.groups - 1)
        pad_groups(args, scale_row);
  }

  if (const int64_t pad = place.pad; pad >= 0 && pad < args.pads) {
    const int64_t index = args.template row_of_pad<kVector>(pad), tile = pad - index * args.tiles;
    if (const int64_t missing = padding_row<kOp>(args, index); missing >= 0) pad_scales(args, missing, tile);
  }
}

// --- whole sectors of swizzled scales ----------------------------------------------------------------------------

// A row's scales are 4 bytes of each 512-byte tile, and L2 takes as long for those as for 32. So a warp takes what 32
// neighbouring bytes of a tile stand for: four blocks of NVFP4 of eight rows, rows r and r + 1 of each quarter of 128.
//
//   lane: | row r: blocks 0..3 | row r + 32: 0..3 | r + 64 | r + 96 | r + 1 | r + 33 | r + 65 | r + 97 |
//
// Rows and groups that pad are lanes like others: they write zeros.
// A block's kSectorWarps warps take neighbouring tiles, then those behind them, kUnits times.
inline constexpr int kSectorWarps = 4;
template <int kUnits>
struct SectorArgs : BlockArgs {
  explicit SectorArgs(const ChunkArgs& args)
      : BlockArgs(args),
        parts((tiles + kSectorWarps * kUnits - 1) / (kSectorWarps * kUnits)),
        by_parts(parts > 1 ? parts : 2),
        rows(args.rows) {}

  int64_t parts; // blocks of eight rows
  cuda::Divisor by_parts;
  cuda::DeviceRows<3> rows;

  int64_t grid() const { return padded_rows / 8 * parts; }
};

template <BlockOp kOp, spf_scalar_type T, spf_scalar_type C, bool kConverts, int kUnits>
__global__ void __launch_bounds__(32 * kSectorWarps) quantize_sectors(const __grid_constant__ SectorArgs<kUnits> args) {
  using namespace spf::cuda;
  constexpr int kWords = 2, kElements = kChunkElements<T>, kChunks = kOfThread / kElements;
  constexpr uint32_t kApart = 4 * kSectorWarps; // blocks of values
  launch_dependents();
  wait_for_primary();
  const uint32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const uint32_t eight = args.parts == 1 ? blockIdx.x : args.by_parts.quotient(blockIdx.x);
  const uint32_t part = blockIdx.x - eight * static_cast<uint32_t>(args.parts);
  const uint32_t band = eight / 16, sector = eight % 16; // of 128 rows; of a tile
  const uint32_t row = band * 128 + sector * 2 + lane / 16 + lane / 4 % 4 * 32;
  const uint32_t tile = part * (kSectorWarps * kUnits) + warp, group = tile * 4 + lane % 4;
  const uint32_t tiles = static_cast<uint32_t>(args.tiles), groups = static_cast<uint32_t>(args.groups);
  const bool row_exists = row < args.rows.rows;
  const auto exists = [&](int u) { return row_exists && group + u * kApart < groups; };
  int64_t at[3];
#pragma unroll
  for (int n = 0; n < 3; ++n) at[n] = args.rows.offset(n, row_exists ? row : 0);

  const scalar_t<T>* const from = static_cast<const scalar_t<T>*>(args.x) + at[0] + group * kOfThread;
  uint4 x[kUnits][kChunks];
#pragma unroll
  for (int u = 0; u < kUnits; ++u)
#pragma unroll
    for (int k = 0; k < kChunks; ++k)
      x[u][k] = exists(u) ? load16(from + u * (kApart * kOfThread) + k * kElements) : make_uint4(0, 0, 0, 0);
  const GlobalScale global = global_scale_of(*args.global_scale);
  uint8_t* const codes = args.codes + at[1] + group * (4 * kWords);
  uint8_t* const swizzled = args.swizzled + ((static_cast<int64_t>(band) * tiles + tile) * 512 + sector * 32 + lane);
#pragma unroll
  for (int u = 0; u < kUnits; ++u) {
    uint32_t words[kWords];
    const uint32_t scale = quantize_chunk<kOp, T, C, kConverts>(x[u], global, args.rule, words);
    if (exists(u)) store_codes<true>(codes + u * (kApart * 4 * kWords), words);
    if (exists(u) && args.scales != nullptr) args.scales[at[2] + group + u * kApart] = static_cast<uint8_t>(scale);
    if (tile + u * kSectorWarps < tiles)
      swizzled[u * (kSectorWarps * 512)] = exists(u) ? static_cast<uint8_t>(scale) : uint8_t{0};
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

template <BlockOp kOp, spf_scalar_type T, spf_scalar_type C, bool kConverts = false>
spf_status launch_chunks(const Call& call, const LaunchContext& ctx) {
  const BlockArgs args = block_args(call, kOp);
  if (args.empty()) return SPF_OK;
  const ChunkArgs chunks(args, kGroup<kOp>, kUnits<kOp, Walk::kRows>);
  constexpr int kCodeBytes = C == SPF_E2M1 ? kOfThread / 2 : kOfThread;
  const auto with = [&](auto kernel, int64_t units, int threads) {
    const int64_t grid = units + (chunks.pads + threads - 1) / threads;
    return cuda::launch(call.problem.op->name, ctx, kernel, grid, threads, 0, chunks);
  };
  const int64_t blocks = (chunks.units + kThreads - 1) / kThreads, row_blocks = args.space.rows * chunks.row_blocks;
  if (!chunks.vector(sizeof(cuda::scalar_t<T>), kCodeBytes))
    return with(quantize_chunks<kOp, T, C, kConverts, Walk::kAny>, blocks, kThreads);
  if constexpr (kOp == BlockOp::kNvfp4)
    if (chunks.swizzled != nullptr) {
      const auto with_sectors = [&](const auto& sectors, auto kernel) {
        return cuda::launch(call.problem.op->name, ctx, kernel, sectors.grid(), 32 * kSectorWarps, 0, sectors);
      };
      // Four take less where there is work for many blocks: 8192 x 8192 on H200 45.4 us instead of 49.5, but 1000 x
      // 4096 6.3 instead of 6.0.
      const SectorArgs<4> four(chunks);
      return four.grid() >= int64_t{ctx.facts->sm_count} * 8
                 ? with_sectors(four, quantize_sectors<kOp, T, C, kConverts, 4>)
                 : with_sectors(SectorArgs<2>(chunks), quantize_sectors<kOp, T, C, kConverts, 2>);
    }
  if (chunks.threads == 0) return with(quantize_chunks<kOp, T, C, kConverts, Walk::kVector>, blocks, kThreads);
  return with(quantize_chunks<kOp, T, C, kConverts, Walk::kRows>, row_blocks, chunks.threads);
}

} // namespace spf::block_quantize
