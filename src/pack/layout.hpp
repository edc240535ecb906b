// Where the bytes of a packed weight go: one row per layout, one explicit table of them.
//
// A layout is described by one function that fills in a header from (scheme, n, k). Size query, pack, unpack and every
// kernel's check read that header, so they cannot disagree.
#pragma once

#include <cstdint>
#include <span>

#include "formats/format.hpp"
#include "spearfish/quant.h"

namespace spf::pack {

inline constexpr size_t kSectionAlign = 256; // of packed memory and of every section in it

struct LayoutRow {
  const char* name;
  uint32_t version; // raised whenever a byte changes its place or meaning

  // Whether the layout can hold a scheme. On false *why gets one clause of static text.
  bool (*accepts)(const spf_quant_scheme& scheme, const char** why);

  // In: scheme, n, k. Out: padded_n, padded_k, bytes and the section offsets. The scheme has been accepted.
  void (*describe)(spf_packed_weight& header);

  // Writes header.data[0, header.bytes). The memory has been zeroed: padding that is not zero must be written, the rest
  // need not be. Refuses with SPF_UNSUPPORTED what the layout cannot hold exactly.
  spf_status (*pack)(const formats::Decoder& weight, const spf_packed_weight& header);

  // out[n,k] row-major: the values, bit for bit those of what was packed.
  spf_status (*unpack)(const spf_packed_weight& header, float* out);
};

std::span<const LayoutRow* const> all_layouts();
const LayoutRow* find_layout(const char* name); // nullptr if unknown

// Header with everything but data; refusals: unknown layout, scheme not accepted, extents out of range.
spf_status describe(const spf_quant_scheme& scheme, const char* layout, int64_t n, int64_t k, const char* op,
                    spf_packed_weight* header);

// Packs into memory: checks the weight, zeroes the memory, lets the layout write. *packed is set on success only.
spf_status pack(const spf_quantized_weight& weight, const char* layout, void* memory, size_t bytes, const char* op,
                spf_packed_weight* packed);

// What every reader of a packed weight checks first: layout and version known, offsets those of describe(), data there
// and aligned.
spf_status check_packed(const spf_packed_weight& packed, const char* op);

// Refuses packed bytes whose indices would lead out of them: each of index[count] must be in [0, limit).
spf_status check_indices(const char* field, const int32_t* index, int64_t count, int64_t limit);

// Lays sections one behind the other.
class Sections {
 public:
  // Offset of a new section of `bytes` bytes.
  size_t add(size_t bytes) {
    const size_t at = end_;
    end_ = (end_ + bytes + kSectionAlign - 1) / kSectionAlign * kSectionAlign;
    return at;
  }
  size_t total() const { return end_; }

 private:
  size_t end_ = 0;
};

} // namespace spf::pack
