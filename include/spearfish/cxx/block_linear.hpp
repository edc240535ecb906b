// Linear layers of block-scaled activations and weights: see spearfish/ops/block_linear.h for shapes, types and
// arithmetic.
#pragma once

#include "spearfish/cxx/plan.hpp"
#include "spearfish/cxx/quant.hpp"
#include "spearfish/ops/block_linear.h"

namespace spearfish {

// Activations as a block quantizer writes them: codes, and their scales in tiles of 128 x 4 (BlockScales::swizzled).
struct BlockActivation {
  const Tensor& codes;
  const Tensor& scales;
};

struct BlockLinearExtras {
  OptionalTensor alpha, bias;
};

namespace detail {

template <class Function>
void block_linear(const Function& function, const BlockActivation& x, const spf_packed_weight& weight,
                  const Tensor& out, const BlockLinearExtras& extras, const Launch& launch) {
  launch.run([&](const spf_launch* l) {
    return function(x.codes.get(), x.scales.get(), &weight, pointer(extras.alpha), pointer(extras.bias), out.get(), l);
  });
}

template <class Function>
Plan plan_block_linear(const Function& function, const BlockActivation& x, const spf_packed_weight& weight,
                       const Tensor& out, const BlockLinearExtras& extras, Launch launch,
                       const std::optional<DeviceFacts>& facts) {
  Plan plan;
  if (facts)
    launch.plan_only(plan, *facts);
  else
    launch.plan_only(plan);
  block_linear(function, x, weight, out, extras, launch);
  return plan;
}

} // namespace detail

// The plan_ functions: the plan for a weight that is not packed yet; plan.layout() is what to pack it into. facts: a
// device that need not be here; std::nullopt for the launch's own.

// NVFP4 x NVFP4: out[..., N] = alpha * (x[..., K] W[N, K]^T) + bias[N]
inline void nvfp4_linear(const BlockActivation& x, const spf_packed_weight& weight, const Tensor& out,
                         const BlockLinearExtras& extras = {}, const Launch& launch = Launch()) {
  detail::block_linear(spf_nvfp4_linear, x, weight, out, extras, launch);
}
inline void nvfp4_linear(const BlockActivation& x, const PackedWeight& weight, const Tensor& out,
                         const BlockLinearExtras& extras = {}, const Launch& launch = Launch()) {
  nvfp4_linear(x, *weight.get(), out, extras, launch);
}
inline Plan plan_nvfp4_linear(const BlockActivation& x, const QuantScheme& scheme, int64_t n, int64_t k,
                              const Tensor& out, const BlockLinearExtras& extras = {}, const Launch& launch = Launch(),
                              const std::optional<DeviceFacts>& facts = std::nullopt) {
  return detail::plan_block_linear(spf_nvfp4_linear, x, unpacked_weight(scheme, n, k, launch.device()), out, extras,
                                   launch, facts);
}

// MXFP4 x MXFP4: out[..., N] = alpha * (x[..., K] W[N, K]^T) + bias[N]
inline void mxfp4_linear(const BlockActivation& x, const spf_packed_weight& weight, const Tensor& out,
                         const BlockLinearExtras& extras = {}, const Launch& launch = Launch()) {
  detail::block_linear(spf_mxfp4_linear, x, weight, out, extras, launch);
}
inline void mxfp4_linear(const BlockActivation& x, const PackedWeight& weight, const Tensor& out,
                         const BlockLinearExtras& extras = {}, const Launch& launch = Launch()) {
  mxfp4_linear(x, *weight.get(), out, extras, launch);
}
inline Plan plan_mxfp4_linear(const BlockActivation& x, const QuantScheme& scheme, int64_t n, int64_t k,
                              const Tensor& out, const BlockLinearExtras& extras = {}, const Launch& launch = Launch(),
                              const std::optional<DeviceFacts>& facts = std::nullopt) {
  return detail::plan_block_linear(spf_mxfp4_linear, x, unpacked_weight(scheme, n, k, launch.device()), out, extras,
                                   launch, facts);
}

// MXFP8 x MXFP8 or MXFP4: out[..., N] = alpha * (x[..., K] W[N, K]^T) + bias[N]
inline void mxfp8_linear(const BlockActivation& x, const spf_packed_weight& weight, const Tensor& out,
                         const BlockLinearExtras& extras = {}, const Launch& launch = Launch()) {
  detail::block_linear(spf_mxfp8_linear, x, weight, out, extras, launch);
}
inline void mxfp8_linear(const BlockActivation& x, const PackedWeight& weight, const Tensor& out,
                         const BlockLinearExtras& extras = {}, const Launch& launch = Launch()) {
  mxfp8_linear(x, *weight.get(), out, extras, launch);
}
inline Plan plan_mxfp8_linear(const BlockActivation& x, const QuantScheme& scheme, int64_t n, int64_t k,
                              const Tensor& out, const BlockLinearExtras& extras = {}, const Launch& launch = Launch(),
                              const std::optional<DeviceFacts>& facts = std::nullopt) {
  return detail::plan_block_linear(spf_mxfp8_linear, x, unpacked_weight(scheme, n, k, launch.device()), out, extras,
                                   launch, facts);
}

} // namespace spearfish
