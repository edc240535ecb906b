// Launches of the mma.sync mainloop: what the kernels of every target share.
#pragma once

#include "kernels/linear/gather.cuh"
#include "kernels/linear/mma_weights.cuh"
#include "kernels/linear/policy_cuda.hpp"

namespace spf::linear {

// Where results go.
inline MmaOut mma_out(const Call& call) {
  const spf_tensor& out = *call.operand("out");
  MmaOut o = {};
  o.rows = row_space({&out});
  o.data = out.data;
  o.type = out.type;
  o.vector = call.problem.is_aligned16("out");
  o.n = static_cast<int32_t>(call.problem.extent("N"));
  if (const spf_tensor* bias = call.operand("bias")) {
    o.bias = bias->data;
    o.bias_type = bias->type;
  }
  return o;
}

// What becomes of the sums of a call of scaled_linear. scaled: by the kernel, while it summed.
inline ScaledEnd scaled_end(const Call& call, bool scaled) {
  const auto pointer = [&](const char* name) { return call.operand(name) ? call.operand(name)->data : nullptr; };
  ScaledEnd e = {};
  e.out = mma_out(call);
  e.m = static_cast<int32_t>(call.problem.extent("*"));
  if (!scaled) {
    const spf_tensor& x_scale = *call.operand("x_scale");
    e.scales =
        reinterpret_cast<const float*>(static_cast<const uint8_t*>(call.weight->data) + call.weight->scales_offset);
    e.x_scale = static_cast<const float*>(x_scale.data);
    e.scale_rows = row_space({&x_scale});
  }
  e.azp_adj = static_cast<const int32_t*>(pointer("azp_adj"));
  if (const spf_tensor* azp = call.operand("azp")) {
    e.azp = static_cast<const int32_t*>(azp->data);
    e.azp_rows = single_space(*azp);
  }
  e.channel_scale = static_cast<const float*>(pointer("channel_scale"));
  e.out_factor = static_cast<const float*>(pointer("out_factor"));
  return e;
}

// x from here or by way of the workspace (column: in another order), the mainloop, and the sums that several blocks
// have.
template <class C>
spf_status launch_mma(const char* op, const Call& call, const LaunchContext& ctx, MmaArgs<typename C::Weights> a,
                      const int32_t* column) {
  const spf_tensor& x = *call.operand("x");
  const MmaShape shape = mma_shape(call.problem);
  a.plan = mma_plan(shape, *ctx.facts, C::kTile);
  a.m = static_cast<int32_t>(shape.m);
  const MmaWorkspace room = mma_workspace(call.problem, a.plan, C::kTile);
  auto* const workspace = static_cast<uint8_t*>(ctx.workspace);
  a.partial = workspace + room.x_bytes;
  using Element = std::conditional_t<C::Weights::kFormat.x_bytes() == 1, uint8_t, uint16_t>;
  const RowSpace<1> rows = row_space({&x});
  a.x = static_cast<const uint8_t*>(x.data);
  a.x_stride = rows.dims == 0 ? 0 : rows.stride[0][0] * static_cast<int64_t>(sizeof(Element));
  a.x_pieces = static_cast<int32_t>(room.x_pitch * static_cast<int64_t>(sizeof(Element)) / 16);
  LaunchContext next = ctx;
  if (column != nullptr || rows.dims > 1 || shape.k != room.x_pitch || !call.problem.is_aligned16("x")) {
    if (const spf_status s = launch_gather<Element>(op, ctx, x.data, rows, workspace, shape.k, room.x_pitch, column);
        s != SPF_OK)
      return s;
    a.x = workspace;
    a.x_stride = room.x_pitch * static_cast<int64_t>(sizeof(Element));
    next = cuda::following(ctx);
  }
  if (const spf_status s = cuda::launch(op, next, mma_linear<C>, a.plan.grid, C::kThreads,
                                        static_cast<size_t>(C::kTile.shared_bytes()), a);
      s != SPF_OK || a.plan.divided_stages == 0)
    return s;
  const int64_t blocks = stream_ceil((a.plan.tiles - a.plan.whole) * int64_t{C::kTokens * C::kChannels / 8}, 128);
  return cuda::launch(op, cuda::following(ctx), mma_add_parts<C>, blocks, 128, 0, a);
}

// A weight in the Marlin order.
template <spf_scalar_type T, spf_scalar_type kWeight, int kGroupKind, class Copies, int kTokens, int kChannels,
          int kParts, int kMemory>
spf_status launch_marlin(const Call& call, const LaunchContext& ctx) {
  using Weights = MarlinWeights<T, kWeight, kGroupKind>;
  using C = MmaConfig<Weights, Copies, kTokens, kChannels, kParts, kMemory>;
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
  a.weights.column_order = group == 0;
  Weights::set_groups(&a.weights, group);
  a.end.out = mma_out(call);
  a.end.m = static_cast<int32_t>(call.problem.extent("*"));
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
  return launch_mma<C>("linear", call, ctx, a, column);
}

} // namespace spf::linear
