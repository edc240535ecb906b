// Part of sm90_wgmma8.cuh: packed 4-bit weights, whose A operand is decoded into registers.
//
// A stage is a sequence of units: a group of K, or all 128 values, times a 64-channel tile. The weights of a unit are
// decoded, then multiplied by one group of wgmma, while the words of the next unit are fetched; with scales in groups
// its sums have a place of their own and are folded into the total after it. Nothing of that overlaps in a warpgroup:
// the others keep the tensor cores busy meanwhile.
//
// Up to 64 tokens there are four consuming warpgroups of a 64-channel tile, for there waits are long beside products;
// two of them share 128 channels, of which a warp has 32 neighbours, 16 a warpgroup. With more tokens there are two of
// two tiles.
#pragma once

#include "kernels/linear/sm90_wgmma8.cuh"

namespace spf::linear {

// Warps of copiers: `part` 0 and 1 bring two rows of tiles of every stage each, as far as there are any, and 2 the
// scales. What a copier computes between two copies is latency of every stage, so addresses move on by constants.
template <class C>
__device__ __forceinline__ void copy_packed_weights(const Wgmma8Args& a, const WgmmaWork<C>& work, int part,
                                                    uint32_t memory, uint32_t full, uint32_t empty) {
  using Tile = typename C::Tile;
  const int64_t row = static_cast<int64_t>(a.padded_n) * 16;
  uint32_t to = memory + Tile::kCodesAt + part * 2 * Tile::kChannels * 16;
  cuda::keep_in_register(to);
  RingPlace<Tile::kStages> ring;
  for (int tile = work.first; tile < work.tiles; tile += work.step) {
    const Wgmma8Place place = locate(a, work, tile);
    const uint32_t bytes = min(a.tile_channels, a.padded_n - place.channel) * 16;
    const uint8_t* from = a.codes + (work.begin * 4 + part * 2) * row + place.channel * 16;
    int rows = a.k_steps - work.begin * 4 - part * 2;
    for (int kb = work.begin; kb < work.end; ++kb, rows -= 4, from += 4 * row) {
      const uint32_t at = to + ring.stage * Tile::kStageBytes, arrived = full + 8 * ring.stage;
      cuda::barrier_wait(empty + 8 * ring.stage, ring.phase ^ 1);
      cuda::barrier_expect(arrived, rows > 1 ? 2 * bytes : rows > 0 ? bytes : 0);
      if (rows > 0) cuda::copy_bulk(at, from, bytes, arrived);
      if (rows > 1) cuda::copy_bulk(at + Tile::kChannels * 16, from + row, bytes, arrived);
      ring.advance(1);
    }
  }
}
template <class C>
__device__ __forceinline__ void copy_packed_scales(const Wgmma8Args& a, const WgmmaWork<C>& work, uint32_t memory,
                                                   uint32_t full, uint32_t empty) {
  using Tile = typename C::Tile;
  const int width = a.scale_type == SPF_F32 ? 4 : 2;
  const int64_t row = static_cast<int64_t>(a.padded_n) * width;
  const int first = min(work.begin * 4 / a.group_steps, a.groups - 1), in_first = work.begin * 4 % a.group_steps;
  uint32_t to = memory + Tile::kChannelScalesAt;
  cuda::keep_in_register(to);
  RingPlace<Tile::kStages> ring;
  for (int tile = work.first; tile < work.tiles; tile += work.step) {
    const Wgmma8Place place = locate(a, work, tile);
    const uint32_t bytes = min(a.tile_channels, a.padded_n - place.channel) * width;
    const auto* from = static_cast<const char*>(a.scales) + first * row + static_cast<int64_t>(place.channel) * width;
    int in = in_first, left = a.groups - 1 - first; // steps of the group so far; groups behind it
    for (int kb = work.begin; kb < work.end; ++kb) {
      const uint32_t at = to + ring.stage * Tile::kStageBytes, arrived = full + 8 * ring.stage;
      cuda::barrier_wait(empty + 8 * ring.stage, ring.phase ^ 1);
      cuda::barrier_expect(arrived, Tile::kScaleRows * bytes);
#pragma unroll
      for (int r = 0; r < Tile::kScaleRows; ++r) {
        cuda::copy_bulk(at + r * Tile::kChannels * 4, from, bytes, arrived);
        in += C::kFold;
        if (in < a.group_steps || left == 0) continue;
        in -= a.group_steps;
        from += row;
        --left;
      }
      ring.advance(1);
    }
  }
}

template <class C>
struct Wgmma8PackedConsumer : Wgmma8Consumer<C> {
  using Base = Wgmma8Consumer<C>;
  using Tile = typename C::Tile;
  using Sum = typename C::Sum;
  static constexpr int kN = C::kN, kT = C::kT;
  static constexpr bool kFolds = C::kFold > 0;
  static constexpr int kUnitSteps = kFolds ? C::kFold : 4; // of 32 values of K
  static constexpr int kItems = 4 * kT;

  uint32_t code_at, scale_at, scale_tile, scale_pick;      // of the lane's first tile; between tiles; see load_scales()
  uint32_t fragments[kUnitSteps][4], words[kUnitSteps][2]; // of a unit
  float scale[2];                                          // of the lane's two channels
  Sum part[kFolds ? kN / 2 : 1];

  // Of a warp's 32 channels a lane has 16 in a tile. Rows of an A fragment belong to lanes, so with two tiles eight
  // lanes may have the other half than the next eight, and 16 lanes read from all banks.
  __device__ __forceinline__ Wgmma8PackedConsumer(const Wgmma8Args& args, const WgmmaWork<C>& work, uint8_t* memory,
                                                  uint32_t full, uint32_t empty)
      : Base(args, work, memory, full, empty) {
    const int half = kT == 1 ? this->first_tile() : this->lane / 8 % 2, block = this->channel_group() * 4 + this->warp;
    code_at = this->base + Tile::kCodesAt + block * 512 + this->lane * 16 + half * 8;
    // Scales of 16 bits lie two to a word, those of neighbouring rows.
    const bool wide = this->a.scale_type == SPF_F32;
    const int place = block * 32 + cuda::column_scale_place(half * 16 + this->lane / 4);
    scale_at = this->base + Tile::kChannelScalesAt + (wide ? place * 4 : place / 2 * 4);
    scale_tile = wide ? 16 : 8;
    scale_pick = wide ? 0x3210 : place % 2 == 0 ? 0x1044 : 0x3244;
    cuda::keep_in_register(code_at);
    cuda::keep_in_register(scale_at);
    cuda::keep_in_register(scale_pick);
  }

  // Items are steps of 32 values of K of a tile: of a unit first, then of the tiles, then of the groups.
  static __device__ constexpr int tile_of(int item) { return item / kUnitSteps % kT; }
  static __device__ constexpr int step_of(int item) {
    return item / (kUnitSteps * kT) * kUnitSteps + item % kUnitSteps;
  }

  // Of the unit that begins with an item.
  __device__ __forceinline__ void load(int item, int stage) {
    const uint32_t at = (code_at + stage * Tile::kStageBytes) ^ tile_of(item) * 8;
#pragma unroll
    for (int i = 0; i < kUnitSteps; ++i)
      cuda::load_shared(at + step_of(item + i) * Tile::kChannels * 16, words[i][0], words[i][1]);
  }
  __device__ __forceinline__ void decode() {
#pragma unroll
    for (int i = 0; i < kUnitSteps; ++i) {
      uint32_t(&a)[4] = fragments[i];
      cuda::Int4To8<C::X>::decode(words[i][0], a[0], a[2]);
      cuda::Int4To8<C::X>::decode(words[i][1], a[1], a[3]);
    }
  }
  __device__ __forceinline__ void load_scales(int item, int stage) {
    const uint32_t at = ((scale_at + stage * Tile::kStageBytes) ^ tile_of(item) * scale_tile) +
                        step_of(item) / kUnitSteps * Tile::kChannels * 4;
    const uint32_t found[2] = {cuda::load_shared(at), cuda::load_shared(at + scale_tile / 2)};
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const uint32_t picked = __byte_perm(found[i], 0, scale_pick);
      scale[i] = this->a.scale_type == SPF_F16 ? __half2float(__ushort_as_half(static_cast<uint16_t>(picked >> 16)))
                                               : __uint_as_float(picked);
    }
  }

  __device__ __forceinline__ void multiply(int item, int stage) {
    const uint32_t tokens =
        cuda::uniform(cuda::wgmma_operand(this->base + stage * Tile::kStageBytes)) + 2 * step_of(item);
    cuda::wgmma_fence();
#pragma unroll
    for (int i = 0; i < kUnitSteps; ++i) {
      if constexpr (kFolds)
        cuda::Wgmma8<kN>::multiply(part, fragments[i], tokens + 2 * i, i == 0 ? 0 : 1);
      else
        cuda::Wgmma8<kN>::multiply(this->total[tile_of(item)], fragments[i], tokens + 2 * i, 1);
    }
    cuda::wgmma_commit();
  }

  static __device__ __forceinline__ float folded(float sum) { return sum; }
  // On top of the bits of 1.5 * 2^23, whose last places count in ones, sums of 128 products, below 2^22, need no
  // conversion.
  static __device__ __forceinline__ float folded(int32_t sum) { return __int_as_float(sum + 0x4b400000) - 12582912.0f; }
  __device__ __forceinline__ void fold(int item) {
    auto& to = this->total[tile_of(item)];
#pragma unroll
    for (int e = 0; e < kN / 2; ++e) {
      cuda::hold(part[e]);
      to[e] += folded(part[e]) * scale[e / 2 % 2];
    }
  }

  // As the base's.
  __device__ __forceinline__ void sum() {
    int left = this->work.end - this->work.begin;
    this->clear_total();
    if (left == 0) return;
    cuda::barrier_wait(this->full + 8 * this->ring.stage, this->ring.phase);
    load(0, this->ring.stage);
#pragma unroll 1
    for (; left > 0; --left) {
      const int stage = this->ring.stage;
#pragma unroll
      for (int item = 0; item < kItems; item += kUnitSteps) {
        decode();
        multiply(item, stage);
        if constexpr (kFolds) load_scales(item, stage);
        if (item + kUnitSteps < kItems) {
          load(item + kUnitSteps, stage);
        } else {
          this->ring.advance(1);
          if (left > 1) {
            cuda::barrier_wait(this->full + 8 * this->ring.stage, this->ring.phase);
            load(0, this->ring.stage);
          }
        }
        cuda::wgmma_wait<0>();
        if constexpr (kFolds) fold(item);
      }
      __syncwarp(); // every lane has read words and scales
      this->release(stage);
    }
    if constexpr (!kFolds) this->hold_total();
    if constexpr (kT == 2) exchange_tiles();
  }
  // The channels of a lane, in the order in which the base writes them.
  __device__ __forceinline__ void exchange_tiles() {
    const bool other = this->lane / 8 % 2 != 0;
#pragma unroll
    for (int e = 0; e < kN / 2; ++e) {
      const auto first = this->total[0][e], second = this->total[1][e];
      this->total[0][e] = other ? second : first;
      this->total[1][e] = other ? first : second;
    }
  }
};

} // namespace spf::linear
