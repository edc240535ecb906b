// out[m,n] = sum_k x[m,k] * weight[k,n] + bias[n] for up to 8 tokens, reading weights in the Marlin order once, at the
// speed of memory. x, out: f16 or bf16; codes and scales enter exactly, sums in f32.
//
//   columns   tile 0   tile 1   tile 2 ...          a tile is 64 columns, a unit 64 columns x 128 k (8 rows of 16 k)
//   cluster q owns the tiles [T q / Q, T (q+1) / Q); its two blocks own the upper and the lower half of K
//   block     | tile a: unit unit unit | tile b: unit unit unit | ...      its units in this order,
//   warps     |----- w0 -----|----- w1 -----|----- w2 ----| ...            cut into eight equal runs
//
// A warp streams its run through its own ring in shared memory; no warp waits for another before the end. Weights are
// the 16-row operand: a lane's words of 16 columns are the A fragment of one m16n8k16, tokens are its n side.
//
//   4-bit integers   enter as P + code (decode/int4.cuh); an A operand of ones yields sum(x) in the layout of the
//                    accumulators, so that a fold, once a group, adds scale * (sum - (P + zero) * sum(x)) in f32
//   8 bits           enter as numbers without a scale; a fold adds scale * sum in f32
//   e2m1             times its scale has six binary digits at most, so it enters scaled, and nothing is folded
//
// The sums of a column are spread over warps and over the two blocks. A warp that leaves a column sends half of its 64
// sums a token to each block; when all are there, a block adds what came warp by warp in the order of K, and writes.
// The order depends on n, k and the device alone: a token's bits do not depend on its neighbours.
//
// Needs: the layout "marlin"; the geometry of sm90_stream.hpp. Weights are requested before griddepcontrol.wait.
#pragma once

#include <algorithm>

#include "kernels/common/cuda/async.cuh"
#include "kernels/common/cuda/launch.cuh"
#include "kernels/common/cuda/scalar.cuh"
#include "kernels/common/cuda/tensor_copy.cuh"
#include "kernels/common/decode/fragment.cuh"
#include "kernels/common/decode/int4.cuh"
#include "kernels/common/decode/scale_order.cuh"
#include "kernels/common/mma/m16n8k16.cuh"
#include "kernels/common/rows.hpp"
#include "kernels/linear/policy_cuda.hpp"

namespace spf::linear {

inline constexpr int kStreamTokens = 16;

struct StreamArgs {
  const uint4* codes;        // [K/16][N/64] tiles
  const void* scales;        // [groups][padded_n], columns permuted
  const uint32_t* zeros;     // [groups][padded_n / 8], or nullptr
  const float* global_scale; // or nullptr
  const void* x;
  void* out;
  const void* bias;                                     // [n] or nullptr
  int64_t x_row[kStreamTokens], out_row[kStreamTokens]; // first elements of the tokens' rows
  int32_t m, n, k;
  int32_t tiles, rows, groups; // 64-column tiles, k16 rows, rows of scales
  uint32_t group_factor;       // 2^32 over the k16 rows that share a scale, rounded up: rows and groups are below 2^16
  uint32_t piece_factor;       // the same of `pieces`
  uint32_t unit_factor[StreamGeometry::kCluster]; // the same of a rank's units
  int32_t units, x_pitch, pieces;
  int32_t columns, wide_clusters; // tiles of a cluster; clusters, the first ones, that have one more
  float unit;                     // what every sum has to be multiplied by
  float column_factor;            // what the scales of columns have to be multiplied by
  spf_scalar_type bias_type, scale_type;
  bool bulk_x;    // rows of x start on 16 bytes and hold whole 16-byte pieces
  bool dependent; // launched with programmatic dependent launch
};

// kFold: k16 rows between scales, 0 for one scale a column. kTokenTiles: tiles of 8 tokens.
template <spf_scalar_type T, spf_scalar_type kCode, int kFold, int kTokenTiles>
struct StreamConfig {
  using G = StreamGeometry;
  static constexpr spf_scalar_type kType = T, kWeight = kCode;
  static constexpr bool kColumnScale = kFold == 0, kHasZeros = wgmma_zeros(kCode);
  static constexpr bool kOffset = kCode == SPF_U4;   // codes enter as P + code
  static constexpr bool kScaled = kCode == SPF_E2M1; // codes enter with their scales
  static constexpr bool kFolds = kOffset || (!kScaled && !kColumnScale);
  static constexpr int kFoldRows = kColumnScale ? G::kUnitRows : kFold;
  static constexpr int kTiles = kTokenTiles;
  static constexpr int kThreads = 32 * G::kWarps;
  static constexpr int kBits = wgmma_bits(kCode), kScaleBytes = wgmma_scale_bytes(kCode);
  static constexpr StreamSlot kSlot = stream_slot(kCode, kFoldRows, kColumnScale);
  static constexpr int kRows = kSlot.rows, kRowBytes = 128 * kBits;  // of a stage
  static constexpr int kPieces = kSlot.folds * kSlot.scale_row / 16; // of a stage's scales
  static constexpr uint32_t kOnes = T == SPF_F16 ? 0x3c003c00u : 0x3f803f80u;
  using Fragment = cuda::WeightFragment<T, kCode, kScaled, kFold == 1>;
  static constexpr float kUnit = kOffset ? 1.0f : Fragment::kUnit;
  static_assert(kFoldRows == 1 || kFoldRows == 2 || kFoldRows == 4 || kFoldRows == 8);
  static_assert(kPieces <= 32 && (kScaled || kFoldRows > 1));
};

// The row of scales, counted in tiles of 64 columns, that k16 row `at` takes. Args: of this kernel or sm90_column.
template <class C, class Args>
__device__ __forceinline__ int64_t scale_row(const Args& a, int at) {
  const int group = min(C::kFoldRows == 1 ? at : static_cast<int>(__umulhi(at, a.group_factor)), a.groups - 1);
  return static_cast<int64_t>(group) * a.tiles;
}

// A (column tile, unit) position of a run, both counted from the block's first.
struct StreamCursor {
  int column, unit;
};

// Requests a warp's weights, stage by stage, in the order in which they are consumed.
template <class C>
struct StreamProducer {
  using G = StreamGeometry;
  static constexpr int kRow16 = C::kRowBytes / 16; // pieces of a tile's row
  const StreamArgs& a;
  const uint4* next;                        // codes of the next row, at this lane
  const uint4* column_start;                // the same of the block's first row in column 0
  uint32_t ring;                            // shared address of the warp's ring
  int lane, first_tile, first_row, end_row; // rows of the block's part of K
  int column, row, left, slot; // row counts from the block's first; left: rows of the run not yet requested

  // Where piece `lane` + 32 i of a row lies. 8-bit codes: of each sixteen the upper eight trade places, so that lanes
  // that read two pieces each meet in no bank.
  static __device__ __forceinline__ int place(int piece) { return C::kBits == 8 ? piece ^ (piece / 8 % 2) : piece; }

  __device__ __forceinline__ void request() {
    if (left > 0) {
      const uint32_t to = ring + slot * C::kSlot.bytes;
      const int valid = a.rows - first_row - row; // rows that exist
#pragma unroll
      for (int i = 0; i < C::kRows; ++i) {
#pragma unroll
        for (int p = 0; p < kRow16 / 32; ++p)
          cuda::copy_async<16>(to + i * C::kRowBytes + p * 512 + place(lane) * 16, next + p * 32, i < valid);
        next += static_cast<int64_t>(a.tiles) * kRow16;
      }
      request_scales(to);
      left -= C::kRows;
      row += C::kRows;
      if (row == end_row) {
        row = 0;
        next = column_start + ++column * kRow16;
      }
    }
    cuda::commit_copies();
    slot = slot + 1 == G::kStages ? 0 : slot + 1;
  }

  // The row of scales, counted in tiles of 64 columns, that fold f of this stage takes.
  __device__ __forceinline__ int64_t scale_tile(int f) const {
    return scale_row<C>(a, first_row + row + f * C::kFoldRows) + first_tile + column;
  }
  __device__ __forceinline__ void request_scales(uint32_t to) const {
    if constexpr (C::kColumnScale && !C::kHasZeros) return;
    if (row % C::kFoldRows != 0) return; // the group began in the stage before
    if constexpr (!C::kColumnScale) {
      constexpr int kEach = C::kSlot.scale_row / 16;
      if (lane < C::kPieces)
        cuda::copy_async<16>(to + C::kSlot.scales_at + lane * 16,
                             static_cast<const uint4*>(a.scales) + scale_tile(lane / kEach) * kEach + lane % kEach,
                             true);
    }
    if constexpr (C::kHasZeros)
      if (lane < 2 * C::kSlot.folds)
        cuda::copy_async<16>(to + C::kSlot.zeros_at + lane * 16, a.zeros + scale_tile(lane / 2) * 8 + lane % 2 * 4,
                             true);
  }
};

// This block's slice of x, columns [first_k, first_k + width), [m][x_pitch] in shared memory, zeros behind K.
template <class C>
__device__ __forceinline__ void stage_activations(const StreamArgs& a, uint8_t* to, int first_k, int width,
                                                  cuda::Barrier& arrived) {
  const auto* x = static_cast<const uint16_t*>(a.x);
  const int real = max(min(width, a.k - first_k), 0), bulk = a.bulk_x ? real : 0;
  if (threadIdx.x == 0) arrived.arrive_expect(a.m * bulk * 2);
  if (threadIdx.x % 32 == 0 && bulk > 0) // a warp a token: one thread alone asks for too little at a time
    for (int t = threadIdx.x / 32; t < a.m; t += StreamGeometry::kWarps)
      cuda::copy_bulk(cuda::shared_address(to) + t * a.x_pitch, x + a.x_row[t] + first_k, bulk * 2, arrived);
  const int count = width - bulk;
  for (int i = threadIdx.x; i < a.m * count; i += C::kThreads) {
    const int t = i / count, c = bulk + i - t * count;
    uint16_t value = 0;
    if (c < real) value = x[a.x_row[t] + first_k + c];
    *reinterpret_cast<uint16_t*>(to + t * a.x_pitch + 2 * c) = value;
  }
}

// A lane's scales and zero points of one group: 8 columns, two of each 16.
template <class C>
struct StreamScales {
  static constexpr int kWords = 2 * C::kScaleBytes;
  uint32_t words[kWords];
  uint32_t zeros;

  __device__ __forceinline__ void load(const uint8_t* slot, int f, int lane) {
    if constexpr (!C::kColumnScale) {
      const uint8_t* from = slot + C::kSlot.scales_at + f * C::kSlot.scale_row + lane / 4 * (4 * kWords);
      if constexpr (kWords == 2) {
        const uint2 v = *reinterpret_cast<const uint2*>(from);
        words[0] = v.x;
        words[1] = v.y;
      } else {
#pragma unroll
        for (int i = 0; i < kWords; i += 4) {
          const uint4 v = *reinterpret_cast<const uint4*>(from + 4 * i);
          words[i] = v.x;
          words[i + 1] = v.y;
          words[i + 2] = v.z;
          words[i + 3] = v.w;
        }
      }
    }
    if constexpr (C::kHasZeros)
      zeros = *reinterpret_cast<const uint32_t*>(slot + C::kSlot.zeros_at + f * 32 + lane / 4 * 4);
  }
  // Of columns j * 16 + lane / 4 and + 8, to fold with.
  __device__ __forceinline__ void factors(float2 (&factor)[4], spf_scalar_type type) const {
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      if constexpr (C::kColumnScale)
        factor[j] = make_float2(1.0f, 1.0f);
      else if constexpr (C::kScaleBytes == 4)
        factor[j] = make_float2(__uint_as_float(words[2 * j]), __uint_as_float(words[2 * j + 1]));
    }
    if constexpr (!C::kColumnScale && C::kScaleBytes == 2) {
      if (type == SPF_BF16) {
#pragma unroll
        for (int j = 0; j < 4; ++j) factor[j] = cuda::Scalar<SPF_BF16>::widen2(words[j]);
      } else {
#pragma unroll
        for (int j = 0; j < 4; ++j) factor[j] = cuda::Scalar<SPF_F16>::widen2_here(words[j]);
      }
    }
  }
  // The same as bytes, in the form that a decoder takes (decode/fragment.cuh).
  __device__ __forceinline__ cuda::RowFacts bytes(int j) const {
    return {{words[j / 2] >> (8 * (j % 2)) & 0x00ff00ffu, 0}, 0};
  }
};

// acc += scale * (sum - (P + zero) * sum_x) for the 16 columns x 2 tokens of a lane, four subtiles of 16 columns.
template <class C>
__device__ __forceinline__ void fold(float (&acc)[4][4], const float (&sum)[4][4], const float (&sum_x)[4],
                                     const float2 (&factor)[4], uint32_t zeros) {
  using namespace spf::cuda;
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    float2 offset = make_float2(0.0f, 0.0f);
    if constexpr (C::kHasZeros)
      offset = Scalar<C::kType>::widen2(offset_codes<C::kType>(zeros >> (4 * j)));
    else if constexpr (C::kOffset)
      offset = make_float2(CodeOffset<C::kType>::kValue + 8, CodeOffset<C::kType>::kValue + 8);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float scale = i < 2 ? factor[j].x : factor[j].y;
      acc[j][i] += scale * (C::kOffset ? sum[j][i] - (i < 2 ? offset.x : offset.y) * sum_x[i % 2] : sum[j][i]);
    }
  }
}

// A warp's sums: tiles of 8 tokens, subtiles of 16 columns, m16n8 accumulators.
template <class C>
using StreamSums = float[C::kTiles][4][4];

// What a warp multiplies with, of the group that it is in.
template <class C>
struct StreamMultiplier {
  StreamSums<C> sum;
  float sum_x[C::kTiles][4];
  StreamScales<C> scales = {};
  typename C::Fragment decoders[4];

  __device__ __forceinline__ StreamMultiplier() {
    if constexpr (!C::kOffset && !C::kScaled)
#pragma unroll
      for (int j = 0; j < 4; ++j) decoders[j].prepare({}, false);
    clear();
  }
  __device__ __forceinline__ void clear() {
#pragma unroll
    for (int q = 0; q < C::kTiles; ++q)
#pragma unroll
      for (int i = 0; i < 16; ++i) {
        sum[q][i / 4][i % 4] = 0.0f;
        if (i < 4) sum_x[q][i] = 0.0f;
      }
  }
  __device__ __forceinline__ void begin(const uint8_t* slot, int f, int lane) {
    scales.load(slot, f, lane);
    if constexpr (C::kScaled)
#pragma unroll
      for (int j = 0; j < 4; ++j) decoders[j].prepare(scales.bytes(j), false);
  }
  // 16 k: a lane's words, and its registers of the B fragments.
  __device__ __forceinline__ void multiply(StreamSums<C>& acc, const uint32_t (&words)[C::kBits],
                                           const uint32_t (&x)[C::kTiles][4], int half) {
    using namespace spf::cuda;
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      uint32_t w[4];
      if constexpr (C::kOffset) {
        w[0] = offset_codes<C::kType>(words[j]);
        w[1] = offset_codes<C::kType>(words[j] >> 8);
        w[2] = offset_codes<C::kType>(words[j] >> 4);
        w[3] = offset_codes<C::kType>(words[j] >> 12);
      } else {
        uint32_t own[C::kBits / 4];
#pragma unroll
        for (int i = 0; i < C::kBits / 4; ++i) own[i] = words[j * (C::kBits / 4) + i];
        decoders[j].decode(w, own);
      }
#pragma unroll
      for (int q = 0; q < C::kTiles; ++q)
        mma_m16n8k16<C::kType>(C::kFolds ? sum[q][j] : acc[q][j], w[0], w[1], w[2], w[3], x[q][2 * half],
                               x[q][2 * half + 1]);
    }
    if constexpr (C::kOffset)
#pragma unroll
      for (int q = 0; q < C::kTiles; ++q)
        mma_m16n8k16<C::kType>(sum_x[q], C::kOnes, C::kOnes, C::kOnes, C::kOnes, x[q][2 * half], x[q][2 * half + 1]);
  }
  __device__ __forceinline__ void end(StreamSums<C>& acc, spf_scalar_type scale_type) {
    if constexpr (C::kFolds) {
      float2 factor[4];
      scales.factors(factor, scale_type);
#pragma unroll
      for (int q = 0; q < C::kTiles; ++q) fold<C>(acc[q], sum[q], sum_x[q], factor, scales.zeros);
      clear();
    }
  }
};

// Where sums meet: [rank][column + warp][piece], pieces of two columns x two tokens of the 32 columns that a block
// finishes. A warp leaves a column at most once, so column + warp is its own.
struct StreamExchange {
  float4* sums;
  uint8_t* met;                      // [rank][column]: which warps have units of it, a bit each
  int columns, pieces, upper, lower; // upper, lower: units of the ranks
  static_assert(StreamGeometry::kWarps == 8);

  __device__ __forceinline__ int units(int rank) const { return rank == 0 ? upper : lower; }
  __device__ __forceinline__ int begin(int rank, int warp) const {
    return columns * units(rank) * warp / StreamGeometry::kWarps;
  }
  __device__ __forceinline__ float4* slot(int rank, int index) const {
    return sums + (rank * (columns + StreamGeometry::kWarps) + index) * pieces;
  }
  // Of columns j * 16 + row and + 8 (j of this block's two), tokens 2 pair and + 1: rows of different pairs in
  // different banks.
  __device__ __forceinline__ int piece(int j, int row, int pair) const {
    return (j * (pieces / 16) + pair) * 8 + (row + 2 * pair) % 8;
  }
  // Writes who meets what, and returns the bytes that will be sent to this block. All threads of a warp.
  __device__ __forceinline__ uint32_t prepare() const {
    uint32_t count = 0;
    for (int i = threadIdx.x % 32; i < StreamGeometry::kCluster * columns; i += 32) {
      const int rank = i >= columns ? 1 : 0, n = units(rank), first = (i - rank * columns) * n;
      uint32_t bits = 0;
#pragma unroll
      for (int w = 0; w < StreamGeometry::kWarps; ++w)
        if (max(begin(rank, w), first) < min(begin(rank, w + 1), first + n)) bits |= 1u << w;
      met[i] = static_cast<uint8_t>(bits);
      count += __popc(bits);
    }
#pragma unroll
    for (int lane = 16; lane > 0; lane /= 2) count += __shfl_xor_sync(0xffffffffu, count, lane);
    return count * pieces * 16;
  }
  // What the warps of a rank left of a piece, in their order.
  __device__ __forceinline__ float4 total(int rank, int column, int at) const {
    float4 v = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    const uint32_t bits = met[rank * columns + column];
    const float4* from = slot(rank, column) + at;
    for (int first = __ffs(bits) - 1; first >= 0 && bits >> first != 0; first += 4) {
      float4 part[4] = {};
#pragma unroll
      for (int i = 0; i < 4; ++i)
        if (bits >> (first + i) & 1) part[i] = from[(first + i) * pieces];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        v.x += part[i].x;
        v.y += part[i].y;
        v.z += part[i].z;
        v.w += part[i].w;
      }
    }
    return v;
  }
};

// A lane's words of a k16 row of a stage.
template <class C>
__device__ __forceinline__ void load_row(const uint8_t* row, int lane, uint32_t (&words)[C::kBits]) {
#pragma unroll
  for (int p = 0; p < C::kBits / 4; ++p) {
    const int piece = lane * (C::kBits / 4) + p;
    const uint4 v = *reinterpret_cast<const uint4*>(row + StreamProducer<C>::place(piece) * 16);
    words[4 * p] = v.x;
    words[4 * p + 1] = v.y;
    words[4 * p + 2] = v.z;
    words[4 * p + 3] = v.w;
  }
}

// Column n of a token's row, if there are such.
template <class C>
__device__ __forceinline__ void write_value(const StreamArgs& a, int token, int n, float scale, float bias, float v) {
  using namespace spf::cuda;
  if (token < a.m && n < a.n)
    static_cast<scalar_t<C::kType>*>(a.out)[a.out_row[token] + n] = Scalar<C::kType>::narrow(v * scale + bias);
}

template <class C>
__global__ void __launch_bounds__(C::kThreads, 2) stream_linear(const __grid_constant__ StreamArgs a) {
  using namespace spf::cuda;
  using G = StreamGeometry;
  static_assert(G::kCluster == 2);
  SPF_DYNAMIC_SHARED(uint8_t, memory, 128);
  __shared__ Barrier x_arrived, sums_arrived;

  // --- indices: the block's tiles and units, the warp's run of them
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int rank = static_cast<int>(cluster_rank()), cluster = blockIdx.x / G::kCluster;
  const int columns = a.columns + (cluster < a.wide_clusters ? 1 : 0);
  const int first_tile = cluster * a.columns + min(cluster, a.wide_clusters);
  const int upper = a.units / 2, first_unit = rank * upper;

  // --- shared memory
  uint8_t* x_slice = memory + G::kWarps * G::kStages * C::kSlot.bytes;
  const uint8_t* ring = memory + warp * G::kStages * C::kSlot.bytes;
  StreamExchange exchange = {
      reinterpret_cast<float4*>(x_slice + a.m * a.x_pitch), nullptr, columns, a.pieces, upper, a.units - upper};
  exchange.met = reinterpret_cast<uint8_t*>(exchange.slot(G::kCluster, 0));
  const int units = exchange.units(rank), run = exchange.begin(rank, warp), run_end = exchange.begin(rank, warp + 1);
  StreamCursor at = {units == 1 ? run : static_cast<int>(__umulhi(run, a.unit_factor[rank])), 0};
  at.unit = run - at.column * units;

  // --- barriers
  launch_dependents(); // at once: its weights come while this launch waits for x
  if (threadIdx.x == 0) {
    x_arrived.init(1);
    sums_arrived.init(1);
    fence_barrier_init();
  }
  __syncthreads();
  cluster_arrive_relaxed();

  // --- producer: fill the ring; x first if nothing has to be waited for
  StreamProducer<C> producer = {.a = a,
                                .ring = shared_address(ring),
                                .lane = lane,
                                .first_tile = first_tile,
                                .first_row = first_unit * G::kUnitRows,
                                .end_row = units * G::kUnitRows,
                                .column = at.column,
                                .row = at.unit * G::kUnitRows,
                                .left = (run_end - run) * G::kUnitRows,
                                .slot = 0};
  constexpr int kRow16 = StreamProducer<C>::kRow16;
  producer.column_start = a.codes + (static_cast<int64_t>(producer.first_row) * a.tiles + first_tile) * kRow16 + lane;
  producer.next = producer.column_start + (static_cast<int64_t>(producer.row) * a.tiles + at.column) * kRow16;
  const auto load_x = [&] { stage_activations<C>(a, x_slice, first_unit * 128, units * 128, x_arrived); };
  if (!a.dependent) load_x();
#pragma unroll
  for (int s = 0; s < G::kStages - 1; ++s) producer.request();
  if (warp == G::kWarps - 1) {
    const uint32_t bytes = exchange.prepare();
    if (lane == 0) sums_arrived.arrive_expect(bytes);
  }
  wait_for_primary();
  if (a.dependent) load_x();
  __syncthreads();
  x_arrived.wait(0);
  cluster_wait(); // the other block's barrier exists

  // --- consumer
  StreamSums<C> acc = {};
  const auto leave_sums = [&](int column) {
#pragma unroll
    for (int q = 0; q < C::kTiles; ++q)
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        float(&v)[4] = acc[q][j];
        const int pair = q * 4 + lane % 4;
        if (2 * pair < a.m) {
          float4* to = exchange.slot(rank, column + warp) + exchange.piece(j % 2, lane / 4, pair);
          store_counted(in_block(shared_address(to), j / 2), in_block(shared_address(&sums_arrived.word), j / 2),
                        make_float4(v[0], v[1], v[2], v[3]));
        }
        v[0] = v[1] = v[2] = v[3] = 0.0f;
      }
  };
  uint32_t x_at[C::kTiles]; // tokens that do not exist read the last one's row; their sums are never written
#pragma unroll
  for (int q = 0; q < C::kTiles; ++q)
    x_at[q] = shared_address(x_slice) + min(q * 8 + lane % 8, a.m - 1) * a.x_pitch + lane / 8 * 16;

  int slot = 0;
  StreamMultiplier<C> multiplier;
  for (int done = run; done < run_end; ++done) {
#pragma unroll
    for (int stage = 0; stage < G::kUnitRows / C::kRows; ++stage) {
      wait_for_copies<G::kStages - 2>();
      __syncwarp(); // scales, and codes of 8 bits, come by other lanes
      const uint8_t* from = ring + slot * C::kSlot.bytes;
      uint32_t words[C::kRows][C::kBits];
#pragma unroll
      for (int i = 0; i < C::kRows; ++i) load_row<C>(from + i * C::kRowBytes, lane, words[i]);
      uint32_t x[C::kTiles][4];
#pragma unroll
      for (int i = 0; i < C::kRows; ++i) {
        const int row = stage * C::kRows + i;
        if (i % 2 == 0)
#pragma unroll
          for (int q = 0; q < C::kTiles; ++q) load_matrices(x[q], x_at[q] + at.unit * 256 + row * 32);
        if (row % C::kFoldRows == 0) multiplier.begin(from, i / C::kFoldRows, lane);
        multiplier.multiply(acc, words[i], x, i % 2);
        if ((row + 1) % C::kFoldRows == 0) multiplier.end(acc, a.scale_type);
      }
      __syncwarp(); // every lane has read
      producer.request();
      slot = slot + 1 == G::kStages ? 0 : slot + 1;
    }
    if (++at.unit == units) {
      leave_sums(at.column++);
      at.unit = 0;
    }
  }
  if (run < run_end && at.unit != 0) leave_sums(at.column);

  // --- epilogue: this block's half of each column's sums. The halves of a warp add up what came from each rank, then
  // write 8 columns each
  const float unit = a.global_scale ? a.unit * *a.global_scale : a.unit;
  sums_arrived.wait(0);
  for (int at = warp * 16; at < columns * exchange.pieces; at += G::kWarps * 16) {
    const int half = lane / 16, e = at + lane % 16, column = static_cast<int>(__umulhi(e, a.piece_factor));
    const int piece = e - column * exchange.pieces;
    const float4 v = exchange.total(half, column, piece);
    const float first = (half == 0 ? v.x : v.z) + __shfl_xor_sync(0xffffffffu, half == 0 ? v.z : v.x, 16);
    const float second = (half == 0 ? v.y : v.w) + __shfl_xor_sync(0xffffffffu, half == 0 ? v.w : v.y, 16);
    const int pairs = exchange.pieces / 16, j = piece >= exchange.pieces / 2 ? 1 : 0, pair = piece / 8 - j * pairs;
    const int in_tile = (2 * rank + j) * 16 + half * 8 + (piece - 2 * pair) % 8;
    const int n = (first_tile + column) * 64 + in_tile;
    if (n >= a.n) continue;
    float scale = unit, bias = 0.0f;
    if constexpr (C::kColumnScale)
      scale *= a.column_factor * load_any(a.scales,
                                          static_cast<int64_t>(first_tile + column) * 64 + column_scale_place(in_tile),
                                          a.scale_type);
    if (a.bias) bias = load_any(a.bias, n, a.bias_type);
    write_value<C>(a, 2 * pair, n, scale, bias, first);
    write_value<C>(a, 2 * pair + 1, n, scale, bias, second);
  }
}

// --- launch ---------------------------------------------------------------------------------------------------------

// What to multiply by, of which the upper 32 bits are the quotient. 1 is asked for nowhere.
inline uint32_t division_factor(int64_t d) {
  d = std::max<int64_t>(d, 2);
  return static_cast<uint32_t>(((int64_t{1} << 32) + d - 1) / d);
}

// What sm90_column takes of a call too: of its shape, which `clusters` divide, ...
template <class Args>
void stream_extents(const StreamShape& shape, int clusters, Args* a) {
  const int64_t k16 = stream_ceil(shape.k, 16);
  a->m = static_cast<int32_t>(shape.m);
  a->n = static_cast<int32_t>(shape.n);
  a->tiles = static_cast<int32_t>(stream_ceil(shape.n, 64));
  a->rows = static_cast<int32_t>(k16);
  a->groups = static_cast<int32_t>(shape.group == 0 ? 1 : stream_ceil(shape.k, shape.group));
  a->group_factor = division_factor(shape.group == 0 ? k16 : shape.group / 16);
  a->columns = a->tiles / clusters;
  a->wide_clusters = a->tiles % clusters;
}

// ... and of its weight, bias and out.
template <class C, class Args>
void stream_operands(const Call& call, Args* a) {
  const spf_packed_weight& w = *call.weight;
  const auto* data = static_cast<const char*>(w.data);
  a->codes = reinterpret_cast<const uint4*>(data);
  a->scales = data + w.scales_offset;
  a->scale_type = w.scheme.scale;
  a->unit = C::kUnit;
  a->column_factor = marlin_column_factor(w.scheme);
  if constexpr (C::kHasZeros) a->zeros = reinterpret_cast<const uint32_t*>(data + w.zeros_offset);
  if (w.scheme.has_global_scale) a->global_scale = reinterpret_cast<const float*>(data + w.global_offset);
  a->out = call.operand("out")->data;
  if (const spf_tensor* bias = call.operand("bias")) {
    a->bias = bias->data;
    a->bias_type = bias->type;
  }
}

// What follows from a shape and its geometry.
inline void stream_divide(const StreamShape& shape, const StreamGeometry& g, StreamArgs* a) {
  stream_extents(shape, g.clusters, a);
  a->k = static_cast<int32_t>(shape.k);
  a->pieces = stream_pieces(a->m);
  a->piece_factor = division_factor(a->pieces);
  a->units = g.units;
  const int upper = g.units / 2;
  a->unit_factor[0] = division_factor(upper);
  a->unit_factor[1] = division_factor(g.units - upper);
  a->x_pitch = g.x_pitch;
}

template <spf_scalar_type T, spf_scalar_type kWeight, int kFold>
spf_status stream(const Call& call, const LaunchContext& ctx) {
  using C = StreamConfig<T, kWeight, kFold, 1>;
  const StreamShape shape = stream_shape(call.problem);
  if (shape.m == 0 || shape.n == 0) return SPF_OK;
  const StreamGeometry g = stream_geometry(shape, *ctx.facts);
  const spf_tensor &x = *call.operand("x"), &out = *call.operand("out");
  StreamArgs a = {};
  stream_operands<C>(call, &a);
  a.x = x.data;
  const RowSpace<2> space = row_space({&x, &out});
  bool aligned = (reinterpret_cast<uintptr_t>(x.data) & 15) == 0 && shape.k % 8 == 0;
  for (int64_t t = 0; t < shape.m; ++t) {
    int64_t offsets[2];
    space.offsets(t, offsets);
    a.x_row[t] = offsets[0];
    a.out_row[t] = offsets[1];
    aligned = aligned && offsets[0] % 8 == 0;
  }
  stream_divide(shape, g, &a);
  a.bulk_x = aligned;
  a.dependent = (ctx.flags & SPF_LAUNCH_PDL) != 0;
  const int grid = g.clusters * StreamGeometry::kCluster;
  return cuda::launch("linear", ctx, stream_linear<C>, grid, C::kThreads, g.shared_bytes, a, StreamGeometry::kCluster);
}

} // namespace spf::linear
