// What every implementation of permute_cols reads, as plain data.
#pragma once

#include "core/call.hpp"
#include "kernels/common/rows.hpp"

namespace spf::permute {

struct PermuteArgs {
  const char* x = nullptr;
  char* out = nullptr;
  const int32_t* perm = nullptr; // [columns]
  int64_t k = 0;                 // columns of x
  int64_t columns = 0;           // of out
  RowSpace<2> space;             // [0] x, [1] out

  bool empty() const { return columns == 0 || space.rows == 0; }
};

inline PermuteArgs permute_args(const Call& call) {
  PermuteArgs args;
  const spf_tensor* const both[2] = {call.operand("x"), call.operand("out")};
  args.x = static_cast<const char*>(both[0]->data);
  args.out = static_cast<char*>(both[1]->data);
  args.perm = static_cast<const int32_t*>(call.operand("perm")->data);
  args.k = call.problem.extent("K");
  args.columns = call.problem.extent("J");
  args.space = row_space(both);
  return args;
}

} // namespace spf::permute
