// Integer weights by AVX-512 VNNI: 16 features a vector, four columns a lane, exact 32-bit sums inside a segment.
//
// Activations become integers first: one signed byte each (only where the problem allows 8-bit activations), or two,
// which is a 16-bit fixed-point number per segment of at most 128 columns. Weights never become anything: 4-bit codes
// are masked out of their bytes in registers.
#include <omp.h>

#include "kernels/linear/cpu_avx512.hpp"

namespace spf::linear {
namespace {

enum class Codes { kNibble, kTable, kByte };

// Dot products of kM rows and kN blocks over all of K. x: planes of the first row; slot: its index in steps and sums.
template <Codes kCodes, int kPlanes, int kM, int kN>
void tile(const Args& a, const IntegerWorkspace& ws, int64_t slot, int64_t m, int64_t block) {
  const CpuWeight& w = a.weight;
  const CpuPacked& p = w.layout;
  const char* x[kPlanes];
  for (int q = 0; q < kPlanes; ++q) x[q] = a.workspace + ws.codes + plane_row<kPlanes>(slot, q) * ws.pitch;
  const float* steps = reinterpret_cast<const float*>(a.workspace + ws.steps) + slot * p.segments;
  const int32_t* sums = reinterpret_cast<const int32_t*>(a.workspace + ws.sums) + slot * p.segments;
  const int32_t* offsets = reinterpret_cast<const int32_t*>(a.workspace + ws.offsets) + slot * p.segments;
  const uint8_t* codes = w.codes + block * static_cast<int64_t>(p.block_code_bytes);
  const __m512i low_nibble = _mm512_set1_epi8(0x0f);
  const __m512i table = _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p.table)));

  __m512 sum[kM][kN];
  for (int i = 0; i < kM; ++i)
    for (int j = 0; j < kN; ++j) sum[i][j] = _mm512_setzero_ps();

  for (int64_t s = 0; s < w.segments; ++s) {
    const CpuSegment segment = cpu_segment(w, s);
    __m512i dot[kPlanes][kM][kN];
    for (int i = 0; i < kM; ++i)
      for (int j = 0; j < kN; ++j) {
        if (kPlanes == 2) dot[0][i][j] = _mm512_setzero_si512();
        dot[kPlanes - 1][i][j] = _mm512_set1_epi32(offsets[i * p.segments + s]);
      }
    if constexpr (kCodes == Codes::kByte) {
      for (int64_t k = segment.start; k < segment.start + segment.length; k += 4)
        for (int j = 0; j < kN; ++j) {
          const __m512i c = _mm512_loadu_si512(codes + static_cast<size_t>(j) * p.block_code_bytes + k * 16);
          for (int q = 0; q < kPlanes; ++q)
            for (int i = 0; i < kM; ++i)
              dot[q][i][j] = _mm512_dpbusd_epi32(
                  dot[q][i][j], c, _mm512_set1_epi32(*reinterpret_cast<const int32_t*>(x[q] + i * ws.pitch + k)));
        }
    } else {
      for (int64_t k = segment.start; k < segment.start + segment.length; k += 8)
        for (int j = 0; j < kN; ++j) {
          const uint8_t* at = codes + static_cast<size_t>(j) * p.block_code_bytes + k * 8;
          const __m512i c = _mm512_loadu_si512(at);
          if (kM <= 2) _mm_prefetch(reinterpret_cast<const char*>(at) + 2048, _MM_HINT_T0);
          __m512i low = _mm512_and_si512(c, low_nibble);
          __m512i high = _mm512_and_si512(_mm512_srli_epi32(c, 4), low_nibble);
          if (kCodes == Codes::kTable) {
            low = _mm512_shuffle_epi8(table, low);
            high = _mm512_shuffle_epi8(table, high);
          }
          for (int q = 0; q < kPlanes; ++q)
            for (int i = 0; i < kM; ++i) {
              const int32_t* word = reinterpret_cast<const int32_t*>(x[q] + i * ws.pitch + k);
              dot[q][i][j] = _mm512_dpbusd_epi32(dot[q][i][j], low, _mm512_set1_epi32(word[0]));
              dot[q][i][j] = _mm512_dpbusd_epi32(dot[q][i][j], high, _mm512_set1_epi32(word[1]));
            }
        }
    }
    for (int j = 0; j < kN; ++j) {
      const SegmentScale scale = load_segment_scale(w, block + j, segment.scale_row);
      for (int i = 0; i < kM; ++i) {
        __m512i d = dot[kPlanes - 1][i][j];
        if (kPlanes == 2) d = _mm512_add_epi32(d, _mm512_slli_epi32(dot[0][i][j], 8));
        sum[i][j] = add_segment(p.zeros, scale, sum[i][j], d, steps[i * p.segments + s], sums[i * p.segments + s]);
      }
    }
  }
  for (int i = 0; i < kM; ++i) {
    char* out = row_at(a.out, m + i);
    for (int j = 0; j < kN; ++j) finish(a, out, m + i, (block + j) * kCpuBlockN, sum[i][j]);
  }
}

// Rows [0, rows) of the chunk that starts at row m, blocks [range.begin, range.end): tiles of the best shape first.
template <Codes kCodes, int kPlanes>
void blocks(const Args& a, const IntegerWorkspace& ws, int64_t m, int64_t rows, Range range) {
  constexpr int kTall = kPlanes == 1 ? 8 : 4; // kTall * 2 * kPlanes sums stay in registers
  for (int64_t b = range.begin; b < range.end;) {
    const int64_t left = range.end - b;
    int64_t r = 0;
    if (left >= 4 && rows < 4) {
      for (; r + 2 <= rows; r += 2) tile<kCodes, kPlanes, 2, 4>(a, ws, r, m + r, b);
      for (; r < rows; ++r) tile<kCodes, kPlanes, 1, 4>(a, ws, r, m + r, b);
      b += 4;
    } else if (left >= 2) {
      for (; r + kTall <= rows; r += kTall) tile<kCodes, kPlanes, kTall, 2>(a, ws, r, m + r, b);
      for (; r + 4 <= rows; r += 4) tile<kCodes, kPlanes, 4, 2>(a, ws, r, m + r, b);
      for (; r + 2 <= rows; r += 2) tile<kCodes, kPlanes, 2, 2>(a, ws, r, m + r, b);
      for (; r < rows; ++r) tile<kCodes, kPlanes, 1, 2>(a, ws, r, m + r, b);
      b += 2;
    } else {
      for (; r + 4 <= rows; r += 4) tile<kCodes, kPlanes, 4, 1>(a, ws, r, m + r, b);
      for (; r < rows; ++r) tile<kCodes, kPlanes, 1, 1>(a, ws, r, m + r, b);
      b += 1;
    }
  }
}

template <int kPlanes>
spf_status run(const Call& call, const LaunchContext& ctx) {
  const Args a = args_of(call, ctx);
  if (a.m == 0 || a.n == 0) return SPF_OK;
  const IntegerWorkspace ws = integer_workspace(a.weight.layout, avx512_int_rows(a.m), kPlanes, 0, a.threads);
  const CpuPacked& p = a.weight.layout;
#pragma omp parallel num_threads(a.threads)
  {
    const int thread = omp_get_thread_num(), threads = omp_get_num_threads();
    const Range range = share(p.blocks_n, 1, thread, threads);
    for (int64_t m = 0; m < a.m; m += ws.rows) {
      const int64_t rows = smaller(ws.rows, a.m - m);
      // Work items of 16 segments, so that a single row is prepared by all threads too.
      const int64_t pieces = (a.weight.segments + 15) / 16;
#pragma omp for schedule(static)
      for (int64_t i = 0; i < rows * pieces; ++i)
        prepare_integers<kPlanes>(a, ws, m + i / pieces, i / pieces, i % pieces * 16,
                                  smaller(i % pieces * 16 + 16, a.weight.segments));
      if (p.codes == CpuCodes::kByte)
        blocks<Codes::kByte, kPlanes>(a, ws, m, rows, range);
      else if (p.has_table)
        blocks<Codes::kTable, kPlanes>(a, ws, m, rows, range);
      else
        blocks<Codes::kNibble, kPlanes>(a, ws, m, rows, range);
#pragma omp barrier
    }
  }
  return SPF_OK;
}

} // namespace

spf_status avx512_s8(const Call& call, const LaunchContext& ctx) { return run<1>(call, ctx); }
spf_status avx512_s16(const Call& call, const LaunchContext& ctx) { return run<2>(call, ctx); }

} // namespace spf::linear
