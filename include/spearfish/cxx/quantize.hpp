// Numbers to 8-bit codes: see spearfish/ops/quantize.h for shapes, types and formulas.
#pragma once

#include "spearfish/cxx/plan.hpp"
#include "spearfish/ops/quantize.h"

namespace spearfish {

// out = e4m3(x / scale), scale [SR, SC]
inline void static_scaled_fp8_quant(const Tensor& x, const Tensor& scale, const Tensor& out,
                                    const Launch& launch = Launch()) {
  launch.run([&](const spf_launch* l) { return spf_static_scaled_fp8_quant(x.get(), scale.get(), out.get(), l); });
}

// scale[0] = amax / 448, out = e4m3(x / scale)
inline void dynamic_scaled_fp8_quant(const Tensor& x, const Tensor& out, const Tensor& scale,
                                     const Launch& launch = Launch()) {
  launch.run([&](const spf_launch* l) { return spf_dynamic_scaled_fp8_quant(x.get(), out.get(), scale.get(), l); });
}

// scale[row] = min(amax, scale_ub) / 448, out = e4m3(x / scale)
inline void dynamic_per_token_scaled_fp8_quant(const Tensor& x, const OptionalTensor& scale_ub, const Tensor& out,
                                               const Tensor& scale, const Launch& launch = Launch()) {
  launch.run([&](const spf_launch* l) {
    return spf_dynamic_per_token_scaled_fp8_quant(x.get(), detail::pointer(scale_ub), out.get(), scale.get(), l);
  });
}

// out = s8(x / scale) + azp
inline void static_scaled_int8_quant(const Tensor& x, const Tensor& scale, const OptionalTensor& azp, const Tensor& out,
                                     const Launch& launch = Launch()) {
  launch.run([&](const spf_launch* l) {
    return spf_static_scaled_int8_quant(x.get(), scale.get(), detail::pointer(azp), out.get(), l);
  });
}

// scale[row] from amax, or scale[row] and azp[row] from the row's range; out = s8(x / scale) + azp
inline void dynamic_scaled_int8_quant(const Tensor& x, const Tensor& out, const Tensor& scale,
                                      const OptionalTensor& azp, const Launch& launch = Launch()) {
  launch.run([&](const spf_launch* l) {
    return spf_dynamic_scaled_int8_quant(x.get(), out.get(), scale.get(), detail::pointer(azp), l);
  });
}

} // namespace spearfish
