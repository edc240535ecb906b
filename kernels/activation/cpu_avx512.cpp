// AVX-512 rows: 16 lanes.
#include "kernels/activation/cpu_rows.hpp"

namespace spf::activation {

spf_status avx512_rows(const Call& call, const LaunchContext& ctx) { return cpu_activation<16>(call, ctx); }

} // namespace spf::activation
