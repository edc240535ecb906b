// How stages of sm90_wgmma8's ring are filled: weights of a byte a code, tokens and their scales. Packed weights and
// factors of blocks: sm90_wgmma8_packed.cuh, sm90_wgmma8_block.cuh.
#pragma once

#include "kernels/common/cuda/launch.cuh"
#include "kernels/linear/wgmma8_config.cuh"

namespace spf::linear {

// body(place, stage of K, shared offset of the stage, its full barrier) for every stage of this block, each once it is
// empty; or, of a tile's, for the first, the first + kStep, ...
template <class C, int kStep = 1, class Body>
__device__ __forceinline__ void for_each_stage(const Wgmma8Args& a, const WgmmaWork<C>& work, uint32_t full,
                                               uint32_t empty, const Body& body, int first = 0) {
  using Tile = typename C::Tile;
  RingPlace<Tile::kStages> ring;
  for (int tile = work.first; tile < work.tiles; tile += work.step) {
    const Wgmma8Place place = locate(a, work, tile);
    for (int kb = work.begin; kb < work.end; ++kb, ring.advance(1)) {
      if (kStep > 1 && (kb - work.begin) % kStep != first) continue;
      cuda::barrier_wait(empty + 8 * ring.stage, ring.phase ^ 1);
      body(place, kb, ring.stage * Tile::kStageBytes, full + 8 * ring.stage);
    }
  }
}

// A row of scales of channels [channel, channel + count).
__device__ __forceinline__ void copy_channel_scales(const Wgmma8Args& a, int step, int channel, int count, uint32_t to,
                                                    uint32_t arrived) {
  const int bytes = a.scale_type == SPF_F32 ? 4 : 2;
  const int64_t group = min(step / a.group_steps, a.groups - 1);
  cuda::copy_bulk(to, static_cast<const char*>(a.scales) + (group * a.padded_n + channel) * bytes, count * bytes,
                  arrived);
}

// The thread of a copier: 0, or where the warpgroups divide K 0 and 1, which take turns.
template <class C>
__device__ __forceinline__ void copy_weights(const Wgmma8Args& a, const WgmmaWork<C>& work, uint32_t memory,
                                             uint32_t full, uint32_t empty, int copier) {
  using Tile = typename C::Tile;
  constexpr int kBlock = Tile::kBlockChannels, kRow = Tile::kRowBytes;
  constexpr int kPart = Tile::kChannels < kBlock ? Tile::kChannels : kBlock; // channels of one copy
  const auto copy = [&](const Wgmma8Place& place, int kb, uint32_t at, uint32_t arrived) {
    cuda::barrier_expect(arrived, Tile::kChannels * (kRow + Tile::kScaleRows * 4));
#pragma unroll
    for (int part = 0; part < Tile::kChannels; part += kPart) {
      const int channel = min(place.channel + part, a.padded_n - kPart); // tiles may reach past the padding
      const int64_t block = static_cast<int64_t>(channel / kBlock) * a.k_blocks + kb;
      cuda::copy_bulk(memory + at + Tile::kCodesAt + part * kRow,
                      a.codes + block * (kBlock * kRow) + channel % kBlock * kRow, kPart * kRow, arrived);
      if constexpr (Tile::kScaleRows > 0)
        copy_channel_scales(a, kb * 4, channel, kPart, memory + at + Tile::kChannelScalesAt + part * 4, arrived);
    }
  };
  for_each_stage<C, C::kAlong ? 2 : 1>(a, work, full, empty, copy, copier);
}

template <class C>
__device__ __forceinline__ void copy_tokens(const Wgmma8Args& a, const WgmmaWork<C>& work, uint32_t memory,
                                            uint32_t full, uint32_t empty) {
  using Tile = typename C::Tile;
  cuda::wait_for_primary(); // weights do not depend on the kernel before
  for_each_stage<C>(a, work, full, empty, [&](const Wgmma8Place& place, int kb, uint32_t at, uint32_t arrived) {
    constexpr int kBox = kXBox<C>;
    const int rows = min(a.m - place.token, C::kN);
    cuda::barrier_expect(arrived, rows * 128);
    if constexpr (C::kShare > 1) {
      const int there = rows - work.rank * kBox;
      if (there > 0)
        cuda::copy_tile_to_all(memory + at + work.rank * kBox * 128, x_map<C>(a, there), kb * 128,
                               place.token + work.rank * kBox, arrived, (1 << C::kShare) - 1);
    } else {
      cuda::copy_tile(memory + at, x_map<C>(a, rows), kb * 128, place.token, arrived);
    }
  });
}

// One warp: scales of the tokens of every stage, read a stage ahead of their use.
template <class C>
__device__ __forceinline__ void copy_token_scales(const Wgmma8Args& a, const WgmmaWork<C>& work, uint8_t* memory,
                                                  uint32_t full, uint32_t empty) {
  using Tile = typename C::Tile;
  constexpr int kEach = (C::kN + 31) / 32;
  const int lane = threadIdx.x % 32;
  cuda::wait_for_primary();
  RingPlace<Tile::kStages> ring;
  for (int tile = work.first; tile < work.tiles; tile += work.step) {
    const Wgmma8Place place = locate(a, work, tile);
    const float* from[kEach];
    float next[kEach];
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
      int64_t row[1];
      a.scale_rows.offsets(min(place.token + lane + 32 * i, a.m - 1), row);
      from[i] = a.x_scale + row[0];
      next[i] = work.begin < work.end ? from[i][a.token_groups ? work.begin * a.x_scale_step : 0] : 0.0f;
    }
    for (int kb = work.begin; kb < work.end; ++kb) {
      float now[kEach];
#pragma unroll
      for (int i = 0; i < kEach; ++i) {
        now[i] = next[i];
        if (kb + 1 < work.end && a.token_groups) next[i] = from[i][(kb + 1) * a.x_scale_step];
      }
      cuda::barrier_wait(empty + 8 * ring.stage, ring.phase ^ 1);
      auto* to = reinterpret_cast<float*>(memory + ring.stage * Tile::kStageBytes + Tile::kTokenScalesAt);
#pragma unroll
      for (int i = 0; i < kEach; ++i)
        if (lane + 32 * i < C::kN) to[lane + 32 * i] = now[i];
      cuda::barrier_arrive(full + 8 * ring.stage);
      ring.advance(1);
    }
  }
}

} // namespace spf::linear
