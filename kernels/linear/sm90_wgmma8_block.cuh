// Part of sm90_wgmma8.cuh: many tokens whose sums are folded into f32 every 128 values of K, where the channels of a
// tile share the weight's scale (blocks of 128 x 128). Then a token's scale times the block's is one factor, and a sum
// costs one multiply-add.
//
// Tokens are the m side here: a lane then has two tokens of a product instead of 32, and reads two factors of it. With
// tokens on the n side factors took 64 KiB of shared memory's bandwidth a stage, half as much as its products do.
//
// A unit is 64 tokens x the tile's 128 channels x the 128 values of K of a stage: 256 cycles of the tensor cores, which
// read 24 KiB of shared memory in 192. Registers hold the sums of one unit beside the totals of two, so a warpgroup
// multiplies or folds; the other one's products then have the tensor cores to themselves. An order by barriers, with
// which they would never fold together, costs more than it brings.
#pragma once

#include "kernels/linear/sm90_wgmma8.cuh"

namespace spf::linear {

// One thread: the factors of every stage, of tokens and of the weight's block.
template <class C>
__device__ __forceinline__ void copy_block_factors(const Wgmma8Args& a, const WgmmaWork<C>& work, uint8_t* memory,
                                                   uint32_t full, uint32_t empty) {
  using Tile = typename C::Tile;
  cuda::wait_for_primary();
  for_each_stage<C>(a, work, full, empty, [&](const Wgmma8Place& place, int kb, uint32_t at, uint32_t arrived) {
    const int bytes = min(C::kN, a.factors.tokens - place.token) * 4;
    const float* from = a.factors.data + place.token / C::kN * a.factors.tile_step + kb * a.factors.block_step;
    cuda::barrier_expect(arrived, bytes + Tile::kChannelScaleBytes);
    const uint32_t to = cuda::shared_address(memory) + at;
    cuda::copy_bulk(to + Tile::kTokenScalesAt, from, bytes, arrived);
    const int channel = min(place.channel, a.padded_n - Tile::kBlockChannels); // tiles may reach past the padding
    copy_channel_scales(a, kb * 4, channel, Tile::kChannelScaleBytes / 4, to + Tile::kChannelScalesAt, arrived);
  });
}

template <class C>
struct Wgmma8BlockConsumer : Wgmma8Consumer<C> {
  using Base = Wgmma8Consumer<C>;
  using Tile = typename C::Tile;
  static constexpr int kChannels = Tile::kChannels, kGroups = Tile::kGroups, kUnitTokens = 64;
  static constexpr int kBoxTokens = C::kN / kGroups, kUnits = kBoxTokens / kUnitTokens; // of a warpgroup
  static constexpr int kUnitSums = kChannels / 2, kBlocks = kChannels / 8;              // of a lane; of eight channels
  static_assert(C::kT == 1 && kGroups == 2 && kChannels == Tile::kBlockChannels);

  float part[kUnitSums];

  using Base::Base;

  // Products of a unit. tokens, weights: operands of the stage.
  __device__ __forceinline__ void multiply(uint32_t tokens, uint32_t weights) {
    cuda::wgmma_fence();
#pragma unroll
    for (int kk = 0; kk < 4; ++kk)
      cuda::Wgmma8<kChannels>::multiply(part, tokens + 2 * kk, weights + 2 * kk, kk > 0 ? 1 : 0);
    cuda::wgmma_commit();
  }

  // Factors of a lane's tokens in every unit of a stage, once it is there.
  __device__ __forceinline__ void load_factors(float (&factor)[kUnits][2]) const {
    cuda::barrier_wait(this->full + 8 * this->ring.stage, this->ring.phase);
    const uint8_t* at = this->memory + this->ring.stage * Tile::kStageBytes;
    const auto* tokens = reinterpret_cast<const float*>(at + Tile::kTokenScalesAt) + own_token(0, 0);
    const float block = *reinterpret_cast<const float*>(at + Tile::kChannelScalesAt);
#pragma unroll
    for (int unit = 0; unit < kUnits; ++unit)
#pragma unroll
      for (int half = 0; half < 2; ++half) factor[unit][half] = tokens[unit * kUnitTokens + half * 8] * block;
  }
  __device__ __forceinline__ void fold(int unit, const float (&factor)[2]) {
    float* to = this->total[0] + unit * kUnitSums;
#pragma unroll
    for (int e = 0; e < kUnitSums; ++e) {
      cuda::hold(part[e]);
      to[e] += part[e] * factor[e / 2 % 2];
    }
  }

  // As the base's. total[0]: sums of unit after unit, in one as a product has them. What the next stage needs is read
  // while the last unit is multiplied, so that nothing stands between a fold and the products after it.
  __device__ __forceinline__ void sum() {
    constexpr uint32_t kStageStep = Tile::kStageBytes / 16, kUnitStep = kUnitTokens * 128 / 16;
    this->clear_total();
    int left = this->work.end - this->work.begin;
    if (left == 0) return;
    const uint32_t first = cuda::uniform(cuda::wgmma_operand(this->base));
    const uint32_t own = this->consumer * (kUnits * kUnitStep); // tokens before the warpgroup's
    uint32_t operand = first + this->ring.stage * kStageStep;
    float factor[kUnits][2], next[kUnits][2] = {};
    load_factors(factor);
#pragma unroll 1
    for (; left > 0; --left) {
      const int stage = this->ring.stage;
      const uint32_t here = operand;
#pragma unroll
      for (int unit = 0; unit < kUnits; ++unit) {
        multiply(here + own + unit * kUnitStep, here + Tile::kCodesAt / 16);
        if (unit == kUnits - 1) {
          this->ring.advance(1);
          operand = this->ring.stage == 0 ? first : here + kStageStep;
          if (left > 1) load_factors(next);
        }
        cuda::wgmma_wait<0>();
        if (unit == kUnits - 1) this->release(stage); // every lane read its factors a unit ago
        fold(unit, factor[unit]);
      }
#pragma unroll
      for (int i = 0; i < kUnits * 2; ++i) factor[i / 2][i % 2] = next[i / 2][i % 2];
    }
  }

  // --- results: of a lane two tokens and two neighbouring channels of every eight

  __device__ __forceinline__ int own_token(int unit, int half) const { // of the tile
    return this->consumer * kBoxTokens + unit * kUnitTokens + this->warp * 16 + half * 8 + this->lane / 4;
  }
  __device__ __forceinline__ int own_channel(int block) const { return block * 8 + this->lane % 4 * 2; }
  __device__ __forceinline__ const ChannelFacts* channel_facts() const {
    return reinterpret_cast<const ChannelFacts*>(this->memory + Tile::kChannelFactsAt);
  }
  // The scales of tokens are in the sums already.
  static __device__ __forceinline__ float result(float sum, const ChannelFacts& c) { return sum * c.scale + c.bias; }

  // 16 bits: boxes of 64 channels x the tokens of the warpgroup, for send_tile().
  template <spf_scalar_type O>
  __device__ __forceinline__ void stage_tile() const {
    const int row = this->warp * 16 + this->lane % 16; // whose address the lane gives
    const uint32_t to = this->base + Tile::kStoreAt + this->consumer * Tile::kStoreEach + row * 128;
    // Facts of four channels are read before the results of the four before them are written.
    ChannelFacts next[4];
    const auto read = [&](int block) {
#pragma unroll
      for (int q = 0; q < 4; ++q) next[q] = channel_facts()[own_channel(block + q / 2) + q % 2];
    };
    read(0);
#pragma unroll
    for (int block = 0; block < kBlocks; block += 2) {
      const ChannelFacts c[4] = {next[0], next[1], next[2], next[3]};
      if (block + 2 < kBlocks) read(block + 2);
#pragma unroll
      for (int unit = 0; unit < kUnits; ++unit) {
        uint32_t r[4];
#pragma unroll
        for (int q = 0; q < 4; ++q) {
          const float* sums = this->total[0] + unit * kUnitSums + (block + q / 2) * 4 + q % 2 * 2;
          r[q] = cuda::Scalar<O>::narrow2(result(sums[0], c[q / 2 * 2]), result(sums[1], c[q / 2 * 2 + 1]));
        }
        const int piece = (block % 8 + this->lane / 16) ^ (this->lane % 8);
        cuda::store_matrices(to + block / 8 * (kBoxTokens * 128) + unit * kUnitTokens * 128 + piece * 16, r);
      }
    }
  }
  static __device__ __forceinline__ void send_tile(const Wgmma8Args& a, const Wgmma8Place& place, int group,
                                                   uint32_t staged) {
    for (int i = 0; i < kChannels / 64; ++i)
      cuda::store_tile(a.results, place.channel + i * 64, place.token + group * kBoxTokens,
                       staged + i * kBoxTokens * 128);
  }
  // Of any type: 16 tokens x 64 channels of a warp at a time.
  __device__ __forceinline__ void store_any(const Wgmma8Place& place) const {
    constexpr int kPitch = 72; // floats of a token: pairs of eight tokens lie in different banks
    static_assert(4 * 16 * kPitch * 4 <= Tile::kStoreEach);
    auto* staged = reinterpret_cast<float*>(this->memory + Tile::kStoreAt + this->consumer * Tile::kStoreEach) +
                   this->warp * 16 * kPitch;
#pragma unroll
    for (int unit = 0; unit < kUnits; ++unit)
#pragma unroll
      for (int first = 0; first < kBlocks; first += 8) {
        __syncwarp();
#pragma unroll
        for (int i = 0; i < 16; ++i) {
          const int block = i / 2, half = i % 2;
          const float* sums = this->total[0] + unit * kUnitSums + (first + block) * 4 + half * 2;
          const ChannelFacts* c = channel_facts() + own_channel(first + block);
          float* to = staged + (half * 8 + this->lane / 4) * kPitch + own_channel(block);
          to[0] = result(sums[0], c[0]);
          to[1] = result(sums[1], c[1]);
        }
        __syncwarp();
#pragma unroll 1
        for (int e = this->lane; e < 16 * 64; e += 32)
          this->put(place, own_token(unit, 0) - this->lane / 4 + e / 64, place.channel + first * 8 + e % 64,
                    staged[e / 64 * kPitch + e % 64]);
      }
  }
  __device__ __forceinline__ void store(const Wgmma8Place& place) const {
    if (!this->a.stored)
      store_any(place);
    else if (this->a.out_type == SPF_BF16)
      stage_tile<SPF_BF16>();
    else
      stage_tile<SPF_F16>();
  }
  __device__ __forceinline__ void reduce_and_store(const Wgmma8Place& place) const {
    this->reduce([&](int, int b, const float(&sums)[4]) {
      const int unit = b / kBlocks;
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const int channel = own_channel(b % kBlocks) + e % 2;
        this->put(place, own_token(unit, e / 2), place.channel + channel, result(sums[e], channel_facts()[channel]));
      }
    });
  }
};

} // namespace spf::linear
