// The f32 kernel with 256-bit vectors.
#include "kernels/linear/cpu_avx2.hpp"
#include "kernels/linear/cpu_f32.hpp"

namespace spf::linear {
namespace {

struct Avx2 {
  static constexpr int kWidth = 8, kRows = 4;

  static void load(const char* row, spf_scalar_type type, int64_t i, int64_t count, float* to) {
    const Float16 values = load_row(row, type, i, count);
    std::memcpy(to, &values, sizeof values);
  }
  static void store(char* row, spf_scalar_type type, int64_t i, int64_t count, const float* from) {
    Float16 values;
    std::memcpy(&values, from, sizeof values);
    store_row(row, type, i, count, values);
  }
};

} // namespace

spf_status avx2_f32(const Call& call, const LaunchContext& ctx) { return run_f32<Avx2>(call, ctx); }

} // namespace spf::linear
