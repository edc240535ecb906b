// Block-scaled quantization: see spearfish/ops/block_quantize.h for shapes, types and formulas.
#pragma once

#include "spearfish/cxx/plan.hpp"
#include "spearfish/ops/block_quantize.h"

namespace spearfish {

// Where the scales of a block quantizer go: a row of them for each row, tiles of 128 x 4, or both.
struct BlockScales {
  OptionalTensor rows;
  OptionalTensor swizzled;
};

inline void nvfp4_quantize(const Tensor& x, const Tensor& global_scale, const Tensor& codes, const BlockScales& scales,
                           const Launch& launch = Launch()) {
  launch.run([&](const spf_launch* l) {
    return spf_nvfp4_quantize(x.get(), global_scale.get(), codes.get(), detail::pointer(scales.rows),
                              detail::pointer(scales.swizzled), l);
  });
}

// Of silu(gate) * up, the halves of x
inline void silu_and_mul_nvfp4_quantize(const Tensor& x, const Tensor& global_scale, const Tensor& codes,
                                        const BlockScales& scales, const Launch& launch = Launch()) {
  launch.run([&](const spf_launch* l) {
    return spf_silu_and_mul_nvfp4_quantize(x.get(), global_scale.get(), codes.get(), detail::pointer(scales.rows),
                                           detail::pointer(scales.swizzled), l);
  });
}

inline void mxfp4_quantize(const Tensor& x, const Tensor& codes, const BlockScales& scales,
                           spf_mx_scale_rule rule = SPF_MX_SCALE_FLOOR, const Launch& launch = Launch()) {
  launch.run([&](const spf_launch* l) {
    return spf_mxfp4_quantize(x.get(), codes.get(), detail::pointer(scales.rows), detail::pointer(scales.swizzled),
                              rule, l);
  });
}

// e4m3 or e5m2, by the type of codes
inline void mxfp8_quantize(const Tensor& x, const Tensor& codes, const BlockScales& scales,
                           spf_mx_scale_rule rule = SPF_MX_SCALE_FLOOR, const Launch& launch = Launch()) {
  launch.run([&](const spf_launch* l) {
    return spf_mxfp8_quantize(x.get(), codes.get(), detail::pointer(scales.rows), detail::pointer(scales.swizzled),
                              rule, l);
  });
}

// Where rows sorted by expert lie: [E + 1] each
struct ExpertRows {
  const Tensor& offsets;
  const Tensor& scale_offsets; // each expert's rows rounded up to 128
};

inline void nvfp4_experts_quantize(const Tensor& x, const Tensor& global_scales, const ExpertRows& experts,
                                   const Tensor& codes, const Tensor& scales_swizzled,
                                   const Launch& launch = Launch()) {
  launch.run([&](const spf_launch* l) {
    return spf_nvfp4_experts_quantize(x.get(), global_scales.get(), experts.offsets.get(), experts.scale_offsets.get(),
                                      codes.get(), scales_swizzled.get(), l);
  });
}

inline void silu_and_mul_nvfp4_experts_quantize(const Tensor& x, const Tensor& global_scales, const ExpertRows& experts,
                                                const Tensor& codes, const Tensor& scales_swizzled,
                                                const Launch& launch = Launch()) {
  launch.run([&](const spf_launch* l) {
    return spf_silu_and_mul_nvfp4_experts_quantize(x.get(), global_scales.get(), experts.offsets.get(),
                                                   experts.scale_offsets.get(), codes.get(), scales_swizzled.get(), l);
  });
}

inline void mxfp8_experts_quantize(const Tensor& x, const ExpertRows& experts, const Tensor& codes,
                                   const Tensor& scales_swizzled, spf_mx_scale_rule rule = SPF_MX_SCALE_UP,
                                   const Launch& launch = Launch()) {
  launch.run([&](const spf_launch* l) {
    return spf_mxfp8_experts_quantize(x.get(), experts.offsets.get(), experts.scale_offsets.get(), codes.get(),
                                      scales_swizzled.get(), rule, l);
  });
}

// Of x times a rotation [R, R], block by block
inline void rotate_nvfp4_quantize(const Tensor& x, const Tensor& rotation, const Tensor& global_scale,
                                  const Tensor& codes, const BlockScales& scales, const Launch& launch = Launch()) {
  launch.run([&](const spf_launch* l) {
    return spf_rotate_nvfp4_quantize(x.get(), rotation.get(), global_scale.get(), codes.get(),
                                     detail::pointer(scales.rows), detail::pointer(scales.swizzled), l);
  });
}

inline void rotate_mxfp4_quantize(const Tensor& x, const Tensor& rotation, const Tensor& codes,
                                  const BlockScales& scales, spf_rotated_scale_rule rule = SPF_ROTATED_SCALE_QUEST,
                                  const Launch& launch = Launch()) {
  launch.run([&](const spf_launch* l) {
    return spf_rotate_mxfp4_quantize(x.get(), rotation.get(), codes.get(), detail::pointer(scales.rows),
                                     detail::pointer(scales.swizzled), rule, l);
  });
}

// Rows of block scales into tiles of 128 x 4
inline void swizzle_scales(const Tensor& scales, const Tensor& swizzled, const Launch& launch = Launch()) {
  launch.run([&](const spf_launch* l) { return spf_swizzle_scales(scales.get(), swizzled.get(), l); });
}

// and back
inline void unswizzle_scales(const Tensor& swizzled, const Tensor& scales, const Launch& launch = Launch()) {
  launch.run([&](const spf_launch* l) { return spf_unswizzle_scales(swizzled.get(), scales.get(), l); });
}

} // namespace spearfish
