// The CUDA half of the runtime in a build without a toolkit: every question has an answer.
#include "runtime/runtime.hpp"

#include <string>

#include "core/status.hpp"

namespace spf::runtime {

int cuda_device_count() { return 0; }

const char* cuda_absence() { return "this build has no CUDA; configure with -DSPEARFISH_CUDA=ON"; }

spf_status cuda_facts(int index, const spf_device_facts** facts) {
  *facts = nullptr;
  return fail(SPF_NOT_BUILT, "device", "probe", "device", "cuda:" + std::to_string(index), cuda_absence());
}

CudaDeviceScope::CudaDeviceScope(int) {}
CudaDeviceScope::~CudaDeviceScope() = default;

spf_status cuda_synchronize(const char*, void*) { return SPF_OK; }

CudaVersions cuda_versions() { return {}; }

} // namespace spf::runtime
