// The meaning of the rotating block quantizers:
//
//   y          y[b R + j] = sum over i of x[b R + i] rotation[i, j] for each block b of R columns; fp64, then f32
//   NVFP4      as nvfp4_quantize of y
//   QuEST      scale = 2^floor(log2(2.92247856 / 6 * deviation + 1e-8)); codes = e2m1(y / scale)
//   largest    scale = 2^floor(log2(largest + 1e-8)); codes = e2m1(3 y / scale), so that y is a third of what they say
//
// deviation: of the 32 numbers of a block from their mean, the root of the mean square.
#include <cmath>
#include <cstring>
#include <vector>

#include "core/scalar_traits.hpp"
#include "kernels/block_quantize/args.h"
#include "kernels/common/float_types.hpp"

namespace spf::block_quantize {
namespace {

template <spf_scalar_type T>
void rotate_row(const BlockArgs& args, int64_t at, std::vector<float>* y) {
  const int64_t size = args.rotation_size;
  for (int64_t j = 0; j < static_cast<int64_t>(y->size()); ++j) {
    const int64_t block = j / size * size;
    double sum = 0;
    for (int64_t i = 0; i < size; ++i)
      sum += double{load<T>(args.x, at + block + i)} * load<T>(args.rotation, i * size + j - block);
    (*y)[static_cast<size_t>(j)] = static_cast<float>(sum);
  }
}

float largest_of(const float* y, int count) {
  float largest = 0;
  for (int i = 0; i < count; ++i) largest = std::fmax(largest, std::fabs(y[i]));
  return largest;
}

float deviation_of(const float* y) {
  double mean = 0, squares = 0;
  for (int i = 0; i < 32; ++i) mean += y[i] / 32.0;
  for (int i = 0; i < 32; ++i) squares += (y[i] - mean) * (y[i] - mean) / 32;
  return static_cast<float>(std::sqrt(squares));
}

// The scale's code, and what its values are multiplied by.
uint32_t scale_block(const BlockArgs& args, BlockOp op, const float* y, float* factor) {
  if (is_nvfp4(op)) {
    const uint8_t code = f32_to_e4m3(nvfp4_scale(largest_of(y, 16), *args.global_scale));
    *factor = nvfp4_factor(e4m3_to_f32(code), 1.0f / *args.global_scale);
    return code;
  }
  const bool quest = args.rotated_rule == RotatedRule::kQuest;
  const uint32_t code = rotated_scale(quest ? deviation_of(y) * kQuest : largest_of(y, 32));
  *factor = mx_factor(code) * (quest ? 1.0f : 3.0f);
  return code;
}

template <spf_scalar_type T>
void rotate_rows(const BlockArgs& args, BlockOp op) {
  const int group = group_of(op);
  if (args.swizzled != nullptr) std::memset(args.swizzled, 0, static_cast<size_t>(args.padded_rows * args.tiles * 4));
  std::vector<float> y(static_cast<size_t>(args.groups * group));
  for (int64_t row = 0; row < args.space.rows; ++row) {
    int64_t at[3];
    args.space.offsets(row, at);
    rotate_row<T>(args, at[0], &y);
    for (int64_t g = 0; g < args.groups; ++g) {
      const float* const block = y.data() + g * group;
      float factor;
      const auto scale = static_cast<uint8_t>(scale_block(args, op, block, &factor));
      uint8_t* const codes = args.codes + at[1] + g * group / 2;
      for (int i = 0; i < group; i += 2)
        codes[i / 2] = static_cast<uint8_t>(f32_to_e2m1(block[i] * factor) | f32_to_e2m1(block[i + 1] * factor) << 4);
      if (args.scales != nullptr) args.scales[at[2] + g] = scale;
      if (args.swizzled != nullptr) args.swizzled[swizzled_scale(row, g, args.tiles)] = scale;
    }
  }
}

} // namespace

spf_status reference_rotate(const Call& call, const LaunchContext&) {
  const BlockOp op = block_op(call);
  const BlockArgs args = block_args(call, op);
  if (args.empty()) return SPF_OK;
  const bool known =
      with_float_type(call.problem.type("T"), [&](auto type) { rotate_rows<decltype(type)::value>(args, op); });
  return known ? SPF_OK : SPF_INVALID_TYPE;
}

} // namespace spf::block_quantize
