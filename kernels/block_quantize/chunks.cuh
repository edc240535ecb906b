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

inline constexpr int kValues = 8; // of a thread

// Eight values from any address.
template <spf_scalar_type T>
__device__ __forceinline__ void load_values(const void* data, int64_t at, float (&v)[kValues]) {
  using namespace spf::cuda;
  constexpr int kElements = kChunkElements<T>;
  const auto* const from = static_cast<const scalar_t<T>*>(data) + at;
  const bool vector = on_16_bytes(from);
#pragma unroll
  for (int c = 0; c < kValues / kElements; ++c) {
    float part[kElements];
    unpack<T>(load_chunk<T>(from + c * kElements, kElements, vector), part);
#pragma unroll
    for (int i = 0; i < kElements; ++i) v[c * kElements + i] = part[i];
  }
}

template <int kWords>
__device__ __forceinline__ void store_codes(uint8_t* to, const uint32_t (&words)[kWords]) {
  const bool aligned = (reinterpret_cast<uintptr_t>(to) & (4 * kWords - 1)) == 0;
  if (aligned && kWords == 1) *reinterpret_cast<uint32_t*>(to) = words[0];
  if (aligned && kWords == 2) *reinterpret_cast<uint2*>(to) = make_uint2(words[0], words[kWords - 1]);
  if (aligned) return;
#pragma unroll
  for (int i = 0; i < 4 * kWords; ++i) to[i] = static_cast<uint8_t>(words[i / 4] >> (8 * (i % 4)));
}

// The largest magnitude, over kLanes neighbouring lanes too; NaN does not count.
template <int kLanes>
__device__ __forceinline__ float largest_of(const float (&v)[kValues]) {
  float largest = 0;
#pragma unroll
  for (int i = 0; i < kValues; ++i) largest = fmaxf(largest, fabsf(v[i]));
#pragma unroll
  for (int step = 1; step < kLanes; step *= 2) largest = fmaxf(largest, __shfl_xor_sync(0xffffffffu, largest, step));
  return largest;
}

// A block's scale as a code, and what its values are multiplied by.
struct BlockScale {
  uint32_t code;
  float factor;
};
__device__ __forceinline__ BlockScale nvfp4_block(float largest, float global_scale) {
  const uint32_t code = cuda::narrow_fp8x2<SPF_E4M3>(nvfp4_scale(largest, global_scale), 0.0f) & 0xffu;
  return {code, nvfp4_factor(cuda::widen_fp8x2<SPF_E4M3>(code).x, __frcp_rn(global_scale))};
}

// Where a block's scale goes, with the zeros that pad a row of tiles behind the last.
__device__ __forceinline__ void store_scale(const BlockArgs& args, int64_t in_rows, int64_t scale_row, int64_t group,
                                            uint32_t code) {
  if (args.scales != nullptr) args.scales[in_rows + group] = static_cast<uint8_t>(code);
  if (args.swizzled == nullptr) return;
  args.swizzled[swizzled_scale(scale_row, group, args.tiles)] = static_cast<uint8_t>(code);
  if (group != args.groups - 1) return;
  for (int64_t g = args.groups; g < 4 * args.tiles; ++g) args.swizzled[swizzled_scale(scale_row, g, args.tiles)] = 0;
}

// Four scales of a row that does not exist.
__device__ __forceinline__ void pad_scales(const BlockArgs& args, int64_t row, int64_t tile) {
  uint8_t* const four = args.swizzled + swizzled_scale(row, tile * 4, args.tiles);
#pragma unroll
  for (int i = 0; i < 4; ++i) four[i] = 0;
}

} // namespace spf::block_quantize
