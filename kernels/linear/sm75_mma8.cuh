// The same as sm80_mma8 on 7.5: four m8n8k16 for an m16n8k32, and loads that wait in registers.
#pragma once

#include "kernels/linear/mma8_launch.cuh"

namespace spf::linear {

template <spf_scalar_type X, int kTokens, int kChannels, int kParts, bool kFold, int kMemory>
spf_status mma8_turing(const Call& call, const LaunchContext& ctx) {
  return launch_bytes<X, HeldCopies, kTokens, kChannels, kParts, kFold, kMemory>(call, ctx);
}

} // namespace spf::linear
