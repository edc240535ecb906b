// Norms that leave numbers of x's type.
#pragma once

#include "kernels/norm/rows.cuh"

namespace spf::norm {

// The ops by their names in the manifest.
inline constexpr NormOp rms_norm = NormOp::kRms;
inline constexpr NormOp fused_add_rms_norm = NormOp::kFusedAddRms;
inline constexpr NormOp layer_norm = NormOp::kLayer;

// kCapacity: 16-byte chunks that a row may have; 0 for any number.
template <NormOp kOp, spf_scalar_type T, int kCapacity>
spf_status launch_rows(const Call& call, const LaunchContext& ctx) {
  return launch_norm<kOp, T, RowsConfig<kCapacity>, Store>(call.problem.op->name, norm_args(call, kOp), ctx);
}

} // namespace spf::norm
