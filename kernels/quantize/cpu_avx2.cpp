// AVX2 rows: 8 lanes.
#include "kernels/quantize/cpu_groups.hpp"

namespace spf::quantize {

spf_status avx2_rows(const Call& call, const LaunchContext& ctx) { return cpu_quantize<8>(call, ctx); }
spf_status avx2_groups(const Call& call, const LaunchContext& ctx) { return cpu_groups<8>(call, ctx); }
spf_status avx2_silu(const Call& call, const LaunchContext& ctx) { return cpu_silu<8>(call, ctx); }

} // namespace spf::quantize
