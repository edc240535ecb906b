// Block quantizers on the CPU: a block in a few vectors, pieces of rows on all threads. Included by one source per
// instruction set; see kernels/common/simd/lanes.hpp for why everything is internal. Fused operations are written as
// such, for the bits must be those of definition.h.
#pragma once

#include <cstring>

#include "kernels/block_quantize/args.h"
#include "kernels/common/float_types.hpp"
#include "kernels/common/simd/elements.hpp"
#include "kernels/common/simd/fp8.hpp"

namespace spf::block_quantize {
namespace {

template <spf_scalar_type T, spf_scalar_type C, int kLanes>
struct CpuBlocks : simd::Elements<T, kLanes> {
  using Base = simd::Elements<T, kLanes>;
  using Base::read;
  using typename Base::F;
  using typename Base::L;
  using U = typename L::U;
  typedef uint64_t Q __attribute__((vector_size(kLanes * 4)));
  static constexpr int kVectors = 32 / kLanes; // of the largest block
  static constexpr int64_t kPiece = 128;       // blocks of a row that a thread takes at once

  // a * b + c, rounded once.
  static F fused(F a, F b, F c) {
    if constexpr (kLanes == 16) {
#ifdef __AVX512F__
      return reinterpret_cast<F>(
          _mm512_fmadd_ps(reinterpret_cast<__m512>(a), reinterpret_cast<__m512>(b), reinterpret_cast<__m512>(c)));
#endif
    } else {
      return reinterpret_cast<F>(
          _mm256_fmadd_ps(reinterpret_cast<__m256>(a), reinterpret_cast<__m256>(b), reinterpret_cast<__m256>(c)));
    }
  }

  static F silu(F x) {
    const F low = L::set(-87.0f), negative = L::from_bits(L::bits(x) ^ 0x80000000u), magic = L::set(12582912.0f);
    const F t = negative > low ? negative : low;
    const F shifted = fused(t, L::set(1.44269504f), magic);
    const F n = shifted - magic;
    const F r = fused(n, L::set(2.12194440e-4f), fused(n, L::set(-0.693359375f), t));
    F p = L::set(1.0f / 720);
    constexpr float kRest[] = {1.0f / 120, 1.0f / 24, 1.0f / 6, 0.5f, 1.0f, 1.0f};
    for (const float c : kRest) p = fused(p, r, L::set(c));
    const F e = L::from_bits(L::bits(p) + (L::bits(shifted) << 23));
    const F inverse = 1.0f / (1.0f + e);
    return x * (t > L::set(88.0f) ? F{} : inverse);
  }

  // e2m1 as in kernels/common/cuda/fp4.cuh; the sign of NaN is 0.
  static U e2m1(F v) {
    const F number = v == v ? v : F{}, size = L::from_bits(L::bits(number) & 0x7fffffffu), magic = L::set(8388608.0f);
    const F low = fused(size, L::set(2.0f), magic), middle = size + 8388610.0f;
    const F high = fused(size, L::set(0.5f), L::set(8388612.0f)), most = L::set(8388615.0f);
    const F a = low < middle ? low : middle, b = high < most ? high : most;
    return (L::bits(a < b ? a : b) & 7u) | (L::bits(number) >> 28 & 8u);
  }

  static void store(uint8_t* to, F v) {
    if constexpr (C == SPF_E2M1) {
      const Q pairs = reinterpret_cast<Q>(e2m1(v));
      uint64_t bytes[kLanes / 2];
      const Q packed = pairs | pairs >> 28; // the low byte of each holds two codes
      std::memcpy(bytes, &packed, sizeof bytes);
      for (int i = 0; i < kLanes / 2; ++i) to[i] = static_cast<uint8_t>(bytes[i]);
    } else {
      const U nan = U{} + 0x7fu, code = simd::Fp8Lanes<C, kLanes>::encode(v);
      L::store_bytes(to, v == v ? code : nan);
    }
  }

  // The scale's code, and what the block is multiplied by.
  static uint8_t scale_of(const BlockArgs& args, BlockOp op, float largest, float global_scale, float* factor) {
    if (is_nvfp4(op)) {
      using E4m3 = simd::Fp8Lanes<SPF_E4M3, kLanes>;
      const U code = E4m3::encode(L::set(nvfp4_scale(largest, global_scale)));
      *factor = nvfp4_factor(E4m3::decode(code)[0], 1.0f / global_scale);
      return static_cast<uint8_t>(code[0]);
    }
    const uint32_t code = mx_scale<C>(largest, args.rule);
    *factor = mx_factor(code);
    return static_cast<uint8_t>(code);
  }

  static void piece(const BlockArgs& args, BlockOp op, const int64_t (&at)[3], int64_t scale_row, float global_scale,
                    int64_t begin, int64_t end) {
    const int size = group_of(op), vectors = size / kLanes;
    for (int64_t g = begin; g < end; ++g) {
      F v[kVectors], top = {};
      for (int i = 0; i < vectors; ++i) {
        const int64_t first = at[0] + g * size + i * kLanes;
        v[i] = read(args.x, first, kLanes);
        if (is_gated(op)) v[i] = L::template round<T>(silu(v[i]) * read(args.x, first + args.groups * size, kLanes));
        const F magnitude = L::from_bits(L::bits(v[i]) & 0x7fffffffu);
        top = magnitude > top ? magnitude : top;
      }
      float factor;
      const uint8_t scale = scale_of(args, op, L::largest(top), global_scale, &factor);
      constexpr int kStep = C == SPF_E2M1 ? kLanes / 2 : kLanes;
      for (int i = 0; i < vectors; ++i) store(args.codes + at[1] + (g * vectors + i) * kStep, v[i] * factor);
      if (args.scales != nullptr) args.scales[at[2] + g] = scale;
      if (args.swizzled != nullptr) args.swizzled[swizzled_scale(scale_row, g, args.tiles)] = scale;
    }
  }

  static void run(const BlockArgs& args, BlockOp op, int threads) {
    const int64_t pieces = (args.groups + kPiece - 1) / kPiece, all = args.space.rows * pieces;
    const bool worth = all > 1 && args.space.rows * args.groups > 512;
#pragma omp parallel for schedule(static) num_threads(threads) if (worth)
    for (int64_t i = 0; i < all; ++i) {
      const int64_t row = i / pieces, begin = i % pieces * kPiece;
      int64_t at[3], scale_row = row, expert = 0;
      if (has_experts(op)) {
        while (expert < args.experts && row >= args.offsets[expert + 1]) ++expert;
        if (expert == args.experts || row < args.offsets[expert]) continue;
        scale_row = args.scale_offsets[expert] + row - args.offsets[expert];
      }
      args.space.offsets(row, at);
      piece(args, op, at, scale_row, is_nvfp4(op) ? args.global_scale[expert] : 1.0f, begin,
            args.groups < begin + kPiece ? args.groups : begin + kPiece);
    }
  }
};

// Zeros where scales may have no row or block: all of the tiles of each matrix of them.
inline void clear_scales(const BlockArgs& args, BlockOp op) {
  if (args.swizzled == nullptr) return;
  const auto clear = [&](int64_t row, int64_t rows) {
    std::memset(args.swizzled + row * args.tiles * 4, 0,
                static_cast<size_t>((rows + 127) / 128 * 128 * args.tiles * 4));
  };
  if (!has_experts(op)) return clear(0, args.space.rows);
  for (int64_t e = 0; e < args.experts; ++e) clear(args.scale_offsets[e], args.offsets[e + 1] - args.offsets[e]);
}

template <int kLanes>
spf_status cpu_blocks(const Call& call, const LaunchContext& ctx) {
  const BlockOp op = block_op(call);
  const BlockArgs args = block_args(call, op);
  if (args.empty()) return SPF_OK;
  clear_scales(args, op);
  const spf_scalar_type code = call.problem.type("C"); // none: e2m1
  const bool known = with_float_type(call.problem.type("T"), [&](auto type) {
    constexpr spf_scalar_type T = decltype(type)::value;
    if (code == SPF_E4M3)
      CpuBlocks<T, SPF_E4M3, kLanes>::run(args, op, ctx.threads);
    else if (code == SPF_E5M2)
      CpuBlocks<T, SPF_E5M2, kLanes>::run(args, op, ctx.threads);
    else
      CpuBlocks<T, SPF_E2M1, kLanes>::run(args, op, ctx.threads);
  });
  return known ? SPF_OK : SPF_INVALID_TYPE;
}

} // namespace
} // namespace spf::block_quantize
