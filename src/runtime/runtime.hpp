// Probing and launching on a device. The CUDA half has two implementations: src/runtime/cuda, and src/runtime/no_cuda
// for builds without a toolkit.
#pragma once

#include "spearfish/device.h"

namespace spf::runtime {

// Facts of this machine's CPU, probed once. Asks the kernel for AMX permission where the CPU has it.
const spf_device_facts& cpu_facts();

int cpu_threads();
spf_status set_cpu_threads(int threads);

int cuda_device_count();

// SPF_INVALID_DEVICE if there is no such device. The pointer stays valid for the life of the process.
spf_status cuda_facts(int index, const spf_device_facts** facts);

// Why there are no CUDA devices: "" if there are, else one clause ("built without CUDA", "no driver", ...).
const char* cuda_absence();

// Makes `index` current for the scope and restores what was current before.
class CudaDeviceScope {
 public:
  explicit CudaDeviceScope(int index);
  ~CudaDeviceScope();
  CudaDeviceScope(const CudaDeviceScope&) = delete;
  CudaDeviceScope& operator=(const CudaDeviceScope&) = delete;
  spf_status status() const { return status_; }

 private:
  int previous_ = -1;
  spf_status status_ = SPF_OK;
};

// Waits for the stream and turns a device fault into a status that names the op.
spf_status cuda_synchronize(const char* op, void* stream);

// Device and driver facts for version strings and `doctor`.
struct CudaVersions {
  int driver = 0;  // 13000 for 13.0; 0 without a driver
  int runtime = 0; // of the static runtime in this library; 0 in a build without CUDA
};
CudaVersions cuda_versions();

} // namespace spf::runtime
