// What this run of the tests is about: --device, --quick.
#pragma once

#include "check/memory.hpp"

namespace spf::drivers {

check::Memory& device();
// A few small cases of each instance, for a device that is not fast.
bool quick();

} // namespace spf::drivers
