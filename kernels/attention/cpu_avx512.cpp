// AVX-512: 16 lanes.
#include "kernels/attention/cpu_attention.hpp"

namespace spf::attention {

spf_status avx512_attention(const Call& call, const LaunchContext& ctx) { return cpu_attention<16>(call, ctx); }
spf_status avx512_merge(const Call& call, const LaunchContext& ctx) { return cpu_merge<16>(call, ctx); }

} // namespace spf::attention
