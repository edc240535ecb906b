// Part of sm90_wgmma8.cuh: many tokens whose sums are folded into f32 every 128 values of K, where the channels of a
// tile share the weight's scale (blocks of 128 x 128). Then a token's scale and the block's are one factor, which the
// warp that copies scales multiplies once, and a sum costs one multiply-add.
//
// A unit is a 64-channel tile times 128 tokens times the 128 values of K of a stage: 256 cycles of the tensor cores,
// which read 24 KiB of shared memory in 192. Fewer tokens a unit read the weights more often than that memory allows.
// Registers hold the sums of one unit beside the totals, so a warpgroup folds while the other one multiplies.
#pragma once

#include "kernels/linear/sm90_wgmma8.cuh"

namespace spf::linear {

// The token whose factor is the i-th of a tile's: the four tokens of 16 that a lane of a product has stand side by
// side.
__device__ __forceinline__ int token_of_factor(int i) { return i / 16 * 16 + i % 4 / 2 * 8 + i % 16 / 4 * 2 + i % 2; }

// One warp: the factors of every stage, a token's scale times that of the tile's block of the weight; eight tokens a
// lane. Scales of four stages come together and four stages ahead, 16 bytes a token where rows allow that, and a lane
// reads what it asked for. It has 1024 cycles a stage, and a warp that seldom may issue needs few instructions.
template <class C>
__device__ __forceinline__ void copy_block_factors(const Wgmma8Args& a, const Wgmma8Work& work, uint8_t* memory,
                                                   uint32_t full, uint32_t empty) {
  using Tile = typename C::Tile;
  constexpr int kEach = 8;
  static_assert(C::kN == 32 * kEach);
  const int lane = threadIdx.x % 32;
  const uint8_t* room = memory + Tile::kExtraAt + lane * 16; // [2][8 tokens][32 lanes][4 stages]
  const int columns = a.token_groups ? a.k_blocks : 1;
  cuda::wait_for_primary();
  RingPlace<Tile::kStages> ring;
  for (int tile = work.first; tile < work.tiles; tile += work.step) {
    const Wgmma8Place place = work.locate<C>(a, tile);
    const auto* blocks = static_cast<const float*>(a.scales) + min(place.channel, a.padded_n - 1);
    const int first = work.begin / 4, last = (work.end - 1) / 4;
    float next_block = 0.0f; // of the weight, a stage a lane
    for (int four = first - 1; four <= last; ++four) {
      const float block = next_block;
      if (four < last) { // ask for the next four
        const int64_t group = min(((four + 1) * 4 + lane % 4) * 4 / a.group_steps, a.groups - 1);
        next_block = blocks[group * a.padded_n];
        const uint32_t to = cuda::shared_address(room + (four + 1) % 2 * (kEach * 512));
#pragma unroll 1
        for (int j = 0; j < kEach; ++j) {
          const int64_t m = min(place.token + token_of_factor(lane * kEach + j), a.m - 1);
          int64_t row[1] = {m * a.scale_rows.stride[0][0]};
          if (a.scale_rows.dims > 1) a.scale_rows.offsets(m, row);
          const float* from = a.x_scale + row[0];
          if (a.wide_scales) {
            cuda::copy_async_part(to + j * 512, from + (four + 1) * 4, min(columns - (four + 1) * 4, 4) * 4);
            continue;
          }
#pragma unroll 1
          for (int q = 0; q < 4; ++q) {
            const int column = a.token_groups ? min((four + 1) * 4 + q, columns - 1) : 0;
            cuda::copy_async<4>(to + j * 512 + q * 4, from + column * a.x_scale_step, true);
          }
        }
      }
      cuda::commit_copies();
      if (four < first) continue;
      cuda::wait_for_copies<1>();
      const uint8_t* here = room + four % 2 * (kEach * 512);
      const int until = min(work.end - four * 4, 4);
      for (int q = max(work.begin - four * 4, 0); q < until; ++q) {
        const float by = __shfl_sync(0xffffffffu, block, q);
        float f[kEach];
#pragma unroll
        for (int j = 0; j < kEach; ++j) f[j] = *reinterpret_cast<const float*>(here + j * 512 + q * 4) * by;
        cuda::barrier_wait(empty + 8 * ring.stage, ring.phase ^ 1);
        auto* to = reinterpret_cast<float4*>(memory + ring.stage * Tile::kStageBytes + Tile::kTokenScalesAt) + lane * 2;
        to[0] = make_float4(f[0], f[1], f[2], f[3]);
        to[1] = make_float4(f[4], f[5], f[6], f[7]);
        __syncwarp();
        if (lane == 0) cuda::barrier_arrive(full + 8 * ring.stage);
        ring.advance(1);
      }
    }
  }
}

template <class C>
struct Wgmma8BlockConsumer : Wgmma8Consumer<C> {
  using Base = Wgmma8Consumer<C>;
  using Tile = typename C::Tile;
  static constexpr int kUnitN = 128, kHalves = C::kN / kUnitN;

  float part[kUnitN / 2];

  __device__ __forceinline__ Wgmma8BlockConsumer(const Wgmma8Args& args, const Wgmma8Work& work, uint8_t* memory,
                                                 uint32_t full, uint32_t empty)
      : Base(args, work, memory, full, empty) {}

  // Products of a unit, four of them.
  __device__ __forceinline__ void multiply(int stage, int half) {
    const uint32_t at = this->base + stage * Tile::kStageBytes;
    const uint32_t tokens = cuda::uniform(cuda::wgmma_operand(at)) + half * kUnitN * 8;
    const uint32_t weights = cuda::uniform(cuda::wgmma_operand(at + Tile::kCodesAt + this->consumer * 8192));
    cuda::wgmma_fence();
#pragma unroll
    for (int kk = 0; kk < 4; ++kk)
      cuda::Wgmma8<kUnitN>::multiply(part, weights + 2 * kk, tokens + 2 * kk, kk > 0 ? 1 : 0);
    cuda::wgmma_commit();
  }

  // Factors of a lane's tokens of two blocks of eight: copy_block_factors() puts them side by side.
  __device__ __forceinline__ float4 factors(int stage, int half, int pair) const {
    return *reinterpret_cast<const float4*>(this->memory + stage * Tile::kStageBytes + Tile::kTokenScalesAt +
                                            half * kUnitN * 4 + pair * 64 + this->lane % 4 * 16);
  }
  __device__ __forceinline__ void fold(int half, int pair, const float4& f) {
    auto* to = this->total[0] + half * (kUnitN / 2) + pair * 8;
    float* from = part + pair * 8;
    const float by[4] = {f.x, f.y, f.z, f.w};
#pragma unroll
    for (int e = 0; e < 8; ++e) {
      cuda::hold(from[e]);
      to[e] += from[e] * by[e / 4 * 2 + e % 2];
    }
  }

  // As the base's.
  __device__ __forceinline__ void sum() {
    this->clear_total();
#pragma unroll 1
    for (int left = this->work.end - this->work.begin; left > 0; --left) {
      const int stage = this->ring.stage;
      cuda::barrier_wait(this->full + 8 * stage, this->ring.phase);
#pragma unroll
      for (int half = 0; half < kHalves; ++half) {
        multiply(stage, half);
        // Registers hold most of the factors beside the sums.
        constexpr int kPairs = kUnitN / 16, kEarly = kPairs - 2;
        float4 f[kPairs];
#pragma unroll
        for (int pair = 0; pair < kEarly; ++pair) f[pair] = factors(stage, half, pair);
        cuda::wgmma_wait<0>();
#pragma unroll
        for (int pair = 0; pair < kPairs; ++pair) {
          if (pair + kEarly < kPairs) f[pair + kEarly] = factors(stage, half, pair + kEarly);
          fold(half, pair, f[pair]);
        }
      }
      __syncwarp(); // every lane has read its factors
      this->release(stage);
      this->ring.advance(1);
    }
  }
};

} // namespace spf::linear
