// Weights and activations of 8 bits on the mma.sync mainloop.
#pragma once

#include "kernels/linear/mma_weights.cuh"

namespace spf::linear {

struct ByteArgs {
  const uint8_t* codes; // blocks of 128 rows x 128 values of K (the layout k128), pieces exchanged as row_place() does
  int32_t blocks;       // of K
  // Where sums are folded:
  const float *scales, *x_scale; // [groups][padded_n]; of tokens
  RowSpace<1> scale_rows;        // of x_scale
  int64_t x_scale_step;          // elements from one stage's scale of a token to the next's
  int32_t padded_n, group_blocks, m;
};

// X: s8 or e4m3, of weights and activations. kFoldSums: scales every 128 values of K, of x or of the weight.
template <spf_scalar_type X, bool kFoldSums>
struct ByteWeights : WholeRows {
  using Args = ByteArgs;
  using Sum = cuda::MmaSum<X>;
  using End = ScaledEnd;
  static constexpr bool kFold = kFoldSums;
  static constexpr MmaFormat kFormat = byte_format(kFold);

  template <class C>
  struct Source {
    const uint8_t* from; // the thread's first piece of the stage
    bool valid[C::kChannels <= 128 ? 1 : C::kChannels / 128];

    __device__ __forceinline__ void enter(const Args& a, int channel, int stage, int thread) {
      from = a.codes + (static_cast<int64_t>(channel / 128) * a.blocks + stage) * 16384 + channel % 128 * 128 +
             thread * 16;
#pragma unroll
      for (int i = 0; i < static_cast<int>(sizeof valid); ++i) valid[i] = channel + i * 128 < a.padded_n;
    }
    __device__ __forceinline__ void advance(const Args&) { from += 16384; }
    __device__ __forceinline__ void request(const Args& a, typename C::Copies& copies, uint8_t* to, int stage, int end,
                                            int thread) const {
      constexpr int kPieces = C::kCodeBytes / 16;
      static_assert(kPieces % C::kTeam == 0 && 1024 % C::kTeam == 0);
#pragma unroll
      for (int i = 0; i < kPieces / C::kTeam; ++i) {
        const int block = i * C::kTeam / 1024, in = i * C::kTeam % 1024;
        copies.copy(C::kXPieces + i, to + (thread + i * C::kTeam) * 16,
                    from + static_cast<int64_t>(block) * a.blocks * 16384 + in * 16, valid[block] && stage < end);
      }
    }
  };

  template <class C>
  struct Lane : RowLane<C, X> {
    const Args& a;
    int warp_n, warp_m;
    // Where sums are folded, the scales of this stage, of the lane's tokens and channels, and where the next ones are.
    float token[C::kTokenTiles][2], channel[C::kSub][2];
    int64_t token_at[C::kTokenTiles][2];
    const float* channel_at;
    int left; // stages of the group

    __device__ __forceinline__ Lane(const Args& args, int n, int m) : RowLane<C, X>(n), a(args), warp_n(n), warp_m(m) {}

    __device__ __forceinline__ void enter(const MmaPlace& place, int stage) {
      if constexpr (kFold) {
        const int lane = threadIdx.x % 32, first = place.token + warp_m * C::kWarpTokens + lane % 4 * 2;
#pragma unroll
        for (int q = 0; q < C::kTokenTiles; ++q)
#pragma unroll
          for (int h = 0; h < 2; ++h) {
            int64_t row[1];
            a.scale_rows.offsets(min(first + q * 8 + h, a.m - 1), row);
            token_at[q][h] = row[0] + stage * a.x_scale_step;
          }
        const int of_warp = place.channel + warp_n * 64, group = stage / a.group_blocks;
        channel_at =
            a.scales + static_cast<int64_t>(group) * a.padded_n + (of_warp < a.padded_n ? of_warp : 0) + lane / 4;
        left = a.group_blocks - (stage - group * a.group_blocks);
        load_channels();
      }
    }
    __device__ __forceinline__ void begin_step(const uint8_t*, int, int step) {
      if constexpr (kFold) {
        if (step != C::kSteps - 1) return; // they are for the end of the stage
        if (left == 0) {
          left = a.group_blocks;
          channel_at += a.padded_n;
          load_channels();
        }
        --left;
#pragma unroll
        for (int q = 0; q < C::kTokenTiles; ++q)
#pragma unroll
          for (int h = 0; h < 2; ++h) {
            token[q][h] = a.x_scale[token_at[q][h]];
            token_at[q][h] += a.x_scale_step;
          }
      }
    }
    __device__ __forceinline__ void end_stage(MmaSums<C>& sums) {
      if constexpr (kFold) {
#pragma unroll
        for (int j = 0; j < C::kSub; ++j)
#pragma unroll
          for (int q = 0; q < C::kTokenTiles; ++q)
#pragma unroll
            for (int i = 0; i < 4; ++i) {
              sums.folded[j][q][i] += static_cast<float>(sums.part[j][q][i]) * (token[q][i % 2] * channel[j][i / 2]);
              sums.part[j][q][i] = 0;
            }
      }
    }

   private:
    __device__ __forceinline__ void load_channels() {
#pragma unroll
      for (int j = 0; j < C::kSub; ++j)
#pragma unroll
        for (int h = 0; h < 2; ++h) channel[j][h] = channel_at[j * 16 + h * 8];
    }
  };
};

} // namespace spf::linear
