// Rope with the writing of keys and values: every head of a token is read once. Query heads turn in place; key heads
// turn in place and go into the token's slot; value heads go into the slot. A slot holds the heads' type or 8-bit
// codes.
//
//   A thread takes an item of a head: two chunks that turn together (NeoX p and p + R/2, GPT-J 2p and 2p + 1), or two
//   neighbouring ones of what does not turn. Items are numbered head by head and token by token.
//
// Heads that do not start on 16 bytes or do not hold whole items run with chunks of one element. Every number takes the
// steps of rotary_embedding and of reshape_and_cache_flash, so the bits are theirs.
#pragma once

#include "kernels/common/cuda/fp8.cuh"
#include "kernels/rope/cache.h"
#include "kernels/rope/sm75_heads.cuh"

namespace spf::rope {

// kWidth elements that lie together: a chunk, or one element.
template <spf_scalar_type T, int kWidth>
struct Piece {
  using Element = cuda::scalar_t<T>;

  static __device__ __forceinline__ void load(const Element* from, float (&v)[kWidth]) {
    if constexpr (kWidth == 1)
      v[0] = cuda::Scalar<T>::widen(*from);
    else
      cuda::unpack<T>(cuda::load16(from), v);
  }

  // Rounds v to T on the way.
  static __device__ __forceinline__ void store(Element* to, float (&v)[kWidth]) {
    if constexpr (kWidth == 1) {
      const Element rounded = cuda::Scalar<T>::narrow(v[0]);
      *to = rounded;
      v[0] = cuda::Scalar<T>::widen(rounded);
    } else {
      const uint4 chunk = cuda::pack<T>(v);
      cuda::store16(to, chunk);
      cuda::unpack<T>(chunk, v);
    }
  }

  // Into a cache of type C; v is rounded to T.
  template <spf_scalar_type C>
  static __device__ __forceinline__ void cache(void* data, int64_t at, float (&v)[kWidth], float scale) {
    if constexpr (C == T) {
      store(static_cast<Element*>(data) + at, v);
    } else {
      uint8_t* const to = static_cast<uint8_t*>(data) + at;
      if constexpr (kWidth == 1) {
        *to = static_cast<uint8_t>(cuda::narrow_fp8x2<C>(__fdiv_rn(v[0], scale), 0.0f));
      } else {
        uint32_t words[kWidth / 4] = {};
#pragma unroll
        for (int i = 0; i < kWidth; i += 2)
          words[i / 4] |= cuda::narrow_fp8x2<C>(__fdiv_rn(v[i], scale), __fdiv_rn(v[i + 1], scale)) << (8 * (i % 4));
        if constexpr (kWidth == 8)
          *reinterpret_cast<uint2*>(to) = make_uint2(words[0], words[1]);
        else
          *reinterpret_cast<uint32_t*>(to) = words[0];
      }
    }
  }
};

struct CacheItems {
  CacheArgs args;
  int64_t items; // of a head
  bool few;      // in all: less than 2^31
};

// C: what the cache holds. kWidth: elements of a chunk, or 1.
template <spf_scalar_type T, spf_scalar_type C, bool kInterleaved, int kWidth>
__global__ void __launch_bounds__(kBlock) cache_heads(const __grid_constant__ CacheItems call) {
  using namespace spf::cuda;
  using P = Piece<T, kWidth>;
  using Element = scalar_t<T>;
  const CacheArgs& args = call.args;
  const RopeArgs& rope = args.rope;

  const int64_t index = static_cast<int64_t>(blockIdx.x) * kBlock + threadIdx.x;
  int64_t number, token; // number: of a head among all
  if (call.few) {        // 32 bits divide in a third of the time
    const auto of_32 = static_cast<uint32_t>(index) / static_cast<uint32_t>(call.items);
    number = of_32;
    token = of_32 / static_cast<uint32_t>(args.all_heads());
  } else {
    number = index / call.items;
    token = number / args.all_heads();
  }
  const int64_t item = index - number * call.items;
  if (token >= rope.space.rows) return;
  int64_t head = number - token * args.all_heads(), at[3];
  rope.space.offsets(token, at);
  int run = 0; // query, key, value
  while (run < 2 && head >= rope.heads[run].count) head -= rope.heads[run++].count;

  const int64_t turning = run == 2 ? 0 : rope.rotary / (2 * kWidth);
  if (run == 0 && item >= turning) return;
  const bool side_by_side = kInterleaved || item >= turning;
  const int64_t first = item * (side_by_side ? 2 * kWidth : kWidth);
  const int64_t second = first + (side_by_side ? kWidth : rope.rotary / 2);
  const bool both = second < rope.size; // a head of odd length ends in one element
  Element* const x = run == 2 ? const_cast<Element*>(static_cast<const Element*>(args.value)) +
                                    token * args.value_token + head * args.value_head
                              : static_cast<Element*>(run == 1 ? rope.heads[1].data : rope.heads[0].data) +
                                    (run == 1 ? rope.head_offset(1, head, at) : rope.head_offset(0, head, at));
  wait_for_primary();
  float left[kWidth] = {}, right[kWidth] = {};
  P::load(x + first, left);
  if (both) P::load(x + second, right);
  const int64_t position = position_at(rope, at[0]);
  const int64_t slot = run == 0 ? -1 : args.slot_of(token);
  launch_dependents();

  if (item < turning && in_table(rope, position)) {
    const int64_t row = position * rope.rotary + item * kWidth;
    if constexpr (kWidth == 1) {
      rotate(left[0], right[0], table_entry<T>(rope, row), table_entry<T>(rope, row + rope.rotary / 2));
    } else {
      float cosine[kWidth], sine[kWidth];
      table_entries<T>(rope, row, cosine);
      table_entries<T>(rope, row + rope.rotary / 2, sine);
      rotate_item<T, kInterleaved>(left, right, cosine, sine);
    }
    P::store(x + first, left);
    P::store(x + second, right);
  }
  if (slot < 0) return;
  const int s = run - 1;
  const int64_t place = args.place(s, slot, head);
  const float scale = args.scale_of(s, head);
  P::template cache<C>(args.side[s].data, place + first, left, scale);
  if (both) P::template cache<C>(args.side[s].data, place + second, right, scale);
}

// --- launch ------------------------------------------------------------------------------------------------------

// Every head of values and of the cache starts on a chunk, as on_chunks() says it of query and key.
template <spf_scalar_type T>
bool cache_on_chunks(const CacheArgs& args) {
  constexpr int64_t kElements = cuda::kChunkElements<T>, kBytes = 16 / kElements;
  if (args.cached_heads() == 0) return true;
  const int64_t code = args.type == SPF_E4M3 || args.type == SPF_E5M2 ? 1 : kBytes;
  uintptr_t from = reinterpret_cast<uintptr_t>(args.value) | static_cast<uintptr_t>(args.value_token * kBytes) |
                   static_cast<uintptr_t>(args.value_head * kBytes);
  uintptr_t to = 0;
  for (const CacheSide& side : args.side)
    to |= reinterpret_cast<uintptr_t>(side.data) | static_cast<uintptr_t>((side.block | side.slot | side.head) * code);
  return from % 16 == 0 && to % (kElements * code) == 0;
}

template <spf_scalar_type T, spf_scalar_type C>
spf_status launch_cache_of(const char* op, const CacheArgs& args, const LaunchContext& ctx) {
  constexpr int kElements = cuda::kChunkElements<T>;
  const RopeArgs& rope = args.rope;
  const bool vector = on_chunks(rope, 16 / kElements) && cache_on_chunks<T>(args) && rope.size % (2 * kElements) == 0 &&
                      rope.rotary % (2 * kElements) == 0;
  const int64_t items = vector ? rope.size / (2 * kElements) : (rope.size + 1) / 2;
  const int64_t total = rope.space.rows * args.all_heads() * items;
  const CacheItems call{args, items, total < (int64_t{1} << 31) - kBlock};
  const int64_t grid = (total + kBlock - 1) / kBlock;
  const auto with = [&](auto kernel) { return cuda::launch(op, ctx, kernel, grid, kBlock, 0, call); };
  if (rope.interleaved) return vector ? with(cache_heads<T, C, true, kElements>) : with(cache_heads<T, C, true, 1>);
  return vector ? with(cache_heads<T, C, false, kElements>) : with(cache_heads<T, C, false, 1>);
}

template <spf_scalar_type T>
spf_status launch_cache(const Call& call, const LaunchContext& ctx) {
  const char* const op = call.problem.op->name;
  const CacheArgs args = cache_args(call);
  if (args.rope.space.rows == 0 || args.rope.size == 0 || args.all_heads() == 0) return SPF_OK;
  if (args.type == SPF_E4M3) return launch_cache_of<T, SPF_E4M3>(op, args, ctx);
  if (args.type == SPF_E5M2) return launch_cache_of<T, SPF_E5M2>(op, args, ctx);
  return launch_cache_of<T, T>(op, args, ctx);
}

} // namespace spf::rope
