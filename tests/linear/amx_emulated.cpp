// The AMX kernels on emulated tiles. Compiled for AVX-512; nothing here may run on a processor without it.
#include "amx_emulated.hpp"

#include "kernels/linear/cpu_amx_bf16.hpp"
#include "kernels/linear/cpu_amx_int.hpp"

namespace spf::linear {

spf_status emulated_amx_s8(const Call& call, const LaunchContext& ctx) {
  return run_amx_integer<simd::AmxEmulated, 1>(call, ctx);
}
spf_status emulated_amx_s16(const Call& call, const LaunchContext& ctx) {
  return run_amx_integer<simd::AmxEmulated, 2>(call, ctx);
}

spf_status emulated_amx_bf16(const Call& call, const LaunchContext& ctx) {
  return run_amx_bf16<simd::AmxEmulated>(call, ctx);
}

} // namespace spf::linear
