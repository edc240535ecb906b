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

bool are_column_slices(const spf_tensor& a, const spf_tensor& b) {
  if (a.rank != b.rank || a.rank < 2) return false;
  const int64_t size_a = element_bytes(a.type), size_b = element_bytes(b.type);
  int64_t pitch = std::numeric_limits<int64_t>::max();
  for (int i = 0; i + 1 < a.rank; ++i) {
    const int64_t step = a.stride[i] * size_a;
    if (a.shape[i] != b.shape[i] || step != b.stride[i] * size_b) return false;
    if (a.shape[i] > 1) pitch = std::min(pitch, step);
  }
  if (pitch <= 0) return false;
  for (int i = 0; i + 1 < a.rank; ++i)
    if (a.shape[i] > 1 && a.stride[i] * size_a % pitch != 0) return false;
  const auto pa = reinterpret_cast<uintptr_t>(a.data), pb = reinterpret_cast<uintptr_t>(b.data);
  const auto offset_a = static_cast<int64_t>(pa - std::min(pa, pb)), offset_b = static_cast<int64_t>(pb - std::min(pa, pb));
  const int64_t end_a = offset_a + a.shape[a.rank - 1] * size_a, end_b = offset_b + b.shape[b.rank - 1] * size_b;
  return (end_a <= offset_b || end_b <= offset_a) && std::max(end_a, end_b) <= pitch;
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

}  // namespace spf::ops
