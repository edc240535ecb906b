// Packed weights for many tokens on Hopper: a run of channels at a time is decoded to 16-bit rows in the workspace, and
// multiplied from there by sm90_dense's mainloop.
//
//   unpack     channels 0 .. c-1            | channels c .. 2c-1        | ...
//   multiply                   all tokens x |             all tokens x  |
//
// Why: at thousands of tokens the chip is bound by power, and decoding every weight once per 256 tokens costs a tenth
// of the clock. A run is chosen so that it stays in the last-level cache and its tiles fill whole waves (unpack_run).
//
// A block of unpack_rows decodes 64 channels x 512 k: a warp takes one k16 row of the Marlin order in each of four
// steps, whose fragments stmatrix turns into rows of 16-bit values.
#pragma once

#include "kernels/linear/sm90_dense.cuh"

namespace spf::linear {

struct UnpackArgs {
  const char* codes;
  const char* scales; // [groups][padded_n]
  const char* zeros;  // [groups][padded_n / 8] words
  void* out;          // [run of channels][pitch]
  int64_t padded_n, pitch;
  int32_t first_tile, tiles; // 64-channel tiles: the run's first, and how many
  int32_t rows;              // k16 rows
  int32_t row_groups;        // k16 rows that share a scale
  bool f16_scales, fresh;    // fresh: the workspace may still be in use by the kernel before
};

template <spf_scalar_type T, spf_scalar_type kWeight, int kFold>
struct UnpackConfig {
  using Fragment = cuda::WeightFragment<T, kWeight, kFold != 0, kFold == 1>;
  static constexpr bool kGrouped = kFold != 0;
  static constexpr int kBits = wgmma_bits(kWeight), kWarps = 8, kSteps = 4;
  static constexpr int kRowsABlock = kWarps * kSteps, kThreads = 32 * kWarps;
  static constexpr int kPitch = kWarps * 32 + 16; // bytes of a staged row: eight rows fall into different banks
};

// What belongs to a lane's two rows of the four sub-tiles of a 64-channel tile.
template <class C>
__device__ __forceinline__ void load_facts(const UnpackArgs& a, int64_t group, int tile, int lane,
                                           cuda::RowFacts (&facts)[4]) {
  constexpr int kBytes = C::Fragment::kScaleBytes;
  const int64_t at =
      group * a.padded_n + static_cast<int64_t>(tile) * 64 + lane / 4 * 8; // eight neighbours: one lane's
  if constexpr (kBytes == 1) {
    const uint2 v = *reinterpret_cast<const uint2*>(a.scales + at);
    const uint32_t words[2] = {v.x, v.y};
#pragma unroll
    for (int j = 0; j < 4; ++j) facts[j].scale[0] = words[j / 2] >> (8 * (j % 2)) & 0x00ff00ffu;
  } else if constexpr (kBytes == 2) {
    const uint4 v = *reinterpret_cast<const uint4*>(a.scales + at * 2);
    const uint32_t words[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
    for (int j = 0; j < 4; ++j) facts[j].scale[0] = words[j];
  } else {
    const uint2* from = reinterpret_cast<const uint2*>(a.scales + at * 4);
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const uint2 v = from[j];
      facts[j].scale[0] = v.x;
      facts[j].scale[1] = v.y;
    }
  }
  if constexpr (C::Fragment::kZeros) {
    const uint32_t v = *reinterpret_cast<const uint32_t*>(a.zeros + at / 8 * 4);
#pragma unroll
    for (int j = 0; j < 4; ++j) facts[j].zero = v >> (4 * j) & 0x000f000fu;
  }
}

template <class C>
__global__ void __launch_bounds__(C::kThreads) unpack_rows(const __grid_constant__ UnpackArgs a) {
  using namespace spf::cuda;
  using Fragment = typename C::Fragment;
  __shared__ __align__(16) uint8_t staged[64][C::kPitch];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int in_run = blockIdx.x % a.tiles, tile = a.first_tile + in_run;
  const int first_row = static_cast<int>(blockIdx.x / a.tiles) * C::kRowsABlock;

  // --- words and scales of every step, before anything is waited for
  uint4 words[C::kSteps][C::kBits / 4];
  RowFacts facts[C::kSteps][4];
#pragma unroll
  for (int s = 0; s < C::kSteps; ++s) {
    const int row = min(first_row + s * C::kWarps + warp, a.rows - 1);
    const uint4* from = reinterpret_cast<const uint4*>(a.codes + row * (a.padded_n * 2 * C::kBits) +
                                                       static_cast<int64_t>(tile) * (128 * C::kBits)) +
                        lane * (C::kBits / 4);
#pragma unroll
    for (int i = 0; i < C::kBits / 4; ++i) words[s][i] = from[i];
    if constexpr (C::kGrouped) load_facts<C>(a, row / a.row_groups, tile, lane, facts[s]);
  }
  launch_dependents();
  if (a.fresh) wait_for_primary();

    // --- decode, stage, write
#pragma unroll
  for (int s = 0; s < C::kSteps; ++s) {
    const int row = first_row + s * C::kWarps;
    if (row >= a.rows) break;
    uint32_t flat[C::kBits];
#pragma unroll
    for (int i = 0; i < C::kBits / 4; ++i) {
      flat[4 * i] = words[s][i].x;
      flat[4 * i + 1] = words[s][i].y;
      flat[4 * i + 2] = words[s][i].z;
      flat[4 * i + 3] = words[s][i].w;
    }
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      Fragment decoder;
      decoder.prepare(C::kGrouped ? facts[s][j] : RowFacts{}, a.f16_scales);
      uint32_t own[Fragment::kWords], r[4];
#pragma unroll
      for (int i = 0; i < Fragment::kWords; ++i) own[i] = flat[j * Fragment::kWords + i];
      decoder.decode(r, own);
      // Matrices of 8 x 8: channels 0-7, k 0-7; channels 8-15, k 0-7; then k 8-15.
      store_matrices(shared_address(&staged[j * 16 + lane / 8 % 2 * 8 + lane % 8][warp * 32 + lane / 16 * 16]), r);
    }
    __syncthreads();
    const int pieces = min(a.rows - row, C::kWarps) * 2; // 16-byte pieces of a channel
    for (int e = threadIdx.x; e < 64 * pieces; e += C::kThreads) {
      const int channel = e / pieces, piece = e - channel * pieces;
      auto* to = static_cast<uint4*>(a.out) + ((static_cast<int64_t>(in_run) * 64 + channel) * a.pitch + row * 16) / 8;
      to[piece] = *reinterpret_cast<const uint4*>(&staged[channel][piece * 16]);
    }
    __syncthreads();
  }
}

template <spf_scalar_type T, spf_scalar_type kWeight, int kFold>
spf_status unpack(const Call& call, const LaunchContext& ctx) {
  using U = UnpackConfig<T, kWeight, kFold>;
  using C = WgmmaConfig<T, T, 0, kUnpackTile.tokens, kUnpackTile.tiles, kUnpackTile.groups, kUnpackTile.share>;
  const spf_packed_weight& w = *call.weight;
  if (call.problem.extent("*") == 0 || w.n == 0) return SPF_OK;
  const UnpackPlan plan = unpack_plan(wgmma_shape(call.problem), *ctx.facts);
  auto* rows = static_cast<char*>(ctx.workspace);
  WgmmaTokens x;
  if (const spf_status status = wgmma_tokens(call, ctx, rows + plan.run_bytes, &x); status != SPF_OK) return status;
  const auto* data = static_cast<const char*>(w.data);
  UnpackArgs u = {};
  u.codes = data;
  u.scales = data + w.scales_offset;
  u.zeros = data + w.zeros_offset;
  u.out = rows;
  u.padded_n = w.padded_n;
  u.pitch = w.padded_k;
  u.rows = static_cast<int32_t>(w.padded_k / 16);
  u.row_groups = U::kGrouped ? w.scheme.group_k / 16 : 1;
  u.f16_scales = w.scheme.scale == SPF_F16;
  u.fresh = true;
  WgmmaArgs whole = wgmma_args(call);
  wgmma_factors<typename U::Fragment>(w, U::kGrouped, &whole);
  whole.fresh_weights = true;
  const auto past = [](const void* from, int64_t elements, spf_scalar_type type) -> const void* {
    return from == nullptr ? nullptr : static_cast<const char*>(from) + elements * policy::element_bytes(type);
  };
  LaunchContext next = ctx;
  for (int64_t from = 0; from < w.n; from += plan.run) {
    const int64_t channels = std::min(plan.run, w.n - from), tiles = stream_ceil(channels, 64);
    u.first_tile = static_cast<int32_t>(from / 64);
    u.tiles = static_cast<int32_t>(tiles);
    spf_status status =
        cuda::launch("linear", next, unpack_rows<U>, tiles * stream_ceil(u.rows, U::kRowsABlock), U::kThreads, 0, u);
    if (status != SPF_OK) return status;
    next = cuda::following(ctx);
    WgmmaArgs a = whole;
    a.n = static_cast<int32_t>(channels);
    a.out = static_cast<char*>(whole.out) + from * 2;
    a.bias = past(whole.bias, from, whole.bias_type);
    a.column_scales = past(whole.column_scales, from, whole.column_scale_type);
    status = launch_wgmma<C>(next, x, w.k, {dense_weight<C>(rows, channels, w.k, w.padded_k)}, &a);
    if (status != SPF_OK) return status;
  }
  return SPF_OK;
}

} // namespace spf::linear
