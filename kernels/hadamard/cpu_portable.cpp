// Butterflies in f32 on any CPU: a row in a buffer of the stack, two steps of the transform a pass.
#include <algorithm>

#include "core/scalar_traits.hpp"
#include "kernels/common/float_types.hpp"
#include "kernels/hadamard/args.h"

namespace spf::hadamard {
namespace {

constexpr int64_t kLargest = 32768;

void step(float* v, int64_t n, int64_t half) {
  for (int64_t base = 0; base < n; base += 2 * half)
    for (int64_t i = base; i < base + half; ++i) {
      const float a = v[i], b = v[i + half];
      v[i] = a + b;
      v[i + half] = a - b;
    }
}

// Steps `half` and 2 * half, with each value read and written once.
void two_steps(float* v, int64_t n, int64_t half) {
  for (int64_t base = 0; base < n; base += 4 * half)
    for (int64_t i = base; i < base + half; ++i) {
      const float a = v[i] + v[i + half], b = v[i] - v[i + half];
      const float c = v[i + 2 * half] + v[i + 3 * half], d = v[i + 2 * half] - v[i + 3 * half];
      v[i] = a + c;
      v[i + half] = b + d;
      v[i + 2 * half] = a - c;
      v[i + 3 * half] = b - d;
    }
}

template <spf_scalar_type T>
void row(const HadamardArgs& args, int64_t r) {
  alignas(64) float v[kLargest];
  int64_t at[2];
  args.space.offsets(r, at);
  for (int64_t i = 0; i < args.n; ++i) v[i] = load<T>(args.x, at[0] + i);
  int64_t half = 1;
  for (; 4 * half <= args.n; half *= 4) two_steps(v, args.n, half);
  if (half < args.n) step(v, args.n, half);
  for (int64_t i = 0; i < args.n; ++i) store<T>(args.out, at[1] + i, v[i] * args.scale);
}

template <spf_scalar_type T>
void rows(const HadamardArgs& args, int threads) {
#pragma omp parallel for schedule(static) num_threads(threads) if (args.space.rows * args.n > 32768)
  for (int64_t r = 0; r < args.space.rows; ++r) row<T>(args, r);
}

} // namespace

spf_status portable_f32(const Call& call, const LaunchContext& ctx) {
  const HadamardArgs args = hadamard_args(call);
  if (args.empty()) return SPF_OK;
  const bool known =
      with_float_type(call.problem.type("T"), [&](auto type) { rows<decltype(type)::value>(args, ctx.threads); });
  return known ? SPF_OK : SPF_INVALID_TYPE;
}

} // namespace spf::hadamard
