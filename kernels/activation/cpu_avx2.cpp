// AVX2 rows: 8 lanes.
#include "kernels/activation/cpu_rows.hpp"

namespace spf::activation {

spf_status avx2_rows(const Call& call, const LaunchContext& ctx) { return cpu_activation<8>(call, ctx); }

} // namespace spf::activation
