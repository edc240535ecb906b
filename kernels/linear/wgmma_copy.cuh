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
        constexpr int kParts = Tile::kStageK / 64, kTokens = kXBox<C>;
        const int rows = min(a.m - place.token, C::kN);
        barrier_expect(arrived, rows * 128 * kParts);
        const auto copy = [&](int box, const auto& copy_box) {
          const int there = rows - box * kTokens;
          if (there <= 0) return;
          const CUtensorMap& map = x_map<C>(a, there);
#pragma unroll
          for (int part = 0; part < kParts; ++part)
            copy_box(to + part * Tile::kXPartBytes + box * kTokens * 128, map, kb * Tile::kStageK + part * 64,
                     place.token + box * kTokens);
        };
        const auto here = [&](uint32_t at, const CUtensorMap& map, int column, int row) {
          copy_tile(at, map, column, row, arrived);
        };
        if (C::kShare == 1 || divides_all<C>(place.common)) {
#pragma unroll
          for (int box = 0; box < C::kShare; ++box) copy(box, here);
        } else {
          copy(work.rank, [&](uint32_t at, const CUtensorMap& map, int column, int row) {
            copy_tile_to_all(at, map, column, row, arrived, (1 << C::kShare) - 1);
          });
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
