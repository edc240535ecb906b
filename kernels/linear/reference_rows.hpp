// What the references of linear layers read and write: weights in the layout "reference" (src/pack/reference.hpp), and
// single elements of any type.
#pragma once

#include <cstring>

#include "core/scalar_traits.hpp"
#include "kernels/common/float_types.hpp"
#include "kernels/linear/args.h"

namespace spf::linear {
namespace {

class WeightRows {
 public:
  explicit WeightRows(const spf_packed_weight& packed)
      : scheme_(packed.scheme),
        k_(packed.k),
        data_(static_cast<const char*>(packed.data)),
        bits_(scalar_info(scheme_.weight).bits) {
    groups_ = scheme_.group_k > 0 ? (k_ + scheme_.group_k - 1) / scheme_.group_k : 1;
    if (packed.scales_offset != 0) scales_ = reinterpret_cast<const float*>(data_ + packed.scales_offset);
    if (packed.zeros_offset != 0) zeros_ = reinterpret_cast<const float*>(data_ + packed.zeros_offset);
    if (packed.g_idx_offset != 0) g_idx_ = reinterpret_cast<const int32_t*>(data_ + packed.g_idx_offset);
    if (packed.global_offset != 0) std::memcpy(&global_, data_ + packed.global_offset, sizeof global_);
  }

  // The number that the code of W[n,k] stands for.
  float code(int64_t n, int64_t k) const { return static_cast<float>(decode(scheme_.weight, raw(n, k))); }
  // The scale of row n, where it has one.
  float row_scale(int64_t n) const { return scales_ == nullptr ? 1.0f : scales_[n * groups_]; }

  // The value of W[n,k] in f32; see spf_zero_point_kind.
  float operator()(int64_t n, int64_t k) const {
    const float code = this->code(n, k);
    if (scales_ == nullptr) return code;
    const int64_t group = g_idx_ != nullptr ? g_idx_[k] : scheme_.group_k > 0 ? k / scheme_.group_k : 0;
    const int64_t at = n * groups_ + group;
    float value;
    if (scheme_.zero == SPF_ZERO_INTEGER)
      value = (code - zeros_[at]) * scales_[at];
    else
      value = code * scales_[at];
    if (scheme_.zero == SPF_ZERO_MINIMUM) value -= zeros_[at];
    return value * global_;
  }

 private:
  uint32_t raw(int64_t n, int64_t k) const {
    const char* row = data_ + n * ((k_ * bits_ + 7) / 8);
    if (bits_ == 4) return static_cast<uint32_t>(row[k / 2]) >> (4 * (k % 2)) & 15u;
    uint32_t code = 0;
    std::memcpy(&code, row + k * (bits_ / 8), static_cast<size_t>(bits_ / 8));
    return code;
  }

  spf_quant_scheme scheme_;
  int64_t k_, groups_ = 1;
  const char* data_;
  int bits_;
  const float* scales_ = nullptr;
  const float* zeros_ = nullptr;
  const int32_t* g_idx_ = nullptr;
  float global_ = 1.0f;
};

[[maybe_unused]] inline float load_any(const void* data, spf_scalar_type type, int64_t i) {
  if (type == SPF_S8) return load<SPF_S8>(data, i);
  if (type == SPF_E4M3) return load<SPF_E4M3>(data, i);
  if (type == SPF_E5M2) return load<SPF_E5M2>(data, i);
  if (type == SPF_E8M0) return load<SPF_E8M0>(data, i);
  if (type == SPF_E2M1) return load<SPF_E2M1>(data, i);
  float value = 0;
  with_float_type(type, [&](auto t) { value = load<decltype(t)::value>(data, i); });
  return value;
}

[[maybe_unused]] inline void store_any(void* data, spf_scalar_type type, int64_t i, float value) {
  if (type == SPF_E4M3) return store<SPF_E4M3>(data, i, value);
  with_float_type(type, [&](auto t) { store<decltype(t)::value>(data, i, value); });
}

// Of an optional operand with one element a channel or one in all.
[[maybe_unused]] inline double element(const spf_tensor* t, int64_t i, double absent) {
  return t == nullptr ? absent : static_cast<double>(load_any(t->data, t->type, i));
}

} // namespace
} // namespace spf::linear
