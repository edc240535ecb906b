#include "kernels/linear/cpu_amx_bf16.hpp"

namespace spf::linear {

spf_status amx_bf16(const Call& call, const LaunchContext& ctx) { return run_amx_bf16<simd::AmxTiles>(call, ctx); }

} // namespace spf::linear
