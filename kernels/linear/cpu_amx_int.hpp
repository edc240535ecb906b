// Integer weights by AMX: 16 rows of activations by 16 features by 64 columns an instruction, exact 32-bit sums inside
// a segment. Template of the atom, so that tests run the same source on emulated tiles.
//
// A block of rows (up to 256) meets a block of features (256 a thread) and 16 column tiles at a time: weights are
// unpacked once per such block into the thread's scratch, f32 sums stay in the second-level cache. With two planes, a
// tile holds the high bytes of eight rows and the low bytes of the same eight.
#pragma once

#include <omp.h>

#include "kernels/common/simd/amx.hpp"
#include "kernels/linear/cpu_avx512.hpp"

namespace spf::linear {
namespace {

template <class Atom, int kPlanes>
class AmxInteger {
 public:
  AmxInteger(const Args& a, const IntegerWorkspace& ws, int thread)
      : a_(a), ws_(ws), w_(a.weight), p_(a.weight.layout) {
    char* scratch = a.workspace + ws.scratch + thread * ws.thread_scratch;
    weights_ = reinterpret_cast<uint8_t*>(scratch);
    dots_ = reinterpret_cast<int32_t*>(scratch + kAmxWeightBytes);
    sums_ = reinterpret_cast<float*>(scratch + kAmxWeightBytes + kAmxDotBytes);
    Atom::configure(simd::full_tiles());
  }
  ~AmxInteger() { Atom::release(); }

  // rows of the prepared chunk, which starts at row m; features of n16 blocks [begin, end).
  void run(int64_t m, int64_t rows, int64_t begin, int64_t end) {
    row_tiles_ = (rows + kTokens - 1) / kTokens;
    for (int64_t b = begin; b < end; b += kAmxBlocks) {
      blocks_ = smaller(kAmxBlocks, end - b);
      first_block_ = b;
      for (int64_t i = 0; i < row_tiles_ * kTokens * blocks_ * 16; i += 16)
        _mm512_storeu_ps(sums_ + i, _mm512_setzero_ps());
      const int64_t step = p_.segment_k > 64 ? kAmxColumnTiles / 2 : kAmxColumnTiles;
      for (int64_t s = 0; s < w_.segments; s += step) columns(s, smaller(s + step, w_.segments));
      for (int64_t r = 0; r < rows; ++r) {
        char* out = row_at(a_.out, m + r);
        for (int64_t j = 0; j < blocks_; ++j)
          finish(a_, out, m + r, (b + j) * kCpuBlockN, _mm512_loadu_ps(sum_at(r / kTokens, j) + r % kTokens * 16));
      }
    }
  }

 private:
  static constexpr int kTokens = 16 / kPlanes; // rows of activations in a tile

  // f32 sums of a row tile and block: [kTokens][16].
  float* sum_at(int64_t row_tile, int64_t block) const { return sums_ + (row_tile * blocks_ + block) * (kTokens * 16); }

  // Segments [first, last) of all rows and blocks.
  void columns(int64_t first, int64_t last) {
    if (row_tiles_ == 1) {
      int64_t j = 0;
      for (; j + 4 <= blocks_; j += 4) features<1, 4>(first, last, j);
      for (; j < blocks_; ++j) features<1, 1>(first, last, j);
      return;
    }
    int64_t j = 0;
    for (; j + 2 <= blocks_; j += 2) features<2, 2>(first, last, j);
    if (j < blocks_) features<2, 1>(first, last, j);
  }

  template <int kM, int kN>
  void features(int64_t first, int64_t last, int64_t block) {
    for (int j = 0; j < kN; ++j) unpack(first, last, block + j, weights_ + j * kAmxColumnTiles * 1024);
    int64_t t = 0;
    for (; t + kM <= row_tiles_; t += kM) tiles<kM, kN>(first, last, block, t);
    if (t < row_tiles_) tiles<1, kN>(first, last, block, t);
  }

  // Column tiles of 64: bytes [16 words of four columns][16 features][4]; what lies beyond a segment's end is 0.
  void unpack(int64_t first, int64_t last, int64_t block, uint8_t* tile) const {
    const uint8_t* codes = w_.codes + (first_block_ + block) * static_cast<int64_t>(p_.block_code_bytes);
    const __m512i low_nibble = _mm512_set1_epi8(0x0f);
    const __m512i table = _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p_.table)));
    for (int64_t s = first; s < last; ++s) {
      const CpuSegment segment = cpu_segment(w_, s);
      for (int32_t at = 0; at < segment.length; at += 64, tile += 1024) {
        const int32_t length = segment.length - at < 64 ? segment.length - at : 64;
        uint8_t* row = tile;
        if (p_.codes == CpuCodes::kByte) {
          const uint8_t* c = codes + (segment.start + at) * 16;
          for (int32_t k = 0; k < length; k += 4, c += 64, row += 64) _mm512_storeu_si512(row, _mm512_loadu_si512(c));
        } else {
          const uint8_t* c = codes + (segment.start + at) * 8;
          for (int32_t k = 0; k < length; k += 8, c += 64, row += 128) {
            const __m512i both = _mm512_loadu_si512(c);
            __m512i low = _mm512_and_si512(both, low_nibble);
            __m512i high = _mm512_and_si512(_mm512_srli_epi32(both, 4), low_nibble);
            if (p_.has_table) {
              low = _mm512_shuffle_epi8(table, low);
              high = _mm512_shuffle_epi8(table, high);
            }
            _mm512_storeu_si512(row, low);
            _mm512_storeu_si512(row + 64, high);
          }
        }
        for (; row < tile + 1024; row += 64) _mm512_storeu_si512(row, _mm512_setzero_si512());
      }
    }
  }

  template <int kM, int kN>
  void tiles(int64_t first, int64_t last, int64_t block, int64_t row_tile) const {
    if (p_.zeros == SPF_ZERO_NONE) return tiles<kM, kN, SPF_ZERO_NONE>(first, last, block, row_tile);
    if (p_.zeros == SPF_ZERO_INTEGER) return tiles<kM, kN, SPF_ZERO_INTEGER>(first, last, block, row_tile);
    tiles<kM, kN, SPF_ZERO_MINIMUM>(first, last, block, row_tile);
  }

  template <int kM, int kN, spf_zero_point_kind kZeros>
  void tiles(int64_t first, int64_t last, int64_t block, int64_t row_tile) const {
    const int64_t segment_tiles = p_.segment_k > 64 ? 2 : 1;
    const char* x = a_.workspace + ws_.codes + row_tile * 16 * ws_.pitch;
    const uint8_t* b = weights_;
    for (int64_t s = first; s < last; ++s) {
      const CpuSegment segment = cpu_segment(w_, s);
      simd::zero_tiles<Atom, kM * kN>();
      for (int32_t at = 0; at < segment.length; at += 64, b += 1024)
        multiply<kM, kN>(x + (s * segment_tiles) * 1024 + at * 16, b);
      store_sums<kM, kN>();
      for (int j = 0; j < kN; ++j) {
        const SegmentScale scale = load_segment_scale(w_, first_block_ + block + j, segment.scale_row);
        for (int i = 0; i < kM; ++i)
          accumulate<kZeros>(scale, dots_ + (i * kN + j) * 256, row_tile + i, s, sum_at(row_tile + i, block + j));
      }
    }
  }

  // Everything that the loop reads is a local: stores through float pointers could change members, for all gcc knows.
  template <spf_zero_point_kind kZeros>
  void accumulate(const SegmentScale& scale, const int32_t* dots, int64_t row_tile, int64_t s, float* sums) const {
    const int64_t stride = p_.segments, at = row_tile * kTokens * stride + s;
    const float* steps = reinterpret_cast<const float*>(a_.workspace + ws_.steps) + at;
    const int32_t* code_sums = reinterpret_cast<const int32_t*>(a_.workspace + ws_.sums) + at;
    const int32_t* offsets = reinterpret_cast<const int32_t*>(a_.workspace + ws_.offsets) + at;
    const SegmentScale local = scale;
#pragma GCC unroll 8
    for (int r = 0; r < kTokens; ++r) {
      const int64_t i = r * stride;
      __m512i dot = _mm512_load_si512(dots + (kPlanes - 1) * 128 + r * 16);
      if (kPlanes == 2) dot = _mm512_add_epi32(dot, _mm512_slli_epi32(_mm512_load_si512(dots + r * 16), 8));
      dot = _mm512_add_epi32(dot, _mm512_set1_epi32(offsets[i]));
      float* sum = sums + r * 16;
      const int32_t code_sum = kZeros == SPF_ZERO_NONE ? 0 : code_sums[i];
      _mm512_store_ps(sum, add_segment(kZeros, local, _mm512_load_ps(sum), dot, steps[i], code_sum));
    }
  }

  // Tiles 0..3 hold sums [kM][kN], 4 and 5 activations, 6 and 7 weights.
  template <int kM, int kN>
  void store_sums() const {
    Atom::template store<0>(dots_, 64);
    if constexpr (kM * kN > 1) Atom::template store<1>(dots_ + 256, 64);
    if constexpr (kM * kN > 2) {
      Atom::template store<2>(dots_ + 512, 64);
      Atom::template store<3>(dots_ + 768, 64);
    }
  }

  template <int kM, int kN>
  void multiply(const char* x, const uint8_t* b) const {
    constexpr int64_t kBlock = kAmxColumnTiles * 1024;
    Atom::template load<4>(x, 64);
    Atom::template load<6>(b, 64);
    Atom::template dot_s8u8<0, 4, 6>();
    if constexpr (kN > 1) {
      Atom::template load<7>(b + kBlock, 64);
      Atom::template dot_s8u8<1, 4, 7>();
    }
    if constexpr (kN == 4) {
      Atom::template load<6>(b + 2 * kBlock, 64);
      Atom::template dot_s8u8<2, 4, 6>();
      Atom::template load<7>(b + 3 * kBlock, 64);
      Atom::template dot_s8u8<3, 4, 7>();
    }
    if constexpr (kM == 2) {
      Atom::template load<5>(x + 16 * ws_.pitch, 64);
      Atom::template dot_s8u8<kN, 5, 6>();
      if constexpr (kN == 2) Atom::template dot_s8u8<3, 5, 7>();
    }
  }

  const Args& a_;
  const IntegerWorkspace& ws_;
  const CpuWeight& w_;
  const CpuPacked& p_;
  uint8_t* weights_;
  int32_t* dots_;
  float* sums_;
  int64_t row_tiles_ = 0, blocks_ = 0, first_block_ = 0;
};

template <class Atom, int kPlanes>
spf_status run_amx_integer(const Call& call, const LaunchContext& ctx) {
  const Args a = args_of(call, ctx);
  if (a.m == 0 || a.n == 0) return SPF_OK;
  const IntegerWorkspace ws = amx_workspace(a.weight.layout, a.m, kPlanes, a.threads);
#pragma omp parallel num_threads(a.threads)
  {
    const int thread = omp_get_thread_num(), threads = omp_get_num_threads();
    const Range range = share(a.weight.layout.blocks_n, 1, thread, threads);
    AmxInteger<Atom, kPlanes> multiply(a, ws, thread);
    for (int64_t m = 0; m < a.m; m += ws.rows) {
      const int64_t rows = smaller(ws.rows, a.m - m);
      const int64_t pieces = (a.weight.segments + 15) / 16;
#pragma omp for schedule(static)
      for (int64_t i = 0; i < rows * pieces; ++i)
        prepare_integers<kPlanes, true>(a, ws, m + i / pieces, i / pieces, i % pieces * 16,
                                        smaller(i % pieces * 16 + 16, a.weight.segments));
      multiply.run(m, rows, range.begin, range.end);
#pragma omp barrier
    }
  }
  return SPF_OK;
}

} // namespace
} // namespace spf::linear
