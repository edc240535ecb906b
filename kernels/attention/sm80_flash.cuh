// Prefill attention, 8.0 and later: a block takes a run of queries of one head, and each of its warps 16 or 32 of them
// through all keys that they see (Dao, FlashAttention-2, 2023). Scores and weights stay in registers: the D operand of
// Q K^T is the A operand of P V. Keys and values of the next tile are copied while one is multiplied. Codes
// of an fp8 cache are widened to the type of the queries, which holds each exactly, once a tile and block.
#pragma once

#include "kernels/attention/args.h"
#include "kernels/attention/sm80_flash.hpp"
#include "kernels/attention/tiles.cuh"
#include "kernels/common/cuda/async.cuh"
#include "kernels/common/cuda/launch.cuh"
#include "kernels/common/cuda/math.cuh"

namespace spf::attention {

struct FlashArgs {
  AttentionArgs a;
  int32_t block_shift; // of a page
};

// Where a block's queries lie.
struct FlashBlock {
  int64_t sums[FlashShape<64, 64>::kWarps];
  int32_t sequence, block; // block of the sequence
};

template <spf_scalar_type T, spf_scalar_type C, int kDims, int kTileKeys>
struct FlashKernel {
  static constexpr int kBytes = KvType<C>::kBytes; // of an element of keys and values
  using Shape = FlashShape<kDims, kTileKeys>;
  static constexpr int kKeys = Shape::kKeys, kPitch = Shape::kPitch, kRowTiles = Shape::kRowTiles;
  static constexpr int kThreads = 32 * Shape::kWarps, kSteps = kDims / 16, kKeyTiles = kKeys / 8;
  // 16-byte chunks of a row of elements that a request covers, and its rows.
  template <int kElementBytes>
  static constexpr int kWide = kDims* kElementBytes < 256 ? kDims* kElementBytes / 16 : 16;
  template <int kElementBytes>
  static constexpr int kRequest = kThreads / kWide<kElementBytes>;

  const FlashArgs& args;
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  const int g = lane / 4, t = lane % 4;
  int32_t sequence, queries, length, first_row, head; // first_row: of the block in its sequence
  int64_t query_base, key_base;                       // rows of the sequence's first query and key
  float out[kRowTiles][kSteps * 2][4] = {};
  float most[kRowTiles][2], weight[kRowTiles][2]; // of rows g, g + 8

  // --- copies ----------------------------------------------------------------------------------------------------

  template <int kElementBytes>
  __device__ __forceinline__ void copy_rows(uint32_t to, const char* from, int64_t pitch, int row, bool seen) const {
    constexpr int kAcross = kWide<kElementBytes>, kTo = kDims * kElementBytes + 16;
    const int chunk = static_cast<int>(threadIdx.x) % kAcross * 16,
              bytes = static_cast<int>(args.a.dims) * kElementBytes;
#pragma unroll
    for (int c = 0; c < kDims * kElementBytes; c += kAcross * 16) {
      const int left = bytes - c - chunk;
      cuda::copy_async_part(to + static_cast<uint32_t>(row * kTo + c + chunk), from + row * pitch + c + chunk,
                            !seen || left <= 0 ? 0
                            : left < 16        ? left
                                               : 16);
    }
  }

  __device__ __forceinline__ void copy_queries(uint32_t to) const {
    const char* const from = static_cast<const char*>(args.a.query) +
                             ((query_base + first_row) * args.a.query_stride[0] + head * args.a.query_stride[1]) * 2;
    const int own = static_cast<int>(threadIdx.x) / kWide<2>;
#pragma unroll
    for (int row = 0; row < Shape::kRows; row += kRequest<2>)
      copy_rows<2>(to, from, args.a.query_stride[0] * 2, row + own, first_row + row + own < queries);
  }

  // Keys, then values, of the tile that starts at a position.
  __device__ __forceinline__ void copy_tile(uint32_t to, int start) const {
    const RowStride &key = args.a.key_stride, &value = args.a.value_stride;
    const int64_t kv_head = head / args.a.group();
    const int own = static_cast<int>(threadIdx.x) / kWide<kBytes>;
    const char* const keys = static_cast<const char*>(args.a.key) + kv_head * key.head * kBytes;
    const char* const values = static_cast<const char*>(args.a.value) + kv_head * value.head * kBytes;
#pragma unroll
    for (int row = 0; row < kKeys; row += kRequest<kBytes>) {
      const int at = start + row + own;
      const bool seen = at < length;
      // The row in its page, or in all keys; copy_rows() adds `row` times the pitch.
      int64_t in_block = key_base + at, block = 0;
      if (args.a.paged()) {
        block = seen ? args.a.block_tables[sequence * args.a.table_stride + (at >> args.block_shift)] : 0;
        in_block = at & ((1 << args.block_shift) - 1);
      }
      in_block -= row + own;
      copy_rows<kBytes>(to, keys + (block * key.block + in_block * key.token) * kBytes, key.token * kBytes, row + own,
                        seen);
      copy_rows<kBytes>(to + Shape::template kTile<kBytes>,
                        values + (block * value.block + in_block * value.token) * kBytes, value.token * kBytes,
                        row + own, seen);
    }
  }

  // A tile of codes, keys and values, as elements of the queries' type.
  __device__ __forceinline__ void widen_tile(const unsigned char* codes, unsigned char* to) const {
    constexpr int kChunks = kDims / 16; // of 16 codes, of a row
#pragma unroll 2
    for (int i = static_cast<int>(threadIdx.x); i < 2 * kKeys * kChunks; i += kThreads) {
      const int row = i / kChunks, chunk = i % kChunks; // rows of keys, then of values
      const uint4 from = *reinterpret_cast<const uint4*>(codes + row * (kDims + 16) + chunk * 16);
      const uint32_t words[4] = {from.x, from.y, from.z, from.w};
      uint32_t wide_words[8];
#pragma unroll
      for (int w = 0; w < 8; ++w) {
        wide_words[w] = widen_fp8<C>(words[w / 2] >> (w % 2 * 16) & 0xffffu);
        if constexpr (T == SPF_BF16) {
          const float2 v = cuda::Scalar<SPF_F16>::widen2(wide_words[w]);
          wide_words[w] = cuda::Scalar<SPF_BF16>::narrow2(v.x, v.y);
        }
      }
      uint4* const at = reinterpret_cast<uint4*>(to + row * kPitch + chunk * 32);
      at[0] = make_uint4(wide_words[0], wide_words[1], wide_words[2], wide_words[3]);
      at[1] = make_uint4(wide_words[4], wide_words[5], wide_words[6], wide_words[7]);
    }
  }

  // --- one tile ----------------------------------------------------------------------------------------------------

  __device__ __forceinline__ void scores(uint32_t query, uint32_t keys, float (&s)[kRowTiles][kKeyTiles][4]) const {
#pragma unroll
    for (int m = 0; m < kRowTiles; ++m)
#pragma unroll
      for (int n = 0; n < kKeyTiles; ++n)
#pragma unroll
        for (int i = 0; i < 4; ++i) s[m][n][i] = 0;
    const uint32_t row = query + static_cast<uint32_t>((lane % 16) * kPitch + lane / 16 * 16);
    const uint32_t key = keys + static_cast<uint32_t>((lane / 16 * 8 + lane % 8) * kPitch + (lane & 8) * 2);
#pragma unroll
    for (int k = 0; k < kSteps; ++k) {
      uint32_t a[kRowTiles][4];
#pragma unroll
      for (int m = 0; m < kRowTiles; ++m) cuda::load_matrices(a[m], row + m * 16 * kPitch + k * 32);
#pragma unroll
      for (int n = 0; n < kKeyTiles; n += 2) {
        uint32_t b[4];
        cuda::load_matrices(b, key + n * 8 * kPitch + k * 32);
#pragma unroll
        for (int m = 0; m < kRowTiles; ++m) {
          cuda::mma_m16n8k16<T>(s[m][n], a[m][0], a[m][1], a[m][2], a[m][3], b[0], b[1]);
          cuda::mma_m16n8k16<T>(s[m][n + 1], a[m][0], a[m][1], a[m][2], a[m][3], b[2], b[3]);
        }
      }
    }
  }

  __device__ __forceinline__ int position_of(int m, int half) const { // of the query in row g + 8 half of row tile m
    return length - queries + first_row + warp * 16 * kRowTiles + m * 16 + g + half * 8;
  }

  // Soft cap and ALiBi, to base 2 with `scale` taken in.
  __device__ __forceinline__ void adjust(float (&s)[kRowTiles][kKeyTiles][4], int start) const {
#pragma unroll
    for (int m = 0; m < kRowTiles; ++m)
#pragma unroll
      for (int n = 0; n < kKeyTiles; ++n)
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          float x = s[m][n][i] * (1 / cuda::kLog2e);
          if (args.a.softcap > 0) x = args.a.softcap * tanhf(x / args.a.softcap);
          if (args.a.alibi_slopes != nullptr)
            x -= args.a.alibi_slopes[head] *
                 fabsf(static_cast<float>(position_of(m, i / 2) - (start + n * 8 + 2 * t + (i & 1))));
          s[m][n][i] = x * cuda::kLog2e;
        }
  }

  __device__ __forceinline__ void mask(float (&s)[kRowTiles][kKeyTiles][4], int start) const {
#pragma unroll
    for (int m = 0; m < kRowTiles; ++m)
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int position = position_of(m, half);
        const int first = static_cast<int>(args.a.first_seen(position));
        const int last = static_cast<int>(args.a.last_seen(position, length));
#pragma unroll
        for (int n = 0; n < kKeyTiles; ++n)
#pragma unroll
          for (int i = 0; i < 2; ++i) {
            const int key = start + n * 8 + 2 * t + i;
            if (key < first || key >= last) s[m][n][2 * half + i] = -INFINITY;
          }
      }
  }

  // Scores to weights; sums so far follow the new maximum.
  __device__ __forceinline__ void soft_max(float (&s)[kRowTiles][kKeyTiles][4]) {
#pragma unroll
    for (int m = 0; m < kRowTiles; ++m) {
      float now[2] = {most[m][0], most[m][1]};
#pragma unroll
      for (int n = 0; n < kKeyTiles; ++n)
#pragma unroll
        for (int i = 0; i < 4; ++i) now[i / 2] = fmaxf(now[i / 2], s[m][n][i]);
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        now[half] = fmaxf(now[half], __shfl_xor_sync(0xffffffffu, now[half], 1));
        now[half] = fmaxf(now[half], __shfl_xor_sync(0xffffffffu, now[half], 2));
      }
      if (__any_sync(0xffffffffu, now[0] > most[m][0] || now[1] > most[m][1])) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          const float factor = now[half] == -INFINITY ? 1.0f : cuda::fast_exp2(most[m][half] - now[half]);
          most[m][half] = now[half];
          weight[m][half] *= factor;
#pragma unroll
          for (int n = 0; n < kSteps * 2; ++n) {
            out[m][n][2 * half] *= factor;
            out[m][n][2 * half + 1] *= factor;
          }
        }
      }
      const float zero[2] = {most[m][0] == -INFINITY ? 0.0f : most[m][0], most[m][1] == -INFINITY ? 0.0f : most[m][1]};
#pragma unroll
      for (int n = 0; n < kKeyTiles; ++n)
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          s[m][n][i] = cuda::fast_exp2(s[m][n][i] - zero[i / 2]);
          weight[m][i / 2] += s[m][n][i];
        }
    }
  }

  __device__ __forceinline__ void add_values(uint32_t values, const float (&s)[kRowTiles][kKeyTiles][4]) {
    const uint32_t row = values + static_cast<uint32_t>((lane % 16) * kPitch + lane / 16 * 16);
#pragma unroll
    for (int k = 0; k < kKeyTiles / 2; ++k) {
      uint32_t p[kRowTiles][4];
#pragma unroll
      for (int m = 0; m < kRowTiles; ++m)
#pragma unroll
        for (int i = 0; i < 4; ++i)
          p[m][i] = cuda::Scalar<T>::narrow2(s[m][2 * k + i / 2][i % 2 * 2], s[m][2 * k + i / 2][i % 2 * 2 + 1]);
#pragma unroll
      for (int n = 0; n < kSteps; ++n) {
        uint32_t b[4];
        load_matrices_transposed(b, row + k * 16 * kPitch + n * 32);
#pragma unroll
        for (int m = 0; m < kRowTiles; ++m) {
          cuda::mma_m16n8k16<T>(out[m][2 * n], p[m][0], p[m][1], p[m][2], p[m][3], b[0], b[1]);
          cuda::mma_m16n8k16<T>(out[m][2 * n + 1], p[m][0], p[m][1], p[m][2], p[m][3], b[2], b[3]);
        }
      }
    }
  }

  // --- all tiles -----------------------------------------------------------------------------------------------------

  __device__ __forceinline__ void run(unsigned char* shared) {
    using namespace spf::cuda;
    constexpr bool kCodes = KvType<C>::kFp8;
    constexpr uint32_t kStage = 2 * Shape::template kTile<kBytes>, kRing = Shape::kRows * kPitch;
    constexpr uint32_t kWidened = kRing + 2 * kStage; // of codes: where they are widened to
    const uint32_t query = shared_address(shared), ring = query + kRing;
#pragma unroll
    for (int m = 0; m < kRowTiles; ++m)
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        most[m][half] = -INFINITY;
        weight[m][half] = 0;
      }
    const int rows = queries - first_row < Shape::kRows ? queries - first_row : Shape::kRows;
    const int low = length - queries + first_row, high = low + rows - 1; // positions
    const int begin = static_cast<int>(args.a.first_seen(low)) / kKeys * kKeys;
    const int end = static_cast<int>(args.a.last_seen(high, length));
    const float k_scale =
        args.a.k_scale != nullptr ? args.a.k_scale[head / args.a.group() * args.a.scale_stride] : 1.0f;
    const float scale = args.a.scale * k_scale * kLog2e;
    const bool special = args.a.softcap > 0 || args.a.alibi_slopes != nullptr;

    copy_queries(query);
    if (begin < end) copy_tile(ring, begin);
    commit_copies();
    uint32_t stage = 0;
    for (int start = begin; start < end; start += kKeys, stage ^= 1) {
      wait_for_copies<0>();
      __syncthreads();
      if (start + kKeys < end) copy_tile(ring + (stage ^ 1u) * kStage, start + kKeys);
      commit_copies();
      uint32_t keys = ring + stage * kStage;
      if constexpr (kCodes) {
        widen_tile(shared + kRing + stage * kStage, shared + kWidened);
        __syncthreads();
        keys = query + kWidened;
      }
      float s[kRowTiles][kKeyTiles][4];
      scores(query + static_cast<uint32_t>(warp * 16 * kRowTiles * kPitch), keys, s);
#pragma unroll
      for (int m = 0; m < kRowTiles; ++m)
#pragma unroll
        for (int n = 0; n < kKeyTiles; ++n)
#pragma unroll
          for (int i = 0; i < 4; ++i) s[m][n][i] *= scale;
      if (special) adjust(s, start);
      const bool all_seen = start + kKeys <= args.a.last_seen(low, length) && start >= args.a.first_seen(high);
      if (!all_seen) mask(s, start);
      soft_max(s);
      add_values(keys + Shape::template kTile<2>, s);
    }
    wait_for_copies<0>();
    finish(rows);
  }

  __device__ __forceinline__ void finish(int rows) {
    using Element = cuda::scalar_t<T>;
    const float v_scale =
        args.a.v_scale != nullptr ? args.a.v_scale[head / args.a.group() * args.a.scale_stride] : 1.0f;
#pragma unroll
    for (int m = 0; m < kRowTiles; ++m)
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        float sum = weight[m][half], top = most[m][half];
        sum += __shfl_xor_sync(0xffffffffu, sum, 1);
        sum += __shfl_xor_sync(0xffffffffu, sum, 2);
        const float factor = output_factor(args.a, head, v_scale, &top, &sum);
        const int in_block = warp * 16 * kRowTiles + m * 16 + g + half * 8;
        if (in_block >= rows) continue;
        const int64_t row = query_base + first_row + in_block;
        Element* const to =
            static_cast<Element*>(args.a.out) + row * args.a.out_stride[0] + head * args.a.out_stride[1];
#pragma unroll
        for (int n = 0; n < kSteps * 2; ++n) {
          const int d = n * 8 + 2 * t;
          if (d >= args.a.dims) continue;
          const float low = factor == 0 ? 0.0f : out[m][n][2 * half] * factor;
          const float high = factor == 0 ? 0.0f : out[m][n][2 * half + 1] * factor;
          *reinterpret_cast<uint32_t*>(to + d) = cuda::Scalar<T>::narrow2(low, high);
        }
        if (t == 0 && args.a.lse != nullptr) args.a.lse[head * args.a.rows + row] = output_lse(top, sum);
      }
  }
};

template <spf_scalar_type T, spf_scalar_type C, int kDims, int kTileKeys>
__global__ void __launch_bounds__(128, kDims > 128 ? 1 : 2) flash_prefill(const __grid_constant__ FlashArgs args) {
  using Shape = FlashShape<kDims, kTileKeys>;
  SPF_DYNAMIC_SHARED(unsigned char, shared, 16);
  __shared__ FlashBlock block;
  cuda::launch_dependents();
  cuda::wait_for_primary();
  // The blocks of a sequence's last queries walk the most keys, so they come first; heads of a KV head are neighbours.
  const AttentionArgs& a = args.a;
  const int64_t wanted = gridDim.x / a.heads - 1 - blockIdx.x / a.heads;
  if (threadIdx.x == 0) block.sequence = -1;
  int64_t before = 0, total;
  for (int64_t base = 0; base < a.sequences; base += blockDim.x) {
    const int64_t b = base + threadIdx.x;
    const int64_t mine = b < a.sequences ? (a.queries(b) + Shape::kRows - 1) / Shape::kRows : 0;
    const int64_t at = before + block_scan(mine, &total, block.sums);
    if (at <= wanted && wanted < at + mine) {
      block.sequence = static_cast<int32_t>(b);
      block.block = static_cast<int32_t>(wanted - at);
    }
    before += total;
    if (before > wanted) break;
  }
  __syncthreads();
  if (block.sequence < 0) return;
  FlashKernel<T, C, kDims, kTileKeys> kernel{args};
  kernel.sequence = block.sequence;
  kernel.head = static_cast<int32_t>(blockIdx.x % a.heads);
  kernel.queries = static_cast<int32_t>(a.queries(block.sequence));
  kernel.length = static_cast<int32_t>(a.keys(block.sequence));
  kernel.first_row = block.block * Shape::kRows;
  kernel.query_base = a.first_query(block.sequence);
  kernel.key_base = a.paged() ? 0 : a.cu_keys[block.sequence];
  kernel.run(shared);
}

template <spf_scalar_type T, spf_scalar_type C, int kDims, int kTileKeys>
spf_status launch_flash(const char* op, const AttentionArgs& a, const LaunchContext& ctx) {
  using Shape = FlashShape<kDims, kTileKeys>;
  FlashArgs args{a, 0};
  while ((int64_t{1} << args.block_shift) < a.block_size) ++args.block_shift;
  // Whatever the lengths are: full blocks, and one more for each sequence.
  const int64_t blocks = a.rows / Shape::kRows + (a.sequences < a.rows ? a.sequences : a.rows);
  return cuda::launch(op, ctx, flash_prefill<T, C, kDims, kTileKeys>, blocks * a.heads, 32 * Shape::kWarps,
                      Shape::shared_bytes(KvType<C>::kBytes), args);
}

template <spf_scalar_type T, spf_scalar_type C, int kDims, int kTileKeys>
spf_status flash(const Call& call, const LaunchContext& ctx) {
  return launch_flash<T, C, kDims, kTileKeys>(call.problem.op->name, attention_args(call), ctx);
}

} // namespace spf::attention
