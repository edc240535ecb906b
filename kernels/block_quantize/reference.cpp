// The meaning of the block quantizers, in loops to check by hand; single steps of arithmetic stand in definition.h.
//
//   block      16 (NVFP4) or 32 (MX) neighbours of a row; gated ops quantize round(silu(gate) * up)
//   largest    the largest magnitude of the block; NaN does not count
//   NVFP4      scale = e4m3(global_scale * (largest / 6)); codes = e2m1(x / (scale / global_scale)), 0 where scale is 0
//   MX         scale = 2^k by the scale rule; codes = e2m1, e4m3 or e5m2 of x / scale, exact division
//   codes      to nearest even, saturated; NaN is 0 in e2m1 and 0x7f in e4m3 and e5m2
//   padding    scales of rows and groups that do not exist are 0
//   experts    rows of an expert have its global scale, and their scales a whole number of tiles of its own
#include <algorithm>
#include <cstring>

#include "core/scalar_traits.hpp"
#include "kernels/block_quantize/args.h"
#include "kernels/common/float_types.hpp"

namespace spf::block_quantize {
namespace {

constexpr int kLargestGroup = 32;

template <spf_scalar_type T>
void read_block(const BlockArgs& args, BlockOp op, int64_t at, int64_t group, float (&x)[kLargestGroup]) {
  const int size = group_of(op);
  const int64_t first = at + group * size;
  for (int i = 0; i < size; ++i) {
    x[i] = load<T>(args.x, first + i);
    if (is_gated(op)) {
      const float up = load<T>(args.x, first + args.groups * size + i);
      x[i] = to_f32<T>(from_f32<T>(silu(x[i]) * up));
    }
  }
}

float largest_of(const float (&x)[kLargestGroup], int size) {
  float largest = 0;
  for (int i = 0; i < size; ++i) largest = std::fmax(largest, std::fabs(x[i]));
  return largest;
}

void store_nibbles(const float (&x)[kLargestGroup], int size, float factor, uint8_t* codes) {
  for (int i = 0; i < size; i += 2)
    codes[i / 2] = static_cast<uint8_t>(f32_to_e2m1(x[i] * factor) | f32_to_e2m1(x[i + 1] * factor) << 4);
}

// 8-bit codes saturate, as the format's conversion on devices does, where core's e5m2 has infinities.
template <spf_scalar_type C>
uint8_t saturated(float value) {
  if (value != value) return 0x7f;
  const float largest = static_cast<float>(scalar_info(C).max_value);
  return from_f32<C>(std::clamp(value, -largest, largest));
}

template <spf_scalar_type C>
uint8_t quantize_mx(const float (&x)[kLargestGroup], MxScaleRule rule, uint8_t* codes) {
  const uint32_t scale = mx_scale<C>(largest_of(x, 32), rule);
  const float factor = mx_factor(scale);
  if constexpr (C == SPF_E2M1)
    store_nibbles(x, 32, factor, codes);
  else
    for (int i = 0; i < 32; ++i) codes[i] = saturated<C>(x[i] * factor);
  return static_cast<uint8_t>(scale);
}

uint8_t quantize_nvfp4(const float (&x)[kLargestGroup], float global_scale, uint8_t* codes) {
  const uint8_t scale = f32_to_e4m3(nvfp4_scale(largest_of(x, 16), global_scale));
  store_nibbles(x, 16, nvfp4_factor(e4m3_to_f32(scale), 1.0f / global_scale), codes);
  return scale;
}

// Rows [begin, end) into rows of scales from `scale_row` on, with zeros up to the end of the last tile.
template <spf_scalar_type T, spf_scalar_type C>
void quantize_rows(const BlockArgs& args, BlockOp op, int64_t begin, int64_t end, int64_t scale_row,
                   const float* global_scale) {
  const int64_t bytes = C == SPF_E2M1 ? group_of(op) / 2 : group_of(op); // of a block's codes
  if (args.swizzled != nullptr)
    std::memset(args.swizzled + scale_row * args.tiles * 4, 0,
                static_cast<size_t>((end - begin + 127) / 128 * 128 * args.tiles * 4));
  for (int64_t row = begin; row < end; ++row) {
    int64_t at[3];
    args.space.offsets(row, at);
    for (int64_t g = 0; g < args.groups; ++g) {
      float x[kLargestGroup];
      read_block<T>(args, op, at[0], g, x);
      uint8_t* const codes = args.codes + at[1] + g * bytes;
      const uint8_t scale =
          is_nvfp4(op) ? quantize_nvfp4(x, *global_scale, codes) : quantize_mx<C>(x, args.rule, codes);
      if (args.scales != nullptr) args.scales[at[2] + g] = scale;
      if (args.swizzled != nullptr) args.swizzled[swizzled_scale(scale_row + row - begin, g, args.tiles)] = scale;
    }
  }
}

template <spf_scalar_type T, spf_scalar_type C>
void quantize_all(const BlockArgs& args, BlockOp op) {
  if (!has_experts(op)) return quantize_rows<T, C>(args, op, 0, args.space.rows, 0, args.global_scale);
  for (int64_t e = 0; e < args.experts; ++e)
    quantize_rows<T, C>(args, op, args.offsets[e], args.offsets[e + 1], args.scale_offsets[e],
                        is_nvfp4(op) ? args.global_scale + e : nullptr);
}

} // namespace

spf_status reference_block_quantize(const Call& call, const LaunchContext&) {
  const BlockOp op = block_op(call);
  const BlockArgs args = block_args(call, op);
  if (args.empty()) return SPF_OK;
  const spf_scalar_type code = call.problem.type("C"); // none: e2m1
  const bool known = with_float_type(call.problem.type("T"), [&](auto type) {
    constexpr spf_scalar_type T = decltype(type)::value;
    if (code == SPF_E4M3)
      quantize_all<T, SPF_E4M3>(args, op);
    else if (code == SPF_E5M2)
      quantize_all<T, SPF_E5M2>(args, op);
    else
      quantize_all<T, SPF_E2M1>(args, op);
  });
  return known ? SPF_OK : SPF_INVALID_TYPE;
}

} // namespace spf::block_quantize
