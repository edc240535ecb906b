// The Marlin byte orders: weights, scales, zero points and bias as the mma.sync kernels read them from global memory
// with no shuffle. Free functions over checkpoint tensors, and the layout rows "marlin", "marlin_a8" and
// "marlin_a8_e4m3".
//
// Weight tile, 16-bit activations: 16 k x 64 n, 1024 codes, tiles along n first. Warp w of four owns columns
// 16w..16w+15, lane L of 32 the rows r0 = 2 (L%4) and columns c0 = 16w + L/4 of
//
//           c0        c0 + 8
//   r0      v0        v4
//   r0+1    v1        v5            4 bit: word 4L + w, nibble i holds v{0,2,4,6,1,3,5,7}[i]
//   r0+8    v2        v6            8 bit: words 8L + 2w + h, byte i holds v(4h + {0,2,1,3}[i])
//   r0+9    v3        v7
//
// 8-bit activations: 32 k x 32 n, columns 8w + L/4, rows 4 (L%4) + 0..3 for v0..v3 and 16 more for v4..v7;
//   4 bit: word 4L + w, nibble i holds v{0,4,1,5,2,6,3,7}[i];  8 bit: words 8L + 2w + h, byte i holds v(4h + i).
#pragma once

#include <cstdint>

#include "pack/layout.hpp"

namespace spf::pack {

extern const LayoutRow kMarlinLayout, kMarlinA8Layout, kMarlinA8E4m3Layout;

namespace marlin {

// What the weight meets in the tensor core.
enum class Act : uint8_t { k16, kS8, kE4M3 };

// Where code (k, n) lies: bits [shift, shift + Bits) of a 32-bit word.
struct Slot {
  int64_t word;
  int shift;
};

template <int Bits, bool Act8>
constexpr Slot slot(int64_t k, int64_t n, int64_t padded_n) {
  constexpr int kTileK = Act8 ? 32 : 16, kTileN = Act8 ? 32 : 64;
  const int64_t tile = k / kTileK * (padded_n / kTileN) + n / kTileN;
  const int r = static_cast<int>(k % kTileK), c = static_cast<int>(n % kTileN);
  const int w = Act8 ? c / 8 : c / 16;
  const int lane = Act8 ? 4 * (c % 8) + r % 16 / 4 : 4 * (c % 8) + r % 8 / 2;
  const int h = Act8 ? r / 16 : c % 16 / 8;       // v / 4
  const int i = Act8 ? r % 4 : r / 8 * 2 + r % 2; // v % 4
  const int64_t start = tile * (1024 * Bits / 32);
  if constexpr (Bits == 8) {
    constexpr int kByte16[4] = {0, 2, 1, 3};
    return {start + 8 * lane + 2 * w + h, 8 * (Act8 ? i : kByte16[i])};
  } else {
    const int v = 4 * h + i;
    return {start + 4 * lane + w, 4 * (Act8 ? 2 * i + h : (v % 2 ? 4 + v / 2 : v / 2))};
  }
}

// Old column of new column p of a scale row: blocks of 64 for grouped scales with 16-bit activations, else of 32.
constexpr int64_t scale_source(int64_t p, bool blocks_of_64) {
  if (blocks_of_64) return p / 64 * 64 + 8 * (p % 8) + p % 64 / 8;
  return p / 32 * 32 + 2 * (p % 32 / 8) + 8 * (p % 8 / 2) + p % 2;
}

// Whether scales of this shape take the 64 block.
constexpr bool scales_in_64(int64_t k, int64_t group_k, bool act8) { return group_k > 0 && group_k < k && !act8; }

// fp4 scale bytes are further exchanged inside each four for 16-bit activations.
constexpr int64_t fp4_scale_source(int64_t p, bool blocks_of_64, bool act8) {
  constexpr int kOrder[4] = {0, 2, 1, 3};
  return scale_source(act8 ? p : p / 4 * 4 + kOrder[p % 4], blocks_of_64);
}

// Old column of position p of a packed zero-point row.
constexpr int64_t zero_source(int64_t p, int bits, bool act8) {
  constexpr int kOrder4[8] = {0, 2, 4, 6, 1, 3, 5, 7}, kOrder8[4] = {0, 2, 1, 3};
  if (!act8) p = bits == 4 ? p / 8 * 8 + kOrder4[p % 8] : p / 4 * 4 + kOrder8[p % 4];
  return scale_source(p, true);
}

// The code of a 4-bit weight that meets e4m3 activations: c - z for c >= z, else 15 - c; z is 8 without zero points.
constexpr uint32_t e4m3_code(uint32_t code, uint32_t zero) { return code >= zero ? code - zero : 15 - code; }
constexpr uint32_t e4m3_code_inverse(uint32_t mapped, uint32_t zero) {
  return mapped + zero <= 15 ? mapped + zero : 15 - mapped;
}

// An NVFP4 block scale (e4m3, not negative) as the unsigned S0E5M3 byte that the kernels shift into f16, and back.
constexpr uint8_t nvfp4_scale_byte(float scale) { return static_cast<uint8_t>(f32_to_f16(scale * 128.0f) >> 7); }
constexpr float nvfp4_scale_from_byte(uint8_t byte) {
  return f16_to_f32(static_cast<uint16_t>(byte << 7)) * (1.0f / 128.0f);
}

// What kernels with 16-bit activations of a type multiply in, because their in-register conversion of fp8 and fp4 codes
// moves exponent bits without changing the bias. fp8 scales are stored with their factor (see marlin_layout.cpp), the
// NVFP4 global scale without.
constexpr float fp8_scale_factor(spf_scalar_type act) { return act == SPF_F16 ? 0x1p8f : 0x1p120f; }
constexpr float nvfp4_global_factor(spf_scalar_type act) { return act == SPF_F16 ? 0x1p7f : 0x1p119f; }

// qweight i32 [K/pf, N] (pf = 32 / bits consecutive k a word) -> i32 [K/16, N*16/pf]. perm [K], or nullptr: row r of
// the result is row perm[r]. bits 4 or 8. K % 16 == 0 (act8: 32), N % 64 == 0; act8 takes no perm. The result is zeroed
// and written whole. SPF_INVALID_ARGUMENT or SPF_INVALID_SHAPE otherwise.
spf_status gptq_repack(const int32_t* qweight, const int32_t* perm, int64_t k, int64_t n, int bits, bool act8,
                       int32_t* out);

// qweight i32 [K, N/pf] in AWQ's interleaved order -> the same.
spf_status awq_repack(const int32_t* qweight, int64_t k, int64_t n, int bits, bool act8, int32_t* out);

// s [groups, N], elements of 1, 2 or 4 bytes -> the same shape, columns permuted. N % 64 == 0.
spf_status permute_scales(const void* scales, int64_t groups, int64_t n, int element_bytes, bool blocks_of_64,
                          void* out);

// bias [N] of 2- or 4-byte elements: the 32 block. N % 64 == 0.
spf_status permute_bias(const void* bias, int64_t n, int element_bytes, void* out);

// codes i32 [groups, N] -> i32 [groups, N/pf].
spf_status pack_zero_points(const int32_t* codes, int64_t groups, int64_t n, int bits, bool act8, int32_t* out);

// qzeros i32 [groups, N/pf] in AWQ's order -> the same as pack_zero_points().
spf_status awq_zero_points(const int32_t* qzeros, int64_t groups, int64_t n, int bits, bool act8, int32_t* out);

// Scales for s8 activations: out = round(s / max(s) * 4096), the quotient rounded to f16; the returned factor max(s) /
// 4096 goes to the activation scales. Elementwise; s is f16, permuted or not. factor is 0 if all scales are 0.
float int8_activation_scales(const uint16_t* scales, int64_t count, int16_t* out);

// Every nibble of qweight through e4m3_code() with z = 8, or with the zero points qzeros [groups, words] of the same
// packed order; qweight is [rows, words] and row r belongs to group r / (rows / groups).
spf_status int4_fp8_preprocess(const int32_t* qweight, int64_t rows, int64_t words, const int32_t* qzeros,
                               int64_t groups, int32_t* out);

// NVFP4 block scales, f16 values of e4m3 numbers [groups, N] -> bytes [groups, N].
spf_status nvfp4_scales(const uint16_t* scales, int64_t groups, int64_t n, uint8_t* out);

// MXFP4 scales, e8m0 [groups, N] -> bytes. act8: exponent + 6, at most 249, 32 block, not exchanged in fours.
spf_status mxfp4_scales(const uint8_t* scales, int64_t groups, int64_t n, bool act8, uint8_t* out);

} // namespace marlin
} // namespace spf::pack
