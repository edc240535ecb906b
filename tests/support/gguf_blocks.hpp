// GGUF blocks with the values that another implementation decoded from them (tests/data/make_gguf_fixtures.py).
#pragma once

#include <cstdint>
#include <fstream>
#include <map>
#include <vector>

#include <gtest/gtest.h>

#include "formats/format.hpp"

namespace support {

inline const std::map<int, spf_format> kGgmlIds = {
    {2, SPF_FORMAT_Q4_0},     {3, SPF_FORMAT_Q4_1},    {6, SPF_FORMAT_Q5_0},     {7, SPF_FORMAT_Q5_1},
    {8, SPF_FORMAT_Q8_0},     {10, SPF_FORMAT_Q2_K},   {11, SPF_FORMAT_Q3_K},    {12, SPF_FORMAT_Q4_K},
    {13, SPF_FORMAT_Q5_K},    {14, SPF_FORMAT_Q6_K},   {16, SPF_FORMAT_IQ2_XXS}, {17, SPF_FORMAT_IQ2_XS},
    {18, SPF_FORMAT_IQ3_XXS}, {19, SPF_FORMAT_IQ1_S},  {20, SPF_FORMAT_IQ4_NL},  {21, SPF_FORMAT_IQ3_S},
    {22, SPF_FORMAT_IQ2_S},   {23, SPF_FORMAT_IQ4_XS}, {29, SPF_FORMAT_IQ1_M},
};

struct Fixture {
  int id, blocks, bytes, values;
  std::vector<uint8_t> data;
  std::vector<float> expected;
};

inline std::vector<Fixture> load_fixtures() {
  std::ifstream file(SPF_TEST_DATA "/gguf_blocks.bin", std::ios::binary);
  std::vector<Fixture> all;
  int32_t head[4];
  while (file.read(reinterpret_cast<char*>(head), sizeof head)) {
    Fixture f{head[0], head[1], head[2], head[3], {}, {}};
    f.data.resize(static_cast<size_t>(f.blocks) * static_cast<size_t>(f.bytes));
    f.expected.resize(static_cast<size_t>(f.blocks) * static_cast<size_t>(f.values));
    file.read(reinterpret_cast<char*>(f.data.data()), static_cast<std::streamsize>(f.data.size()));
    file.read(reinterpret_cast<char*>(f.expected.data()), static_cast<std::streamsize>(f.expected.size() * 4));
    EXPECT_TRUE(file.good());
    all.push_back(std::move(f));
  }
  return all;
}

// The scheme that a block format fixes, by the format's name.
inline spf_quant_scheme scheme_for(spf_format id) {
  spf_quant_scheme s = {};
  s.struct_size = sizeof s;
  EXPECT_EQ(spf_quant_scheme_by_name(spf::formats::find_format(id)->name, &s), SPF_OK);
  EXPECT_EQ(s.format, id);
  return s;
}

inline spf_quantized_weight weight_over(const Fixture& f, int64_t n, int64_t k, std::vector<uint8_t>& bytes) {
  spf_quantized_weight w = {};
  w.struct_size = sizeof w;
  w.scheme = scheme_for(kGgmlIds.at(f.id));
  w.n = n;
  w.k = k;
  w.codes.struct_size = sizeof(spf_tensor);
  w.codes.type = SPF_U8;
  w.codes.rank = 2;
  w.codes.shape[0] = n;
  w.codes.shape[1] = static_cast<int64_t>(bytes.size()) / n;
  w.codes.stride[0] = w.codes.shape[1];
  w.codes.stride[1] = 1;
  w.codes.data = bytes.data();
  return w;
}

} // namespace support
