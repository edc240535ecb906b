// Walsh-Hadamard transform of rows: see spearfish/ops/hadamard.h for shapes, types and formula.
#pragma once

#include "spearfish/cxx/plan.hpp"
#include "spearfish/ops/hadamard.h"

namespace spearfish {

// out = x H / sqrt(N), without the root where !normalize
inline void hadamard_transform(const Tensor& x, const Tensor& out, bool normalize = true,
                               const Launch& launch = Launch()) {
  launch.run([&](const spf_launch* l) { return spf_hadamard_transform(x.get(), out.get(), normalize ? 1 : 0, l); });
}

} // namespace spearfish
