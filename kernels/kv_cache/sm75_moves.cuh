// Moves of rows: writing tokens into slots, copying blocks, gathering sequences, converting codes.
//
//   an item (token, pair of blocks, row) as chunks of 16 bytes on the wider side, numbered item by item:
//     item 0: head 0 c0 c1 .. | head 1 c0 c1 .. | item 1: ...
//   consecutive threads take consecutive chunks of keys and of values. A thread that writes tokens has both under way
//   before it knows the slot; one that has to look up where to read takes four chunks of an item.
//
// Rows that are not whole chunks on both sides, and layouts that scatter a row, take an element a thread. What happens
// to a number is the same function in both, so bits do not depend on how it got there.
#pragma once

#include <algorithm>

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

// --- rows of whole chunks ------------------------------------------------------------------------------------------

// Lengths, strides and offsets in Moves count elements; these count bytes of either side.
struct ChunkArgs {
  Moves moves;
  cuda::Divisor chunks_of_item, chunks_of_head; // of an item: those that threads start with
  int64_t from_bytes, to_bytes;                 // of an element
  uint32_t total;                               // threads
  uint32_t items;                               // where a thread takes items i and i + items, ...
};

// Tokens into slots. kPowers: blocks hold a power of two of them.
template <spf_scalar_type kFrom, spf_scalar_type kTo, bool kPowers>
__global__ void __launch_bounds__(kBlock) write_tokens(const __grid_constant__ ChunkArgs args) {
  using namespace spf::cuda;
  using Chunk = ChunkOf<kFrom, kTo>;
  constexpr int kSides = 2;
  const Moves& m = args.moves;
  const uint32_t index = blockIdx.x * kBlock + threadIdx.x;
  if (index >= args.total) return;
  const uint32_t item = args.chunks_of_item.quotient(index), inside = index - item * args.chunks_of_item.divisor;
  const uint32_t head = args.chunks_of_head.quotient(inside);
  const int64_t chunk = inside - head * args.chunks_of_head.divisor;

  // Tokens are read whether or not they have a slot: the loads need not wait for it.
  uint4 data[kSides];
  wait_for_primary();
#pragma unroll
  for (int s = 0; s < kSides; ++s)
    data[s] = Chunk::load(static_cast<const char*>(m.side[s].from) +
                          (item * m.side[s].from_item + head * m.side[s].from_head) * args.from_bytes +
                          chunk * Chunk::kFromBytes);
  int64_t from[2], to[2];
  const Found found = m.locate_token(item, from, to, kPowers);
  launch_dependents();
  if (found == Found::kSkip) return;
#pragma unroll
  for (int s = 0; s < kSides; ++s)
    Chunk::store(
        static_cast<char*>(m.side[s].to) + (to[s] + head * m.side[s].to_head) * args.to_bytes + chunk * Chunk::kToBytes,
        Chunk::change(data[s], Chunk::kCopies ? 1.0f : m.scale_of(s, head)));
}

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
  for (int s = 0; s < m.sides; ++s) {
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
      const ChunkArgs args = chunk_args(m, m.heads * chunks, chunks);
      const int64_t grid = (args.total + kBlock - 1) / kBlock;
      return m.block_shift >= 0 ? cuda::launch(op, ctx, write_tokens<kFrom, kTo, true>, grid, kBlock, 0, args)
                                : cuda::launch(op, ctx, write_tokens<kFrom, kTo, false>, grid, kBlock, 0, args);
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
