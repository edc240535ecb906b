// sm75_chunks with e2m1 codes made by the instruction that 10.x and 12.x have for them.
#pragma once

#include "kernels/block_quantize/sm75_chunks.cuh"

namespace spf::block_quantize {

template <BlockOp kOp, spf_scalar_type T>
spf_status launch_converted_chunks(const Call& call, const LaunchContext& ctx) {
  return launch_chunks<kOp, T, SPF_E2M1, true>(call, ctx);
}

} // namespace spf::block_quantize
