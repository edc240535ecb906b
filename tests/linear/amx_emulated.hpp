// The AMX kernels on emulated tiles; for processors with AVX-512 VNNI and BF16.
#pragma once

#include "core/call.hpp"

namespace spf::linear {

spf_status emulated_amx_s8(const Call& call, const LaunchContext& ctx);
spf_status emulated_amx_s16(const Call& call, const LaunchContext& ctx);
spf_status emulated_amx_bf16(const Call& call, const LaunchContext& ctx);

} // namespace spf::linear
