// Written by scripts/unicode_tables.py from Unicode 14.0.0. Do not edit.
#pragma once

#include <array>
#include <cstdint>

namespace spearfish::model {

struct CodeRange {
  uint32_t first, last;
};
struct ClassRange {
  uint32_t first, last;
  uint8_t combining_class;
};
// `code` is canonically `first` followed by `second` (0: by nothing). `composes`: NFC makes it of them.
struct Decomposition {
  uint32_t code, first, second;
  bool composes;
};
extern const std::array<CodeRange, 648> kLetters;
extern const std::array<CodeRange, 134> kNumbers;
extern const std::array<ClassRange, 382> kCombiningClasses;
extern const std::array<Decomposition, 2061> kDecompositions;

} // namespace spearfish::model
