// Rope: a token's heads are rotated in place by the cosines and sines of its position.
//
//   An item is two 16-byte chunks of a head that rotate together, and the cosines and sines of their pairs:
//     NeoX    chunks p and p + R/2:    x0 x1 .. x7 | ... | y0 y1 .. y7     pairs (xi, yi)
//     GPT-J   chunks 2p and 2p + 1:    x0 y0 .. x3 y3 | x4 y4 .. x7 y7
//   rotary_embedding: a block takes the heads of one token; a thread takes the same item of kHeads of them, so it reads
//   its cosines once. Loads of all heads leave before the position is known.
//   fused_qk_norm_rope: an item a lane, a head in a group of 4 to 32 lanes, one sum by shuffles.
//
// Heads that do not start on 16 bytes, or do not hold whole items, have kernels with element accesses. A rotation is
// the same two fused multiply-adds everywhere and a sum has one order for each (D, R, T), so bits depend on the head
// only.
#pragma once

#include "kernels/common/cuda/launch.cuh"
#include "kernels/common/cuda/memory.cuh"
#include "kernels/common/cuda/rows.cuh"
#include "kernels/rope/args.h"

namespace spf::rope {

enum class RopeOp : uint8_t { rotary_embedding, fused_qk_norm_rope };
using enum RopeOp;

// x cos - y sin, y cos + x sin.
__device__ __forceinline__ void rotate(float& x, float& y, float cosine, float sine) {
  const float first = __fmaf_rn(x, cosine, -__fmul_rn(y, sine));
  y = __fmaf_rn(y, cosine, __fmul_rn(x, sine));
  x = first;
}

__device__ __forceinline__ int64_t position_at(const RopeArgs& args, int64_t at) {
  return args.position_type == SPF_I32 ? static_cast<const int32_t*>(args.positions)[at]
                                       : static_cast<const int64_t*>(args.positions)[at];
}

__device__ __forceinline__ bool in_table(const RopeArgs& args, int64_t position) {
  return static_cast<uint64_t>(position) < static_cast<uint64_t>(args.table_rows);
}

// Entry i of a table of f32 or T.
template <spf_scalar_type T>
__device__ __forceinline__ float table_entry(const RopeArgs& args, int64_t i) {
  if (args.table_type == SPF_F32) return static_cast<const float*>(args.cos_sin)[i];
  return cuda::Scalar<T>::widen(static_cast<const cuda::scalar_t<T>*>(args.cos_sin)[i]);
}

// A chunk's worth of entries from i on; i is a multiple of the chunk's elements and the table starts on 16 bytes.
template <spf_scalar_type T>
__device__ __forceinline__ void table_entries(const RopeArgs& args, int64_t i,
                                              float (&values)[cuda::kChunkElements<T>]) {
  constexpr int kElements = cuda::kChunkElements<T>;
  if (args.table_type == SPF_F32) {
#pragma unroll
    for (int part = 0; part < kElements / 4; ++part) {
      const uint4 four = cuda::load16(static_cast<const float*>(args.cos_sin) + i + 4 * part);
      values[4 * part] = __uint_as_float(four.x);
      values[4 * part + 1] = __uint_as_float(four.y);
      values[4 * part + 2] = __uint_as_float(four.z);
      values[4 * part + 3] = __uint_as_float(four.w);
    }
    return;
  }
  cuda::unpack<T>(cuda::load16(static_cast<const cuda::scalar_t<T>*>(args.cos_sin) + i), values);
}

// The values of an item: chunks a and b.
template <spf_scalar_type T, bool kInterleaved>
__device__ __forceinline__ void rotate_item(float (&a)[cuda::kChunkElements<T>], float (&b)[cuda::kChunkElements<T>],
                                            const float (&cosine)[cuda::kChunkElements<T>],
                                            const float (&sine)[cuda::kChunkElements<T>]) {
  constexpr int kElements = cuda::kChunkElements<T>;
#pragma unroll
  for (int i = 0; i < kElements; ++i) {
    if constexpr (!kInterleaved)
      rotate(a[i], b[i], cosine[i], sine[i]);
    else if (i < kElements / 2)
      rotate(a[2 * i], a[2 * i + 1], cosine[i], sine[i]);
    else
      rotate(b[2 * i - kElements], b[2 * i + 1 - kElements], cosine[i], sine[i]);
  }
}

// --- rotary_embedding: heads of whole items on 16 bytes ------------------------------------------------------------

struct RotateArgs {
  RopeArgs rope;
  cuda::DeviceRows<3> rows;
  uint32_t items;  // of a head
  uint32_t slots;  // heads that a block takes at once
  uint32_t groups; // blocks of a token
};

inline constexpr int kMostThreads = 512;

template <spf_scalar_type T, bool kInterleaved, int kHeads>
__global__ void __launch_bounds__(kMostThreads) rotate_heads(const __grid_constant__ RotateArgs args) {
  using namespace spf::cuda;
  using Element = scalar_t<T>;
  constexpr int kElements = kChunkElements<T>;
  const RopeArgs& rope = args.rope;

  const uint32_t token = args.groups == 1 ? blockIdx.x : blockIdx.x / args.groups;
  const uint32_t group = blockIdx.x - token * args.groups;
  const uint32_t slot = threadIdx.x / args.items, item = threadIdx.x - slot * args.items;
  const int64_t partner = kInterleaved ? kElements : rope.rotary / 2;
  const int64_t first = static_cast<int64_t>(item) * (kInterleaved ? 2 * kElements : kElements);
  Element* x[kHeads];
  bool exists[kHeads];
  uint4 a[kHeads], b[kHeads];
#pragma unroll
  for (int k = 0; k < kHeads; ++k) {
    uint32_t head = (group * kHeads + k) * args.slots + slot;
    exists[k] = slot < args.slots && head < static_cast<uint32_t>(rope.heads[0].count + rope.heads[1].count);
    const int run = head >= static_cast<uint32_t>(rope.heads[0].count) ? 1 : 0;
    if (run == 1) head -= rope.heads[0].count;
    x[k] = static_cast<Element*>(run == 1 ? rope.heads[1].data : rope.heads[0].data) + first +
           (run == 1 ? args.rows.offset(2, token) : args.rows.offset(1, token)) +
           head * (run == 1 ? rope.heads[1].stride : rope.heads[0].stride);
  }
  wait_for_primary();
#pragma unroll
  for (int k = 0; k < kHeads; ++k) {
    if (!exists[k]) continue;
    a[k] = load16(x[k]);
    b[k] = load16(x[k] + partner);
  }
  const int64_t position = position_at(rope, args.rows.offset(0, token));
  launch_dependents();
  if (!in_table(rope, position)) return;
  float cosine[kElements], sine[kElements];
  const int64_t row = position * rope.rotary + item * kElements;
  table_entries<T>(rope, row, cosine);
  table_entries<T>(rope, row + rope.rotary / 2, sine);
#pragma unroll
  for (int k = 0; k < kHeads; ++k) {
    if (!exists[k]) continue;
    float left[kElements], right[kElements];
    unpack<T>(a[k], left);
    unpack<T>(b[k], right);
    rotate_item<T, kInterleaved>(left, right, cosine, sine);
    store16(x[k], pack<T>(left));
    store16(x[k] + partner, pack<T>(right));
  }
}

// --- rotary_embedding: any heads, a pair a thread --------------------------------------------------------------------

inline constexpr int kBlock = 128;

template <spf_scalar_type T>
__global__ void __launch_bounds__(kBlock) rotate_any_heads(const __grid_constant__ RopeArgs args) {
  using namespace spf::cuda;
  using Element = scalar_t<T>;
  launch_dependents();
  wait_for_primary();
  const int64_t half = args.rotary / 2, index = static_cast<int64_t>(blockIdx.x) * kBlock + threadIdx.x;
  const int64_t number = index / half, pair = index - number * half; // number: of a head among all
  const int64_t token = number / args.all_heads();
  if (token >= args.space.rows) return;
  int64_t head = number - token * args.all_heads(), at[3];
  args.space.offsets(token, at);
  const int64_t position = position_at(args, at[0]);
  if (!in_table(args, position)) return;
  const int run = head >= args.heads[0].count ? 1 : 0;
  if (run == 1) head -= args.heads[0].count;
  Element* const x = static_cast<Element*>(args.heads[run].data) + args.head_offset(run, head, at);
  Element* const first = x + (args.interleaved ? 2 * pair : pair);
  Element* const second = args.interleaved ? first + 1 : first + half;
  float a = Scalar<T>::widen(*first), b = Scalar<T>::widen(*second);
  rotate(a, b, table_entry<T>(args, position * args.rotary + pair),
         table_entry<T>(args, position * args.rotary + half + pair));
  *first = Scalar<T>::narrow(a);
  *second = Scalar<T>::narrow(b);
}

// --- fused_qk_norm_rope: an item a lane ----------------------------------------------------------------------------

// kVector: heads, weights and the table start on 16 bytes.
template <spf_scalar_type T, bool kInterleaved, int kLanes, bool kVector>
__global__ void __launch_bounds__(kBlock) norm_heads(const __grid_constant__ RopeArgs args) {
  using namespace spf::cuda;
  using Element = scalar_t<T>;
  constexpr int kElements = kChunkElements<T>;

  const int64_t number = (static_cast<int64_t>(blockIdx.x) * kBlock + threadIdx.x) / kLanes;
  const int64_t item = threadIdx.x % kLanes;
  const int64_t token = number / args.all_heads();
  int64_t head = number - token * args.all_heads();
  const int run = head >= args.heads[0].count ? 1 : 0;
  if (run == 1) head -= args.heads[0].count;
  const bool exists = token < args.space.rows && item < args.size / (2 * kElements);
  int64_t at[3] = {};
  if (exists) args.space.offsets(token, at);

  const int64_t turning = args.rotary / (2 * kElements); // items that rotate; the others are two chunks of the rest
  const bool turns = item < turning;
  const int64_t first = turns && !kInterleaved ? item * kElements : item * 2 * kElements;
  const int64_t second = turns && !kInterleaved ? first + args.rotary / 2 : first + kElements;
  Element* const x = static_cast<Element*>(run == 1 ? args.heads[1].data : args.heads[0].data) +
                     (run == 1 ? args.head_offset(1, head, at) : args.head_offset(0, head, at));
  const Element* const weight = static_cast<const Element*>(run == 1 ? args.heads[1].weight : args.heads[0].weight);
  uint4 a = {}, b = {}, weight_a = {}, weight_b = {};
  if (exists) {
    weight_a = load_chunk<T>(weight + first, kElements, kVector);
    weight_b = load_chunk<T>(weight + second, kElements, kVector);
  }
  wait_for_primary();
  int64_t position = -1;
  if (exists) {
    a = load_chunk<T>(x + first, kElements, kVector);
    b = load_chunk<T>(x + second, kElements, kVector);
    position = position_at(args, at[0]);
  }
  launch_dependents();
  float left[kElements], right[kElements], sum = 0;
  unpack<T>(a, left);
  unpack<T>(b, right);
#pragma unroll
  for (int i = 0; i < kElements; ++i) sum = __fmaf_rn(left[i], left[i], __fmaf_rn(right[i], right[i], sum));
#pragma unroll
  for (int width = kLanes / 2; width > 0; width /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, width);
  if (!exists || !in_table(args, position)) return;

  const float scale = rsqrtf(sum / static_cast<float>(args.size) + args.epsilon);
  const float plus = args.weight_plus_one ? 1.0f : 0.0f;
  float wa[kElements], wb[kElements];
  unpack<T>(weight_a, wa);
  unpack<T>(weight_b, wb);
#pragma unroll
  for (int i = 0; i < kElements; ++i) {
    left[i] = __fmul_rn(__fmul_rn(left[i], scale), __fadd_rn(plus, wa[i]));
    right[i] = __fmul_rn(__fmul_rn(right[i], scale), __fadd_rn(plus, wb[i]));
  }
  if (turns) {
    float cosine[kElements], sine[kElements];
    const int64_t row = position * args.rotary + item * kElements;
    if constexpr (kVector) {
      table_entries<T>(args, row, cosine);
      table_entries<T>(args, row + args.rotary / 2, sine);
    } else {
#pragma unroll
      for (int i = 0; i < kElements; ++i) {
        cosine[i] = table_entry<T>(args, row + i);
        sine[i] = table_entry<T>(args, row + args.rotary / 2 + i);
      }
    }
    rotate_item<T, kInterleaved>(left, right, cosine, sine);
  }
  store_chunk<T>(x + first, pack<T>(left), kElements, kVector);
  store_chunk<T>(x + second, pack<T>(right), kElements, kVector);
}

// --- fused_qk_norm_rope: heads of any size, a warp each
// -----------------------------------------------------------------

template <spf_scalar_type T>
__global__ void __launch_bounds__(kBlock) norm_any_heads(const __grid_constant__ RopeArgs args) {
  using namespace spf::cuda;
  using Element = scalar_t<T>;
  launch_dependents();
  wait_for_primary();
  const int64_t number = static_cast<int64_t>(blockIdx.x) * (kBlock / 32) + threadIdx.x / 32;
  const int64_t token = number / args.all_heads();
  if (token >= args.space.rows) return; // all lanes of the warp
  int64_t head = number - token * args.all_heads(), at[3];
  args.space.offsets(token, at);
  const int64_t position = position_at(args, at[0]);
  if (!in_table(args, position)) return;
  const int run = head >= args.heads[0].count ? 1 : 0;
  if (run == 1) head -= args.heads[0].count;
  Element* const x = static_cast<Element*>(args.heads[run].data) + args.head_offset(run, head, at);
  const Element* const weight = static_cast<const Element*>(args.heads[run].weight);
  const int lane = threadIdx.x % 32;
  float sum = 0;
  for (int64_t e = lane; e < args.size; e += 32) {
    const float value = Scalar<T>::widen(x[e]);
    sum = __fmaf_rn(value, value, sum);
  }
#pragma unroll
  for (int width = 16; width > 0; width /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, width);
  const float scale = rsqrtf(sum / static_cast<float>(args.size) + args.epsilon);
  const float plus = args.weight_plus_one ? 1.0f : 0.0f;
  const auto normed = [&](int64_t e) {
    return __fmul_rn(__fmul_rn(Scalar<T>::widen(x[e]), scale), __fadd_rn(plus, Scalar<T>::widen(weight[e])));
  };
  const int64_t half = args.rotary / 2;
  for (int64_t pair = lane; pair < half; pair += 32) {
    const int64_t i = args.interleaved ? 2 * pair : pair, j = args.interleaved ? i + 1 : i + half;
    float a = normed(i), b = normed(j);
    rotate(a, b, table_entry<T>(args, position * args.rotary + pair),
           table_entry<T>(args, position * args.rotary + half + pair));
    x[i] = Scalar<T>::narrow(a);
    x[j] = Scalar<T>::narrow(b);
  }
  for (int64_t e = args.rotary + lane; e < args.size; e += 32) x[e] = Scalar<T>::narrow(normed(e));
}

// --- launch ------------------------------------------------------------------------------------------------------

// Every head, weight and table row starts on 16 bytes.
inline bool on_chunks(const RopeArgs& args, int64_t element_bytes) {
  uintptr_t bits = reinterpret_cast<uintptr_t>(args.cos_sin);
  for (int run = 0; run < 2; ++run) {
    if (args.heads[run].count == 0) continue;
    bits |= reinterpret_cast<uintptr_t>(args.heads[run].data) | reinterpret_cast<uintptr_t>(args.heads[run].weight);
    if (args.heads[run].count > 1) bits |= static_cast<uintptr_t>(args.heads[run].stride * element_bytes);
    for (int d = 0; d < args.space.dims; ++d)
      bits |= static_cast<uintptr_t>(args.space.stride[1 + run][d] * element_bytes);
  }
  return bits % 16 == 0;
}

template <spf_scalar_type T, bool kInterleaved>
spf_status launch_rotate(const char* op, const RopeArgs& rope, const LaunchContext& ctx) {
  const int64_t items = rope.rotary / (2 * cuda::kChunkElements<T>), heads = rope.all_heads();
  RotateArgs args{rope, cuda::DeviceRows<3>(rope.space), static_cast<uint32_t>(items), 0, 1};
  // Two heads a thread have enough bytes in flight and read the table half as often; a few tokens want more threads.
  const bool many = rope.space.rows * heads * items > int64_t{ctx.facts->sm_count} * 1024;
  const int64_t at_once = kMostThreads / items, per_thread = many ? 2 : 1;
  const int64_t slots = std::min((heads + per_thread - 1) / per_thread, at_once);
  args.slots = static_cast<uint32_t>(slots);
  args.groups = static_cast<uint32_t>((heads + slots * per_thread - 1) / (slots * per_thread));
  const int threads = static_cast<int>((slots * items + 31) / 32 * 32);
  const int64_t grid = rope.space.rows * args.groups;
  if (many) return cuda::launch(op, ctx, rotate_heads<T, kInterleaved, 2>, grid, threads, 0, args);
  return cuda::launch(op, ctx, rotate_heads<T, kInterleaved, 1>, grid, threads, 0, args);
}

template <spf_scalar_type T, bool kInterleaved, int kLanes>
spf_status launch_norm(const char* op, const RopeArgs& args, const LaunchContext& ctx, bool vector) {
  const int64_t grid = (args.space.rows * args.all_heads() * kLanes + kBlock - 1) / kBlock;
  if (vector) return cuda::launch(op, ctx, norm_heads<T, kInterleaved, kLanes, true>, grid, kBlock, 0, args);
  return cuda::launch(op, ctx, norm_heads<T, kInterleaved, kLanes, false>, grid, kBlock, 0, args);
}

template <spf_scalar_type T, bool kInterleaved>
spf_status launch_norm(const char* op, const RopeArgs& args, const LaunchContext& ctx, bool vector) {
  const int64_t items = args.size / (2 * cuda::kChunkElements<T>);
  if (items <= 4) return launch_norm<T, kInterleaved, 4>(op, args, ctx, vector);
  if (items <= 8) return launch_norm<T, kInterleaved, 8>(op, args, ctx, vector);
  if (items <= 16) return launch_norm<T, kInterleaved, 16>(op, args, ctx, vector);
  return launch_norm<T, kInterleaved, 32>(op, args, ctx, vector);
}

template <RopeOp kOp, spf_scalar_type T>
spf_status launch_heads(const Call& call, const LaunchContext& ctx) {
  constexpr int64_t kItem = 2 * cuda::kChunkElements<T>;
  const char* const op = call.problem.op->name;
  const RopeArgs args = rope_args(call);
  if (args.empty()) return SPF_OK;
  const bool vector = on_chunks(args, sizeof(cuda::scalar_t<T>));
  if constexpr (kOp == fused_qk_norm_rope) {
    if (args.size % kItem == 0 && args.rotary % kItem == 0 && args.size <= 32 * kItem)
      return args.interleaved ? launch_norm<T, true>(op, args, ctx, vector)
                              : launch_norm<T, false>(op, args, ctx, vector);
    const int64_t heads = args.space.rows * args.all_heads();
    return cuda::launch(op, ctx, norm_any_heads<T>, (heads + kBlock / 32 - 1) / (kBlock / 32), kBlock, 0, args);
  } else {
    if (args.rotary == 0) return SPF_OK;
    if (vector && args.rotary % kItem == 0 && args.rotary <= kMostThreads * kItem && args.all_heads() < (1 << 24) &&
        cuda::DeviceRows<3>::fits(args.space))
      return args.interleaved ? launch_rotate<T, true>(op, args, ctx) : launch_rotate<T, false>(op, args, ctx);
    const int64_t pairs = args.space.rows * args.all_heads() * (args.rotary / 2);
    return cuda::launch(op, ctx, rotate_any_heads<T>, (pairs + kBlock - 1) / kBlock, kBlock, 0, args);
  }
}

} // namespace spf::rope
