// out[m,n] = sum_k x[m,k] * W[n,k] + bias[n] on mma.sync: the mainloop of every GPU from 7.5 on. Weights are the 16-row
// operand, tokens the 8-column one, so a weight is decoded once for all tokens of a tile and few tokens waste little.
//
//   block    a tile of kTokens x kChannels; warps stand as channels x parts of K:
//
//              channels ->   w0 w1 .. |  part 0 of each stage's steps
//                            w4 w5 .. |  part 1
//
//   loop     a ring of stages in shared memory, filled by all threads ahead of time and drained by all warps
//   end      warps of one channel range add their sums in shared memory, part by part
//
// Tiles go round the blocks; those that do not fill a round are cut, with all their stages in one row, into equal runs
// (MmaPlan). What a block knows of a tile that is not all its own it leaves in the workspace; a second kernel adds
// these in the order of K. So the bits depend on the shape and the device alone, and there are no flags or atomics.
//
// Policies:
//   Weights   what a stage holds of the weight, how it gets there, and the multiplication of one step
//   Copies    how 16 bytes get into shared memory: asynchronously, or by way of registers (7.5)
#pragma once

#include "kernels/common/cuda/async.cuh"
#include "kernels/common/cuda/launch.cuh"
#include "kernels/common/cuda/memory.cuh"
#include "kernels/common/cuda/scalar.cuh"
#include "kernels/common/decode/scale_order.cuh"
#include "kernels/common/mma/m16n8k16.cuh"
#include "kernels/common/rows.hpp"
#include "kernels/linear/mma_tile.hpp"

namespace spf::linear {

// What becomes of sums: out = sum * unit * global * column scale + bias.
struct MmaEnd {
  RowSpace<1> rows; // of out
  void* out;
  const void *bias, *column_scales; // [n], or nullptr; the latter in the Marlin order
  const float* global;              // or nullptr
  float unit;
  int32_t m, n;
  spf_scalar_type out_type, bias_type, column_type;
  bool vector_out; // rows of out start on 16 bytes
};

template <class Weights>
struct MmaArgs {
  typename Weights::Args weights;
  const uint8_t* x;
  RowSpace<1> x_rows;  // strides in bytes
  int64_t x_row_bytes; // K of them
  float* partial;      // [grid][2][tokens][channels]
  MmaEnd end;
  MmaPlan plan;
};

template <class WeightPolicy, class CopyPolicy, int kTokenCount, int kChannelCount, int kParts, int kPipeline>
struct MmaConfig {
  using Weights = WeightPolicy;
  static constexpr MmaTile kTile = {kTokenCount, kChannelCount, kParts, Weights::kFormat, kPipeline};
  static constexpr int kTokens = kTokenCount, kChannels = kChannelCount, kWarpsK = kParts;
  static constexpr int kSub = kTile.sub_tiles(), kWarpsN = kChannels / (16 * kSub), kTokenTiles = kTokens / 8;
  static constexpr int kThreads = 32 * kWarpsN * kWarpsK;
  static constexpr int kSteps = kTile.steps(), kWarpSteps = kSteps / kWarpsK;
  static constexpr int kStages = kTile.stages(), kStageBytes = kTile.stage_bytes();
  static constexpr int kXBytes = kTile.x_bytes(), kCodeBytes = kTile.code_bytes();
  static constexpr int kScaleBytes = kTile.scale_bytes(), kZeroBytes = kTile.zero_bytes();
  static constexpr int kPart = kTile.part_tokens(), kSumPitch = kTile.sum_pitch(), kMinBlocks = kTile.blocks();
  // 16-byte pieces of a stage that a thread copies.
  static constexpr int kXPieces = (kXBytes / 16 + kThreads - 1) / kThreads;
  static constexpr int kWeightPieces = Weights::template pieces<kThreads>(kTile);
  using Copies = typename CopyPolicy::template Of<kXPieces + kWeightPieces>;
  static_assert(kStages >= 2 && kWarpSteps % 2 == 0 && kSteps >= 4 && (kTokens == 8 || kTokens % 16 == 0));
};

// --- copies ---------------------------------------------------------------------------------------------------------

// cp.async. Piece i of a thread's pieces; bytes beyond the first `bytes` read as 0.
struct AsyncCopies {
  template <int kPieces>
  struct Of {
    __device__ __forceinline__ explicit Of(uint8_t*) {}
    __device__ __forceinline__ void copy(int, uint8_t* to, const void* from, int bytes) {
      cuda::copy_async_part(cuda::shared_address(to), from, bytes);
    }
    __device__ __forceinline__ void commit() { cuda::commit_copies(); }
    __device__ __forceinline__ void land() {}
    template <int kPending>
    __device__ __forceinline__ void wait() {
      cuda::wait_for_copies<kPending>();
    }
  };
};

// Loads that wait in registers while the stage before is multiplied.
struct HeldCopies {
  template <int kPieces>
  struct Of {
    uint4 held[kPieces];
    int place[kPieces]; // bytes from `memory`; -1: nothing is held
    uint8_t* memory;

    __device__ __forceinline__ explicit Of(uint8_t* ring) : memory(ring) {
#pragma unroll
      for (int i = 0; i < kPieces; ++i) place[i] = -1;
    }

    __device__ __forceinline__ void copy(int i, uint8_t* to, const void* from, int bytes) {
      place[i] = static_cast<int>(to - memory);
      held[i] = bytes == 16 ? cuda::load16(from)
                            : cuda::load_chunk<SPF_BF16>(static_cast<const __nv_bfloat16*>(from), bytes / 2, false);
    }
    __device__ __forceinline__ void commit() {}
    __device__ __forceinline__ void land() {
#pragma unroll
      for (int i = 0; i < kPieces; ++i) {
        if (place[i] >= 0) *reinterpret_cast<uint4*>(memory + place[i]) = held[i];
        place[i] = -1;
      }
    }
    template <int kPending>
    __device__ __forceinline__ void wait() {}
  };
};

// --- who does what --------------------------------------------------------------------------------------------------

// Where run b of the divided tiles begins, in stages.
__host__ __device__ __forceinline__ int64_t run_begin(const MmaPlan& p, int64_t b) {
  return p.run * b + (b < p.longer ? b : p.longer);
}

// A block's way through its tiles and their stages.
struct MmaCursor {
  int tile = -1; // -1: nothing is left
  int stage = 0, end = 0;
  int next_whole;
  int64_t at, run_end; // of the block's run

  __device__ __forceinline__ explicit MmaCursor(const MmaPlan& p)
      : next_whole(static_cast<int>(blockIdx.x)), at(run_begin(p, blockIdx.x)), run_end(run_begin(p, blockIdx.x + 1)) {
    next_tile(p);
  }
  __device__ __forceinline__ void next_tile(const MmaPlan& p) {
    tile = -1;
    if (next_whole < p.whole) {
      tile = next_whole;
      next_whole += p.grid;
      stage = 0;
      end = p.stages;
    } else if (at < run_end) {
      const int64_t in = at / p.stages;
      tile = p.whole + static_cast<int>(in);
      stage = static_cast<int>(at - in * p.stages);
      end = static_cast<int>(min(static_cast<int64_t>(p.stages), stage + run_end - at));
      at += end - stage;
    }
  }
  // True where another tile begins.
  __device__ __forceinline__ bool advance(const MmaPlan& p) {
    if (++stage < end) return false;
    next_tile(p);
    return true;
  }
};

struct MmaPlace {
  int channel, token;
};

template <class C>
__device__ __forceinline__ MmaPlace locate(const MmaPlan& p, int tile) {
  const int per_run = p.token_run * p.channel_tiles, run = tile / per_run, in = tile - run * per_run;
  const int size = min(p.token_run, p.token_tiles - run * p.token_run), channel = in / size;
  return {channel * C::kChannels, (run * p.token_run + in - channel * size) * C::kTokens};
}

// --- filling stages -------------------------------------------------------------------------------------------------

// x of a stage: rows of kSteps * 32 bytes, 16-byte pieces exchanged by row so that eight rows of one column lie in
// different banks.
template <class C>
__device__ __forceinline__ int x_place(int token, int piece) {
  return token * (C::kSteps * 32) + (piece ^ (token % 8)) * 16;
}

template <class C>
struct MmaLoader {
  const MmaArgs<typename C::Weights>& a;
  uint8_t* ring;
  MmaCursor at;
  MmaPlace place;
  int slot = 0;
  typename C::Copies copies;
  const uint8_t* x_row[C::kXPieces]; // nullptr: no such token

  __device__ __forceinline__ MmaLoader(const MmaArgs<typename C::Weights>& args, uint8_t* memory)
      : a(args), ring(memory), at(args.plan), copies(memory) {
    enter();
  }
  __device__ __forceinline__ void enter() {
    if (at.tile < 0) return;
    place = locate<C>(a.plan, at.tile);
#pragma unroll
    for (int i = 0; i < C::kXPieces; ++i) {
      const int piece = threadIdx.x + i * C::kThreads, token = place.token + piece / (2 * C::kSteps);
      int64_t row[1];
      a.x_rows.offsets(min(token, a.end.m - 1), row);
      x_row[i] = token < a.end.m ? a.x + row[0] : nullptr;
    }
  }
  __device__ __forceinline__ void advance() {
    slot = slot + 1 == C::kStages ? 0 : slot + 1;
    if (at.advance(a.plan)) enter();
  }
  __device__ __forceinline__ void request_x() {
    uint8_t* const to = ring + slot * C::kStageBytes;
#pragma unroll
    for (int i = 0; i < C::kXPieces; ++i) {
      const int piece = threadIdx.x + i * C::kThreads, token = piece / (2 * C::kSteps),
                column = piece % (2 * C::kSteps);
      if (C::kXBytes / 16 % C::kThreads != 0 && token >= C::kTokens) continue;
      const int64_t offset = static_cast<int64_t>(at.stage) * (C::kSteps * 32) + column * 16;
      const int64_t left = x_row[i] == nullptr ? 0 : a.x_row_bytes - offset;
      const int bytes = left >= 16 ? 16 : left > 0 ? static_cast<int>(left) : 0;
      copies.copy(i, to + x_place<C>(token, column), bytes > 0 ? x_row[i] + offset : a.x, bytes);
    }
  }
  __device__ __forceinline__ void request_weights() {
    C::Weights::template request<C>(a.weights, copies, ring + slot * C::kStageBytes + C::kXBytes, place.channel,
                                    at.stage);
  }
  // The next stage, if there is one.
  __device__ __forceinline__ void request() {
    if (at.tile >= 0) {
      request_weights();
      request_x();
      advance();
    }
    copies.commit();
  }
  // The first stages: weights before the kernel in front of this one has ended, x afterwards.
  __device__ __forceinline__ void begin() {
    const MmaCursor first = at;
    const MmaPlace first_place = place;
#pragma unroll 1
    for (int s = 0; s + 1 < C::kStages && at.tile >= 0; ++s) {
      request_weights();
      advance();
    }
    cuda::wait_for_primary();
    at = first;
    place = first_place;
    slot = 0;
    enter();
#pragma unroll 1
    for (int s = 0; s + 1 < C::kStages; ++s) {
      if (at.tile >= 0) {
        request_x();
        advance();
      } else {
        slot = slot + 1 == C::kStages ? 0 : slot + 1;
      }
      copies.commit();
      copies.land();
    }
  }
};

// --- multiplying ----------------------------------------------------------------------------------------------------

template <class C>
using MmaSums = float[C::kSub][C::kTokenTiles][4];

// B fragments of one step of x for all tokens.
template <class C>
struct XFragments {
  uint32_t b[C::kTokenTiles][2];
  uint32_t two_steps[4]; // kTokens == 8

  __device__ __forceinline__ void load(const uint8_t* x, int step, int s) {
    const int lane = threadIdx.x % 32;
    if constexpr (C::kTokens == 8) {
      if (s % 2 == 0)
        cuda::load_matrices(two_steps, cuda::shared_address(x + x_place<C>(lane % 8, step * 2 + lane / 8)));
      b[0][0] = two_steps[s % 2 * 2];
      b[0][1] = two_steps[s % 2 * 2 + 1];
    } else {
#pragma unroll
      for (int q = 0; q < C::kTokenTiles; q += 2) {
        uint32_t r[4];
        const int token = q * 8 + lane / 16 * 8 + lane % 8;
        cuda::load_matrices(r, cuda::shared_address(x + x_place<C>(token, step * 2 + lane / 8 % 2)));
        b[q][0] = r[0];
        b[q][1] = r[1];
        b[q + 1][0] = r[2];
        b[q + 1][1] = r[3];
      }
    }
  }
};

// --- the end of a tile ----------------------------------------------------------------------------------------------

// Sums of channels n .. n+7 of token m, as out.
__device__ __forceinline__ void write_out(const MmaEnd& e, int m, int n, float (&v)[8]) {
  using namespace spf::cuda;
  if (m >= e.m || n >= e.n) return;
  const float unit = e.global != nullptr ? e.unit * *e.global : e.unit;
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    if (n + i >= e.n) break;
    float factor = unit;
    if (e.column_scales != nullptr) factor *= load_any(e.column_scales, column_scale_place(n + i), e.column_type);
    v[i] = v[i] * factor + (e.bias != nullptr ? load_any(e.bias, n + i, e.bias_type) : 0.0f);
  }
  int64_t row[1];
  e.rows.offsets(m, row);
  const int64_t at = row[0] + n, left = e.n - n;
  if (e.out_type == SPF_F32) {
    auto* to = static_cast<float*>(e.out) + at;
    const float low[4] = {v[0], v[1], v[2], v[3]}, high[4] = {v[4], v[5], v[6], v[7]};
    store_chunk<SPF_F32>(to, pack<SPF_F32>(low), left, e.vector_out);
    if (left > 4) store_chunk<SPF_F32>(to + 4, pack<SPF_F32>(high), left - 4, e.vector_out);
  } else if (e.out_type == SPF_F16) {
    store_chunk<SPF_F16>(static_cast<__half*>(e.out) + at, pack<SPF_F16>(v), left, e.vector_out);
  } else {
    store_chunk<SPF_BF16>(static_cast<__nv_bfloat16*>(e.out) + at, pack<SPF_BF16>(v), left, e.vector_out);
  }
}

// Adds the parts' sums in shared memory, kTile.part_tokens() tokens at a time, and writes them: to out, or to `partial`
// if that is not nullptr.
template <class C>
__device__ __forceinline__ void end_tile(const MmaEnd& e, const MmaPlace& place, float* memory, float* partial,
                                         const MmaSums<C>& sums, int warp_n, int warp_k) {
  constexpr int kPart = C::kPart, kPitch = C::kSumPitch, kPieces = C::kChannels / 8;
  const int lane = threadIdx.x % 32;
  const auto leave = [&](int part, bool add) { // a part's sums; registers have no index, so every part is asked for
#pragma unroll
    for (int p = 0; p < C::kTokens / kPart; ++p) {
      if (p != part) continue;
#pragma unroll
      for (int q = 0; q < kPart / 8; ++q)
#pragma unroll
        for (int j = 0; j < C::kSub; ++j)
#pragma unroll
          for (int i = 0; i < 4; ++i) {
            const int token = q * 8 + lane % 4 * 2 + i % 2;
            float& to = memory[token * kPitch + C::Weights::template channel<C>(warp_n, lane, j, i / 2)];
            const float v = sums[j][p * (kPart / 8) + q][i];
            to = add ? to + v : v;
          }
    }
  };
#pragma unroll 1
  for (int part = 0; part < C::kTokens / kPart; ++part) {
#pragma unroll 1
    for (int w = 0; w < C::kWarpsK; ++w) {
      if (warp_k == w) leave(part, w > 0);
      __syncthreads();
    }
    for (int i = threadIdx.x; i < kPart * kPieces; i += C::kThreads) {
      const int token = i / kPieces, channel = i % kPieces * 8, in_tile = part * kPart + token;
      const auto* from = reinterpret_cast<const float4*>(memory + token * kPitch + channel);
      const float4 low = from[0], high = from[1];
      if (partial != nullptr) {
        auto* to = reinterpret_cast<float4*>(partial + in_tile * C::kChannels + channel);
        to[0] = low;
        to[1] = high;
      } else {
        float v[8] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
        write_out(e, place.token + in_tile, place.channel + channel, v);
      }
    }
    __syncthreads();
  }
}

// --- kernels --------------------------------------------------------------------------------------------------------

template <class C>
__global__ void __launch_bounds__(C::kThreads, C::kMinBlocks)
    mma_linear(const __grid_constant__ MmaArgs<typename C::Weights> a) {
  SPF_DYNAMIC_SHARED(uint8_t, mma_memory, 16);
  cuda::launch_dependents();
  const int warp = threadIdx.x / 32, warp_n = warp % C::kWarpsN, warp_k = warp / C::kWarpsN;
  auto* const sum_memory = reinterpret_cast<float*>(mma_memory + C::kStages * C::kStageBytes);

  MmaCursor at(a.plan);
  MmaLoader<C> loader(a, mma_memory);
  typename C::Weights::template Lane<C> weights(a.weights, warp_n);
  loader.begin();

  int slot = 0;
  while (at.tile >= 0) {
    const int tile = at.tile, first = at.stage, end = at.end;
    const MmaPlace place = locate<C>(a.plan, tile);
    MmaSums<C> sums = {};
    weights.enter(place.channel);
#pragma unroll 1
    for (int stage = first; stage < end; ++stage) {
      loader.copies.template wait<C::kStages - 2>();
      __syncthreads(); // the stage is there, and nobody reads the one before it any more
      loader.request();
      const uint8_t* const memory = mma_memory + slot * C::kStageBytes;
      XFragments<C> x;
#pragma unroll
      for (int s = 0; s < C::kWarpSteps; ++s) {
        const int step = warp_k * C::kWarpSteps + s;
        x.load(memory, step, s);
        weights.multiply(memory + C::kXBytes, stage, step, s == 0, x.b, sums);
      }
      loader.copies.land();
      slot = slot + 1 == C::kStages ? 0 : slot + 1;
    }
    at.next_tile(a.plan);
    // A run that begins within a tile leaves it in the block's first place, one that ends within a tile in the second.
    float* partial = nullptr;
    if (first > 0 || end < a.plan.stages)
      partial = a.partial + (static_cast<int64_t>(blockIdx.x) * 2 + (first > 0 ? 0 : 1)) * (C::kTokens * C::kChannels);
    end_tile<C>(a.end, place, sum_memory, partial, sums, warp_n, warp_k);
  }
}

// Adds what several blocks know of one tile, in the order of K. A thread has eight channels of a token.
template <class C>
__global__ void __launch_bounds__(128) mma_add_parts(const __grid_constant__ MmaArgs<typename C::Weights> a) {
  cuda::launch_dependents();
  cuda::wait_for_primary();
  constexpr int kPieces = C::kTokens * C::kChannels / 8;
  const int64_t i = static_cast<int64_t>(blockIdx.x) * 128 + threadIdx.x;
  const int tile = static_cast<int>(i / kPieces), piece = static_cast<int>(i % kPieces);
  if (tile >= a.plan.tiles - a.plan.whole) return;
  const int64_t begin = static_cast<int64_t>(tile) * a.plan.stages, end = begin + a.plan.stages;
  // The run that reaches into the tile first.
  const int64_t in_longer = (a.plan.run + 1) * a.plan.longer;
  int64_t b =
      begin < in_longer ? begin / (a.plan.run + 1) : a.plan.longer + (begin - in_longer) / max(a.plan.run, int64_t{1});
  if (run_begin(a.plan, b) <= begin && run_begin(a.plan, b + 1) >= end) return; // one block had it all
  float v[8] = {};
  for (; b < a.plan.grid && run_begin(a.plan, b) < end; ++b) {
    const int64_t from = run_begin(a.plan, b);
    if (from == run_begin(a.plan, b + 1)) continue;
    const auto* part = reinterpret_cast<const float4*>(
        a.partial + (b * 2 + (from > begin ? 0 : 1)) * (C::kTokens * C::kChannels) + piece * 8);
    const float4 low = part[0], high = part[1];
    v[0] += low.x, v[1] += low.y, v[2] += low.z, v[3] += low.w;
    v[4] += high.x, v[5] += high.y, v[6] += high.z, v[7] += high.w;
  }
  const MmaPlace place = locate<C>(a.plan, a.plan.whole + tile);
  write_out(a.end, place.token + piece * 8 / C::kChannels, place.channel + piece * 8 % C::kChannels, v);
}

} // namespace spf::linear
