// Moves of rows: writing tokens into slots, copying blocks, gathering sequences, converting codes.
//
//   an item (token, pair of blocks, row) as chunks of 16 bytes on the wider side, numbered item by item:
//     item 0: head 0 c0 c1 .. | head 1 c0 c1 .. | item 1: ...
//   consecutive threads take consecutive chunks of keys and of values. A thread that writes tokens has those of two
//   tokens under way before it knows a slot; one that has to look up where to read takes four chunks of an item.
//
// Rows that are not whole chunks on both sides, and layouts that scatter a row, take an element a thread. What happens
// to a number is the same function in both, so bits do not depend on how it got there.
#pragma once

#include <type_traits>

#include "kernels/common/cuda/fp8.cuh"
#include "kernels/common/cuda/launch.cuh"
#include "kernels/common/cuda/memory.cuh"
#include "kernels/common/cuda/quantize.cuh"
#include "kernels/common/cuda/rows.cuh"
#include "kernels/common/quantize.hpp"
#include "kernels/kv_cache/args.h"

namespace spf::kv_cache {

inline constexpr int kBlock = 256;

// --- one chunk -----------------------------------------------------------------------------------------------------

// kFrom, kTo: equal (SPF_U8) for copies of bytes; else one is f32, f16 or bf16 and the other a code.
template <spf_scalar_type kFrom, spf_scalar_type kTo>
struct ChunkOf {
  static constexpr bool kCopies = kFrom == kTo;
  static constexpr bool kQuantizes = !kCopies && (kTo == SPF_E4M3 || kTo == SPF_E5M2);
  static constexpr spf_scalar_type kNumbers = kQuantizes ? kFrom : kTo, kCode = kQuantizes ? kTo : kFrom;
  static constexpr int kElements = kCopies ? 16 : kNumbers == SPF_F32 ? 4 : 8; // bytes, where they are copied
  static constexpr int kFromBytes = kCopies || kQuantizes ? 16 : kElements;
  static constexpr int kToBytes = kCopies || !kQuantizes ? 16 : kElements;

  static __device__ __forceinline__ uint4 load(const char* address) {
    if constexpr (kFromBytes == 16) return cuda::load16(address);
    if constexpr (kFromBytes == 8) {
      const uint2 v = *reinterpret_cast<const uint2*>(address);
      return make_uint4(v.x, v.y, 0, 0);
    }
    return make_uint4(*reinterpret_cast<const uint32_t*>(address), 0, 0, 0);
  }

  static __device__ __forceinline__ void store(char* address, const uint4& v) {
    if constexpr (kToBytes == 16)
      cuda::store16(address, v);
    else if constexpr (kToBytes == 8)
      *reinterpret_cast<uint2*>(address) = make_uint2(v.x, v.y);
    else
      *reinterpret_cast<uint32_t*>(address) = v.x;
  }

  static __device__ __forceinline__ uint4 change(const uint4& chunk, float scale) {
    if constexpr (kCopies) {
      return chunk;
    } else if constexpr (kQuantizes) {
      float x[kElements];
      cuda::unpack<kNumbers>(chunk, x);
      uint32_t words[2] = {};
      const auto codes = [&](const auto& over) {
#pragma unroll
        for (int i = 0; i < kElements; i += 2)
          words[i / 4] |= cuda::narrow_fp8x2<kCode>(over(x[i]), over(x[i + 1])) << (8 * (i % 4));
      };
      if (quantize::Quotient::covers(scale)) // else its quotients need not be those of a division
        codes(cuda::quotient_of<kNumbers>(scale));
      else
        codes([&](float v) { return __fdiv_rn(v, scale); });
      return make_uint4(words[0], words[1], 0, 0);
    } else {
      float x[kElements];
      const uint32_t words[2] = {chunk.x, chunk.y};
#pragma unroll
      for (int i = 0; i < kElements; i += 2) {
        const float2 pair = cuda::widen_fp8x2<kCode>(words[i / 4] >> (8 * (i % 4)) & 0xffffu);
        x[i] = __fmul_rn(pair.x, scale);
        x[i + 1] = __fmul_rn(pair.y, scale);
      }
      return cuda::pack<kNumbers>(x);
    }
  }
};

// --- tokens into slots, as whole chunks ------------------------------------------------------------------------------

// Moves of kind kWrite as the kernel wants it: in bytes, so that an address takes few instructions. A launch is over in
// 10 us, a quarter of which a thread can spend on finding its place.
struct TokenArgs {
  struct Side {
    const char* from;
    char* to;
    const float* scale;
    int64_t from_item, from_head, to_block, to_slot, to_head; // bytes
  };
  TokenArgs(const Moves& m, int64_t chunks_of_head, int64_t from_bytes, int64_t to_bytes, int64_t items_of_thread)
      : ids(m.ids),
        id_stride(m.id_stride),
        block_size(m.block_size),
        slots(m.to_blocks * m.block_size),
        scale_step(m.scale_step),
        block_shift(m.block_shift),
        items(static_cast<uint32_t>(m.items)),
        total(static_cast<uint32_t>((m.items + items_of_thread - 1) / items_of_thread * m.heads * chunks_of_head)),
        chunks_of_item(m.heads * chunks_of_head),
        chunks_of_head(chunks_of_head),
        wide_ids(m.wide_ids) {
    for (int s = 0; s < 2; ++s) {
      const kv_cache::Side& in = m.side[s];
      side[s] = {static_cast<const char*>(in.from),
                 static_cast<char*>(in.to),
                 in.scale,
                 in.from_item * from_bytes,
                 in.from_head * from_bytes,
                 in.to_item * to_bytes,
                 in.to_slot * to_bytes,
                 in.to_head * to_bytes};
    }
  }

  Side side[2];
  const void* ids;
  int64_t id_stride, block_size, slots, scale_step;
  int32_t block_shift;
  uint32_t items, total; // total: threads
  cuda::Divisor chunks_of_item, chunks_of_head;
  bool wide_ids;

  // Slots have 31 bits and blocks a power of two of them.
  bool small() const { return block_shift >= 0 && slots < cuda::DeviceRows<1>::kEndless; }
};

// Tokens of a thread: where they are copied, two are in flight at once; codes take more registers than two leave.
template <class Chunk>
inline constexpr int kTokens = Chunk::kCopies ? 2 : 1;
inline constexpr int kTokenBlock = 128;

// kSmall: TokenArgs::small().
template <spf_scalar_type kFrom, spf_scalar_type kTo, bool kSmall>
__global__ void __launch_bounds__(kTokenBlock) write_tokens(const __grid_constant__ TokenArgs args) {
  using namespace spf::cuda;
  using Chunk = ChunkOf<kFrom, kTo>;
  using Slot = std::conditional_t<kSmall, uint32_t, int64_t>;
  constexpr int kSides = 2, kOwn = kTokens<Chunk>;
  const uint32_t index = blockIdx.x * kTokenBlock + threadIdx.x;
  if (index >= args.total) return;
  const uint32_t run = args.chunks_of_item.quotient(index), inside = index - run * args.chunks_of_item.divisor;
  const uint32_t head = args.chunks_of_head.quotient(inside), first = run * kOwn;
  const uint32_t chunk = inside - head * args.chunks_of_head.divisor;
  const bool exists[2] = {true, first + 1 < args.items};

  // Tokens are read whether or not they have a slot: the loads need not wait for it.
  uint4 data[kOwn][kSides];
  wait_for_primary();
#pragma unroll
  for (int s = 0; s < kSides; ++s) {
    const TokenArgs::Side& side = args.side[s];
    const char* const from = side.from + (first * side.from_item + head * side.from_head) + chunk * Chunk::kFromBytes;
#pragma unroll
    for (int i = 0; i < kOwn; ++i)
      if (exists[i]) data[i][s] = Chunk::load(from + i * side.from_item);
  }
  int64_t slot[kOwn];
  const auto find_slots = [&](const auto* ids) { // all are requested before one is looked at
#pragma unroll
    for (int i = 0; i < kOwn; ++i) slot[i] = exists[i] ? ids[(first + i) * args.id_stride] : -1;
  };
  if (args.wide_ids)
    find_slots(static_cast<const int64_t*>(args.ids));
  else
    find_slots(static_cast<const int32_t*>(args.ids));
  launch_dependents();
#pragma unroll
  for (int i = 0; i < kOwn; ++i) {
    if (!Moves::inside(slot[i], args.slots)) continue;
    const Slot at = static_cast<Slot>(slot[i]);
    const Slot block = kSmall ? at >> args.block_shift : at / static_cast<Slot>(args.block_size);
    const Slot in_block = at - (kSmall ? block << args.block_shift : block * static_cast<Slot>(args.block_size));
#pragma unroll
    for (int s = 0; s < kSides; ++s) {
      const TokenArgs::Side& side = args.side[s];
      float scale = 1;
      if (!Chunk::kCopies && side.scale != nullptr) scale = side.scale[head * args.scale_step];
      Chunk::store(
          side.to + (block * side.to_block + in_block * side.to_slot + head * side.to_head) + chunk * Chunk::kToBytes,
          Chunk::change(data[i][s], scale));
    }
  }
}

// --- other rows of whole chunks --------------------------------------------------------------------------------------

// Lengths, strides and offsets in Moves count elements; these count bytes of either side.
struct ChunkArgs {
  Moves moves;
  cuda::Divisor chunks_of_item, chunks_of_head; // of an item: those that threads start with
  int64_t from_bytes, to_bytes;                 // of an element
  uint32_t total;                               // threads
};

// Everything whose source has to be located first, which takes several trips to memory, one after the other: a thread
// does it once for kParts chunks of an item.
template <spf_scalar_type kFrom, spf_scalar_type kTo, int kParts, int kSides>
__global__ void __launch_bounds__(kBlock) move_parts(const __grid_constant__ ChunkArgs args) {
  using namespace spf::cuda;
  using Chunk = ChunkOf<kFrom, kTo>;
  const Moves& m = args.moves;
  const uint32_t index = blockIdx.x * kBlock + threadIdx.x;
  if (index >= args.total) return;
  const uint32_t item = args.chunks_of_item.quotient(index), inside = index - item * args.chunks_of_item.divisor;
  wait_for_primary();
  int64_t from[2], to[2];
  const Found found = m.locate(item, from, to);
  if (found == Found::kSkip) return;

  uint4 data[kParts][kSides];
  uint32_t head[kParts];
  int64_t chunk[kParts];
#pragma unroll
  for (int p = 0; p < kParts; ++p) {
    const uint32_t of_item = inside + static_cast<uint32_t>(p) * args.chunks_of_item.divisor;
    head[p] = args.chunks_of_head.quotient(of_item);
    chunk[p] = of_item - head[p] * args.chunks_of_head.divisor;
#pragma unroll
    for (int s = 0; s < kSides; ++s)
      data[p][s] = found == Found::kMove ? Chunk::load(static_cast<const char*>(m.side[s].from) +
                                                       (from[s] + head[p] * m.side[s].from_head) * args.from_bytes +
                                                       chunk[p] * Chunk::kFromBytes)
                                         : make_uint4(0, 0, 0, 0);
  }
  launch_dependents();
#pragma unroll
  for (int p = 0; p < kParts; ++p)
#pragma unroll
    for (int s = 0; s < kSides; ++s) {
      uint4 v = data[p][s];
      if (found == Found::kMove) v = Chunk::change(v, Chunk::kCopies ? 1.0f : m.scale_of(s, head[p]));
      Chunk::store(static_cast<char*>(m.side[s].to) + (to[s] + head[p] * m.side[s].to_head) * args.to_bytes +
                       chunk[p] * Chunk::kToBytes,
                   v);
    }
}

// --- any rows, an element a thread ---------------------------------------------------------------------------------

template <spf_scalar_type kFrom, spf_scalar_type kTo, typename Bytes>
__global__ void __launch_bounds__(kBlock) move_elements(const __grid_constant__ Moves m) {
  using namespace spf::cuda;
  using Chunk = ChunkOf<kFrom, kTo>;
  launch_dependents();
  wait_for_primary();
  const int64_t index = static_cast<int64_t>(blockIdx.x) * kBlock + threadIdx.x;
  const int64_t row = index / m.length, e = index - row * m.length;
  const int64_t item = row / m.heads, head = row - item * m.heads;
  if (item >= m.items) return;
  int64_t from[2], to[2];
  const Found found = m.locate(item, from, to);
  if (found == Found::kSkip) return;
#pragma unroll
  for (int s = 0; s < 2; ++s) {
    if (s == m.sides) break;
    const Side& side = m.side[s];
    const int64_t source = from[s] + head * side.from_head + e;
    const int64_t target = to[s] + head * side.to_head + e / side.vector * side.vector_stride + e % side.vector;
    const bool moves = found == Found::kMove;
    if constexpr (Chunk::kCopies) {
      static_cast<Bytes*>(side.to)[target] = moves ? static_cast<const Bytes*>(side.from)[source] : Bytes{0};
    } else if constexpr (Chunk::kQuantizes) {
      const float x = Scalar<kFrom>::widen(static_cast<const scalar_t<kFrom>*>(side.from)[source]);
      static_cast<uint8_t*>(side.to)[target] =
          static_cast<uint8_t>(narrow_fp8x2<kTo>(__fdiv_rn(x, m.scale_of(s, head)), 0.0f));
    } else {
      const float x = moves ? widen_fp8x2<kFrom>(static_cast<const uint8_t*>(side.from)[source]).x : 0.0f;
      static_cast<scalar_t<kTo>*>(side.to)[target] =
          Scalar<kTo>::narrow(moves ? __fmul_rn(x, m.scale_of(s, head)) : 0.0f);
    }
  }
}

// --- launch ------------------------------------------------------------------------------------------------------

// Every row of both sides starts on its chunk's bytes and holds whole chunks.
template <class Chunk>
bool whole_chunks(const Moves& m) {
  const int64_t from_size = bytes_of(m.from_type), to_size = bytes_of(m.to_type);
  uintptr_t from = static_cast<uintptr_t>(m.length * from_size), to = static_cast<uintptr_t>(m.length * to_size);
  for (int s = 0; s < m.sides; ++s) {
    const Side& side = m.side[s];
    if (side.vector != m.length) return false;
    from |= reinterpret_cast<uintptr_t>(side.from) | static_cast<uintptr_t>(side.from_item * from_size) |
            static_cast<uintptr_t>(side.from_slot * from_size);
    to |= reinterpret_cast<uintptr_t>(side.to) | static_cast<uintptr_t>(side.to_item * to_size) |
          static_cast<uintptr_t>(side.to_slot * to_size);
    if (m.heads > 1) {
      from |= static_cast<uintptr_t>(side.from_head * from_size);
      to |= static_cast<uintptr_t>(side.to_head * to_size);
    }
  }
  for (int d = 0; d < m.space.dims; ++d) {
    from |= static_cast<uintptr_t>(m.space.stride[0][d] * from_size);
    to |= static_cast<uintptr_t>(m.space.stride[1][d] * to_size);
  }
  return from % Chunk::kFromBytes == 0 && to % Chunk::kToBytes == 0;
}

inline constexpr int64_t kMostChunks = (int64_t{1} << 31) - 4 * kBlock; // every thread's number fits 31 bits

// chunks_of_item: those that threads start with.
inline ChunkArgs chunk_args(const Moves& m, int64_t chunks_of_item, int64_t chunks_of_head) {
  return {m,
          cuda::Divisor(chunks_of_item),
          cuda::Divisor(chunks_of_head),
          bytes_of(m.from_type),
          bytes_of(m.to_type),
          static_cast<uint32_t>(m.items * chunks_of_item)};
}

template <spf_scalar_type kFrom, spf_scalar_type kTo, int kParts, int kSides>
spf_status launch_parts(const char* op, const Moves& m, int64_t chunks, const LaunchContext& ctx) {
  const ChunkArgs args = chunk_args(m, m.heads * chunks / kParts, chunks);
  return cuda::launch(op, ctx, move_parts<kFrom, kTo, kParts, kSides>, (args.total + kBlock - 1) / kBlock, kBlock, 0,
                      args);
}

template <spf_scalar_type kFrom, spf_scalar_type kTo>
spf_status launch_kind(const char* op, const Moves& m, const LaunchContext& ctx) {
  using Chunk = ChunkOf<kFrom, kTo>;
  const int64_t chunks = Chunk::kCopies ? m.length * bytes_of(m.to_type) / 16 : m.length / Chunk::kElements;
  // Divisors start at 2; a row of one chunk is an element's work.
  if (whole_chunks<Chunk>(m) && chunks > 1 && m.items * m.heads * chunks < kMostChunks) {
    const bool many = m.items * m.heads * chunks > int64_t{ctx.facts->sm_count} * 2048;
    if (m.kind == Kind::kWrite) {
      const TokenArgs args(m, chunks, bytes_of(m.from_type), bytes_of(m.to_type), kTokens<Chunk>);
      const int64_t grid = (args.total + kTokenBlock - 1) / kTokenBlock;
      return args.small() ? cuda::launch(op, ctx, write_tokens<kFrom, kTo, true>, grid, kTokenBlock, 0, args)
                          : cuda::launch(op, ctx, write_tokens<kFrom, kTo, false>, grid, kTokenBlock, 0, args);
    }
    constexpr int kParts = 4;
    const bool parts = many && m.heads * chunks % kParts == 0 && m.heads * chunks > kParts;
    if (m.sides == 2)
      return parts ? launch_parts<kFrom, kTo, kParts, 2>(op, m, chunks, ctx)
                   : launch_parts<kFrom, kTo, 1, 2>(op, m, chunks, ctx);
    return parts ? launch_parts<kFrom, kTo, kParts, 1>(op, m, chunks, ctx)
                 : launch_parts<kFrom, kTo, 1, 1>(op, m, chunks, ctx);
  }
  const int64_t grid = (m.items * m.heads * m.length + kBlock - 1) / kBlock;
  if constexpr (Chunk::kCopies) {
    if (bytes_of(m.to_type) == 4) return cuda::launch(op, ctx, move_elements<kFrom, kTo, uint32_t>, grid, kBlock, 0, m);
    if (bytes_of(m.to_type) == 2) return cuda::launch(op, ctx, move_elements<kFrom, kTo, uint16_t>, grid, kBlock, 0, m);
  }
  return cuda::launch(op, ctx, move_elements<kFrom, kTo, uint8_t>, grid, kBlock, 0, m);
}

// kNumbers: the type on the side that is not codes; SPF_U8 for copies.
template <spf_scalar_type kNumbers>
spf_status launch_moves(const Call& call, const LaunchContext& ctx) {
  const char* const op = call.problem.op->name;
  const Moves m = moves_of(call);
  if (m.empty()) return SPF_OK;
  if constexpr (kNumbers == SPF_U8) {
    return launch_kind<SPF_U8, SPF_U8>(op, m, ctx);
  } else {
    if (m.change == Change::kQuantize)
      return m.to_type == SPF_E4M3 ? launch_kind<kNumbers, SPF_E4M3>(op, m, ctx)
                                   : launch_kind<kNumbers, SPF_E5M2>(op, m, ctx);
    return m.from_type == SPF_E4M3 ? launch_kind<SPF_E4M3, kNumbers>(op, m, ctx)
                                   : launch_kind<SPF_E5M2, kNumbers>(op, m, ctx);
  }
}

} // namespace spf::kv_cache
