// AVX2 rows: 8 lanes.
#include "kernels/norm/cpu_rows.hpp"

namespace spf::norm {

spf_status avx2_rows(const Call& call, const LaunchContext& ctx) { return cpu_norm<8>(call, ctx); }

} // namespace spf::norm
