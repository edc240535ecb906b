// bf16 and 8-bit floating-point weights by AVX-512 BF16: 16 features a vector, a pair of columns a lane.
//
// vdpbf16ps rounds each of its two products' sums to nearest even and takes subnormals for zero. The order of a row's
// sum depends on K alone: pairs inside a segment, then segments.
#include <omp.h>

#include "kernels/linear/cpu_bf16.hpp"

namespace spf::linear {
namespace {

constexpr int kBlocks = 2;       // n16 blocks of a tile
constexpr int64_t kSegments = 4; // decoded at a time: 16 KiB a block

class Avx512Bf16 {
 public:
  Avx512Bf16(const Args& a, const Bf16Workspace& ws, int thread) : a_(a), ws_(ws), w_(a.weight), operands_(a, ws) {
    scratch_ = a.workspace + ws.scratch + thread * ws.thread_scratch;
    sums_ = reinterpret_cast<float*>(scratch_ + kBlocks * kSegments * kCpuMaxSegment * 32);
  }

  void prepare(int64_t m, int64_t slot) const { operands_.prepare(m, slot); }

  template <int kN>
  void blocks(int64_t m, int64_t rows, int64_t block) const {
    for (int64_t i = 0; i < rows * kN * 16; i += 16) _mm512_storeu_ps(sums_ + i, _mm512_setzero_ps());
    for (int64_t s = 0; s < w_.segments; s += kSegments)
      segments<kN>(rows, block, s, smaller(s + kSegments, w_.segments));
    for (int64_t r = 0; r < rows; ++r) {
      char* out = row_at(a_.out, m + r);
      const __m512 scale = _mm512_set1_ps(a_.x_scale != nullptr ? x_scale_at(a_, m + r, 0) : 1.0f);
      for (int j = 0; j < kN; ++j)
        finish(a_, out, m + r, (block + j) * kCpuBlockN,
               _mm512_mul_ps(_mm512_loadu_ps(sums_ + (r * kN + j) * 16), scale));
    }
  }

 private:
  template <int kN>
  void segments(int64_t rows, int64_t block, int64_t first, int64_t last) const {
    const char* pairs[kSegments][kN];
    for (int64_t s = first; s < last; ++s)
      for (int j = 0; j < kN; ++j)
        pairs[s - first][j] =
            operands_.pairs(block + j, cpu_segment(w_, s), scratch_ + ((s - first) * kN + j) * kCpuMaxSegment * 32);
    int64_t r = 0;
    for (; r + 8 <= rows; r += 8) tile<8, kN>(r, block, first, last, pairs);
    for (; r + 4 <= rows; r += 4) tile<4, kN>(r, block, first, last, pairs);
    for (; r < rows; ++r) tile<1, kN>(r, block, first, last, pairs);
  }

  template <int kM, int kN>
  void tile(int64_t slot, int64_t block, int64_t first, int64_t last, const char* (&pairs)[kSegments][kN]) const {
    for (int64_t s = first; s < last; ++s) {
      const CpuSegment segment = cpu_segment(w_, s);
      __m512 dot[kM][kN];
      for (int i = 0; i < kM; ++i)
        for (int j = 0; j < kN; ++j) dot[i][j] = _mm512_setzero_ps();
      for (int t = 0; t < ws_.terms; ++t) {
        const char* x = operands_.x(slot, t) + segment.start * 2;
        const int64_t stride = operands_.row_stride();
        for (int32_t k = 0; k < segment.length; k += 2)
          for (int j = 0; j < kN; ++j) {
            const __m512i w = _mm512_loadu_si512(pairs[s - first][j] + k * 32);
            for (int i = 0; i < kM; ++i) {
              const __m512i pair = _mm512_set1_epi32(*reinterpret_cast<const int32_t*>(x + i * stride + k * 2));
              dot[i][j] = _mm512_dpbf16_ps(dot[i][j], reinterpret_cast<__m512bh>(w), reinterpret_cast<__m512bh>(pair));
            }
          }
      }
      for (int j = 0; j < kN; ++j) {
        const __m512 scale = operands_.scale(block + j, segment.scale_row);
        for (int i = 0; i < kM; ++i) {
          float* sum = sums_ + ((slot + i) * kN + j) * 16;
          _mm512_storeu_ps(sum, _mm512_fmadd_ps(dot[i][j], scale, _mm512_loadu_ps(sum)));
        }
      }
    }
  }

  const Args& a_;
  const Bf16Workspace& ws_;
  const CpuWeight& w_;
  Bf16Operands operands_;
  char* scratch_;
  float* sums_;
};

} // namespace

spf_status avx512_bf16(const Call& call, const LaunchContext& ctx) {
  const Args a = args_of(call, ctx);
  if (a.m == 0 || a.n == 0) return SPF_OK;
  const Bf16Workspace ws = avx512_bf16_workspace(a.weight.layout, a.m, bf16_terms(a.x.type), a.threads);
#pragma omp parallel num_threads(a.threads)
  {
    const int thread = omp_get_thread_num();
    const Range range = share(a.weight.layout.blocks_n, 1, thread, omp_get_num_threads());
    const Avx512Bf16 kernel(a, ws, thread);
    for (int64_t m = 0; m < a.m; m += ws.rows) {
      const int64_t rows = smaller(ws.rows, a.m - m);
#pragma omp for schedule(static)
      for (int64_t r = 0; r < rows; ++r) kernel.prepare(m + r, r);
      int64_t b = range.begin;
      for (; b + kBlocks <= range.end; b += kBlocks) kernel.blocks<kBlocks>(m, rows, b);
      if (b < range.end) kernel.blocks<1>(m, rows, b);
#pragma omp barrier
    }
  }
  return SPF_OK;
}

} // namespace spf::linear
