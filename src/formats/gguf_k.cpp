// GGUF K formats: blocks of 256 values, whose groups of 16 or 32 have small integer scales (and minima) of their own.
//
//          bytes                                                              value
//   Q2_K   0 s[16] | 16 qs[64] | 80 d | 82 dmin                               d * (s & 15) * q - dmin * (s >> 4)
//   Q3_K   0 hmask[32] | 32 qs[64] | 96 s[12] | 108 d                         d * (s6 - 32) * (q - 4)
//   Q4_K   0 d | 2 dmin | 4 s[12] | 16 qs[128]                                d * s6 * q - dmin * m6
//   Q5_K   0 d | 2 dmin | 4 s[12] | 16 qh[32] | 48 qs[128]                    d * s6 * q - dmin * m6
//   Q6_K   0 ql[128] | 128 qh[64] | 192 s s8[16] | 208 d                      d * s * (q - 32)
//
// Q2_K, Q3_K, Q6_K have groups of 16, Q4_K and Q5_K of 32. With h = k / 128, j = (k % 128) / 32, l = k % 32:
//   Q2_K   q = bits 2j.. of qs[32h + l]
//   Q3_K   q = the same two bits, plus 4 if bit 4h + j of hmask[l] is set
//   Q6_K   low four bits: nibble j/2 of ql[64h + 32 (j%2) + l]; high two: bits 2j.. of qh[32h + l]
// and with c = k / 64:
//   Q4_K   q = nibble (k % 64) / 32 of qs[32c + l]
//   Q5_K   the same, plus 16 if bit k / 32 of qh[l] is set
// Six-bit scales s6[g] (and minima m6[g]) in 12 bytes:
//   Q3_K   low four bits: nibble g/8 of s[g % 8]; high two: bits 2 (g/4).. of s[8 + g % 4]
//   Q4_K, Q5_K   g < 4: scale s[g] & 63, minimum s[g+4] & 63
//                g >= 4: low four bits: scale s[g+4] & 15, minimum s[g+4] >> 4; high two: s[g-4] >> 6, s[g] >> 6
#include <algorithm>
#include <cmath>

#include "formats/fit.hpp"
#include "formats/gguf.hpp"

namespace spf::formats {
namespace {

constexpr int kValues = 256;

// ---- bit positions, one function a format, used by decode and encode alike ------------------------------------------

struct Half {
  int h, j, l;
};
constexpr Half half_of(int k) { return {k / 128, (k % 128) / 32, k % 32}; }

void put(uint8_t* byte, int value, int mask, int shift) {
  *byte = static_cast<uint8_t>((*byte & ~(mask << shift)) | ((value & mask) << shift));
}

struct ScalePair {
  int scale, minimum;
};

ScalePair six_bit_pair(const uint8_t* s, int g) {
  if (g < 4) return {s[g] & 63, s[g + 4] & 63};
  return {(s[g + 4] & 15) | (s[g - 4] >> 6 << 4), (s[g + 4] >> 4) | (s[g] >> 6 << 4)};
}

void put_six_bit_pair(uint8_t* s, int g, ScalePair v) {
  if (g < 4) {
    put(s + g, v.scale, 63, 0);
    put(s + g + 4, v.minimum, 63, 0);
  } else {
    put(s + g + 4, v.scale, 15, 0);
    put(s + g + 4, v.minimum, 15, 4);
    put(s + g - 4, v.scale >> 4, 3, 6);
    put(s + g, v.minimum >> 4, 3, 6);
  }
}

int six_bit_scale(const uint8_t* s, int g) {
  return ((s[g % 8] >> (4 * (g / 8))) & 15) | (((s[8 + g % 4] >> (2 * (g / 4))) & 3) << 4);
}

void put_six_bit_scale(uint8_t* s, int g, int v) {
  put(s + g % 8, v, 15, 4 * (g / 8));
  put(s + 8 + g % 4, v >> 4, 3, 2 * (g / 4));
}

// ---- decode
// ----------------------------------------------------------------------------------------------------------

void decode_q2_k(const uint8_t* b, uint8_t* codes, float* scales, float* minima) {
  const float d = read_f16(b + 80), dmin = read_f16(b + 82);
  for (int g = 0; g < 16; ++g) {
    scales[g] = d * static_cast<float>(b[g] & 15);
    minima[g] = dmin * static_cast<float>(b[g] >> 4);
  }
  for (int k = 0; k < kValues; ++k) {
    const auto [h, j, l] = half_of(k);
    codes[k] = (b[16 + 32 * h + l] >> (2 * j)) & 3;
  }
}

void decode_q3_k(const uint8_t* b, uint8_t* codes, float* scales, float*) {
  const float d = read_f16(b + 108);
  for (int g = 0; g < 16; ++g) scales[g] = d * static_cast<float>(six_bit_scale(b + 96, g) - 32);
  for (int k = 0; k < kValues; ++k) {
    const auto [h, j, l] = half_of(k);
    const int low = (b[32 + 32 * h + l] >> (2 * j)) & 3, high = (b[l] >> (4 * h + j)) & 1;
    codes[k] = static_cast<uint8_t>(low + 4 * high + 4); // u4b8: value q - 4 is code q + 4
  }
}

void decode_q45_scales(const uint8_t* b, float* scales, float* minima) {
  const float d = read_f16(b), dmin = read_f16(b + 2);
  for (int g = 0; g < 8; ++g) {
    const ScalePair s = six_bit_pair(b + 4, g);
    scales[g] = d * static_cast<float>(s.scale);
    minima[g] = dmin * static_cast<float>(s.minimum);
  }
}

void decode_q4_k(const uint8_t* b, uint8_t* codes, float* scales, float* minima) {
  decode_q45_scales(b, scales, minima);
  for (int k = 0; k < kValues; ++k) codes[k] = (b[16 + 32 * (k / 64) + k % 32] >> (4 * (k % 64 / 32))) & 15;
}

void decode_q5_k(const uint8_t* b, uint8_t* codes, float* scales, float* minima) {
  decode_q45_scales(b, scales, minima);
  for (int k = 0; k < kValues; ++k) {
    const int low = (b[48 + 32 * (k / 64) + k % 32] >> (4 * (k % 64 / 32))) & 15,
              high = (b[16 + k % 32] >> (k / 32)) & 1;
    codes[k] = static_cast<uint8_t>(low + 16 * high);
  }
}

void decode_q6_k(const uint8_t* b, uint8_t* codes, float* scales, float*) {
  const float d = read_f16(b + 208);
  for (int g = 0; g < 16; ++g) scales[g] = d * static_cast<float>(static_cast<int8_t>(b[192 + g]));
  for (int k = 0; k < kValues; ++k) {
    const auto [h, j, l] = half_of(k);
    const int low = (b[64 * h + 32 * (j % 2) + l] >> (4 * (j / 2))) & 15, high = (b[128 + 32 * h + l] >> (2 * j)) & 3;
    codes[k] = static_cast<uint8_t>(low + 16 * high - 32);
  }
}

// ---- encode
// ----------------------------------------------------------------------------------------------------------

// Fits every group, then quantizes the groups' scales and minima themselves with one f16 step each.
struct AffineBlock {
  float d, dmin;
  ScalePair pair[16];
  int q[kValues];

  AffineBlock(const float* x, int group, int top, int scale_top) {
    ScaleMinimum fit[16];
    const int groups = kValues / group;
    float max_scale = 0, max_minimum = 0;
    for (int g = 0; g < groups; ++g) {
      fit[g] = fit_affine(x + g * group, group, top);
      max_scale = std::max(max_scale, fit[g].scale);
      max_minimum = std::max(max_minimum, fit[g].minimum);
    }
    d = round_to_f16(max_scale / static_cast<float>(scale_top));
    dmin = round_to_f16(max_minimum / static_cast<float>(scale_top));
    for (int g = 0; g < groups; ++g) {
      pair[g] = {nearest_code(fit[g].scale, d, 0, scale_top), nearest_code(fit[g].minimum, dmin, 0, scale_top)};
      const float scale = d * static_cast<float>(pair[g].scale), minimum = dmin * static_cast<float>(pair[g].minimum);
      for (int k = g * group; k < (g + 1) * group; ++k) q[k] = nearest_code(x[k] + minimum, scale, 0, top);
    }
  }
};

// The same without minima; the block's step is chosen so that the largest group scale lands on the lowest code.
struct SymmetricBlock {
  float d;
  int scale[16];
  int q[kValues];

  SymmetricBlock(const float* x, int half, int scale_half) {
    float fit[16], peak = 0;
    for (int g = 0; g < 16; ++g) {
      fit[g] = fit_symmetric(x + 16 * g, 16, half);
      if (std::fabs(fit[g]) > std::fabs(peak)) peak = fit[g];
    }
    d = round_to_f16(peak / static_cast<float>(-scale_half));
    for (int g = 0; g < 16; ++g) {
      scale[g] = nearest_code(fit[g], d, -scale_half, scale_half - 1);
      const float s = d * static_cast<float>(scale[g]);
      for (int k = 16 * g; k < 16 * g + 16; ++k) q[k] = nearest_code(x[k], s, -half, half - 1);
    }
  }
};

void encode_q2_k(const float* x, uint8_t* b) {
  const AffineBlock block(x, 16, 3, 15);
  std::memset(b, 0, 84);
  for (int g = 0; g < 16; ++g) b[g] = static_cast<uint8_t>(block.pair[g].scale | (block.pair[g].minimum << 4));
  for (int k = 0; k < kValues; ++k) {
    const auto [h, j, l] = half_of(k);
    put(b + 16 + 32 * h + l, block.q[k], 3, 2 * j);
  }
  write_f16(b + 80, block.d);
  write_f16(b + 82, block.dmin);
}

void encode_q3_k(const float* x, uint8_t* b) {
  const SymmetricBlock block(x, 4, 32);
  std::memset(b, 0, 110);
  for (int g = 0; g < 16; ++g) put_six_bit_scale(b + 96, g, block.scale[g] + 32);
  for (int k = 0; k < kValues; ++k) {
    const auto [h, j, l] = half_of(k);
    const int q = block.q[k] + 4;
    put(b + 32 + 32 * h + l, q, 3, 2 * j);
    put(b + l, q >> 2, 1, 4 * h + j);
  }
  write_f16(b + 108, block.d);
}

void encode_q45(const AffineBlock& block, uint8_t* b, uint8_t* qs) {
  write_f16(b, block.d);
  write_f16(b + 2, block.dmin);
  for (int g = 0; g < 8; ++g) put_six_bit_pair(b + 4, g, block.pair[g]);
  for (int k = 0; k < kValues; ++k) put(qs + 32 * (k / 64) + k % 32, block.q[k], 15, 4 * (k % 64 / 32));
}

void encode_q4_k(const float* x, uint8_t* b) {
  std::memset(b, 0, 144);
  encode_q45(AffineBlock(x, 32, 15, 63), b, b + 16);
}

void encode_q5_k(const float* x, uint8_t* b) {
  const AffineBlock block(x, 32, 31, 63);
  std::memset(b, 0, 176);
  encode_q45(block, b, b + 48);
  for (int k = 0; k < kValues; ++k) put(b + 16 + k % 32, block.q[k] >> 4, 1, k / 32);
}

void encode_q6_k(const float* x, uint8_t* b) {
  const SymmetricBlock block(x, 32, 128);
  std::memset(b, 0, 210);
  for (int g = 0; g < 16; ++g) b[192 + g] = static_cast<uint8_t>(block.scale[g]);
  for (int k = 0; k < kValues; ++k) {
    const auto [h, j, l] = half_of(k);
    const int q = block.q[k] + 32;
    put(b + 64 * h + 32 * (j % 2) + l, q, 15, 4 * (j / 2));
    put(b + 128 + 32 * h + l, q >> 4, 3, 2 * j);
  }
  write_f16(b + 208, block.d);
}

constexpr BlockFormat kBlockQ2_K = {256, 84, 16, decode_q2_k, encode_q2_k};
constexpr BlockFormat kBlockQ3_K = {256, 110, 16, decode_q3_k, encode_q3_k};
constexpr BlockFormat kBlockQ4_K = {256, 144, 32, decode_q4_k, encode_q4_k};
constexpr BlockFormat kBlockQ5_K = {256, 176, 32, decode_q5_k, encode_q5_k};
constexpr BlockFormat kBlockQ6_K = {256, 210, 16, decode_q6_k, encode_q6_k};

} // namespace

const Format kQ2_K = gguf_format<SPF_U4, SPF_ZERO_MINIMUM, 256, 84, 16>(SPF_FORMAT_Q2_K, "q2_k", &kBlockQ2_K);
const Format kQ3_K = gguf_format<SPF_U4B8, SPF_ZERO_NONE, 256, 110, 16>(SPF_FORMAT_Q3_K, "q3_k", &kBlockQ3_K);
const Format kQ4_K = gguf_format<SPF_U4, SPF_ZERO_MINIMUM, 256, 144, 32>(SPF_FORMAT_Q4_K, "q4_k", &kBlockQ4_K);
const Format kQ5_K = gguf_format<SPF_U8, SPF_ZERO_MINIMUM, 256, 176, 32>(SPF_FORMAT_Q5_K, "q5_k", &kBlockQ5_K);
const Format kQ6_K = gguf_format<SPF_S8, SPF_ZERO_NONE, 256, 210, 16>(SPF_FORMAT_Q6_K, "q6_k", &kBlockQ6_K);

} // namespace spf::formats
