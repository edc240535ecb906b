// Part of sm90_wgmma8.cuh: weights of a byte a code whose sums are folded into f32 every 128 values of K.
//
// A stage is a sequence of units: a 64-channel tile times up to 64 tokens. Units take turns at two sets of sums, so
// that those of one are folded while the tensor cores multiply the next.
#pragma once

#include "kernels/linear/sm90_wgmma8.cuh"

namespace spf::linear {

template <class C>
struct Wgmma8FoldConsumer : Wgmma8Consumer<C> {
  using Base = Wgmma8Consumer<C>;
  using Tile = typename C::Tile;
  using Sum = typename C::Sum;
  using Total = typename C::Total;
  static constexpr int kN = C::kN, kT = C::kT;
  static constexpr bool kIntegers = std::is_same_v<Sum, int32_t>;
  static constexpr int kUnitN = kN > 64 ? 64 : kN, kHalves = kN / kUnitN, kUnits = kT * kHalves; // a unit's tokens
  static_assert(C::kFold == 4);

  float scale[2][2]; // of the lane's two channels, of two tiles by turns
  Sum part[2][kUnitN / 2];

  using Base::Base;

  // Units go through the halves of a tile, then the tiles.
  static __device__ constexpr int tile_of(int unit) { return unit / kHalves; }
  static __device__ constexpr int half_of(int unit) { return unit % kHalves; }

  __device__ __forceinline__ void load_scales(int tile, int stage) {
    const auto* from =
        reinterpret_cast<const float*>(this->memory + stage * Tile::kStageBytes + Tile::kChannelScalesAt) +
        ((C::kAlong ? 0 : this->consumer * kT) + tile) * 64 + this->warp * 16 + this->lane / 4;
    scale[tile % 2][0] = from[0];
    scale[tile % 2][1] = from[8];
  }

  __device__ __forceinline__ void multiply(int unit, int stage) {
    const int tile = (C::kAlong ? 0 : this->consumer * kT) + tile_of(unit);
    const uint32_t at = this->base + stage * Tile::kStageBytes;
    const uint32_t tokens = cuda::uniform(cuda::wgmma_operand(at)) + half_of(unit) * kUnitN * 8;
    const uint32_t weights = cuda::uniform(cuda::wgmma_operand(at + Tile::kCodesAt + tile * 8192));
    if constexpr (kIntegers) {
      // The bits of 1.5 * 2^23, whose last places count in ones: sums of 128 products, below 2^22, need no conversion.
#pragma unroll
      for (Sum& s : part[unit % 2]) s = 0x4b400000;
    }
    cuda::wgmma_fence();
#pragma unroll
    for (int kk = 0; kk < 4; ++kk)
      cuda::Wgmma8<kUnitN>::multiply(part[unit % 2], weights + 2 * kk, tokens + 2 * kk, kk == 0 && !kIntegers ? 0 : 1);
    cuda::wgmma_commit();
  }

  static __device__ __forceinline__ float folded(float sum) { return sum; }
  static __device__ __forceinline__ float folded(int32_t sum) { return __int_as_float(sum) - 12582912.0f; }
  // total += sums of a unit, times the scales of its channels and tokens.
  __device__ __forceinline__ void fold(int unit, int stage) {
    auto& from = part[unit % 2];
    const float* channels = scale[tile_of(unit) % 2];
    auto* to = this->total[tile_of(unit)] + half_of(unit) * (kUnitN / 2);
    const auto* tokens =
        reinterpret_cast<const float2*>(this->memory + stage * Tile::kStageBytes + Tile::kTokenScalesAt) +
        half_of(unit) * (kUnitN / 2) + this->lane % 4;
#pragma unroll
    for (int b = 0; b < kUnitN / 8; ++b) {
      const float2 s = tokens[b * 4];
      const float factors[4] = {channels[0] * s.x, channels[0] * s.y, channels[1] * s.x, channels[1] * s.y};
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        cuda::hold(from[4 * b + e]);
        to[4 * b + e] += folded(from[4 * b + e]) * factors[e];
      }
    }
  }

  // As the base's. Nothing is under way where the loop closes: the compiler serializes multiplications whose sums it
  // sees read in another round.
  __device__ __forceinline__ void sum() {
    constexpr int kStep = C::kAlong ? 2 : 1;
    const int stages = this->work.end - this->work.begin, first = C::kAlong ? this->consumer : 0;
    this->clear_total();
    this->ring.advance(min(first, stages));
    if (first >= stages) return;
    load_next(true);
#pragma unroll 1
    for (int left = stages - first; left > 0; left -= kStep) {
      const int stage = this->ring.stage;
#pragma unroll
      for (int unit = 0; unit < kUnits; ++unit) {
        multiply(unit, stage);
        cuda::wgmma_wait<1>(); // the unit before is done with
        if (unit > 0) fold(unit - 1, stage);
        if (half_of(unit) < kHalves - 1) continue;
        if (unit + 1 < kUnits) {
          load_scales(tile_of(unit) + 1, stage);
        } else {
          this->ring.advance(min(kStep, left));
          if (kT % 2 == 0) load_next(left > kStep);
        }
      }
      cuda::wgmma_wait<0>();
      fold(kUnits - 1, stage);
      if (kT % 2 == 1) load_next(left > kStep); // now that its place is free
      this->release(stage);
    }
  }
  // The first scales of the next stage, once it is there.
  __device__ __forceinline__ void load_next(bool more) {
    if (!more) return;
    cuda::barrier_wait(this->full + 8 * this->ring.stage, this->ring.phase);
    load_scales(0, this->ring.stage);
  }
};

} // namespace spf::linear
