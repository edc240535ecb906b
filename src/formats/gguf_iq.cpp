// GGUF IQ formats, decode only: groups of 8 (IQ3: 4) values are points of a fixed grid, or single values are entries of
// a fixed list. Every value is scale * (an integer of at most 8 bits), so the codes here are s8 and the integers
// themselves. Bytes of a block (d is f16 unless said otherwise):
//
//   IQ2_XXS  0 d | 2 {idx[4], u32 w}[8]                      IQ1_S   0 d | 2 qs[32] | 34 qh u16[8]
//   IQ2_XS   0 d | 2 q u16[32] | 66 s[8]                     IQ1_M   0 qs[32] | 32 qh[16] | 48 s u16[4]
//   IQ2_S    0 d | 2 qs[32] | 34 sg[32] | 66 qh[8] | 74 s[8] IQ4_NL  0 d | 2 qs[16]
//   IQ3_XXS  0 d | 2 qs[64] | 66 u32 w[8]                    IQ4_XS  0 d | 2 sh u16 | 4 sl[4] | 8 qs[128]
//   IQ3_S    0 d | 2 qs[64] | 66 qh[8] | 74 sg[32] | 106 s[4]
//
// With i = k / 32, l = k % 32 / 8, p = the number of the grid point in its block:
//
//            scale                                    grid index                        signs
//   IQ2_XXS  d (1/2 + (w >> 28)) / 4                  idx[l]                            7 bits of w >> 7l
//   IQ2_XS   d (1/2 + nibble l/2 of s[i]) / 4         q[p] & 511                        7 bits q[p] >> 9
//   IQ2_S    as IQ2_XS                                qs[p] | 2 bits qh[i] >> 2l        sg[p]
//   IQ3_XXS  d (1/2 + (w[i] >> 28)) / 2               qs[p]                             7 bits of w[i] >> 7l
//   IQ3_S    d (1 + 2 (nibble i%2 of s[i/2]))         qs[p] | bit p%8 of qh[i]          sg[p/2]
//   IQ1_S    d (1 + 2 (3 bits qh[i] >> 12))           qs[p] | 3 bits qh[i] >> 3l        bit 15 of qh[i]: minus 1/8
//   IQ1_M    d (1 + 2 (3 bits of s[i/2] >> 6 (i%2) + 3 (l/2)))
//                                                     qs[p] | low 3 bits of nibble      top bit of nibble: minus 1/8
//   IQ4_NL   d                                        list entry: nibble k/16 of qs[k%16]
//   IQ4_XS   d (6 bits - 32)                          list entry: nibble k%32/16 of qs[16i + k%16]
//
// The further index bits stand above the eight of qs. Seven sign bits stand for eight signs of even parity. IQ1 values
// are grid + 1/8 or grid - 1/8, that is (8 grid +- 1) / 8; the nibble of IQ1_M is nibble p%2 of qh[p/2], and its d is
// the top nibbles of the four s words, lowest first. The six bits of IQ4_XS: nibble i%2 of sl[i/2], then 2 bits of sh
// >> 2i.
#include <bit>

#include "formats/gguf.hpp"
#include "formats/iq_tables.hpp"

namespace spf::formats {
namespace {

constexpr int8_t kLevels2[4] = {8, 25, 43, 0};
constexpr int8_t kLevels3Xxs[8] = {4, 12, 20, 28, 36, 44, 52, 62};
constexpr int8_t kLevels3S[8] = {1, 3, 5, 7, 9, 11, 13, 15};
constexpr int8_t kList4[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

// The eighth sign makes the number of minus signs even.
constexpr uint32_t eight_signs(uint32_t seven) {
  return seven | (static_cast<uint32_t>(std::popcount(seven) & 1) << 7);
}

void put_point(uint8_t* codes, int count, uint32_t point, int bits, const int8_t* levels, uint32_t signs) {
  for (int v = 0; v < count; ++v) {
    const int level = levels[(point >> (bits * v)) & ((1u << bits) - 1)];
    codes[v] = static_cast<uint8_t>((signs >> v) & 1 ? -level : level);
  }
}

void decode_iq2_xxs(const uint8_t* b, uint8_t* codes, float* scales, float*) {
  const float d = read_f16(b);
  for (int i = 0; i < 8; ++i) {
    const uint8_t* idx = b + 2 + 8 * i;
    const uint32_t w = read_u32(idx + 4);
    scales[i] = d * (0.5f + static_cast<float>(w >> 28)) * 0.25f;
    for (int l = 0; l < 4; ++l)
      put_point(codes + 32 * i + 8 * l, 8, kIq2XxsGrid[idx[l]], 2, kLevels2, eight_signs((w >> (7 * l)) & 127));
  }
}

void put_iq2_scales(float d, const uint8_t* s, float* scales) {
  for (int g = 0; g < 16; ++g) scales[g] = d * (0.5f + static_cast<float>((s[g / 2] >> (4 * (g % 2))) & 15)) * 0.25f;
}

void decode_iq2_xs(const uint8_t* b, uint8_t* codes, float* scales, float*) {
  put_iq2_scales(read_f16(b), b + 66, scales);
  for (int p = 0; p < 32; ++p) {
    const uint32_t q = read_u16(b + 2 + 2 * p);
    put_point(codes + 8 * p, 8, kIq2XsGrid[q & 511], 2, kLevels2, eight_signs(q >> 9));
  }
}

void decode_iq2_s(const uint8_t* b, uint8_t* codes, float* scales, float*) {
  put_iq2_scales(read_f16(b), b + 74, scales);
  for (int p = 0; p < 32; ++p) {
    const uint32_t high = (b[66 + p / 4] >> (2 * (p % 4))) & 3;
    put_point(codes + 8 * p, 8, kIq2SGrid[b[2 + p] | (high << 8)], 2, kLevels2, b[34 + p]);
  }
}

void decode_iq3_xxs(const uint8_t* b, uint8_t* codes, float* scales, float*) {
  const float d = read_f16(b);
  for (int i = 0; i < 8; ++i) {
    const uint32_t w = read_u32(b + 66 + 4 * i);
    scales[i] = d * (0.5f + static_cast<float>(w >> 28)) * 0.5f;
    for (int p = 0; p < 8; ++p) {
      const uint32_t signs = eight_signs((w >> (7 * (p / 2))) & 127) >> (4 * (p % 2));
      put_point(codes + 32 * i + 4 * p, 4, kIq3XxsGrid[b[2 + 8 * i + p]], 3, kLevels3Xxs, signs);
    }
  }
}

void decode_iq3_s(const uint8_t* b, uint8_t* codes, float* scales, float*) {
  const float d = read_f16(b);
  for (int i = 0; i < 8; ++i) {
    scales[i] = d * static_cast<float>(1 + 2 * ((b[106 + i / 2] >> (4 * (i % 2))) & 15));
    for (int p = 0; p < 8; ++p) {
      const uint32_t high = (b[66 + i] >> p) & 1;
      const uint32_t signs = static_cast<uint32_t>(b[74 + 4 * i + p / 2] >> (4 * (p % 2)));
      put_point(codes + 32 * i + 4 * p, 4, kIq3SGrid[b[2 + 8 * i + p] | (high << 8)], 3, kLevels3S, signs);
    }
  }
}

// Eight values 8 * grid +- 1.
void put_iq1_point(uint8_t* codes, uint32_t index, bool minus) {
  for (int v = 0; v < 8; ++v) {
    const int grid = static_cast<int>((kIq1Grid[index] >> (2 * v)) & 3) - 1;
    codes[v] = static_cast<uint8_t>(8 * grid + (minus ? -1 : 1));
  }
}

void decode_iq1_s(const uint8_t* b, uint8_t* codes, float* scales, float*) {
  const float d = read_f16(b);
  for (int i = 0; i < 8; ++i) {
    const uint32_t qh = read_u16(b + 34 + 2 * i);
    scales[i] = d * static_cast<float>(1 + 2 * ((qh >> 12) & 7)) * 0.125f;
    for (int l = 0; l < 4; ++l)
      put_iq1_point(codes + 32 * i + 8 * l, b[2 + 4 * i + l] | (((qh >> (3 * l)) & 7) << 8), (qh & 0x8000) != 0);
  }
}

void decode_iq1_m(const uint8_t* b, uint8_t* codes, float* scales, float*) {
  uint32_t s[4], d_code = 0;
  for (int i = 0; i < 4; ++i) {
    s[i] = read_u16(b + 48 + 2 * i);
    d_code |= (s[i] >> 12) << (4 * i);
  }
  const float d = f16_to_f32(static_cast<uint16_t>(d_code));
  for (int g = 0; g < 16; ++g) // groups of 16: i = g / 2, l / 2 = g % 2
    scales[g] = d * static_cast<float>(1 + 2 * ((s[g / 4] >> (6 * (g / 2 % 2) + 3 * (g % 2))) & 7)) * 0.125f;
  for (int p = 0; p < 32; ++p) {
    const uint32_t nibble = (b[32 + p / 2] >> (4 * (p % 2))) & 15;
    put_iq1_point(codes + 8 * p, b[p] | ((nibble & 7) << 8), (nibble & 8) != 0);
  }
}

void decode_list4(const uint8_t* qs, uint8_t* codes) {
  for (int j = 0; j < 16; ++j) {
    codes[j] = static_cast<uint8_t>(kList4[qs[j] & 15]);
    codes[j + 16] = static_cast<uint8_t>(kList4[qs[j] >> 4]);
  }
}

void decode_iq4_nl(const uint8_t* b, uint8_t* codes, float* scales, float*) {
  scales[0] = read_f16(b);
  decode_list4(b + 2, codes);
}

void decode_iq4_xs(const uint8_t* b, uint8_t* codes, float* scales, float*) {
  const float d = read_f16(b);
  const uint32_t high = read_u16(b + 2);
  for (int i = 0; i < 8; ++i) {
    const int low = (b[4 + i / 2] >> (4 * (i % 2))) & 15;
    scales[i] = d * static_cast<float>((low | static_cast<int>((high >> (2 * i)) & 3) << 4) - 32);
    decode_list4(b + 8 + 16 * i, codes + 32 * i);
  }
}

constexpr BlockFormat kBlockIq2Xxs = {256, 66, 32, decode_iq2_xxs, nullptr};
constexpr BlockFormat kBlockIq2Xs = {256, 74, 16, decode_iq2_xs, nullptr};
constexpr BlockFormat kBlockIq2S = {256, 82, 16, decode_iq2_s, nullptr};
constexpr BlockFormat kBlockIq3Xxs = {256, 98, 32, decode_iq3_xxs, nullptr};
constexpr BlockFormat kBlockIq3S = {256, 110, 32, decode_iq3_s, nullptr};
constexpr BlockFormat kBlockIq1S = {256, 50, 32, decode_iq1_s, nullptr};
constexpr BlockFormat kBlockIq1M = {256, 56, 16, decode_iq1_m, nullptr};
constexpr BlockFormat kBlockIq4Nl = {32, 18, 32, decode_iq4_nl, nullptr};
constexpr BlockFormat kBlockIq4Xs = {256, 136, 32, decode_iq4_xs, nullptr};

template <int Values, int Bytes, int Group>
constexpr Format iq(spf_format id, const char* name, const BlockFormat* block) {
  return gguf_format<SPF_S8, SPF_ZERO_NONE, Values, Bytes, Group>(id, name, block);
}

} // namespace

const Format kIq2Xxs = iq<256, 66, 32>(SPF_FORMAT_IQ2_XXS, "iq2_xxs", &kBlockIq2Xxs);
const Format kIq2Xs = iq<256, 74, 16>(SPF_FORMAT_IQ2_XS, "iq2_xs", &kBlockIq2Xs);
const Format kIq2S = iq<256, 82, 16>(SPF_FORMAT_IQ2_S, "iq2_s", &kBlockIq2S);
const Format kIq3Xxs = iq<256, 98, 32>(SPF_FORMAT_IQ3_XXS, "iq3_xxs", &kBlockIq3Xxs);
const Format kIq3S = iq<256, 110, 32>(SPF_FORMAT_IQ3_S, "iq3_s", &kBlockIq3S);
const Format kIq1S = iq<256, 50, 32>(SPF_FORMAT_IQ1_S, "iq1_s", &kBlockIq1S);
const Format kIq1M = iq<256, 56, 16>(SPF_FORMAT_IQ1_M, "iq1_m", &kBlockIq1M);
const Format kIq4Nl = iq<32, 18, 32>(SPF_FORMAT_IQ4_NL, "iq4_nl", &kBlockIq4Nl);
const Format kIq4Xs = iq<256, 136, 32>(SPF_FORMAT_IQ4_XS, "iq4_xs", &kBlockIq4Xs);

} // namespace spf::formats
