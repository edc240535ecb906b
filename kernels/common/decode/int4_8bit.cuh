// Packed 4-bit integers in the order of the layouts marlin_a8 and marlin_a8_e4m3 (src/pack/marlin.hpp), for tensor
// cores that take 8-bit numbers. A word holds eight values of K of a channel, v0..v3 in the low nibbles of its bytes
// and v4..v7 in the high ones, which are the two registers of an A fragment (wgmma8.cuh) that this channel needs.
#pragma once

#include <cstdint>

#include "spearfish/types.h"

namespace spf::cuda {

// kUnit: what a number has to be multiplied by to be the weight's code less 8.
template <spf_scalar_type X>
struct Int4To8;

// The code less 8 moves to the high half of its byte, where its sign is: three instructions a word.
template <>
struct Int4To8<SPF_S8> {
  static constexpr float kUnit = 1.0f / 16;
  static __device__ __forceinline__ void decode(uint32_t word, uint32_t& low, uint32_t& high) {
    low = (word << 4 & 0xf0f0f0f0u) ^ 0x80808080u;
    high = (word & 0xf0f0f0f0u) ^ 0x80808080u;
  }
};

// A nibble is a sign s and three bits m: m, or -(m + 1) with s. Bits 0 to 3 of an e4m3 are linear (subnormal numbers
// and the first binade), in units of 2^-9, so the number's byte is m + s * 0x81. The layout's scales hold the factor
// 512.
template <>
struct Int4To8<SPF_E4M3> {
  static constexpr float kUnit = 1.0f;
  static __device__ __forceinline__ void decode(uint32_t word, uint32_t& low, uint32_t& high) {
    low = (word >> 3 & 0x01010101u) * (0x81 - 8) + (word & 0x0f0f0f0fu);
    high = (word >> 7 & 0x01010101u) * (0x81 - 8) + (word >> 4 & 0x0f0f0f0fu);
  }
};

} // namespace spf::cuda
