// What the bytes of a quantized weight mean: one description per checkpoint format, and a Decoder that reads any of
// them through the same few questions. Scalar code, exact, for packers and references; no kernel reads checkpoint
// bytes.
//
// Common to every format: the value of W[n,k] is
//     code * scale                     (SPF_ZERO_NONE)
//     (code - zero) * scale            (SPF_ZERO_INTEGER)
//     code * scale - minimum           (SPF_ZERO_MINIMUM)
// times the global scale if there is one, where code is the number that the stored code stands for in scheme.weight,
// and scale and zero belong to the group of column k. Each product or difference is one f32 operation, in that order.
#pragma once

#include <cstdint>
#include <cstring>
#include <span>

#include "core/scalar.hpp"
#include "spearfish/quant.h"

namespace spf::formats {

// Extents that a format's index arithmetic needs.
struct Extents {
  spf_quant_scheme scheme;
  int64_t n, k;
  int64_t groups; // groups along K: ceil(k / group_k), or 1
};
Extents extents_of(const spf_quant_scheme& scheme, int64_t n, int64_t k);

// Where one code, scale or zero lies: element (i, j) of its tensor, `shift` bits up.
struct Place {
  int64_t i, j;
  int shift;
};
using PlaceFn = Place (*)(const Extents&, int64_t n, int64_t k_or_group);

// What a view must be. rows x cols elements of `type`; an extent of 1 may be left out of the tensor's shape.
struct ViewSpec {
  spf_scalar_type type = SPF_TYPE_NONE; // NONE: the view must be absent
  int64_t rows = 0, cols = 0;
  bool dense_rows = false; // columns must follow each other in memory
};
struct ViewSpecs {
  ViewSpec codes = {}, scales = {}, zeros = {}, g_idx = {}, global_scale = {};
};

// A block format (GGUF): `values` consecutive k of one row in `bytes` bytes, split into groups of `group` values.
struct BlockFormat {
  int values;
  int bytes;
  int group;
  // codes[values]: raw codes of scheme.weight; scales, minima [values / group]. minima may be NULL for formats without.
  void (*decode)(const uint8_t* block, uint8_t* codes, float* scales, float* minima);
  // Quantizes `values` finite floats; NULL for decode-only formats.
  void (*encode)(const float* values, uint8_t* block);
};

// One checkpoint format. Exactly one of {code_place, block, neither (plain)} is set.
struct Format {
  spf_format id;
  const char* name;
  // SPF_OK, or the refusal of a scheme that this format cannot be.
  spf_status (*check_scheme)(const spf_quant_scheme&, const char* op);
  ViewSpecs (*views)(const Extents&);
  PlaceFn code_place;
  PlaceFn scale_place;
  PlaceFn zero_place;
  int zero_offset; // added to a stored zero to get the zero point
  const BlockFormat* block;
};

// Every format, in the order of the enum.
std::span<const Format* const> all_formats();
const Format* find_format(spf_format id); // nullptr if unknown

// The scheme alone: known format, types it can have, group sizes.
spf_status check_scheme(const spf_quant_scheme& scheme, const char* op);

// n and k alone: 0 to 2^31 each, at most 2^56 elements.
spf_status check_extents(int64_t n, int64_t k, const char* op);

// The whole weight: scheme, then every view (type, shape, strides, device, pointer), then the range of each g_idx.
// On SPF_OK a Decoder may be made.
spf_status check(const spf_quantized_weight& weight, const char* op);

// A two-dimensional strided array of 1-, 2- or 4-byte elements; strides in bytes.
struct Grid {
  char* data = nullptr;
  int64_t row_stride = 0, col_stride = 0;
  int bytes = 0;

  uint32_t get(int64_t i, int64_t j) const {
    uint32_t element = 0;
    std::memcpy(&element, data + i * row_stride + j * col_stride, static_cast<size_t>(bytes));
    return element;
  }
  void set(int64_t i, int64_t j, uint32_t element) const {
    std::memcpy(data + i * row_stride + j * col_stride, &element, static_cast<size_t>(bytes));
  }
};

// The views of a weight as arrays.
struct Grids {
  Grid codes, scales, zeros, g_idx, global_scale; // data is nullptr where absent or empty
};

// Checks every view against what the format wants and fills in the arrays. The scheme and extents have been checked.
spf_status bind(const spf_quantized_weight& weight, const char* op, Grids* grids);

// Reads a weight that passed check(). Borrows the weight's memory, copies the struct. Cheap to make, safe to share
// between threads.
class Decoder {
 public:
  explicit Decoder(const spf_quantized_weight& weight);

  const spf_quantized_weight& weight() const { return weight_; }
  const spf_quant_scheme& scheme() const { return weight_.scheme; }
  int64_t n() const { return weight_.n; }
  int64_t k() const { return weight_.k; }
  int64_t groups() const { return extents_.groups; }
  bool is_plain() const { return weight_.scheme.format == SPF_FORMAT_PLAIN; }

  // Group of column k: g_idx[k] with act order, else k / group_k.
  int64_t group(int64_t k) const {
    if (grids_.g_idx.data != nullptr) return static_cast<int32_t>(grids_.g_idx.get(k, 0));
    return weight_.scheme.group_k > 0 ? k / weight_.scheme.group_k : 0;
  }

  // Raw code of scheme.weight in the low bits (plain: the 16- or 32-bit pattern of the value).
  uint32_t code(int64_t n, int64_t k) const;
  // The number it stands for: exact in f32 for every type of up to 16 bits.
  float code_value(int64_t n, int64_t k) const { return static_cast<float>(decode(scheme().weight, code(n, k))); }
  // Scale of row n, group g; 1 for plain weights. Exact.
  float scale(int64_t n, int64_t g) const;
  // Zero point (an integer) or minimum of row n, group g; 0 for SPF_ZERO_NONE.
  float zero(int64_t n, int64_t g) const;
  float global_scale() const { return global_scale_; }

  // codes[k]: raw codes of row n, for types of up to 8 bits (not plain).
  void codes_row(int64_t n, uint8_t* codes) const;
  // scales[groups], zeros[groups] of row n. zeros may be NULL.
  void scales_row(int64_t n, float* scales, float* zeros) const;
  // values[k]: row n of W.
  void dequantize_row(int64_t n, float* values) const;

 private:
  void decode_block(int64_t n, int64_t block, uint8_t* codes, float* scales, float* minima) const;
  // Elements of the codes a constant step apart, each of which consecutive k of a row fill from its low bits up.
  struct Run {
    const char* data = nullptr;
    int64_t step = 0, count = 0; // bytes; elements, 0 where a row does not lie so
    int each = 0;                // codes of an element
  };
  Run row_run(int64_t n) const;

  spf_quantized_weight weight_;
  const Format* format_;
  Extents extents_;
  Grids grids_;
  float global_scale_ = 1.0f;
};

// Largest block of any block format, for buffers on the stack.
inline constexpr int kMaxBlockValues = 256;
inline constexpr int kMaxBlockGroups = 16;

// Value of a raw scale. scheme.scale is f32, f16, bf16, e4m3 or e8m0.
float scale_value(spf_scalar_type type, uint32_t raw);
// Raw scale nearest to a value.
uint32_t scale_code(spf_scalar_type type, float value);

// The one definition of a value, shared by formats and packed layouts.
inline float dequantize(spf_zero_point_kind kind, float code, float scale, float zero) {
  if (kind == SPF_ZERO_INTEGER) return (code - zero) * scale;
  const float product = code * scale;
  return kind == SPF_ZERO_MINIMUM ? product - zero : product;
}

// Values by raw code of a type of up to 8 bits: 256 floats, the 4-bit types repeated.
struct CodeTable {
  float value[256];
  explicit CodeTable(spf_scalar_type type);
};

} // namespace spf::formats
