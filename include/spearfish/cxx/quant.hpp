// Weights: quantize, pack, and own the memory.
#pragma once

#include <cstddef>
#include <cstring>
#include <memory>
#include <new>
#include <string>
#include <vector>

#include "spearfish/cxx/device.hpp"
#include "spearfish/cxx/error.hpp"
#include "spearfish/quant.h"

namespace spearfish {

// Host memory aligned to 256 bytes, as packed weights and workspaces need it. Move-only.
class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(size_t bytes)
      : bytes_(bytes),
        data_(static_cast<std::byte*>(::operator new (bytes > 0 ? bytes : 1, std::align_val_t{kAlignment}))) {}

  void* data() const noexcept { return data_.get(); }
  size_t size() const noexcept { return data_ ? bytes_ : 0; } // 0 once moved from

  static constexpr size_t kAlignment = 256;

 private:
  struct Free {
    void operator()(std::byte* memory) const { ::operator delete (memory, std::align_val_t{kAlignment}); }
  };
  size_t bytes_ = 0;
  std::unique_ptr<std::byte, Free> data_;
};

using QuantScheme = spf_quant_scheme;

// "int4-g128" etc. Throws SPF_NOT_FOUND with the list.
inline QuantScheme quant_scheme(const std::string& name) {
  QuantScheme scheme = {};
  scheme.struct_size = sizeof scheme;
  check(spf_quant_scheme_by_name(name.c_str(), &scheme));
  return scheme;
}

inline std::vector<std::string> quant_scheme_names() {
  std::vector<std::string> names;
  for (int32_t i = 0; const char* name = spf_quant_scheme_name(i); ++i) names.emplace_back(name);
  return names;
}

inline std::vector<std::string> layout_names() {
  std::vector<std::string> names;
  for (int32_t i = 0; const char* name = spf_layout_name(i); ++i) names.emplace_back(name);
  return names;
}

// A quantized weight W[N,K] as a checkpoint would hold it. Owns its bytes when it was quantized here, borrows them when
// made from views. Move-only; one that was moved from may only be assigned or destroyed.
class QuantizedWeight {
 public:
  // Rounds W[N,K] (f32, row-major) to nearest.
  static QuantizedWeight quantize(const QuantScheme& scheme, int64_t n, int64_t k, const float* w) {
    size_t bytes = 0;
    check(spf_quantize_size(&scheme, n, k, &bytes));
    QuantizedWeight out;
    out.memory_ = Buffer(bytes);
    out.weight_.struct_size = sizeof out.weight_;
    check(spf_quantize(&scheme, n, k, w, out.memory_.data(), bytes, &out.weight_));
    return out;
  }
  // The same under given scales [ceil(N / group_n), G], and zero points or a global scale where the scheme has them.
  static QuantizedWeight quantize(const QuantScheme& scheme, int64_t n, int64_t k, const float* w, const float* scales,
                                  const int32_t* zeros = nullptr, float global_scale = 1.0f) {
    size_t bytes = 0;
    check(spf_quantize_size(&scheme, n, k, &bytes));
    QuantizedWeight out;
    out.memory_ = Buffer(bytes);
    out.weight_.struct_size = sizeof out.weight_;
    check(spf_quantize_with_scales(&scheme, n, k, w, scales, zeros, global_scale, out.memory_.data(), bytes,
                                   &out.weight_));
    return out;
  }
  // Borrows the views of a checkpoint; they must outlive this object. Throws if they do not fit scheme, n and k.
  static QuantizedWeight borrow(const spf_quantized_weight& weight) {
    check(spf_quantized_weight_check(&weight));
    QuantizedWeight out;
    out.weight_ = weight;
    return out;
  }

  int64_t n() const noexcept { return weight_.n; }
  int64_t k() const noexcept { return weight_.k; }
  const QuantScheme& scheme() const noexcept { return weight_.scheme; }
  const spf_quantized_weight* get() const noexcept { return &weight_; }

  // Exact values, [N,K] row-major.
  std::vector<float> dequantize() const {
    std::vector<float> out(static_cast<size_t>(n() * k()));
    check(spf_dequantize(&weight_, out.data()));
    return out;
  }

 private:
  QuantizedWeight() = default;
  Buffer memory_;
  spf_quantized_weight weight_ = {};
};

// A weight in a kernel's layout, on the host. Owns its bytes. Move-only, immutable.
class PackedWeight {
 public:
  static PackedWeight pack(const QuantizedWeight& weight, const std::string& layout) {
    size_t bytes = 0;
    check(spf_pack_size(&weight.scheme(), layout.c_str(), weight.n(), weight.k(), &bytes));
    PackedWeight out;
    out.memory_ = Buffer(bytes);
    out.weight_.struct_size = sizeof out.weight_;
    check(spf_pack(weight.get(), layout.c_str(), out.memory_.data(), bytes, &out.weight_));
    return out;
  }

  int64_t n() const noexcept { return weight_.n; }
  int64_t k() const noexcept { return weight_.k; }
  std::string layout() const { return weight_.layout; }
  size_t bytes() const noexcept { return weight_.bytes; }
  const spf_packed_weight* get() const noexcept { return &weight_; }

  // Exact values, [N,K] row-major: equal to those of what was packed.
  std::vector<float> unpack() const {
    std::vector<float> out(static_cast<size_t>(n() * k()));
    check(spf_unpack(&weight_, out.data()));
    return out;
  }

 private:
  PackedWeight() = default;
  Buffer memory_;
  spf_packed_weight weight_ = {};
};

// A weight that is not packed yet, for plans: scheme, n and k; the plan says in which layout to pack it.
inline spf_packed_weight unpacked_weight(const QuantScheme& scheme, int64_t n, int64_t k,
                                         Device device = Device::cpu()) {
  spf_packed_weight weight = {};
  weight.struct_size = sizeof weight;
  weight.scheme = scheme;
  weight.n = n;
  weight.k = k;
  weight.device = device;
  return weight;
}

} // namespace spearfish
