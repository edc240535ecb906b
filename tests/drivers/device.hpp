// The device that this run of the tests is about: --device.
#pragma once

#include "check/memory.hpp"

namespace spf::drivers {

check::Memory& device();

} // namespace spf::drivers
