// out[m,n] = sum_k x[m,k] * weight[k,n] + bias[n] for up to 16 tokens, reading weights in the Marlin order once, at the
// speed of memory. x, out: f16 or bf16; codes and scales as in sm90_stream.cuh, whose multiplier this is.
//
//   cluster   owns a run of the 64-column tiles; each of its two blocks owns a half of K (where N is very large, a
//             cluster is one block)
//   block     columns x parts of its K, a warp each: 16 warps, from 1 column x 16 parts to 16 x 1 (column_block())
//   warp      streams its column's part of K through its own ring in shared memory; sums stay in registers
//   x         64 k of all tokens at a time, by the copy engine, for the warps that share a part, of which one asks
//
// sm90_stream keeps its half of x in shared memory and leaves room for a block of the next launch. Sixteen tokens take
// too much of both. Here a launch begins when the one before has left, but its ring, which holds twice as much, fills
// while x is waited for.
//
// When all warps are done, a block adds what its parts left in the order of K, sends the other block its half of the
// columns' sums, and writes its own. The order depends on n, k and the device alone.
//
// Needs: the layout "marlin"; x in rows one distance apart on 16 bytes. Weights are requested before
// griddepcontrol.wait.
#pragma once

#include "kernels/common/cuda/tensor_map.hpp"
#include "kernels/linear/sm90_column.hpp"
#include "kernels/linear/sm90_stream.cuh"

namespace spf::linear {

struct ColumnArgs {
  CUtensorMap x;
  ColumnBlock blocks[2][2];  // of clusters with `columns` tiles and with one more; of a rank
  const uint4* codes;        // [K/16][N/64] tiles
  const void* scales;        // [groups][padded_n], columns permuted
  const uint32_t* zeros;     // [groups][padded_n / 8], or nullptr
  const float* global_scale; // or nullptr
  const void* bias;          // [n] or nullptr
  void* out;
  int64_t out_row[kStreamTokens]; // first elements of the tokens' rows
  int32_t m, n;
  int32_t tiles, rows, groups;           // 64-column tiles, k16 rows, rows of scales
  uint32_t group_factor;                 // 2^32 over the k16 rows that share a scale, rounded up
  int32_t group_units;                   // units that share a scale
  int32_t ranks, columns, wide_clusters; // wide: the first clusters, which have a tile more
  float unit;                            // what every sum has to be multiplied by
  float column_factor;                   // what the scales of columns have to be multiplied by
  spf_scalar_type bias_type, scale_type;
};

template <spf_scalar_type T, spf_scalar_type kCode, int kFold, int kTokenTiles>
struct ColumnConfig : StreamConfig<T, kCode, kFold, kTokenTiles> {
  using Base = StreamConfig<T, kCode, kFold, kTokenTiles>;
  using G = ColumnGeometry;
  static constexpr int kThreads = 32 * G::kWarps;
  static constexpr int kTokens = 8 * kTokenTiles;
  static constexpr int kXBytes = kTokens * 128;                     // of a stage of x: 64 k
  static constexpr int kUnitStages = G::kUnitRows / Base::kRows;    // of weights
  static constexpr int kRingBytes = G::kStages * Base::kSlot.bytes; // of a warp
  static constexpr int kSumPieces = kTokenTiles * 4 * 32;           // float4 of a warp's sums
  static_assert(kRingBytes >= kSumPieces * 16);
  static_assert(G::kStages == 4 && (kUnitStages == 2 || kUnitStages == 4));
};

// Requests a warp's weights, stage by stage.
template <class C>
struct ColumnProducer {
  static constexpr int kRow16 = C::kRowBytes / 16;      // pieces of a tile's row
  static constexpr int kEach = C::kSlot.scale_row / 16; // of a row of scales
  const ColumnArgs& a;
  const uint4* next;       // codes of the next row, at this lane
  const uint4* next_scale; // of the next stage that begins a fold
  int lane, tile, row, end_row;
  int same; // units, this one included, that have the next scales

  static __device__ __forceinline__ int place(int piece) { return StreamProducer<C>::place(piece); }

  __device__ __forceinline__ ColumnProducer(const ColumnArgs& args, const ColumnPlace& at, int first_tile)
      : a(args),
        lane(threadIdx.x % 32),
        tile(first_tile + at.column),
        row(at.unit * ColumnGeometry::kUnitRows),
        end_row((at.unit + at.units) * ColumnGeometry::kUnitRows) {
    next = a.codes + (static_cast<int64_t>(row) * a.tiles + tile) * kRow16 + lane;
    if constexpr (!C::kColumnScale) {
      next_scale = static_cast<const uint4*>(a.scales) + scale_tile(lane / kEach) * kEach + lane % kEach;
      same = a.group_units == 1 ? 1 : a.group_units - at.unit % a.group_units;
    }
  }

  // stage: of its unit, known when this is compiled. to: a slot of the ring.
  __device__ __forceinline__ void request(int stage, uint32_t to) {
    if (row < end_row) {
      const bool begins = stage * C::kRows % C::kFoldRows == 0; // a fold
      if (row + C::kRows <= a.rows) {
        const uint4* from = next;
#pragma unroll
        for (int i = 0; i < C::kRows; ++i) {
#pragma unroll
          for (int p = 0; p < kRow16 / 32; ++p)
            cuda::copy_async<16>(to + i * C::kRowBytes + p * 512 + place(lane) * 16, from + p * 32, true);
          from += pitch();
        }
        if (!C::kColumnScale && begins) {
          if (lane < C::kPieces) cuda::copy_async<16>(to + C::kSlot.scales_at + lane * 16, next_scale, true);
          if (C::kFoldRows < ColumnGeometry::kUnitRows)
            next_scale += static_cast<int64_t>(a.tiles) * kEach * C::kSlot.folds;
          else if (--same == 0) {
            next_scale += static_cast<int64_t>(a.tiles) * kEach;
            same = a.group_units;
          }
        }
      } else {
        request_last(begins, to);
      }
      if (C::kHasZeros && begins && lane < 2 * C::kSlot.folds)
        cuda::copy_async<16>(to + C::kSlot.zeros_at + lane * 16, a.zeros + scale_tile(lane / 2) * 8 + lane % 2 * 4,
                             true);
      next += C::kRows * pitch();
      row += C::kRows;
    }
    cuda::commit_copies();
  }

 private:
  __device__ __forceinline__ int64_t pitch() const { return static_cast<int64_t>(a.tiles) * kRow16; }
  // The row of scales, counted in tiles of 64 columns, that fold f of this stage takes.
  __device__ __forceinline__ int64_t scale_tile(int f) const { return scale_row<C>(a, row + f * C::kFoldRows) + tile; }
  // A stage that has rows behind the last. Loops, so that the usual stage does not carry their instructions.
  __device__ __forceinline__ void request_last(bool begins, uint32_t to) const {
    const uint4* from = next;
#pragma unroll 1
    for (int i = 0; i < C::kRows; ++i) {
#pragma unroll 1
      for (int p = 0; p < kRow16 / 32; ++p)
        cuda::copy_async<16>(to + i * C::kRowBytes + p * 512 + place(lane) * 16, from + p * 32, row + i < a.rows);
      from += pitch();
    }
    if constexpr (!C::kColumnScale)
      if (begins && lane < C::kPieces)
        cuda::copy_async<16>(to + C::kSlot.scales_at + lane * 16,
                             static_cast<const uint4*>(a.scales) + scale_tile(lane / kEach) * kEach + lane % kEach,
                             true);
  }
};

// The sums of a warp's column over its part of K. x_ring: stages of 64 k of x that the warps of the team share, two
// where a warp is a team of its own (kAlone), else four; x_full, x_empty: their barriers.
template <class C, bool kAlone>
__device__ __forceinline__ void column_sums(const ColumnArgs& a, const ColumnPlace& place, ColumnProducer<C>& producer,
                                            const uint8_t* ring, uint32_t x_ring, uint32_t x_full, uint32_t x_empty,
                                            StreamSums<C>& acc) {
  using namespace spf::cuda;
  using G = ColumnGeometry;
  constexpr uint32_t kTurn = kAlone ? 0 : 2 * C::kXBytes; // from the stages of one unit to those of the next
  constexpr uint32_t kBarrier = C::kXBytes / 8;           // bytes of x's ring for a byte of barriers
  constexpr int kOfX = C::kUnitStages / 2;                // stages of weights for one of x
  const int lane = threadIdx.x % 32;
  const uint32_t ring_at = shared_address(ring);
  const int units = place.team_units, first = place.unit - place.team_unit, end = first + place.units;
  // Asks for a stage of x; one lane of a team. unit: of the team's; turn: of the unit.
  const auto ask = [&](int unit, uint32_t turn, int stage) {
    const uint32_t at = turn / kBarrier + 8 * stage;
    if (!kAlone && unit > 1) barrier_wait(x_empty + at, (unit / 2 + 1) & 1);
    barrier_expect(x_full + at, C::kXBytes);
    copy_tile(x_ring + turn + stage * C::kXBytes, a.x, (place.team_unit + unit) * 128 + stage * 64, 0, x_full + at);
  };
  const bool asks = place.leads != 0 && lane == 0;
  if (asks && units > 0) {
    ask(0, 0, 0);
    ask(0, 0, 1);
  }
  const uint32_t x_at = x_ring + (lane % 8) * 128 + ((lane / 8) ^ (lane % 8)) * 16;
  uint32_t even = 0, turn = 0; // of this unit's first stages in the rings of weights and x
  StreamMultiplier<C> multiplier;
#pragma unroll 1
  for (int unit = 0; unit < units; ++unit) {
    const uint32_t full = x_full + turn / kBarrier, parity = (kAlone ? unit : unit / 2) & 1;
    if (!kAlone && (unit < first || unit >= end)) { // others of the team have work here
#pragma unroll 1
      for (int stage = 0; stage < 2; ++stage) {
        barrier_wait(full + stage * 8, parity);
        if (lane == 0) barrier_arrive(full + (x_empty - x_full) + stage * 8);
        if (asks && unit + 1 < units) ask(unit + 1, kTurn - turn, stage);
      }
      turn = kTurn - turn;
      continue;
    }
    // Where stage `ahead` of this unit lies, which may be one of the next.
    const auto slot_of = [&](int ahead) -> uint32_t {
      if constexpr (C::kUnitStages == 4) return ahead % 4 * C::kSlot.bytes;
      return (ahead / 2 % 2 == 0 ? even : 2 * C::kSlot.bytes - even) + ahead % 2 * C::kSlot.bytes;
    };
#pragma unroll
    for (int stage = 0; stage < C::kUnitStages; ++stage) {
      if (stage % kOfX == 0) barrier_wait(full + stage / kOfX * 8, parity);
      wait_for_copies<G::kStages - 2>();
      __syncwarp(); // scales, and codes of 8 bits, come by other lanes
      const uint8_t* at = ring + slot_of(stage);
      uint32_t words[C::kRows][C::kBits];
#pragma unroll
      for (int i = 0; i < C::kRows; ++i) load_row<C>(at + i * C::kRowBytes, lane, words[i]);
      uint32_t x[C::kTiles][4];
#pragma unroll
      for (int i = 0; i < C::kRows; ++i) {
        const int row = stage * C::kRows + i;
        if (i % 2 == 0)
#pragma unroll
          for (int q = 0; q < C::kTiles; ++q)
            load_matrices(x[q], ((x_at + turn) ^ (row % 4 * 32)) + row / 4 * C::kXBytes + q * 1024);
        if (row % C::kFoldRows == 0) multiplier.begin(at, i / C::kFoldRows, lane);
        multiplier.multiply(acc, words[i], x, i % 2);
        if ((row + 1) % C::kFoldRows == 0) multiplier.end(acc, a.scale_type);
      }
      __syncwarp(); // every lane has read
      producer.request((stage + G::kStages - 1) % C::kUnitStages, ring_at + slot_of(stage + G::kStages - 1));
      if (stage % kOfX == kOfX - 1) {
        if (!kAlone && lane == 0) barrier_arrive(full + (x_empty - x_full) + stage / kOfX * 8);
        if (asks && unit + 1 < units) ask(unit + 1, kTurn - turn, stage / kOfX);
      }
    }
    even = 2 * C::kSlot.bytes - even;
    turn = kTurn - turn;
  }
}

template <class C>
__global__ void __launch_bounds__(C::kThreads, 1) column_linear(const __grid_constant__ ColumnArgs a) {
  using namespace spf::cuda;
  using G = ColumnGeometry;
  SPF_DYNAMIC_SHARED(uint8_t, unaligned, 128);
  constexpr int kBarriers = 2 * G::kWarps; // for stages of x: as many that say full, then those that say empty
  __shared__ __align__(8) uint64_t barriers[2 * kBarriers];
  __shared__ Barrier sums_arrived;

  // --- indices
  launch_dependents();
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int cluster = a.ranks == 2 ? blockIdx.x / 2 : blockIdx.x, rank = a.ranks == 2 ? blockIdx.x % 2 : 0;
  const ColumnBlock& block = a.blocks[cluster < a.wide_clusters ? 1 : 0][rank];
  const ColumnPlace place = block.warps[warp];
  const int columns = block.columns, first_tile = cluster * a.columns + min(cluster, a.wide_clusters);

  // --- shared memory: x, a ring a warp, sums of the other block
  uint8_t* memory = unaligned + (-shared_address(unaligned) & 1023);
  const int x_stages = column_x_stages(columns);
  uint8_t* rings = memory + block.teams * x_stages * C::kXBytes;
  uint8_t* ring = rings + place.slot * C::kRingBytes;
  float4* received = reinterpret_cast<float4*>(rings + G::kWarps * C::kRingBytes); // [column][piece of a half]

  // --- the first weights, and barriers
  const uint32_t ring_at = shared_address(ring);
  ColumnProducer<C> producer(a, place, first_tile);
#pragma unroll
  for (int s = 0; s < G::kStages - 1; ++s) producer.request(s % C::kUnitStages, ring_at + s * C::kSlot.bytes);
  const uint32_t x_full = shared_address(barriers + place.team * x_stages), x_empty = x_full + kBarriers * 8;
  if (lane == 0) {
    if (place.leads != 0)
      for (int i = 0; i < x_stages; ++i) {
        barrier_init(x_full + 8 * i, 1);
        barrier_init(x_empty + 8 * i, place.mates);
      }
    if (warp == G::kWarps - 1) {
      prefetch_map(a.x);
      sums_arrived.init(1);
    }
    fence_barrier_init();
    if (warp == G::kWarps - 1) sums_arrived.arrive_expect(a.ranks == 2 ? columns * C::kSumPieces / 2 * 16 : 0);
  }
  __syncthreads();
  cluster_arrive_relaxed();
  wait_for_primary();

  // --- consumer
  StreamSums<C> acc = {};
  const uint32_t x_ring = shared_address(memory) + place.team * x_stages * C::kXBytes;
  if (columns == 1)
    column_sums<C, true>(a, place, producer, ring, x_ring, x_full, x_empty, acc);
  else
    column_sums<C, false>(a, place, producer, ring, x_ring, x_full, x_empty, acc);

  // --- epilogue: the parts' sums, then the other block's
  const float unit = a.global_scale ? a.unit * *a.global_scale : a.unit;
  float4* own = reinterpret_cast<float4*>(ring);
#pragma unroll
  for (int q = 0; q < C::kTiles; ++q)
#pragma unroll
    for (int j = 0; j < 4; ++j)
      own[(q * 4 + j) * 32 + lane] = make_float4(acc[q][j][0], acc[q][j][1], acc[q][j][2], acc[q][j][3]);
  cluster_wait(); // the other block's barrier exists
  __syncthreads();
  constexpr int kHalf = C::kSumPieces / 2; // of a column: [tile][2][lane]
  // So that no lane adds more than five parts, with few columns several lanes share a piece.
  const int spread = columns == 1 ? 4 : columns == 2 ? 2 : 1, apart = 32 / spread;
  const int pieces = columns * kHalf;
  bool waited = false;
  // The other half first, which the other block waits for.
#pragma unroll 1
  for (int turn = 0; turn < 2; ++turn) {
    const int half = turn == 0 ? 1 - rank : rank;
#pragma unroll 1
    for (int group = warp * apart; group < pieces; group += C::kThreads / spread) {
      const int e = group + lane % apart, column = e / kHalf, in = e % kHalf; // whole groups: 8 divides them
      const int piece = (in / 64 * 4 + half * 2 + in / 32 % 2) * 32 + in % 32;
      const int from = block.first[column] + lane / apart * 4, end = spread > 1 ? from + 4 : block.first[column + 1];
      float4 v = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
      const auto add = [&](const float4& p) {
        v.x += p.x;
        v.y += p.y;
        v.z += p.z;
        v.w += p.w;
      };
#pragma unroll
      for (int i = 0; i < 5; ++i)
        if (from + i < end) add(*reinterpret_cast<const float4*>(rings + (from + i) * C::kRingBytes + piece * 16));
      for (int by = 16; by >= apart; by /= 2)
        add(make_float4(__shfl_xor_sync(0xffffffffu, v.x, by), __shfl_xor_sync(0xffffffffu, v.y, by),
                        __shfl_xor_sync(0xffffffffu, v.z, by), __shfl_xor_sync(0xffffffffu, v.w, by)));
      if (a.ranks == 2 && turn == 0) {
        if (lane < apart)
          store_counted(in_block(shared_address(received + e), 1 - rank),
                        in_block(shared_address(&sums_arrived.word), 1 - rank), v);
        continue;
      }
      if (a.ranks == 2) {
        if (!waited) sums_arrived.wait(0);
        waited = true;
        add(received[e]);
      }
      if (lane >= apart) continue;
      const float values[2][2] = {{v.x, v.y}, {v.z, v.w}};
#pragma unroll
      for (int i = 0; i < 2; ++i) { // columns lane / 4 and + 8
        const int in_tile = (half * 2 + in / 32 % 2) * 16 + i * 8 + in % 32 / 4;
        const int n = (first_tile + column) * 64 + in_tile;
        if (n >= a.n) continue;
        float scale = unit, bias = 0.0f;
        if constexpr (C::kColumnScale)
          scale *= a.column_factor *
                   load_any(a.scales, static_cast<int64_t>(first_tile + column) * 64 + column_scale_place(in_tile),
                            a.scale_type);
        if (a.bias) bias = load_any(a.bias, n, a.bias_type);
#pragma unroll
        for (int t = 0; t < 2; ++t) {
          const int token = in / 64 * 8 + in % 4 * 2 + t;
          if (token < a.m)
            static_cast<scalar_t<C::kType>*>(a.out)[a.out_row[token] + n] =
                Scalar<C::kType>::narrow(values[i][t] * scale + bias);
        }
      }
    }
  }
  if (a.ranks == 2 && !waited) sums_arrived.wait(0); // no block leaves while the other's sums are on their way to it
}

// --- launch ---------------------------------------------------------------------------------------------------------

// What follows from a shape and its geometry.
inline void column_divide(const StreamShape& shape, const ColumnGeometry& g, ColumnArgs* a) {
  stream_extents(shape, g.clusters, a);
  a->group_units = static_cast<int32_t>(shape.group > 128 ? shape.group / 128 : 1);
  a->ranks = g.ranks;
  const int64_t units = stream_ceil(shape.k, 128);
  for (int wide = 0; wide < (a->wide_clusters > 0 ? 2 : 1); ++wide)
    for (int rank = 0; rank < g.ranks; ++rank)
      a->blocks[wide][rank] = column_block(a->columns + wide, units, g.ranks, rank);
}

template <spf_scalar_type T, spf_scalar_type kWeight, int kFold, int kTokenTiles>
spf_status column(const Call& call, const LaunchContext& ctx) {
  using C = ColumnConfig<T, kWeight, kFold, kTokenTiles>;
  const StreamShape shape = stream_shape(call.problem);
  if (shape.m == 0 || shape.n == 0) return SPF_OK;
  const ColumnGeometry g = column_geometry(shape, *ctx.facts);
  const spf_tensor &x = *call.operand("x"), &out = *call.operand("out");
  ColumnArgs a = {};
  stream_operands<C>(call, &a);
  const RowSpace<1> rows = row_space({&out}), x_rows = row_space({&x});
  for (int64_t t = 0; t < shape.m; ++t) {
    int64_t offset[1];
    rows.offsets(t, offset);
    a.out_row[t] = offset[0];
  }
  column_divide(shape, g, &a);
  constexpr auto kElement = T == SPF_F16 ? CU_TENSOR_MAP_DATA_TYPE_FLOAT16 : CU_TENSOR_MAP_DATA_TYPE_BFLOAT16;
  const int64_t pitch = x_rows.dims == 0 ? shape.k : x_rows.stride[0][0];
  const cuda::Matrix tokens = {x.data, kElement, shape.k, shape.m, pitch * 2, 64, C::kTokens, true};
  if (const spf_status status = cuda::encode("linear", tokens, &a.x); status != SPF_OK) return status;
  return cuda::launch("linear", ctx, column_linear<C>, int64_t{g.clusters} * g.ranks, C::kThreads, g.shared_bytes, a,
                      g.ranks);
}

} // namespace spf::linear
