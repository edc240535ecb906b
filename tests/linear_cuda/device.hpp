// The device that the tests of this program run on.
#pragma once

#include "check/memory.hpp"

namespace linear_cuda {

spf::check::Memory& device();

} // namespace linear_cuda
