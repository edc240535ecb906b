// nvfp4_linear, mxfp4_linear and mxfp8_linear on tcgen05, by CUTLASS: out = alpha x W^T + bias, both operands with
// scales of 16 or 32 values of K.
//
// Weights are the rows of the layout "block_rows", and the scales of both operands lie as tensor memory takes them.
// Built only: there was no such device to run the product on.
#pragma once

#ifdef SPF_EMULATED
#include "kernels/linear/cutlass_emulated.cuh"
#else
#include "kernels/linear/cutlass_block_gemm.cuh"
#endif

namespace spf::linear {

template <BlockLinear kOp, spf_scalar_type X, spf_scalar_type kEnd, int kTile>
spf_status cutlass_blocks(const Call& call, const LaunchContext& ctx) {
  constexpr int kEach = X == SPF_E2M1 ? 2 : 1; // values of a byte
  const Problem& p = call.problem;
  const char* op = p.op->name;
  const spf_packed_weight& w = *call.weight;
  const int64_t m = p.extent("*");
  if (m == 0 || w.n == 0) return SPF_OK;
  const CutlassRoom room = cutlass_block_room(p);
  CutlassSpace space(ctx.workspace);
  CutlassVectors v = {};
  v.bias = space.take<float>(room.bias_bytes);
  auto* const gathered = space.take<uint8_t>(room.x_bytes);
  auto* const sums = space.take<float>(room.sums_bytes);

  const auto* data = static_cast<const uint8_t*>(w.data);
  CutlassBlockGemm g = {};
  g.x_scales = call.operand("x_scales")->data;
  g.weights = data;
  g.weights_pitch = w.padded_k;
  g.scales = data + w.scales_offset;
  g.m = static_cast<int32_t>(m);
  g.n = static_cast<int32_t>(w.n);
  g.k = static_cast<int32_t>(room.x_pitch * kEach); // whole pieces of 16 bytes; values beyond K are 0 in both
  if (w.scheme.has_global_scale) g.global = reinterpret_cast<const float*>(data + w.global_offset);
  if (const spf_tensor* alpha = call.operand("alpha")) g.alpha = static_cast<const float*>(alpha->data);
  const spf_tensor &x = *call.operand("x"), *bias = call.operand("bias");
  const RowSpace<1> rows = row_space({&x});
  const int64_t bytes = w.k / kEach, pitch = rows.dims == 0 ? bytes : rows.stride[0][0];
  g.x = x.data;
  g.x_pitch = pitch * kEach;
  if (bytes != room.x_pitch || !p.is_aligned16("x") || rows.dims > 1 || (rows.dims == 1 && pitch < bytes)) {
    if (const spf_status s = launch_gather<uint8_t>(op, ctx, x.data, rows, gathered, bytes, room.x_pitch); s != SPF_OK)
      return s;
    g.x = gathered;
    g.x_pitch = room.x_pitch * kEach;
  }
  if constexpr (kEnd == SPF_F32) {
    g.out = sums;
    g.out_pitch = room.sums_pitch;
    LinearEnd end = {};
    end.out = mma_out(call);
    end.m = g.m;
    end.unit = 1.0f;
    end.global = g.global;
    end.alpha = g.alpha;
    g.global = g.alpha = nullptr;
    if (const spf_status s = cutlass_block_gemm<kOp, X, kEnd, kTile>(op, ctx, g); s != SPF_OK) return s;
    return end_sums(op, ctx, sums, end, room.sums_pitch);
  } else {
    g.bias = bias != nullptr ? static_cast<const float*>(bias->data) : nullptr;
    if (v.bias != nullptr) {
      v.from_bias = bias->data;
      v.bias_type = bias->type;
      v.n = w.n;
      if (const spf_status s = cuda::launch(op, ctx, cutlass_vectors, stream_ceil(w.n, 256), 256, 0, v); s != SPF_OK)
        return s;
      g.bias = v.bias;
    }
    g.out = call.operand("out")->data;
    g.out_pitch = w.n;
    return cutlass_block_gemm<kOp, X, kEnd, kTile>(op, ctx, g);
  }
}

} // namespace spf::linear
