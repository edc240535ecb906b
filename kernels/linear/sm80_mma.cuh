// Quantized weights in the Marlin order on m16n8k16 with asynchronous copies: 8.0 and later. mma_mainloop.cuh has the
// kernel, mma_weights.cuh what it multiplies by, mma_tile.hpp how a problem is divided.
#pragma once

#include "kernels/linear/mma_launch.cuh"

namespace spf::linear {

template <spf_scalar_type T, spf_scalar_type kWeight, int kGroupKind, int kTokens, int kChannels, int kParts,
          int kMemory>
spf_status mma(const Call& call, const LaunchContext& ctx) {
  return launch_marlin<T, kWeight, kGroupKind, AsyncCopies, kTokens, kChannels, kParts, kMemory>(call, ctx);
}

} // namespace spf::linear
