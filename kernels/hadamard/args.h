// What every implementation of hadamard_transform reads, as plain data.
#pragma once

#include <cmath>

#include "core/call.hpp"
#include "kernels/common/rows.hpp"

namespace spf::hadamard {

struct HadamardArgs {
  const void* x = nullptr;
  void* out = nullptr;
  int64_t n = 0;   // elements of a row, a power of two
  float scale = 1; // of the result
  RowSpace<2> space;

  bool empty() const { return n == 0 || space.rows == 0; }
};

inline HadamardArgs hadamard_args(const Call& call) {
  HadamardArgs args;
  const spf_tensor* const both[2] = {call.operand("x"), call.operand("out")};
  args.x = both[0]->data;
  args.out = both[1]->data;
  args.n = call.problem.extent("N");
  args.scale = call.param("normalize") != 0 ? static_cast<float>(1.0 / std::sqrt(static_cast<double>(args.n))) : 1.0f;
  args.space = row_space(both);
  return args;
}

} // namespace spf::hadamard
