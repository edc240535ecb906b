// Every cpu_n16 weight by f32 multiply-add: a panel of weights is decoded to f32 once and used for all rows. One source
// for every vector width; a file that includes it says what the width is and how rows are read and written.
//
// struct Isa {
//   static constexpr int kWidth;                      // floats of a vector
//   static constexpr int kRows;                       // rows of a register tile
//   static void load(const char* row, spf_scalar_type type, int64_t i, int64_t count, float* to);  // 16 floats, 0
//   beyond count static void store(char* row, spf_scalar_type type, int64_t i, int64_t count, const float* from);
// };
#pragma once

#include <cstring>

#include <omp.h>

#include "kernels/linear/args.h"

namespace spf::linear {
namespace {

// 16 lanes as the vectors of an instruction set: gcc and clang keep arrays of native vectors in registers.
template <int kWidth, class Element>
struct Lanes {
  typedef Element Vector __attribute__((vector_size(kWidth * sizeof(Element)), aligned(sizeof(Element)), may_alias));
  Vector v[16 / kWidth];

  // Vector by vector: gcc moves a struct in pieces of its own choosing, and pieces stall the load that follows.
  static Lanes load(const void* from) {
    Lanes lanes;
    for (int j = 0; j < 16 / kWidth; ++j) lanes.v[j] = static_cast<const Vector*>(from)[j];
    return lanes;
  }
};

template <class Isa>
class FloatKernel {
  static constexpr int kWidth = Isa::kWidth, kVectors = 16 / kWidth;
  using Floats = Lanes<kWidth, float>;
  using Ints = Lanes<kWidth, int32_t>;
  using FloatVector = typename Floats::Vector;
  using IntVector = typename Ints::Vector;
  static constexpr int64_t kPanel = 256; // positions of a panel: 16 KiB

 public:
  FloatKernel(const Args& a, const FloatWorkspace& ws) : a_(a), ws_(ws), w_(a.weight), p_(a.weight.layout) {}

  float* prepared(int64_t slot) const { return reinterpret_cast<float*>(a_.workspace) + slot * ws_.pitch; }

  // Row m of x, in the order of the weight's positions.
  void prepare(int64_t m, int64_t slot) const {
    const char* row = row_at(a_.x, m);
    float* to = prepared(slot);
    for (int64_t at = 0; at < w_.positions; at += 16) {
      if (!p_.gathered) {
        Isa::load(row, a_.x.type, at, a_.k - at, to + at);
        if (a_.x_scale == nullptr) continue;
        const float scale = at < a_.k ? x_scale_at(a_, m, at) : 0.0f;
        for (int64_t i = at; i < at + 16; ++i) to[i] *= scale;
        continue;
      }
      for (int64_t i = at; i < at + 16; ++i) {
        const int64_t column = w_.column[i];
        float one[16] = {};
        if (column >= 0) Isa::load(row, a_.x.type, column, 1, one);
        to[i] = a_.x_scale != nullptr && column >= 0 ? one[0] * x_scale_at(a_, m, column) : one[0];
      }
    }
  }

  // Rows [0, rows) of the prepared chunk, which starts at row m, and one n16 block.
  void block(int64_t m, int64_t rows, int64_t block) const {
    alignas(64) float panel[kPanel * 16];
    alignas(64) float sums[64 * 16];
    std::memset(sums, 0, static_cast<size_t>(rows) * 64);
    int64_t segment = 0;
    for (int64_t from = 0; from < w_.positions;) {
      const int64_t to = decode_panel(block, from, &segment, panel);
      int64_t r = 0;
      for (; r + Isa::kRows <= rows; r += Isa::kRows) multiply<Isa::kRows>(r, from, to, panel, sums);
      for (; r + 2 <= rows; r += 2) multiply<2>(r, from, to, panel, sums);
      for (; r < rows; ++r) multiply<1>(r, from, to, panel, sums);
      from = to;
    }
    finish(m, rows, block * kCpuBlockN, sums);
  }

 private:
  // Decodes whole segments from *segment on, as many as fit into the panel. Returns the position after the last.
  int64_t decode_panel(int64_t block, int64_t from, int64_t* segment, float* panel) const {
    int64_t to = from;
    while (*segment < w_.segments) {
      const CpuSegment s = cpu_segment(w_, *segment);
      if (s.start + s.length - from > kPanel) break;
      decode_segment(block, s, panel + (s.start - from) * 16);
      to = s.start + s.length;
      ++*segment;
    }
    return to;
  }

  // How codes of a segment become values.
  enum class Scaling { kNone, kScale, kZero, kMinimum };

  // Writes values of one segment into the panel.
  template <Scaling kScaling>
  struct Emit {
    float* to;
    Floats scale, less; // less: zero points or minima

    void operator()(int32_t k, int j, FloatVector code) const {
      if constexpr (kScaling == Scaling::kScale) code *= scale.v[j];
      if constexpr (kScaling == Scaling::kZero) code = (code - less.v[j]) * scale.v[j];
      if constexpr (kScaling == Scaling::kMinimum) code = code * scale.v[j] - less.v[j];
      put(to, k, j, code);
    }
  };

  void decode_segment(int64_t block, const CpuSegment& s, float* to) const {
    if (p_.scale_rows == 0) return decode_codes(block, s, Emit<Scaling::kNone>{to, {}, {}});
    const int64_t row = block * p_.scale_rows + s.scale_row;
    const Floats scale = scales(w_.scales + row * static_cast<int64_t>(p_.scale_row_bytes));
    if (p_.zeros == SPF_ZERO_NONE) return decode_codes(block, s, Emit<Scaling::kScale>{to, scale, {}});
    if (p_.zeros == SPF_ZERO_MINIMUM)
      return decode_codes(
          block, s,
          Emit<Scaling::kMinimum>{to, scale, scales(w_.zeros + row * static_cast<int64_t>(p_.scale_row_bytes))});
    const auto words = Lanes<kWidth, int16_t>::load(w_.zeros + row * 32);
    Floats zero;
    for (int j = 0; j < kVectors; ++j) zero.v[j] = __builtin_convertvector(words.v[j], FloatVector);
    decode_codes(block, s, Emit<Scaling::kZero>{to, scale, zero});
  }

  template <class Emitter>
  void decode_codes(int64_t block, const CpuSegment& s, const Emitter emit) const {
    const uint8_t* codes = w_.codes + block * static_cast<int64_t>(p_.block_code_bytes);
    switch (p_.codes) {
      case CpuCodes::kNibble:
        p_.has_table ? nibbles<true>(codes + s.start * 8, s, emit) : nibbles<false>(codes + s.start * 8, s, emit);
        break;
      case CpuCodes::kByte:
        bytes(codes + s.start * 16, s, emit);
        break;
      case CpuCodes::kE4M3:
        small_floats<4, 3, true>(codes + s.start * 16, s, emit);
        break;
      case CpuCodes::kE5M2:
        small_floats<5, 2, false>(codes + s.start * 16, s, emit);
        break;
      case CpuCodes::kBF16:
        half_words<8, 7>(codes + s.start * 32, s, emit);
        break;
      case CpuCodes::kF16:
        half_words<5, 10>(codes + s.start * 32, s, emit);
        break;
      case CpuCodes::kF32:
        for (int32_t k = 0; k < s.length; ++k)
          for (int j = 0; j < kVectors; ++j)
            emit(k, j, get(reinterpret_cast<const float*>(codes) + s.start * 16, k, j));
        break;
    }
  }

  template <bool kTable, class Emitter>
  void nibbles(const uint8_t* codes, const CpuSegment& s, const Emitter emit) const {
    for (int32_t k = 0; k < s.length; k += 8, codes += 64) {
      const Ints word = Ints::load(codes);
      for (int i = 0; i < 8; ++i)
        for (int j = 0; j < kVectors; ++j) {
          IntVector c = (word.v[j] >> (4 * cpu_nibble(i))) & 15;
          if (kTable) c = look_up(c);
          emit(k + i, j, __builtin_convertvector(c - p_.zero, FloatVector));
        }
    }
  }

  IntVector look_up(IntVector codes) const {
    IntVector out;
    for (int n = 0; n < kWidth; ++n) out[n] = p_.table[codes[n]];
    return out;
  }

  template <class Emitter>
  void bytes(const uint8_t* codes, const CpuSegment& s, const Emitter emit) const {
    for (int32_t k = 0; k < s.length; k += 4, codes += 64) {
      const Ints word = Ints::load(codes);
      for (int i = 0; i < 4; ++i)
        for (int j = 0; j < kVectors; ++j)
          emit(k + i, j, __builtin_convertvector(((word.v[j] >> (8 * i)) & 255) - p_.zero, FloatVector));
    }
  }

  template <int kExponent, int kMantissa, bool kAllOnesNan, class Emitter>
  static void small_floats(const uint8_t* codes, const CpuSegment& s, const Emitter emit) {
    for (int32_t k = 0; k < s.length; k += 2, codes += 32) {
      const auto pair = Lanes<kWidth, uint16_t>::load(codes);
      for (int j = 0; j < kVectors; ++j) {
        const IntVector both = __builtin_convertvector(pair.v[j], IntVector);
        emit(k, j, widen<kExponent, kMantissa, kAllOnesNan>(both & 255));
        emit(k + 1, j, widen<kExponent, kMantissa, kAllOnesNan>(both >> 8));
      }
    }
  }

  template <int kExponent, int kMantissa, class Emitter>
  static void half_words(const uint8_t* codes, const CpuSegment& s, const Emitter emit) {
    for (int32_t k = 0; k < s.length; k += 2, codes += 64) {
      const Ints pair = Ints::load(codes);
      for (int j = 0; j < kVectors; ++j) {
        emit(k, j, widen<kExponent, kMantissa, false>(pair.v[j] & 0xffff));
        emit(k + 1, j, widen<kExponent, kMantissa, false>((pair.v[j] >> 16) & 0xffff));
      }
    }
  }

  // Codes of a floating-point type of up to 16 bits to f32, exact. Subnormals are made by a subtraction, because a
  // subnormal operand costs hundreds of cycles on some processors.
  template <int kExponent, int kMantissa, bool kAllOnesNan>
  static FloatVector widen(IntVector code) {
    constexpr int kShift = 23 - kMantissa, kBits = kExponent + kMantissa;
    constexpr int32_t kRebias = (127 - ((1 << (kExponent - 1)) - 1)) << 23;
    const IntVector sign = (code << (31 - kBits)) & static_cast<int32_t>(0x80000000u);
    const IntVector magnitude = code & ((1 << kBits) - 1);
    if constexpr (kExponent == 8) return as_float((magnitude << kShift) | sign);
    const IntVector normal = (magnitude << kShift) + kRebias;
    const IntVector one_up = normal + (1 << 23); // a subnormal read as if it had the implied bit
    constexpr int32_t kImplied = kRebias + (1 << 23);
    const IntVector subnormal = as_int(as_float(one_up) - as_float(IntVector{} + kImplied));
    const IntVector is_subnormal = magnitude < (1 << kMantissa);
    IntVector bits = (subnormal & is_subnormal) | (normal & ~is_subnormal);
    if constexpr (kAllOnesNan) {
      const IntVector nan = magnitude == (1 << kBits) - 1;
      bits |= nan & 0x7fc00000;
    } else {
      const IntVector special = magnitude >= (((1 << kExponent) - 1) << kMantissa);
      bits += special & kRebias;
    }
    return as_float(bits | sign);
  }

  Floats scales(const uint8_t* at) const {
    if (p_.scale_type == SPF_F32) return Floats::load(at);
    const auto half = Lanes<kWidth, uint16_t>::load(at);
    Floats out;
    for (int j = 0; j < kVectors; ++j) {
      const IntVector code = __builtin_convertvector(half.v[j], IntVector);
      out.v[j] = p_.scale_type == SPF_F16 ? widen<5, 10, false>(code) : widen<8, 7, false>(code);
    }
    return out;
  }

  // sums[r][16] += x[r][from, to) panel, one multiply-add a column, in order.
  template <int kRows>
  void multiply(int64_t r, int64_t from, int64_t to, const float* panel, float* sums) const {
    Floats sum[kRows];
    const float* x[kRows];
    for (int i = 0; i < kRows; ++i) {
      sum[i] = Floats::load(sums + (r + i) * 16);
      x[i] = prepared(r + i) + from;
    }
    for (int64_t k = 0; k < to - from; ++k)
      for (int j = 0; j < kVectors; ++j) {
        const FloatVector w = get(panel, k, j);
        for (int i = 0; i < kRows; ++i) sum[i].v[j] += x[i][k] * w;
      }
    for (int i = 0; i < kRows; ++i)
      for (int j = 0; j < kVectors; ++j) put(sums, r + i, j, sum[i].v[j]);
  }

  void finish(int64_t m, int64_t rows, int64_t n, const float* sums) const {
    float bias[16] = {}, factor[16];
    for (int i = 0; i < 16; ++i)
      factor[i] = w_.global_scale * (a_.channel_scale != nullptr && n + i < a_.n ? a_.channel_scale[n + i] : 1.0f);
    if (a_.bias != nullptr) Isa::load(a_.bias, a_.bias_type, n, a_.n - n, bias);
    for (int64_t r = 0; r < rows; ++r) {
      float out[16];
      for (int i = 0; i < 16; ++i) out[i] = sums[r * 16 + i] * factor[i] + bias[i];
      Isa::store(row_at(a_.out, m + r), a_.out.type, n, a_.n - n, out);
    }
  }

  // Vector j of a row of 16 floats.
  static FloatVector get(const float* rows, int64_t row, int j) {
    return *reinterpret_cast<const FloatVector*>(rows + row * 16 + j * kWidth);
  }
  static void put(float* rows, int64_t row, int j, FloatVector v) {
    *reinterpret_cast<FloatVector*>(rows + row * 16 + j * kWidth) = v;
  }
  static FloatVector as_float(IntVector v) { return reinterpret_cast<FloatVector>(v); }
  static IntVector as_int(FloatVector v) { return reinterpret_cast<IntVector>(v); }

  const Args& a_;
  const FloatWorkspace& ws_;
  const CpuWeight& w_;
  const CpuPacked& p_;
};

template <class Isa>
spf_status run_f32(const Call& call, const LaunchContext& ctx) {
  const Args a = args_of(call, ctx);
  if (a.m == 0 || a.n == 0) return SPF_OK;
  const FloatWorkspace ws = float_workspace(a.weight.layout, a.m);
  const FloatKernel<Isa> kernel(a, ws);
#pragma omp parallel num_threads(a.threads)
  {
    const Range range = share(a.weight.layout.blocks_n, 1, omp_get_thread_num(), omp_get_num_threads());
    for (int64_t m = 0; m < a.m; m += ws.rows) {
      const int64_t rows = smaller(ws.rows, a.m - m);
#pragma omp for schedule(static)
      for (int64_t r = 0; r < rows; ++r) kernel.prepare(m + r, r);
      for (int64_t b = range.begin; b < range.end; ++b) kernel.block(m, rows, b);
#pragma omp barrier
    }
  }
  return SPF_OK;
}

} // namespace
} // namespace spf::linear
