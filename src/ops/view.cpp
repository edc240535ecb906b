#include "ops/view.hpp"

#include <algorithm>
#include <limits>

#include "core/scalar.hpp"

namespace spf::ops {

bool is_empty(const spf_tensor& t) {
  return std::any_of(t.shape, t.shape + t.rank, [](int64_t extent) { return extent == 0; });
}

int64_t element_bytes(spf_scalar_type type) { return std::max(scalar_info(type).bits / 8, 1); }

int64_t span_bytes(const spf_tensor& t) {
  if (is_empty(t)) return 0;
  int64_t last = 0;
  for (int i = 0; i < t.rank; ++i) last += (t.shape[i] - 1) * t.stride[i];
  if (t.packing == SPF_PACKING_LOW_FIRST) return (last + 2) / 2;
  return (last + 1) * element_bytes(t.type);
}

ByteRange byte_range(const spf_tensor& t) {
  const auto begin = reinterpret_cast<uintptr_t>(t.data);
  return {begin, begin + static_cast<uintptr_t>(span_bytes(t))};
}

bool is_contiguous(const spf_tensor& t) {
  if (is_empty(t)) return true;
  int64_t expected = 1;
  for (int i = t.rank - 1; i >= 0; --i) {
    if (t.shape[i] > 1 && t.stride[i] != expected) return false;
    expected *= t.shape[i];
  }
  return true;
}

bool is_aligned16(const spf_tensor& t) {
  if ((reinterpret_cast<uintptr_t>(t.data) & 15u) != 0) return false;
  for (int i = 0; i + 1 < t.rank; ++i)
    if (t.shape[i] > 1 && t.stride[i] * element_bytes(t.type) % 16 != 0) return false;
  return true;
}

// Dimensions from the innermost outwards must each step over everything inside them.
bool self_overlaps(const spf_tensor& t) {
  int order[SPF_MAX_RANK], count = 0;
  for (int i = 0; i < t.rank; ++i) { // insertion by stride
    if (t.shape[i] <= 1) continue;
    int at = count++;
    for (; at > 0 && t.stride[order[at - 1]] > t.stride[i]; --at) order[at] = order[at - 1];
    order[at] = i;
  }
  int64_t reach = 0;
  for (int i = 0; i < count; ++i) {
    if (t.stride[order[i]] <= reach) return true;
    reach += (t.shape[order[i]] - 1) * t.stride[order[i]];
  }
  return false;
}

namespace {

// One leading dimension of two views with equal steps.
struct Step {
  int64_t bytes, extent;
};

// Does some row of b, `distance` bytes behind the first row of a, meet some row of a? steps[level..] are nested: each
// larger than all that the later ones and a row reach, so only the two multiples around `distance` can bring rows
// together.
bool rows_meet(const Step* steps, int count, int64_t distance, int64_t row_a, int64_t row_b) {
  if (count == 0) return -row_b < distance && distance < row_a;
  const int64_t size = steps->bytes, below = distance >= 0 ? distance / size : -((-distance + size - 1) / size);
  for (int64_t k = below; k <= below + 1; ++k)
    if (-steps->extent < k && k < steps->extent && rows_meet(steps + 1, count - 1, distance - k * size, row_a, row_b))
      return true;
  return false;
}

bool has_gapless_rows(const spf_tensor& t) { return t.shape[t.rank - 1] <= 1 || t.stride[t.rank - 1] == 1; }

// The first of the last dimensions that together lie without a gap: [tokens, heads, size] cut from a wider row has 1.
int first_of_row(const spf_tensor& t) {
  int at = t.rank - 1;
  int64_t elements = t.shape[at];
  while (at > 0 && (t.shape[at - 1] == 1 || t.stride[at - 1] == elements)) elements *= t.shape[--at];
  return at;
}

int64_t row_bytes(const spf_tensor& t, int first) {
  int64_t elements = 1;
  for (int i = first; i < t.rank; ++i) elements *= t.shape[i];
  return elements * element_bytes(t.type);
}

} // namespace

bool are_disjoint_rows(const spf_tensor& a, const spf_tensor& b) {
  if (a.rank < 2 || b.rank < 2 || !has_gapless_rows(a) || !has_gapless_rows(b)) return false;
  const int outer = std::max(first_of_row(a), first_of_row(b));
  if (outer >= a.rank || outer >= b.rank) return false;
  const int64_t size_a = element_bytes(a.type), size_b = element_bytes(b.type);
  Step steps[SPF_MAX_RANK] = {}; // largest first
  int count = 0;
  for (int i = 0; i < outer; ++i) {
    if (a.shape[i] != b.shape[i]) return false;
    if (a.shape[i] <= 1) continue;
    const Step step = {a.stride[i] * size_a, a.shape[i]};
    if (step.bytes != b.stride[i] * size_b) return false;
    int at = count++;
    for (; at > 0 && steps[at - 1].bytes < step.bytes; --at) steps[at] = steps[at - 1];
    steps[at] = step;
  }
  const int64_t row_a = row_bytes(a, outer), row_b = row_bytes(b, outer);
  int64_t reach = std::max(row_a, row_b);
  for (int i = count - 1; i >= 0; --i) {
    if (steps[i].bytes < reach) return false;
    reach += (steps[i].extent - 1) * steps[i].bytes;
  }
  const auto pa = reinterpret_cast<intptr_t>(a.data), pb = reinterpret_cast<intptr_t>(b.data);
  return !rows_meet(steps, count, pb - pa, row_a, row_b);
}

bool same_view(const spf_tensor& a, const spf_tensor& b) {
  return a.data == b.data && a.type == b.type && a.rank == b.rank && std::equal(a.shape, a.shape + a.rank, b.shape) &&
         std::equal(a.stride, a.stride + a.rank, b.stride);
}

std::string list_text(const int64_t* values, int count) {
  std::string out = "[";
  for (int i = 0; i < count; ++i) out += (i ? ", " : "") + std::to_string(values[i]);
  return out + "]";
}

} // namespace spf::ops
