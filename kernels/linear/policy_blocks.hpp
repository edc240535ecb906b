// What the linear layers of block-scaled activations take.
#pragma once

#include "core/constraint.hpp"
#include "kernels/common/policy.hpp"
#include "kernels/linear/blocks.hpp"
#include "kernels/linear/policy_cuda.hpp"

namespace spf::linear {

// Weights whose blocks are those of x, and whole blocks.
inline Violation block_linear_constraint(const Problem& p) {
  BlockLinear op = {};
  is_block_linear(*p.op, &op);
  const spf_format format = p.scheme.format;
  const bool fits = op == BlockLinear::kNvfp4   ? format == SPF_FORMAT_NVFP4
                    : op == BlockLinear::kMxfp4 ? format == SPF_FORMAT_MXFP4
                                                : format == SPF_FORMAT_MXFP8 || format == SPF_FORMAT_MXFP4;
  if (!fits)
    return {"weight.scheme.type", "format " + std::to_string(format),
            op == BlockLinear::kNvfp4   ? "SPF_FORMAT_NVFP4"
            : op == BlockLinear::kMxfp4 ? "SPF_FORMAT_MXFP4"
                                        : "SPF_FORMAT_MXFP8, SPF_FORMAT_MXFP4"};
  if (p.extent("K") % block_of(op) != 0)
    return {"weight.k", std::to_string(p.extent("K")), "a multiple of " + std::to_string(block_of(op))};
  return {};
}

// On the block-scaled products of mma.sync. Costs are microseconds, of data sheets.
inline PolicyResult sm120_mma_policy(const Problem& p, const spf_device_facts& facts,
                                     std::span<const InstanceRow> instances) {
  BlockLinear op = {};
  is_block_linear(*p.op, &op);
  const spf_scalar_type weight = p.scheme.weight, x = op == BlockLinear::kMxfp8 ? p.type("X") : SPF_E2M1;
  const bool opened = x != SPF_E2M1 && weight == SPF_E2M1;
  const std::string_view layout = opened ? "block_rows_a8" : "block_rows";
  if (*p.layout != '\0' && layout != p.layout)
    return policy::refuse("layout", "reads block_rows_a8 where 4-bit weights meet 8-bit x, else block_rows");
  const MmaFormat format = block_format(static_cast<int>(block_of(op)), static_cast<int>(values_a_byte(op)), opened);
  PolicyResult result = mma_choice(
      p, facts, instances,
      [&](const InstanceRow& row) { return policy::axis(row, "x") == x && policy::axis(row, "weight") == weight; },
      [&](const InstanceRow& row) { return mma_tile_of(row, format); });
  result.layout = layout.data();
  return result;
}

} // namespace spf::linear
