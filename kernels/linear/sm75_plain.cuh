// out[m,n] = sum_k x[m,k] * W[n,k] + bias[n] for every format that the layout "reference" holds, on every GPU: codes of
// 4, 8, 16 or 32 bits, f32 scales, zero points or minima, act order, groups of any size.
//
//   block    8 warps, each kRows rows of W x kTokens tokens
//   lane     8 consecutive k at a time: chunk i of a row belongs to lane i % 32; where chunks are whole and lie on the
//            bytes of a load, those of several are requested before the first is used
//
// A lane decodes its eight values of each row to f32 once for all tokens of the tile, and multiplies in f32. Its sums
// run over its chunks in order, then over the lanes in a fixed tree: neither the tile nor the other rows change a bit.
#pragma once

#include "kernels/common/cuda/fp8.cuh"
#include "kernels/common/cuda/launch.cuh"
#include "kernels/common/cuda/memory.cuh"
#include "kernels/common/rows.hpp"
#include "kernels/linear/policy_cuda.hpp"

namespace spf::linear {

struct PlainArgs {
  const uint8_t* codes;        // [n][row_bytes]
  const float *scales, *zeros; // [n][groups], or nullptr
  const int32_t* g_idx;        // [k], or nullptr
  const float* global;         // one, or nullptr
  const void *x, *bias;
  void* out;
  RowSpace<2> rows; // of x and out
  int64_t n, k, row_bytes, groups;
  int64_t tiles, token_tiles; // tiles of rows of W x tokens; tokens vary first
  int32_t group_k;            // values of K that share a scale; 0: all
  int32_t group_shift;        // 2^group_shift of them, 31: all; -1: group_k is no power of two
  spf_scalar_type weight, bias_type, out_type;
  spf_zero_point_kind zero;
  bool vector_codes, vector_x; // every row starts on 16 bytes; of codes: on the bytes of a chunk
  bool whole_groups;           // a chunk has one scale
  bool ahead;                  // all loads of whole chunks are vectors

  // The group of column k, without act order.
  __device__ __forceinline__ int64_t group(int64_t column) const {
    if (group_k <= 0) return 0;
    return group_shift >= 0 ? column >> group_shift : column / group_k;
  }
};

constexpr int kPlainChunk = 8; // values of K

template <spf_scalar_type T, int kCodeBits, int kTokenCount>
struct PlainConfig {
  static constexpr spf_scalar_type kType = T;
  static constexpr int kBits = kCodeBits, kTokens = kTokenCount;
  static constexpr int kRows = kTokens > 1 ? 4 : 2; // of W, a warp's
  static constexpr int kWarps = kTokens > 1 ? 4 : 8, kThreads = 32 * kWarps;
  static constexpr int kWords = kBits / 4;                                   // of a chunk of codes
  static constexpr int kAhead = kTokens > 1 || kBits > 16 ? 1 : 2;           // chunks requested at a time
  static constexpr int kMinBlocks = kTokens > 1 || kType == SPF_F32 ? 3 : 4; // of a multiprocessor
};

// Eight codes.
template <class C>
__device__ __forceinline__ void load_whole(const uint8_t* from, uint32_t (&words)[C::kWords]) {
  if constexpr (C::kWords == 1) {
    words[0] = *reinterpret_cast<const uint32_t*>(from);
  } else if constexpr (C::kWords == 2) {
    const uint2 v = *reinterpret_cast<const uint2*>(from);
    words[0] = v.x;
    words[1] = v.y;
  } else {
#pragma unroll
    for (int i = 0; i < C::kWords; i += 4) {
      const uint4 v = *reinterpret_cast<const uint4*>(from + 4 * i);
      words[i] = v.x;
      words[i + 1] = v.y;
      words[i + 2] = v.z;
      words[i + 3] = v.w;
    }
  }
}

// Eight codes of a row; beyond its end, zeros.
template <class C>
__device__ __forceinline__ void load_codes(const PlainArgs& a, const uint8_t* row, int64_t k,
                                           uint32_t (&words)[C::kWords]) {
  const uint8_t* from = row + k * C::kBits / 8;
  if (a.vector_codes && k + kPlainChunk <= a.k) {
    load_whole<C>(from, words);
    return;
  }
#pragma unroll
  for (int i = 0; i < C::kWords; ++i) {
    words[i] = 0;
    for (int b = 0; b < 4; ++b)
      if (k * C::kBits / 8 + 4 * i + b < a.row_bytes) words[i] |= static_cast<uint32_t>(from[4 * i + b]) << (8 * b);
  }
}

// Byte i of a word, less `middle`. As an f32 of 2^23 and more an integer is its own bits: no conversion, of which a
// multiprocessor does few.
__device__ __forceinline__ float byte_number(uint32_t word, int i, float middle) {
  return __uint_as_float(__byte_perm(word, 0x4b000000u, 0x7650u + static_cast<uint32_t>(i))) - (0x1p23f + middle);
}

// The numbers that eight codes stand for.
template <class C>
__device__ __forceinline__ void decode_codes(spf_scalar_type type, const uint32_t (&words)[C::kWords],
                                             float (&w)[kPlainChunk]) {
  using namespace spf::cuda;
  if constexpr (C::kBits == 32) {
#pragma unroll
    for (int i = 0; i < kPlainChunk; ++i) w[i] = __uint_as_float(words[i]);
  } else if constexpr (C::kBits == 16) {
#pragma unroll
    for (int i = 0; i < kPlainChunk / 2; ++i) {
      const float2 v = type == SPF_F16 ? Scalar<SPF_F16>::widen2(words[i]) : Scalar<SPF_BF16>::widen2(words[i]);
      w[2 * i] = v.x;
      w[2 * i + 1] = v.y;
    }
  } else if constexpr (C::kBits == 8) {
    if (type == SPF_E4M3 || type == SPF_E5M2) {
#pragma unroll
      for (int i = 0; i < kPlainChunk / 2; ++i) {
        const uint32_t pair = words[i / 2] >> (16 * (i % 2)) & 0xffffu;
        const float2 v = type == SPF_E4M3 ? widen_fp8x2<SPF_E4M3>(pair) : widen_fp8x2<SPF_E5M2>(pair);
        w[2 * i] = v.x;
        w[2 * i + 1] = v.y;
      }
    } else {
      const uint32_t flip = type == SPF_S8 ? 0x80808080u : 0;
      const float middle = type == SPF_S8 || type == SPF_U8B128 ? 128.0f : 0.0f;
#pragma unroll
      for (int i = 0; i < kPlainChunk; ++i) w[i] = byte_number(words[i / 4] ^ flip, i % 4, middle);
    }
  } else if (type == SPF_E2M1) {
    // Sign and magnitude moved into f16, where the exponent is then off by 14.
#pragma unroll
    for (int i = 0; i < kPlainChunk; ++i) {
      const uint32_t code = words[0] >> (4 * i);
      const auto bits = static_cast<unsigned short>((code & 8u) << 12 | (code & 7u) << 9);
      w[i] = __half2float(__ushort_as_half(bits)) * 16384.0f;
    }
  } else {
    const float middle = type == SPF_S4 || type == SPF_U4B8 ? 8.0f : 0.0f;
    const uint32_t word = words[0] ^ (type == SPF_S4 ? 0x88888888u : 0);
    const uint32_t halves[2] = {word & 0x0f0f0f0fu, word >> 4 & 0x0f0f0f0fu};
#pragma unroll
    for (int i = 0; i < kPlainChunk; ++i) w[i] = byte_number(halves[i % 2], i / 2, middle);
  }
}

// spf_zero_point_kind: one rounding an operation, as the format is defined.
__device__ __forceinline__ float dequantize(spf_zero_point_kind kind, float code, float scale, float zero) {
  if (kind == SPF_ZERO_INTEGER) return __fmul_rn(__fsub_rn(code, zero), scale);
  const float product = __fmul_rn(code, scale);
  return kind == SPF_ZERO_MINIMUM ? __fsub_rn(product, zero) : product;
}

// Eight values of row n of W from column k on; 0 beyond the end.
template <class C>
__device__ __forceinline__ void weight_chunk(const PlainArgs& a, int64_t n, int64_t k, float global,
                                             float (&w)[kPlainChunk]) {
  uint32_t words[C::kWords];
  load_codes<C>(a, a.codes + n * a.row_bytes, k, words);
  decode_codes<C>(a.weight, words, w);
  if constexpr (C::kBits <= 8) {
    const auto at = [&](int64_t column) {
      if (a.g_idx != nullptr) return n * a.groups + a.g_idx[column];
      return n * a.groups + a.group(column);
    };
    if (a.whole_groups) {
      const int64_t group = at(k);
      const float scale = a.scales[group], zero = a.zeros != nullptr ? a.zeros[group] : 0.0f;
#pragma unroll
      for (int i = 0; i < kPlainChunk; ++i) w[i] = __fmul_rn(dequantize(a.zero, w[i], scale, zero), global);
    } else {
      for (int i = 0; i < kPlainChunk; ++i) {
        if (k + i >= a.k) break;
        const int64_t group = at(k + i);
        w[i] = __fmul_rn(dequantize(a.zero, w[i], a.scales[group], a.zeros != nullptr ? a.zeros[group] : 0.0f), global);
      }
    }
  }
#pragma unroll
  for (int i = 0; i < kPlainChunk; ++i)
    if (k + i >= a.k) w[i] = 0.0f;
}

// Eight values of a row of x.
template <class C>
__device__ __forceinline__ void x_chunk(const PlainArgs& a, const cuda::scalar_t<C::kType>* row, int64_t k,
                                        float (&x)[kPlainChunk]) {
  constexpr int kElements = cuda::kChunkElements<C::kType>;
#pragma unroll
  for (int i = 0; i < kPlainChunk; i += kElements) {
    float part[kElements];
    const int64_t left = a.k - k - i;
    cuda::unpack<C::kType>(cuda::load_chunk<C::kType>(row + k + i, left, a.vector_x), part);
#pragma unroll
    for (int e = 0; e < kElements; ++e) x[i + e] = part[e];
  }
}

// Where a warp's rows begin, for chunks that are whole and lie on the bytes of a load.
template <class C>
struct PlainRows {
  const uint8_t* codes[C::kRows];
  const float *scales[C::kRows], *zeros[C::kRows];

  __device__ __forceinline__ PlainRows(const PlainArgs& a, int64_t n) {
#pragma unroll
    for (int r = 0; r < C::kRows; ++r) {
      const int64_t row = min(n + r, a.n - 1);
      codes[r] = a.codes + row * a.row_bytes;
      scales[r] = a.scales + row * a.groups;
      zeros[r] = a.zeros != nullptr ? a.zeros + row * a.groups : scales[r];
    }
  }

  // The products of kCount chunks, 32 chunks apart.
  template <int kCount>
  __device__ __forceinline__ void multiply(const PlainArgs& a, int k, float global,
                                           const cuda::scalar_t<C::kType>* const (&x)[C::kTokens],
                                           float (&sum)[C::kRows][C::kTokens]) const {
    constexpr bool kScaled = C::kBits <= 8, kEarlyX = C::kTokens == 1;
    constexpr int kElements = cuda::kChunkElements<C::kType>, kPieces = kPlainChunk / kElements;
    uint32_t words[kCount][C::kRows][C::kWords];
    float scale[kCount][C::kRows], zero[kCount][C::kRows];
    uint4 early[kEarlyX ? kCount : 1][kPieces];
#pragma unroll
    for (int u = 0; u < kCount; ++u) {
      const int at = k + u * (32 * kPlainChunk), group = at >> a.group_shift;
#pragma unroll
      for (int r = 0; r < C::kRows; ++r) {
        load_whole<C>(codes[r] + (k / 2 * (C::kBits / 4) + u * (32 * kPlainChunk) * C::kBits / 8), words[u][r]);
        if constexpr (kScaled) {
          scale[u][r] = scales[r][group];
          zero[u][r] = zeros[r][group];
        }
      }
      if constexpr (kEarlyX) {
#pragma unroll
        for (int p = 0; p < kPieces; ++p) early[u][p] = cuda::load16(x[0] + at + p * kElements);
      }
    }
#pragma unroll
    for (int u = 0; u < kCount; ++u) {
      float w[C::kRows][kPlainChunk];
#pragma unroll
      for (int r = 0; r < C::kRows; ++r) decode_codes<C>(a.weight, words[u][r], w[r]);
      if constexpr (kScaled) {
        scale_chunks<SPF_ZERO_NONE>(a, w, scale[u], zero[u]);
        scale_chunks<SPF_ZERO_INTEGER>(a, w, scale[u], zero[u]);
        scale_chunks<SPF_ZERO_MINIMUM>(a, w, scale[u], zero[u]);
        if (a.global != nullptr) {
#pragma unroll
          for (int r = 0; r < C::kRows; ++r)
#pragma unroll
            for (int i = 0; i < kPlainChunk; ++i) w[r][i] = __fmul_rn(w[r][i], global);
        }
      }
#pragma unroll
      for (int t = 0; t < C::kTokens; ++t) {
        float v[kPlainChunk];
#pragma unroll
        for (int p = 0; p < kPieces; ++p) {
          float part[kElements];
          cuda::unpack<C::kType>(
              kEarlyX ? early[u][p] : cuda::load16(x[t] + k + (u * (32 * kPlainChunk) + p * kElements)), part);
#pragma unroll
          for (int e = 0; e < kElements; ++e) v[p * kElements + e] = part[e];
        }
#pragma unroll
        for (int r = 0; r < C::kRows; ++r)
#pragma unroll
          for (int i = 0; i < kPlainChunk; ++i) sum[r][t] = __fmaf_rn(v[i], w[r][i], sum[r][t]);
      }
    }
  }

 private:
  // One kind of zero point at a time: a branch, not a selection for every value.
  template <spf_zero_point_kind kZero>
  static __device__ __forceinline__ void scale_chunks(const PlainArgs& a, float (&w)[C::kRows][kPlainChunk],
                                                      const float (&scale)[C::kRows], const float (&zero)[C::kRows]) {
    if (a.zero != kZero) return;
#pragma unroll
    for (int r = 0; r < C::kRows; ++r)
#pragma unroll
      for (int i = 0; i < kPlainChunk; ++i) w[r][i] = dequantize(kZero, w[r][i], scale[r], zero[r]);
  }
};

__device__ __forceinline__ void store_any(void* to, int64_t i, spf_scalar_type type, float value) {
  using namespace spf::cuda;
  if (type == SPF_F32)
    static_cast<float*>(to)[i] = value;
  else if (type == SPF_F16)
    static_cast<__half*>(to)[i] = Scalar<SPF_F16>::narrow(value);
  else
    static_cast<__nv_bfloat16*>(to)[i] = Scalar<SPF_BF16>::narrow(value);
}

template <class C>
__global__ void __launch_bounds__(C::kThreads, C::kMinBlocks) plain_linear(const __grid_constant__ PlainArgs a) {
  using namespace spf::cuda;
  using Element = scalar_t<C::kType>;
  launch_dependents();
  wait_for_primary();
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const float global = a.global != nullptr ? *a.global : 1.0f;
  for (int64_t tile = blockIdx.x; tile < a.tiles; tile += gridDim.x) {
    const int64_t row_tile = tile / a.token_tiles;
    const int64_t n = (row_tile * C::kWarps + warp) * C::kRows, m = (tile - row_tile * a.token_tiles) * C::kTokens;
    if (n >= a.n) continue;
    // Rows and tokens beyond the last repeat it and are not stored.
    const Element* x[C::kTokens];
    int64_t out[C::kTokens];
#pragma unroll
    for (int t = 0; t < C::kTokens; ++t) {
      int64_t offsets[2];
      a.rows.offsets(min(m + t, a.rows.rows - 1), offsets);
      x[t] = static_cast<const Element*>(a.x) + offsets[0];
      out[t] = offsets[1];
    }
    float sum[C::kRows][C::kTokens] = {};
    int64_t k = lane * kPlainChunk;
    if (a.ahead) {
      constexpr int kStep = 32 * kPlainChunk;
      const PlainRows<C> rows(a, n);
      const int end = static_cast<int>(a.k) - kPlainChunk;
      int at = static_cast<int>(k);
#pragma unroll 1
      for (; at + (C::kAhead - 1) * kStep <= end; at += C::kAhead * kStep)
        rows.template multiply<C::kAhead>(a, at, global, x, sum);
#pragma unroll 1
      for (; at <= end; at += kStep) rows.template multiply<1>(a, at, global, x, sum);
      k = at;
    }
#pragma unroll 1
    for (; k < a.k; k += 32 * kPlainChunk) {
      float w[C::kRows][kPlainChunk];
#pragma unroll
      for (int r = 0; r < C::kRows; ++r) weight_chunk<C>(a, min(n + r, a.n - 1), k, global, w[r]);
#pragma unroll
      for (int t = 0; t < C::kTokens; ++t) {
        float v[kPlainChunk];
        x_chunk<C>(a, x[t], k, v);
#pragma unroll
        for (int r = 0; r < C::kRows; ++r)
#pragma unroll
          for (int i = 0; i < kPlainChunk; ++i) sum[r][t] = __fmaf_rn(v[i], w[r][i], sum[r][t]);
      }
    }
#pragma unroll
    for (int r = 0; r < C::kRows; ++r)
#pragma unroll
      for (int t = 0; t < C::kTokens; ++t) {
        float v = sum[r][t];
#pragma unroll
        for (int step = 16; step > 0; step /= 2) v += __shfl_xor_sync(0xffffffffu, v, step);
        if (lane == 0 && n + r < a.n && m + t < a.rows.rows) {
          if (a.bias != nullptr) v += load_any(a.bias, n + r, a.bias_type);
          store_any(a.out, out[t] + n + r, a.out_type, v);
        }
      }
  }
}

// --- launch ---------------------------------------------------------------------------------------------------------

template <spf_scalar_type T, int kBits, int kTokens>
spf_status plain(const Call& call, const LaunchContext& ctx) {
  using C = PlainConfig<T, kBits, kTokens>;
  const spf_packed_weight& w = *call.weight;
  const auto* data = static_cast<const uint8_t*>(w.data);
  const spf_tensor &x = *call.operand("x"), &out = *call.operand("out");
  PlainArgs a = {};
  a.rows = row_space({&x, &out});
  a.n = w.n;
  a.k = w.k;
  if (a.rows.rows == 0 || a.n == 0) return SPF_OK;
  a.codes = data;
  a.row_bytes = (a.k * kBits + 7) / 8;
  a.weight = w.scheme.weight;
  a.zero = w.scheme.zero;
  a.group_k = w.scheme.group_k > 0 ? w.scheme.group_k : 0;
  a.groups = a.group_k > 0 ? stream_ceil(a.k, a.group_k) : 1;
  if (w.scales_offset != 0) a.scales = reinterpret_cast<const float*>(data + w.scales_offset);
  if (w.zeros_offset != 0) a.zeros = reinterpret_cast<const float*>(data + w.zeros_offset);
  if (w.g_idx_offset != 0) a.g_idx = reinterpret_cast<const int32_t*>(data + w.g_idx_offset);
  if (w.global_offset != 0) a.global = reinterpret_cast<const float*>(data + w.global_offset);
  a.whole_groups = a.g_idx == nullptr && a.group_k % kPlainChunk == 0;
  a.vector_codes = a.row_bytes % (kBits >= 16 ? 16 : kBits) == 0;
  a.vector_x = call.problem.is_aligned16("x");
  a.group_shift = a.group_k > 0 ? -1 : 31;
  if (a.group_k > 0 && (a.group_k & (a.group_k - 1)) == 0)
    for (a.group_shift = 0; (int64_t{1} << a.group_shift) < a.group_k;) ++a.group_shift;
  a.ahead = a.vector_codes && a.vector_x && a.k < (1 << 30) &&
            (kBits > 8 || (a.whole_groups && a.group_shift >= 0 && a.scales != nullptr));
  a.x = x.data;
  a.out = out.data;
  a.out_type = out.type;
  if (const spf_tensor* bias = call.operand("bias")) {
    a.bias = bias->data;
    a.bias_type = bias->type;
  }
  a.token_tiles = stream_ceil(a.rows.rows, kTokens);
  a.tiles = stream_ceil(a.n, C::kWarps * C::kRows) * a.token_tiles;
  const int64_t grid = a.tiles < (1 << 20) ? a.tiles : 1 << 20; // blocks walk tiles beyond that
  return cuda::launch("linear", ctx, plain_linear<C>, grid, C::kThreads, 0, a);
}

} // namespace spf::linear
