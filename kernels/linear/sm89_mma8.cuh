// The same as sm80_mma8 for e4m3, which 8.9 and later multiply.
#pragma once

#include "kernels/linear/mma8_launch.cuh"

namespace spf::linear {

template <spf_scalar_type X, int kTokens, int kChannels, int kParts, bool kFold, int kMemory>
spf_status mma8_e4m3(const Call& call, const LaunchContext& ctx) {
  return launch_bytes<X, AsyncCopies, kTokens, kChannels, kParts, kFold, kMemory>(call, ctx);
}

} // namespace spf::linear
