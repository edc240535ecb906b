// The meaning of permute_cols: out[r, j] = x[r, perm[j]], 0 for an index outside [0, K). Rows on all threads, for there
// is no faster way on a CPU.
#include <cstring>

#include "core/scalar.hpp"
#include "kernels/permute/args.h"

namespace spf::permute {
namespace {

template <class Bits>
void permute_row(const PermuteArgs& args, int64_t row) {
  int64_t at[2];
  args.space.offsets(row, at);
  const Bits* const x = reinterpret_cast<const Bits*>(args.x) + at[0];
  Bits* const out = reinterpret_cast<Bits*>(args.out) + at[1];
  for (int64_t j = 0; j < args.columns; ++j) {
    const int64_t from = args.perm[j];
    out[j] = from >= 0 && from < args.k ? x[from] : Bits{0};
  }
}

} // namespace

spf_status reference_permute_cols(const Call& call, const LaunchContext& ctx) {
  const PermuteArgs args = permute_args(call);
  if (args.empty()) return SPF_OK;
  const bool wide = storage_bytes(call.problem.type("T")) == 4;
  const int threads = ctx.threads;
  const bool worth = args.space.rows > 1 && args.space.rows * args.columns > 32768;
#pragma omp parallel for schedule(static) num_threads(threads) if (worth)
  for (int64_t r = 0; r < args.space.rows; ++r)
    if (wide)
      permute_row<uint32_t>(args, r);
    else
      permute_row<uint16_t>(args, r);
  return SPF_OK;
}

} // namespace spf::permute
