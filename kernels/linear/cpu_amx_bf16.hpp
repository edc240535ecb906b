// bf16 and 8-bit floating-point weights by AMX: 16 rows by 16 features by 32 columns an instruction. Blocked as the
// integer kernel; template of the atom likewise. Where one scale serves all of K, sums stay in tiles for a whole block
// of columns.
#pragma once

#include <omp.h>

#include "kernels/common/simd/amx.hpp"
#include "kernels/linear/cpu_bf16.hpp"

namespace spf::linear {
namespace {

template <class Atom>
class AmxBf16 {
 public:
  AmxBf16(const Args& a, const Bf16Workspace& ws, int thread)
      : a_(a), ws_(ws), w_(a.weight), operands_(a, ws), one_scale_(a.weight.layout.scale_rows <= 1) {
    char* scratch = a.workspace + ws.scratch + thread * ws.thread_scratch;
    weights_ = scratch;
    dots_ = reinterpret_cast<float*>(scratch + 2 * kAmxBf16Tiles * 1024);
    sums_ = dots_ + 4 * 256;
    Atom::configure(simd::full_tiles());
  }
  ~AmxBf16() { Atom::release(); }

  void prepare(int64_t m, int64_t slot) const { operands_.prepare(m, slot); }

  void run(int64_t m, int64_t rows, int64_t begin, int64_t end) {
    row_tiles_ = (rows + 15) / 16;
    for (int64_t b = begin; b < end; b += kAmxBlocks) {
      blocks_ = smaller(kAmxBlocks, end - b);
      first_block_ = b;
      for (int64_t i = 0; i < row_tiles_ * blocks_ * 256; i += 16) _mm512_storeu_ps(sums_ + i, _mm512_setzero_ps());
      const int64_t step = kAmxBf16Tiles * 32 / kCpuMaxSegment;
      for (int64_t s = 0; s < w_.segments; s += step) columns(s, smaller(s + step, w_.segments));
      for (int64_t r = 0; r < rows; ++r) {
        char* out = row_at(a_.out, m + r);
        for (int64_t j = 0; j < blocks_; ++j) {
          __m512 sum = _mm512_loadu_ps(sum_at(r / 16, j) + r % 16 * 16);
          if (one_scale_) sum = _mm512_mul_ps(sum, operands_.scale(b + j, 0));
          if (a_.x_scale != nullptr) sum = _mm512_mul_ps(sum, _mm512_set1_ps(x_scale_at(a_, m + r, 0)));
          finish(a_, out, m + r, (b + j) * kCpuBlockN, sum);
        }
      }
    }
  }

 private:
  float* sum_at(int64_t row_tile, int64_t block) const { return sums_ + (row_tile * blocks_ + block) * 256; }

  void columns(int64_t first, int64_t last) {
    int64_t j = 0;
    for (; j + 2 <= blocks_; j += 2) features<2>(first, last, j);
    if (j < blocks_) features<1>(first, last, j);
  }

  template <int kN>
  void features(int64_t first, int64_t last, int64_t block) {
    for (int j = 0; j < kN; ++j) unpack(first, last, block + j, weights_ + j * kAmxBf16Tiles * 1024);
    int64_t t = 0;
    for (; t + 2 <= row_tiles_; t += 2) tiles<2, kN>(first, last, block, t);
    if (t < row_tiles_) tiles<1, kN>(first, last, block, t);
  }

  // Column tiles of 32; what lies beyond a segment's end is 0.
  void unpack(int64_t first, int64_t last, int64_t block, char* tile) const {
    for (int64_t s = first; s < last; ++s) {
      const CpuSegment segment = cpu_segment(w_, s);
      const char* pairs = operands_.pairs(first_block_ + block, segment, tile);
      const int64_t bytes = segment.length * 32, padded = (segment.length + 31) / 32 * 1024;
      if (pairs != tile)
        for (int64_t i = 0; i < bytes; i += 64) _mm512_storeu_si512(tile + i, _mm512_loadu_si512(pairs + i));
      for (int64_t i = bytes; i < padded; i += 64) _mm512_storeu_si512(tile + i, _mm512_setzero_si512());
      tile += padded;
    }
  }

  template <int kM, int kN>
  void tiles(int64_t first, int64_t last, int64_t block, int64_t row_tile) const {
    const char* b = weights_;
    if (one_scale_) load_sums<kM, kN>(block, row_tile);
    for (int64_t s = first; s < last; ++s) {
      const CpuSegment segment = cpu_segment(w_, s);
      if (!one_scale_) simd::zero_tiles<Atom, kM * kN>();
      for (int32_t at = 0; at < segment.length; at += 32, b += 1024)
        for (int t = 0; t < ws_.terms; ++t)
          multiply<kM, kN>(operands_.x(row_tile * 16, t) + (segment.start + at) * 2, b);
      if (one_scale_) continue;
      store<kM, kN>([&](int i, int j) { return dots_ + (i * kN + j) * 256; });
      for (int j = 0; j < kN; ++j) {
        const __m512 scale = operands_.scale(first_block_ + block + j, segment.scale_row);
        for (int i = 0; i < kM; ++i) {
          const float* dot = dots_ + (i * kN + j) * 256;
          float* sum = sum_at(row_tile + i, block + j);
          for (int r = 0; r < 256; r += 16)
            _mm512_store_ps(sum + r, _mm512_fmadd_ps(_mm512_load_ps(dot + r), scale, _mm512_load_ps(sum + r)));
        }
      }
    }
    if (one_scale_) store<kM, kN>([&](int i, int j) { return sum_at(row_tile + i, block + j); });
  }

  // Tiles 0..3 hold sums [kM][kN], 4 and 5 activations, 6 and 7 weights.
  template <int kM, int kN>
  void load_sums(int64_t block, int64_t row_tile) const {
    Atom::template load<0>(sum_at(row_tile, block), 64);
    if constexpr (kN == 2) Atom::template load<1>(sum_at(row_tile, block + 1), 64);
    if constexpr (kM == 2) Atom::template load<kN>(sum_at(row_tile + 1, block), 64);
    if constexpr (kM * kN == 4) Atom::template load<3>(sum_at(row_tile + 1, block + 1), 64);
  }

  template <int kM, int kN, class Place>
  static void store(Place&& place) {
    Atom::template store<0>(place(0, 0), 64);
    if constexpr (kN == 2) Atom::template store<1>(place(0, 1), 64);
    if constexpr (kM == 2) Atom::template store<kN>(place(1, 0), 64);
    if constexpr (kM * kN == 4) Atom::template store<3>(place(1, 1), 64);
  }

  template <int kM, int kN>
  void multiply(const char* x, const char* b) const {
    Atom::template load<4>(x, operands_.row_stride());
    Atom::template load<6>(b, 64);
    Atom::template dot_bf16<0, 4, 6>();
    if constexpr (kN == 2) {
      Atom::template load<7>(b + kAmxBf16Tiles * 1024, 64);
      Atom::template dot_bf16<1, 4, 7>();
    }
    if constexpr (kM == 2) {
      Atom::template load<5>(x + 16 * operands_.row_stride(), operands_.row_stride());
      Atom::template dot_bf16<kN, 5, 6>();
      if constexpr (kN == 2) Atom::template dot_bf16<3, 5, 7>();
    }
  }

  const Args& a_;
  const Bf16Workspace& ws_;
  const CpuWeight& w_;
  Bf16Operands operands_;
  bool one_scale_;
  char* weights_;
  float* dots_;
  float* sums_;
  int64_t row_tiles_ = 0, blocks_ = 0, first_block_ = 0;
};

template <class Atom>
spf_status run_amx_bf16(const Call& call, const LaunchContext& ctx) {
  const Args a = args_of(call, ctx);
  if (a.m == 0 || a.n == 0) return SPF_OK;
  const Bf16Workspace ws = amx_bf16_workspace(a.weight.layout, a.m, bf16_terms(a.x.type), a.threads);
#pragma omp parallel num_threads(a.threads)
  {
    const int thread = omp_get_thread_num();
    const Range range = share(a.weight.layout.blocks_n, 1, thread, omp_get_num_threads());
    AmxBf16<Atom> multiply(a, ws, thread);
    for (int64_t m = 0; m < a.m; m += ws.rows) {
      const int64_t rows = smaller(ws.rows, a.m - m);
#pragma omp for schedule(static)
      for (int64_t r = 0; r < rows; ++r) multiply.prepare(m + r, r);
      multiply.run(m, rows, range.begin, range.end);
#pragma omp barrier
    }
  }
  return SPF_OK;
}

} // namespace
} // namespace spf::linear
