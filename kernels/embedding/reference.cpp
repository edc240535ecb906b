// The meaning of embedding: out[r, :] = round(table[ids[r], :] * scale), a row of zeros where ids[r] is not in [0, V).
#include "core/scalar_traits.hpp"
#include "kernels/common/float_types.hpp"
#include "kernels/embedding/args.h"

namespace spf::embedding {

spf_status reference_embedding(const Call& call, const LaunchContext&) {
  const EmbeddingArgs args = embedding_args(call);
  const bool known = with_float_type(call.problem.type("T"), [&](auto type) {
    constexpr spf_scalar_type T = decltype(type)::value;
    for (int64_t r = 0; r < args.space.rows; ++r) {
      int64_t at[1];
      args.space.offsets(r, at);
      const int64_t source = args.source(r);
      for (int64_t i = 0; i < args.h; ++i)
        store<T>(args.out, at[0] + i,
                 source < 0 ? 0.0f : load<T>(args.table, source * args.table_stride + i) * args.scale);
    }
  });
  return known ? SPF_OK : SPF_INVALID_TYPE;
}

} // namespace spf::embedding
