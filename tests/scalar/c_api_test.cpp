// spearfish/types.h through the C functions.
#include <cstring>
#include <string>

#include <gtest/gtest.h>

#include "spearfish/types.h"

namespace {

std::string last_allowed() {
  spf_error_detail d = {};
  d.struct_size = sizeof d;
  EXPECT_EQ(spf_last_error(&d), SPF_OK);
  return d.allowed;
}

TEST(Describe, EveryTypeByStructureAndName) {
  for (int t = 1; t < SPF_TYPE_COUNT; ++t) {
    spf_scalar_type_info info = {};
    info.struct_size = sizeof info;
    ASSERT_EQ(spf_scalar_type_describe(static_cast<spf_scalar_type>(t), &info), SPF_OK);
    if (info.exponent_bits > 0) {
      EXPECT_EQ(info.bits, info.exponent_bits + info.mantissa_bits + info.is_signed) << info.name;
    } else if (t != SPF_BOOL) {
      EXPECT_EQ(info.bits, info.mantissa_bits + info.is_signed) << info.name;
    }
    EXPECT_LT(info.min_value, info.max_value);
    // The extremes are values of the type.
    uint64_t code = 0;
    double back = 0;
    for (double v : {info.max_value, info.min_value}) {
      ASSERT_EQ(spf_encode(static_cast<spf_scalar_type>(t), &v, 1, &code), SPF_OK);
      ASSERT_EQ(spf_decode(static_cast<spf_scalar_type>(t), &code, 1, &back), SPF_OK);
      EXPECT_EQ(back, v) << info.name;
    }
    spf_scalar_type found = SPF_TYPE_NONE;
    ASSERT_EQ(spf_scalar_type_from_name(info.name, &found), SPF_OK);
    EXPECT_EQ(found, t);
  }
}

TEST(Describe, Refusals) {
  spf_scalar_type_info info = {};
  EXPECT_EQ(spf_scalar_type_describe(SPF_F32, &info), SPF_ABI_MISMATCH);
  EXPECT_EQ(spf_scalar_type_describe(SPF_F32, nullptr), SPF_INVALID_ARGUMENT);
  info.struct_size = sizeof info;
  EXPECT_EQ(spf_scalar_type_describe(SPF_TYPE_NONE, &info), SPF_INVALID_TYPE);
  EXPECT_EQ(spf_scalar_type_describe(SPF_TYPE_COUNT, &info), SPF_INVALID_TYPE);
  spf_scalar_type type = SPF_F32;
  EXPECT_EQ(spf_scalar_type_from_name("fp16", &type), SPF_NOT_FOUND);
  EXPECT_NE(last_allowed().find("bf16"), std::string::npos);
  EXPECT_EQ(type, SPF_F32);
  EXPECT_EQ(spf_scalar_type_from_name(nullptr, &type), SPF_INVALID_ARGUMENT);
  EXPECT_EQ(spf_scalar_type_from_name("f16", nullptr), SPF_INVALID_ARGUMENT);
}

TEST(Convert, ArraysOfEveryStorageWidth) {
  const double values[4] = {0.0, 1.0, -2.0, 6.0};
  const struct {
    spf_scalar_type type;
    size_t bytes;
  } rows[] = {{SPF_E2M1, 1}, {SPF_S8, 1}, {SPF_BF16, 2}, {SPF_F32, 4}, {SPF_I64, 8}};
  for (const auto& row : rows) {
    unsigned char codes[40];
    std::memset(codes, 0xcc, sizeof codes);
    ASSERT_EQ(spf_encode(row.type, values, 4, codes), SPF_OK);
    EXPECT_EQ(codes[4 * row.bytes], 0xcc); // wrote exactly 4 elements
    EXPECT_NE(codes[4 * row.bytes - 1], 0xcc);
    double back[4];
    ASSERT_EQ(spf_decode(row.type, codes, 4, back), SPF_OK);
    for (int i = 0; i < 4; ++i) EXPECT_EQ(back[i], values[i]);
  }
}

TEST(Convert, Refusals) {
  double v = 0;
  uint8_t c = 0;
  EXPECT_EQ(spf_decode(SPF_TYPE_NONE, &c, 1, &v), SPF_INVALID_TYPE);
  EXPECT_EQ(spf_decode(SPF_U8, nullptr, 1, &v), SPF_INVALID_ARGUMENT);
  EXPECT_EQ(spf_decode(SPF_U8, &c, -1, &v), SPF_INVALID_ARGUMENT);
  EXPECT_EQ(spf_encode(SPF_U8, &v, 1, nullptr), SPF_INVALID_ARGUMENT);
  EXPECT_EQ(spf_decode(SPF_U8, nullptr, 0, nullptr), SPF_OK);
}

} // namespace
