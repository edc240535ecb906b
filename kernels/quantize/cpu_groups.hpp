// Groups of columns on the CPU: a group's numbers go into a buffer of f32, then its codes out of it. Included by one
// source per instruction set; see kernels/common/simd/lanes.hpp for why everything is internal.
#pragma once

#include "kernels/quantize/cpu_rows.hpp"
#include "kernels/quantize/groups.h"

namespace spf::quantize {
namespace {

template <spf_scalar_type T, int kLanes>
struct CpuGroups : CpuRows<T, kLanes> {
  using Rows = CpuRows<T, kLanes>;
  using Rows::at;
  using Rows::each;
  using Rows::kBytes;
  using Rows::read;
  using typename Rows::F;
  using typename Rows::I;
  using typename Rows::L;
  using typename Rows::U;
  using Buffer = simd::Elements<SPF_F32, kLanes>;

  static F gated(F gate, F up) { return L::template round<T>(L::template round<T>(L::sigmoid_times(gate, 1.0f)) * up); }

  static U int8(F v, bool truncates) {
    const F low = L::set(-128.0f), high = L::set(127.0f), number = v == v ? v : F{};
    const F limited = number < low ? low : number > high ? high : number;
    if (!truncates) return reinterpret_cast<U>(L::nearest(limited));
    return reinterpret_cast<U>(__builtin_convertvector(limited, I));
  }

  static void group(const GroupArgs& args, int64_t index, const int64_t (&place)[3]) {
    const int64_t first = index * args.group;
    const char* const x = at(args.x, place[0] + first);
    uint8_t* const out = args.out + place[1] + first;
    alignas(64) float y[kMostGroup];
    F top = {};
    each(args.group, [&](int64_t i, int64_t n) {
      F v = read(x, i, n);
      if (args.gated) v = gated(v, read(x + args.k * kBytes, i, n));
      Buffer::write(y, i, v, n);
      const F size = L::from_bits(L::bits(v) & 0x7fffffffu);
      top = size > top ? size : top;
    });
    const bool fp8 = args.code == SPF_E4M3;
    const float bound = args.bound != nullptr ? *args.bound : kLargest;
    const float amax = most(least(least(L::largest(top), bound), kLargest), args.least_amax);
    float scale = most(amax / (fp8 ? kFp8Max : kInt8Max), args.floor);
    if (args.powers) scale = power_of_two_above(most(scale, kLeastPower));
    if (args.packed)
      *exponent(args, place[2], index) = exponent_of(scale);
    else
      static_cast<float*>(args.scale)[place[2] + index * args.scale_step] = scale;
    each(args.group, [&](int64_t i, int64_t n) {
      const F v = Buffer::read(y, i, n) / scale;
      L::store_bytes(out + i, fp8 ? Rows::fp8(v) : int8(v, args.truncates), n);
    });
  }

  static uint8_t* exponent(const GroupArgs& args, int64_t row_at, int64_t index) {
    return static_cast<uint8_t*>(args.scale) + 4 * (row_at + index / 4 * args.scale_step) + index % 4;
  }

  static void row(const GroupArgs& args, int64_t index) {
    const bool exists = index < args.space.rows;
    if (args.counts != nullptr && index % args.tokens >= args.counts[index / args.tokens]) return;
    int64_t place[3] = {};
    if (exists) args.space.offsets(index, place);
    if (args.separate_rows()) place[2] = index * args.scale_row;
    const int64_t groups = exists ? args.groups : 0;
    for (int64_t g = 0; g < groups; ++g) group(args, g, place);
    if (!args.packed) return;
    for (int64_t g = groups; g < 4 * args.words(); ++g) *exponent(args, place[2], g) = 0;
  }

  static void run(const GroupArgs& args, int threads) {
    const int64_t rows = args.separate_rows() ? args.padded_rows : args.space.rows;
#pragma omp parallel for schedule(static) num_threads(threads) if (rows > 1 && rows * args.k > 16384)
    for (int64_t r = 0; r < rows; ++r) row(args, r);
  }

  // silu(gate) * up under one given scale.
  static void silu(const QuantArgs& args, int threads) {
    const float factor = inverse_of(*args.given_scale);
#pragma omp parallel for schedule(static) \
    num_threads(threads) if (args.space.rows > 1 && args.space.rows * args.k > 16384)
    for (int64_t r = 0; r < args.space.rows; ++r) {
      int64_t place[4];
      args.space.offsets(r, place);
      const char* const x = at(args.x, place[0]);
      each(args.k, [&](int64_t i, int64_t n) {
        const F y = gated(read(x, i, n), read(x + args.k * kBytes, i, n));
        L::store_bytes(args.out + place[1] + i, Rows::fp8(y * factor), n);
      });
    }
  }
};

template <int kLanes>
spf_status cpu_groups(const Call& call, const LaunchContext& ctx) {
  const GroupArgs args = group_args(call);
  const bool known = with_float_type(
      call.problem.type("T"), [&](auto type) { CpuGroups<decltype(type)::value, kLanes>::run(args, ctx.threads); });
  return known ? SPF_OK : SPF_INVALID_TYPE;
}

template <int kLanes>
spf_status cpu_silu(const Call& call, const LaunchContext& ctx) {
  const QuantArgs args = quant_args(call);
  const bool known = with_float_type(
      call.problem.type("T"), [&](auto type) { CpuGroups<decltype(type)::value, kLanes>::silu(args, ctx.threads); });
  return known ? SPF_OK : SPF_INVALID_TYPE;
}

} // namespace
} // namespace spf::quantize
