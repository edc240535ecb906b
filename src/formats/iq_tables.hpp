// Grid points that the GGUF IQ formats index: facts of the format, as compact data.
//
// A point is 8 values (IQ3: 4), value i in bits [bits * i, +bits) as an index into the levels:
//   IQ2  2 bits, levels 8 25 43
//   IQ3_XXS  3 bits, levels 4 12 20 28 36 44 52 62
//   IQ3_S    3 bits, levels 1 3 5 7 9 11 13 15
//   IQ1  2 bits, levels -1 0 1
#pragma once

#include <cstdint>

namespace spf::formats {

extern const uint16_t kIq2XxsGrid[256];
extern const uint16_t kIq2XsGrid[512];
extern const uint16_t kIq2SGrid[1024];
extern const uint16_t kIq3XxsGrid[256];
extern const uint16_t kIq3SGrid[512];
extern const uint16_t kIq1Grid[2048];

} // namespace spf::formats
