// The device that the tests of this program run on.
#pragma once

#include "check/memory.hpp"
#include "spearfish/tensor.h"

namespace linear_cuda {

spf::check::Memory& device();

// Memory of the device with these bytes, at least one.
spf::check::Block on_device(const void* host, int64_t bytes);

// The view of a contiguous matrix there.
spf_tensor matrix(void* data, spf_scalar_type type, int64_t rows, int64_t columns);

} // namespace linear_cuda
