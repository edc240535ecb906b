// Quantization on the CPU: one pass for the largest number of a row, one that writes codes from cache. Included by one
// source per instruction set; see kernels/common/simd/lanes.hpp for why everything is internal.
#pragma once

#include "kernels/common/float_types.hpp"
#include "kernels/common/quantize.hpp"
#include "kernels/common/simd/elements.hpp"
#include "kernels/common/simd/fp8.hpp"
#include "kernels/quantize/args.h"

namespace spf::quantize {
namespace {

template <spf_scalar_type T, int kLanes>
struct CpuRows : simd::Elements<T, kLanes> {
  using Base = simd::Elements<T, kLanes>;
  using Base::each;
  using Base::kBytes;
  using Base::read;
  using typename Base::F;
  using typename Base::L;
  using I = typename L::I;
  using U = typename L::U;
  static constexpr int64_t kPiece = 4096; // of a row: a single token's feeds several threads

  static const char* at(const void* x, int64_t element) { return static_cast<const char*>(x) + element * kBytes; }
  static F limited(F v, float limit) {
    const F low = L::set(-limit), high = L::set(limit);
    return v < low ? low : v > high ? high : v; // NaN stays
  }

  // --- codes of one vector ---------------------------------------------------------------------------------------

  static U fp8(F v) { return simd::Fp8Lanes<SPF_E4M3, kLanes>::encode(v); }
  static U int8(F v, int32_t zero) {
    const F number = v == v ? v : F{};
    const I sum = L::nearest(limited(number, kWidest)) + zero;
    const I low = I{} - 128, high = I{} + 127;
    return reinterpret_cast<U>(sum < low ? low : sum > high ? high : sum);
  }

  // out[i] = code(x[i]) for `count` elements.
  template <class Code>
  static void codes(const char* x, uint8_t* out, int64_t count, Code&& code) {
    each(count, [&](int64_t i, int64_t n) { L::store_bytes(out + i, code(read(x, i, n)), n); });
  }

  // --- the largest numbers of a row --------------------------------------------------------------------------------

  static float amax(const char* x, int64_t count) {
    F top = {};
    each(count, [&](int64_t i, int64_t n) {
      const F size = L::from_bits(L::bits(read(x, i, n)) & 0x7fffffffu); // lanes past the end are 0
      top = size > top ? size : top;
    });
    return least(L::largest(top), kLargest);
  }

  // Negated lowest and highest number; both -kLargest where there is none.
  static void range(const char* x, int64_t count, float (&ends)[2]) {
    F low = L::set(-kLargest), high = low;
    each(count, [&](int64_t i, int64_t n) {
      // Lanes past the end repeat the first element.
      F v = read(x, i, n);
      if (n < kLanes) {
        float lane[kLanes];
        std::memcpy(lane, &v, sizeof(v));
        for (int64_t e = n; e < kLanes; ++e) lane[e] = lane[0];
        std::memcpy(&v, lane, sizeof(v));
      }
      v = limited(v, kLargest);
      high = v > high ? v : high;
      low = -v > low ? -v : low;
    });
    ends[0] = L::largest(low);
    ends[1] = L::largest(high);
  }

  // --- ops ---------------------------------------------------------------------------------------------------------

  static void token_fp8(const QuantArgs& args, const int64_t (&place)[4]) {
    const char* const x = at(args.x, place[0]);
    const float scale = scale_of(amax(x, args.k), args.bound ? *args.bound : kLargest, kFp8Max, kFp8Floor);
    args.scale[place[2]] = scale;
    codes(x, args.out + place[1], args.k, [&](F v) { return fp8(v / scale); });
  }

  static void token_int8(const QuantArgs& args, const int64_t (&place)[4]) {
    const char* const x = at(args.x, place[0]);
    IntegerStep step;
    if (args.azp == nullptr) {
      step = symmetric_step(amax(x, args.k));
    } else {
      float ends[2];
      range(x, args.k, ends);
      step = asymmetric_step(-ends[0], ends[1]);
      args.azp[place[3]] = step.zero;
    }
    args.scale[place[2]] = step.scale;
    codes(x, args.out + place[1], args.k, [&](F v) { return int8(v * step.factor, step.zero); });
  }

  // Elements [first, first + count) of a row, under given scales.
  static void piece(QuantOp op, const QuantArgs& args, int64_t row, const int64_t (&place)[4], int64_t first,
                    int64_t count) {
    const char* const x = at(args.x, place[0] + first);
    uint8_t* const out = args.out + place[1] + first;
    if (op == QuantOp::static_scaled_int8_quant) {
      const float scale = *args.given_scale, factor = inverse_of(scale);
      if (args.given_azp == nullptr) return codes(x, out, count, [&](F v) { return int8(v / scale, 0); });
      const int32_t limit = 1 << 30, azp = *args.given_azp;
      const int32_t zero = azp < -limit ? -limit : azp > limit ? limit : azp;
      return codes(x, out, count, [&](F v) { return int8(v * factor, zero); });
    }
    const float* const scales = args.given_scale + row / args.rows_of_scale * args.scale_stride[0];
    for (int64_t i = 0; i < count;) { // runs that share a scale
      const int64_t group = (first + i) / args.columns_of_scale, end = (group + 1) * args.columns_of_scale - first;
      const int64_t n = (end < count ? end : count) - i;
      const float factor = inverse_of(scales[group * args.scale_stride[1]]);
      codes(x + i * kBytes, out + i, n, [&](F v) { return fp8(v * factor); });
      i += n;
    }
  }

  static void run(QuantOp op, QuantArgs args, int threads) {
    const bool whole_rows =
        op == QuantOp::dynamic_per_token_scaled_fp8_quant || op == QuantOp::dynamic_scaled_int8_quant;
    const int64_t pieces = whole_rows ? 1 : (args.k + kPiece - 1) / kPiece, total = pieces * args.space.rows;
    const bool worth = total > 1 && args.k * args.space.rows > 16384;
    if (op == QuantOp::dynamic_scaled_fp8_quant) {
      float top = 0;
#pragma omp parallel for schedule(static) num_threads(threads) if (worth) reduction(max : top)
      for (int64_t p = 0; p < total; ++p) {
        int64_t place[4];
        args.space.offsets(p / pieces, place);
        const int64_t first = p % pieces * kPiece, left = args.k - first;
        const float size = amax(at(args.x, place[0] + first), left < kPiece ? left : kPiece);
        top = size > top ? size : top;
      }
      *args.scale = top / kFp8Max;
      args.given_scale = args.scale;
    }
#pragma omp parallel for schedule(static) num_threads(threads) if (worth)
    for (int64_t p = 0; p < total; ++p) {
      int64_t place[4];
      args.space.offsets(p / pieces, place);
      const int64_t first = p % pieces * kPiece, left = args.k - first;
      if (op == QuantOp::dynamic_per_token_scaled_fp8_quant)
        token_fp8(args, place);
      else if (op == QuantOp::dynamic_scaled_int8_quant)
        token_int8(args, place);
      else
        piece(op, args, p / pieces, place, first, left < kPiece ? left : kPiece);
    }
  }
};

template <int kLanes>
spf_status cpu_quantize(const Call& call, const LaunchContext& ctx) {
  const QuantOp op = op_of(call);
  const QuantArgs args = quant_args(call);
  const bool known = with_float_type(
      call.problem.type("T"), [&](auto type) { CpuRows<decltype(type)::value, kLanes>::run(op, args, ctx.threads); });
  return known ? SPF_OK : SPF_INVALID_TYPE;
}

} // namespace
} // namespace spf::quantize
