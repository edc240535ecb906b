// AVX-512 rows: 16 lanes.
#include "kernels/quantize/cpu_groups.hpp"

namespace spf::quantize {

spf_status avx512_rows(const Call& call, const LaunchContext& ctx) { return cpu_quantize<16>(call, ctx); }
spf_status avx512_groups(const Call& call, const LaunchContext& ctx) { return cpu_groups<16>(call, ctx); }
spf_status avx512_silu(const Call& call, const LaunchContext& ctx) { return cpu_silu<16>(call, ctx); }

} // namespace spf::quantize
