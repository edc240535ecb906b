// Attention on the CPU. A unit is up to kRows rows (query position, head) of one sequence that share a KV head; it
// walks the keys in tiles of kLanes, converted to f32 once for all rows. Scores of a tile are one vector, a lane a key.
// A row's tiles start at multiples of kLanes and a row takes only keys that it sees, so its bits depend on that row
// alone and a NaN in a key or value reaches those who see it only.
#pragma once

#include <algorithm>
#include <limits>
#include <utility>

#include "kernels/attention/args.h"
#include "kernels/common/simd/lanes.hpp"

namespace spf::attention {
namespace {

template <int kLanes>
struct CpuAttention {
  using L = simd::Lanes<kLanes>;
  using F = typename L::F;
  static constexpr int kRows = 32, kMaxDims = 256, kMaxVectors = kMaxDims / kLanes;
  static constexpr float kNothing = -std::numeric_limits<float>::infinity();

  const AttentionArgs& args;
  const int64_t vectors = (args.dims + kLanes - 1) / kLanes;

  // --- conversions -----------------------------------------------------------------------------------------------

  // fp8 codes lie in f32 as they are but for the width of the exponent, so one product with a power of two decodes
  // them, denormals too.
  static float widen8(spf_scalar_type type, uint8_t code) {
    const bool e4m3 = type == SPF_E4M3;
    const uint32_t size = code & 0x7fu;
    uint32_t bits = size << (e4m3 ? 20 : 21);
    float value;
    std::memcpy(&value, &bits, sizeof value);
    value *= e4m3 ? 0x1p120f : 0x1p112f;
    if (e4m3 ? size == 0x7f : size > 0x7c) value = std::numeric_limits<float>::quiet_NaN();
    if (!e4m3 && size == 0x7c) value = std::numeric_limits<float>::infinity();
    return (code & 0x80u) != 0 ? -value : value;
  }

  static int64_t bytes_of(spf_scalar_type type) {
    return type == SPF_F32 ? 4 : type == SPF_F16 || type == SPF_BF16 ? 2 : 1;
  }

  static F load(spf_scalar_type type, const char* from, int64_t n) {
    if (type == SPF_F32) return L::template load<SPF_F32>(from, n);
    if (type == SPF_F16) return L::template load<SPF_F16>(from, n);
    if (type == SPF_BF16) return L::template load<SPF_BF16>(from, n);
    float lane[kLanes] = {};
    for (int64_t i = 0; i < std::min<int64_t>(n, kLanes); ++i) lane[i] = widen8(type, static_cast<uint8_t>(from[i]));
    F v;
    std::memcpy(&v, lane, sizeof v);
    return v;
  }

  // A row of args.dims elements as f32, padded with zeros to whole vectors.
  void load_row(spf_scalar_type type, const void* data, int64_t at, const RowStride& stride, float* to) const {
    const int64_t bytes = bytes_of(type);
    const char* const from = static_cast<const char*>(data) + at * bytes;
    if (stride.run >= args.dims) {
      for (int64_t d = 0; d < args.dims; d += kLanes)
        L::template store<SPF_F32>(reinterpret_cast<char*>(to + d), load(type, from + d * bytes, args.dims - d));
      return;
    }
    for (int64_t d = 0; d < vectors * kLanes; ++d) to[d] = 0;
    for (int64_t d = 0; d < args.dims; d += stride.run) {
      const int64_t n = std::min(stride.run, args.dims - d);
      for (int64_t i = 0; i < n; i += kLanes)
        L::template store<SPF_F32>(reinterpret_cast<char*>(to + d + i),
                                   load(type, from + (stride.dim(d) + i) * bytes, n - i),
                                   std::min<int64_t>(n - i, kLanes));
    }
  }

  static void store_row(spf_scalar_type type, char* to, int64_t i, F v, int64_t n) {
    if (type == SPF_F32) L::template store<SPF_F32>(to + 4 * i, v, n);
    if (type == SPF_F16) L::template store<SPF_F16>(to + 2 * i, v, n);
    if (type == SPF_BF16) L::template store<SPF_BF16>(to + 2 * i, v, n);
  }

  // --- kLanes sums at once -------------------------------------------------------------------------------------------

  // Lanes i with bit kWidth clear: a[i] + a[i + kWidth]; set: the same of b.
  template <int kWidth, int... i>
  static F fold(F a, F b, std::integer_sequence<int, i...>) {
    const F low = __builtin_shufflevector(a, b, ((i & kWidth) == 0 ? i : kLanes + i - kWidth)...);
    const F high = __builtin_shufflevector(a, b, ((i & kWidth) == 0 ? i + kWidth : kLanes + i)...);
    return low + high;
  }
  template <int kWidth>
  static void fold_all(F* v) {
    for (int i = 0; i < kWidth; ++i)
      v[i] = fold<kWidth>(v[i], v[i + kWidth], std::make_integer_sequence<int, kLanes>());
    if constexpr (kWidth > 1) fold_all<kWidth / 2>(v);
  }

  // Lane k: the product of the row with key k of the tile.
  F products(const float* query, const float* keys) const {
    F sums[kLanes] = {};
    for (int64_t d = 0; d < vectors * kLanes; d += kLanes) {
      F q;
      std::memcpy(&q, query + d, sizeof q);
#pragma GCC unroll 16
      for (int k = 0; k < kLanes; ++k) {
        F key;
        std::memcpy(&key, keys + k * kMaxDims + d, sizeof key);
        sums[k] += q * key;
      }
    }
    fold_all<kLanes / 2>(sums);
    return sums[0];
  }

  static float largest_of(F v) {
    float lane[kLanes], most = kNothing;
    std::memcpy(lane, &v, sizeof lane);
    for (float x : lane) most = x > most ? x : most;
    return most;
  }

  // --- a unit --------------------------------------------------------------------------------------------------------

  struct Row {
    int64_t row, head, position, first, last; // sees [first, last)
    float largest, sum;
  };
  struct Unit {
    int64_t sequence, kv_head, length;
    int rows = 0;
    Row row[kRows];
    alignas(64) float query[kRows][kMaxDims];
    alignas(64) float out[kRows][kMaxDims];
    alignas(64) float keys[kLanes * kMaxDims];
    alignas(64) float values[kLanes * kMaxDims];
  };

  void add_row(Unit& u, int64_t row, int64_t head, int64_t position) const {
    const int r = u.rows++;
    u.row[r] = {row, head, position, args.first_seen(position), args.last_seen(position, u.length), kNothing, 0};
    load_row(args.type, args.query, row * args.query_stride[0] + head * args.query_stride[1], {0, 0, 0, 0, args.dims},
             u.query[r]);
    std::memset(u.out[r], 0, sizeof u.out[r]);
    if (args.sinks != nullptr) {
      u.row[r].largest = args.sinks[head];
      u.row[r].sum = 1;
    }
  }

  // Scores of a tile as the reference defines them; -inf for keys that the row does not see, whose bits are not in
  // *seen.
  F scores(const Unit& u, int r, int64_t start, float scale, uint32_t* seen) const {
    const Row& row = u.row[r];
    float s[kLanes];
    const F dots = products(u.query[r], u.keys) * scale;
    std::memcpy(s, &dots, sizeof s);
    *seen = 0;
    for (int k = 0; k < kLanes; ++k) {
      const int64_t key = start + k;
      bool sees = key >= row.first && key < row.last;
      if (args.is_sparse()) sees = sees && args.sparse_sees(row.head, u.length, key);
      if (args.softcap > 0) s[k] = args.softcap * __builtin_tanhf(s[k] / args.softcap);
      if (args.alibi_slopes != nullptr) {
        const int64_t distance = row.position > key ? row.position - key : key - row.position;
        s[k] -= args.alibi_slopes[row.head] * static_cast<float>(distance);
      }
      if (sees) *seen |= 1u << k;
      if (!sees) s[k] = kNothing;
    }
    F v;
    std::memcpy(&v, s, sizeof v);
    return v;
  }

  void tile(Unit& u, int64_t start, float scale) const {
    const int keys = static_cast<int>(std::min<int64_t>(kLanes, u.length - start));
    for (int k = 0; k < kLanes; ++k) {
      if (k >= keys) {
        std::memset(u.keys + k * kMaxDims, 0, static_cast<size_t>(vectors) * sizeof(F));
        continue;
      }
      load_row(args.kv_type, args.key, args.row_of(args.key_stride, u.sequence, start + k, u.kv_head), args.key_stride,
               u.keys + k * kMaxDims);
      load_row(args.kv_type, args.value, args.row_of(args.value_stride, u.sequence, start + k, u.kv_head),
               args.value_stride, u.values + k * kMaxDims);
    }
    for (int r = 0; r < u.rows; ++r) {
      Row& row = u.row[r];
      if (row.first >= start + kLanes || row.last <= start) continue;
      uint32_t seen;
      const F s = scores(u, r, start, scale, &seen);
      if (seen == 0) continue;
      const float tile_largest = largest_of(s);
      if (tile_largest > row.largest) {
        const F correction = L::exp(L::set(row.largest - tile_largest));
        row.sum *= correction[0];
        row.largest = tile_largest;
        for (int64_t d = 0; d < vectors; ++d) accumulator(u, r, d) *= correction[0];
      }
      // Only infinities below so far: they weigh nothing.
      const F p = L::exp(s - (row.largest == kNothing ? 0.0f : row.largest));
      float weight[kLanes];
      std::memcpy(weight, &p, sizeof weight);
      for (int k = 0; k < kLanes; ++k)
        if ((seen >> k & 1u) == 0) weight[k] = 0;
      F kept;
      std::memcpy(&kept, weight, sizeof kept);
      row.sum += L::sum(kept);
      add_values(u, r, weight, seen);
    }
  }

  static F& accumulator(Unit& u, int r, int64_t d) { return reinterpret_cast<F*>(u.out[r])[d]; }

  void add_values(Unit& u, int r, const float* weight, uint32_t seen) const {
    constexpr int kStep = 4; // vectors that stay in registers
    for (int64_t d = 0; d < vectors; d += kStep) {
      const int n = static_cast<int>(std::min<int64_t>(kStep, vectors - d));
      F sum[kStep];
      for (int i = 0; i < n; ++i) sum[i] = accumulator(u, r, d + i);
      for (uint32_t left = seen; left != 0; left &= left - 1) {
        const int k = __builtin_ctz(left);
        const float* const value = u.values + k * kMaxDims + d * kLanes;
        if (n == kStep) {
#pragma GCC unroll 4
          for (int i = 0; i < kStep; ++i) sum[i] += reinterpret_cast<const F*>(value)[i] * weight[k];
        } else {
          for (int i = 0; i < n; ++i) sum[i] += reinterpret_cast<const F*>(value)[i] * weight[k];
        }
      }
      for (int i = 0; i < n; ++i) accumulator(u, r, d + i) = sum[i];
    }
  }

  void run(Unit& u) const {
    int64_t first = u.length, last = 0;
    for (int r = 0; r < u.rows; ++r) {
      first = std::min(first, u.row[r].first);
      last = std::max(last, u.row[r].last);
    }
    const float k_scale = args.k_scale != nullptr ? args.k_scale[u.kv_head * args.scale_stride] : 1.0f;
    const float v_scale = args.v_scale != nullptr ? args.v_scale[u.kv_head * args.scale_stride] : 1.0f;
    for (int64_t start = first / kLanes * kLanes; start < last; start += kLanes) tile(u, start, args.scale * k_scale);
    for (int r = 0; r < u.rows; ++r) finish(u, r, v_scale);
  }

  void finish(Unit& u, int r, float v_scale) const {
    const Row& row = u.row[r];
    const float scale = row.sum == 0 ? 0.0f : v_scale / row.sum;
    char* const to = static_cast<char*>(args.out) +
                     (row.row * args.out_stride[0] + row.head * args.out_stride[1]) * bytes_of(args.type);
    for (int64_t d = 0; d < vectors; ++d) {
      const F v = row.sum == 0 ? F{} : accumulator(u, r, d) * scale;
      store_row(args.type, to, d * kLanes, v, std::min<int64_t>(kLanes, args.dims - d * kLanes));
    }
    if (args.lse != nullptr)
      args.lse[row.head * args.rows + row.row] = row.sum == 0 ? kNothing : row.largest + __builtin_logf(row.sum);
  }

  // Rows of a sequence and KV head: its queries by its group's heads, a query's heads side by side.
  void run_rows(int64_t sequence, int64_t kv_head, int64_t first_row, int64_t last_row) const {
    Unit u;
    u.sequence = sequence;
    u.kv_head = kv_head;
    u.length = args.keys(sequence);
    const int64_t group = args.group(), queries = args.queries(sequence), first_query = args.first_query(sequence);
    for (int64_t r = first_row; r < last_row; ++r)
      add_row(u, first_query + r / group, kv_head * group + r % group, u.length - queries + r / group);
    run(u);
  }

  int64_t units_of(int64_t sequence) const { return (args.queries(sequence) * args.group() + kRows - 1) / kRows; }

  void run_all(int threads) const {
    int64_t blocks = 0; // of rows, over all sequences
    for (int64_t b = 0; b < args.sequences; ++b) blocks += units_of(b);
    const int64_t units = blocks * args.kv_heads;
#pragma omp parallel for schedule(dynamic) num_threads(threads) if (units > 1)
    for (int64_t i = 0; i < units; ++i) {
      // The longest prefixes first: they are a sequence's last rows.
      int64_t block = blocks - 1 - i / args.kv_heads, sequence = 0;
      while (block >= units_of(sequence)) block -= units_of(sequence++);
      const int64_t rows = args.queries(sequence) * args.group();
      run_rows(sequence, i % args.kv_heads, block * kRows, std::min<int64_t>(rows, (block + 1) * kRows));
    }
  }
};

template <int kLanes>
spf_status cpu_attention(const Call& call, const LaunchContext& ctx) {
  const AttentionArgs args = attention_args(call);
  if (const spf_status s = check_numbers(args, call.problem.op->name); s != SPF_OK) return s;
  if (args.kv_heads > 0) CpuAttention<kLanes>{args}.run_all(ctx.threads);
  return SPF_OK;
}

// merge_attn_states, one (token, head) after the other.
template <spf_scalar_type T, int kLanes>
void merge_rows(const MergeArgs& args, int threads) {
  using L = simd::Lanes<kLanes>;
  using F = typename L::F;
  constexpr float kNothing = -std::numeric_limits<float>::infinity();
  constexpr int64_t kBytes = T == SPF_F32 ? 4 : 2;
  const int64_t rows = args.tokens * args.heads;
#pragma omp parallel for schedule(static) num_threads(threads) if (rows * args.dims > 32768)
  for (int64_t i = 0; i < rows; ++i) {
    const int64_t token = i / args.heads, head = i % args.heads, at = head * args.tokens + token;
    const auto place = [&](const MergeArgs::State& s) {
      return static_cast<char*>(s.data) + (token * s.stride[0] + head * s.stride[1]) * kBytes;
    };
    const auto lse_of = [&](const MergeArgs::State& s) { return __builtin_isinf(s.lse[at]) ? kNothing : s.lse[at]; };
    const float p = lse_of(args.prefix), s = lse_of(args.suffix), largest = p > s ? p : s;
    const bool nothing = largest == kNothing;
    const F wp = L::exp(L::set(p - largest)), ws = L::exp(L::set(s - largest)), sum = wp + ws;
    for (int64_t d = 0; d < args.dims; d += kLanes) {
      const int64_t n = args.dims - d;
      F v = L::template load<T>(place(args.prefix) + d * kBytes, n);
      if (!nothing) v = (v * wp + L::template load<T>(place(args.suffix) + d * kBytes, n) * ws) / sum;
      L::template store<T>(place(args.out) + d * kBytes, v, n);
    }
    if (args.out.lse != nullptr) args.out.lse[at] = nothing ? kNothing : largest + __builtin_logf(sum[0]);
  }
}

template <int kLanes>
spf_status cpu_merge(const Call& call, const LaunchContext& ctx) {
  const MergeArgs args = merge_args(call);
  if (args.type == SPF_F32) merge_rows<SPF_F32, kLanes>(args, ctx.threads);
  if (args.type == SPF_F16) merge_rows<SPF_F16, kLanes>(args, ctx.threads);
  if (args.type == SPF_BF16) merge_rows<SPF_BF16, kLanes>(args, ctx.threads);
  return SPF_OK;
}

} // namespace
} // namespace spf::attention
