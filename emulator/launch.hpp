// Launching on the emulated device.
#pragma once

#include <functional>
#include <tuple>
#include <utility>

#include <cuda_runtime_api.h>

#include "emulator/machine.hpp"

namespace spf::emulated {

cudaError_t launch(const cudaLaunchConfig_t& config, const void* kernel, std::function<void()> body);
// Of the __shared__ variables of a kernel.
size_t shared_variable_bytes(const void* kernel);

// cudaLaunchKernelEx
template <class... Parameters, class... Arguments>
cudaError_t launch_kernel(const cudaLaunchConfig_t* config, void (*kernel)(Parameters...), Arguments&&... arguments) {
  std::tuple<std::remove_cv_t<Parameters>...> values(std::forward<Arguments>(arguments)...);
  return launch(*config, reinterpret_cast<const void*>(kernel), [kernel, values] { std::apply(kernel, values); });
}

} // namespace spf::emulated
