// How stages of sm90_wgmma's ring are filled.
#pragma once

#include "kernels/common/cuda/launch.cuh"
#include "kernels/common/cuda/tensor_copy.cuh"
#include "kernels/linear/wgmma_config.cuh"

namespace spf::linear {

// One copying thread: codes (0), x (1) or scales (2) of every stage, in the order in which they are consumed.
template <class C>
__device__ __forceinline__ void copy_stages(const WgmmaArgs& a, const WgmmaWork<C>& work, int copier, uint32_t memory,
                                            uint32_t full, uint32_t empty) {
  using namespace spf::cuda;
  using Tile = typename C::Tile;
  if (copier == 1) wait_for_primary(); // weights do not depend on the kernel before
  int stage = 0, filled = 0;
  uint32_t phase = 1;
  for (int unit = work.first; unit < a.units; unit += work.step) {
    const WgmmaPlace place = locate(a, work, unit);
    const WgmmaStages stages = stages_of(a, work, place.common);
    for (int kb = stages.begin; kb < stages.end; ++kb) {
      if (filled >= Tile::kStages)
        barrier_wait(empty + 8 * stage, phase);
      else
        ++filled;
      const uint32_t to = memory + stage * Tile::kStageBytes, arrived = full + 8 * stage;
      if (copier == 0 && C::kDense) {
        barrier_expect(arrived, Tile::kCodeBytes);
        copy_tile(to + Tile::kCodesAt, a.codes, kb * Tile::kStageK, place.channel, arrived);
      } else if (copier == 0) {
        barrier_expect(arrived, Tile::kCodeBytes);
#pragma unroll
        for (int b = 0; b < Tile::kBoxes; ++b)
          copy_tile(to + Tile::kCodesAt + b * Tile::kBoxTiles * Tile::kRows * Tile::kTileBytes, a.codes,
                    place.channel / 64 * (16 * Tile::kBits) + b * Tile::kBoxWidth, kb * Tile::kRows, arrived);
      } else if (copier == 1) {
        barrier_expect(arrived, Tile::kXBytes);
#pragma unroll
        for (int part = 0; part < Tile::kStageK / 64; ++part) {
          const int column = kb * Tile::kStageK + part * 64;
          if constexpr (C::kShare > 1) {
            constexpr int kTokens = C::kN / C::kShare;
            const auto box = [&](int i) { return to + part * Tile::kXPartBytes + i * kTokens * 128; };
            if (divides_all<C>(place.common)) {
#pragma unroll
              for (int i = 0; i < C::kShare; ++i) copy_tile(box(i), a.x, column, place.token + i * kTokens, arrived);
            } else {
              copy_tile_to_all(box(work.rank), a.x, column, place.token + work.rank * kTokens, arrived,
                               (1 << C::kShare) - 1);
            }
          } else {
            copy_tile(to + part * Tile::kXPartBytes, a.x, column, place.token, arrived);
          }
        }
      } else if constexpr (C::kHasGroups) {
        const int group = kb * Tile::kStageK / a.group;
        barrier_expect(arrived, Tile::kScaleBytes + Tile::kZeroBytes);
        copy_tile(to + Tile::kScalesAt, a.scales, place.channel, group, arrived);
        if constexpr (C::Fragment::kZeros)
          copy_tile(to + Tile::kZerosAt, a.zeros, place.channel * Tile::kBits / 32, group, arrived);
      }
      if (++stage == Tile::kStages) {
        stage = 0;
        phase ^= 1;
      }
    }
  }
}

} // namespace spf::linear
