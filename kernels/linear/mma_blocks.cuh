// Block-scaled weights and activations on the mma.sync mainloop.
#pragma once

#include "kernels/common/mma/block_scaled.cuh"
#include "kernels/linear/blocks.hpp"
#include "kernels/linear/mma_weights.cuh"

namespace spf::linear {

struct BlockArgs {
  const uint8_t* rows; // [n] of codes, each on 128 bytes (the layouts block_rows and block_rows_a8)
  int64_t row_bytes;
  const uint8_t *scales, *x_scales; // in tiles of 128 rows x 4 blocks, `tiles` of them side by side
  int32_t n, tiles;
  uint32_t last; // of a word of the last tile, the bytes of blocks that exist
};

// W, X: types of the codes; S: of the scales.
template <spf_scalar_type W, spf_scalar_type X, spf_scalar_type S>
struct BlockWeights {
  using Args = BlockArgs;
  using Sum = float;
  using End = LinearEnd;
  static constexpr bool kFold = false;
  static constexpr bool kOpened = W == SPF_E2M1 && X != SPF_E2M1; // two codes a byte become bytes
  static constexpr MmaFormat kFormat = block_format(S == SPF_E4M3 ? 16 : 32, X == SPF_E2M1 ? 2 : 1, kOpened);
  static constexpr int kTiles = kFormat.block_tiles; // of a stage
  static constexpr int kStepsATile = MmaTile::kSteps / kTiles;
  static constexpr int kPiecesARow = kOpened ? kRowPieces / 2 : kRowPieces;

  // Where a piece of a row of codes stands in a stage: eight rows of one column in different banks.
  static __host__ __device__ __forceinline__ constexpr int place(int row, int piece) {
    return kOpened ? row * 64 + (piece ^ (row / 2 % 4)) * 16 : row_place(row, piece);
  }
  static __host__ __device__ constexpr int ceil(int bytes, int team) { return (bytes / 16 + team - 1) / team; }

  template <int kTeam>
  static constexpr int pieces(const MmaTile& t) {
    return t.code_bytes() / 16 / kTeam + ceil(t.scale_bytes(), kTeam) + ceil(t.x_scale_bytes(), kTeam);
  }

  template <class C>
  struct Source {
    static constexpr int kCodes = C::kCodeBytes / 16 / C::kTeam, kRows = C::kTeam / kPiecesARow;
    static constexpr int kXRows = C::kTile.x_scale_rows();
    static_assert(C::kCodeBytes / 16 % C::kTeam == 0 && C::kTeam % kPiecesARow == 0 && C::kChannels % 128 == 0);

    const uint8_t* from; // the thread's first piece of the stage
    int rows;            // from there to the end
    int row_tile;        // of scales
    const uint8_t* x_scales;

    __device__ __forceinline__ void enter(const Args& a, int channel, int stage, int thread) {
      const int row = channel + thread / kPiecesARow, piece = stage * kPiecesARow + thread % kPiecesARow;
      from = a.rows + row * a.row_bytes + static_cast<int64_t>(piece) * 16;
      rows = a.n - row;
      row_tile = channel / 128;
    }
    __device__ __forceinline__ void enter_x_scales(const Args& a, int token) {
      x_scales = a.x_scales + static_cast<int64_t>(token / 128) * a.tiles * 512 + (kXRows < 32 ? token % 32 * 16 : 0);
    }
    __device__ __forceinline__ void advance(const Args&) { from += kPiecesARow * 16; }
    __device__ __forceinline__ void request(const Args& a, typename C::Copies& copies, uint8_t* to, int stage, int end,
                                            int thread) const {
      const int left = stage < end ? rows : 0;
#pragma unroll
      for (int i = 0; i < kCodes; ++i)
        copies.copy(C::kXPieces + i, to + place(thread / kPiecesARow + i * kRows, thread % kPiecesARow),
                    from + i * kRows * a.row_bytes, i * kRows < left);
      constexpr int kRun = kTiles * 32, kAll = C::kScaleBytes / 16; // pieces of 128 rows, of all
      const int tiles = stage < end ? a.tiles - stage * kTiles : 0, row_tiles = (a.n + 127) / 128;
#pragma unroll
      for (int i = 0; i < ceil(C::kScaleBytes, C::kTeam); ++i) {
        const int piece = thread + i * C::kTeam, down = row_tile + piece / kRun, in = piece % kRun;
        if (kAll % C::kTeam != 0 && piece >= kAll) continue;
        copies.copy(C::kXPieces + kCodes + i, to + C::kCodeBytes + piece * 16,
                    a.scales + (static_cast<int64_t>(down) * a.tiles + stage * kTiles) * 512 + in * 16,
                    in / 32 < tiles && down < row_tiles);
      }
    }
    __device__ __forceinline__ void request_x_scales(const Args& a, typename C::Copies& copies, uint8_t* to, int stage,
                                                     int end, int thread) const {
      constexpr int kAll = kTiles * kXRows, kFirst = C::kXPieces + kCodes + ceil(C::kScaleBytes, C::kTeam);
#pragma unroll
      for (int i = 0; i < ceil(C::kXScaleBytes, C::kTeam); ++i) {
        const int piece = thread + i * C::kTeam, along = stage * kTiles + piece / kXRows;
        if (kAll % C::kTeam != 0 && piece >= kAll) continue;
        copies.copy(kFirst + i, to + piece * 16, x_scales + static_cast<int64_t>(along) * 512 + piece % kXRows * 16,
                    stage < end && along < a.tiles);
      }
    }
  };

  template <class C>
  struct Lane : RowLane<C, SPF_E4M3> {
    using Rows = RowLane<C, SPF_E4M3>;
    // Eight lanes of a quad's column have rows g of 16-channel fragments t / 2 and t / 2 + 2, or tokens g of tiles t
    // and t + 4: a piece of 16 bytes has the scales of four rows that are 32 apart.
    static constexpr int kXColumns = C::kTokenTiles < 4 ? C::kTokenTiles : 4;
    const Args& a;
    int w_place, x_place; // bytes, of the lane's scales in those of a stage
    int warp_m;
    const uint8_t* at; // what a stage holds of the weight, of the step to come
    uint32_t w_scales[2], x_scales[2];

    __device__ __forceinline__ Lane(const Args& args, int warp_n, int m) : Rows(warp_n), a(args), warp_m(m) {
      const int lane = threadIdx.x % 32, t = lane % 4, g = lane / 4;
      w_place = warp_n / 2 * (kTiles * 512) + (t / 2 * 16 + t % 2 * 8 + g) * 16 + warp_n % 2 * 8;
      x_place = (t % kXColumns * 8 + g) * 16;
      if constexpr (kOpened) {
        const uint32_t row = warp_n * 64 + lane / 8 % 2 * 8 + lane % 8;
        this->row = row * 64;
        this->piece = ((lane / 16) ^ (row / 2 % 4)) * 16;
      }
    }
    __device__ __forceinline__ void enter(const MmaPlace& place, int) {
      const int lane = threadIdx.x % 32;
      x_place = (lane % 4 % kXColumns * 8 + lane / 4) * 16 + (place.token + warp_m * C::kWarpTokens) % 128 / 32 * 4;
    }
    __device__ __forceinline__ void begin_step(const uint8_t* memory, int, int) { at = memory; }
    __device__ __forceinline__ void end_stage(MmaSums<C>&) {}

    // Four words of a load are those of a fragment, or where they are opened, of two steps.
    __device__ __forceinline__ void load_fragment(int j) {
      cuda::load_matrices(this->words[j], this->from + j * 16 * (kPiecesARow * 16));
    }
    __device__ __forceinline__ void load(const uint8_t* memory, int step) {
      if (kOpened && step % 2 != 0) return;
      this->from = cuda::shared_address(memory) + this->row + (this->piece ^ (step * (kOpened ? 16 : 32)));
#pragma unroll
      for (int j = 0; j < C::kSub - 2; ++j) load_fragment(j);
    }
    __device__ __forceinline__ void complete() {
#pragma unroll
      for (int j = C::kSub - 2; j < C::kSub; ++j) load_fragment(j);
    }
    __device__ __forceinline__ void load_scales(const uint8_t* memory, int stage, int tile) {
      const auto w = *reinterpret_cast<const uint2*>(memory + C::kCodeBytes + tile * 512 + w_place);
      w_scales[0] = w.x, w_scales[1] = w.y;
      const uint8_t* const x = memory + C::kCodeBytes + C::kScaleBytes + tile * (Source<C>::kXRows * 16) + x_place;
      // What stands in the places of blocks that do not exist could be NaN, which zeros would not stop.
      const uint32_t keep = stage * kTiles + tile == a.tiles - 1 ? a.last : 0xffffffffu;
      if constexpr (C::kTokenTiles > 4) {
        const auto pair = *reinterpret_cast<const uint2*>(x);
        x_scales[0] = pair.x & keep, x_scales[1] = pair.y & keep;
      } else {
        x_scales[0] = *reinterpret_cast<const uint32_t*>(x) & keep;
      }
    }
    template <class Between>
    __device__ __forceinline__ void multiply(int stage, int step, const XFragments<C>& x, MmaSums<C>& sums,
                                             const Between& between) {
      if (step % kStepsATile == 0) load_scales(at, stage, step / kStepsATile);
      const auto byte = static_cast<uint16_t>(step % kStepsATile * (4 / kStepsATile));
#pragma unroll
      for (int j = 0; j < C::kSub; ++j) {
        if (j + 2 == C::kSub) between();
        uint32_t w[4];
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          if constexpr (kOpened) {
            const uint32_t two = this->words[j][step % 2 * 2 + i % 2];
            w[i] = i < 2 ? (two << 2) & 0x3c3c3c3cu : (two >> 2) & 0x3c3c3c3cu;
          } else {
            w[i] = this->words[j][i];
          }
        }
#pragma unroll
        for (int q = 0; q < C::kTokenTiles; ++q)
          cuda::mma_block_scaled<W, X, S>(sums.part[j][q], w, x(step, q, 0), x(step, q, 1),
                                          {w_scales[j / 2], byte, static_cast<uint16_t>(j % 2)},
                                          {x_scales[q / 4], byte, static_cast<uint16_t>(q % 4)});
        if (j + 2 >= C::kSub && (!kOpened || step % 2 != 0)) load_fragment(j);
      }
    }
  };
};

} // namespace spf::linear
