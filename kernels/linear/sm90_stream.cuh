// out[m,n] = sum_k x[m,k] * scale[k/group,n] * (code[k,n] - zero[k/group,n]) + bias[n] for up to 16 tokens, reading
// 4-bit weights in the Marlin order once, at the speed of memory. x, out: f16 or bf16; sums in f32.
//
//   columns   tile 0   tile 1   tile 2 ...          a tile is 64 columns, a unit 64 columns x 128 k (8 rows of 16 k)
//   cluster q owns the tiles [T q / Q, T (q+1) / Q); its two blocks own the upper and the lower half of K
//   block     | tile a: unit unit unit | tile b: unit unit unit | ...      its units in this order,
//   warps     |----- w0 -----|----- w1 -----|----- w2 ----| ...            cut into eight equal runs
//
// A warp streams its run through its own ring in shared memory; no warp waits for another before the end. Weights are
// the 16-row operand: one packed word is the A fragment of one m16n8k16, tokens are its n side. Codes enter as P + code
// (decode/int4.cuh); an A operand of ones yields sum(x) in the layout of the accumulators, so that a fold, once a
// group, adds scale * (sum - (P + zero) * sum(x)) in f32.
//
// The sums of a column are spread over warps and over the two blocks. Warps leave theirs in shared memory; one pass
// adds them in warp order and sends each to the block that owns the (tile, token) row, which adds blocks in rank order
// and writes. The order depends on n, k and the device alone: a token's bits do not depend on its neighbours.
//
// Needs: the layout "marlin"; the geometry of sm90_stream.hpp. Weights are requested before griddepcontrol.wait.
#pragma once

#include <algorithm>

#include "kernels/common/cuda/async.cuh"
#include "kernels/common/cuda/launch.cuh"
#include "kernels/common/cuda/scalar.cuh"
#include "kernels/common/decode/int4.cuh"
#include "kernels/common/decode/scale_order.cuh"
#include "kernels/common/mma/m16n8k16.cuh"
#include "kernels/common/rows.hpp"
#include "kernels/linear/policy_cuda.hpp"

namespace spf::linear {

inline constexpr int kStreamTokens = 16;

struct StreamArgs {
  const uint4* codes;    // [K/16][N/64] tiles of 512 bytes
  const void* scales;    // [groups][padded_n] f16 or bf16, columns permuted
  const uint32_t* zeros; // [groups][padded_n / 8], or nullptr
  const void* x;
  void* out;
  const void* bias;                                     // [n] or nullptr
  int64_t x_row[kStreamTokens], out_row[kStreamTokens]; // first elements of the tokens' rows
  int32_t m, n, k;
  int32_t tiles, rows, groups; // 64-column tiles, k16 rows, rows of scales
  uint32_t group_factor;       // 2^32 over the k16 rows that share a scale, rounded up: rows and groups are below 2^16
  int32_t units, clusters, x_pitch;
  spf_scalar_type bias_type;
  bool bf16_scales;
  bool bulk_x;    // rows of x start on 16 bytes and hold whole 16-byte pieces
  bool dependent; // launched with programmatic dependent launch
};

// kFold: k16 rows between scales, 0 for one scale a column. kTokenTiles: tiles of 8 tokens.
template <spf_scalar_type T, bool kZeros, int kFold, int kTokenTiles>
struct StreamConfig {
  using G = StreamGeometry;
  static constexpr spf_scalar_type kType = T;
  static constexpr bool kHasZeros = kZeros, kColumnScale = kFold == 0;
  static constexpr int kFoldRows = kColumnScale ? G::kUnitRows : kFold;
  static constexpr int kTiles = kTokenTiles;
  static constexpr int kThreads = 32 * G::kWarps;
  static constexpr StreamSlot kSlot = stream_slot(kFoldRows, kColumnScale, kZeros);
  static constexpr int kFoldsAStage = kSlot.folds;
  static constexpr int kStepRows = kFoldRows < G::kRows ? kFoldRows : G::kRows; // rows between possible folds
  static constexpr int kScalesAt = kSlot.scales_at, kZerosAt = kSlot.zeros_at, kSlotBytes = kSlot.bytes;
  static constexpr int kMinBlocks = kTokenTiles == 1 ? 2 : 1;
  static constexpr uint32_t kOnes = T == SPF_F16 ? 0x3c003c00u : 0x3f803f80u;
  static_assert(kFoldRows == 2 || kFoldRows == 4 || kFoldRows == 8);
};

// A (column tile, unit) position of a run, both counted from the block's first.
struct StreamCursor {
  int column, unit;
};

// Requests a warp's weights, stage by stage, in the order in which they are consumed.
template <class C>
struct StreamProducer {
  using G = StreamGeometry;
  const StreamArgs& a;
  const uint4* next;                        // codes of the next row, at this lane
  const uint4* column_start;                // the same of the block's first row in column 0
  uint32_t ring;                            // shared address of the warp's ring
  int lane, first_tile, first_row, end_row; // rows of the block's part of K
  int column, row, left, slot; // row counts from the block's first; left: rows of the run not yet requested

  __device__ __forceinline__ void request() {
    if (left > 0) {
      const uint32_t to = ring + slot * C::kSlotBytes;
      const int valid = a.rows - first_row - row; // rows that exist
#pragma unroll
      for (int i = 0; i < G::kRows; ++i) {
        cuda::copy_async<16>(to + i * 512 + lane * 16, next, i < valid);
        next += static_cast<int64_t>(a.tiles) * 32;
      }
      request_scales(to);
      left -= G::kRows;
      row += G::kRows;
      if (row == end_row) {
        row = 0;
        next = column_start + ++column * 32;
      }
    }
    cuda::commit_copies();
    slot = slot + 1 == G::kStages ? 0 : slot + 1;
  }

  __device__ __forceinline__ void request_scales(uint32_t to) const {
    if constexpr (C::kColumnScale && !C::kHasZeros) return;
    if (row % C::kFoldRows != 0) return; // the group began in the stage before
#pragma unroll
    for (int f = 0; f < C::kFoldsAStage; ++f) {
      const int at = first_row + row + f * C::kFoldRows;
      const int group = min(static_cast<int>(__umulhi(at, a.group_factor)), a.groups - 1);
      const int64_t tile = static_cast<int64_t>(group) * a.tiles + first_tile + column;
      if constexpr (!C::kColumnScale)
        cuda::copy_async<16>(to + C::kScalesAt + f * 512 + lane * 16,
                             static_cast<const uint4*>(a.scales) + tile * 8 + lane / 4, true);
      if constexpr (C::kHasZeros)
        cuda::copy_async<4>(to + C::kZerosAt + f * 128 + lane * 4, a.zeros + tile * 8 + lane / 4, true);
    }
  }
};

// This block's slice of x, columns [first_k, first_k + width), [m][x_pitch] in shared memory, zeros behind K.
template <class C>
__device__ __forceinline__ void stage_activations(const StreamArgs& a, uint8_t* to, int first_k, int width,
                                                  cuda::Barrier& arrived) {
  const auto* x = static_cast<const uint16_t*>(a.x);
  const int real = max(min(width, a.k - first_k), 0);
  if (a.bulk_x) {
    if (threadIdx.x == 0) arrived.arrive_expect(a.m * real * 2);
    if (threadIdx.x < 32 && real > 0) {
      __syncwarp();
      for (int t = threadIdx.x; t < a.m; t += 32)
        cuda::copy_bulk(cuda::shared_address(to) + t * a.x_pitch, x + a.x_row[t] + first_k, real * 2, arrived);
    }
  } else if (threadIdx.x == 0) {
    arrived.arrive_expect(0);
  }
  const int from = a.bulk_x ? real : 0, count = width - from;
  for (int i = threadIdx.x; i < a.m * count; i += C::kThreads) {
    const int t = i / count, c = from + i - t * count;
    uint16_t value = 0;
    if (c < real) value = x[a.x_row[t] + first_k + c];
    *reinterpret_cast<uint16_t*>(to + t * a.x_pitch + 2 * c) = value;
  }
}

// acc += scale * (sum - (P + zero) * sum_x) for the 16 columns x 2 tokens of a lane, four subtiles of 16 columns.
template <class C>
__device__ __forceinline__ void fold(float (&acc)[4][4], const float (&sum)[4][4], const float (&sum_x)[4],
                                     const uint4& scales, uint32_t zeros, bool bf16_scales) {
  using namespace spf::cuda;
  const uint32_t words[4] = {scales.x, scales.y, scales.z, scales.w};
  float2 factor[4] = {};
  if (!C::kColumnScale && bf16_scales) {
#pragma unroll
    for (int j = 0; j < 4; ++j) factor[j] = Scalar<SPF_BF16>::widen2(words[j]);
  } else if (!C::kColumnScale) {
#pragma unroll
    for (int j = 0; j < 4; ++j) factor[j] = Scalar<SPF_F16>::widen2_here(words[j]);
  }
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    float2 scale = make_float2(1.0f, 1.0f),
           offset = make_float2(CodeOffset<C::kType>::kValue + 8, CodeOffset<C::kType>::kValue + 8);
    if constexpr (!C::kColumnScale) scale = factor[j];
    if constexpr (C::kHasZeros) offset = Scalar<C::kType>::widen2(offset_codes<C::kType>(zeros >> (4 * j)));
    acc[j][0] += scale.x * (sum[j][0] - offset.x * sum_x[0]);
    acc[j][1] += scale.x * (sum[j][1] - offset.x * sum_x[1]);
    acc[j][2] += scale.y * (sum[j][2] - offset.y * sum_x[2]);
    acc[j][3] += scale.y * (sum[j][3] - offset.y * sum_x[3]);
  }
}

// Columns `column` and `column` + 1 of a token's row, those that exist.
template <class C>
__device__ __forceinline__ void write_pair(const StreamArgs& a, int token, int tile, int in_tile, float2 v) {
  using namespace spf::cuda;
  const int n = tile * 64 + in_tile;
  auto* out = static_cast<scalar_t<C::kType>*>(a.out) + a.out_row[token] + n;
  float values[2] = {v.x, v.y};
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    if (n + i >= a.n) return;
    if constexpr (C::kColumnScale)
      values[i] *= load_any(a.scales, static_cast<int64_t>(tile) * 64 + column_scale_place(in_tile + i),
                            a.bf16_scales ? SPF_BF16 : SPF_F16);
    if (a.bias) values[i] += load_any(a.bias, n + i, a.bias_type);
    out[i] = Scalar<C::kType>::narrow(values[i]);
  }
}

template <class C>
__global__ void __launch_bounds__(C::kThreads, C::kMinBlocks) stream_linear(const __grid_constant__ StreamArgs a) {
  using namespace spf::cuda;
  using G = StreamGeometry;
  SPF_DYNAMIC_SHARED(uint8_t, memory, 128);
  __shared__ Barrier x_arrived, sums_arrived;

  // --- indices: the block's tiles and units, the warp's run of them
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int rank = static_cast<int>(cluster_rank()), cluster = blockIdx.x / G::kCluster;
  const auto split = [](int64_t count, int part, int parts) { return static_cast<int>(count * part / parts); };
  const int first_tile = split(a.tiles, cluster, a.clusters);
  const int columns = split(a.tiles, cluster + 1, a.clusters) - first_tile;
  const int first_unit = split(a.units, rank, G::kCluster);
  const int units = split(a.units, rank + 1, G::kCluster) - first_unit;
  const int total = columns * units, run = split(total, warp, G::kWarps), run_end = split(total, warp + 1, G::kWarps);
  const int rows = columns * a.m, owned = (rows + G::kCluster - 1) / G::kCluster; // (tile, token) rows of 64 sums
  StreamCursor at = {units > 0 ? run / units : 0, 0};
  at.unit = run - at.column * units;

  // --- shared memory
  uint8_t* x_slice = memory + G::kWarps * G::kStages * C::kSlotBytes;
  float* partial =
      reinterpret_cast<float*>(x_slice + static_cast<int64_t>(a.m) * a.x_pitch); // [columns + warps][m][64]
  float* received = partial + (columns + G::kWarps) * a.m * 64;                  // [cluster][owned][64]
  const uint8_t* ring = memory + warp * G::kStages * C::kSlotBytes;

  // --- barriers
  launch_dependents();
  if (threadIdx.x == 0) {
    x_arrived.init(1);
    sums_arrived.init(1);
    fence_barrier_init();
    const int mine = max(min(rows - rank * owned, owned), 0);
    sums_arrived.arrive_expect((G::kCluster - 1) * mine * 256);
  }

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
  producer.column_start = a.codes + (static_cast<int64_t>(producer.first_row) * a.tiles + first_tile) * 32 + lane;
  producer.next = producer.column_start + (static_cast<int64_t>(producer.row) * a.tiles + at.column) * 32;
  const auto load_x = [&] { stage_activations<C>(a, x_slice, first_unit * 128, units * 128, x_arrived); };
  if (!a.dependent) load_x();
#pragma unroll
  for (int s = 0; s < G::kStages - 1; ++s) producer.request();
  wait_for_primary();
  if (a.dependent) load_x();
  __syncthreads();
  cluster_arrive();
  x_arrived.wait(0);

  // --- consumer
  float acc[C::kTiles][4][4] = {};
  const auto leave_sums = [&](int column) { // slot column + warp: unique, because a run leaves a column at most once
    float* to = partial + (column + warp) * a.m * 64;
#pragma unroll
    for (int q = 0; q < C::kTiles; ++q)
#pragma unroll
      for (int i = 0; i < 16; ++i) {
        const int n = i / 4 * 16 + i / 2 % 2 * 8 + lane / 4, token = q * 8 + lane % 4 * 2 + i % 2;
        if (token < a.m) to[token * 64 + n] = acc[q][i / 4][i % 4];
        acc[q][i / 4][i % 4] = 0.0f;
      }
  };
  uint32_t x_at[C::kTiles]; // tokens that do not exist read the last one's row; their sums are never stored
#pragma unroll
  for (int q = 0; q < C::kTiles; ++q)
    x_at[q] = shared_address(x_slice) + min(q * 8 + lane % 8, a.m - 1) * a.x_pitch + lane / 8 * 16;

  int slot = 0;
  for (int done = run; done < run_end; ++done) {
    float sum[C::kTiles][4][4] = {}, sum_x[C::kTiles][4] = {};
    uint4 scales = {};
    uint32_t zeros = 0;
#pragma unroll
    for (int stage = 0; stage < G::kUnitRows / G::kRows; ++stage) {
      wait_for_copies<G::kStages - 2>();
      const uint8_t* from = ring + slot * C::kSlotBytes;
      uint4 words[G::kRows]; // a lane reads what it copied: no barrier is needed
#pragma unroll
      for (int i = 0; i < G::kRows; ++i) words[i] = *reinterpret_cast<const uint4*>(from + i * 512 + lane * 16);
#pragma unroll
      for (int step = 0; step < G::kRows / C::kStepRows; ++step) {
        const int row = stage * G::kRows + step * C::kStepRows;
        if (row % C::kFoldRows == 0) {
          const int f = C::kFoldsAStage > 1 ? step : 0;
          if constexpr (!C::kColumnScale)
            scales = *reinterpret_cast<const uint4*>(from + C::kScalesAt + f * 512 + lane * 16);
          if constexpr (C::kHasZeros)
            zeros = *reinterpret_cast<const uint32_t*>(from + C::kZerosAt + f * 128 + lane * 4);
        }
#pragma unroll
        for (int i = 0; i < C::kStepRows; i += 2) {
          uint32_t x[C::kTiles][4];
#pragma unroll
          for (int q = 0; q < C::kTiles; ++q) load_matrices(x[q], x_at[q] + at.unit * 256 + (row + i) * 32);
#pragma unroll
          for (int e = 0; e < 2; ++e) {
            const uint4& four = words[step * C::kStepRows + i + e];
            const uint32_t packed[4] = {four.x, four.y, four.z, four.w};
#pragma unroll
            for (int j = 0; j < 4; ++j) {
              const uint32_t a0 = offset_codes<C::kType>(packed[j]), a1 = offset_codes<C::kType>(packed[j] >> 8);
              const uint32_t a2 = offset_codes<C::kType>(packed[j] >> 4), a3 = offset_codes<C::kType>(packed[j] >> 12);
#pragma unroll
              for (int q = 0; q < C::kTiles; ++q)
                mma_m16n8k16<C::kType>(sum[q][j], a0, a1, a2, a3, x[q][2 * e], x[q][2 * e + 1]);
            }
#pragma unroll
            for (int q = 0; q < C::kTiles; ++q)
              mma_m16n8k16<C::kType>(sum_x[q], C::kOnes, C::kOnes, C::kOnes, C::kOnes, x[q][2 * e], x[q][2 * e + 1]);
          }
        }
        if ((row + C::kStepRows) % C::kFoldRows == 0) {
#pragma unroll
          for (int q = 0; q < C::kTiles; ++q) {
            fold<C>(acc[q], sum[q], sum_x[q], scales, zeros, a.bf16_scales);
#pragma unroll
            for (int i = 0; i < 16; ++i) sum[q][i / 4][i % 4] = 0.0f;
#pragma unroll
            for (int i = 0; i < 4; ++i) sum_x[q][i] = 0.0f;
          }
        }
      }
      producer.request();
      slot = slot + 1 == G::kStages ? 0 : slot + 1;
    }
    if (++at.unit == units) {
      leave_sums(at.column++);
      at.unit = 0;
    }
  }
  if (run < run_end && at.unit != 0) leave_sums(at.column);

  // --- epilogue: warps in order, then blocks in order
  __syncthreads();
  cluster_wait(); // the other block's barriers exist
  for (int row = warp; row < rows; row += G::kWarps) {
    const int column = row / a.m;
    float2 v = make_float2(0.0f, 0.0f);
#pragma unroll
    for (int w = 0; w < G::kWarps; ++w) {
      // Warps whose run meets this column; an empty run left nothing.
      const int begin = max(split(total, w, G::kWarps), column * units);
      const int end = min(split(total, w + 1, G::kWarps), (column + 1) * units);
      if (begin >= end) continue;
      const float2 part = *reinterpret_cast<const float2*>(partial + w * a.m * 64 + row * 64 + lane * 2);
      v.x += part.x;
      v.y += part.y;
    }
    const int owner = row / owned;
    float* to = received + (rank * owned + row - owner * owned) * 64 + lane * 2;
    if (owner == rank)
      *reinterpret_cast<float2*>(to) = v;
    else
      store_remote(to, sums_arrived, owner, v);
  }
  __syncthreads();
  sums_arrived.wait(0);
  for (int row = rank * owned + warp; row < min(rows, (rank + 1) * owned); row += G::kWarps) {
    float2 v = make_float2(0.0f, 0.0f);
#pragma unroll
    for (int r = 0; r < G::kCluster; ++r) {
      const float2 part = *reinterpret_cast<const float2*>(received + (r * owned + row - rank * owned) * 64 + lane * 2);
      v.x += part.x;
      v.y += part.y;
    }
    const int column = row / a.m;
    write_pair<C>(a, row - column * a.m, first_tile + column, lane * 2, v);
  }
}

// --- launch ---------------------------------------------------------------------------------------------------------

template <spf_scalar_type T, bool kZeros, int kFold, int kTokenTiles>
spf_status stream(const Call& call, const LaunchContext& ctx) {
  using C = StreamConfig<T, kZeros, kFold, kTokenTiles>;
  const StreamShape shape = stream_shape(call.problem);
  const StreamGeometry g = stream_geometry(shape, *ctx.facts);
  const spf_packed_weight& w = *call.weight;
  const auto* data = static_cast<const char*>(w.data);
  const spf_tensor &x = *call.operand("x"), &out = *call.operand("out");
  const spf_tensor* bias = call.operand("bias");
  StreamArgs a = {};
  a.codes = reinterpret_cast<const uint4*>(data);
  a.scales = data + w.scales_offset;
  if constexpr (kZeros) a.zeros = reinterpret_cast<const uint32_t*>(data + w.zeros_offset);
  a.x = x.data;
  a.out = out.data;
  if (bias) {
    a.bias = bias->data;
    a.bias_type = bias->type;
  }
  const RowSpace<2> space = row_space({&x, &out});
  bool aligned = (reinterpret_cast<uintptr_t>(x.data) & 15) == 0 && shape.k % 8 == 0;
  for (int64_t t = 0; t < shape.m; ++t) {
    int64_t offsets[2];
    space.offsets(t, offsets);
    a.x_row[t] = offsets[0];
    a.out_row[t] = offsets[1];
    aligned = aligned && offsets[0] % 8 == 0;
  }
  a.m = static_cast<int32_t>(shape.m);
  a.n = static_cast<int32_t>(shape.n);
  a.k = static_cast<int32_t>(shape.k);
  a.tiles = static_cast<int32_t>(w.padded_n / 64);
  a.rows = static_cast<int32_t>(w.padded_k / 16);
  const int64_t row_groups = shape.group == 0 ? w.padded_k / 16 : shape.group / 16;
  a.group_factor = static_cast<uint32_t>(((int64_t{1} << 32) + row_groups - 1) / row_groups);
  a.groups = static_cast<int32_t>(shape.group == 0 ? 1 : stream_ceil(shape.k, shape.group));
  a.units = g.units;
  a.clusters = g.clusters;
  a.x_pitch = g.x_pitch;
  a.bf16_scales = w.scheme.scale == SPF_BF16;
  a.bulk_x = aligned;
  a.dependent = (ctx.flags & SPF_LAUNCH_PDL) != 0;
  const int grid = g.clusters * StreamGeometry::kCluster;
  return cuda::launch("linear", ctx, stream_linear<C>, grid, C::kThreads, g.shared_bytes, a, StreamGeometry::kCluster);
}

} // namespace spf::linear
