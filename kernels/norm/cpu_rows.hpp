// Norms on the CPU, one row after the other: f32 sums in 2 x kLanes accumulators, so a row's bits depend on the row
// only. Included by one source per instruction set; see kernels/common/simd/lanes.hpp for why everything is internal.
#pragma once

#include "kernels/common/float_types.hpp"
#include "kernels/common/quantize.hpp"
#include "kernels/common/simd/elements.hpp"
#include "kernels/common/simd/fp8.hpp"
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

  // code_at: where the row's codes and scales lie, where it becomes codes.
  static void rms(const NormArgs& args, void* x, void* residual, void* out, const int64_t (&code_at)[2]) {
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
    const auto y = [&](int64_t i, int64_t n) {
      const F v = read(from, i, n) * scale;
      if (args.weight == nullptr) return v;
      const F w = read(args.weight, i, n);
      return args.weight_plus_one ? v * (1.0f + w) : L::template round<T>(v) * w;
    };
    if (args.codes.scales == Scales::kNone)
      each(args.h, [&](int64_t i, int64_t n) { write(out, i, y(i, n), n); });
    else
      code(args, y, code_at);
  }

  // Codes of a row whose elements [i, i + n) are y(i, n), once rounded.
  template <class Row>
  static void code(const NormArgs& args, Row&& y, const int64_t (&code_at)[2]) {
    using U = typename L::U;
    using I = typename L::I;
    const CodeArgs& codes = args.codes;
    const bool fp8 = codes.type == SPF_E4M3;
    const auto store = [&](int64_t i, int64_t n, F v) {
      U code;
      if (fp8) {
        code = simd::Fp8Lanes<SPF_E4M3, kLanes>::encode(v);
      } else {
        const F low = L::set(-128.0f), high = L::set(127.0f), number = v == v ? v : F{};
        const I whole = L::nearest(number < low ? low : number > high ? high : number);
        code = reinterpret_cast<U>(whole);
      }
      L::store_bytes(codes.out + code_at[0] + i, code, n);
    };
    const auto rounded = [&](int64_t i, int64_t n) { return L::template round<T>(y(i, n)); };
    if (codes.scales == Scales::kGiven) {
      const float factor = quantize::inverse_of(*codes.given_scale);
      return each(args.h, [&](int64_t i, int64_t n) { store(i, n, rounded(i, n) * factor); });
    }
    const int64_t group = codes.scales == Scales::kGroup ? codes.group : args.h;
    float* scale_to = codes.scale + code_at[1];
    for (int64_t first = 0; first == 0 || first < args.h; first += group, scale_to += codes.scale_step) {
      F top = {};
      each(group, [&](int64_t i, int64_t n) {
        // Lanes past the end are 0, or a NaN that is passed over.
        const F size = L::from_bits(L::bits(rounded(first + i, n)) & 0x7fffffffu);
        top = size > top ? size : top;
      });
      const float bound = codes.bound != nullptr ? *codes.bound : quantize::kLargest;
      const float scale = quantize::scale_of(L::largest(top), bound, fp8 ? quantize::kFp8Max : quantize::kInt8Max,
                                             fp8 ? quantize::kFp8Floor : quantize::kInt8Floor);
      *scale_to = scale;
      const float factor = 1.0f / scale;
      each(group, [&](int64_t i, int64_t n) {
        const F v = rounded(first + i, n);
        store(first + i, n, fp8 ? v / scale : v * factor);
      });
      if (group == 0) return;
    }
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
      int64_t at[2], code_at[2];
      args.space.offsets(r, at);
      args.codes.space.offsets(r, code_at);
      char* const x = static_cast<char*>(args.data[0]) + at[0] * kBytes;
      char* const second = static_cast<char*>(args.data[1]) + at[1] * kBytes;
      if (op == NormOp::kRms) rms(args, x, nullptr, second, code_at);
      if (op == NormOp::kFusedAddRms) rms(args, x, second, x, code_at);
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
