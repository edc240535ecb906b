// Rows copied by memcpy where the scale is 1, element by element where it is not; rows are shared among threads.
#include <cstring>

#include "core/scalar_traits.hpp"
#include "kernels/common/float_types.hpp"
#include "kernels/embedding/args.h"

namespace spf::embedding {
namespace {

template <spf_scalar_type T>
void copy_row(const EmbeddingArgs& args, int64_t row) {
  constexpr int64_t kBytes = sizeof(storage_t<T>);
  int64_t at[1];
  args.space.offsets(row, at);
  char* const out = static_cast<char*>(args.out) + at[0] * kBytes;
  const int64_t source = args.source(row);
  if (source < 0) {
    std::memset(out, 0, static_cast<size_t>(args.h * kBytes));
    return;
  }
  const char* const from = static_cast<const char*>(args.table) + source * args.table_stride * kBytes;
  if (args.scale == 1) {
    std::memcpy(out, from, static_cast<size_t>(args.h * kBytes));
    return;
  }
  for (int64_t i = 0; i < args.h; ++i) store<T>(out, i, load<T>(from, i) * args.scale);
}

} // namespace

spf_status portable_copy(const Call& call, const LaunchContext& ctx) {
  const EmbeddingArgs args = embedding_args(call);
  const int64_t rows = args.h > 0 ? args.space.rows : 0;
  [[maybe_unused]] const bool worth = rows > 1 && rows * args.h > 32768;
  const bool known = with_float_type(call.problem.type("T"), [&](auto type) {
#pragma omp parallel for schedule(static) num_threads(ctx.threads) if (worth)
    for (int64_t r = 0; r < rows; ++r) copy_row<decltype(type)::value>(args, r);
  });
  return known ? SPF_OK : SPF_INVALID_TYPE;
}

} // namespace spf::embedding
