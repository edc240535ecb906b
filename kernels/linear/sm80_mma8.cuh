// 8-bit weights and activations on m16n8k32: s8 from 8.0 on. mma_mainloop.cuh has the kernel, mma_bytes.cuh what it
// multiplies by.
#pragma once

#include "kernels/linear/mma8_launch.cuh"

namespace spf::linear {

template <spf_scalar_type X, int kTokens, int kChannels, int kParts, bool kFold, int kMemory>
spf_status mma8(const Call& call, const LaunchContext& ctx) {
  return launch_bytes<X, AsyncCopies, kTokens, kChannels, kParts, kFold, kMemory>(call, ctx);
}

} // namespace spf::linear
