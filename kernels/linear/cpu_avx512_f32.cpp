// The f32 kernel with 512-bit vectors.
#include "kernels/linear/cpu_avx512.hpp"
#include "kernels/linear/cpu_f32.hpp"

namespace spf::linear {
namespace {

struct Avx512 {
  static constexpr int kWidth = 16, kRows = 8;

  static void load(const char* row, spf_scalar_type type, int64_t i, int64_t count, float* to) {
    _mm512_storeu_ps(to, load_row(row, type, i, first_lanes(count)));
  }
  static void store(char* row, spf_scalar_type type, int64_t i, int64_t count, const float* from) {
    store_row(row, type, i, first_lanes(count), _mm512_loadu_ps(from));
  }
};

} // namespace

spf_status avx512_f32(const Call& call, const LaunchContext& ctx) { return run_f32<Avx512>(call, ctx); }

} // namespace spf::linear
