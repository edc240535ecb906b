// AVX2 blocks: 8 lanes.
#include "kernels/block_quantize/cpu_rows.hpp"

namespace spf::block_quantize {

spf_status avx2_rows(const Call& call, const LaunchContext& ctx) { return cpu_blocks<8>(call, ctx); }

} // namespace spf::block_quantize
