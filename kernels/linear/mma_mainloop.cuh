// out[m,n] = sum_k x[m,k] * W[n,k] + bias[n] on mma.sync: the mainloop of every GPU from 7.5 on. Weights are the 16-row
// operand, tokens the 8-column one, so a weight is decoded once for all tokens of a warp and few tokens waste little.
//
//   block    a tile of kTokens x kChannels, divided over K into parts. A part is a team of warps, each with 64 channels
//            x up to 64 tokens, that has a ring of stages of its own and a barrier of its own: teams do not wait for
//            one another, so one copies while the next multiplies.
//
//              channels ->   w0 w1  team 0, ring 0: the first stages of K
//                            w2 w3  team 1, ring 1: the next
//
//   loop     a team's threads fill its ring ahead of time; the steps of a stage are one run of instructions with next
//   to
//            no branches, in which loads, decoding, copies and the wait for the next stage stand between
//            multiplications
//   end      teams leave their sums in the place of the rings, where they are added in the order of the teams
//
// Tiles go round the blocks; those that do not fill a round are cut, with all their stages in one row, into equal runs
// (MmaPlan). What a block knows of a tile that is not all its own it leaves in the workspace; a second kernel adds
// these in the order of K. So the bits depend on the shape and the device alone, and there are no flags or atomics.
//
// Policies:
//   Weights   what a stage holds of the weight, how it gets there, the multiplication of a step, and what becomes of
//             sums (Weights::End)
//   Copies    how 16 bytes get into shared memory: asynchronously, or by way of registers (7.5)
//
// The loop issues little besides multiplications: where a thread copies from is a pointer that moves on by a constant,
// and nothing in it divides. On 9.0 an instruction of three register operands for each multiplication costs a quarter
// of the tensor cores' rate, whenever it is issued (README.md).
#pragma once

#include <type_traits>
#include <utility>

#include "kernels/common/cuda/async.cuh"
#include "kernels/common/cuda/launch.cuh"
#include "kernels/common/cuda/memory.cuh"
#include "kernels/common/cuda/scalar.cuh"
#include "kernels/common/decode/scale_order.cuh"
#include "kernels/common/mma/m16n8k32.cuh"
#include "kernels/common/rows.hpp"
#include "kernels/linear/mma_tile.hpp"

namespace spf::linear {

template <class Weights>
struct MmaArgs {
  typename Weights::Args weights;
  const uint8_t* x; // [m], rows x_stride bytes apart, each on 16 bytes
  int64_t x_stride;
  int32_t x_pieces; // of 16 bytes, of a row
  int32_t m;
  void* partial; // [grid][2][tokens][channels] sums
  typename Weights::End end;
  MmaPlan plan;
};

template <class WeightPolicy, class CopyPolicy, int kTokenCount, int kChannelCount, int kPartCount, int kMemory>
struct MmaConfig {
  using Weights = WeightPolicy;
  using Sum = typename Weights::Sum; // of the tensor cores: float or int32_t
  static constexpr bool kFold = Weights::kFold;
  using Total = std::conditional_t<kFold, float, Sum>;
  static constexpr MmaTile kTile = {kTokenCount, kChannelCount, kPartCount, Weights::kFormat, kMemory};
  static constexpr int kTokens = kTokenCount, kChannels = kChannelCount, kParts = kPartCount;
  static constexpr int kWarpTokens = kTile.warp_tokens(), kTokenTiles = kWarpTokens / 8;
  static constexpr int kSub = 4; // 16-channel fragments of a warp
  static constexpr int kWarpsN = kChannels / 64, kTeam = 32 * kTile.team_warps(), kThreads = kTeam * kParts;
  static constexpr int kSteps = MmaTile::kSteps;
  static constexpr int kStages = kTile.stages(), kStageBytes = kTile.stage_bytes();
  static constexpr int kXBytes = kTile.x_bytes(), kCodeBytes = kTile.code_bytes();
  static constexpr int kScaleBytes = kTile.scale_bytes(), kZeroBytes = kTile.zero_bytes();
  static constexpr int kXScaleBytes = kTile.x_scale_bytes();
  static constexpr int kExchange = kTile.exchange_tokens(), kSumPitch = kTile.sum_pitch();
  static constexpr int kMinBlocks = kTile.blocks();
  // 16-byte pieces of a stage that a thread copies.
  static constexpr int kXPieces = (kXBytes / 16 + kTeam - 1) / kTeam;
  static constexpr int kWeightPieces = Weights::template pieces<kTeam>(kTile);
  using Copies = typename CopyPolicy::template Of<kXPieces + kWeightPieces>;
  static_assert(kStages >= 2 && kChannels % 64 == 0 && (kTokens == 8 || kTokens % 16 == 0));
};

// --- copies ---------------------------------------------------------------------------------------------------------

// cp.async. Piece i of a thread's pieces; what is not valid reads as 0.
struct AsyncCopies {
  template <int kPieces>
  struct Of {
    __device__ __forceinline__ explicit Of(uint8_t*) {}
    __device__ __forceinline__ void copy(int, uint8_t* to, const void* from, bool valid) {
      cuda::copy_async_part(cuda::shared_address(to), from, valid ? 16 : 0);
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

    __device__ __forceinline__ void copy(int i, uint8_t* to, const void* from, bool valid) {
      place[i] = static_cast<int>(to - memory);
      held[i] = valid ? cuda::load16(from) : uint4{};
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
__host__ __device__ __forceinline__ int run_begin(const MmaPlan& p, int b) {
  return p.run * b + (b < p.longer ? b : p.longer);
}

// Which run has a stage. No run is empty.
__host__ __device__ __forceinline__ int run_of(const MmaPlan& p, int stage) {
  const int in_longer = (p.run + 1) * p.longer;
  return stage < in_longer ? stage / (p.run + 1) : p.longer + (stage - in_longer) / p.run;
}

// What a block does for a tile: stages first .. last - 1 of it.
struct MmaSpan {
  int tile, first, last; // tile -1: nothing is left

  // The block's tile number `index`.
  static __device__ __forceinline__ MmaSpan of(const MmaPlan& p, int index) {
    const int block = static_cast<int>(blockIdx.x), tile = block + index * p.grid;
    if (tile < p.whole) return {tile, 0, p.stages};
    const int begin = run_begin(p, block), end = run_begin(p, block + 1);
    const int in = static_cast<int>(static_cast<unsigned>(begin) / static_cast<unsigned>(p.stages)) + index - p.rounds;
    const int first = max(begin - in * p.stages, 0), last = min(end - in * p.stages, p.stages);
    return {first < last ? p.whole + in : -1, first, last};
  }
  // Those of a team.
  template <int kParts>
  __device__ __forceinline__ int team_begin(int part) const {
    return first + (last - first) * part / kParts;
  }
};

struct MmaPlace {
  int channel, token;
};

template <class C>
__device__ __forceinline__ MmaPlace locate(const MmaPlan& p, int tile) {
  if (p.token_tiles == 1) return {tile * C::kChannels, 0};
  const int per_run = p.token_run * p.channel_tiles, run = tile / per_run, in = tile - run * per_run;
  const int size = min(p.token_run, p.token_tiles - run * p.token_run), channel = in / size;
  return {channel * C::kChannels, (run * p.token_run + in - channel * size) * C::kTokens};
}

// --- filling stages -------------------------------------------------------------------------------------------------

// Operand rows of a stage are 128 bytes, 16-byte pieces exchanged by row so that eight rows of one column lie in
// different banks.
constexpr int kRowPieces = 2 * MmaTile::kSteps;
__host__ __device__ __forceinline__ constexpr int row_place(int row, int piece) {
  return row * (kRowPieces * 16) + (piece ^ (row % 8)) * 16;
}

// A team's barrier.
template <class C>
__device__ __forceinline__ void sync_team(int part) {
  if constexpr (C::kTeam == 32)
    __syncwarp();
  else
    cuda::sync_threads(1 + part, C::kTeam);
}

template <class C>
struct MmaLoader {
  using Weights = typename C::Weights;

  // What moves on from stage to stage.
  struct Position {
    int stage;
    typename Weights::template Source<C> weights;
    const uint8_t* x; // the thread's first piece of the stage
  };

  const MmaArgs<Weights>& a;
  uint8_t* ring;                             // the team's
  int thread, end = 0, tokens = 0, slot = 0; // tokens: from the thread's first row on
  Position now;
  typename C::Copies copies;

  __device__ __forceinline__ MmaLoader(const MmaArgs<Weights>& args, uint8_t* memory, int team_thread)
      : a(args), ring(memory), thread(team_thread), copies(memory) {}

  __device__ __forceinline__ void next_slot() { slot = slot + 1 == C::kStages ? 0 : slot + 1; }
  __device__ __forceinline__ void advance() {
    next_slot();
    now.x += kRowPieces * 16;
    now.weights.advance(a.weights);
    ++now.stage;
  }
  __device__ __forceinline__ void request_x() {
    uint8_t* const to = ring + slot * C::kStageBytes;
    constexpr int kRows = C::kTeam / kRowPieces; // copied at a time
    const bool exists = now.stage < end && now.stage * kRowPieces + thread % kRowPieces < a.x_pieces;
#pragma unroll
    for (int i = 0; i < C::kXPieces; ++i) {
      const int row = thread / kRowPieces + i * kRows;
      if (C::kTokens % kRows != 0 && row >= C::kTokens) continue;
      copies.copy(i, to + row_place(row, thread % kRowPieces), now.x + i * kRows * a.x_stride,
                  exists && i * kRows < tokens);
    }
    if constexpr (C::kXScaleBytes > 0)
      now.weights.request_x_scales(a.weights, copies, to + C::kStageBytes - C::kXScaleBytes, now.stage, end, thread);
  }
  __device__ __forceinline__ void request_weights() {
    now.weights.request(a.weights, copies, ring + slot * C::kStageBytes + C::kXBytes, now.stage, end, thread);
  }
  // Half `h` of the next stage; where there is none, zeros, without a branch in the loop.
  __device__ __forceinline__ void request(int h) {
    if (h == 0) {
      request_weights();
    } else {
      request_x();
      advance();
      copies.commit();
    }
  }
  // The first of the stages `stage` .. `last` - 1 of a tile: weights before the kernel in front of this one has ended,
  // x afterwards.
  __device__ __forceinline__ void begin(const MmaPlace& place, int stage, int last) {
    const int token = place.token + thread / kRowPieces, piece = stage * kRowPieces + thread % kRowPieces;
    now.stage = stage;
    end = last;
    tokens = a.m - token;
    now.x = a.x + token * a.x_stride + static_cast<int64_t>(piece) * 16;
    now.weights.enter(a.weights, place.channel, stage, thread);
    if constexpr (C::kXScaleBytes > 0) now.weights.enter_x_scales(a.weights, place.token);
    slot = 0;
    const Position first = now;
#pragma unroll 1
    for (int s = 0; s + 1 < C::kStages && now.stage < end; ++s) {
      request_weights();
      advance();
    }
    cuda::wait_for_primary();
    now = first;
    slot = 0;
#pragma unroll 1
    for (int s = 0; s + 1 < C::kStages; ++s) {
      if (now.stage < end) {
        request_x();
        advance();
      } else {
        next_slot(); // where nothing is written to that is still read
      }
      copies.commit();
      copies.land();
    }
  }
};

// --- multiplying ----------------------------------------------------------------------------------------------------

// A warp's sums. kFold: those of a stage are folded, scaled, into an f32 total (Weights::Lane::end_stage).
template <class C, bool kFold = C::kFold>
struct MmaSums {
  typename C::Sum part[C::kSub][C::kTokenTiles][4];
  __device__ __forceinline__ const auto& total() const { return part; }
};
template <class C>
struct MmaSums<C, true> {
  typename C::Sum part[C::kSub][C::kTokenTiles][4];
  float folded[C::kSub][C::kTokenTiles][4];
  __device__ __forceinline__ const auto& total() const { return folded; }
};

// B fragments of a step for a warp's tokens.
template <class C>
struct XFragments {
  static constexpr bool kPair = C::kTokens == 8; // one load brings two steps
  static constexpr int kLoads = kPair ? 1 : C::kTokenTiles / 2;
  uint32_t word[2][kLoads][4]; // of two steps (pairs of steps), by turns
  uint32_t row, piece;         // bytes; of the lane in a load

  __device__ __forceinline__ explicit XFragments(int warp_m) {
    const uint32_t lane = threadIdx.x % 32, eight = lane / 8;
    row = (warp_m * C::kWarpTokens + (kPair ? 0 : eight / 2 * 8) + lane % 8) * (kRowPieces * 16);
    piece = ((kPair ? eight : eight % 2) ^ (lane % 8)) * 16;
  }
  __device__ __forceinline__ void load(uint32_t x, int step) {
    if constexpr (kPair) {
      if (step % 2 == 0) cuda::load_matrices(word[step / 2 % 2][0], x + row + (piece ^ (step * 32)));
    } else {
#pragma unroll
      for (int q = 0; q < kLoads; ++q)
        cuda::load_matrices(word[step % 2][q], x + row + (piece ^ (step * 32)) + q * 16 * (kRowPieces * 16));
    }
  }
  // Half h of token tile q.
  __device__ __forceinline__ uint32_t operator()(int step, int q, int h) const {
    return kPair ? word[step / 2 % 2][0][step % 2 * 2 + h] : word[step % 2][q / 2][q % 2 * 2 + h];
  }
};

// --- the end of a tile ----------------------------------------------------------------------------------------------

template <class Sum>
__device__ __forceinline__ void load8(const Sum* from, Sum (&v)[8]) {
  reinterpret_cast<uint4*>(v)[0] = reinterpret_cast<const uint4*>(from)[0];
  reinterpret_cast<uint4*>(v)[1] = reinterpret_cast<const uint4*>(from)[1];
}

// Adds the teams' sums in shared memory and writes them: to out, or to `partial` if that is not nullptr.
template <class C>
__device__ __forceinline__ void end_tile(const MmaArgs<typename C::Weights>& a, const MmaPlace& place,
                                         typename C::Total* memory, typename C::Total* partial, const MmaSums<C>& sums,
                                         int warp_n, int warp_m, int part) {
  using Sum = typename C::Total;
  constexpr int kExchange = C::kExchange, kPitch = C::kSumPitch, kPieces = C::kChannels / 8;
  constexpr int kTiles = (kExchange < C::kWarpTokens ? kExchange : C::kWarpTokens) / 8; // of a warp, at a time
  const int lane = threadIdx.x % 32;
  const int channel = threadIdx.x % kPieces * 8;
  static_assert(C::kThreads % kPieces == 0);
  Sum* const mine = memory + (part * kExchange + lane % 4 * 2) * kPitch + warp_n * 64 + lane / 4;
#pragma unroll 1
  for (int first = 0; first < C::kTokens; first += kExchange) {
    __syncthreads(); // the memory is free
#pragma unroll
    for (int q = 0; q < C::kTokenTiles; q += kTiles) { // registers have no index, so all are asked for
      const int token = warp_m * C::kWarpTokens + q * 8 - first;
      if (token < 0 || token >= kExchange) continue;
#pragma unroll
      for (int t = 0; t < kTiles; ++t)
#pragma unroll
        for (int j = 0; j < C::kSub; ++j)
#pragma unroll
          for (int i = 0; i < 4; ++i)
            mine[(token + t * 8 + i % 2) * kPitch + j * 16 + i / 2 * 8] = sums.total()[j][q + t][i];
    }
    __syncthreads();
    const int tokens = min(kExchange, a.m - place.token - first);
    // A thread has the same eight channels of every token that it writes. put(token, sums); several tokens at a time
    // where that takes little code.
    const auto each = [&](auto unrolled, const auto& put) {
      constexpr int kUnroll = decltype(unrolled)::value ? 4 : 1;
#pragma unroll kUnroll
      for (int token = threadIdx.x / kPieces; token < tokens; token += C::kThreads / kPieces) {
        const Sum* from = memory + token * kPitch + channel;
        alignas(16) Sum v[8];
        load8(from, v);
#pragma unroll
        for (int team = 1; team < C::kParts; ++team) {
          alignas(16) Sum other[8];
          load8(from + team * (kExchange * kPitch), other);
#pragma unroll
          for (int e = 0; e < 8; ++e) v[e] += other[e];
        }
        put(first + token, v);
      }
    };
    if (partial != nullptr) {
      each(std::true_type(), [&](int token, const Sum(&v)[8]) {
        auto* to = reinterpret_cast<uint4*>(partial + token * C::kChannels + channel);
        to[0] = reinterpret_cast<const uint4*>(v)[0];
        to[1] = reinterpret_cast<const uint4*>(v)[1];
      });
      continue;
    }
    const auto columns = a.end.columns(place.channel + channel);
    const auto results = [&](auto unrolled, const auto& store) {
      each(unrolled, [&](int token, const Sum(&sum)[8]) {
        float v[8];
        a.end.finish(columns, place.token + token, sum, v);
        store(place.token + token, v);
      });
    };
    if (place.channel + channel >= a.end.out.n) continue;
    const auto& out = a.end.out;
    const bool whole = out.whole(columns.n);
    if (whole && out.type == SPF_BF16)
      results(std::true_type(),
              [&](int m, const float(&v)[8]) { out.template store_whole<SPF_BF16>(m, columns.n, v); });
    else if (whole && out.type == SPF_F16)
      results(std::true_type(), [&](int m, const float(&v)[8]) { out.template store_whole<SPF_F16>(m, columns.n, v); });
    else
      results(std::false_type(), [&](int m, const float(&v)[8]) { out.store(m, columns.n, v); });
  }
  __syncthreads();
}

// --- kernels --------------------------------------------------------------------------------------------------------

// f(step) for every step of a stage, each a constant: a loop of so much code the compiler does not always unroll.
template <int... kStep, class F>
__device__ __forceinline__ void each_step(std::integer_sequence<int, kStep...>, const F& f) {
  (f(std::integral_constant<int, kStep>()), ...);
}

template <class C>
__global__ void __launch_bounds__(C::kThreads, C::kMinBlocks)
    mma_linear(const __grid_constant__ MmaArgs<typename C::Weights> a) {
  using Sum = typename C::Total;
  SPF_DYNAMIC_SHARED(uint8_t, mma_memory, 16);
  cuda::launch_dependents();
  const int part = threadIdx.x / C::kTeam, thread = threadIdx.x % C::kTeam, warp = thread / 32;
  const int warp_n = warp % C::kWarpsN, warp_m = warp / C::kWarpsN;
  uint8_t* const ring = mma_memory + part * (C::kStages * C::kStageBytes);

  MmaLoader<C> loader(a, ring, thread);
  typename C::Weights::template Lane<C> weights(a.weights, warp_n, warp_m);
  XFragments<C> x(warp_m);
#pragma unroll 1
  for (int index = 0;; ++index) {
    MmaSpan span = MmaSpan::of(a.plan, index);
    if (span.tile < 0) break;
    const int begin = span.team_begin<C::kParts>(part), end = span.team_begin<C::kParts>(part + 1);
    {
      const MmaPlace place = locate<C>(a.plan, span.tile);
      loader.begin(place, begin, end);
      weights.enter(place, begin);
    }
    MmaSums<C> sums = {};
    uint8_t* memory = ring;
    const auto arrive = [&] { // the next stage is there, and nobody of the team reads the one before it any more
      loader.copies.land();
      loader.copies.template wait<C::kStages - 2>();
      sync_team<C>(part);
    };
    arrive();
    const auto load = [&](int stage, int step) {
      x.load(cuda::shared_address(memory), step);
      weights.load(memory + C::kXBytes, step);
      weights.begin_step(memory + C::kXBytes, stage, step);
    };
    load(begin, 0);
    weights.complete();
#pragma unroll 1
    for (int stage = begin; stage < end; ++stage) {
      each_step(std::make_integer_sequence<int, C::kSteps>(), [&](auto constant) {
        constexpr int step = decltype(constant)::value, next = (step + 1) % C::kSteps;
        // In the middle of a step's multiplications, when its weights have been decoded, those of the next step are
        // loaded, and copies issued.
        weights.multiply(stage, step, x, sums, [&] {
          if (step < 2) loader.request(step);
          if (next == 0) {
            arrive();
            memory = memory == ring + (C::kStages - 1) * C::kStageBytes ? ring : memory + C::kStageBytes;
          }
          load(stage + (next == 0 ? 1 : 0), next);
        });
      });
      weights.end_stage(sums);
    }
    loader.copies.template wait<0>(); // zeros may be under way to where sums go
    // Racecheck takes __syncthreads() for a barrier of warps that have met as many barriers before: so teams do.
    if (end - begin < (span.last - span.first + C::kParts - 1) / C::kParts) sync_team<C>(part);
    uint32_t again = index; // the span is worked out again, for the loop has no registers to spare
    cuda::keep_in_register(again);
    span = MmaSpan::of(a.plan, static_cast<int>(again));
    Sum* partial = nullptr;
    if (span.first > 0 || span.last < a.plan.stages)
      partial = static_cast<Sum*>(a.partial) +
                (static_cast<int64_t>(blockIdx.x) * 2 + (span.first > 0 ? 0 : 1)) * (C::kTokens * C::kChannels);
    end_tile<C>(a, locate<C>(a.plan, span.tile), reinterpret_cast<Sum*>(mma_memory), partial, sums, warp_n, warp_m,
                part);
  }
}

// Adds what several blocks know of one tile, in the order of K. A thread has eight channels of a token.
template <class C>
__global__ void __launch_bounds__(128) mma_add_parts(const __grid_constant__ MmaArgs<typename C::Weights> a) {
  using Sum = typename C::Total;
  cuda::launch_dependents();
  cuda::wait_for_primary();
  constexpr int kPieces = C::kTokens * C::kChannels / 8;
  const int64_t i = static_cast<int64_t>(blockIdx.x) * 128 + threadIdx.x;
  const int tile = static_cast<int>(i / kPieces), piece = static_cast<int>(i % kPieces);
  if (tile >= a.plan.tiles - a.plan.whole) return;
  const MmaPlace place = locate<C>(a.plan, a.plan.whole + tile);
  const int token = piece * 8 / C::kChannels, channel = piece * 8 % C::kChannels;
  if (place.token + token >= a.m) return;
  const int begin = tile * a.plan.stages, end = begin + a.plan.stages;
  const int first = run_of(a.plan, begin), last = run_of(a.plan, end - 1);
  if (first == last) return; // one block had it all
  const auto* partial = static_cast<const Sum*>(a.partial) + piece * 8;
  Sum v[8] = {};
#pragma unroll 1
  for (int b = first; b <= last; b += 4) { // four under way, for each comes from far
    alignas(16) Sum p[4][8] = {};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if (b + i > last) continue;
      const int64_t of_block = static_cast<int64_t>(b + i) * 2 + (run_begin(a.plan, b + i) > begin ? 0 : 1);
      const auto* from = reinterpret_cast<const uint4*>(partial + of_block * (C::kTokens * C::kChannels));
      *reinterpret_cast<uint4*>(p[i]) = from[0];
      *reinterpret_cast<uint4*>(p[i] + 4) = from[1];
    }
#pragma unroll
    for (int i = 0; i < 4; ++i)
#pragma unroll
      for (int e = 0; e < 8; ++e) v[e] += p[i][e];
  }
  if (place.channel + channel >= a.end.out.n) return;
  float result[8];
  a.end.finish(a.end.columns(place.channel + channel), place.token + token, v, result);
  a.end.out.store(place.token + token, place.channel + channel, result);
}

} // namespace spf::linear
