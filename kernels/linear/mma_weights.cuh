// What the mma.sync mainloop multiplies by: weights in the Marlin order (decode/fragment.cuh has its words), or 16-bit
// rows as they are.
#pragma once

#include "kernels/common/decode/fragment.cuh"
#include "kernels/linear/mma_end.cuh"
#include "kernels/linear/mma_mainloop.cuh"

namespace spf::linear {

struct MarlinArgs {
  const uint8_t* codes;          // [rows][tiles] pieces of 16 k x 64 channels
  const uint8_t *scales, *zeros; // [groups][padded_n], permuted
  const int32_t* sorted;         // act order: the group of each k
  int32_t tiles, rows, groups, padded_n;
  // A group holds stages_a_group whole stages, or a stage holds scale_rows groups of 2^row_shift steps.
  int32_t scale_rows, row_shift, stages_a_group;
  bool f16_scales;
  bool column_order; // of the scales: zero points beside one scale a column

  // The first group of a stage, and how many stages it still has with this one.
  __device__ __forceinline__ int group(int stage) const { return stage / stages_a_group * scale_rows; }
  __device__ __forceinline__ int left(int stage) const { return stages_a_group - stage % stages_a_group; }
};

template <spf_scalar_type T, spf_scalar_type kWeight, int kGroupKind>
struct MarlinWeights {
  using Args = MarlinArgs;
  using Sum = float;
  using End = LinearEnd;
  static constexpr bool kFold = false;
  using Fragment = cuda::WeightFragment<T, kWeight, kGroupKind != kOneGroup, kGroupKind == kNvfp4Groups>;
  static constexpr MmaFormat kFormat = marlin_format(kWeight, kGroupKind);
  static constexpr bool kHasGroups = kGroupKind != kOneGroup, kOrdered = kGroupKind == kActOrder;
  static constexpr bool kFour = kFormat.bits == 4, kZeros = kHasGroups && Fragment::kZeros;
  static constexpr int kScaleBytes = kFormat.scale_bytes;
  static constexpr int kRowBytes = 128 * kFormat.bits; // of 16 k x 64 channels
  static constexpr float kUnit = Fragment::kUnit;

  template <int kTeam>
  static constexpr int pieces(const MmaTile& t) {
    const auto ceil = [](int bytes) { return (bytes / 16 + kTeam - 1) / kTeam; };
    return ceil(t.code_bytes()) + ceil(t.scale_bytes()) + ceil(t.zero_bytes());
  }

  // A lane has eight words of an 8-bit row, read four at a time: neighbours of eight lanes are exchanged, so that eight
  // lanes reach all banks.
  static __device__ __forceinline__ int code_place(int piece) { return kFour ? piece : piece ^ (piece / 8 % 2); }

  // What the loop has to know of groups of `group` values.
  static void set_groups(Args* a, int64_t group) {
    const int steps = static_cast<int>(group / 16); // a group's
    a->scale_rows = a->stages_a_group = 1;
    a->row_shift = 0;
    if (steps == 0) { // one group
      a->stages_a_group = INT32_MAX;
      return;
    }
    if (steps < MmaTile::kSteps) a->scale_rows = MmaTile::kSteps / steps;
    while ((1 << a->row_shift) < steps) ++a->row_shift;
    if (steps >= MmaTile::kSteps) a->stages_a_group = steps / MmaTile::kSteps;
  }

  // Where a thread copies from.
  template <class C>
  struct Source {
    static constexpr int kStep = C::kChannels / 64 * (kRowBytes / 16); // pieces of a step
    static constexpr bool kWide = kStep > C::kTeam;                    // a thread has several of each
    static constexpr int kTurns = C::kCodeBytes / 16 / C::kTeam;
    static_assert(kWide ? kStep % C::kTeam == 0 : C::kTeam % kStep == 0);

    const uint8_t* codes; // the thread's first piece of the stage
    int channel, tiles;   // of the tile; 64-channel tiles from the thread's piece to the end
    int group, left;      // the first of the stage; stages until the next begins
    bool fresh;           // the group begins here, or the tile does

    __device__ __forceinline__ void enter(const Args& a, int first_channel, int stage, int thread) {
      const int row = stage * C::kSteps + (kWide ? 0 : thread / kStep), in = kWide ? thread : thread % kStep;
      channel = first_channel;
      codes = a.codes + (static_cast<int64_t>(row) * a.tiles + channel / 64) * kRowBytes + in * 16;
      tiles = a.tiles - channel / 64 - in / (kRowBytes / 16);
      group = a.group(stage);
      left = a.left(stage);
      fresh = true;
    }
    __device__ __forceinline__ void advance(const Args& a) {
      codes += static_cast<int64_t>(a.tiles) * (C::kSteps * kRowBytes);
      if constexpr (kHasGroups && !kOrdered) {
        fresh = --left == 0;
        if (fresh) {
          group += a.scale_rows;
          left = a.stages_a_group;
        }
      }
    }
    __device__ __forceinline__ void request(const Args& a, typename C::Copies& copies, uint8_t* to, int stage, int end,
                                            int thread) const {
      uint8_t* const place = to + code_place(thread) * 16;
      const int rows = stage < end ? a.rows - stage * C::kSteps - (kWide ? 0 : thread / kStep) : 0;
#pragma unroll
      for (int i = 0; i < kTurns; ++i) {
        const int row = kWide ? i / (kStep / C::kTeam) : i * (C::kTeam / kStep);
        const int in = kWide ? i % (kStep / C::kTeam) * C::kTeam : 0;
        const bool valid = row < rows && in / (kRowBytes / 16) < tiles;
        copies.copy(C::kXPieces + i, place + i * C::kTeam * 16,
                    codes + static_cast<int64_t>(row) * a.tiles * kRowBytes + in * 16, valid);
      }
      if constexpr (kHasGroups) {
        if (!kOrdered && !fresh) return;
        int index = C::kXPieces + kTurns;
        copy_rows<8 * kScaleBytes>(a, copies, index, to + C::kCodeBytes, a.scales, stage, stage < end, thread);
        if constexpr (kZeros)
          copy_rows<kFormat.zero_bits>(a, copies, index, to + C::kCodeBytes + C::kScaleBytes, a.zeros, stage,
                                       stage < end, thread);
      }
    }

   private:
    // A row of scales or zero points for each group (act order: each step) that begins in the stage.
    template <int kBits>
    __device__ __forceinline__ void copy_rows(const Args& a, typename C::Copies& copies, int& index, uint8_t* to,
                                              const uint8_t* from, int stage, bool exists, int thread) const {
      constexpr int kEach = C::kChannels * kBits / 128,
                    kMost = kFormat.scale_rows == 0 ? C::kSteps : kFormat.scale_rows;
      const int count = kOrdered ? C::kSteps : kMost == 1 ? 1 : a.scale_rows;
#pragma unroll
      for (int i = 0; i < (kMost * kEach + C::kTeam - 1) / C::kTeam; ++i, ++index) {
        const int piece = thread + i * C::kTeam, row = piece / kEach, in = piece % kEach;
        if (row >= count) continue;
        const int of_row = kOrdered ? a.sorted[min(stage * C::kSteps + row, a.rows - 1) * 16] : group + row;
        const int64_t at = static_cast<int64_t>(min(of_row, a.groups - 1)) * a.padded_n + channel;
        copies.copy(index, to + piece * 16, from + at * kBits / 8 + in * 16,
                    exists && channel + in * 128 / kBits < a.padded_n);
      }
    }
  };

  template <class C>
  struct Lane {
    const Args& a;
    int lane, tile;   // 64-channel tile of the block
    int channel0 = 0; // of the tile
    int left;         // stages of the group
    bool first;       // stage of the tile
    Fragment fragment[C::kSub];
    uint32_t words[C::kSub][Fragment::kWords], decoded[2][4];

    __device__ __forceinline__ Lane(const Args& args, int warp_n, int) : a(args), lane(threadIdx.x % 32), tile(warp_n) {
      if constexpr (!kHasGroups) {
#pragma unroll
        for (int j = 0; j < C::kSub; ++j) fragment[j].prepare({}, false);
      }
    }
    __device__ __forceinline__ void enter(const MmaPlace& place, int stage) {
      channel0 = place.channel;
      left = a.left(stage);
      first = true;
    }
    // The scales of a step, when the fragments of the one before have been decoded.
    __device__ __forceinline__ void begin_step(const uint8_t* memory, int, int step) {
      if constexpr (kOrdered) {
        prepare(memory, step);
      } else if constexpr (kHasGroups) {
        if (step == 0) {
          if (first || left == 0) prepare(memory, 0);
          if (left == 0) left = a.stages_a_group;
          --left;
          first = false;
        } else if constexpr (kGroupKind == kNvfp4Groups || kGroupKind == kMxfp4Groups) {
          constexpr int kSteps = kGroupKind / 16; // of a group
          if (step % kSteps == 0) prepare(memory, step / kSteps);
        } else if constexpr (kGroupKind == kFineGroups) {
          if ((step & ((1 << a.row_shift) - 1)) == 0) prepare(memory, step >> a.row_shift);
        }
      }
    }
    // What multiply() expects besides load() and begin_step(): the first fragment.
    __device__ __forceinline__ void complete() { fragment[0].decode(decoded[0], words[0]); }
    __device__ __forceinline__ void end_stage(MmaSums<C>&) {}

    // Scales and zero points of the lane's rows of sub-tile s, out of rows of scales and zeros that begin with
    // the lane's 64-channel tile. Eight neighbours belong to the channels that are equal modulo 8; bytes lie four to a
    // word, of which a lane takes two.
    __device__ __forceinline__ cuda::RowFacts facts(const uint8_t* scales, const uint8_t* zeros, int s) const {
      const int eight = lane / 4;
      cuda::RowFacts f = {};
      if constexpr (kScaleBytes == 4) {
        const auto pair = *reinterpret_cast<const uint2*>(scales + (eight * 8 + s * 2) * 4);
        f.scale[0] = pair.x;
        f.scale[1] = pair.y;
      } else if (kScaleBytes == 2 && kZeros && a.column_order) {
        const auto* halves = reinterpret_cast<const uint16_t*>(scales);
        f.scale[0] = halves[cuda::column_scale_place(s * 16 + eight)] |
                     static_cast<uint32_t>(halves[cuda::column_scale_place(s * 16 + eight + 8)]) << 16;
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

    __device__ __forceinline__ void load(const uint8_t* memory, int step) {
      const uint8_t* const codes = memory + (step * (C::kChannels / 64) + tile) * kRowBytes;
      if constexpr (kFour) {
        const auto v = *reinterpret_cast<const uint4*>(codes + lane * 16);
        words[0][0] = v.x, words[1][0] = v.y, words[2][0] = v.z, words[3][0] = v.w;
      } else {
#pragma unroll
        for (int j = 0; j < C::kSub; j += 2) {
          const auto v = *reinterpret_cast<const uint4*>(codes + code_place(lane * 2 + j / 2) * 16);
          words[j][0] = v.x, words[j][1] = v.y, words[j + 1][0] = v.z, words[j + 1][1] = v.w;
        }
      }
    }

    // One step for all tokens of the warp, whose first fragment has been decoded; a fragment is decoded while the one
    // before it is multiplied. between(): when the words are not needed any more, loads those of the next step.
    template <class Between>
    __device__ __forceinline__ void multiply(int stage, int step, const XFragments<C>& x, MmaSums<C>& sums,
                                             const Between& between) {
      if constexpr (kOrdered) {
        const int row = min(stage * C::kSteps + step, a.rows - 1);
        if (a.sorted[row * 16] != a.sorted[row * 16 + 15]) {
          multiply_mixed(row, step, x, sums);
          between();
          complete();
          return;
        }
      }
      const auto decode_next = [&](int j) {
        if (j + 1 < C::kSub)
          fragment[j + 1].decode(decoded[(j + 1) % 2], words[j + 1]);
        else
          complete();
      };
      const auto multiply_by = [&](int j) {
        const auto& now = decoded[j % 2];
#pragma unroll
        for (int q = 0; q < C::kTokenTiles; ++q)
          cuda::mma_m16n8k16<T>(sums.part[j][q], now[0], now[1], now[2], now[3], x(step, q, 0), x(step, q, 1));
      };
      // between() stands in no loop: with its code in it the compiler leaves a loop as it is.
#pragma unroll
      for (int j = 0; j < C::kSub - 2; ++j) {
        decode_next(j);
        multiply_by(j);
      }
      decode_next(C::kSub - 2);
      between();
      multiply_by(C::kSub - 2);
      decode_next(C::kSub - 1);
      multiply_by(C::kSub - 1);
    }

    // 16 values of K of several groups: fragments are decoded under the scales of each of the lane's four columns, and
    // the halves that belong to that column are kept.
    __device__ __forceinline__ void multiply_mixed(int row, int step, const XFragments<C>& x, MmaSums<C>& sums) const {
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
          cuda::mma_m16n8k16<T>(sums.part[j][q], w[j][0], w[j][1], w[j][2], w[j][3], x(step, q, 0), x(step, q, 1));
    }
  };
};

// --- rows of 128 bytes a stage --------------------------------------------------------------------------------------

// A lane's part in the multiplication of operand rows (row_place) of type T.
template <class C, spf_scalar_type T>
struct RowLane {
  uint32_t row, piece; // bytes; of the lane in a load
  uint32_t from;       // of the step that is loaded
  uint32_t words[C::kSub][4];

  __device__ __forceinline__ explicit RowLane(int warp_n) {
    const uint32_t lane = threadIdx.x % 32;
    row = (warp_n * 64 + lane / 8 % 2 * 8 + lane % 8) * (kRowPieces * 16);
    piece = ((lane / 16) ^ (lane % 8)) * 16;
  }
  __device__ __forceinline__ void load_fragment(int j) {
    cuda::load_matrices(words[j], from + j * 16 * (kRowPieces * 16));
  }
  __device__ __forceinline__ void load(const uint8_t* memory, int step) {
    from = cuda::shared_address(memory) + row + (piece ^ (step * 32));
#pragma unroll
    for (int j = 0; j < C::kSub - 2; ++j) load_fragment(j);
  }
  __device__ __forceinline__ void complete() {
#pragma unroll
    for (int j = C::kSub - 2; j < C::kSub; ++j) load_fragment(j);
  }
  template <class Between>
  __device__ __forceinline__ void multiply(int, int step, const XFragments<C>& x, MmaSums<C>& sums,
                                           const Between& between) {
#pragma unroll
    for (int j = 0; j < C::kSub; ++j) {
      if (j + 2 == C::kSub) between();
#pragma unroll
      for (int q = 0; q < C::kTokenTiles; ++q)
        cuda::mma_32_bytes<T>(sums.part[j][q], words[j], x(step, q, 0), x(step, q, 1));
      if (j + 2 >= C::kSub) load_fragment(j);
    }
  }
};

// Weights whose stages are nothing but rows, which all threads share evenly.
struct WholeRows {
  template <int kTeam>
  static constexpr int pieces(const MmaTile& t) {
    return t.code_bytes() / 16 / kTeam;
  }
};

struct DenseArgs {
  const uint8_t* rows; // [n], each on 16 bytes
  int64_t row_bytes;   // K of them
  int32_t n;
};

template <spf_scalar_type T>
struct DenseWeights : WholeRows {
  using Args = DenseArgs;
  using Sum = float;
  using End = LinearEnd;
  static constexpr bool kFold = false;
  static constexpr MmaFormat kFormat = kDenseFormat;

  template <class C>
  struct Source {
    const uint8_t* from; // the thread's first piece of the stage
    int rows;            // from there to the end

    __device__ __forceinline__ void enter(const Args& a, int channel, int stage, int thread) {
      const int row = channel + thread / kRowPieces, piece = stage * kRowPieces + thread % kRowPieces;
      from = a.rows + row * a.row_bytes + static_cast<int64_t>(piece) * 16;
      rows = a.n - row;
    }
    __device__ __forceinline__ void advance(const Args&) { from += kRowPieces * 16; }
    __device__ __forceinline__ void request(const Args& a, typename C::Copies& copies, uint8_t* to, int stage, int end,
                                            int thread) const {
      const int pieces =
          stage < end ? static_cast<int>(a.row_bytes / 16) - stage * kRowPieces - thread % kRowPieces : 0;
      constexpr int kPieces = C::kCodeBytes / 16, kRows = C::kTeam / kRowPieces;
      static_assert(kPieces % C::kTeam == 0);
#pragma unroll
      for (int i = 0; i < kPieces / C::kTeam; ++i)
        copies.copy(C::kXPieces + i, to + row_place(thread / kRowPieces + i * kRows, thread % kRowPieces),
                    from + i * kRows * a.row_bytes, pieces > 0 && i * kRows < rows);
    }
  };

  template <class C>
  struct Lane : RowLane<C, T> {
    __device__ __forceinline__ Lane(const Args&, int warp_n, int) : RowLane<C, T>(warp_n) {}
    __device__ __forceinline__ void enter(const MmaPlace&, int) {}
    __device__ __forceinline__ void begin_step(const uint8_t*, int, int) {}
    __device__ __forceinline__ void end_stage(MmaSums<C>&) {}
  };
};

} // namespace spf::linear
