// linear and scaled_linear with 2:4 sparse weights on Hopper's sparse warpgroup products: the loop, the copies and the
// results of sm90_wgmma8.cuh, with weights of the layout sparse24 (src/pack/sparse24.hpp). A stage is 128 bytes of K of
// x, as there: 128 values of 8 bits or 64 of 16, of which a channel stores half in 64 bytes, beside words that say
// which.
//
//   copiers     blocks of 64 channels by bulk copies, codes and words together; x by the copy engine
//   consumers   a lane's words of a stage from shared memory | two products of 64 channels | the stage is free
//
// 16-bit weights have no scales, and neither has x with them.
#pragma once

#include "kernels/common/mma/wgmma_sparse.cuh"
#include "kernels/linear/policy_sparse.hpp"
#include "kernels/linear/sm90_wgmma8.cuh"

namespace spf::linear {

template <class C>
struct SparseConsumer;

template <spf_scalar_type X, int kTokens, bool kDivideK, int kShareBlocks>
struct SparseConfig : Wgmma8Config<X, kTokens, 1, kDivideK, 0, kShareBlocks> {
  using Consumer = SparseConsumer<SparseConfig>;
  using Tile = SparseTile<sparse_width(X), kTokens, kDivideK>;
  static constexpr spf_scalar_type kType = X;
};

template <class C>
struct SparseConsumer : Wgmma8Consumer<C> {
  using Base = Wgmma8Consumer<C>;
  using Tile = typename C::Tile;
  static constexpr int kWords = sparse_width(C::kType) == 1 ? 2 : 1; // 16 bits: one word serves both products

  using Base::Base;

  __device__ __forceinline__ uint32_t block_at(int stage) const {
    return this->base + stage * Tile::kStageBytes + Tile::kCodesAt +
           (C::kAlong ? 0 : this->consumer * Tile::kBlockBytes);
  }
  // The words of a stage, once it is there.
  __device__ __forceinline__ void load_places(uint32_t (&places)[kWords]) const {
    cuda::barrier_wait(this->full + 8 * this->ring.stage, this->ring.phase);
    const uint32_t at = block_at(this->ring.stage) + Tile::kWordsAt + (this->warp * 32 + this->lane) * 4;
#pragma unroll
    for (int i = 0; i < kWords; ++i) places[i] = cuda::load_shared(at + i * 512);
  }
  __device__ __forceinline__ void multiply_stage(int stage, const uint32_t (&places)[kWords]) {
    const uint32_t tokens = cuda::wgmma_operand(this->base + stage * Tile::kStageBytes);
    const uint32_t weights = cuda::sparse_operand(block_at(stage));
    using Product = cuda::SparseWgmma<C::kN>;
    cuda::wgmma_fence();
    Product::template multiply<C::kType, 0>(this->total[0], weights, tokens, places[0]);
    Product::template multiply<C::kType, 2 - kWords>(this->total[0], weights + 2, tokens + 4, places[kWords - 1]);
    cuda::wgmma_commit();
  }

  // As the base's, but that nothing is under way behind a wait: products read their words of places until they are
  // done, and the compiler, which knows no such thing past the next wait, would use the registers again. So the words
  // of the next stage are loaded before the wait, into other registers.
  __device__ __forceinline__ void sum() {
    constexpr int kStep = C::kAlong ? 2 : 1;
    const int first = C::kAlong ? this->consumer : 0;
    int left = this->work.end - this->work.begin;
    this->clear_total();
    this->ring.advance(min(first, left));
    left -= first;
    if (left <= 0) return;
    uint32_t places[kWords], next[kWords] = {};
    load_places(places);
#pragma unroll 1
    for (; left > 0; left -= kStep) {
      const int stage = this->ring.stage;
      multiply_stage(stage, places);
      this->ring.advance(min(kStep, left));
      if (left > kStep) load_places(next);
      cuda::wgmma_wait<0>();
      this->release(stage);
#pragma unroll
      for (int i = 0; i < kWords; ++i) places[i] = next[i];
    }
    this->hold_total();
  }
};

template <spf_scalar_type X, int kTokens, bool kAlong, int kShare>
spf_status sparse(const Call& call, const LaunchContext& ctx) {
  using C = SparseConfig<X, kTokens, kAlong, kShare>;
  constexpr int kWidth = sparse_width(X);
  const spf_packed_weight& w = *call.weight;
  const int64_t m = call.problem.extent("*");
  if (m == 0 || w.n == 0) return SPF_OK;
  Wgmma8Args a = wgmma8_args(call, kWidth == 1);
  a.tile_channels = C::Tile::kChannels;
  a.scale_type = SPF_F32;
  const WgmmaPlan plan = sparse_plan({m, w.n, w.k, kWidth * 8}, *ctx.facts, {kTokens, 1, kAlong, kShare});
  return launch_wgmma8<C>(call, ctx, kWidth, plan, &a);
}

} // namespace spf::linear
