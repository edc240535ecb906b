// Moves on the CPU: copies of rows, and 8-bit codes 8 at a time in f32 registers. Everything is internal, as
// kernels/common/simd/lanes.hpp asks.
#include "kernels/common/simd/fp8.hpp"
#include "kernels/kv_cache/args.h"

namespace spf::kv_cache {
namespace {

constexpr int kLanes = 8;
using L = simd::Lanes<kLanes>;
using U = L::U;

template <spf_scalar_type C>
using Codes = simd::Fp8Lanes<C, kLanes>;

template <spf_scalar_type T, spf_scalar_type C>
void quantize(const char* from, uint8_t* to, int64_t count, float scale) {
  for (int64_t i = 0; i < count; i += kLanes) {
    const int64_t n = count - i < kLanes ? count - i : kLanes;
    const U codes = Codes<C>::encode(L::load<T>(from + i * (T == SPF_F32 ? 4 : 2), n) / scale);
    L::store_bytes(to + i, codes, n);
  }
}

template <spf_scalar_type C, spf_scalar_type T>
void dequantize(const uint8_t* from, char* to, int64_t count, float scale) {
  for (int64_t i = 0; i < count; i += kLanes) {
    const int64_t n = count - i < kLanes ? count - i : kLanes;
    uint32_t words[kLanes] = {};
    for (int64_t j = 0; j < n; ++j) words[j] = from[i + j];
    U codes;
    std::memcpy(&codes, words, sizeof(codes));
    L::store<T>(to + i * (T == SPF_F32 ? 4 : 2), Codes<C>::decode(codes) * scale, n);
  }
}

template <spf_scalar_type T>
void change_numbers(const Moves& m, const char* from, char* to, int64_t count, float scale) {
  auto* const codes = reinterpret_cast<uint8_t*>(to);
  const auto* const read = reinterpret_cast<const uint8_t*>(from);
  if (m.to_type == SPF_E4M3) return quantize<T, SPF_E4M3>(from, codes, count, scale);
  if (m.to_type == SPF_E5M2) return quantize<T, SPF_E5M2>(from, codes, count, scale);
  if (m.from_type == SPF_E4M3) return dequantize<SPF_E4M3, T>(read, to, count, scale);
  dequantize<SPF_E5M2, T>(read, to, count, scale);
}

// `count` numbers that lie together on both sides.
void change_run(const Moves& m, const char* from, char* to, int64_t count, float scale) {
  const spf_scalar_type numbers = m.change == Change::kQuantize ? m.from_type : m.to_type;
  if (m.change == Change::kCopy)
    std::memcpy(to, from, static_cast<size_t>(count * bytes_of(m.to_type)));
  else if (numbers == SPF_F32)
    change_numbers<SPF_F32>(m, from, to, count, scale);
  else if (numbers == SPF_F16)
    change_numbers<SPF_F16>(m, from, to, count, scale);
  else
    change_numbers<SPF_BF16>(m, from, to, count, scale);
}

// A row whose elements lie apart in the target goes through a buffer.
void scatter_row(const Moves& m, const Side& side, const char* from, char* to, float scale) {
  constexpr int64_t kPart = 256;
  const int64_t size = bytes_of(m.to_type);
  char part[kPart * 4];
  for (int64_t e = 0; e < m.length; e += kPart) {
    const int64_t n = m.length - e < kPart ? m.length - e : kPart;
    change_run(m, from + e * bytes_of(m.from_type), part, n, scale);
    for (int64_t i = 0; i < n; i += side.vector) // vectors of 1 element or 16 bytes divide a part
      std::memcpy(to + (e + i) / side.vector * side.vector_stride * size, part + i * size,
                  static_cast<size_t>(side.vector * size));
  }
}

void move_item(const Moves& m, int64_t item) {
  int64_t from[2], to[2];
  const Found found = m.locate(item, from, to);
  if (found == Found::kSkip) return;
  const int64_t from_size = bytes_of(m.from_type), to_size = bytes_of(m.to_type);
  for (int s = 0; s < m.sides; ++s)
    for (int64_t head = 0; head < m.heads; ++head) {
      const Side& side = m.side[s];
      const char* const source = static_cast<const char*>(side.from) + (from[s] + head * side.from_head) * from_size;
      char* const target = static_cast<char*>(side.to) + (to[s] + head * side.to_head) * to_size;
      if (found == Found::kZero)
        std::memset(target, 0, static_cast<size_t>(m.length * to_size));
      else if (side.vector == m.length)
        change_run(m, source, target, m.length, m.scale_of(s, head));
      else
        scatter_row(m, side, source, target, m.scale_of(s, head));
    }
}

} // namespace

spf_status avx2_moves(const Call& call, const LaunchContext& ctx) {
  const Moves m = moves_of(call);
  if (m.empty()) return SPF_OK;
#pragma omp parallel for schedule(static) \
    num_threads(ctx.threads) if (m.items > 1 && m.items * m.heads * m.length > 32768)
  for (int64_t item = 0; item < m.items; ++item) move_item(m, item);
  return SPF_OK;
}

} // namespace spf::kv_cache
