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

struct GroupQuantParams {
  int64_t group_size = 128;
  double eps = 1e-10;    // the least amax
  bool ue8m0 = false;    // e4m3: scales that are powers of two
  bool truncate = false; // s8: cut fractions off
};

// scale[row, group] = max(min(amax, scale_ub), eps) / 448, out = e4m3(x / scale)
inline void per_token_group_fp8_quant(const Tensor& x, const OptionalTensor& scale_ub, const Tensor& out,
                                      const Tensor& scale, const GroupQuantParams& params = {},
                                      const Launch& launch = Launch()) {
  launch.run([&](const spf_launch* l) {
    return spf_per_token_group_fp8_quant(x.get(), detail::pointer(scale_ub), out.get(), scale.get(), params.group_size,
                                         params.eps, params.ue8m0 ? 1 : 0, l);
  });
}

// scale[row, group] = max(min(amax, scale_ub), eps) / 127, out = s8(x / scale)
inline void per_token_group_quant_int8(const Tensor& x, const OptionalTensor& scale_ub, const Tensor& out,
                                       const Tensor& scale, const GroupQuantParams& params = {},
                                       const Launch& launch = Launch()) {
  launch.run([&](const spf_launch* l) {
    return spf_per_token_group_quant_int8(x.get(), detail::pointer(scale_ub), out.get(), scale.get(), params.group_size,
                                          params.eps, params.truncate ? 1 : 0, l);
  });
}

// e4m3 under powers of two whose exponents lie four a word
inline void per_token_group_fp8_quant_packed(const Tensor& x, const OptionalTensor& scale_ub, const Tensor& out,
                                             const Tensor& scale, const GroupQuantParams& params = {},
                                             const Launch& launch = Launch()) {
  launch.run([&](const spf_launch* l) {
    return spf_per_token_group_fp8_quant_packed(x.get(), detail::pointer(scale_ub), out.get(), scale.get(),
                                                params.group_size, params.eps, l);
  });
}

// out = e4m3(silu(gate) * up / scale)
inline void silu_and_mul_quant(const Tensor& x, const Tensor& scale, const Tensor& out,
                               const Launch& launch = Launch()) {
  launch.run([&](const spf_launch* l) { return spf_silu_and_mul_quant(x.get(), scale.get(), out.get(), l); });
}

// Codes of silu(gate) * up with one scale for each group_size columns of a row
inline void silu_and_mul_per_block_quant(const Tensor& x, const OptionalTensor& scale_ub, const Tensor& out,
                                         const Tensor& scale, int64_t group_size = 128,
                                         const Launch& launch = Launch()) {
  launch.run([&](const spf_launch* l) {
    return spf_silu_and_mul_per_block_quant(x.get(), detail::pointer(scale_ub), out.get(), scale.get(), group_size, l);
  });
}

// The same for the first counts[e] tokens of each expert, in groups of 128
inline void persistent_masked_m_silu_mul_quant(const Tensor& x, const Tensor& counts, const Tensor& out,
                                               const Tensor& scale, double eps = 1e-10, bool ue8m0 = false,
                                               const Launch& launch = Launch()) {
  launch.run([&](const spf_launch* l) {
    return spf_persistent_masked_m_silu_mul_quant(x.get(), counts.get(), out.get(), scale.get(), eps, ue8m0 ? 1 : 0, l);
  });
}

} // namespace spearfish
