// AVX-512 rows: 16 lanes.
#include "kernels/norm/cpu_rows.hpp"

namespace spf::norm {

spf_status avx512_rows(const Call& call, const LaunchContext& ctx) { return cpu_norm<16>(call, ctx); }

} // namespace spf::norm
