// Launching, with programmatic dependent launch as an option of every launch.
//
// A kernel that may be launched so calls launch_dependents() at its start and wait_for_primary() before it touches
// anything that the preceding kernel of the stream may write or still read. Without the attribute both do nothing.
#pragma once

#include <cuda_runtime.h>

#include "core/call.hpp"
#include "core/status.hpp"
#include "spearfish/plan.h"

namespace spf::cuda {

__device__ __forceinline__ void wait_for_primary() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

__device__ __forceinline__ void launch_dependents() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;");
#endif
}

// Launches kernel<<<grid, block, shared_bytes, ctx.stream>>>(args). SPF_DEVICE_ERROR with the CUDA code on failure.
template <class Args>
spf_status launch(const char* op, const LaunchContext& ctx, void (*kernel)(Args), int64_t grid, int block,
                  size_t shared_bytes, const Args& args) {
  if (grid > 0x7fffffff)
    return fail(SPF_INVALID_SHAPE, op, "launch", "grid", "over 2147483647 blocks", "at most 2147483647 blocks");
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(static_cast<unsigned>(grid));
  config.blockDim = dim3(static_cast<unsigned>(block));
  config.dynamicSmemBytes = shared_bytes;
  config.stream = static_cast<cudaStream_t>(ctx.stream);
  cudaLaunchAttribute attribute = {};
  if ((ctx.flags & SPF_LAUNCH_PDL) != 0 && ctx.facts->compute_capability >= 90) {
    attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attribute.val.programmaticStreamSerializationAllowed = 1;
    config.attrs = &attribute;
    config.numAttrs = 1;
  }
  const cudaError_t error = cudaLaunchKernelEx(&config, kernel, args);
  if (error == cudaSuccess) return SPF_OK;
  cudaGetLastError(); // a failed launch must not be found by the caller's next check
  return fail(SPF_DEVICE_ERROR, op, "launch", "cudaLaunchKernelEx", cudaGetErrorString(error), "cudaSuccess",
              static_cast<int32_t>(error));
}

} // namespace spf::cuda
