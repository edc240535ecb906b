// The f32 kernel on what every x86-64 processor has: SSE2.
#include "core/scalar_traits.hpp"
#include "kernels/common/float_types.hpp"
#include "kernels/linear/cpu_f32.hpp"

namespace spf::linear {
namespace {

template <class Body>
void with_type(spf_scalar_type type, Body&& body) {
  if (type == SPF_S8) return body(TypeTag<SPF_S8>{});
  if (type == SPF_E4M3) return body(TypeTag<SPF_E4M3>{});
  with_float_type(type, body);
}

struct Portable {
  static constexpr int kWidth = 4, kRows = 2;

  static void load(const char* row, spf_scalar_type type, int64_t i, int64_t count, float* to) {
    with_type(type, [&](auto t) {
      for (int64_t j = 0; j < 16; ++j) to[j] = j < count ? spf::load<decltype(t)::value>(row, i + j) : 0.0f;
    });
  }
  static void store(char* row, spf_scalar_type type, int64_t i, int64_t count, const float* from) {
    with_float_type(type, [&](auto t) {
      for (int64_t j = 0; j < 16 && j < count; ++j) spf::store<decltype(t)::value>(row, i + j, from[j]);
    });
  }
};

} // namespace

spf_status portable_f32(const Call& call, const LaunchContext& ctx) { return run_f32<Portable>(call, ctx); }

} // namespace spf::linear
