// Moves on the CPU: copies of rows, and 8-bit codes 8 at a time in f32 registers. Everything is internal, as
// kernels/common/simd/lanes.hpp asks.
#include "kernels/common/simd/lanes.hpp"
#include "kernels/kv_cache/args.h"

namespace spf::kv_cache {
namespace {

constexpr int kLanes = 8;
using L = simd::Lanes<kLanes>;
using F = L::F;
using U = L::U;

// How codes of a type lie in f32: a number's bits above `shift` are its code, but for the bias of the exponent.
template <spf_scalar_type C>
struct Code;
template <>
struct Code<SPF_E4M3> {
  static constexpr int kShift = 20;
  static constexpr uint32_t kBias = (127 - 7) << 3, kNan = 0x7f;
  static constexpr float kLargest = 448, kSmallestNormal = 0x1p-6f;
  static constexpr float kGrid = 0x1p14f; // f32 numbers from here on are a subnormal's unit apart
};
template <>
struct Code<SPF_E5M2> {
  static constexpr int kShift = 21;
  static constexpr uint32_t kBias = (127 - 15) << 2, kNan = 0x7f;
  static constexpr float kLargest = 57344, kSmallestNormal = 0x1p-14f;
  static constexpr float kGrid = 0x1p7f;
};

// Nearest codes, ties to even, saturated; in the low byte of each lane.
template <spf_scalar_type C>
U encode(F v) {
  using K = Code<C>;
  const U sign = (L::bits(v) >> 24) & 0x80u;
  const F size = L::from_bits(L::bits(v) & 0x7fffffffu), largest = L::set(K::kLargest);
  const F clamped = size > largest ? largest : size;
  const U b = L::bits(clamped);
  const U normal = ((b + ((1u << (K::kShift - 1)) - 1) + ((b >> K::kShift) & 1u)) >> K::kShift) - K::kBias;
  const U subnormal = L::bits(clamped + K::kGrid) - L::bits(L::set(K::kGrid));
  const U code = clamped < L::set(K::kSmallestNormal) ? subnormal : normal;
  const U nan = U{} + K::kNan;
  return sign | (v == v ? code : nan);
}

template <spf_scalar_type C>
F decode(U code) {
  using K = Code<C>;
  const U sign = (code & 0x80u) << 24, size = code & 0x7fu;
  // Exact, for subnormals too: the exponent's bias as a product.
  const F value = L::from_bits(size << K::kShift) * (C == SPF_E4M3 ? 0x1p120f : 0x1p112f);
  const U nan = U{} + 0x7fc00000u, infinity = U{} + 0x7f800000u;
  U bits = L::bits(value);
  if constexpr (C == SPF_E4M3) {
    bits = size == U{} + 0x7fu ? nan : bits;
  } else {
    bits = size > U{} + 0x7cu ? nan : bits;
    bits = size == U{} + 0x7cu ? infinity : bits;
  }
  return L::from_bits(sign | bits);
}

template <spf_scalar_type T, spf_scalar_type C>
void quantize(const char* from, uint8_t* to, int64_t count, float scale) {
  for (int64_t i = 0; i < count; i += kLanes) {
    const int64_t n = count - i < kLanes ? count - i : kLanes;
    const U codes = encode<C>(L::load<T>(from + i * (T == SPF_F32 ? 4 : 2), n) / scale);
    uint32_t words[kLanes];
    std::memcpy(words, &codes, sizeof(words));
    for (int64_t j = 0; j < n; ++j) to[i + j] = static_cast<uint8_t>(words[j]);
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
    L::store<T>(to + i * (T == SPF_F32 ? 4 : 2), decode<C>(codes) * scale, n);
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
