#include "spearfish/ops/block_quantize.h"

extern "C" {

spf_status spf_nvfp4_quantize(const spf_tensor* x, const spf_tensor* global_scale, const spf_tensor* codes,
                              const spf_tensor* scales, const spf_tensor* scales_swizzled, const spf_launch* launch) {
  const spf_tensor* operands[] = {x, global_scale, codes, scales, scales_swizzled};
  return spf_op_call("nvfp4_quantize", operands, 5, nullptr, 0, nullptr, launch);
}

spf_status spf_silu_and_mul_nvfp4_quantize(const spf_tensor* x, const spf_tensor* global_scale, const spf_tensor* codes,
                                           const spf_tensor* scales, const spf_tensor* scales_swizzled,
                                           const spf_launch* launch) {
  const spf_tensor* operands[] = {x, global_scale, codes, scales, scales_swizzled};
  return spf_op_call("silu_and_mul_nvfp4_quantize", operands, 5, nullptr, 0, nullptr, launch);
}

spf_status spf_mxfp4_quantize(const spf_tensor* x, const spf_tensor* codes, const spf_tensor* scales,
                              const spf_tensor* scales_swizzled, int32_t scale_rule, const spf_launch* launch) {
  const spf_tensor* operands[] = {x, codes, scales, scales_swizzled};
  const double rule = scale_rule;
  return spf_op_call("mxfp4_quantize", operands, 4, &rule, 1, nullptr, launch);
}

spf_status spf_mxfp8_quantize(const spf_tensor* x, const spf_tensor* codes, const spf_tensor* scales,
                              const spf_tensor* scales_swizzled, int32_t scale_rule, const spf_launch* launch) {
  const spf_tensor* operands[] = {x, codes, scales, scales_swizzled};
  const double rule = scale_rule;
  return spf_op_call("mxfp8_quantize", operands, 4, &rule, 1, nullptr, launch);
}

spf_status spf_nvfp4_experts_quantize(const spf_tensor* x, const spf_tensor* global_scales,
                                      const spf_tensor* expert_offsets, const spf_tensor* scale_offsets,
                                      const spf_tensor* codes, const spf_tensor* scales_swizzled,
                                      const spf_launch* launch) {
  const spf_tensor* operands[] = {x, global_scales, expert_offsets, scale_offsets, codes, scales_swizzled};
  return spf_op_call("nvfp4_experts_quantize", operands, 6, nullptr, 0, nullptr, launch);
}

spf_status spf_silu_and_mul_nvfp4_experts_quantize(const spf_tensor* x, const spf_tensor* global_scales,
                                                   const spf_tensor* expert_offsets, const spf_tensor* scale_offsets,
                                                   const spf_tensor* codes, const spf_tensor* scales_swizzled,
                                                   const spf_launch* launch) {
  const spf_tensor* operands[] = {x, global_scales, expert_offsets, scale_offsets, codes, scales_swizzled};
  return spf_op_call("silu_and_mul_nvfp4_experts_quantize", operands, 6, nullptr, 0, nullptr, launch);
}

spf_status spf_mxfp8_experts_quantize(const spf_tensor* x, const spf_tensor* expert_offsets,
                                      const spf_tensor* scale_offsets, const spf_tensor* codes,
                                      const spf_tensor* scales_swizzled, int32_t scale_rule, const spf_launch* launch) {
  const spf_tensor* operands[] = {x, expert_offsets, scale_offsets, codes, scales_swizzled};
  const double rule = scale_rule;
  return spf_op_call("mxfp8_experts_quantize", operands, 5, &rule, 1, nullptr, launch);
}

spf_status spf_rotate_nvfp4_quantize(const spf_tensor* x, const spf_tensor* rotation, const spf_tensor* global_scale,
                                     const spf_tensor* codes, const spf_tensor* scales,
                                     const spf_tensor* scales_swizzled, const spf_launch* launch) {
  const spf_tensor* operands[] = {x, rotation, global_scale, codes, scales, scales_swizzled};
  return spf_op_call("rotate_nvfp4_quantize", operands, 6, nullptr, 0, nullptr, launch);
}

spf_status spf_rotate_mxfp4_quantize(const spf_tensor* x, const spf_tensor* rotation, const spf_tensor* codes,
                                     const spf_tensor* scales, const spf_tensor* scales_swizzled, int32_t scale_rule,
                                     const spf_launch* launch) {
  const spf_tensor* operands[] = {x, rotation, codes, scales, scales_swizzled};
  const double rule = scale_rule;
  return spf_op_call("rotate_mxfp4_quantize", operands, 5, &rule, 1, nullptr, launch);
}

spf_status spf_swizzle_scales(const spf_tensor* scales, const spf_tensor* swizzled, const spf_launch* launch) {
  const spf_tensor* operands[] = {scales, swizzled};
  return spf_op_call("swizzle_scales", operands, 2, nullptr, 0, nullptr, launch);
}

spf_status spf_unswizzle_scales(const spf_tensor* swizzled, const spf_tensor* scales, const spf_launch* launch) {
  const spf_tensor* operands[] = {scales, swizzled}; // the schema has what binds the extents first
  return spf_op_call("unswizzle_scales", operands, 2, nullptr, 0, nullptr, launch);
}

} // extern "C"
