// mma.sync, ldmatrix, stmatrix and movmatrix on the emulated device (SPF_EMULATED), by the fragment layouts of the PTX
// ISA. All forms of mma.sync with 32-bit or narrower elements share one: with E elements in a word, lane L, g = L / 4
// and t = L % 4,
//
//   A word r   row g + 8 (r % 2), columns 4 E (r / 2) + t E ... + E - 1     (one word: row g of eight)
//   B word r   rows 4 E r + t E ... + E - 1, column g
//   D          element i: row g + 8 (i / 2), column 2 t + i % 2
//
// Block scales: of A, row g from lane 4 g + 2 tid and row g + 8 from lane 4 g + 2 tid + 1; of B, column g from lane
// 4 g + tid, where tid is the thread id of the instruction; byte i counts for the i-th part of k.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "core/scalar.hpp"
#include "emulator/machine.hpp"
#include "spearfish/types.h"

namespace spf::emulated {

// --- elements of a word ----------------------------------------------------------------------------------------------

// Types that an instruction reads besides those with a name of their own.
enum class Packed { kTf32, kF16, kBf16, kE4m3, kE5m2, kS8, kU8, kS4, kU4, kE2m1, kE2m1InByte };

template <Packed kType>
inline constexpr int kElements = kType == Packed::kTf32                                                   ? 1
                                 : kType == Packed::kF16 || kType == Packed::kBf16                        ? 2
                                 : kType == Packed::kS4 || kType == Packed::kU4 || kType == Packed::kE2m1 ? 8
                                                                                                          : 4;

template <Packed kType>
constexpr double element(uint32_t word, int i) {
  const uint32_t code = kElements<kType> == 1 ? word : word >> (32 / kElements<kType> * i);
  if constexpr (kType == Packed::kTf32) return std::bit_cast<float>(code & 0xffffe000u); // the low bits are not read
  if constexpr (kType == Packed::kF16) return f16_to_f32(static_cast<uint16_t>(code));
  if constexpr (kType == Packed::kBf16) return bf16_to_f32(static_cast<uint16_t>(code));
  if constexpr (kType == Packed::kE4m3) return e4m3_to_f32(static_cast<uint8_t>(code));
  if constexpr (kType == Packed::kE5m2) return e5m2_to_f32(static_cast<uint8_t>(code));
  if constexpr (kType == Packed::kS8) return static_cast<int8_t>(code);
  if constexpr (kType == Packed::kU8) return static_cast<uint8_t>(code);
  if constexpr (kType == Packed::kS4) return static_cast<int>(code << 28) >> 28;
  if constexpr (kType == Packed::kU4) return code & 15;
  if constexpr (kType == Packed::kE2m1) return e2m1_to_f32(code & 15);
  if constexpr (kType == Packed::kE2m1InByte) return e2m1_to_f32(code >> 2 & 15); // bits 2 to 5
}

template <spf_scalar_type T>
inline constexpr Packed kPackedOf = T == SPF_F16    ? Packed::kF16
                                    : T == SPF_BF16 ? Packed::kBf16
                                    : T == SPF_E4M3 ? Packed::kE4m3
                                    : T == SPF_E5M2 ? Packed::kE5m2
                                    : T == SPF_E2M1 ? Packed::kE2m1
                                                    : Packed::kS8;

// --- mma.sync
// ----------------------------------------------------------------------------------------------------------

// Scale bytes of one operand of a block-scaled form.
struct BlockScale {
  uint32_t word = 0;
  int byte_id = 0, thread_id = 0;
};
enum class ScaleType { kNone, kUe8m0, kUe4m3 };

template <ScaleType kScale>
double scale_value(uint32_t byte) {
  if constexpr (kScale == ScaleType::kUe4m3) return e4m3_to_f32(static_cast<uint8_t>(byte & 0x7f));
  return byte == 0xff ? std::nan("") : std::ldexp(1.0, static_cast<int>(byte) - 127);
}

template <class D>
struct MmaOperands {
  D* d;
  const uint32_t *a, *b;
  BlockScale scale_a, scale_b;
};

// d += a * b. The sum of a column of products is exact in f64 for 16-bit and narrower elements; hardware keeps a few
// bits less, in an order it does not tell.
template <Packed kA, Packed kB, int kAWords, int kBWords, class D, ScaleType kScale, int kScalesOfK>
void mma_of_warp(MmaOperands<D>* const (&lanes)[32], uint32_t mask) {
  constexpr int kE = kElements<kA>, kRows = kAWords == 1 ? 8 : 16, kK = 4 * kE * kBWords;
  constexpr int kRowWords = kRows / 8;
  static_assert(kE == kElements<kB> && kAWords == kRowWords * kBWords);
  if (mask != 0xffffffffu) fault("mma.sync without all lanes of the warp");
  static thread_local double a[16][64], b[64][8];
  for (int lane = 0; lane < 32; ++lane) {
    const int g = lane / 4, t = lane % 4;
    for (int r = 0; r < kAWords; ++r)
      for (int e = 0; e < kE; ++e)
        a[g + 8 * (r % kRowWords)][4 * kE * (r / kRowWords) + t * kE + e] = element<kA>(lanes[lane]->a[r], e);
    for (int r = 0; r < kBWords; ++r)
      for (int e = 0; e < kE; ++e) b[4 * kE * r + t * kE + e][g] = element<kB>(lanes[lane]->b[r], e);
  }
  if constexpr (kScale != ScaleType::kNone) {
    constexpr int kBlock = kK / kScalesOfK;
    const auto byte = [](const BlockScale& s, int i) { return s.word >> (8 * (s.byte_id + i)) & 0xff; };
    for (int part = 0; part < kScalesOfK; ++part) {
      for (int row = 0; row < 16; ++row) {
        const MmaOperands<D>& first = *lanes[4 * (row % 8)];
        const BlockScale& s = lanes[4 * (row % 8) + 2 * first.scale_a.thread_id + row / 8]->scale_a;
        for (int k = part * kBlock; k < (part + 1) * kBlock; ++k) a[row][k] *= scale_value<kScale>(byte(s, part));
      }
      for (int column = 0; column < 8; ++column) {
        const MmaOperands<D>& first = *lanes[4 * column];
        const BlockScale& s = lanes[4 * column + first.scale_b.thread_id]->scale_b;
        for (int k = part * kBlock; k < (part + 1) * kBlock; ++k) b[k][column] *= scale_value<kScale>(byte(s, part));
      }
    }
  }
  for (int row = 0; row < kRows; ++row) {
    double sums[8] = {};
    for (int k = 0; k < kK; ++k)
      for (int column = 0; column < 8; ++column) sums[column] += a[row][k] * b[k][column];
    for (int column = 0; column < 8; ++column) {
      D& d = lanes[row % 8 * 4 + column / 2]->d[row / 8 * 2 + column % 2];
      if constexpr (std::is_same_v<D, float>)
        d = static_cast<float>(d + sums[column]);
      else
        d = static_cast<D>(static_cast<uint32_t>(d) + static_cast<uint32_t>(static_cast<int64_t>(sums[column])));
    }
  }
}

// D: float or int32_t (which wraps around). mma<Packed::kF16, Packed::kF16>(d, a, b) with four words of A and two of B
// is m16n8k16, with two and one m16n8k8, with one and one m8n8k8, and so on for other types.
template <Packed kA, Packed kB, class D, int kAWords, int kBWords>
void mma(D* d, const uint32_t (&a)[kAWords], const uint32_t (&b)[kBWords]) {
  MmaOperands<D> operands{d, a, b, {}, {}};
  collective<MmaOperands<D>, &mma_of_warp<kA, kB, kAWords, kBWords, D, ScaleType::kNone, 1>>("mma.sync", 0xffffffffu,
                                                                                             &operands);
}
// kScalesOfK: 1, 2 or 4, the X of scale_vec::X.
template <Packed kA, Packed kB, ScaleType kScale, int kScalesOfK, int kAWords, int kBWords>
void mma_block_scaled(float* d, const uint32_t (&a)[kAWords], const uint32_t (&b)[kBWords], BlockScale scale_a,
                      BlockScale scale_b) {
  if (scale_a.byte_id % kScalesOfK != 0 || scale_a.byte_id + kScalesOfK > 4 || scale_b.byte_id % kScalesOfK != 0 ||
      scale_b.byte_id + kScalesOfK > 4 || scale_a.thread_id > 1 || scale_b.thread_id > 3)
    fault("mma.sync block_scale: byte id or thread id that the form does not have");
  MmaOperands<float> operands{d, a, b, scale_a, scale_b};
  collective<MmaOperands<float>, &mma_of_warp<kA, kB, kAWords, kBWords, float, kScale, kScalesOfK>>(
      "mma.sync block_scale", 0xffffffffu, &operands);
}

// --- matrices of 16-bit elements, 8x8
// ------------------------------------------------------------------------------------ Lane L holds the elements (L /
// 4, 2 (L % 4) ... + 1) of each, and gives the address of row L % 8 of matrix L / 8.

struct MatrixOperands {
  uint32_t* words;
  uint32_t address;
  int count;
  bool transposed;
};

inline void load_matrices_of_warp(MatrixOperands* const (&lanes)[32], uint32_t mask) {
  if (mask != 0xffffffffu) fault("ldmatrix without all lanes of the warp");
  for (int m = 0; m < lanes[0]->count; ++m) {
    uint16_t matrix[8][8];
    for (int row = 0; row < 8; ++row) std::memcpy(matrix[row], shared_memory(lanes[8 * m + row]->address, 16, 16), 16);
    for (int lane = 0; lane < 32; ++lane) {
      const int row = lane / 4, column = 2 * (lane % 4);
      const bool turned = lanes[0]->transposed;
      const uint32_t low = turned ? matrix[column][row] : matrix[row][column];
      const uint32_t high = turned ? matrix[column + 1][row] : matrix[row][column + 1];
      lanes[lane]->words[m] = low | high << 16;
    }
  }
}

inline void store_matrices_of_warp(MatrixOperands* const (&lanes)[32], uint32_t mask) {
  if (mask != 0xffffffffu) fault("stmatrix without all lanes of the warp");
  for (int m = 0; m < lanes[0]->count; ++m) {
    uint16_t matrix[8][8];
    for (int lane = 0; lane < 32; ++lane) {
      const int row = lane / 4, column = 2 * (lane % 4);
      for (int e = 0; e < 2; ++e)
        (lanes[0]->transposed ? matrix[column + e][row] : matrix[row][column + e]) =
            static_cast<uint16_t>(lanes[lane]->words[m] >> (16 * e));
    }
    for (int row = 0; row < 8; ++row) std::memcpy(shared_memory(lanes[8 * m + row]->address, 16, 16), matrix[row], 16);
  }
}

// count: 1, 2 or 4.
template <int kCount>
void load_matrices(uint32_t (&words)[kCount], uint32_t address, bool transposed) {
  MatrixOperands operands{words, address, kCount, transposed};
  collective<MatrixOperands, &load_matrices_of_warp>("ldmatrix", 0xffffffffu, &operands);
}
template <int kCount>
void store_matrices(uint32_t address, const uint32_t (&words)[kCount], bool transposed) {
  uint32_t copy[kCount];
  std::memcpy(copy, words, sizeof copy);
  MatrixOperands operands{copy, address, kCount, transposed};
  collective<MatrixOperands, &store_matrices_of_warp>("stmatrix", 0xffffffffu, &operands);
}

inline void transpose_of_warp(uint32_t* const (&lanes)[32], uint32_t mask) {
  if (mask != 0xffffffffu) fault("movmatrix without all lanes of the warp");
  uint16_t matrix[8][8];
  for (int lane = 0; lane < 32; ++lane)
    for (int e = 0; e < 2; ++e) matrix[lane / 4][2 * (lane % 4) + e] = static_cast<uint16_t>(*lanes[lane] >> (16 * e));
  for (int lane = 0; lane < 32; ++lane)
    *lanes[lane] = matrix[2 * (lane % 4)][lane / 4] | static_cast<uint32_t>(matrix[2 * (lane % 4) + 1][lane / 4]) << 16;
}
inline uint32_t transpose_matrix(uint32_t word) {
  collective<uint32_t, &transpose_of_warp>("movmatrix", 0xffffffffu, &word);
  return word;
}

} // namespace spf::emulated
