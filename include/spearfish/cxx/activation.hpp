// Activation functions: see spearfish/ops/activation.h for shapes, types and formulas.
#pragma once

#include "spearfish/cxx/plan.hpp"
#include "spearfish/ops/activation.h"

namespace spearfish {

namespace detail {
using ActivationFn = spf_status (*)(const spf_tensor*, const spf_tensor*, const spf_launch*);
inline void activate(ActivationFn op, const Tensor& x, const Tensor& out, const Launch& launch) {
  launch.run([&](const spf_launch* l) { return op(x.get(), out.get(), l); });
}
} // namespace detail

// --- gated: x[..., 2*D] -> out[..., D] -----------------------------------------------------------------------------

inline void silu_and_mul(const Tensor& x, const Tensor& out, const Launch& launch = Launch()) {
  detail::activate(spf_silu_and_mul, x, out, launch);
}
inline void mul_and_silu(const Tensor& x, const Tensor& out, const Launch& launch = Launch()) {
  detail::activate(spf_mul_and_silu, x, out, launch);
}
inline void gelu_and_mul(const Tensor& x, const Tensor& out, const Launch& launch = Launch()) {
  detail::activate(spf_gelu_and_mul, x, out, launch);
}
inline void gelu_tanh_and_mul(const Tensor& x, const Tensor& out, const Launch& launch = Launch()) {
  detail::activate(spf_gelu_tanh_and_mul, x, out, launch);
}

struct FatReluParams {
  double threshold = 0.0;
};
inline void fatrelu_and_mul(const Tensor& x, const Tensor& out, const FatReluParams& params = {},
                            const Launch& launch = Launch()) {
  launch.run([&](const spf_launch* l) { return spf_fatrelu_and_mul(x.get(), out.get(), params.threshold, l); });
}

struct SwigluOaiParams {
  double alpha = 1.702;
  double limit = 7.0;
};
inline void swigluoai_and_mul(const Tensor& x, const Tensor& out, const SwigluOaiParams& params = {},
                              const Launch& launch = Launch()) {
  launch.run(
      [&](const spf_launch* l) { return spf_swigluoai_and_mul(x.get(), out.get(), params.alpha, params.limit, l); });
}

// --- elementwise: x[..., D] -> out[..., D] -------------------------------------------------------------------------

inline void silu(const Tensor& x, const Tensor& out, const Launch& launch = Launch()) {
  detail::activate(spf_silu, x, out, launch);
}
inline void gelu(const Tensor& x, const Tensor& out, const Launch& launch = Launch()) {
  detail::activate(spf_gelu, x, out, launch);
}
inline void gelu_tanh(const Tensor& x, const Tensor& out, const Launch& launch = Launch()) {
  detail::activate(spf_gelu_tanh, x, out, launch);
}
inline void gelu_new(const Tensor& x, const Tensor& out, const Launch& launch = Launch()) {
  detail::activate(spf_gelu_new, x, out, launch);
}
inline void gelu_fast(const Tensor& x, const Tensor& out, const Launch& launch = Launch()) {
  detail::activate(spf_gelu_fast, x, out, launch);
}
inline void gelu_quick(const Tensor& x, const Tensor& out, const Launch& launch = Launch()) {
  detail::activate(spf_gelu_quick, x, out, launch);
}

} // namespace spearfish
