// Builds without a CUDA toolkit.
#include "model/device_memory.hpp"

#include <string>

#include "model/error.hpp"

namespace spearfish::model {

std::unique_ptr<DeviceMemory> open_cuda_memory(int index) {
  throw Error(SPF_NOT_BUILT, "", "device", "cuda:" + std::to_string(index),
              "cpu: this build holds no CUDA code; configure with -DSPEARFISH_CUDA=ON");
}

} // namespace spearfish::model
