// Facts about one tensor view.
#pragma once

#include <cstdint>
#include <string>

#include "spearfish/tensor.h"

namespace spf::ops {

// First and one past the last byte that a view reaches. Strides must be non-negative and free of overflow.
struct ByteRange {
  uintptr_t begin, end;
};

bool is_empty(const spf_tensor& t);
bool is_contiguous(const spf_tensor& t);
// Base pointer and every row start on 16 bytes.
bool is_aligned16(const spf_tensor& t);
// Two different elements share memory.
bool self_overlaps(const spf_tensor& t);
// Bytes per element: 1 for unpacked 4-bit codes. Packed 4-bit views count half bytes in element_span_bytes().
int64_t element_bytes(spf_scalar_type type);
int64_t span_bytes(const spf_tensor& t);
ByteRange byte_range(const spf_tensor& t);
// True if two views whose byte ranges meet still share no byte, as slices of one buffer do: columns of the same rows,
// or matrices that alternate. Understands views with the same leading extents and byte steps, rows without gaps, and
// dimensions that nest; last dimensions without gaps are one row, so query and key heads of one fused row count. False
// for anything else.
bool are_disjoint_rows(const spf_tensor& a, const spf_tensor& b);
// Same pointer, type, shape and strides.
bool same_view(const spf_tensor& a, const spf_tensor& b);

std::string list_text(const int64_t* values, int count); // "[2, 3]"

} // namespace spf::ops
