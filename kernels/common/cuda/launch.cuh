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
#ifdef SPF_EMULATED // there kernels run one by one
  emulated::wait_for_primary();
#elif defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

__device__ __forceinline__ void launch_dependents() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900 && !defined(SPF_EMULATED) // there kernels run one by one
  asm volatile("griddepcontrol.launch_dependents;");
#endif
}

// Declares the block's dynamic shared memory as an array of `type` called `name`, on `alignment` bytes (at most 128).
#ifdef SPF_EMULATED
#define SPF_DYNAMIC_SHARED(type, name, alignment) \
  type* const name = static_cast<type*>(::spf::emulated::dynamic_shared(alignment))
#else
#define SPF_DYNAMIC_SHARED(type, name, alignment) \
  extern __shared__ __align__(alignment)          \
  type name[]
#endif

// How the second and later kernels of one call launch: each may start while the one before it drains, for it waits by
// itself (wait_for_primary), whatever the caller asked for the first.
inline LaunchContext following(const LaunchContext& ctx) {
  LaunchContext next = ctx;
  next.flags |= SPF_LAUNCH_PDL;
  return next;
}

// Launches kernel<<<grid, block, shared_bytes, ctx.stream>>>(args), in clusters of `cluster` blocks (9.0 and later; the
// grid is a whole number of them). SPF_DEVICE_ERROR with the CUDA code on failure.
template <class Args>
spf_status launch(const char* op, const LaunchContext& ctx, void (*kernel)(Args), int64_t grid, int block,
                  size_t shared_bytes, const Args& args, int cluster = 1) {
  if (grid > 0x7fffffff)
    return fail(SPF_INVALID_SHAPE, op, "launch", "grid", "over 2147483647 blocks", "at most 2147483647 blocks");
  cudaLaunchAttribute attributes[2] = {};
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(static_cast<unsigned>(grid));
  config.blockDim = dim3(static_cast<unsigned>(block));
  config.dynamicSmemBytes = shared_bytes;
  config.stream = static_cast<cudaStream_t>(ctx.stream);
  config.attrs = attributes;
  if ((ctx.flags & SPF_LAUNCH_PDL) != 0 && ctx.facts->compute_capability >= 90) {
    cudaLaunchAttribute& dependent = attributes[config.numAttrs++];
    dependent.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    dependent.val.programmaticStreamSerializationAllowed = 1;
  }
  if (cluster > 1) {
    cudaLaunchAttribute& dimension = attributes[config.numAttrs++];
    dimension.id = cudaLaunchAttributeClusterDimension;
    dimension.val.clusterDim = {static_cast<unsigned>(cluster), 1, 1};
  }
  // More than 48 KiB has to be asked for.
  cudaError_t error =
      shared_bytes <= 48 * 1024
          ? cudaSuccess
          : cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared_bytes));
  if (error == cudaSuccess && cluster > 8) // of 16: not on every device, so it has to be asked for as well
    error = cudaFuncSetAttribute(kernel, cudaFuncAttributeNonPortableClusterSizeAllowed, 1);
  if (error == cudaSuccess) error = cudaLaunchKernelEx(&config, kernel, args);
  if (error == cudaSuccess) return SPF_OK;
  cudaGetLastError(); // a failed launch must not be found by the caller's next check
  return fail(SPF_DEVICE_ERROR, op, "launch", "cudaLaunchKernelEx", cudaGetErrorString(error), "cudaSuccess",
              static_cast<int32_t>(error));
}

} // namespace spf::cuda
