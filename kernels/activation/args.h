// What every implementation of an activation op reads, as plain data.
#pragma once

#include <cstring>

#include "core/call.hpp"
#include "kernels/common/rows.hpp"

namespace spf::activation {

enum class Act : uint8_t {
  // gated: x holds gate and up
  kSiluAndMul,
  kMulAndSilu,
  kGeluAndMul,
  kGeluTanhAndMul,
  kFatreluAndMul,
  kSwigluoaiAndMul,
  // elementwise
  kSilu,
  kGelu,
  kGeluTanh,
  kGeluNew,
  kGeluFast,
  kGeluQuick,
};

inline constexpr const char* kActNames[] = {"silu_and_mul",    "mul_and_silu",      "gelu_and_mul", "gelu_tanh_and_mul",
                                            "fatrelu_and_mul", "swigluoai_and_mul", "silu",         "gelu",
                                            "gelu_tanh",       "gelu_new",          "gelu_fast",    "gelu_quick"};

constexpr bool is_gated(Act act) { return act <= Act::kSwigluoaiAndMul; }
constexpr bool is_interleaved(Act act) { return act == Act::kSwigluoaiAndMul; }

struct ActArgs {
  const void* x = nullptr; // rows of 2*D (gated) or D
  void* out = nullptr;     // rows of D
  int64_t d = 0;
  float a = 0;       // threshold, or alpha
  float b = 0;       // limit
  RowSpace<2> space; // [0] x, [1] out

  bool empty() const { return d == 0 || space.rows == 0; }
};

inline Act act_of(const Call& call) {
  int i = 0;
  while (std::strcmp(kActNames[i], call.problem.op->name) != 0) ++i;
  return static_cast<Act>(i);
}

inline ActArgs act_args(const Call& call, Act act) {
  ActArgs args;
  const spf_tensor* both[2] = {call.operand("x"), call.operand("out")};
  args.x = both[0]->data;
  args.out = both[1]->data;
  args.d = call.problem.extent("D");
  args.space = row_space(both);
  if (act == Act::kFatreluAndMul) args.a = static_cast<float>(call.param("threshold"));
  if (act == Act::kSwigluoaiAndMul) {
    args.a = static_cast<float>(call.param("alpha"));
    args.b = static_cast<float>(call.param("limit"));
  }
  return args;
}

} // namespace spf::activation
