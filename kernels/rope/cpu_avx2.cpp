// AVX2 heads: 8 lanes.
#include "kernels/rope/cpu_heads.hpp"

namespace spf::rope {

spf_status avx2_heads(const Call& call, const LaunchContext& ctx) { return cpu_rope<8>(call, ctx); }
spf_status avx2_cache(const Call& call, const LaunchContext& ctx) { return cpu_cache<8>(call, ctx); }

} // namespace spf::rope
