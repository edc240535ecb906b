// out[m,n] = sum_k x[m,k] * weight[k,n] + bias[n] on Hopper's warpgroup tensor cores. Weights are the register operand,
// decoded from the Marlin order (decode/fragment.cuh); tokens are the n side, so few tokens waste nothing.
//
//   block = 4 copying warps + kParts * kGroups warpgroups; its tile is kGroups * kT * 64 channels x kN tokens, and with
//   few tokens kParts warpgroups take turns at its stages
//
//   copiers     codes, x and scales of 64 or 128 k per stage, by the copy engine, into a ring of stages
//   consumers   words of the next stage from shared memory | decode half a stage | wgmma on the half before
//   a writer    with many tokens, results of the tile before from shared memory to out (kAside)
//
// A 64-channel tile of the Marlin order is four 16-channel sub-tiles, one word a lane each. Warp w takes a sub-tile per
// 64-channel tile, which makes the four warps one m64 operand. Which one depends on the lane, (w + lane / 8) % 4: rows
// of an A fragment belong to lanes, so a lane is free to stand for other channels, and 32 lanes then read 32 different
// banks.
//
// K may be split over the blocks of a cluster (args.split). They then exchange sums through shared memory, and each
// adds its part of the tokens in rank order: no workspace, no flags, and the same bits at every run. Or the blocks of a
// cluster work on neighbouring channels of the same tokens (kShare) and fetch x once for all. Two of them may have some
// 64-channel tiles of a last wave in common (kDivide): each multiplies every other stage of those, or half of K where
// they have nothing else, and they send each other halves of the sums.
#pragma once

#include <initializer_list>
#include <type_traits>

#include "kernels/common/cuda/launch.cuh"
#include "kernels/common/cuda/scalar.cuh"
#include "kernels/common/cuda/tensor_copy.cuh"
#include "kernels/common/cuda/tensor_map.hpp"
#include "kernels/common/decode/fragment.cuh"
#include "kernels/common/decode/scale_order.cuh"
#include "kernels/common/mma/m16n8k16.cuh"
#include "kernels/common/mma/wgmma.cuh"
#include "kernels/common/rows.hpp"
#include "kernels/linear/policy_cuda.hpp"
#include "kernels/linear/wgmma_call.cuh"
#include "kernels/linear/wgmma_copy.cuh"
#include "kernels/linear/wgmma_write.cuh"

namespace spf::linear {

// One consuming warpgroup.
template <class C>
struct WgmmaConsumer {
  using Tile = typename C::Tile;
  using S = cuda::Scalar<C::kType>;
  using Element = cuda::scalar_t<C::kType>;
  static constexpr int kT = C::kT, kN = C::kN, kRows = Tile::kRows, kHalf = kRows / 2; // k16 rows of a stage, and half
  using Fragments = uint32_t[kHalf][kT][4];
  using Fragment = typename C::Fragment;
  static constexpr int kScaleElement = Fragment::kScaleBytes;

  const WgmmaArgs& a;
  const WgmmaWork<C>& work;
  uint8_t* memory;
  uint32_t base, full, release_at;
  int consumer, part, warp, lane;      // consumer: of a part, which are the channels; part: which are the stages
  int word;                            // sub-tile of 16 channels that this lane's sums belong to
  uint32_t code_at, scale_at, zero_at; // of the first of its tiles, which lie one behind the other
  uint32_t x_at; // in a part of x: this lane's row of the four 8x8 matrices of 16 tokens and 16 k (kFew)
  static_assert(C::kDense || kT <= Tile::kBoxTiles);
  RingPlace<Tile::kStages> ring; // of the stage whose words are read next
  int next, end = 0;             // stages of all tiles so far: this part's next, and where the tile's end
  uint32_t words[kRows][kT][Fragment::kWords];
  cuda::RowFacts facts[C::kHasGroups ? C::kScaleRows : 1][kT];
  Fragment decoders[kT]; // for the rows decoded last
  float acc[kT][kN / 2];

  __device__ __forceinline__ WgmmaConsumer(const WgmmaArgs& args, const WgmmaWork<C>& w, uint8_t* mem, uint32_t full_at,
                                           uint32_t empty_at)
      : a(args), work(w), memory(mem), base(cuda::shared_address(mem)), full(full_at) {
    consumer = (threadIdx.x / 128 - 1) % C::kChannelGroups;
    part = (threadIdx.x / 128 - 1) / C::kChannelGroups;
    ring.stage = next = part;
    warp = threadIdx.x / 32 % 4;
    lane = threadIdx.x % 32;
    word = C::kDense ? warp : (warp + lane / 8) % 4;
    x_at = (lane / 16 * 8 + lane % 8) * 128 + ((lane / 8 ^ lane) % 2 + lane % 8 / 2 * 2) * 16;
    cuda::keep_in_register(base); // as `full` is
    release_at = release_place<C>(empty_at, lane);
    const int tile = consumer * kT, box = tile / Tile::kBoxTiles, in = tile % Tile::kBoxTiles;
    code_at = base + Tile::kCodesAt + (box * kRows * Tile::kBoxTiles + in) * Tile::kTileBytes +
              lane * (4 * Tile::kBits) + word * Tile::kBits;
    // Of a row of scales or zero points, eight neighbours belong to the channels that are equal modulo 8. Bytes lie
    // four to a word, of which a lane takes two.
    const int eight = tile * 8 + lane / 4;
    scale_at = base + Tile::kScalesAt +
               (kScaleElement == 1 ? eight * 8 + word / 2 * 4 : (eight * 8 + word * 2) * kScaleElement);
    zero_at = base + Tile::kZerosAt + eight * 4;
  }

  // Words of the next stage, once it is there.
  __device__ __forceinline__ void fetch() {
    cuda::barrier_wait(full + 8 * ring.stage, ring.phase);
    load<0, kRows>(ring.stage * Tile::kStageBytes);
    ring.advance(C::kParts);
  }
  // Words of kCount k16 rows from row kFrom on, and the scales that begin there, of a stage at `at`.
  template <int kFrom, int kCount>
  __device__ __forceinline__ void load(int at) {
#pragma unroll
    for (int i = 0; i < kT; ++i) {
#pragma unroll
      for (int kk = kFrom; kk < kFrom + kCount; ++kk) {
        const uint32_t from = code_at + at + (kk * Tile::kBoxTiles + i) * Tile::kTileBytes;
        if constexpr (Fragment::kWords == 1)
          words[kk][i][0] = cuda::load_shared(from);
        else
          cuda::load_shared(from, words[kk][i][0], words[kk][i][1]);
      }
#pragma unroll
      for (int r = 0; r < C::kScaleRows; ++r) {
        constexpr int kEach = C::kScaleRows == 0 ? 1 : kRows / C::kScaleRows;
        if (r * kEach < kFrom || r * kEach >= kFrom + kCount) continue;
        const uint32_t from = scale_at + at + (r * Tile::kChannels + i * 64) * kScaleElement;
        if constexpr (kScaleElement == 4)
          cuda::load_shared(from, facts[r][i].scale[0], facts[r][i].scale[1]);
        else
          facts[r][i].scale[0] = cuda::load_shared(from);
        if constexpr (Fragment::kZeros)
          facts[r][i].zero = cuda::load_shared(zero_at + at + (r * Tile::kChannels + i * 64) * Tile::kBits / 8);
      }
    }
  }
  // Scales and zero points of this lane's two rows, out of the words that hold them.
  __device__ __forceinline__ cuda::RowFacts own(cuda::RowFacts f) const {
    if constexpr (kScaleElement == 1) f.scale[0] = f.scale[0] >> (8 * (word % 2)) & 0x00ff00ffu;
    if constexpr (Fragment::kZeros) f.zero = f.zero >> (4 * word) & 0x000f000fu;
    return f;
  }
  // The first half of a stage before the second, whose scales may be the same.
  template <int kFrom>
  __device__ __forceinline__ void decode(Fragments& fragments) {
#pragma unroll
    for (int i = 0; i < kT; ++i)
#pragma unroll
      for (int kk = 0; kk < kHalf; ++kk) {
        if constexpr (C::kHasGroups) {
          constexpr int kEach = kRows / C::kScaleRows;
          if ((kFrom + kk) % kEach == 0) decoders[i].prepare(own(facts[(kFrom + kk) / kEach][i]), a.f16_scales);
        } else if (kk == 0) {
          decoders[i].prepare({}, false); // constants
        }
        decoders[i].decode(fragments[kk][i], words[kFrom + kk][i]);
      }
  }
  __device__ __forceinline__ uint32_t tokens_of(int at) const {
    const uint32_t tokens = cuda::wgmma_operand(base + at * Tile::kStageBytes);
    return C::kUniform ? cuda::uniform(tokens) : tokens;
  }
  template <int kFrom>
  __device__ __forceinline__ void multiply(const Fragments& fragments, uint32_t tokens) {
    cuda::wgmma_fence();
#pragma unroll
    for (int kk = 0; kk < kHalf; ++kk)
#pragma unroll
      for (int i = 0; i < kT; ++i)
        cuda::Wgmma<kN>::template multiply<C::kType>(
            acc[i], fragments[kk][i], tokens + (kFrom + kk) / 4 * (Tile::kXPartBytes / 16) + (kFrom + kk) % 4 * 2);
    cuda::wgmma_commit();
  }
  // Half of a stage with mma.sync: its A fragment is a warp's part of wgmma's, its sums lie in the same registers.
  template <int kFrom>
  __device__ __forceinline__ void multiply_few(int at) {
#pragma unroll
    for (int row = kFrom; row < kFrom + kHalf; ++row) {
      constexpr int kPart = 4; // k16 rows of a part of x
      uint32_t x[kN / 16][4];
#pragma unroll
      for (int p = 0; p < kN / 16; ++p)
        cuda::load_matrices(x[p],
                            ((base + at + row / kPart * Tile::kXPartBytes + x_at) ^ row % kPart * 32) + p * 16 * 128);
#pragma unroll
      for (int i = 0; i < kT; ++i) {
        if constexpr (C::kHasGroups) {
          constexpr int kEach = kRows / C::kScaleRows;
          if (row % kEach == 0) decoders[i].prepare(own(facts[row / kEach][i]), a.f16_scales);
        }
        uint32_t weights[4];
        decoders[i].decode(weights, words[row][i]);
#pragma unroll
        for (int b = 0; b < kN / 8; ++b)
          cuda::mma_m16n8k16<C::kType>(*reinterpret_cast<float(*)[4]>(&acc[i][4 * b]), weights[0], weights[1],
                                       weights[2], weights[3], x[b / 2][b % 2 * 2], x[b / 2][b % 2 * 2 + 1]);
      }
    }
  }
  // A stage of 16-bit weights, both operands in shared memory.
  __device__ __forceinline__ void multiply_shared(int from) {
    const uint32_t tokens = cuda::uniform(cuda::wgmma_operand(base + from * Tile::kStageBytes));
    const uint32_t channels =
        cuda::uniform(cuda::wgmma_operand(base + from * Tile::kStageBytes + Tile::kCodesAt + consumer * kT * 64 * 128));
    cuda::wgmma_fence();
#pragma unroll
    for (int kk = 0; kk < kRows; ++kk)
#pragma unroll
      for (int i = 0; i < kT; ++i)
        cuda::Wgmma<kN>::template multiply<C::kType>(acc[i], channels + i * (64 * 128 / 16) + kk * 2, tokens + kk * 2);
    cuda::wgmma_commit();
  }
  __device__ __forceinline__ void release(int from) const { release_stage<C>(release_at, from, lane); }

  // Whether this warpgroup's 64-channel tile is one of those that the other block has too.
  __device__ __forceinline__ bool is_common(int common) const {
    if constexpr (!C::kDivide) return false;
    return work.rank == 0 ? consumer >= C::kChannelGroups - common : consumer < common;
  }

  // acc = the sums of a tile, over this block's part of K.
  __device__ __forceinline__ void sum(int common) {
#pragma unroll
    for (int i = 0; i < kT; ++i)
#pragma unroll
      for (int e = 0; e < kN / 2; ++e) acc[i][e] = 0.0f;
    const WgmmaStages stages = stages_of(a, work, common);
    int count = stages.end - stages.begin;
    if constexpr (C::kParts > 1) {
      end += count;
      count = (end - next + C::kParts - 1) / C::kParts;
      next += count * C::kParts;
    }
    if (count == 0) return;
    if constexpr (C::kDivide) // its stages are this block's own, but for common tiles beside others
      release_at = cuda::in_block(full + 8 * Tile::kStages, divides_all<C>(common) ? work.rank : lane % C::kShare);
    if constexpr (C::kDense)
      sum_shared(count);
    else if constexpr (C::kFew)
      sum_few(count);
    else
      sum_decoded(count, is_common(common) && !divides_all<C>(common) ? 1 : 0);
  }
  static __device__ __forceinline__ int before(int s) { return s == 0 ? Tile::kStages - 1 : s - 1; }

  __device__ __forceinline__ void sum_shared(int count) {
    int used = ring.stage;
    for (int i = 0; i < count; ++i) {
      used = ring.stage;
      cuda::barrier_wait(full + 8 * ring.stage, ring.phase);
      multiply_shared(ring.stage);
      ring.advance(C::kParts);
      cuda::wgmma_wait<1>(); // the stage before is done with
      if (i > 0) release(before(used));
    }
    cuda::wgmma_wait<0>();
    release(used);
  }

  // One half of a stage after the other; what a warp waits for, the others of its scheduler hide.
  __device__ __forceinline__ void sum_few(int count) {
#pragma unroll
    for (int i = 0; !C::kHasGroups && i < kT; ++i) decoders[i].prepare({}, false);
    for (int i = 0; i < count; ++i) {
      const int at = ring.stage * Tile::kStageBytes;
      cuda::barrier_wait(full + 8 * ring.stage, ring.phase);
      load<0, kHalf>(at);
      multiply_few<0>(at);
      load<kHalf, kHalf>(at);
      multiply_few<kHalf>(at);
      __syncwarp(); // every lane has read
      release(ring.stage);
      ring.advance(C::kParts);
    }
  }

  // The sums of all parts into the first one's, in their order, some tokens at a time.
  __device__ __forceinline__ void combine() {
    const int barrier = 8 + consumer, threads = C::kParts * 128;
    constexpr int kGroups = Tile::kSumTokens / 8, kPieces = kT * kGroups; // of 8 tokens
    auto* sums = reinterpret_cast<float4*>(memory + Tile::kStages * Tile::kStageBytes + Tile::kSumsAt) +
                 consumer * kPieces * 128 + threadIdx.x % 128;
    const auto of = [&](int p, int e) -> float4& { return sums[((p - 1) * C::kChannelGroups * kPieces + e) * 128]; };
#pragma unroll
    for (int from = 0; from < kN / 8; from += kGroups) {
      cuda::sync_threads(barrier, threads); // those before have been read
#pragma unroll
      for (int e = 0; e < kPieces; ++e) {
        const float* mine = &acc[e / kGroups][(from + e % kGroups) * 4];
        if (part > 0) of(part, e) = make_float4(mine[0], mine[1], mine[2], mine[3]);
      }
      cuda::sync_threads(barrier, threads);
      if (part > 0) continue;
#pragma unroll
      for (int p = 1; p < C::kParts; ++p)
#pragma unroll
        for (int e = 0; e < kPieces; ++e) {
          const float4 v = of(p, e);
          float* mine = &acc[e / kGroups][(from + e % kGroups) * 4];
          mine[0] += v.x;
          mine[1] += v.y;
          mine[2] += v.z;
          mine[3] += v.w;
        }
    }
  }

  // A stage that is the other block's to multiply.
  __device__ __forceinline__ void pass() {
    cuda::barrier_wait(full + 8 * ring.stage, ring.phase); // an earlier arrival would count for the stage's last use
    release(ring.stage);
    ring.advance(C::kParts);
  }

  // by_turns: 1 if the other block's warpgroup takes every other stage.
  __device__ __forceinline__ void sum_decoded(int count, uint32_t by_turns) {
    cuda::keep_in_register(by_turns); // not found anew in the loop
    Fragments first, second;
    int own = count;
    if constexpr (C::kDivide) {
      if (by_turns != 0) own = (count + 1 - work.rank) / 2;
      if (by_turns != 0 && work.rank > 0) pass();
      if (own == 0) return;
    }
    int previous = 0, used = ring.stage;
    fetch();
    decode<0>(first);
    for (int i = 0; i < own; ++i) {
      const uint32_t tokens = tokens_of(used);
      multiply<0>(first, tokens);
      cuda::wgmma_wait<1>(); // the stage before is done with, and so is `second`
      if (i > 0) release(previous);
      previous = used;
      decode<kHalf>(second);
      multiply<kHalf>(second, tokens);
      if (i + 1 < own) {
        if (C::kDivide && by_turns != 0) pass();
        used = ring.stage;
        fetch();
      }
      cuda::wgmma_wait<1>();
      if (i + 1 < own) decode<0>(first);
    }
    cuda::wgmma_wait<0>();
    release(previous);
    if (C::kDivide && by_turns != 0 && 2 * own + work.rank == count) pass(); // the last
  }

  // Factor and bias of the two channels of a lane in a 64-channel tile.
  struct Finish {
    float factor[2], bias[2];
  };
  __device__ __forceinline__ Finish finish(int channel) const {
    float unit = a.unit;
    if (a.global_scale) unit *= *a.global_scale;
    if (a.column_scales) unit *= a.column_factor;
    Finish f = {{unit, unit}, {0.0f, 0.0f}};
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int in = word * 16 + lane / 4 + 8 * h, n = channel + in;
      if (n >= a.n) continue;
      if (a.column_scales)
        f.factor[h] *= cuda::load_any(a.column_scales, channel + cuda::column_scale_place(in), a.column_scale_type);
      if (a.bias) f.bias[h] = cuda::load_any(a.bias, n, a.bias_type);
    }
    return f;
  }

  // Channels n .. n+7 of a token's row, those that exist.
  __device__ __forceinline__ void write(int m, int n, const uint4& chunk) const {
    if (m >= a.m || n >= a.n) return;
    int64_t row[1];
    a.rows.offsets(m, row);
    auto* to = static_cast<uint16_t*>(a.out) + row[0] + n;
    if (a.vector_out && n + 8 <= a.n)
      *reinterpret_cast<uint4*>(to) = chunk;
    else
      store_some(to, n, a.n, chunk);
  }

  // A lane's two channels of one token, to an out in f32: eight lanes write 32 bytes.
  __device__ __forceinline__ void write_wide(int m, int channel, const Finish& f, float low, float high) const {
    if (m >= a.m) return;
    int64_t row[1];
    a.rows.offsets(m, row);
    const int n = channel + word * 16 + lane / 4;
    float* to = static_cast<float*>(a.out) + row[0] + n;
    if (n < a.n) to[0] = low * f.factor[0] + f.bias[0];
    if (n + 8 < a.n) to[8] = high * f.factor[1] + f.bias[1];
  }

  // Tokens from .. from + kCount - 1 of the i-th 64 channels, to out's rows from `token` on.
  template <int kCount>
  __device__ __forceinline__ void store_wide(int token, int channel, const Finish& f, int i, int from) const {
#pragma unroll
    for (int e = 0; e < kCount / 4; ++e) {
      const int at = from / 2 + e / 2 * 4 + e % 2;
      write_wide(token + e / 2 * 8 + lane % 4 * 2 + e % 2, channel, f, acc[i][at], acc[i][at + 2]);
    }
  }

  // Results of tokens from .. from + kCount - 1 and the i-th 64 channels into shared memory: a token's row is
  // eight pieces of 16 bytes, one per warp and half, whose channel pairs come from four sub-tiles.
  template <int kCount>
  __device__ __forceinline__ void stage_results(int i, int from, uint32_t to, const Finish& f) const {
#pragma unroll
    for (int b = 0; b < kCount / 8; b += 2) {
      uint32_t r[4];
#pragma unroll
      for (int q = 0; q < 4; ++q) {
        const int e = (from / 8 + b + q / 2) * 4 + q % 2 * 2;
        r[q] = S::narrow2(acc[i][e] * f.factor[q % 2] + f.bias[q % 2], acc[i][e + 1] * f.factor[q % 2] + f.bias[q % 2]);
      }
      stage_16_tokens(to, b, warp, lane, r);
    }
  }
  // Sums to out, through shared memory so that rows are written in 16-byte pieces.
  __device__ __forceinline__ void store(const WgmmaPlace& place) const {
    if constexpr (C::kWide) {
#pragma unroll
      for (int i = 0; i < kT; ++i) {
        const int channel = place.channel + (consumer * kT + i) * 64;
        store_wide<kN>(place.token, channel, finish(channel), i, 0);
      }
    } else {
      uint8_t* staged = memory + Tile::kStages * Tile::kStageBytes + consumer * Tile::kStoreTokens * 128;
#pragma unroll
      for (int i = 0; i < kT; ++i) {
        const int channel = place.channel + (consumer * kT + i) * 64;
        const Finish f = finish(channel);
#pragma unroll
        for (int from = 0; from < kN; from += Tile::kStoreTokens) {
          cuda::sync_threads(1 + consumer, 128);
          stage_results<Tile::kStoreTokens>(i, from, cuda::shared_address(staged), f);
          cuda::sync_threads(1 + consumer, 128);
          write_out<C, Tile::kStoreTokens, 128, true>(a, staged, channel, place.token + from, threadIdx.x % 128);
        }
      }
    }
  }
  // The same with room for a whole tile, the count-th of those that the writing warp takes if `aside`.
  __device__ __forceinline__ void store_whole(const WgmmaPlace& place, bool aside, int count, uint32_t written,
                                              uint32_t drained) const {
    uint8_t* staged = memory + Tile::kStages * Tile::kStageBytes + consumer * kT * kN * 128;
    if (count > 0) cuda::barrier_wait(drained + 8 * consumer, (count - 1) % 2);
    if (!aside) cuda::sync_threads(1 + consumer, 128); // the warpgroup has written the tile before
#pragma unroll
    for (int i = 0; i < kT; ++i)
      stage_results<kN>(i, 0, cuda::shared_address(staged) + i * kN * 128,
                        finish(place.channel + (consumer * kT + i) * 64));
    if (aside) {
      __syncwarp(); // every lane has written
      if (lane == 0) cuda::barrier_arrive(written + 8 * consumer);
      return;
    }
    cuda::sync_threads(1 + consumer, 128);
#pragma unroll 1
    for (int i = 0; i < kT; ++i)
      write_out<C, kN, 128, true>(a, staged + i * kN * 128, place.channel + (consumer * kT + i) * 64, place.token,
                                  threadIdx.x % 128);
  }

  // Sums of all blocks of the cluster, in rank order, to out: each block takes some of the tokens, eight at a time.
  __device__ __forceinline__ void reduce_and_store(const WgmmaPlace& place) const {
    const int thread = threadIdx.x - 128;
    cuda::sync_threads(7, C::kConsumerThreads); // every stage is free
    float4* mine = reinterpret_cast<float4*>(memory) + thread;
#pragma unroll
    for (int i = 0; i < kT; ++i)
#pragma unroll
      for (int b = 0; b < kN / 8; ++b)
        mine[(i * (kN / 8) + b) * C::kConsumerThreads] =
            make_float4(acc[i][4 * b], acc[i][4 * b + 1], acc[i][4 * b + 2], acc[i][4 * b + 3]);
    cuda::cluster_arrive();
    cuda::cluster_wait();
    constexpr int kPitch = Tile::kChannels + 8;
    auto* staged = reinterpret_cast<Element*>(memory + kT * kN * 2 * C::kConsumerThreads);
    const int begin = kN / 8 * work.rank / a.split, end = kN / 8 * (work.rank + 1) / a.split;
    const uint32_t at = cuda::shared_address(mine);
#pragma unroll
    for (int i = 0; i < kT; ++i) {
      const Finish f = finish(place.channel + (consumer * kT + i) * 64);
      for (int b = begin; b < end; ++b) {
        float4 v = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
        for (int r = 0; r < a.split; ++r) {
          const float4 p =
              cuda::load_from_cluster(cuda::in_block(at + (i * (kN / 8) + b) * 16 * C::kConsumerThreads, r));
          v.x += p.x;
          v.y += p.y;
          v.z += p.z;
          v.w += p.w;
        }
        if constexpr (C::kWide) {
          const int token = place.token + b * 8 + lane % 4 * 2, channel = place.channel + (consumer * kT + i) * 64;
          write_wide(token, channel, f, v.x, v.z);
          write_wide(token + 1, channel, f, v.y, v.w);
          continue;
        }
        Element* to =
            staged + ((b - begin) * 8 + lane % 4 * 2) * kPitch + (consumer * kT + i) * 64 + word * 16 + lane / 4;
        to[0] = S::narrow(v.x * f.factor[0] + f.bias[0]);
        to[kPitch] = S::narrow(v.y * f.factor[0] + f.bias[0]);
        to[8] = S::narrow(v.z * f.factor[1] + f.bias[1]);
        to[kPitch + 8] = S::narrow(v.w * f.factor[1] + f.bias[1]);
      }
    }
    cuda::cluster_arrive_relaxed(); // nobody reads this block's sums any more
    cuda::sync_threads(7, C::kConsumerThreads);
    constexpr int kPieces = Tile::kChannels / 8;
    const int pieces = C::kWide ? 0 : (end - begin) * 8 * kPieces;
    for (int e = thread; e < pieces; e += C::kConsumerThreads) {
      const int token = e / kPieces, q = e % kPieces;
      write(place.token + begin * 8 + token, place.channel + q * 8,
            *reinterpret_cast<const uint4*>(staged + token * kPitch + q * 8));
    }
    cuda::cluster_wait();
  }

  // A unit some of whose tiles two blocks have in common: waits until the rings of both are free. common: this
  // warpgroup has such a tile. meet: a barrier per warpgroup for "the other's sums are there".
  __device__ __forceinline__ void meet_block(bool common, cuda::Barrier* meet) const {
    cuda::sync_threads(7, C::kConsumerThreads);
    if (common && threadIdx.x % 128 == 0) meet[consumer].arrive_expect(kN * 128);
    cuda::cluster_arrive_relaxed();
    cuda::cluster_wait();
  }
  // Then, of a tile of both: a block takes half of the tokens and sends the sums of the others, in the place of the
  // rings. there: which warpgroup of the other block has this one's channels.
  template <int kRank>
  __device__ __forceinline__ void exchange_and_store(const WgmmaPlace& place, int there, cuda::Barrier* meet) {
    constexpr int kPieces = kN / 16, kBytes = kN * 128; // of half a tile
    const int thread = threadIdx.x % 128;
    uint8_t* mine = memory + consumer * 2 * kBytes; // what goes, and behind it what comes
    auto* sent = reinterpret_cast<float4*>(mine) + thread;
    const auto* come = reinterpret_cast<const float4*>(mine + kBytes) + thread;
#pragma unroll
    for (int e = 0; e < kPieces; ++e) {
      const float* sums = &acc[0][((1 - kRank) * kPieces + e) * 4];
      sent[e * 128] = make_float4(sums[0], sums[1], sums[2], sums[3]);
    }
    cuda::fence_before_copies();
    cuda::sync_threads(1 + consumer, 128);
    if (thread == 0)
      cuda::send_bulk(cuda::in_block(cuda::shared_address(memory + there * 2 * kBytes + kBytes), 1 - kRank), mine,
                      kBytes, cuda::in_block(cuda::shared_address(&meet[there].word), 1 - kRank));
    meet[consumer].wait(0);
#pragma unroll
    for (int e = 0; e < kPieces; ++e) {
      const float4 v = come[e * 128];
      float* sums = &acc[0][(kRank * kPieces + e) * 4];
      sums[0] += v.x;
      sums[1] += v.y;
      sums[2] += v.z;
      sums[3] += v.w;
    }
    cuda::sync_threads(1 + consumer, 128); // every sum has been read
    const int channel = place.channel + consumer * 64;
    stage_results<kN / 2>(0, kRank * kN / 2, cuda::shared_address(mine + kBytes), finish(channel));
    cuda::sync_threads(1 + consumer, 128);
    write_out<C, kN / 2, 128, true>(a, mine + kBytes, channel, place.token + kRank * kN / 2, thread);
  }
};

template <class C>
__global__ void __launch_bounds__(C::kThreads, 1) wgmma_linear(const __grid_constant__ WgmmaArgs a) {
  using namespace spf::cuda;
  using Tile = typename C::Tile;
  SPF_DYNAMIC_SHARED(uint8_t, raw, 16);
  __shared__ uint64_t barriers[2 * Tile::kStages + (C::kAside ? 2 * C::kChannelGroups : 0)];
  __shared__ Barrier meet[C::kDivide ? C::kChannelGroups : 1];        // where blocks exchange sums
  uint8_t* memory = raw + (1024 - shared_address(raw) % 1024) % 1024; // the swizzle repeats every 1024 bytes
  // Opaque, so that the loops hold the address instead of finding it anew from the block's place in the cluster.
  uint32_t full = shared_address(barriers);
  keep_in_register(full);
  const uint32_t empty = full + 8 * Tile::kStages, written = empty + 8 * Tile::kStages,
                 drained = written + 8 * C::kChannelGroups; // results for the writing warp

  const WgmmaWork<C> work(a);

  launch_dependents();
  if (threadIdx.x == 32) {
    prefetch_map(a.codes);
    prefetch_map(x_map<C>(a, a.m));
    if constexpr (C::kHasGroups) prefetch_map(a.scales);
  }
  if (threadIdx.x == 0) {
    for (int s = 0; s < Tile::kStages; ++s) {
      barrier_init(full + 8 * s, C::kCopiers);
      barrier_init(empty + 8 * s, C::kReaders);
    }
    for (int g = 0; C::kAside && g < C::kChannelGroups; ++g) {
      barrier_init(written + 8 * g, 4);
      barrier_init(drained + 8 * g, 1);
    }
    for (Barrier& barrier : meet) barrier.init(1);
    fence_barrier_init();
  }
  __syncthreads();
  if (work.width > 1) {
    cluster_arrive_relaxed();
    cluster_wait();
  }

  if (threadIdx.x < 128) {
    give_registers<C::kCopierRegisters>();
    if (threadIdx.x % 32 == 0 && threadIdx.x / 32 < C::kCopiers)
      copy_stages(a, work, threadIdx.x / 32, shared_address(memory), full, empty);
    if constexpr (C::kAside) {
      static_assert(C::kCopiers <= 3);
      if (threadIdx.x / 32 == 3) {
        wait_for_primary(); // which may still read out
        write_tiles(a, work, memory + Tile::kStages * Tile::kStageBytes, written, drained);
      }
    }
  } else {
    take_registers<C::kConsumerRegisters>();
    wait_for_primary();
    WgmmaConsumer<C> consumer(a, work, memory, full, empty);
    int count = 0; // of tiles that the writing warp has been given
    for (int unit = work.first; unit < a.units; unit += work.step) {
      consumer.sum(C::kDivide && unit >= a.whole ? 2 * C::kChannelGroups - a.piece : 0);
      if constexpr (C::kParts > 1) {
        consumer.combine();
        if (consumer.part > 0) continue;
      }
      const WgmmaPlace place = locate(a, work, unit);
      if constexpr (C::kDivide)
        if (place.common > 0) {
          const bool common = consumer.is_common(place.common);
          consumer.meet_block(common, meet);
          const int alone = C::kChannelGroups - place.common;
          if (common && work.rank == 0)
            consumer.template exchange_and_store<0>(place, consumer.consumer - alone, meet);
          else if (common)
            consumer.template exchange_and_store<1>(place, consumer.consumer + alone, meet);
          if (common) continue; // and no block leaves before the other has what it sent
        }
      if (C::kShare == 1 && a.split > 1) {
        consumer.reduce_and_store(place);
      } else if constexpr (C::kAside) {
        const bool aside = writes_aside(a, work, unit);
        consumer.store_whole(place, aside, count, written, drained);
        if (aside) ++count;
      } else
        consumer.store(place);
    }
  }
  end_block<C>();
}

// --- launch ---------------------------------------------------------------------------------------------------------

// Describes x and the weight's parts (codes, scales, zeros: those that there are) to the copy engine, divides the work
// and launches. a->n columns.
template <class C>
spf_status launch_wgmma(const LaunchContext& ctx, const WgmmaTokens& x, int64_t k,
                        std::initializer_list<cuda::Matrix> weight, WgmmaArgs* a) {
  using Tile = typename C::Tile;
  const WgmmaShape shape = {a->m, a->n, k, Tile::kBits, Tile::kDecode};
  const WgmmaPlan plan = wgmma_plan(shape, *ctx.facts, {C::kN, C::kT, C::kChannelGroups, C::kShare, C::kParts});
  set_schedule(plan, a);
  a->units = plan.cut.units;
  a->whole = plan.cut.whole;
  a->whole_channels = plan.cut.whole_channels;
  a->piece = plan.cut.piece;
  spf_status status = encode_x<C>("linear", {x.data, C::kElement, k, a->m, x.pitch * 2, 64, 0, true}, a);
  CUtensorMap* maps[] = {&a->codes, &a->scales, &a->zeros};
  int count = 0;
  for (const cuda::Matrix& part : weight)
    if (status == SPF_OK) status = cuda::encode("linear", part, maps[count++]);
  if (status != SPF_OK) return status;
  const int width = cluster_width<C>(plan);
  return cuda::launch("linear", ctx, wgmma_linear<C>, static_cast<int64_t>(plan.clusters) * width, C::kThreads,
                      Tile::kSharedBytes, *a, width);
}

template <spf_scalar_type T, spf_scalar_type kWeight, int kFold, int kTokens, int kTiles, int kGroups, int kShare,
          int kParts = 1>
spf_status wgmma(const Call& call, const LaunchContext& ctx) {
  using C = WgmmaConfig<T, kWeight, kFold, kTokens, kTiles, kGroups, kShare, kParts>;
  using Tile = typename C::Tile;
  const spf_packed_weight& w = *call.weight;
  if (call.problem.extent("*") == 0 || w.n == 0) return SPF_OK;
  WgmmaArgs a = wgmma_args(call);
  wgmma_factors<typename C::Fragment>(w, C::kHasGroups, &a);
  if (C::kHasGroups) a.group = w.scheme.group_k;
  a.f16_scales = w.scheme.scale == SPF_F16;
  WgmmaTokens x;
  if (const spf_status status = wgmma_tokens(call, ctx, ctx.workspace, &x); status != SPF_OK) return status;
  const auto* data = static_cast<const char*>(w.data);
  constexpr int kScale = wgmma_scale_bytes(kWeight);
  constexpr auto kScaleType = kScale == 1   ? CU_TENSOR_MAP_DATA_TYPE_UINT8
                              : kScale == 2 ? CU_TENSOR_MAP_DATA_TYPE_UINT16
                                            : CU_TENSOR_MAP_DATA_TYPE_UINT32;
  const int64_t groups = stream_ceil(w.k, a.group), row = w.padded_n * Tile::kBits / 8; // bytes of one k's codes
  const cuda::Matrix codes = {
      data, CU_TENSOR_MAP_DATA_TYPE_UINT64, row * 2, w.padded_k / 16, row * 16, Tile::kBoxWidth, Tile::kRows, false};
  const cuda::Matrix scales = {data + w.scales_offset, kScaleType,      w.padded_n,      groups,
                               w.padded_n * kScale,    Tile::kChannels, Tile::kScaleRows};
  const cuda::Matrix zeros = {
      data + w.zeros_offset, CU_TENSOR_MAP_DATA_TYPE_UINT32, row / 4, groups, row, Tile::kChannels * Tile::kBits / 32,
      Tile::kScaleRows};
  if constexpr (C::Fragment::kZeros) return launch_wgmma<C>(ctx, x, w.k, {codes, scales, zeros}, &a);
  if constexpr (C::kHasGroups) return launch_wgmma<C>(ctx, x, w.k, {codes, scales}, &a);
  return launch_wgmma<C>(ctx, x, w.k, {codes}, &a);
}

} // namespace spf::linear
