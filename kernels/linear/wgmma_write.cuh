// How results that sm90_wgmma has staged in shared memory get to out.
#pragma once

#include "kernels/common/cuda/async.cuh"
#include "kernels/common/cuda/launch.cuh"
#include "kernels/linear/wgmma_config.cuh"

namespace spf::linear {

// Results of kTokens tokens and 64 channels, staged as WgmmaConsumer::stage_results() does it, to out: by kThreads
// threads, 16 bytes each where rows allow that. kAnyRows: else out has rows on 16 bytes, one distance apart.
template <class C, int kTokens, int kThreads, bool kAnyRows>
__device__ __forceinline__ void write_out(const WgmmaArgs& a, const uint8_t* staged, int channel, int token,
                                          int thread) {
  const int q = thread % 8, n = channel + q * 8; // a token's row of 64 channels is eight pieces
  if (n >= a.n) return;
  const int end = min(kTokens, a.m - token);
  // Pairs of channels of a piece come from four sub-tiles, and so from four pieces.
  const auto pair = [&](int t, int p) {
    const int from = C::kDense ? q : ((q / 2 - p) & 3) * 2 + q % 2;
    return staged + t * 128 + (from ^ (t % 8)) * 16 + p * 4;
  };
  const bool even = a.vector_out && a.rows.dims <= 1;
  if (n + 8 <= a.n && (even || !kAnyRows)) {
    const int64_t stride = a.rows.stride[0][0];
    auto* to = static_cast<uint16_t*>(a.out) + (token + thread / 8) * stride + n;
    constexpr int kUnroll = kThreads == 128 ? 4 : 1;
#pragma unroll kUnroll
    for (int t = thread / 8; t < end; t += kThreads / 8, to += kThreads / 8 * stride) {
      uint32_t v[4];
#pragma unroll
      for (int p = 0; p < 4; ++p) v[p] = *reinterpret_cast<const uint32_t*>(pair(t, p));
      *reinterpret_cast<uint4*>(to) = make_uint4(v[0], v[1], v[2], v[3]);
    }
    return;
  }
#pragma unroll 1
  for (int t = thread / 8; t < end; t += kThreads / 8) {
    int64_t row[1] = {(token + t) * a.rows.stride[0][0]};
    if constexpr (kAnyRows) a.rows.offsets(token + t, row);
    auto* to = static_cast<uint16_t*>(a.out) + row[0] + n;
#pragma unroll 1
    for (int i = 0; i < 8 && n + i < a.n; ++i) to[i] = *reinterpret_cast<const uint16_t*>(pair(t, i / 2) + i % 2 * 2);
  }
}

// Whether a warp writes results while the next tile is multiplied: not those of the last, or of one that is divided.
template <class C>
__device__ __forceinline__ bool writes_aside(const WgmmaArgs& a, const WgmmaWork<C>& work, int unit) {
  return unit + work.step < a.units && (!C::kDivide || unit < a.whole) && a.vector_out && a.rows.dims <= 1;
}

// The writing warp.
template <class C>
__device__ __forceinline__ void write_tiles(const WgmmaArgs& a, const WgmmaWork<C>& work, const uint8_t* staged,
                                            uint32_t written, uint32_t drained) {
  using Tile = typename C::Tile;
  uint32_t phase = 0;
  for (int unit = work.first; writes_aside(a, work, unit); unit += work.step) {
    const WgmmaPlace place = locate(a, work, unit);
#pragma unroll 1
    for (int i = 0; i < Tile::kChannels / 64; ++i) {
      const int group = i / C::kT;
      if (i % C::kT == 0) cuda::barrier_wait(written + 8 * group, phase);
      write_out<C, C::kN, 32, false>(a, staged + i * C::kN * 128, place.channel + i * 64, place.token,
                                     threadIdx.x % 32);
      if (i % C::kT != C::kT - 1) continue;
      __syncwarp(); // every lane has read
      if (threadIdx.x % 32 == 0) cuda::barrier_arrive(drained + 8 * group);
    }
    phase ^= 1;
  }
}

} // namespace spf::linear
