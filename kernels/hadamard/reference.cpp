// The meaning of hadamard_transform, in loops to check by hand:
//
//   out[j] = round(scale * sum over i of (-1)^popcount(i & j) x[i]),   scale = 1 / sqrt(N) in f32, or 1
//
// by butterflies in fp64, as many as N has bits.
#include <vector>

#include "core/scalar_traits.hpp"
#include "kernels/common/float_types.hpp"
#include "kernels/hadamard/args.h"

namespace spf::hadamard {
namespace {

void butterflies(std::vector<double>& v) {
  for (size_t half = 1; half < v.size(); half *= 2)
    for (size_t i = 0; i < v.size(); ++i)
      if ((i & half) == 0) {
        const double a = v[i], b = v[i + half];
        v[i] = a + b;
        v[i + half] = a - b;
      }
}

template <spf_scalar_type T>
void transform(const HadamardArgs& args) {
  std::vector<double> v(static_cast<size_t>(args.n));
  for (int64_t r = 0; r < args.space.rows; ++r) {
    int64_t at[2];
    args.space.offsets(r, at);
    for (int64_t i = 0; i < args.n; ++i) v[static_cast<size_t>(i)] = load<T>(args.x, at[0] + i);
    butterflies(v);
    for (int64_t i = 0; i < args.n; ++i)
      store<T>(args.out, at[1] + i, static_cast<float>(v[static_cast<size_t>(i)] * args.scale));
  }
}

} // namespace

spf_status reference_hadamard(const Call& call, const LaunchContext&) {
  const HadamardArgs args = hadamard_args(call);
  if (args.empty()) return SPF_OK;
  const bool known =
      with_float_type(call.problem.type("T"), [&](auto type) { transform<decltype(type)::value>(args); });
  return known ? SPF_OK : SPF_INVALID_TYPE;
}

} // namespace spf::hadamard
