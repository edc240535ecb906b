// Norms on the CPU, one row after the other: f32 sums in 2 x kLanes accumulators, so a row's bits depend on the row
// only. Included by one source per instruction set; see kernels/common/simd/lanes.hpp for why everything is internal.
#pragma once

#include "kernels/common/float_types.hpp"
#include "kernels/common/simd/elements.hpp"
#include "kernels/norm/args.h"

namespace spf::norm {
namespace {

template <spf_scalar_type T, int kLanes>
struct CpuRows : simd::Elements<T, kLanes> {
  using Base = simd::Elements<T, kLanes>;
  using Base::each;
  using Base::kBytes;
  using Base::read;
  using Base::write;
  using typename Base::F;
  using typename Base::L;

  static void rms(const NormArgs& args, void* x, void* residual, void* out) {
    F sums[2] = {};
    int turn = 0;
    each(args.h, [&](int64_t i, int64_t n) {
      F v = read(x, i, n);
      if (residual != nullptr) {
        v = L::template round<T>(v + read(residual, i, n));
        write(residual, i, v, n);
      }
      sums[turn] += v * v;
      turn ^= 1;
    });
    const float mean = L::sum(sums[0] + sums[1]) / static_cast<float>(args.h);
    const float scale = 1.0f / __builtin_sqrtf(mean + args.epsilon);
    const void* const from = residual != nullptr ? residual : x;
    each(args.h, [&](int64_t i, int64_t n) {
      F v = read(from, i, n) * scale;
      if (args.weight != nullptr) {
        const F w = read(args.weight, i, n);
        v = args.weight_plus_one ? v * (1.0f + w) : L::template round<T>(v) * w;
      }
      write(out, i, v, n);
    });
  }

  static void layer(const NormArgs& args, const void* x, void* out) {
    F sum = {};
    each(args.h, [&](int64_t i, int64_t n) { sum += read(x, i, n); });
    const float mean = L::sum(sum) / static_cast<float>(args.h);
    F squares = {};
    each(args.h, [&](int64_t i, int64_t n) {
      const F v = read(x, i, n) - mean;
      if (n == kLanes) {
        squares += v * v;
        return;
      }
      float lane[kLanes];
      std::memcpy(lane, &v, sizeof(v));
      for (int64_t e = n; e < kLanes; ++e) lane[e] = 0; // past the row's end
      F kept;
      std::memcpy(&kept, lane, sizeof(kept));
      squares += kept * kept;
    });
    const float scale = 1.0f / __builtin_sqrtf(L::sum(squares) / static_cast<float>(args.h) + args.epsilon);
    each(args.h, [&](int64_t i, int64_t n) {
      F v = (read(x, i, n) - mean) * scale;
      if (args.weight != nullptr) v *= read(args.weight, i, n);
      if (args.bias != nullptr) v += read(args.bias, i, n);
      write(out, i, v, n);
    });
  }

  static void run(NormOp op, const NormArgs& args, int threads) {
    const int64_t rows = args.space.rows;
    const bool worth = rows > 1 && rows * args.h > 32768;
#pragma omp parallel for schedule(static) num_threads(threads) if (worth)
    for (int64_t r = 0; r < rows; ++r) {
      int64_t at[2];
      args.space.offsets(r, at);
      char* const x = static_cast<char*>(args.data[0]) + at[0] * kBytes;
      char* const second = static_cast<char*>(args.data[1]) + at[1] * kBytes;
      if (op == NormOp::kRms) rms(args, x, nullptr, second);
      if (op == NormOp::kFusedAddRms) rms(args, x, second, x);
      if (op == NormOp::kLayer) layer(args, x, second);
    }
  }
};

template <int kLanes>
spf_status cpu_norm(const Call& call, const LaunchContext& ctx) {
  const NormOp op = norm_op(call);
  const NormArgs args = norm_args(call, op);
  if (args.empty()) return SPF_OK;
  const bool known = with_float_type(
      call.problem.type("T"), [&](auto type) { CpuRows<decltype(type)::value, kLanes>::run(op, args, ctx.threads); });
  return known ? SPF_OK : SPF_INVALID_TYPE;
}

} // namespace
} // namespace spf::norm
