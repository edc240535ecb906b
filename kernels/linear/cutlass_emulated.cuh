// What cutlass_gemm.cuh computes, in plain loops: on the emulated device, which has no tcgen05, everything around the
// product runs as it is.
#pragma once

#include "kernels/linear/cutlass_ends.cuh"

namespace spf::linear {

template <spf_scalar_type X, spf_scalar_type kEnd>
__global__ void __launch_bounds__(256) emulated_gemm(const __grid_constant__ CutlassGemm a) {
  using namespace spf::cuda;
  const int64_t at = static_cast<int64_t>(blockIdx.x) * 256 + threadIdx.x, row = at / a.n, column = at - row * a.n;
  if (row >= a.m) return;
  const auto* x = static_cast<const uint8_t*>(a.x) + row * a.x_pitch;
  const auto* w = static_cast<const uint8_t*>(a.weights) + column * a.k;
  std::conditional_t<X == SPF_S8, int32_t, float> sum = 0;
  for (int k = 0; k < a.k; ++k) {
    if constexpr (X == SPF_S8)
      sum += static_cast<int8_t>(x[k]) * static_cast<int8_t>(w[k]);
    else
      sum += widen_fp8x2<SPF_E4M3>(x[k]).x * widen_fp8x2<SPF_E4M3>(w[k]).x;
  }
  const int64_t to = row * a.out_pitch + column;
  if constexpr (kEnd == SPF_F32) {
    static_cast<decltype(sum)*>(a.out)[to] = sum;
  } else {
    const float value = a.tokens[a.one_token_scale ? 0 : row] * (a.channels[column] * static_cast<float>(sum)) +
                        (a.bias != nullptr ? a.bias[column] : 0.0f);
    static_cast<scalar_t<kEnd>*>(a.out)[to] = Scalar<kEnd>::narrow(value);
  }
}

template <spf_scalar_type X, spf_scalar_type kEnd, int kTile>
spf_status cutlass_gemm(const LaunchContext& ctx, const CutlassGemm& g) {
  return cuda::launch("scaled_linear", ctx, emulated_gemm<X, kEnd>, stream_ceil(int64_t{g.m} * g.n, 256), 256, 0, g);
}

} // namespace spf::linear
