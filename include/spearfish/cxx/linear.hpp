// Linear layers on packed weights: see spearfish/ops/linear.h for shapes, types and arithmetic.
#pragma once

#include "spearfish/cxx/plan.hpp"
#include "spearfish/cxx/quant.hpp"
#include "spearfish/ops/linear.h"

namespace spearfish {

// out[..., N] = x[..., K] W[N, K]^T + bias[N]
inline void linear(const Tensor& x, const spf_packed_weight& weight, const OptionalTensor& bias, const Tensor& out,
                   const Launch& launch = Launch()) {
  launch.run([&](const spf_launch* l) { return spf_linear(x.get(), &weight, detail::pointer(bias), out.get(), l); });
}
inline void linear(const Tensor& x, const PackedWeight& weight, const OptionalTensor& bias, const Tensor& out,
                   const Launch& launch = Launch()) {
  linear(x, *weight.get(), bias, out, launch);
}

// The plan of linear() for a weight that is not packed yet: plan.layout() is what to pack it into. facts: a device that
// need not be here; std::nullopt for the launch's own.
inline Plan plan_linear(const Tensor& x, const QuantScheme& scheme, int64_t n, int64_t k, const OptionalTensor& bias,
                        const Tensor& out, Launch launch = Launch(),
                        const std::optional<DeviceFacts>& facts = std::nullopt) {
  Plan plan;
  if (facts)
    launch.plan_only(plan, *facts);
  else
    launch.plan_only(plan);
  linear(x, unpacked_weight(scheme, n, k, launch.device()), bias, out, launch);
  return plan;
}

} // namespace spearfish
