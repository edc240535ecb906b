// scaled_linear on tcgen05, by CUTLASS: out[m,n] = x_scale[m] * (scale[n] * sum_k x[m,k] w[n,k]) + bias[n], 8-bit x and
// w.
//
//   cutlass_vectors   scales and a bias that the epilogue cannot read where they lie, into the workspace
//   CUTLASS           the product, with scales and bias, into out; or sums, into the workspace
//   cutlass_end       sums to out: zero points, results but bf16, rows that do not start on 16 bytes
//
// Weights are rows of bytes, the layout "reference". Built only: there was no such device to run the product on.
#pragma once

#ifdef SPF_EMULATED
#include "kernels/linear/cutlass_emulated.cuh"
#else
#include "kernels/linear/cutlass_gemm.cuh"
#endif

namespace spf::linear {

template <spf_scalar_type X, spf_scalar_type kEnd, int kTile>
spf_status cutlass_scaled(const Call& call, const LaunchContext& ctx) {
  const Problem& p = call.problem;
  const spf_packed_weight& w = *call.weight;
  const int64_t m = p.extent("*");
  if (m == 0 || w.n == 0) return SPF_OK;
  const CutlassRoom room = cutlass_room(p);
  CutlassSpace space(ctx.workspace);
  CutlassVectors v = {};
  v.tokens = space.take<float>(room.tokens_bytes);
  v.channels = space.take<float>(room.channels_bytes);
  v.bias = space.take<float>(room.bias_bytes);
  auto* const gathered = space.take<uint8_t>(room.x_bytes);

  CutlassGemm g = {};
  g.weights = w.data;
  g.m = static_cast<int32_t>(m);
  g.n = static_cast<int32_t>(w.n);
  g.k = static_cast<int32_t>(w.k);
  const spf_tensor& x = *call.operand("x");
  const RowSpace<1> rows = row_space({&x});
  g.x = x.data;
  g.x_pitch = rows.dims == 0 ? w.k : rows.stride[0][0];
  if (needs_gathering(p, rows.dims, g.x_pitch)) {
    if (const spf_status s = launch_gather<uint8_t>("scaled_linear", ctx, x.data, rows, gathered, g.k, g.k);
        s != SPF_OK)
      return s;
    g.x = gathered;
    g.x_pitch = w.k;
  }
  if constexpr (kEnd == SPF_F32) {
    g.out = space.take<char>(room.sums_bytes);
    g.out_pitch = room.sums_pitch;
    if (const spf_status s = cutlass_gemm<X, kEnd, kTile>(ctx, g); s != SPF_OK) return s;
    using Total = std::conditional_t<X == SPF_S8, int32_t, float>;
    return end_sums("scaled_linear", ctx, static_cast<const Total*>(g.out), scaled_end(call, false), g.out_pitch);
  } else {
    if (const spf_status s = epilogue_vectors(call, ctx, v, &g); s != SPF_OK) return s;
    g.out = call.operand("out")->data;
    g.out_pitch = w.n;
    return cutlass_gemm<X, kEnd, kTile>(ctx, g);
  }
}

} // namespace spf::linear
