// The same as sm80_mma on 7.5: two m16n8k8 for an m16n8k16, two stages, and loads that wait in registers.
#pragma once

#include "kernels/linear/mma_launch.cuh"

namespace spf::linear {

template <spf_scalar_type T, spf_scalar_type kWeight, int kGroupKind, int kTokens, int kChannels, int kParts,
          int kMemory>
spf_status mma_turing(const Call& call, const LaunchContext& ctx) {
  return launch_marlin<T, kWeight, kGroupKind, HeldCopies, kTokens, kChannels, kParts, kMemory>(call, ctx);
}

} // namespace spf::linear
