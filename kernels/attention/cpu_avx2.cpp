// AVX2: 8 lanes.
#include "kernels/attention/cpu_attention.hpp"

namespace spf::attention {

spf_status avx2_attention(const Call& call, const LaunchContext& ctx) { return cpu_attention<8>(call, ctx); }
spf_status avx2_merge(const Call& call, const LaunchContext& ctx) { return cpu_merge<8>(call, ctx); }

} // namespace spf::attention
