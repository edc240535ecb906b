// The CUDA half of the runtime.
#include "runtime/runtime.hpp"

#include <cstdio>
#include <mutex>
#include <string>
#include <vector>

#include <cuda_runtime_api.h>

#include "core/status.hpp"

namespace spf::runtime {
namespace {

spf_status cuda_fail(const char* op, const char* stage, cudaError_t error) {
  return fail(SPF_DEVICE_ERROR, op, stage, "", std::string(cudaGetErrorName(error)) + ": " + cudaGetErrorString(error),
              "", static_cast<int32_t>(error));
}

struct Devices {
  std::vector<spf_device_facts> facts;
  std::string absence;
};

spf_device_facts read_facts(const cudaDeviceProp& prop) {
  spf_device_facts f = {};
  f.struct_size = sizeof f;
  f.kind = SPF_CUDA;
  std::snprintf(f.name, sizeof f.name, "%.63s", prop.name);
  f.compute_capability = 10 * prop.major + prop.minor;
  f.sm_count = prop.multiProcessorCount;
  f.shared_memory_per_block = static_cast<int64_t>(prop.sharedMemPerBlockOptin);
  f.l2_bytes = prop.l2CacheSize;
  f.memory_bytes = static_cast<int64_t>(prop.totalGlobalMem);
  return f;
}

// Probed once, on first use.
const Devices& devices() {
  static const Devices probed = [] {
    Devices d;
    int count = 0;
    const cudaError_t error = cudaGetDeviceCount(&count);
    if (error != cudaSuccess) {
      d.absence = std::string(cudaGetErrorName(error)) + ": " + cudaGetErrorString(error);
      // The probe's own error must not surface in a later launch.
      (void)cudaGetLastError();
      return d;
    }
    for (int i = 0; i < count; ++i) {
      cudaDeviceProp prop;
      if (cudaGetDeviceProperties(&prop, i) != cudaSuccess) break;
      d.facts.push_back(read_facts(prop));
    }
    if (d.facts.empty()) d.absence = "the driver reports no device";
    return d;
  }();
  return probed;
}

} // namespace

int cuda_device_count() { return static_cast<int>(devices().facts.size()); }

const char* cuda_absence() { return devices().absence.c_str(); }

spf_status cuda_facts(int index, const spf_device_facts** facts) {
  const Devices& d = devices();
  *facts = nullptr;
  if (index < 0 || static_cast<size_t>(index) >= d.facts.size())
    return fail(SPF_INVALID_DEVICE, "device", "probe", "device", "cuda:" + std::to_string(index),
                d.facts.empty() ? "no CUDA device here (" + d.absence + ")"
                                : "cuda:0 to cuda:" + std::to_string(d.facts.size() - 1));
  *facts = &d.facts[static_cast<size_t>(index)];
  return SPF_OK;
}

CudaDeviceScope::CudaDeviceScope(int index) {
  int current = -1;
  cudaError_t error = cudaGetDevice(&current);
  if (error == cudaSuccess && current != index) {
    error = cudaSetDevice(index);
    if (error == cudaSuccess) previous_ = current;
  }
  if (error != cudaSuccess) status_ = cuda_fail("device", "launch", error);
}

CudaDeviceScope::~CudaDeviceScope() {
  if (previous_ >= 0) (void)cudaSetDevice(previous_);
}

spf_status cuda_synchronize(const char* op, void* stream) {
  const cudaError_t error = cudaStreamSynchronize(static_cast<cudaStream_t>(stream));
  return error == cudaSuccess ? SPF_OK : cuda_fail(op, "run", error);
}

CudaVersions cuda_versions() {
  CudaVersions v;
  if (cudaDriverGetVersion(&v.driver) != cudaSuccess) v.driver = 0;
  if (cudaRuntimeGetVersion(&v.runtime) != cudaSuccess) v.runtime = 0;
  (void)cudaGetLastError();
  return v;
}

} // namespace spf::runtime
