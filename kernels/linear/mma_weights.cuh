// What the mma.sync mainloop multiplies by: weights in the Marlin order (decode/fragment.cuh has its words), or 16-bit
// rows as they are.
#pragma once

#include "kernels/common/decode/fragment.cuh"
#include "kernels/linear/mma_mainloop.cuh"

namespace spf::linear {

struct MarlinArgs {
  const uint8_t* codes;          // [rows][tiles] pieces of 16 k x 64 channels
  const uint8_t *scales, *zeros; // [groups][padded_n], permuted
  const int32_t* sorted;         // act order: the group of each k
  int32_t tiles, rows, groups, padded_n;
  // A group holds whole stages, 2^stage_shift of them (-1: a number that is no power of two, stages_a_group), or a
  // stage holds scale_rows groups of 2^row_shift steps. The loop has no time for divisions.
  int32_t scale_rows, row_shift, stage_shift, stages_a_group;
  bool f16_scales;
};

template <spf_scalar_type T, spf_scalar_type kWeight, int kGroupKind>
struct MarlinWeights {
  using Args = MarlinArgs;
  using Fragment = cuda::WeightFragment<T, kWeight, kGroupKind != kOneGroup, kGroupKind == kNvfp4Groups>;
  static constexpr MmaFormat kFormat = marlin_format(kWeight, kGroupKind);
  static constexpr bool kHasGroups = kGroupKind != kOneGroup, kOrdered = kGroupKind == kActOrder;
  static constexpr bool kFour = kFormat.bits == 4, kZeros = kHasGroups && Fragment::kZeros;
  static constexpr int kScaleBytes = kFormat.scale_bytes;
  static constexpr int kRowPieces = 8 * kFormat.bits; // of 16 bytes, of 16 k x 64 channels
  static constexpr float kUnit = Fragment::kUnit;

  template <int kThreads>
  static constexpr int pieces(const MmaTile& t) {
    const auto ceil = [](int bytes) { return (bytes / 16 + kThreads - 1) / kThreads; };
    return ceil(t.code_bytes()) + ceil(t.scale_bytes()) + ceil(t.zero_bytes());
  }

  // A lane has eight words of an 8-bit row, read four at a time: neighbours of eight lanes are exchanged, so that eight
  // lanes reach all banks.
  static __device__ __forceinline__ int code_place(int piece) { return kFour ? piece : piece ^ (piece / 8 % 2); }

  // Scales of a stage: one row, or one for each group or (act order) step that begins in it.
  template <class C>
  static __device__ __forceinline__ int scale_rows(const Args& a) {
    return kOrdered ? C::kSteps : a.scale_rows;
  }
  template <class C>
  static __device__ __forceinline__ int group_of(const Args& a, int stage, int row) {
    if constexpr (kOrdered) {
      return a.sorted[min(stage * C::kSteps + row, a.rows - 1) * 16];
    } else {
      const int group = a.scale_rows > 1     ? stage * a.scale_rows + row
                        : a.stage_shift >= 0 ? stage >> a.stage_shift
                                             : stage / a.stages_a_group;
      return min(group, a.groups - 1);
    }
  }
  // What the loop has to know of groups of `group` values, in stages of `steps` steps.
  static void set_groups(Args* a, int64_t group, int steps) {
    const int rows = static_cast<int>(group / 16);
    a->scale_rows = 1;
    a->stages_a_group = 1;
    if (rows == 0) return;
    if (rows < steps) {
      a->scale_rows = steps / rows;
      while ((1 << a->row_shift) < rows) ++a->row_shift;
      return;
    }
    a->stages_a_group = rows / steps;
    while ((1 << a->stage_shift) < a->stages_a_group) ++a->stage_shift;
    if ((1 << a->stage_shift) != a->stages_a_group) a->stage_shift = -1;
  }

  template <class C>
  static __device__ __forceinline__ void request(const Args& a, typename C::Copies& copies, uint8_t* to, int channel,
                                                 int stage) {
    constexpr int kCodes = C::kCodeBytes / 16, kStepPieces = kCodes / C::kSteps;
    constexpr int kCodeTurns = (kCodes + C::kThreads - 1) / C::kThreads;
    const int tile = channel / 64;
    int index = C::kXPieces;
#pragma unroll
    for (int i = 0; i < kCodeTurns; ++i, ++index) {
      const int piece = threadIdx.x + i * C::kThreads;
      if (kCodes % C::kThreads != 0 && piece >= kCodes) continue;
      const int row = stage * C::kSteps + piece / kStepPieces, in = piece % kStepPieces;
      const bool valid = row < a.rows && tile + in / kRowPieces < a.tiles;
      const uint8_t* from = a.codes + ((static_cast<int64_t>(row) * a.tiles + tile) * kRowPieces + in) * 16;
      copies.copy(index, to + code_place(piece) * 16, valid ? from : a.codes, valid ? 16 : 0);
    }
    if constexpr (kHasGroups) {
      const int rows = scale_rows<C>(a);
      constexpr int kEach = C::kChannels * kScaleBytes / 16,
                    kTurns = (C::kScaleBytes / 16 + C::kThreads - 1) / C::kThreads;
#pragma unroll
      for (int i = 0; i < kTurns; ++i, ++index) {
        const int piece = threadIdx.x + i * C::kThreads, row = piece / kEach, in = piece % kEach;
        if (row >= rows) continue;
        const int64_t from = (static_cast<int64_t>(group_of<C>(a, stage, row)) * a.padded_n + channel) * kScaleBytes;
        const bool valid = channel + in * 16 / kScaleBytes < a.padded_n;
        copies.copy(index, to + C::kCodeBytes + piece * 16, valid ? a.scales + from + in * 16 : a.scales,
                    valid ? 16 : 0);
      }
    }
    if constexpr (kZeros) {
      const int rows = scale_rows<C>(a);
      constexpr int kBits = kFormat.zero_bits, kEach = C::kChannels * kBits / 128;
      constexpr int kTurns = (C::kZeroBytes / 16 + C::kThreads - 1) / C::kThreads;
#pragma unroll
      for (int i = 0; i < kTurns; ++i, ++index) {
        const int piece = threadIdx.x + i * C::kThreads, row = piece / kEach, in = piece % kEach;
        if (row >= rows) continue;
        const int64_t from = (static_cast<int64_t>(group_of<C>(a, stage, row)) * a.padded_n + channel) * kBits / 8;
        const bool valid = channel + in * 128 / kBits < a.padded_n;
        copies.copy(index, to + C::kCodeBytes + C::kScaleBytes + piece * 16, valid ? a.zeros + from + in * 16 : a.zeros,
                    valid ? 16 : 0);
      }
    }
  }

  // Which of its 64 channels' four sub-tiles a lane decodes first. A warp of two sub-tiles has the upper or the lower
  // half, exchanged every eight lanes (rows of a fragment belong to lanes), so that 16 lanes reach all banks.
  template <class C>
  static __device__ __forceinline__ int first_sub(int warp_n, int lane) {
    return C::kSub == 4 ? 0 : (warp_n + lane / 8) % 2 * 2;
  }
  template <class C>
  static __device__ __forceinline__ int channel(int warp_n, int lane, int j, int half) {
    return warp_n * C::kSub / 4 * 64 + (first_sub<C>(warp_n, lane) + j) * 16 + half * 8 + lane / 4;
  }

  template <class C>
  struct Lane {
    const Args& a;
    int lane, tile, sub; // 64-channel tile of the block, first of its sub-tiles
    int channel0 = 0;    // of the tile
    Fragment fragment[C::kSub];

    __device__ __forceinline__ Lane(const Args& args, int warp_n) : a(args), lane(threadIdx.x % 32) {
      tile = warp_n * C::kSub / 4;
      sub = first_sub<C>(warp_n, lane);
      if constexpr (!kHasGroups) {
#pragma unroll
        for (int j = 0; j < C::kSub; ++j) fragment[j].prepare({}, false);
      }
    }
    __device__ __forceinline__ void enter(int channel) { channel0 = channel; }

    // Scales and zero points of the lane's rows of sub-tile sub + j, out of rows of scales and zeros that begin with
    // the lane's 64-channel tile. Eight neighbours belong to the channels that are equal modulo 8; bytes lie four to a
    // word, of which a lane takes two.
    __device__ __forceinline__ cuda::RowFacts facts(const uint8_t* scales, const uint8_t* zeros, int j) const {
      const int s = sub + j, eight = lane / 4;
      cuda::RowFacts f = {};
      if constexpr (kScaleBytes == 4) {
        const auto pair = *reinterpret_cast<const uint2*>(scales + (eight * 8 + s * 2) * 4);
        f.scale[0] = pair.x;
        f.scale[1] = pair.y;
      } else if constexpr (kScaleBytes == 2) {
        f.scale[0] = *reinterpret_cast<const uint32_t*>(scales + (eight * 8 + s * 2) * 2);
      } else {
        f.scale[0] = *reinterpret_cast<const uint32_t*>(scales + eight * 8 + s / 2 * 4) >> (8 * (s % 2)) & 0x00ff00ffu;
      }
      if constexpr (kZeros && kFour)
        f.zero = *reinterpret_cast<const uint32_t*>(zeros + eight * 4) >> (4 * s) & 0x000f000fu;
      else if constexpr (kZeros)
        f.zero = *reinterpret_cast<const uint32_t*>(zeros + eight * 8 + s / 2 * 4) >> (8 * (s % 2)) & 0x00ff00ffu;
      return f;
    }
    __device__ __forceinline__ void prepare(const uint8_t* memory, int row) {
      const uint8_t* scales = memory + C::kCodeBytes + (row * C::kChannels + tile * 64) * kScaleBytes;
      const uint8_t* zeros =
          memory + C::kCodeBytes + C::kScaleBytes + (row * C::kChannels + tile * 64) * kFormat.zero_bits / 8;
#pragma unroll
      for (int j = 0; j < C::kSub; ++j) fragment[j].prepare(facts(scales, zeros, j), a.f16_scales);
    }

    using Words = uint32_t[C::kSub][Fragment::kWords];
    __device__ __forceinline__ void load(const uint8_t* codes, Words& words) const {
      if constexpr (kFour && C::kSub == 4) {
        const auto v = *reinterpret_cast<const uint4*>(codes + lane * 16);
        words[0][0] = v.x, words[1][0] = v.y, words[2][0] = v.z, words[3][0] = v.w;
      } else if constexpr (kFour) {
        const auto v = *reinterpret_cast<const uint2*>(codes + lane * 16 + sub * 4);
        words[0][0] = v.x, words[1][0] = v.y;
      } else {
#pragma unroll
        for (int j = 0; j < C::kSub; j += 2) {
          const auto v = *reinterpret_cast<const uint4*>(codes + code_place(lane * 2 + (sub + j) / 2) * 16);
          words[j][0] = v.x, words[j][1] = v.y, words[j + 1][0] = v.z, words[j + 1][1] = v.w;
        }
      }
    }

    // One step for all tokens. first: of the warp's steps of this stage.
    __device__ __forceinline__ void multiply(const uint8_t* memory, int stage, int step, bool first,
                                             const uint32_t (&x)[C::kTokenTiles][2], MmaSums<C>& sums) {
      Words words;
      load(memory + (step * (C::kChannels / 64) + tile) * (kRowPieces * 16), words);
      if constexpr (kOrdered) {
        const int row = min(stage * C::kSteps + step, a.rows - 1);
        if (a.sorted[row * 16] != a.sorted[row * 16 + 15]) {
          multiply_mixed(row, words, x, sums);
          return;
        }
        prepare(memory, step);
      } else if constexpr (kHasGroups) {
        if (a.scale_rows > 1) {
          if (first || (step & ((1 << a.row_shift) - 1)) == 0) prepare(memory, step >> a.row_shift);
        } else if (first) {
          prepare(memory, 0);
        }
      }
#pragma unroll
      for (int j = 0; j < C::kSub; ++j) {
        uint32_t w[4];
        fragment[j].decode(w, words[j]);
#pragma unroll
        for (int q = 0; q < C::kTokenTiles; ++q)
          cuda::mma_m16n8k16<T>(sums[j][q], w[0], w[1], w[2], w[3], x[q][0], x[q][1]);
      }
    }

    // 16 values of K of several groups: fragments are decoded under the scales of each of the lane's four columns, and
    // the halves that belong to that column are kept.
    __device__ __forceinline__ void multiply_mixed(int row, const Words& words, const uint32_t (&x)[C::kTokenTiles][2],
                                                   MmaSums<C>& sums) const {
      uint32_t w[C::kSub][4] = {};
      const bool exists = channel0 + tile * 64 < a.padded_n;
#pragma unroll 1
      for (int c = 0; c < 4; ++c) {
        const int k = row * 16 + lane % 4 * 2 + c % 2 + c / 2 * 8;
        const int64_t at = static_cast<int64_t>(a.sorted[k]) * a.padded_n + channel0 + tile * 64;
        const uint32_t mask = c % 2 ? 0xffff0000u : 0x0000ffffu;
#pragma unroll
        for (int j = 0; j < C::kSub; ++j) {
          Fragment one;
          one.prepare(
              exists ? facts(a.scales + at * kScaleBytes, a.zeros + at * kFormat.zero_bits / 8, j) : cuda::RowFacts{},
              a.f16_scales);
          uint32_t all[4];
          one.decode(all, words[j]);
#pragma unroll
          for (int e = 0; e < 4; ++e)
            if (e / 2 == c / 2) w[j][e] = (w[j][e] & ~mask) | (all[e] & mask);
        }
      }
#pragma unroll
      for (int j = 0; j < C::kSub; ++j)
#pragma unroll
        for (int q = 0; q < C::kTokenTiles; ++q)
          cuda::mma_m16n8k16<T>(sums[j][q], w[j][0], w[j][1], w[j][2], w[j][3], x[q][0], x[q][1]);
    }
  };
};

// --- 16-bit rows ----------------------------------------------------------------------------------------------------

struct DenseArgs {
  const uint8_t* rows; // [n], each on 16 bytes
  int64_t row_bytes;   // K of them
  int32_t n;
};

template <spf_scalar_type T>
struct DenseWeights {
  using Args = DenseArgs;
  static constexpr MmaFormat kFormat = {16, 16, 0, 0, 0};
  static constexpr float kUnit = 1.0f;

  template <int kThreads>
  static constexpr int pieces(const MmaTile& t) {
    return (t.code_bytes() / 16 + kThreads - 1) / kThreads;
  }
  template <class C>
  static __device__ __forceinline__ void request(const Args& a, typename C::Copies& copies, uint8_t* to, int channel,
                                                 int stage) {
    constexpr int kPieces = C::kCodeBytes / 16, kRow = 2 * C::kSteps;
    static_assert(kPieces % C::kThreads == 0);
#pragma unroll
    for (int i = 0; i < kPieces / C::kThreads; ++i) {
      const int piece = threadIdx.x + i * C::kThreads, row = piece / kRow, column = piece % kRow;
      const int64_t offset = static_cast<int64_t>(stage) * (kRow * 16) + column * 16;
      const int64_t left = channel + row < a.n ? a.row_bytes - offset : 0;
      copies.copy(C::kXPieces + i, to + x_place<C>(row, column),
                  left > 0 ? a.rows + (channel + row) * a.row_bytes + offset : a.rows, left > 0 ? 16 : 0);
    }
  }
  template <class C>
  static __device__ __forceinline__ int channel(int warp_n, int lane, int j, int half) {
    return (warp_n * C::kSub + j) * 16 + half * 8 + lane / 4;
  }

  template <class C>
  struct Lane {
    int lane, channel0; // of the warp

    __device__ __forceinline__ Lane(const Args&, int warp_n)
        : lane(threadIdx.x % 32), channel0(warp_n * C::kSub * 16) {}
    __device__ __forceinline__ void enter(int) {}
    __device__ __forceinline__ void multiply(const uint8_t* memory, int, int step, bool,
                                             const uint32_t (&x)[C::kTokenTiles][2], MmaSums<C>& sums) const {
#pragma unroll
      for (int j = 0; j < C::kSub; ++j) {
        uint32_t w[4];
        const int row = channel0 + j * 16 + lane / 8 % 2 * 8 + lane % 8;
        cuda::load_matrices(w, cuda::shared_address(memory + x_place<C>(row, step * 2 + lane / 16)));
#pragma unroll
        for (int q = 0; q < C::kTokenTiles; ++q)
          cuda::mma_m16n8k16<T>(sums[j][q], w[0], w[1], w[2], w[3], x[q][0], x[q][1]);
      }
    }
  };
};

} // namespace spf::linear
