// What cutlass_gemm.cuh and cutlass_block_gemm.cuh compute, in plain loops: on the emulated device, which has no
// tcgen05, everything around the product runs as it is.
#pragma once

#include "kernels/linear/cutlass_ends.cuh"

namespace spf::linear {

template <spf_scalar_type X, spf_scalar_type kEnd>
__global__ void __launch_bounds__(256) emulated_gemm(const __grid_constant__ CutlassGemm a) {
  using namespace spf::cuda;
  wait_for_primary();
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

// A code and its scale.
template <BlockLinear kOp, spf_scalar_type X>
__device__ float scaled_value(const void* codes, int64_t pitch, const void* scales, int64_t tiles, int64_t row, int k) {
  using namespace spf::cuda;
  const auto* bytes = static_cast<const uint8_t*>(codes);
  const uint32_t scale = static_cast<const uint8_t*>(scales)[tiled_scale_place(row, k / block_of(kOp), tiles)];
  const float factor = kOp == BlockLinear::kNvfp4 ? widen_fp8x2<SPF_E4M3>(scale).x
                       : scale == 0xff            ? NAN
                                                  : ldexpf(1.0f, static_cast<int>(scale) - 127);
  const int64_t at = row * pitch + k;
  if constexpr (X == SPF_E2M1) {
    constexpr float kMagnitudes[8] = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6};
    const uint32_t code = bytes[at / 2] >> (4 * (at % 2)) & 15u;
    return (code & 8u ? -kMagnitudes[code & 7u] : kMagnitudes[code & 7u]) * factor;
  } else {
    return widen_fp8x2<X>(bytes[at]).x * factor;
  }
}

template <BlockLinear kOp, spf_scalar_type X, spf_scalar_type kEnd>
__global__ void __launch_bounds__(256) emulated_block_gemm(const __grid_constant__ CutlassBlockGemm a) {
  using namespace spf::cuda;
  wait_for_primary();
  const int64_t at = static_cast<int64_t>(blockIdx.x) * 256 + threadIdx.x, row = at / a.n, column = at - row * a.n;
  if (row >= a.m) return;
  const int64_t tiles = scale_tiles((a.k + block_of(kOp) - 1) / block_of(kOp));
  float sum = 0;
  for (int k = 0; k < a.k; ++k)
    sum += scaled_value<kOp, X>(a.x, a.x_pitch, a.x_scales, tiles, row, k) *
           scaled_value<kOp, X>(a.weights, a.weights_pitch, a.scales, tiles, column, k);
  if (a.alpha != nullptr) sum *= *a.alpha;
  if (a.global != nullptr) sum *= *a.global;
  if (a.bias != nullptr) sum += a.bias[column];
  static_cast<scalar_t<kEnd>*>(a.out)[row * a.out_pitch + column] = Scalar<kEnd>::narrow(sum);
}

template <BlockLinear kOp, spf_scalar_type X, spf_scalar_type kEnd, int kTile>
spf_status cutlass_block_gemm(const char* op, const LaunchContext& ctx, const CutlassBlockGemm& g) {
  return cuda::launch(op, ctx, emulated_block_gemm<kOp, X, kEnd>, stream_ceil(int64_t{g.m} * g.n, 256), 256, 0, g);
}

template <spf_scalar_type X, spf_scalar_type kEnd, int kTile>
spf_status cutlass_gemm(const LaunchContext& ctx, const CutlassGemm& g) {
  return cuda::launch("scaled_linear", ctx, emulated_gemm<X, kEnd>, stream_ceil(int64_t{g.m} * g.n, 256), 256, 0, g);
}

} // namespace spf::linear
