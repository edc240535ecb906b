#include "kernels/linear/cpu_amx_int.hpp"

namespace spf::linear {

spf_status amx_s8(const Call& call, const LaunchContext& ctx) { return run_amx_integer<simd::AmxTiles, 1>(call, ctx); }
spf_status amx_s16(const Call& call, const LaunchContext& ctx) { return run_amx_integer<simd::AmxTiles, 2>(call, ctx); }

} // namespace spf::linear
