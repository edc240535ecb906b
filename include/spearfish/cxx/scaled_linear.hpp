// Linear layers with 8-bit activations: see spearfish/ops/scaled_linear.h for shapes, types and arithmetic.
#pragma once

#include "spearfish/cxx/plan.hpp"
#include "spearfish/cxx/quant.hpp"
#include "spearfish/ops/scaled_linear.h"

namespace spearfish {

// What a scaled_linear may have besides x, its scales and W.
struct ScaledLinearExtras {
  OptionalTensor bias, azp, azp_adj, channel_scale, out_factor;
};

// out[..., N] = x_scale * (x[..., K] W[N, K]^T - azp azp_adj[N]) + bias[N]
inline void scaled_linear(const Tensor& x, const Tensor& x_scale, const spf_packed_weight& weight, const Tensor& out,
                          const ScaledLinearExtras& extras = {}, const Launch& launch = Launch()) {
  launch.run([&](const spf_launch* l) {
    return spf_scaled_linear(x.get(), x_scale.get(), &weight, detail::pointer(extras.bias), detail::pointer(extras.azp),
                             detail::pointer(extras.azp_adj), detail::pointer(extras.channel_scale),
                             detail::pointer(extras.out_factor), out.get(), l);
  });
}
inline void scaled_linear(const Tensor& x, const Tensor& x_scale, const PackedWeight& weight, const Tensor& out,
                          const ScaledLinearExtras& extras = {}, const Launch& launch = Launch()) {
  scaled_linear(x, x_scale, *weight.get(), out, extras, launch);
}

// The plan of scaled_linear() for a weight that is not packed yet: plan.layout() is what to pack it into. facts: a
// device that need not be here; std::nullopt for the launch's own.
inline Plan plan_scaled_linear(const Tensor& x, const Tensor& x_scale, const QuantScheme& scheme, int64_t n, int64_t k,
                               const Tensor& out, const ScaledLinearExtras& extras = {}, Launch launch = Launch(),
                               const std::optional<DeviceFacts>& facts = std::nullopt) {
  Plan plan;
  if (facts)
    launch.plan_only(plan, *facts);
  else
    launch.plan_only(plan);
  scaled_linear(x, x_scale, unpacked_weight(scheme, n, k, launch.device()), out, extras, launch);
  return plan;
}

} // namespace spearfish
