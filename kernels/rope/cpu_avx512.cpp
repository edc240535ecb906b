// AVX-512 heads: 16 lanes.
#include "kernels/rope/cpu_heads.hpp"

namespace spf::rope {

spf_status avx512_heads(const Call& call, const LaunchContext& ctx) { return cpu_rope<16>(call, ctx); }
spf_status avx512_cache(const Call& call, const LaunchContext& ctx) { return cpu_cache<16>(call, ctx); }

} // namespace spf::rope
