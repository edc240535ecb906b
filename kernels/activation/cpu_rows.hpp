// Activation functions on the CPU. Included by one source per instruction set; see kernels/common/simd/lanes.hpp for
// why everything is internal.
#pragma once

#include "kernels/activation/args.h"
#include "kernels/common/float_types.hpp"
#include "kernels/common/simd/lanes.hpp"

namespace spf::activation {
namespace {

template <spf_scalar_type T, int kLanes>
struct CpuRows {
  using L = simd::Lanes<kLanes>;
  using F = typename L::F;
  static constexpr int64_t kBytes = T == SPF_F32 ? 4 : 2;

  static F round(F v) { return L::template round<T>(v); }

  static F rounded_tanh_form(F x, F inner) { return round(0.5f * x) * round(1.0f + round(L::tanh(inner))); }

  // One argument: x, or the factor that a gated op activates.
  template <Act kAct>
  static F activated(F v, const ActArgs& args) {
    if constexpr (kAct == Act::kGelu || kAct == Act::kGeluAndMul) return L::gelu(v);
    if constexpr (kAct == Act::kGeluTanh || kAct == Act::kGeluTanhAndMul) return L::gelu_tanh(v);
    if constexpr (kAct == Act::kFatreluAndMul) return v > L::set(args.a) ? v : F{};
    if constexpr (kAct == Act::kGeluQuick) return L::sigmoid_times(v, 1.702f);
    if constexpr (kAct == Act::kGeluNew) {
      const F cube = round(round(v * v) * v);
      return rounded_tanh_form(v, round(0.79788456f * round(v + round(0.044715f * cube))));
    }
    if constexpr (kAct == Act::kGeluFast) {
      const F factor = round(1.0f + round(round(0.044715f * v) * v));
      return rounded_tanh_form(v, round(round(0.79788456f * v) * factor));
    }
    return L::sigmoid_times(v, 1.0f);
  }

  template <Act kAct>
  static F combine(F gate, F up, const ActArgs& args) {
    if constexpr (kAct == Act::kSwigluoaiAndMul) {
      const F limit = L::set(args.b);
      const F g = gate > limit ? limit : gate;
      const F u = up > limit ? limit : up < -limit ? -limit : up;
      return (u + 1.0f) * L::sigmoid_times(g, args.a);
    }
    if constexpr (kAct == Act::kMulAndSilu) return gate * round(activated<kAct>(up, args));
    return round(activated<kAct>(gate, args)) * up;
  }

  // Elements [i, i + n) of a row.
  template <Act kAct>
  static void vector(const char* x, char* out, int64_t i, int64_t n, const ActArgs& args) {
    F y;
    if constexpr (is_interleaved(kAct)) {
      float pairs[2 * kLanes], gates[kLanes], ups[kLanes];
      const F low = L::template load<T>(x + 2 * i * kBytes, 2 * n < kLanes ? 2 * n : kLanes);
      const F high = 2 * n > kLanes ? L::template load<T>(x + (2 * i + kLanes) * kBytes, 2 * n - kLanes) : F{};
      std::memcpy(pairs, &low, sizeof(low));
      std::memcpy(pairs + kLanes, &high, sizeof(high));
      for (int e = 0; e < kLanes; ++e) gates[e] = pairs[2 * e], ups[e] = pairs[2 * e + 1];
      F gate, up;
      std::memcpy(&gate, gates, sizeof(gate));
      std::memcpy(&up, ups, sizeof(up));
      y = combine<kAct>(gate, up, args);
    } else {
      const F first = L::template load<T>(x + i * kBytes, n);
      if constexpr (is_gated(kAct))
        y = combine<kAct>(first, L::template load<T>(x + (args.d + i) * kBytes, n), args);
      else
        y = activated<kAct>(first, args);
    }
    L::template store<T>(out + i * kBytes, y, n);
  }

  // Pieces of up to 4096 outputs of one row: one token's row is enough for several threads.
  template <Act kAct>
  static void run(const ActArgs& args, int threads) {
    constexpr int64_t kPiece = 4096;
    const int64_t pieces = (args.d + kPiece - 1) / kPiece;
    const int64_t total = pieces * args.space.rows;
    const bool worth = total > 1 && args.d * args.space.rows > 16384;
#pragma omp parallel for schedule(static) num_threads(threads) if (worth)
    for (int64_t piece = 0; piece < total; ++piece) {
      int64_t at[2];
      args.space.offsets(piece / pieces, at);
      const char* const x = static_cast<const char*>(args.x) + at[0] * kBytes;
      char* const out = static_cast<char*>(args.out) + at[1] * kBytes;
      int64_t i = piece % pieces * kPiece;
      const int64_t end = i + kPiece < args.d ? i + kPiece : args.d;
      for (; i + kLanes <= end; i += kLanes) vector<kAct>(x, out, i, kLanes, args);
      if (i < end) vector<kAct>(x, out, i, end - i, args);
    }
  }

  static void run(Act act, const ActArgs& args, int threads) {
    switch (act) {
      case Act::kSiluAndMul:
        return run<Act::kSiluAndMul>(args, threads);
      case Act::kMulAndSilu:
        return run<Act::kMulAndSilu>(args, threads);
      case Act::kGeluAndMul:
        return run<Act::kGeluAndMul>(args, threads);
      case Act::kGeluTanhAndMul:
        return run<Act::kGeluTanhAndMul>(args, threads);
      case Act::kFatreluAndMul:
        return run<Act::kFatreluAndMul>(args, threads);
      case Act::kSwigluoaiAndMul:
        return run<Act::kSwigluoaiAndMul>(args, threads);
      case Act::kSilu:
        return run<Act::kSilu>(args, threads);
      case Act::kGelu:
        return run<Act::kGelu>(args, threads);
      case Act::kGeluTanh:
        return run<Act::kGeluTanh>(args, threads);
      case Act::kGeluNew:
        return run<Act::kGeluNew>(args, threads);
      case Act::kGeluFast:
        return run<Act::kGeluFast>(args, threads);
      case Act::kGeluQuick:
        return run<Act::kGeluQuick>(args, threads);
    }
  }
};

template <int kLanes>
spf_status cpu_activation(const Call& call, const LaunchContext& ctx) {
  const Act act = act_of(call);
  const ActArgs args = act_args(call, act);
  if (args.empty()) return SPF_OK;
  const bool known = with_float_type(
      call.problem.type("T"), [&](auto type) { CpuRows<decltype(type)::value, kLanes>::run(act, args, ctx.threads); });
  return known ? SPF_OK : SPF_INVALID_TYPE;
}

} // namespace
} // namespace spf::activation
