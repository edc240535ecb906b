// Rows of a table by id: see spearfish/ops/embedding.h for shapes, types and the formula.
#pragma once

#include "spearfish/cxx/plan.hpp"
#include "spearfish/ops/embedding.h"

namespace spearfish {

struct EmbeddingParams {
  double scale = 1; // Gemma: the square root of the width
};

// out[r, :] = table[ids[r], :] * scale, zeros for ids outside the table
inline void embedding(const Tensor& ids, const Tensor& table, const Tensor& out, const EmbeddingParams& params = {},
                      const Launch& launch = Launch()) {
  launch.run([&](const spf_launch* l) { return spf_embedding(ids.get(), table.get(), out.get(), params.scale, l); });
}

} // namespace spearfish
