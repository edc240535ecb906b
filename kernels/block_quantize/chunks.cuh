// What the CUDA block quantizers share: eight values of a row at a time, in and out.
#pragma once

#include "kernels/block_quantize/args.h"
#include "kernels/common/cuda/fp4.cuh"
#include "kernels/common/cuda/fp8.cuh"
#include "kernels/common/cuda/memory.cuh"

namespace spf::block_quantize {

template <BlockOp kOp>
inline constexpr int kGroup = group_of(kOp);
template <BlockOp kOp>
inline constexpr bool kNvfp4 = is_nvfp4(kOp);
template <BlockOp kOp>
inline constexpr bool kGated = is_gated(kOp);
template <BlockOp kOp>
inline constexpr bool kExperts = has_experts(kOp);

inline constexpr int kValues = 8; // of a store of e2m1 codes, and of two of 8-bit ones

// kAligned: `to` is known to be on as many bytes as there are codes.
template <bool kAligned, int kWords>
__device__ __forceinline__ void store_codes(uint8_t* to, const uint32_t (&words)[kWords]) {
  const bool aligned = kAligned || (reinterpret_cast<uintptr_t>(to) & (4 * kWords - 1)) == 0;
  if (aligned && kWords == 1) *reinterpret_cast<uint32_t*>(to) = words[0];
  if (aligned && kWords == 2) *reinterpret_cast<uint2*>(to) = make_uint2(words[0], words[kWords - 1]);
  if constexpr (kWords == 4)
    if (aligned) cuda::store16(to, make_uint4(words[0], words[1], words[2], words[3]));
  if constexpr (!kAligned) {
    if (aligned) return;
#pragma unroll
    for (int i = 0; i < 4 * kWords; ++i) to[i] = static_cast<uint8_t>(words[i / 4] >> (8 * (i % 4)));
  }
}

// Of magnitudes >= 0, the largest over kLanes neighbouring lanes.
template <int kLanes>
__device__ __forceinline__ float largest_of_lanes(float largest) {
#pragma unroll
  for (int step = 1; step < kLanes; step *= 2) largest = fmaxf(largest, __shfl_xor_sync(0xffffffffu, largest, step));
  return largest;
}

// The largest magnitude, over kLanes neighbouring lanes too; NaN does not count.
template <int kLanes>
__device__ __forceinline__ float largest_of(const float (&v)[kValues]) {
  float largest = 0;
#pragma unroll
  for (int i = 0; i < kValues; ++i) largest = fmaxf(largest, fabsf(v[i]));
  return largest_of_lanes<kLanes>(largest);
}

// A block's scale as a code, and what its values are multiplied by.
struct BlockScale {
  uint32_t code;
  float factor;
};
struct GlobalScale {
  float scale = 0, inverse = 0;
};
__device__ __forceinline__ GlobalScale global_scale_of(float scale) { return {scale, __frcp_rn(scale)}; }
// kRoom: the factor is one that narrow_e2m1x8 has room for, by a power of two that goes to the values.
template <bool kRoom, int kCount>
__device__ __forceinline__ BlockScale nvfp4_block(float largest, const GlobalScale& global, float (&v)[kCount]) {
  const uint32_t code = cuda::narrow_fp8x2<SPF_E4M3>(nvfp4_scale(largest, global.scale), 0.0f) & 0xffu;
  const float rounded = cuda::widen_fp8x2<SPF_E4M3>(code).x;
  const float step = __fmul_rn(rounded, global.inverse);
  BlockScale scale = {code, 0};
  constexpr uint32_t kLeast = 27u << 23,
                     kMost = 227u << 23; // 2^-100 and 2^100: neither reciprocal nor half is subnormal
  if (__float_as_uint(step) - kLeast <= kMost - kLeast) {
    scale.factor = detail::reciprocal_of_moderate(step);
    return scale;
  }
  scale.factor = nvfp4_factor(rounded, global.inverse);
  // narrow_e2m1x8 halves its factor, for which one that is almost 0 has no room: values and factor change places.
  if (kRoom && scale.factor < 0x1p-125f) {
#pragma unroll
    for (int i = 0; i < kCount; ++i) v[i] *= 0x1p-64f;
    scale.factor *= 0x1p64f;
  }
  return scale;
}

// The zeros that pad a row of tiles behind its last scale.
__device__ __forceinline__ void pad_groups(const BlockArgs& args, int64_t scale_row) {
  for (int64_t g = args.groups; g < 4 * args.tiles; ++g) args.swizzled[swizzled_scale(scale_row, g, args.tiles)] = 0;
}

// Where a block's scale goes, with the zeros that pad a row of tiles behind the last.
__device__ __forceinline__ void store_scale(const BlockArgs& args, int64_t in_rows, int64_t scale_row, int64_t group,
                                            uint32_t code) {
  if (args.scales != nullptr) args.scales[in_rows + group] = static_cast<uint8_t>(code);
  if (args.swizzled == nullptr) return;
  args.swizzled[swizzled_scale(scale_row, group, args.tiles)] = static_cast<uint8_t>(code);
  if (group == args.groups - 1) pad_groups(args, scale_row);
}

// Four scales of a row that does not exist.
__device__ __forceinline__ void pad_scales(const BlockArgs& args, int64_t row, int64_t tile) {
  uint8_t* const four = args.swizzled + swizzled_scale(row, tile * 4, args.tiles);
#pragma unroll
  for (int i = 0; i < 4; ++i) four[i] = 0;
}

} // namespace spf::block_quantize
