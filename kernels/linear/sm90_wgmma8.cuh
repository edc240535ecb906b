// scaled_linear with weights of 8 or 4 bits on Hopper's warpgroup tensor cores, 8-bit operands: out^T = W x^T. Weights
// are the m side, so that few tokens waste nothing.
//
//   block = 4 copying warps + 2 consuming warpgroups; its tile is kChannels x kN tokens, a stage 128 values of K
//
//   copiers     weights (bulk copies: whole blocks of the layout k128, or rows of tiles of marlin_a8), x (copy engine),
//               scales, into a ring of stages
//   consumers   one scale for all of K: wgmma on a stage | release the one before; sums stay in the accumulators
//               groups (kFold): wgmma on a stage | sums since the last scales times those, added in f32
//
// A byte a code is the operand as it lies in shared memory; 4-bit codes (kPacked) are decoded into registers, while the
// tensor cores multiply the chunk of K before.
//
// The two warpgroups divide channels, or for few tokens K: then each takes every second stage, and their sums meet in
// shared memory. K may also be divided over the blocks of a cluster (args.split). Partial sums are added in a fixed
// order: rank by rank, warpgroup by warpgroup, so there are no flags, no workspace, and the same bits at every run.
// Blocks of a cluster may instead work on neighbouring channels of the same tokens (kShare) and fetch x once for both.
#pragma once

#include <type_traits>

#include "kernels/common/cuda/fp8.cuh"
#include "kernels/common/cuda/launch.cuh"
#include "kernels/common/cuda/scalar.cuh"
#include "kernels/common/cuda/tensor_copy.cuh"
#include "kernels/common/cuda/tensor_map.hpp"
#include "kernels/common/decode/int4_8bit.cuh"
#include "kernels/common/decode/scale_order.cuh"
#include "kernels/common/mma/wgmma8.cuh"
#include "kernels/common/rows.hpp"
#include "kernels/linear/gather.cuh"
#include "kernels/linear/policy_scaled.hpp"
#include "kernels/linear/wgmma8_copy.cuh"

namespace spf::linear {

// --- what other files hold ------------------------------------------------------------------------------------------

// Factors of tokens and blocks: sm90_wgmma8_block.cuh.
template <class C>
__device__ __forceinline__ void copy_block_factors(const Wgmma8Args& a, const WgmmaWork<C>& work, uint8_t* memory,
                                                   uint32_t full, uint32_t empty);
// On the host, where those of tokens lie: sm90_wgmma8_factors.cuh.
template <int kTokens>
spf_status place_factors(const Call& call, const LaunchContext& ctx, void* room, Wgmma8Args* a, LaunchContext* next);

// Packed weights: sm90_wgmma8_packed.cuh.
template <class C>
__device__ __forceinline__ void copy_packed_weights(const Wgmma8Args& a, const WgmmaWork<C>& work, int part,
                                                    uint32_t memory, uint32_t full, uint32_t empty);
template <class C>
__device__ __forceinline__ void copy_packed_scales(const Wgmma8Args& a, const WgmmaWork<C>& work, uint32_t memory,
                                                   uint32_t full, uint32_t empty);

// --- consumers ------------------------------------------------------------------------------------------------------

// Scale, zero point and place in out of a token; what is multiplied and added in a channel.
struct alignas(16) TokenFacts {
  float scale;
  int32_t azp;
  int64_t out; // of its first channel, in elements
};
struct alignas(16) ChannelFacts {
  float scale, bias; // scale: times channel_scale
  int32_t azp_adj;
};

// Of the last one where there is none such.
template <class C>
__device__ __forceinline__ TokenFacts facts_of_token(const Wgmma8Args& a, int token) {
  const int64_t m = min(token, a.m - 1);
  int64_t at[1];
  a.out_rows.offsets(m, at);
  TokenFacts t = {1.0f, 1, at[0]};
  if (!C::kFoldTokens && a.x_scale != nullptr) {
    a.scale_rows.offsets(m, at);
    t.scale = a.x_scale[at[0]];
  }
  if (a.azp != nullptr) {
    a.azp_rows.offsets(m, at);
    t.azp = a.azp[at[0]];
  }
  return t;
}
template <class C>
__device__ __forceinline__ ChannelFacts facts_of_channel(const Wgmma8Args& a, int channel) {
  const int n = min(channel, a.n - 1);
  ChannelFacts c = {1.0f, 0.0f, 0};
  if (C::kFold == 0 && a.scales != nullptr)
    c.scale = cuda::load_any(a.scales, C::kPacked ? cuda::column_scale_place(n) : n, a.scale_type);
  if constexpr (C::kPacked) c.scale *= cuda::Int4To8<C::X>::kUnit;
  if (a.channel_scale != nullptr) c.scale *= a.channel_scale[n];
  if (a.bias != nullptr) c.bias = cuda::load_any(a.bias, n, a.bias_type);
  if (a.azp_adj != nullptr) c.azp_adj = a.azp_adj[n];
  return c;
}

template <class C>
struct Wgmma8Consumer {
  using Tile = typename C::Tile;
  using Sum = typename C::Sum;
  using Total = typename C::Total;
  static constexpr int kT = C::kT, kN = C::kN;

  const Wgmma8Args& a;
  const WgmmaWork<C>& work;
  uint8_t* memory;
  uint32_t base, full, release_at;
  int consumer, warp, lane;
  float out_factor = 1.0f;
  RingPlace<Tile::kStages> ring;
  Total total[kT][kN / 2];

  __device__ __forceinline__ Wgmma8Consumer(const Wgmma8Args& args, const WgmmaWork<C>& w, uint8_t* mem,
                                            uint32_t full_at, uint32_t empty_at)
      : a(args), work(w), memory(mem), base(cuda::shared_address(mem)), full(full_at) {
    // By a shuffle, so that the compiler knows it to be the same in a warp: it serializes wgmma on paths that may
    // diverge.
    consumer = static_cast<int>(__shfl_sync(0xffffffffu, threadIdx.x / 128, 0)) - 1;
    warp = threadIdx.x / 32 % 4;
    lane = threadIdx.x % 32;
    release_at = release_place<C>(empty_at, lane);
    if (a.out_factor != nullptr) out_factor = *a.out_factor;
  }

  // --- facts of a tile: requested before its sums, so that they are there after them, and then shared

  // Of a warpgroup. Of packed weights they are 128; two warpgroups of one tile each share them.
  static constexpr bool kPair = C::kPacked && kT == 1;
  static constexpr int kGroupChannels = C::kPacked ? 128 : 64 * kT;
  __device__ __forceinline__ int channel_group() const { return kPair ? consumer / 2 : C::kAlong ? 0 : consumer; }
  __device__ __forceinline__ int first_tile() const { return kPair ? consumer % 2 : 0; } // of those channels
  struct Facts {
    TokenFacts tokens[(kN + 127) / 128];
    ChannelFacts channel;
  };
  __device__ __forceinline__ TokenFacts* token_facts() const {
    return reinterpret_cast<TokenFacts*>(memory + Tile::kFactsAt) + (Tile::kAside ? 0 : consumer * kN);
  }
  __device__ __forceinline__ ChannelFacts* channel_facts() const {
    return reinterpret_cast<ChannelFacts*>(memory + Tile::kChannelFactsAt) + consumer * kGroupChannels;
  }
  __device__ __forceinline__ Facts request_facts(const Wgmma8Place& place) const {
    const int thread = threadIdx.x % 128;
    Facts f;
#pragma unroll
    for (TokenFacts& t : f.tokens)
      t = facts_of_token<C>(a, place.token + thread + static_cast<int>(&t - f.tokens) * 128);
    f.channel = facts_of_channel<C>(a, first_channel(place) + thread % kGroupChannels);
    return f;
  }
  // They may be read after the next barrier of the warpgroup.
  __device__ __forceinline__ void share_facts(const Facts& f) const {
    const int thread = threadIdx.x % 128;
    cuda::sync_threads(1 + consumer, 128); // nobody reads those of the tile before any more
#pragma unroll
    for (int t = 0; t < (kN + 127) / 128; ++t)
      if (thread + 128 * t < kN) token_facts()[thread + 128 * t] = f.tokens[t];
    if (thread < kGroupChannels) channel_facts()[thread] = f.channel;
  }

  __device__ __forceinline__ void release(int stage) const {
    if constexpr (!C::kEveryLane) {
      release_stage<C>(release_at, stage, lane);
    } else if constexpr (C::kShare == 1) {
      cuda::barrier_arrive(release_at + 8 * stage);
    } else {
#pragma unroll
      for (int rank = 0; rank < C::kShare; ++rank)
        cuda::barrier_arrive_in_cluster(cuda::in_block(full + 8 * (Tile::kStages + stage), rank));
    }
  }
  // sum (+)= the 64-channel tile i of a stage. `add`: 0 starts anew.
  __device__ __forceinline__ void multiply(Sum (&sum)[kN / 2], int i, int stage, int add) const {
    const uint32_t at = base + stage * Tile::kStageBytes;
    const int tile = (C::kAlong ? 0 : consumer * kT) + i;
    const uint32_t tokens = cuda::wgmma_operand(at);
    const uint32_t weights = cuda::wgmma_operand(at + Tile::kCodesAt + tile * 8192);
#pragma unroll
    for (int kk = 0; kk < 4; ++kk) cuda::Wgmma8<kN>::multiply(sum, weights + 2 * kk, tokens + 2 * kk, kk > 0 ? 1 : add);
  }

  // total += the products of a stage, a group of wgmma.
  __device__ __forceinline__ void multiply_stage(int stage) {
    cuda::wgmma_fence();
#pragma unroll
    for (int i = 0; i < kT; ++i) multiply(total[i], i, stage, 1);
    cuda::wgmma_commit();
  }

  // total = the sums of a tile over this warpgroup's stages. Leaves the ring at the next tile's first stage.
  __device__ __forceinline__ void sum() {
    const int count = work.end - work.begin;
    clear_total();
    constexpr int kStep = C::kAlong ? 2 : 1;
    const int first = C::kAlong ? consumer : 0;
    ring.advance(min(first, count));
    int j = first;
    int before = -1;
#pragma unroll 1
    for (; j < count; j += kStep) {
      cuda::barrier_wait(full + 8 * ring.stage, ring.phase);
      multiply_stage(ring.stage);
      cuda::wgmma_wait<1>(); // the stage before is done with
      if (before >= 0) release(before);
      before = ring.stage;
      ring.advance(min(kStep, count - j));
    }
    cuda::wgmma_wait<0>();
    hold_total();
    if (before >= 0) release(before);
  }
  __device__ __forceinline__ void clear_total() {
#pragma unroll
    for (int i = 0; i < kT; ++i)
#pragma unroll
      for (int e = 0; e < kN / 2; ++e) total[i][e] = 0;
  }
  // Not to be read before this point: a wait names no registers, and reads that move above it serialize the loop.
  __device__ __forceinline__ void hold_total() {
#pragma unroll
    for (int i = 0; i < kT; ++i)
#pragma unroll
      for (int e = 0; e < kN / 2; ++e) cuda::hold(total[i][e]);
  }

  // --- results

  // First channel of this warpgroup; of a warp in the 64-channel tile i, from there on: of a packed weight a warp has
  // 32 neighbours, 16 in either tile.
  static constexpr int kWarpChannels = C::kPacked ? 32 : 16, kTileStep = C::kPacked ? 16 : 64;
  __device__ __forceinline__ int first_channel(const Wgmma8Place& place) const {
    return place.channel + channel_group() * kGroupChannels;
  }

  // The result of a sum.
  static __device__ __forceinline__ float result(Total sum, const ChannelFacts& c, const TokenFacts& t) {
    if constexpr (std::is_same_v<Total, int32_t>) {
      constexpr uint32_t kCode = C::kPacked ? static_cast<uint32_t>(1 / cuda::Int4To8<C::X>::kUnit) : 1; // 1, decoded
      sum = static_cast<int32_t>(static_cast<uint32_t>(sum) -
                                 static_cast<uint32_t>(c.azp_adj) * static_cast<uint32_t>(t.azp) * kCode);
    }
    return static_cast<float>(sum) * c.scale * t.scale + c.bias;
  }

  // One element of out, of any type. token: of the tile.
  __device__ __forceinline__ void put(const Wgmma8Place& place, int token, int n, float value) const {
    if (place.token + token >= a.m || n >= place.end) return;
    const int64_t at = token_facts()[token].out + n;
    if (a.out_type == SPF_F32)
      static_cast<float*>(a.out)[at] = value;
    else if (a.out_type == SPF_F16)
      static_cast<__half*>(a.out)[at] = __float2half_rn(value);
    else if (a.out_type == SPF_BF16)
      static_cast<__nv_bfloat16*>(a.out)[at] = __float2bfloat16_rn(value);
    else
      static_cast<uint8_t*>(a.out)[at] = static_cast<uint8_t>(cuda::narrow_fp8x2<SPF_E4M3>(value * out_factor, 0.0f));
  }
  // Two channels of two tokens: v = d[4 b .. 4 b + 3] of tile i.
  template <class V>
  __device__ __forceinline__ void put_block(const Wgmma8Place& place, int i, int b, const V& v) const {
    const int token = b * 8 + lane % 4 * 2, channel = (first_tile() + i) * kTileStep + warp * kWarpChannels + lane / 4;
#pragma unroll
    for (int e = 0; e < 4; ++e)
      put(place, token + e % 2, first_channel(place) + channel + e / 2 * 8,
          result(v[e], channel_facts()[channel + e / 2 * 8], token_facts()[token + e % 2]));
  }

  // Channels n .. n+7 of a token's row of 16-bit results, those that exist.
  __device__ __forceinline__ void put_chunk(const Wgmma8Place& place, int token, int n, const uint4& chunk) const {
    if (place.token + token >= a.m || n >= place.end) return;
    uint16_t* to = static_cast<uint16_t*>(a.out) + token_facts()[token].out + n;
    if (a.vector_out && n + 8 <= place.end)
      *reinterpret_cast<uint4*>(to) = chunk;
    else
      store_some(to, n, place.end, chunk);
  }

  // 16-bit results by way of shared memory, so that rows of out are written in 16-byte pieces: 64 channels of a token
  // are 128 bytes, eight pieces, a piece a warp and half.
  template <spf_scalar_type O, int kTokens>
  __device__ __forceinline__ void stage_16(int i, int first, uint32_t to) const {
    const int own = (first_tile() + i) * kTileStep + warp * kWarpChannels + lane / 4;
    const ChannelFacts c[2] = {channel_facts()[own], channel_facts()[own + 8]};
    // Facts of four tokens are read before the results of the four before them are written.
    TokenFacts next[4];
    const auto read = [&](int b) {
      const TokenFacts* from = token_facts() + first + b * 8 + lane % 4 * 2;
#pragma unroll
      for (int q = 0; q < 4; ++q) next[q] = from[q / 2 * 8 + q % 2];
    };
    read(0);
#pragma unroll
    for (int b = 0; b < kTokens / 8; b += 2) {
      const TokenFacts t[4] = {next[0], next[1], next[2], next[3]};
      if (b + 2 < kTokens / 8) read(b + 2);
      uint32_t r[4];
#pragma unroll
      for (int q = 0; q < 4; ++q) {
        const int e = (first / 8 + b + q / 2) * 4 + q % 2 * 2;
        const TokenFacts* of = t + q / 2 * 2;
        r[q] = cuda::Scalar<O>::narrow2(result(total[i][e], c[q % 2], of[0]), result(total[i][e + 1], c[q % 2], of[1]));
      }
      stage_16_tokens(to, b, warp, lane, r);
    }
  }
  // Of the loop that writes: few tokens pay for instructions that are fetched once more than for waits.
  static constexpr int kStoreUnroll = C::kPacked && kN <= 64 ? 1 : 4;
  template <spf_scalar_type O>
  __device__ __forceinline__ void store_16(const Wgmma8Place& place) const {
    uint8_t* staged = memory + Tile::kStoreAt + consumer * Tile::kStoreEach;
#pragma unroll
    for (int i = 0; i < kT; ++i) {
      const int channel = (first_tile() + i) * kTileStep;
#pragma unroll
      for (int part = 0; part < kN / Tile::kStoreTokens; ++part) {
        cuda::sync_threads(1 + consumer, 128);
        stage_16<O, Tile::kStoreTokens>(i, part * Tile::kStoreTokens, cuda::shared_address(staged));
        cuda::sync_threads(1 + consumer, 128);
#pragma unroll(kStoreUnroll)
        for (int e = threadIdx.x % 128; e < Tile::kStoreTokens * 8; e += 128) {
          const int token = e / 8, q = e % 8;
          put_chunk(place, part * Tile::kStoreTokens + token,
                    first_channel(place) + channel + q / 2 * kWarpChannels + q % 2 * 8,
                    *reinterpret_cast<const uint4*>(staged + token * 128 + (q ^ (token % 8)) * 16));
        }
      }
    }
  }
  // Results of any type, eight tokens at a time by way of shared memory, so that the code that writes an element stands
  // here once and not for every sum.
  __device__ __forceinline__ void store_any(const Wgmma8Place& place) const {
    constexpr int kPitch = 68; // floats of a token: four tokens of a warp in different banks
    auto* staged = reinterpret_cast<float*>(memory + Tile::kStoreAt + consumer * Tile::kStoreEach);
    const int thread = threadIdx.x % 128;
#pragma unroll
    for (int i = 0; i < kT; ++i) {
      const int channel = (first_tile() + i) * kTileStep, own = warp * kWarpChannels + lane / 4;
#pragma unroll
      for (int b = 0; b < kN / 8; ++b) {
        cuda::sync_threads(1 + consumer, 128);
        float* to = staged + lane % 4 * 2 * kPitch + warp * 16 + lane / 4;
#pragma unroll
        for (int e = 0; e < 4; ++e)
          to[e % 2 * kPitch + e / 2 * 8] = result(total[i][4 * b + e], channel_facts()[channel + own + e / 2 * 8],
                                                  token_facts()[b * 8 + lane % 4 * 2 + e % 2]);
        cuda::sync_threads(1 + consumer, 128);
#pragma unroll 1
        for (int e = thread; e < 8 * 64; e += 128)
          put(place, b * 8 + e / 64, first_channel(place) + channel + e % 64 / 16 * kWarpChannels + e % 16,
              staged[e / 64 * kPitch + e % 64]);
      }
    }
  }
  // Results of a whole tile, where the copy engine writes them to out (write_tiles()) in boxes of 64 channels.
  static constexpr int kBoxTokens = kN;
  template <spf_scalar_type O>
  __device__ __forceinline__ void stage_tile() const {
#pragma unroll
    for (int i = 0; i < kT; ++i)
      stage_16<O, kN>(i, 0, base + Tile::kStoreAt + consumer * Tile::kStoreEach + i * kN * 128);
  }
  // Those of a warpgroup, from where they are staged.
  static __device__ __forceinline__ void send_tile(const Wgmma8Args& a, const Wgmma8Place& place, int group,
                                                   uint32_t staged) {
    for (int i = 0; i < kT; ++i)
      cuda::store_tile(a.results, place.channel + (group * kT + i) * 64, place.token, staged + i * kN * 128);
  }
  __device__ __forceinline__ void store(const Wgmma8Place& place) const {
    if constexpr (Tile::kAside) {
      if (!a.stored)
        store_any(place);
      else if (a.out_type == SPF_BF16)
        stage_tile<SPF_BF16>();
      else
        stage_tile<SPF_F16>();
    } else if (a.out_type == SPF_BF16)
      store_16<SPF_BF16>(place);
    else if (a.out_type == SPF_F16)
      store_16<SPF_F16>(place);
    else
      store_any(place);
  }

  // Sums of all blocks of the cluster and, where they divide K, of both warpgroups, in that order. The pieces of a
  // tile, two channels x two tokens a lane, go round the ranks, and then round the warpgroups; put(i, b, sums) writes
  // total[i][4 b .. 4 b + 3]. Sums of the next tile do not come in before its first barrier.
  __device__ __forceinline__ void reduce_and_store(const Wgmma8Place& place) const {
    reduce([&](int i, int b, const Total(&v)[4]) { put_block(place, i, b, v); });
  }
  template <class Put>
  __device__ __forceinline__ void reduce(const Put& put_sums) const {
    constexpr int kPieces = kT * (kN / 8), kGroupBytes = kPieces * 16 * 128;
    const int thread = threadIdx.x % 128;
    cuda::sync_threads(7, 128 * C::kConsumers); // every stage is done with, and facts are there
    auto* mine = reinterpret_cast<uint4*>(memory + Tile::kSumsAt + consumer * kGroupBytes) + thread;
#pragma unroll
    for (int i = 0; i < kT; ++i)
#pragma unroll
      for (int b = 0; b < kN / 8; ++b)
        mine[(i * (kN / 8) + b) * 128] = make_uint4(bits(total[i][4 * b]), bits(total[i][4 * b + 1]),
                                                    bits(total[i][4 * b + 2]), bits(total[i][4 * b + 3]));
    if (a.split > 1) {
      cuda::cluster_arrive();
      cuda::cluster_wait();
    } else {
      cuda::sync_threads(7, 128 * C::kConsumers);
    }
    constexpr int kEach = C::kAlong ? 2 : 1;
    const uint32_t from = base + Tile::kSumsAt + (C::kAlong ? 0 : consumer * kGroupBytes) + thread * 16;
    const int rank = a.split > 1 ? work.rank : 0; // blocks that share x have tiles of their own
    const int first = C::kAlong ? rank * 2 + consumer : rank, step = a.split * kEach;
#pragma unroll
    for (int i = 0; i < kT; ++i) {
      for (int b = first; b < kN / 8; b += step) {
        Total v[4] = {};
        for (int r = 0; r < a.split; ++r)
#pragma unroll
          for (int g = 0; g < kEach; ++g) {
            const uint32_t at = from + g * kGroupBytes + (i * (kN / 8) + b) * 2048;
            const float4 p = cuda::load_from_cluster(a.split > 1 ? cuda::in_block(at, r) : at);
            v[0] += value(p.x);
            v[1] += value(p.y);
            v[2] += value(p.z);
            v[3] += value(p.w);
          }
        put_sums(i, b, v);
      }
    }
    if (a.split > 1) { // until nobody reads this block's sums any more
      cuda::cluster_arrive_relaxed();
      cuda::cluster_wait();
    }
  }
  static __device__ __forceinline__ uint32_t bits(float v) { return __float_as_uint(v); }
  static __device__ __forceinline__ uint32_t bits(int32_t v) { return static_cast<uint32_t>(v); }
  static __device__ __forceinline__ Total value(float v) {
    if constexpr (std::is_same_v<Total, int32_t>)
      return __float_as_int(v);
    else
      return v;
  }
};

// One warp, with Tile::kAside: facts of every tile, while it is multiplied, and its results to out, while the next one
// is. ready: facts are there, and room for results; written: results of a warpgroup.
template <class C>
__device__ __forceinline__ void write_tiles(const Wgmma8Args& a, const WgmmaWork<C>& work, uint8_t* memory,
                                            uint32_t ready, uint32_t written) {
  using Tile = typename C::Tile;
  const int lane = threadIdx.x % 32;
  auto* tokens = reinterpret_cast<TokenFacts*>(memory + Tile::kFactsAt);
  auto* channels = reinterpret_cast<ChannelFacts*>(memory + Tile::kChannelFactsAt);
  cuda::wait_for_primary(); // which may still read out
  uint32_t phase = 0;
  for (int tile = work.first; tile < work.tiles; tile += work.step, phase ^= 1) {
    const Wgmma8Place place = locate(a, work, tile);
#pragma unroll 1
    for (int i = lane; i < C::kN; i += 32) tokens[i] = facts_of_token<C>(a, place.token + i);
#pragma unroll 1
    for (int i = lane; i < Tile::kChannels; i += 32) channels[i] = facts_of_channel<C>(a, place.channel + i);
    if (lane == 0) cuda::wait_for_store_reads();
    __syncwarp();
    cuda::barrier_arrive(ready);
    if (C::kShare == 1 && a.split > 1)
      return; // its one tile's sums go to out from the cluster, which waits for no others
#pragma unroll 1
    for (int group = 0; group < Tile::kGroups; ++group) {
      cuda::barrier_wait(written + 8 * group, phase);
      if (!a.stored || lane > 0) continue;
      C::Consumer::send_tile(a, place, group, cuda::shared_address(memory) + Tile::kStoreAt + group * Tile::kStoreEach);
      cuda::commit_stores();
    }
  }
  if (lane == 0) cuda::wait_for_store_reads(); // before the block gives its memory back
}

template <class C>
__global__ void __launch_bounds__(C::kThreads, 1) wgmma8_linear(const __grid_constant__ Wgmma8Args a) {
  using namespace spf::cuda;
  using Tile = typename C::Tile;
  SPF_DYNAMIC_SHARED(uint8_t, raw, 16);
  __shared__ uint64_t barriers[2 * Tile::kStages + (Tile::kAside ? 1 + Tile::kGroups : 0)];
  uint8_t* memory = raw + (1024 - shared_address(raw) % 1024) % 1024; // the swizzle repeats every 1024 bytes
  uint32_t full = shared_address(barriers);
  keep_in_register(full);
  const uint32_t empty = full + 8 * Tile::kStages, ready = empty + 8 * Tile::kStages, written = ready + 8;
  const WgmmaWork<C> work(a);

  launch_dependents();
  if (threadIdx.x == 32) prefetch_map(x_map<C>(a, a.m));
  if (threadIdx.x == 0) {
    for (int s = 0; s < Tile::kStages; ++s) {
      barrier_init(full + 8 * s, C::kCopiers);
      barrier_init(empty + 8 * s, C::kReaders);
    }
    if constexpr (Tile::kAside) {
      barrier_init(ready, 32);
      for (int g = 0; g < Tile::kGroups; ++g) barrier_init(written + 8 * g, 128);
    }
    fence_barrier_init();
  }
  __syncthreads();
  if (C::kShare > 1) { // the other block's barriers are there
    cluster_arrive_relaxed();
    cluster_wait();
  }

  if (threadIdx.x < 128) {
    give_registers<C::kCopierRegisters>();
    if (threadIdx.x == 0) {
      if constexpr (C::kPacked)
        copy_packed_weights<C>(a, work, 0, shared_address(memory), full, empty);
      else
        copy_weights<C>(a, work, shared_address(memory), full, empty, 0);
    }
    if constexpr (C::kAlong) {
      if (threadIdx.x == 96) copy_weights<C>(a, work, shared_address(memory), full, empty, 1);
    }
    if constexpr (C::kPacked) {
      if (threadIdx.x == 64) copy_packed_weights<C>(a, work, 1, shared_address(memory), full, empty);
      if (C::kFold > 0 && threadIdx.x == 96) copy_packed_scales<C>(a, work, shared_address(memory), full, empty);
    }
    if (threadIdx.x == 32) copy_tokens<C>(a, work, shared_address(memory), full, empty);
    if constexpr (C::kBlocks) {
      if (threadIdx.x == 64) copy_block_factors<C>(a, work, memory, full, empty);
    } else if constexpr (C::kFoldTokens) {
      if (threadIdx.x / 32 == 2) copy_token_scales<C>(a, work, memory, full, empty);
    }
    if constexpr (Tile::kAside) {
      if (threadIdx.x / 32 == 3) write_tiles<C>(a, work, memory, ready, written);
    }
  } else {
    take_registers<C::kConsumerRegisters>();
    wait_for_primary();
    typename C::Consumer consumer(a, work, memory, full, empty);
    uint32_t phase = 0;
    for (int tile = work.first; tile < work.tiles; tile += work.step, phase ^= 1) {
      const Wgmma8Place place = locate(a, work, tile);
      if constexpr (Tile::kAside) {
        consumer.sum();
        barrier_wait(ready, phase);
      } else {
        const auto facts = consumer.request_facts(place);
        consumer.sum();
        consumer.share_facts(facts);
      }
      if constexpr (C::kAlong) {
        consumer.reduce_and_store(place);
      } else {
        if (C::kShare == 1 && a.split > 1)
          consumer.reduce_and_store(place);
        else
          consumer.store(place);
      }
      if constexpr (Tile::kAside) {
        fence_before_copies();
        barrier_arrive(written + 8 * consumer.consumer);
      }
    }
  }
  end_block<C>();
}

// --- launch ---------------------------------------------------------------------------------------------------------

// Everything of a call but how the work is divided. `scales`: whether the weight has them.
inline Wgmma8Args wgmma8_args(const Call& call, bool scales) {
  const Problem& p = call.problem;
  const spf_packed_weight& w = *call.weight;
  const auto* data = static_cast<const char*>(w.data);
  const spf_tensor& out = *call.operand("out");
  const auto pointer = [&](const char* name) { return call.operand(name) ? call.operand(name)->data : nullptr; };
  Wgmma8Args a = {};
  a.codes = reinterpret_cast<const uint8_t*>(data);
  if (scales) a.scales = data + w.scales_offset;
  a.scale_type = SPF_F32;
  a.out_rows = row_space({&out});
  a.out = out.data;
  a.out_type = out.type;
  a.vector_out = p.is_aligned16("out");
  a.stored = a.vector_out && w.n % 8 == 0 && a.out_rows.dims <= 1 && (out.type == SPF_BF16 || out.type == SPF_F16) &&
             (a.out_rows.dims == 0 || a.out_rows.stride[0][0] >= w.n);
  if (const spf_tensor* x_scale = call.operand("x_scale")) {
    a.scale_rows = row_space({x_scale});
    a.x_scale = static_cast<const float*>(x_scale->data);
    a.x_scale_step = x_scale->stride[x_scale->rank - 1];
    a.token_groups = p.extent("G") > 1;
  }
  a.azp_adj = static_cast<const int32_t*>(pointer("azp_adj"));
  if (const spf_tensor* azp = call.operand("azp")) {
    a.azp = static_cast<const int32_t*>(azp->data);
    a.azp_rows = single_space(*azp);
  }
  a.channel_scale = static_cast<const float*>(pointer("channel_scale"));
  a.out_factor = static_cast<const float*>(pointer("out_factor"));
  a.bias = pointer("bias");
  a.bias_type = p.type("B");
  a.m = static_cast<int32_t>(p.extent("*"));
  a.n = static_cast<int32_t>(w.n);
  a.padded_n = static_cast<int32_t>(w.padded_n);
  return a;
}

// Describes x to the copy engine, by way of the workspace where its rows, of elements of `width` bytes, do not start on
// 16 bytes or have no common distance; then launches what the plan says.
template <class C>
spf_status launch_wgmma8(const Call& call, const LaunchContext& ctx, int width, const WgmmaPlan& plan, Wgmma8Args* a) {
  const char* op = call.problem.op->name;
  const spf_tensor& x = *call.operand("x");
  const int64_t bytes = call.weight->k * width, even = (bytes + 15) / 16 * 16;
  RowSpace<1> rows = row_space({&x});
  for (int d = 0; d < rows.dims; ++d) rows.stride[0][d] *= width;
  const void* tokens = x.data;
  int64_t pitch = rows.dims == 0 ? even : rows.stride[0][0];
  if (needs_gathering(call.problem, rows.dims, pitch / width)) {
    pitch = even;
    if (const spf_status status = launch_gather<uint8_t>(op, ctx, x.data, rows, ctx.workspace, bytes, pitch);
        status != SPF_OK)
      return status;
    tokens = ctx.workspace;
  }
  const cuda::Matrix matrix = {tokens, CU_TENSOR_MAP_DATA_TYPE_UINT8, bytes, a->m, pitch, 128, 0, true};
  if (const spf_status status = encode_x<C>(op, matrix, a); status != SPF_OK) return status;
  if (C::Tile::kAside && a->stored) {
    const int64_t row = 2 * (a->out_rows.dims == 0 ? a->n : a->out_rows.stride[0][0]); // whole 16 bytes: it is `stored`
    constexpr int kBox = C::Consumer::kBoxTokens;
    const cuda::Matrix results = {a->out, CU_TENSOR_MAP_DATA_TYPE_UINT16, a->n, a->m, row, 64, kBox, true};
    if (const spf_status status = cuda::encode(op, results, &a->results); status != SPF_OK) return status;
  }
  set_schedule(plan, a);
  const int blocks = cluster_width<C>(plan);
  return cuda::launch(op, ctx, wgmma8_linear<C>, static_cast<int64_t>(plan.clusters) * blocks, C::kThreads,
                      C::Tile::kSharedBytes, *a, blocks);
}

template <spf_scalar_type X, int kTokens, int kTiles, bool kAlong, int kFold, int kShare, bool kPacked>
spf_status wgmma8(const Call& call, const LaunchContext& ctx) {
  using C = Wgmma8Config<X, kTokens, kTiles, kAlong, kFold, kShare, kPacked>;
  const spf_packed_weight& w = *call.weight;
  const int64_t m = call.problem.extent("*");
  if (m == 0 || w.n == 0) return SPF_OK;
  Wgmma8Args a = wgmma8_args(call, true);
  if (kPacked) a.scale_type = w.scheme.scale;
  a.k_steps = static_cast<int32_t>(w.padded_k / 32);
  const int64_t group = w.scheme.group_k > 0 && w.scheme.group_k < w.k ? w.scheme.group_k : (w.k + 127) / 128 * 128;
  a.group_steps = static_cast<int32_t>(group / 32);
  a.groups = static_cast<int32_t>((w.k + group - 1) / group);
  const Wgmma8Plan plan =
      wgmma8_plan({m, w.n, w.k, kPacked ? 4 : 8}, *ctx.facts, {kTokens, kTiles, kAlong, kShare, kPacked}, kFold);
  a.tile_channels = plan.tile_channels;
  LaunchContext next = ctx;
  if constexpr (C::kBlocks) {
    void* room = static_cast<uint8_t*>(ctx.workspace) + wgmma8_room(call.problem, kTokens).x_bytes;
    if (const spf_status status = place_factors<kTokens>(call, ctx, room, &a, &next); status != SPF_OK) return status;
  }
  return launch_wgmma8<C>(call, next, 1, plan, &a);
}

} // namespace spf::linear

#include "kernels/linear/sm90_wgmma8_block.cuh"
#include "kernels/linear/sm90_wgmma8_factors.cuh"
#include "kernels/linear/sm90_wgmma8_fold.cuh"
#include "kernels/linear/sm90_wgmma8_packed.cuh"
