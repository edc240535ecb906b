// AVX2 rows: 8 lanes.
#include "kernels/quantize/cpu_rows.hpp"

namespace spf::quantize {

spf_status avx2_rows(const Call& call, const LaunchContext& ctx) { return cpu_quantize<8>(call, ctx); }

} // namespace spf::quantize
