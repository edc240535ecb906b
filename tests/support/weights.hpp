// Quantized weights for tests: schemes of every format, memory with the alignment the library asks for, random values.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "spearfish/quant.h"

namespace support {

// Bytes on a 256-byte border, filled with a poison.
class AlignedBytes {
 public:
  explicit AlignedBytes(size_t bytes, int poison = 0xa5)
      : size_(bytes), data_(static_cast<uint8_t*>(std::aligned_alloc(256, (bytes / 256 + 1) * 256))) {
    std::memset(data_.get(), poison, (bytes / 256 + 1) * 256);
  }
  uint8_t* data() const { return data_.get(); }
  size_t size() const { return size_; }

 private:
  struct Free {
    void operator()(uint8_t* p) const { std::free(p); }
  };
  size_t size_;
  std::unique_ptr<uint8_t, Free> data_;
};

struct NamedScheme {
  std::string name;
  spf_quant_scheme scheme;
};

inline spf_quant_scheme scheme(spf_format format, spf_scalar_type weight, spf_scalar_type scale, int group_k,
                               int group_n = 1, spf_zero_point_kind zero = SPF_ZERO_NONE) {
  spf_quant_scheme s = {};
  s.struct_size = sizeof s;
  s.format = format;
  s.weight = weight;
  s.scale = scale;
  s.zero = zero;
  s.group_k = group_k;
  s.group_n = group_n;
  return s;
}

// The name of a parameterised test over schemes.
inline std::string test_name(const testing::TestParamInfo<NamedScheme>& param) {
  std::string name = param.param.name;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

// Every scheme that can be quantized to: the named ones, listed or not, and the variants of the checkpoint formats.
inline std::vector<NamedScheme> all_schemes() {
  std::vector<NamedScheme> all;
  const auto add = [&](const char* name) {
    NamedScheme named{name, {}};
    named.scheme.struct_size = sizeof(spf_quant_scheme);
    EXPECT_EQ(spf_quant_scheme_by_name(name, &named.scheme), SPF_OK);
    all.push_back(named);
  };
  for (int i = 0; spf_quant_scheme_name(i) != nullptr; ++i) add(spf_quant_scheme_name(i));
  for (const char* name : {"bf16-2of4", "f16-2of4", "int8-2of4", "s8-channel-2of4", "fp8-2of4", "fp8-channel-2of4"})
    add(name);
  const spf_zero_point_kind kZero = SPF_ZERO_INTEGER;
  for (auto [name, format] : {std::pair{"gptq", SPF_FORMAT_GPTQ}, std::pair{"gptq_v2", SPF_FORMAT_GPTQ_V2}}) {
    all.push_back({name + std::string("-4"), scheme(format, SPF_U4, SPF_F16, 32, 1, kZero)});
    all.push_back({name + std::string("-8"), scheme(format, SPF_U8, SPF_F16, 64, 1, kZero)});
    all.push_back({name + std::string("-4-sym"), scheme(format, SPF_U4B8, SPF_BF16, 128)});
    all.push_back({name + std::string("-8-sym-channel"), scheme(format, SPF_U8B128, SPF_F32, -1)});
    all.push_back({name + std::string("-4-act-order"), scheme(format, SPF_U4, SPF_F16, 32, 1, kZero)});
    all.back().scheme.has_g_idx = 1;
  }
  all.push_back({"awq", scheme(SPF_FORMAT_AWQ, SPF_U4, SPF_F16, 64, 1, kZero)});
  all.push_back({"awq-channel", scheme(SPF_FORMAT_AWQ, SPF_U4, SPF_BF16, -1, 1, kZero)});
  all.push_back({"ct-int8-asym", scheme(SPF_FORMAT_CT_INT, SPF_U8, SPF_BF16, 64, 1, kZero)});
  all.push_back({"ct-int4-tensor", scheme(SPF_FORMAT_CT_INT, SPF_U4B8, SPF_F32, -1, -1)});
  all.push_back({"ct-int8-plain", scheme(SPF_FORMAT_CT_INT, SPF_S8, SPF_F32, -1)});
  all.push_back({"ct-int4-act-order", scheme(SPF_FORMAT_CT_INT, SPF_U4B8, SPF_F16, 32)});
  all.back().scheme.has_g_idx = 1;
  all.push_back({"fp8-f16", scheme(SPF_FORMAT_FP8, SPF_E4M3, SPF_F16, -1)});
  all.push_back({"fp8-bf16-g128", scheme(SPF_FORMAT_FP8, SPF_E4M3, SPF_BF16, 128)});
  all.push_back({"nvfp4-swizzled", scheme(SPF_FORMAT_NVFP4, SPF_E2M1, SPF_E4M3, 16)});
  all.back().scheme.has_global_scale = 1;
  all.back().scheme.scales_swizzled = 1;
  all.push_back({"nvfp4-no-global", scheme(SPF_FORMAT_NVFP4, SPF_E2M1, SPF_E4M3, 16)});
  all.push_back({"mxfp8-e5m2", scheme(SPF_FORMAT_MXFP8, SPF_E5M2, SPF_E8M0, 32)});
  return all;
}

inline std::vector<float> normal_values(int64_t count, unsigned seed, float deviation = 1.0f) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.0f, deviation);
  std::vector<float> values(static_cast<size_t>(count));
  for (float& x : values) x = normal(random);
  return values;
}

inline std::vector<float> random_matrix(int64_t n, int64_t k, unsigned seed) {
  return normal_values(n * k, seed, 0.05f);
}

// One that quantizing to a scheme prunes nothing of: 2:4 sparse where the scheme is, whatever the values' sizes.
inline std::vector<float> random_matrix(const spf_quant_scheme& s, int64_t n, int64_t k, unsigned seed) {
  std::vector<float> w = random_matrix(n, k, seed);
  if (s.sparsity != SPF_SPARSITY_2_OF_4) return w;
  std::mt19937 random(seed + 1);
  for (int64_t row = 0; row < n; ++row)
    for (int64_t group = 0; group < k; group += 4) {
      const unsigned first = random() % 4, second = (first + 1 + random() % 3) % 4;
      for (unsigned i = 0; i < 4 && group + i < k; ++i)
        if (i != first && i != second) w[static_cast<size_t>(row * k + group + i)] = 0.0f;
    }
  return w;
}

// A quantized weight and the memory it lies in.
struct OwnedWeight {
  AlignedBytes memory;
  spf_quantized_weight weight;
};

// Quantizes. With act order the groups of the columns are then dealt out at random.
inline OwnedWeight quantized(const spf_quant_scheme& s, int64_t n, int64_t k, const std::vector<float>& w,
                             int poison = 0xa5) {
  size_t bytes = 0;
  EXPECT_EQ(spf_quantize_size(&s, n, k, &bytes), SPF_OK);
  OwnedWeight owned{AlignedBytes(bytes, poison), {}};
  owned.weight.struct_size = sizeof owned.weight;
  EXPECT_EQ(spf_quantize(&s, n, k, w.data(), owned.memory.data(), bytes, &owned.weight), SPF_OK);
  if (s.has_g_idx && k > 0) {
    std::mt19937 random(11);
    auto* g_idx = static_cast<int32_t*>(owned.weight.g_idx.data);
    for (int64_t i = k - 1; i > 0; --i) std::swap(g_idx[i], g_idx[random() % static_cast<unsigned>(i + 1)]);
  }
  return owned;
}

// A weight in a layout, and the memory it lies in.
struct PackedWeight {
  AlignedBytes memory;
  spf_packed_weight header;
};

inline PackedWeight packed(const spf_quantized_weight& w, const char* layout, int poison = 0xa5) {
  size_t bytes = 0;
  EXPECT_EQ(spf_pack_size(&w.scheme, layout, w.n, w.k, &bytes), SPF_OK) << layout;
  PackedWeight p{AlignedBytes(bytes, poison), {}};
  p.header.struct_size = sizeof p.header;
  EXPECT_EQ(spf_pack(&w, layout, p.memory.data(), bytes, &p.header), SPF_OK) << layout;
  return p;
}

inline std::vector<float> dequantized(const spf_quantized_weight& w) {
  std::vector<float> out(static_cast<size_t>(w.n * w.k), -77.0f);
  EXPECT_EQ(spf_dequantize(&w, out.data()), SPF_OK);
  return out;
}

inline std::string last_error_field() {
  spf_error_detail d = {};
  d.struct_size = sizeof d;
  spf_last_error(&d);
  return d.field;
}

} // namespace support
