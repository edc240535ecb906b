// The packed layout "cpu_n16": one order of bytes for every CPU kernel, from the portable loop to AMX.
//
// W[N,K] is cut into blocks of 16 output features ("n16 blocks"), each holding all of K. Inside a block codes lie in
// the order in which a dot product reads them, 16 features side by side, so that one 64-byte vector, two 32-byte
// vectors or one row of an AMX tile is a run of consecutive bytes:
//   4-bit integers   u32[k/8][16]      one word holds 8 consecutive k of one feature: k even in nibble k/2, k odd in
//                                      nibble 4 + k/2. Nibbles i and i+4 are then one (k, k+1) pair, and the low
//                                      nibbles of the four bytes are k = 0,4,1,5, the high ones k = 2,6,3,7.
//   8-bit integers   u8[k/4][16][4]
//   8-bit floats     u8[k/2][16][2]
//   16-bit floats    u16[k/2][16][2]
//   f32              f32[k][16]
// Integers are stored unsigned: value = scale * (table[code] - zero), the table being the identity for all but e2m1.
//
// K is cut into segments of at most 128 values that lie in one scale group; an integer kernel keeps exact 32-bit sums
// inside a segment. Where groups are not runs of a multiple of 16 columns (act order, odd group sizes) K is permuted so
// that they are: each group is padded to a multiple of the unit, and a table says which column stands at a position.
#pragma once

#include <cstddef>
#include <cstdint>

#include "spearfish/quant.h"

namespace spf {

inline constexpr const char* kCpuLayoutName = "cpu_n16";
inline constexpr uint32_t kCpuLayoutVersion = 1;
inline constexpr int kCpuBlockN = 16;      // features of a block
inline constexpr int kCpuMaxSegment = 128; // positions of a segment, at most

enum class CpuCodes : uint8_t { kNibble, kByte, kE4M3, kE5M2, kBF16, kF16, kF32 };

// Everything about the bytes of a cpu_n16 weight that follows from scheme, n and k.
struct CpuPacked {
  CpuCodes codes = CpuCodes::kF32;
  bool integer = false;                       // nibble or byte
  bool has_table = false;                     // nibble codes go through `table`
  uint8_t table[16] = {};                     // unsigned integer of a nibble code
  int32_t zero = 0;                           // zero point of every unsigned integer, besides stored zeros
  float scale_factor = 1;                     // stored scale = scale * scale_factor (a power of two)
  spf_zero_point_kind zeros = SPF_ZERO_NONE;  // stored per group: i16 zero points, or minima in scale_type
  spf_scalar_type scale_type = SPF_TYPE_NONE; // of stored scales: f32, f16, bf16; NONE = no scales
  bool has_global = false;
  bool gathered = false; // positions are a permutation of columns

  int64_t n = 0, k = 0;
  int64_t blocks_n = 0;           // n16 blocks
  int64_t padded_k = 0;           // positions of a block that have room
  int32_t unit = 32;              // positions: every segment starts at a multiple of this, 16 or 32
  int32_t segment_k = 128;        // positions of a segment (the last may have fewer); gathered: at most this
  int64_t segments = 0;           // gathered: room for this many, the weight says how many are used
  int64_t segments_per_scale = 1; // consecutive segments that share a row of scales; gathered: 1
  int64_t scale_rows = 0;         // rows of 16 scales in an n16 block

  size_t block_code_bytes = 0;                                              // codes of one n16 block
  size_t scale_row_bytes = 0;                                               // 16 scales
  size_t code_bytes = 0, scale_bytes = 0, zero_bytes = 0, gather_bytes = 0; // of whole sections
};

// The gather section: this header, then i32 segment_start[segments + 1], i32 segment_scale[segments] (row of scales),
// i32 column[padded_k] (column at a position, -1 for padding).
struct CpuGatherHeader {
  int32_t segments;  // used
  int32_t positions; // used; segment_start[segments]
  int32_t reserved[14];
};

// Whether cpu_n16 can hold a scheme; if not, *why is one clause. Pure.
bool cpu_packed_accepts(const spf_quant_scheme& scheme, const char** why);

// The geometry of an accepted scheme. Pure.
CpuPacked cpu_packed_layout(const spf_quant_scheme& scheme, int64_t n, int64_t k);

// Nibble of column offset i (0..7) in its word.
constexpr int cpu_nibble(int i) { return (i & 1) * 4 + (i >> 1); }

// A segment of K positions.
struct CpuSegment {
  int64_t start;  // first position
  int32_t length; // positions, a multiple of CpuPacked::unit
  int64_t scale_row;
};

// A packed weight opened for reading: geometry and section pointers.
struct CpuWeight {
  CpuPacked layout;
  const uint8_t* codes = nullptr;
  const uint8_t* scales = nullptr;        // [blocks_n][scale_rows][16] of scale_type
  const uint8_t* zeros = nullptr;         // [blocks_n][scale_rows][16] of i16 or scale_type
  const int32_t* segment_start = nullptr; // gathered only
  const int32_t* segment_scale = nullptr;
  const int32_t* column = nullptr;
  int64_t segments = 0;  // used
  int64_t positions = 0; // used
  float global_scale = 1;
};

// The i-th of weight.segments. Internal linkage, because files compiled for one instruction set include this header: a
// shared inline definition of theirs could be the one that the linker keeps for everybody.
[[maybe_unused]] static inline CpuSegment cpu_segment(const CpuWeight& w, int64_t i) {
  if (w.layout.gathered) return {w.segment_start[i], w.segment_start[i + 1] - w.segment_start[i], w.segment_scale[i]};
  const int64_t start = i * w.layout.segment_k, rest = w.layout.padded_k - start;
  return {start, static_cast<int32_t>(rest < w.layout.segment_k ? rest : w.layout.segment_k),
          i / w.layout.segments_per_scale};
}

// Opens a weight whose header passed check_packed().
CpuWeight cpu_packed_open(const spf_packed_weight& packed);

} // namespace spf
