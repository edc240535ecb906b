// The meaning of the kv_cache ops, in loops to check by hand: where each row comes from and goes to stands in
// Moves::locate() (args.h), what happens to a number stands here.
//
//   copy        the code as it is
//   quantize    the nearest code of x / scale (a f32 division), ties to even; beyond the largest finite code that one,
//               with its sign, for infinities too; NaN stays NaN
//   dequantize  round(code * scale): one f32 product, one rounding to T
#include <algorithm>
#include <cstring>

#include "core/scalar_traits.hpp"
#include "kernels/common/float_types.hpp"
#include "kernels/kv_cache/args.h"

namespace spf::kv_cache {
namespace {

template <spf_scalar_type C>
float saturated(float x) {
  constexpr auto kLargest = static_cast<float>(scalar_info(C).max_value);
  return x != x ? x : std::clamp(x, -kLargest, kLargest);
}

template <class Body>
bool with_code_type(spf_scalar_type type, Body&& body) {
  if (type == SPF_E4M3) body(TypeTag<SPF_E4M3>{});
  if (type == SPF_E5M2) body(TypeTag<SPF_E5M2>{});
  return is_fp8(type);
}

int64_t target_of(const Side& side, int64_t e) { return e / side.vector * side.vector_stride + e % side.vector; }

void move_row(const Moves& m, int s, int64_t from, int64_t to, float scale) {
  const Side& side = m.side[s];
  if (m.change == Change::kCopy) {
    const int64_t bytes = bytes_of(m.to_type);
    for (int64_t e = 0; e < m.length; ++e)
      std::memcpy(static_cast<char*>(side.to) + (to + target_of(side, e)) * bytes,
                  static_cast<const char*>(side.from) + (from + e) * bytes, static_cast<size_t>(bytes));
    return;
  }
  const bool quantize = m.change == Change::kQuantize;
  with_float_type(quantize ? m.from_type : m.to_type, [&](auto numbers) {
    with_code_type(quantize ? m.to_type : m.from_type, [&](auto codes) {
      constexpr spf_scalar_type kT = decltype(numbers)::value, kC = decltype(codes)::value;
      for (int64_t e = 0; e < m.length; ++e)
        if (quantize)
          store<kC>(side.to, to + target_of(side, e), saturated<kC>(load<kT>(side.from, from + e) / scale));
        else
          store<kT>(side.to, to + target_of(side, e), load<kC>(side.from, from + e) * scale);
    });
  });
}

void zero_row(const Moves& m, int64_t to) {
  const int64_t bytes = bytes_of(m.to_type);
  std::memset(static_cast<char*>(m.side[0].to) + to * bytes, 0, static_cast<size_t>(m.length * bytes));
}

} // namespace

spf_status reference_moves(const Call& call, const LaunchContext&) {
  const Moves m = moves_of(call);
  if (m.empty()) return SPF_OK;
  for (int64_t item = 0; item < m.items; ++item) {
    int64_t from[2], to[2];
    const Found found = m.locate(item, from, to);
    if (found == Found::kSkip) continue;
    for (int s = 0; s < m.sides; ++s)
      for (int64_t head = 0; head < m.heads; ++head) {
        const int64_t target = to[s] + head * m.side[s].to_head;
        if (found == Found::kZero)
          zero_row(m, target);
        else
          move_row(m, s, from[s] + head * m.side[s].from_head, target, m.scale_of(s, head));
      }
  }
  return SPF_OK;
}

} // namespace spf::kv_cache
