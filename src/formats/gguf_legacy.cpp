// GGUF formats with blocks of 32 values: Q4_0, Q4_1, Q5_0, Q5_1, Q8_0.
//
//          bytes                                                    value
//   Q4_0   0 d | 2 qs[16]                                           d * (q - 8)
//   Q4_1   0 d | 2 m | 4 qs[16]                                     d * q + m
//   Q5_0   0 d | 2 qh u32 | 6 qs[16]                                d * (q - 16)
//   Q5_1   0 d | 2 m | 4 qh u32 | 8 qs[16]                          d * q + m
//   Q8_0   0 d | 2 q s8[32]                                         d * q
//
// qs[j] holds the low four bits of value j in its low nibble and of value j + 16 in its high one; bit j of qh is the
// fifth bit of value j. As codes: u4b8, u4, s8, u8, s8; the minimum of the _1 formats is -m.
#include <cmath>

#include "formats/fit.hpp"
#include "formats/gguf.hpp"

namespace spf::formats {
namespace {

constexpr int kValues = 32;

void read_nibbles(const uint8_t* qs, uint8_t* codes) {
  for (int j = 0; j < 16; ++j) {
    codes[j] = qs[j] & 15;
    codes[j + 16] = qs[j] >> 4;
  }
}

void write_nibbles(const int* q, uint8_t* qs) {
  for (int j = 0; j < 16; ++j) qs[j] = static_cast<uint8_t>((q[j] & 15) | ((q[j + 16] & 15) << 4));
}

void read_fifth_bits(const uint8_t* qh, uint8_t* codes) {
  const uint32_t bits = read_u32(qh);
  for (int j = 0; j < kValues; ++j) codes[j] = static_cast<uint8_t>(codes[j] | (((bits >> j) & 1) << 4));
}

void write_fifth_bits(const int* q, uint8_t* qh) {
  uint32_t bits = 0;
  for (int j = 0; j < kValues; ++j) bits |= static_cast<uint32_t>((q[j] >> 4) & 1) << j;
  std::memcpy(qh, &bits, 4);
}

void decode_q4_0(const uint8_t* b, uint8_t* codes, float* scales, float*) {
  scales[0] = read_f16(b);
  read_nibbles(b + 2, codes);
}

void decode_q4_1(const uint8_t* b, uint8_t* codes, float* scales, float* minima) {
  scales[0] = read_f16(b);
  minima[0] = -read_f16(b + 2);
  read_nibbles(b + 4, codes);
}

void decode_q5_0(const uint8_t* b, uint8_t* codes, float* scales, float*) {
  scales[0] = read_f16(b);
  read_nibbles(b + 6, codes);
  read_fifth_bits(b + 2, codes);
  for (int j = 0; j < kValues; ++j) codes[j] = static_cast<uint8_t>(codes[j] - 16);
}

void decode_q5_1(const uint8_t* b, uint8_t* codes, float* scales, float* minima) {
  scales[0] = read_f16(b);
  minima[0] = -read_f16(b + 2);
  read_nibbles(b + 8, codes);
  read_fifth_bits(b + 4, codes);
}

void decode_q8_0(const uint8_t* b, uint8_t* codes, float* scales, float*) {
  scales[0] = read_f16(b);
  std::memcpy(codes, b + 2, kValues);
}

// The value of largest magnitude lands on the lowest code, -half, so that all 2 * half codes are used.
float signed_scale(const float* x, int half) {
  float peak = 0;
  for (int j = 0; j < kValues; ++j)
    if (std::fabs(x[j]) > std::fabs(peak)) peak = x[j];
  return round_to_f16(peak / static_cast<float>(-half));
}

// Scale and minimum that reach from the smallest to the largest value in `top` steps.
struct Affine {
  float d, m;
};
Affine affine(const float* x, int top) {
  float lo = x[0], hi = x[0];
  for (int j = 1; j < kValues; ++j) {
    lo = std::fmin(lo, x[j]);
    hi = std::fmax(hi, x[j]);
  }
  return {round_to_f16((hi - lo) / static_cast<float>(top)), round_to_f16(lo)};
}

void encode_q4_0(const float* x, uint8_t* b) {
  const float d = signed_scale(x, 8);
  int q[kValues];
  for (int j = 0; j < kValues; ++j) q[j] = nearest_code(x[j], d, -8, 7) + 8;
  write_f16(b, d);
  write_nibbles(q, b + 2);
}

void encode_q4_1(const float* x, uint8_t* b) {
  const Affine a = affine(x, 15);
  int q[kValues];
  for (int j = 0; j < kValues; ++j) q[j] = nearest_code(x[j] - a.m, a.d, 0, 15);
  write_f16(b, a.d);
  write_f16(b + 2, a.m);
  write_nibbles(q, b + 4);
}

void encode_q5_0(const float* x, uint8_t* b) {
  const float d = signed_scale(x, 16);
  int q[kValues];
  for (int j = 0; j < kValues; ++j) q[j] = nearest_code(x[j], d, -16, 15) + 16;
  write_f16(b, d);
  write_fifth_bits(q, b + 2);
  write_nibbles(q, b + 6);
}

void encode_q5_1(const float* x, uint8_t* b) {
  const Affine a = affine(x, 31);
  int q[kValues];
  for (int j = 0; j < kValues; ++j) q[j] = nearest_code(x[j] - a.m, a.d, 0, 31);
  write_f16(b, a.d);
  write_f16(b + 2, a.m);
  write_fifth_bits(q, b + 4);
  write_nibbles(q, b + 8);
}

void encode_q8_0(const float* x, uint8_t* b) {
  float peak = 0;
  for (int j = 0; j < kValues; ++j) peak = std::fmax(peak, std::fabs(x[j]));
  const float d = round_to_f16(peak / 127.0f);
  write_f16(b, d);
  for (int j = 0; j < kValues; ++j) b[2 + j] = static_cast<uint8_t>(nearest_code(x[j], d, -127, 127));
}

constexpr BlockFormat kBlockQ4_0 = {32, 18, 32, decode_q4_0, encode_q4_0};
constexpr BlockFormat kBlockQ4_1 = {32, 20, 32, decode_q4_1, encode_q4_1};
constexpr BlockFormat kBlockQ5_0 = {32, 22, 32, decode_q5_0, encode_q5_0};
constexpr BlockFormat kBlockQ5_1 = {32, 24, 32, decode_q5_1, encode_q5_1};
constexpr BlockFormat kBlockQ8_0 = {32, 34, 32, decode_q8_0, encode_q8_0};

} // namespace

const Format kQ4_0 = gguf_format<SPF_U4B8, SPF_ZERO_NONE, 32, 18, 32>(SPF_FORMAT_Q4_0, "q4_0", &kBlockQ4_0);
const Format kQ4_1 = gguf_format<SPF_U4, SPF_ZERO_MINIMUM, 32, 20, 32>(SPF_FORMAT_Q4_1, "q4_1", &kBlockQ4_1);
const Format kQ5_0 = gguf_format<SPF_S8, SPF_ZERO_NONE, 32, 22, 32>(SPF_FORMAT_Q5_0, "q5_0", &kBlockQ5_0);
const Format kQ5_1 = gguf_format<SPF_U8, SPF_ZERO_MINIMUM, 32, 24, 32>(SPF_FORMAT_Q5_1, "q5_1", &kBlockQ5_1);
const Format kQ8_0 = gguf_format<SPF_S8, SPF_ZERO_NONE, 32, 34, 32>(SPF_FORMAT_Q8_0, "q8_0", &kBlockQ8_0);

} // namespace spf::formats
