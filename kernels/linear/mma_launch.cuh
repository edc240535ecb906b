// Launches of the mma.sync mainloop: what the kernels of every target share.
#pragma once

#include "kernels/linear/gather.cuh"
#include "kernels/linear/mma_weights.cuh"
#include "kernels/linear/policy_cuda.hpp"

namespace spf::linear {

// x from here or by way of the workspace (column: in another order), the mainloop, and the sums that several blocks
// have.
template <class C>
spf_status launch_mma(const Call& call, const LaunchContext& ctx, MmaArgs<typename C::Weights> a,
                      const int32_t* column) {
  const spf_tensor &x = *call.operand("x"), &out = *call.operand("out");
  const MmaShape shape = mma_shape(call.problem);
  a.plan = mma_plan(shape, *ctx.facts, C::kTile);
  a.end.rows = row_space({&out});
  a.end.out = out.data;
  a.end.out_type = out.type;
  a.end.vector_out = call.problem.is_aligned16("out");
  if (const spf_tensor* bias = call.operand("bias")) {
    a.end.bias = bias->data;
    a.end.bias_type = bias->type;
  }
  a.end.m = static_cast<int32_t>(shape.m);
  a.end.n = static_cast<int32_t>(shape.n);
  const MmaWorkspace room = mma_workspace(call.problem, a.plan, C::kTile);
  auto* const workspace = static_cast<uint8_t*>(ctx.workspace);
  a.partial = reinterpret_cast<float*>(workspace + room.x_bytes);
  a.x = static_cast<const uint8_t*>(x.data);
  a.x_rows = row_space({&x});
  a.x_row_bytes = shape.k * 2;
  for (int d = 0; d < a.x_rows.dims; ++d) a.x_rows.stride[0][d] *= 2;
  LaunchContext next = ctx;
  if (room.x_bytes != 0) {
    const GatherArgs g = {
        static_cast<const uint16_t*>(x.data), static_cast<uint16_t*>(ctx.workspace), row_space({&x}), column,
        static_cast<int32_t>(shape.k),        static_cast<int32_t>(room.x_pitch)};
    if (const spf_status s = cuda::launch("linear", ctx, gather_rows, shape.m, 256, 0, g); s != SPF_OK) return s;
    a.x = workspace;
    a.x_rows = {};
    a.x_rows.rows = shape.m;
    a.x_rows.dims = 1;
    a.x_rows.extent[0] = shape.m;
    a.x_rows.stride[0][0] = room.x_pitch * 2;
    next = cuda::following(ctx);
  }
  if (const spf_status s = cuda::launch("linear", next, mma_linear<C>, a.plan.grid, C::kThreads,
                                        static_cast<size_t>(C::kTile.shared_bytes()), a);
      s != SPF_OK || a.plan.divided_stages == 0)
    return s;
  const int64_t blocks = stream_ceil((a.plan.tiles - a.plan.whole) * (C::kTokens * C::kChannels / 8), 128);
  return cuda::launch("linear", cuda::following(ctx), mma_add_parts<C>, blocks, 128, 0, a);
}

// A weight in the Marlin order.
template <spf_scalar_type T, spf_scalar_type kWeight, int kGroupKind, class Copies, int kTokens, int kChannels,
          int kParts, int kPipeline>
spf_status launch_marlin(const Call& call, const LaunchContext& ctx) {
  using Weights = MarlinWeights<T, kWeight, kGroupKind>;
  using C = MmaConfig<Weights, Copies, kTokens, kChannels, kParts, kPipeline>;
  const spf_packed_weight& w = *call.weight;
  const auto* data = static_cast<const uint8_t*>(w.data);
  if (call.problem.extent("*") == 0 || w.n == 0) return SPF_OK;
  MmaArgs<Weights> a = {};
  a.weights.codes = data;
  a.weights.scales = data + w.scales_offset;
  a.weights.zeros = data + w.zeros_offset;
  a.weights.tiles = static_cast<int32_t>(w.padded_n / 64);
  a.weights.rows = static_cast<int32_t>(w.padded_k / 16);
  a.weights.padded_n = static_cast<int32_t>(w.padded_n);
  a.weights.f16_scales = w.scheme.scale == SPF_F16;
  const int64_t group = group_size(call.problem);
  a.weights.groups = static_cast<int32_t>(group == 0 ? 1 : stream_ceil(w.k, group));
  Weights::set_groups(&a.weights, group, C::kSteps);
  a.end.unit = Weights::kUnit;
  if (kGroupKind == kOneGroup) {
    a.end.column_scales = data + w.scales_offset;
    a.end.column_type = w.scheme.scale;
    // The Marlin order holds 16-bit scales of fp8 weights with a factor.
    if (kWeight == SPF_E4M3 && w.scheme.scale != SPF_F32) a.end.unit *= w.scheme.scale == SPF_F16 ? 0x1p-8f : 0x1p-120f;
  }
  if (w.scheme.has_global_scale) a.end.global = reinterpret_cast<const float*>(data + w.global_offset);
  const int32_t* column = nullptr;
  if (w.scheme.has_g_idx) {
    a.weights.sorted = reinterpret_cast<const int32_t*>(data + w.g_idx_offset);
    column = a.weights.sorted + w.padded_k;
  }
  return launch_mma<C>(call, ctx, a, column);
}

} // namespace spf::linear
