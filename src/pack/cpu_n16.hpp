// Layout "cpu_n16", which every CPU kernel reads; core/cpu_packed.hpp says where each byte goes.
#pragma once

#include "pack/layout.hpp"

namespace spf::pack {

extern const LayoutRow kCpuN16Layout;

} // namespace spf::pack
