// Part of sm90_wgmma8.cuh: weights whose sums are folded into f32 group by group, and packed 4-bit weights, whose A
// operand is decoded into registers.
//
// A stage is a sequence of units: a group of K, or all 128 values, times a 64-channel tile, times up to 64 tokens.
// Units take turns at two sets of sums, so that those of one are folded, and the weights after next decoded, while the
// tensor cores multiply the next. A unit is multiplied in one or two items, each with a chunk of decoded weights.
#pragma once

#include "kernels/linear/sm90_wgmma8.cuh"

namespace spf::linear {

// What there is of the four rows of tiles of a stage, and their scales.
template <class C>
__device__ __forceinline__ void copy_packed_weights(const Wgmma8Args& a, const Wgmma8Work& work, uint32_t memory,
                                                    uint32_t full, uint32_t empty) {
  using Tile = typename C::Tile;
  for_each_stage<C>(a, work, full, empty, [&](const Wgmma8Place& place, int kb, uint32_t at, uint32_t arrived) {
    const int channels = min(a.tile_channels, a.padded_n - place.channel), steps = min(4, a.k_steps - kb * 4);
    const int scale_bytes = a.scale_type == SPF_F32 ? 4 : 2;
    cuda::barrier_expect(arrived, channels * (steps * 16 + Tile::kScaleRows * scale_bytes));
    for (int r = 0; r < steps; ++r)
      cuda::copy_bulk(memory + at + Tile::kCodesAt + r * Tile::kChannels * 16,
                      a.codes + (static_cast<int64_t>(kb * 4 + r) * a.padded_n + place.channel) * 16, channels * 16,
                      arrived);
#pragma unroll
    for (int r = 0; r < Tile::kScaleRows; ++r)
      copy_channel_scales(a, kb * 4 + r * C::kFold, place.channel, channels,
                          memory + at + Tile::kChannelScalesAt + r * Tile::kChannels * 4, arrived);
  });
}

template <class C>
struct Wgmma8FoldConsumer : Wgmma8Consumer<C> {
  using Base = Wgmma8Consumer<C>;
  using Tile = typename C::Tile;
  using Sum = typename C::Sum;
  using Total = typename C::Total;
  static constexpr int kN = C::kN, kT = C::kT;
  static constexpr bool kFolds = C::kFold > 0, kIntegers = std::is_same_v<Sum, int32_t>;
  // Of a unit: tokens, steps of 32 values of K; of a chunk: such steps, as many as registers hold.
  static constexpr int kUnitN = kFolds && kN > 64 ? 64 : kN, kHalves = kN / kUnitN;
  static constexpr int kUnitSteps = kFolds ? C::kFold : 4;
  static constexpr int kChunkSteps = C::kPacked && kUnitSteps > 2 && kN > 64 ? 2 : kUnitSteps;
  static constexpr int kUnitChunks = kUnitSteps / kChunkSteps, kChunks = kT * 4 / kChunkSteps;
  static constexpr int kItems = kChunks * kHalves;
  static constexpr bool kWholeStage = kN <= 64; // its words are held

  struct Chunk {
    uint32_t fragments[C::kPacked ? kChunkSteps : 1][4];
    float scale[2]; // of the lane's two channels
  };
  Chunk chunks[2];
  uint32_t words[C::kPacked ? (kWholeStage ? 4 : kChunkSteps) : 1][kWholeStage ? 4 : 2]; // [step][16 channels a tile]
  Sum part[2][kFolds ? kUnitN / 2 : 1];

  __device__ __forceinline__ Wgmma8FoldConsumer(const Wgmma8Args& args, const Wgmma8Work& work, uint8_t* memory,
                                                uint32_t full, uint32_t empty)
      : Base(args, work, memory, full, empty) {}

  // Items go through the halves of a chunk, chunks through the steps of a unit, then the tiles, then the groups.
  static __device__ constexpr int chunk_of(int item) { return item / kHalves; }
  static __device__ constexpr int half_of(int item) { return item % kHalves; }
  static __device__ constexpr int tile_of(int chunk) { return chunk / kUnitChunks % kT; }
  static __device__ constexpr int step_of(int chunk) {
    return chunk / (kUnitChunks * kT) * kUnitSteps + chunk % kUnitChunks * kChunkSteps;
  }
  static __device__ constexpr int part_of(int item) {
    return kHalves > 1 ? half_of(item) : chunk_of(item) / kUnitChunks % 2;
  }
  static __device__ constexpr bool ends_unit(int item) { return chunk_of(item) % kUnitChunks == kUnitChunks - 1; }

  // The A operand of a chunk, where it is decoded, and the scales of its channels.
  __device__ __forceinline__ void fetch(int chunk, int stage) {
    const int tile = tile_of(chunk), step = step_of(chunk);
    const uint8_t* scales = this->memory + stage * Tile::kStageBytes + Tile::kChannelScalesAt;
    if constexpr (C::kPacked) {
      const uint32_t at = this->base + stage * Tile::kStageBytes + Tile::kCodesAt +
                          (this->consumer * 4 + this->warp) * 512 + this->lane * 16;
      constexpr int kRowBytes = Tile::kChannels * 16;
      if constexpr (kWholeStage) {
#pragma unroll
        for (int kk = 0; chunk == 0 && kk < 4; ++kk) cuda::load_shared(at + kk * kRowBytes, words[kk]);
      } else {
#pragma unroll
        for (int q = 0; q < kChunkSteps; ++q)
          cuda::load_shared(at + (step + q) * kRowBytes + tile * 8, words[q][0], words[q][1]);
      }
#pragma unroll
      for (int q = 0; q < kChunkSteps; ++q) {
        const uint32_t* from = kWholeStage ? words[step + q] + 2 * tile : words[q];
        uint32_t(&a)[4] = chunks[chunk % 2].fragments[q];
        cuda::Int4To8<C::X>::decode(from[0], a[0], a[2]);
        cuda::Int4To8<C::X>::decode(from[1], a[1], a[3]);
      }
    }
    if constexpr (kFolds) {
      float(&to)[2] = chunks[chunk % 2].scale;
      if constexpr (C::kPacked) {
        const int n = this->consumer * 128 + this->warp * 32 + cuda::column_scale_place(tile * 16 + this->lane / 4);
        const uint8_t* row = scales + step / kUnitSteps * Tile::kChannels * 4;
        to[0] = cuda::load_any(row, n, this->a.scale_type);
        to[1] = cuda::load_any(row, n + 2, this->a.scale_type);
      } else {
        const auto* from = reinterpret_cast<const float*>(scales) +
                           ((C::kAlong ? 0 : this->consumer * kT) + tile) * 64 + this->warp * 16 + this->lane / 4;
        to[0] = from[0];
        to[1] = from[8];
      }
    }
  }

  __device__ __forceinline__ void multiply(int item, int stage) {
    const int chunk = chunk_of(item), tile = tile_of(chunk), step = step_of(chunk);
    const uint32_t at = this->base + stage * Tile::kStageBytes;
    const uint32_t tokens = cuda::uniform(cuda::wgmma_operand(at)) + half_of(item) * kUnitN * 8 + 2 * step;
    const bool anew = kFolds && chunk % kUnitChunks == 0;
    if constexpr (kFolds && kIntegers) {
      // The bits of 1.5 * 2^23, whose last places count in ones: sums of 128 products, below 2^22, need no conversion.
      if (anew)
#pragma unroll
        for (Sum& s : part[part_of(item)]) s = 0x4b400000;
    }
    cuda::wgmma_fence();
#pragma unroll
    for (int q = 0; q < kChunkSteps; ++q) {
      const int add = anew && q == 0 && !kIntegers ? 0 : 1;
      const auto product = [&](auto& sums) {
        using Product = cuda::Wgmma8<kUnitN>;
        if constexpr (C::kPacked) {
          Product::multiply(sums, chunks[chunk % 2].fragments[q], tokens + 2 * q, add);
        } else {
          const int first = ((C::kAlong ? 0 : this->consumer * kT) + tile) * 8192;
          Product::multiply(sums, cuda::uniform(cuda::wgmma_operand(at + Tile::kCodesAt + first)) + 2 * (step + q),
                            tokens + 2 * q, add);
        }
      };
      if constexpr (kFolds)
        product(part[part_of(item)]);
      else
        product(this->total[tile]);
    }
    cuda::wgmma_commit();
  }

  static __device__ __forceinline__ float folded(float sum) { return sum; }
  static __device__ __forceinline__ float folded(int32_t sum) { return __int_as_float(sum) - 12582912.0f; }
  // total += sums of a unit, times the scales of its channels and, where they are not one for all of K, of its tokens.
  __device__ __forceinline__ void fold(int item, int stage) {
    auto& from = part[part_of(item)];
    const float* channels = chunks[chunk_of(item) % 2].scale;
    auto* to = this->total[tile_of(chunk_of(item))] + half_of(item) * (kUnitN / 2);
    const auto* tokens =
        reinterpret_cast<const float2*>(this->memory + stage * Tile::kStageBytes + Tile::kTokenScalesAt) +
        half_of(item) * (kUnitN / 2) + this->lane % 4;
#pragma unroll
    for (int b = 0; b < kUnitN / 8; ++b) {
      float scale[4] = {channels[0], channels[0], channels[1], channels[1]};
      if constexpr (C::kFoldTokens) {
        const float2 s = tokens[b * 4];
        scale[0] *= s.x;
        scale[1] *= s.y;
        scale[2] *= s.x;
        scale[3] *= s.y;
      }
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        cuda::hold(from[4 * b + e]);
        to[4 * b + e] += folded(from[4 * b + e]) * scale[e];
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
    cuda::barrier_wait(this->full + 8 * this->ring.stage, this->ring.phase);
    fetch(0, this->ring.stage);
#pragma unroll 1
    for (int left = stages - first; left > 0; left -= kStep) {
      const int stage = this->ring.stage;
#pragma unroll
      for (int item = 0; item < kItems; ++item) {
        multiply(item, stage);
        cuda::wgmma_wait<1>(); // the item before is done with
        if (kFolds && item > 0 && ends_unit(item - 1)) fold_if(item - 1, stage);
        if (half_of(item) < kHalves - 1) continue;
        if (item + 1 < kItems) {
          fetch(chunk_of(item) + 1, stage);
        } else {
          this->ring.advance(min(kStep, left));
          if (kChunks % 2 == 0) fetch_next(left > kStep);
        }
      }
      cuda::wgmma_wait<0>();
      fold_if(kItems - 1, stage);
      if (kChunks % 2 == 1) fetch_next(left > kStep); // now that its place is free
      __syncwarp();                                   // every lane has read words and scales
      this->release(stage);
    }
    if constexpr (!kFolds) this->hold_total();
  }
  __device__ __forceinline__ void fetch_next(bool more) {
    if (!more) return;
    cuda::barrier_wait(this->full + 8 * this->ring.stage, this->ring.phase);
    fetch(0, this->ring.stage);
  }
  __device__ __forceinline__ void fold_if(int item, int stage) {
    if constexpr (kFolds) fold(item, stage);
  }
};

} // namespace spf::linear
