// What kernels of this family keep in the workspace.
#pragma once

#include <cstdint>

namespace spf::quantize {

// f32 maxima of parts of a tensor, one a block.
inline constexpr int64_t kMostPartials = 512;

} // namespace spf::quantize
