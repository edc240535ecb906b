// What every implementation of a quantize op reads, as plain data.
//
// What is no member has internal linkage: this header is compiled once per instruction set, and an inline definition
// shared between such files could end up, with AVX-512 in it, as the one copy that every caller runs.
#pragma once

#include <cstring>

#include "core/call.hpp"
#include "kernels/common/rows.hpp"

namespace spf::quantize {

enum class QuantOp : uint8_t {
  static_scaled_fp8_quant,
  dynamic_scaled_fp8_quant,
  dynamic_per_token_scaled_fp8_quant,
  static_scaled_int8_quant,
  dynamic_scaled_int8_quant,
  silu_and_mul_quant,
};

inline constexpr const char* kOpNames[] = {
    "static_scaled_fp8_quant",  "dynamic_scaled_fp8_quant",  "dynamic_per_token_scaled_fp8_quant",
    "static_scaled_int8_quant", "dynamic_scaled_int8_quant", "silu_and_mul_quant"};

// What a number becomes: e4m3(x / s or x * (1 / s)), s8 of the same, or s8(x * (1 / s)) + zero point.
enum class Rule : uint8_t { kFp8, kInt8, kInt8Zero };

// Elements [K] of a row of x become codes [K] of a row of out.
struct QuantArgs {
  const void* x = nullptr;
  uint8_t* out = nullptr;
  float* scale = nullptr;             // computed: one a row, or one
  const float* given_scale = nullptr; // [scale rows, scale columns]
  const float* bound = nullptr;       // [1] or null: amax counts as at most this
  const int32_t* given_azp = nullptr; // [1] or null
  int32_t* azp = nullptr;             // one a row, or null
  int64_t k = 0;
  int64_t rows_of_scale = 1, columns_of_scale = 1; // that share a given scale
  int64_t scale_stride[2] = {};
  RowSpace<4> space; // x, out, scale, azp

  bool one_scale() const { return rows_of_scale >= space.rows && columns_of_scale >= k; }
};

namespace {

[[maybe_unused]] inline QuantOp op_of(const Call& call) {
  int i = 0;
  while (std::strcmp(kOpNames[i], call.problem.op->name) != 0) ++i;
  return static_cast<QuantOp>(i);
}

[[maybe_unused, gnu::flatten]] inline QuantArgs quant_args(const Call& call) {
  QuantArgs args;
  const auto data = [&](const char* name) -> void* {
    const spf_tensor* const tensor = call.operand(name);
    return tensor != nullptr ? tensor->data : nullptr;
  };
  const spf_tensor* const x = call.operand("x");
  const spf_tensor* const out = call.operand("out");
  const spf_tensor* const scale = call.operand("scale");
  const spf_tensor* const azp = call.operand("azp");
  args.x = x->data;
  args.out = static_cast<uint8_t*>(out->data);
  args.k = call.problem.extent("K");
  args.bound = static_cast<const float*>(data("scale_ub"));
  const QuantOp op = op_of(call);
  const bool given = op == QuantOp::static_scaled_fp8_quant || op == QuantOp::static_scaled_int8_quant ||
                     op == QuantOp::silu_and_mul_quant;
  const bool rows = op == QuantOp::dynamic_per_token_scaled_fp8_quant || op == QuantOp::dynamic_scaled_int8_quant;
  const spf_tensor* const walked[4] = {x, out, rows ? scale : out, rows && azp != nullptr ? azp : out};
  args.space = row_space(walked);
  if (given) {
    args.given_scale = static_cast<const float*>(scale->data);
    args.given_azp = static_cast<const int32_t*>(data("azp"));
  } else {
    args.scale = static_cast<float*>(scale->data);
    args.azp = static_cast<int32_t*>(data("azp"));
  }
  args.rows_of_scale = args.space.rows > 0 ? args.space.rows : 1;
  args.columns_of_scale = args.k > 0 ? args.k : 1;
  if (op == QuantOp::static_scaled_fp8_quant) {
    // The op's constraint: they divide rows and K.
    if (scale->shape[0] > 0) args.rows_of_scale = args.space.rows / scale->shape[0];
    if (scale->shape[1] > 0) args.columns_of_scale = args.k / scale->shape[1];
    for (int d = 0; d < 2; ++d) args.scale_stride[d] = scale->stride[d];
  }
  return args;
}

} // namespace
} // namespace spf::quantize
