// Columns in another order: see spearfish/ops/permute.h.
#pragma once

#include "spearfish/cxx/plan.hpp"
#include "spearfish/ops/permute.h"

namespace spearfish {

// out[..., j] = x[..., perm[j]]
inline void permute_cols(const Tensor& x, const Tensor& perm, const Tensor& out, const Launch& launch = Launch()) {
  launch.run([&](const spf_launch* l) { return spf_permute_cols(x.get(), perm.get(), out.get(), l); });
}

} // namespace spearfish
