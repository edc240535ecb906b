// Integer weights by AVX2: the same integers, sums and order of operations as the AVX-512 and AMX kernels, so the same
// bits. 16-bit activations meet weights as 16-bit words (vpmaddwd); 8-bit activations meet 4-bit weights as bytes
// (vpmaddubsw, which saturates at 16 bits: 4-bit weights stay below for 16 columns, 8-bit weights would not for two and
// take the way of words).
#include <omp.h>

#include "kernels/linear/cpu_avx2.hpp"

namespace spf::linear {
namespace {

enum class Codes { kNibble, kTable, kByte };

// How activations lie in the workspace: signed bytes in nibble order, or signed words.
enum class Form { kBytes, kWords };

template <Codes kCodes, Form kForm>
constexpr int column_order(int i) {
  if (kForm == Form::kWords) {
    constexpr int kPairs[4] = {0, 2, 1, 3}; // words of 8-bit weights: even bytes, then odd ones
    return kCodes == Codes::kByte ? i / 4 * 4 + kPairs[i % 4] : i;
  }
  constexpr int kNibbles[8] = {0, 4, 1, 5, 2, 6, 3, 7};
  return i / 8 * 8 + kNibbles[i % 8];
}

template <Codes kCodes, Form kForm>
void prepare(const Args& a, const IntegerWorkspace& ws, int limit, int64_t m, int64_t slot) {
  const CpuPacked& p = a.weight.layout;
  const char* row = row_at(a.x, m);
  char* to = a.workspace + ws.codes + slot * 2 * ws.pitch; // room for words
  float* steps = reinterpret_cast<float*>(a.workspace + ws.steps) + slot * p.segments;
  int32_t* sums = reinterpret_cast<int32_t*>(a.workspace + ws.sums) + slot * p.segments;
  int32_t* offsets = reinterpret_cast<int32_t*>(a.workspace + ws.offsets) + slot * p.segments;
  for (int64_t i = 0; i < a.weight.segments; ++i) {
    const CpuSegment s = cpu_segment(a.weight, i);
    alignas(32) float x[kCpuMaxSegment];
    for (int32_t at = 0; at < s.length; at += 16) {
      Float16 values;
      if (!p.gathered) {
        values = load_row(row, a.x.type, s.start + at, a.k - s.start - at);
      } else {
        float gathered[16];
        for (int j = 0; j < 16; ++j) {
          const int64_t k = a.weight.column[s.start + at + j];
          gathered[j] = k < 0 ? 0.0f : _mm256_cvtss_f32(load_row(row, a.x.type, k, 1).v[0]);
        }
        std::memcpy(&values, gathered, sizeof values);
      }
      _mm256_store_ps(x + at, values.v[0]);
      _mm256_store_ps(x + at + 8, values.v[1]);
    }
    const bool given = a.x_scale != nullptr;
    bool finite = true;
    float inverse = 1.0f;
    if (given) {
      steps[i] = x_scale_at(a, m, s.start);
    } else {
      // As integers, |x| orders like the floats, with infinity and NaN above every number.
      uint32_t top = 0;
      for (int32_t j = 0; j < s.length; ++j) {
        uint32_t bits;
        std::memcpy(&bits, x + j, sizeof bits);
        bits &= 0x7fffffffu;
        top = bits > top ? bits : top;
      }
      float max;
      std::memcpy(&max, &top, sizeof max);
      const bool zero = top < 0x00800000u; // subnormal counts as zero
      finite = top < 0x7f800000u;
      inverse = finite && !zero ? 1.0f / max : 0.0f;
      steps[i] = !finite ? __builtin_nanf("") : zero ? 0.0f : max * (1.0f / static_cast<float>(limit));
    }
    alignas(32) int32_t code[kCpuMaxSegment];
    int32_t sum = 0;
    for (int32_t j = 0; j < s.length; j += 8) {
      const __m256 scaled = _mm256_mul_ps(_mm256_mul_ps(_mm256_load_ps(x + j), _mm256_set1_ps(inverse)),
                                          _mm256_set1_ps(given ? 1.0f : static_cast<float>(limit)));
      _mm256_store_si256(reinterpret_cast<__m256i*>(code + j),
                         finite ? _mm256_cvtps_epi32(scaled) : _mm256_setzero_si256());
    }
    for (int32_t j = 0; j < s.length; ++j) sum += code[j];
    for (int32_t j = 0; j < s.length; ++j) {
      const int32_t value = code[column_order<kCodes, kForm>(j)];
      if (kForm == Form::kBytes)
        reinterpret_cast<int8_t*>(to)[s.start + j] = static_cast<int8_t>(value);
      else
        reinterpret_cast<int16_t*>(to)[s.start + j] = static_cast<int16_t>(value);
    }
    sums[i] = sum;
    offsets[i] = -p.zero * sum;
  }
}

inline __m256i broadcast_word(const char* at) {
  int32_t word;
  std::memcpy(&word, at, sizeof word);
  return _mm256_set1_epi32(word);
}

// kM rows and one n16 block over all of K.
template <Codes kCodes, Form kForm, int kM>
class Tile {
 public:
  Tile(const Args& a, const IntegerWorkspace& ws, int64_t slot, int64_t block)
      : a_(a), w_(a.weight), p_(a.weight.layout), block_(block) {
    for (int i = 0; i < kM; ++i) x_[i] = a.workspace + ws.codes + (slot + i) * 2 * ws.pitch;
    const int64_t at = slot * p_.segments;
    steps_ = reinterpret_cast<const float*>(a.workspace + ws.steps) + at;
    sums_ = reinterpret_cast<const int32_t*>(a.workspace + ws.sums) + at;
    offsets_ = reinterpret_cast<const int32_t*>(a.workspace + ws.offsets) + at;
    table_ = _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p_.table)));
  }

  void run(int64_t m) {
    for (int i = 0; i < kM; ++i)
      for (int h = 0; h < 2; ++h) total_[i][h] = _mm256_setzero_ps();
    const uint8_t* codes = w_.codes + block_ * static_cast<int64_t>(p_.block_code_bytes);
    for (int64_t s = 0; s < w_.segments; ++s) {
      const CpuSegment segment = cpu_segment(w_, s);
      for (int i = 0; i < kM; ++i)
        for (int h = 0; h < 2; ++h) dot_[i][h] = _mm256_set1_epi32(offsets_[i * p_.segments + s]);
      if constexpr (kCodes == Codes::kByte)
        for (int64_t k = segment.start; k < segment.start + segment.length; k += 4) bytes(codes + k * 16, k);
      else if constexpr (kForm == Form::kWords)
        for (int64_t k = segment.start; k < segment.start + segment.length; k += 8) nibbles_by_words(codes + k * 8, k);
      else
        for (int64_t k = segment.start; k < segment.start + segment.length; k += 16) nibbles_by_bytes(codes + k * 8, k);
      add_segment(s, segment.scale_row);
    }
    finish(m);
  }

 private:
  static __m256i load(const uint8_t* at) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at)); }

  // dot[i] += words of c times the pair of words of row i at byte offset `at`.
  void madd(int h, __m256i c, int64_t at) {
    for (int i = 0; i < kM; ++i)
      dot_[i][h] = _mm256_add_epi32(dot_[i][h], _mm256_madd_epi16(c, broadcast_word(x_[i] + at)));
  }

  void bytes(const uint8_t* codes, int64_t k) {
    for (int h = 0; h < 2; ++h) {
      const __m256i c = load(codes + 32 * h);
      madd(h, _mm256_and_si256(c, _mm256_set1_epi16(0xff)), 2 * k);
      madd(h, _mm256_srli_epi16(c, 8), 2 * k + 4);
    }
  }

  // Low and high nibbles of the bytes, looked up if the codes are no integers.
  void split(__m256i both, __m256i* low, __m256i* high) const {
    const __m256i mask = _mm256_set1_epi8(0x0f);
    *low = _mm256_and_si256(both, mask);
    *high = _mm256_and_si256(_mm256_srli_epi16(both, 4), mask);
    if (kCodes == Codes::kTable) {
      *low = _mm256_shuffle_epi8(table_, *low);
      *high = _mm256_shuffle_epi8(table_, *high);
    }
  }

  void nibbles_by_words(const uint8_t* codes, int64_t k) {
    const __m256i byte = _mm256_set1_epi16(0xff);
    for (int h = 0; h < 2; ++h) {
      __m256i low, high;
      split(load(codes + 32 * h), &low, &high);
      madd(h, _mm256_and_si256(low, byte), 2 * k);
      madd(h, _mm256_and_si256(high, byte), 2 * k + 4);
      madd(h, _mm256_srli_epi16(low, 8), 2 * k + 8);
      madd(h, _mm256_srli_epi16(high, 8), 2 * k + 12);
    }
  }

  // 16 columns: at most 4 * 2 * 24 * 127 in a 16-bit sum.
  void nibbles_by_bytes(const uint8_t* codes, int64_t k) {
    for (int h = 0; h < 2; ++h) {
      __m256i low[2], high[2];
      for (int j = 0; j < 2; ++j) split(load(codes + 64 * j + 32 * h), &low[j], &high[j]);
      for (int i = 0; i < kM; ++i) {
        const char* x = x_[i] + k;
        __m256i sum = _mm256_maddubs_epi16(low[0], broadcast_word(x));
        sum = _mm256_add_epi16(sum, _mm256_maddubs_epi16(high[0], broadcast_word(x + 4)));
        sum = _mm256_add_epi16(sum, _mm256_maddubs_epi16(low[1], broadcast_word(x + 8)));
        sum = _mm256_add_epi16(sum, _mm256_maddubs_epi16(high[1], broadcast_word(x + 12)));
        dot_[i][h] = _mm256_add_epi32(dot_[i][h], _mm256_madd_epi16(sum, _mm256_set1_epi16(1)));
      }
    }
  }

  // As add_segment() of cpu_avx512.hpp, operation by operation.
  void add_segment(int64_t s, int64_t scale_row) {
    const int64_t row = block_ * p_.scale_rows + scale_row;
    Float16 scale, minimum = {};
    if (p_.scale_rows == 0)
      scale.v[0] = scale.v[1] = _mm256_set1_ps(p_.scale_factor);
    else
      scale = load_scales(w_.scales + row * static_cast<int64_t>(p_.scale_row_bytes), p_.scale_type);
    if (p_.zeros == SPF_ZERO_MINIMUM)
      minimum = load_scales(w_.zeros + row * static_cast<int64_t>(p_.scale_row_bytes), p_.scale_type);
    for (int h = 0; h < 2; ++h) {
      __m256i zero = _mm256_setzero_si256();
      if (p_.zeros == SPF_ZERO_INTEGER)
        zero = _mm256_cvtepi16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(w_.zeros + row * 32) + h));
      for (int i = 0; i < kM; ++i) {
        const float step = steps_[i * p_.segments + s];
        const int32_t sum = sums_[i * p_.segments + s];
        __m256i dot = dot_[i][h];
        if (p_.zeros == SPF_ZERO_INTEGER) dot = _mm256_sub_epi32(dot, _mm256_mullo_epi32(zero, _mm256_set1_epi32(sum)));
        total_[i][h] =
            _mm256_fmadd_ps(_mm256_cvtepi32_ps(dot), _mm256_mul_ps(scale.v[h], _mm256_set1_ps(step)), total_[i][h]);
        if (p_.zeros == SPF_ZERO_MINIMUM)
          total_[i][h] = _mm256_fnmadd_ps(minimum.v[h], _mm256_set1_ps(step * static_cast<float>(sum)), total_[i][h]);
      }
    }
  }

  // As finish() of cpu_avx512.hpp, operation by operation.
  void take_zero_points(int64_t m, int64_t n, Float16* sum) const {
    const Float16 adj = load_row(reinterpret_cast<const char*>(a_.azp_adj), SPF_F32, n, a_.n - n); // bits of integers
    Float16 scale;
    if (p_.scale_rows == 0)
      scale.v[0] = scale.v[1] = _mm256_set1_ps(p_.scale_factor);
    else
      scale = load_scales(w_.scales + block_ * p_.scale_rows * static_cast<int64_t>(p_.scale_row_bytes), p_.scale_type);
    const __m256i azp = _mm256_set1_epi32(azp_at(a_, m));
    const __m256 step = _mm256_set1_ps(x_scale_at(a_, m, 0));
    for (int h = 0; h < 2; ++h) {
      const __m256i zero = _mm256_mullo_epi32(_mm256_castps_si256(adj.v[h]), azp);
      sum->v[h] = _mm256_fnmadd_ps(_mm256_cvtepi32_ps(zero), _mm256_mul_ps(scale.v[h], step), sum->v[h]);
    }
  }

  void finish(int64_t m) const {
    const int64_t n = block_ * kCpuBlockN;
    Float16 factor = {_mm256_set1_ps(w_.global_scale), _mm256_set1_ps(w_.global_scale)};
    if (a_.channel_scale != nullptr) {
      const Float16 channel = load_row(reinterpret_cast<const char*>(a_.channel_scale), SPF_F32, n, a_.n - n);
      for (int h = 0; h < 2; ++h) factor.v[h] = _mm256_mul_ps(factor.v[h], channel.v[h]);
    }
    for (int i = 0; i < kM; ++i) {
      Float16 out = {total_[i][0], total_[i][1]};
      if (a_.azp_adj != nullptr) take_zero_points(m + i, n, &out);
      if (a_.bias != nullptr) {
        const Float16 bias = load_row(a_.bias, a_.bias_type, n, a_.n - n);
        for (int h = 0; h < 2; ++h) out.v[h] = _mm256_fmadd_ps(out.v[h], factor.v[h], bias.v[h]);
      } else {
        for (int h = 0; h < 2; ++h) out.v[h] = _mm256_mul_ps(out.v[h], factor.v[h]);
      }
      store_row(row_at(a_.out, m + i), a_.out.type, n, a_.n - n, out);
    }
  }

  const Args& a_;
  const CpuWeight& w_;
  const CpuPacked& p_;
  int64_t block_;
  const char* x_[kM];
  const float* steps_;
  const int32_t* sums_;
  const int32_t* offsets_;
  __m256i table_;
  __m256i dot_[kM][2];
  __m256 total_[kM][2];
};

template <Codes kCodes, Form kForm>
void run(const Args& a, const IntegerWorkspace& ws, int limit) {
#pragma omp parallel num_threads(a.threads)
  {
    const Range range = share(a.weight.layout.blocks_n, 1, omp_get_thread_num(), omp_get_num_threads());
    for (int64_t m = 0; m < a.m; m += ws.rows) {
      const int64_t rows = smaller(ws.rows, a.m - m);
#pragma omp for schedule(static)
      for (int64_t r = 0; r < rows; ++r) prepare<kCodes, kForm>(a, ws, limit, m + r, r);
      for (int64_t b = range.begin; b < range.end; ++b) {
        int64_t r = 0;
        for (; r + 4 <= rows; r += 4) Tile<kCodes, kForm, 4>(a, ws, r, b).run(m + r);
        for (; r + 2 <= rows; r += 2) Tile<kCodes, kForm, 2>(a, ws, r, b).run(m + r);
        for (; r < rows; ++r) Tile<kCodes, kForm, 1>(a, ws, r, b).run(m + r);
      }
#pragma omp barrier
    }
  }
}

// planes: bytes of an activation. 8-bit activations of 8-bit weights are words too, of small numbers.
spf_status run_form(const Call& call, const LaunchContext& ctx, int planes) {
  const Args a = args_of(call, ctx);
  if (a.m == 0 || a.n == 0) return SPF_OK;
  const CpuPacked& p = a.weight.layout;
  const IntegerWorkspace ws = integer_workspace(p, avx2_int_rows(a.m), 2, 0, 0);
  const int limit = planes == 1 ? 127 : 32639;
  if (p.codes == CpuCodes::kByte)
    run<Codes::kByte, Form::kWords>(a, ws, limit);
  else if (planes == 2)
    p.has_table ? run<Codes::kTable, Form::kWords>(a, ws, limit) : run<Codes::kNibble, Form::kWords>(a, ws, limit);
  else
    p.has_table ? run<Codes::kTable, Form::kBytes>(a, ws, limit) : run<Codes::kNibble, Form::kBytes>(a, ws, limit);
  return SPF_OK;
}

} // namespace

spf_status avx2_s8(const Call& call, const LaunchContext& ctx) { return run_form(call, ctx, 1); }
spf_status avx2_s16(const Call& call, const LaunchContext& ctx) { return run_form(call, ctx, 2); }

} // namespace spf::linear
