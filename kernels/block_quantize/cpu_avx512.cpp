// AVX-512 blocks: 16 lanes.
#include "kernels/block_quantize/cpu_rows.hpp"

namespace spf::block_quantize {

spf_status avx512_rows(const Call& call, const LaunchContext& ctx) { return cpu_blocks<16>(call, ctx); }

} // namespace spf::block_quantize
