// Schemas made by hand and a call that is right until a test breaks it.
#pragma once

#include <limits>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "ops/validate.hpp"
#include "spearfish/quant.h"
#include "spearfish/tensor.h"

namespace spf::test {

inline constexpr double kInfinity = std::numeric_limits<double>::infinity();
inline constexpr spf_device kCpu = {SPF_CPU, 0};

inline spf_error_detail last_error() {
  spf_error_detail d = {};
  d.struct_size = sizeof d;
  EXPECT_EQ(spf_last_error(&d), SPF_OK);
  return d;
}

// x[*, 2*D], w[D] (optional), index[4], out[*, D]; parameters scale in [0, inf), count in [0, 8], flag.
inline OpSchema gated_schema() {
  OpSchema op = {};
  op.name = "gated";
  op.family = "test";
  op.summary = "";
  op.operand_count = 4;
  op.param_count = 3;
  op.type_variable_count = 2;
  op.symbol_count = 2;
  op.symbols[0] = "*";
  op.symbols[1] = "D";
  op.type_variables[0] = {"T", type_bit(SPF_F32) | type_bit(SPF_BF16)};
  op.type_variables[1] = {"I", type_bit(SPF_I32)};
  op.operands[0] = {"x", Role::kIn, false, ViewRule::kRows, 0, 2, {{0, 1, true}, {1, 2, false}}, "*,2*D"};
  op.operands[1] = {"w", Role::kIn, true, ViewRule::kContiguous, 0, 1, {{1, 1, false}}, "D"};
  op.operands[2] = {"index", Role::kIn, false, ViewRule::kAny, 1, 1, {{-1, 4, false}}, "4"};
  op.operands[3] = {"out", Role::kOut, false, ViewRule::kRows, 0, 2, {{0, 1, true}, {1, 1, false}}, "*,D"};
  op.params[0] = {"scale", ParamKind::kF64, 1.0, 0.0, kInfinity};
  op.params[1] = {"count", ParamKind::kI64, 2, 0, 8};
  op.params[2] = {"flag", ParamKind::kBool, 0, 0, 1};
  return op;
}

// In place on x[*, H] with y[*, H] read, both strided at will; bias[H] read. No parameters.
inline OpSchema in_place_schema() {
  OpSchema op = {};
  op.name = "in_place";
  op.family = "test";
  op.summary = "";
  op.operand_count = 3;
  op.type_variable_count = 1;
  op.symbol_count = 2;
  op.symbols[0] = "*";
  op.symbols[1] = "H";
  op.type_variables[0] = {"T", type_bit(SPF_F32)};
  op.operands[0] = {"y", Role::kIn, false, ViewRule::kAny, 0, 2, {{0, 1, true}, {1, 1, false}}, "*,H"};
  op.operands[1] = {"x", Role::kOut, false, ViewRule::kAny, 0, 2, {{0, 1, true}, {1, 1, false}}, "*,H"};
  op.operands[2] = {"bias", Role::kIn, true, ViewRule::kContiguous, 0, 1, {{1, 1, false}}, "H"};
  return op;
}

// out[*, N] from x[*, K] and a packed weight.
inline OpSchema linear_schema() {
  OpSchema op = {};
  op.name = "matmul";
  op.family = "test";
  op.summary = "";
  op.packed_weight = true;
  op.operand_count = 2;
  op.type_variable_count = 1;
  op.symbol_count = 3;
  op.symbols[0] = "*";
  op.symbols[1] = "K";
  op.symbols[2] = "N";
  op.type_variables[0] = {"T", type_bit(SPF_F32)};
  op.operands[0] = {"x", Role::kIn, false, ViewRule::kRows, 0, 2, {{0, 1, true}, {1, 1, false}}, "*,K"};
  op.operands[1] = {"out", Role::kOut, false, ViewRule::kRows, 0, 2, {{0, 1, true}, {2, 1, false}}, "*,N"};
  return op;
}

inline spf_tensor tensor(void* data, spf_scalar_type type, std::vector<int64_t> shape) {
  spf_tensor t;
  EXPECT_EQ(spf_tensor_init(&t, data, type, static_cast<int32_t>(shape.size()), shape.data(), kCpu), SPF_OK);
  return t;
}

inline spf_tensor strided(void* data, spf_scalar_type type, std::vector<int64_t> shape, std::vector<int64_t> stride) {
  spf_tensor t = tensor(data, type, shape);
  std::copy(stride.begin(), stride.end(), t.stride);
  return t;
}

// Validates operands and parameters against a schema, and says what came out.
class Validation : public ::testing::Test {
 protected:
  spf_status validate() {
    std::vector<const spf_tensor*> pointers;
    for (size_t i = 0; i < operands.size(); ++i) pointers.push_back(present[i] ? &operands[i] : nullptr);
    RawCallOf raw = {pointers, params, weight, device, plan_only};
    return ops::validate(schema, raw, &call);
  }

  // The call is refused, and the detail names op, stage, field and value, and says what is allowed.
  void expect_refused(spf_status status, const std::string& field, const std::string& value,
                      const std::string& allowed) {
    EXPECT_EQ(spf_status_name(validate()), std::string(spf_status_name(status)));
    const spf_error_detail e = last_error();
    EXPECT_EQ(e.status, status);
    EXPECT_STREQ(e.op, schema.name);
    EXPECT_STREQ(e.stage, "validate");
    EXPECT_EQ(e.field, field);
    EXPECT_EQ(e.value, value);
    EXPECT_NE(std::string(e.allowed).find(allowed), std::string::npos) << "allowed: " << e.allowed;
    EXPECT_NE(std::string(e.message).find(field), std::string::npos) << e.message;
  }

  using RawCallOf = ops::RawCall;
  OpSchema schema;
  std::vector<spf_tensor> operands;
  std::vector<bool> present;
  std::vector<double> params;
  const spf_packed_weight* weight = nullptr;
  spf_device device = kCpu;
  bool plan_only = false;
  Call call;
};

} // namespace spf::test
