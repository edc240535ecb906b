// AVX-512 rows: 16 lanes.
#include "kernels/quantize/cpu_rows.hpp"

namespace spf::quantize {

spf_status avx512_rows(const Call& call, const LaunchContext& ctx) { return cpu_quantize<16>(call, ctx); }

} // namespace spf::quantize
