// Four-bit codes in Marlin order -> 16-bit floating point, without a conversion: a code dropped into the low mantissa
// bits of a power of two P reads as P + code, exactly. What multiplies it owes P * sum(x); the caller pays that once a
// group.
#pragma once

#include <cstdint>

#include "spearfish/types.h"

namespace spf::cuda {

template <spf_scalar_type T>
struct CodeOffset; // P, and its bits twice in a word

template <>
struct CodeOffset<SPF_F16> {
  static constexpr float kValue = 1024.0f;
  static constexpr uint32_t kBits = 0x64006400u;
};

template <>
struct CodeOffset<SPF_BF16> {
  static constexpr float kValue = 128.0f;
  static constexpr uint32_t kBits = 0x43004300u;
};

// Nibbles 0 and 4 of `word` as the pair (P + nibble0, P + nibble4).
template <spf_scalar_type T>
__device__ __forceinline__ uint32_t offset_codes(uint32_t word) {
#ifdef SPF_EMULATED
  return (word & 0x000f000fu) | CodeOffset<T>::kBits;
#else
  uint32_t pair;
  // (word & mask) | P
  asm("lop3.b32 %0, %1, %2, %3, 0xea;" : "=r"(pair) : "r"(word), "n"(0x000f000fu), "n"(CodeOffset<T>::kBits));
  return pair;
#endif
}

} // namespace spf::cuda
