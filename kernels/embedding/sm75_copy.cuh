// Rows of a table by id: a row's 16-byte chunks shared by up to a block's threads, four in flight each; short rows
// share a block.
#pragma once

#include "kernels/common/cuda/launch.cuh"
#include "kernels/common/cuda/memory.cuh"
#include "kernels/embedding/args.h"

namespace spf::embedding {

struct CopyArgs : EmbeddingArgs {
  int32_t row_threads = 0; // a power of two
};

inline constexpr int kCopyThreads = 128, kCopyUnroll = 4;

template <spf_scalar_type T>
__global__ void __launch_bounds__(kCopyThreads) copy_rows(const __grid_constant__ CopyArgs args) {
  using namespace spf::cuda;
  using Element = scalar_t<T>;
  constexpr int kElements = kChunkElements<T>;
  launch_dependents();
  wait_for_primary();
  const int lane = static_cast<int>(threadIdx.x) & (args.row_threads - 1);
  const int64_t row =
      static_cast<int64_t>(blockIdx.x) * (kCopyThreads / args.row_threads) + threadIdx.x / args.row_threads;
  if (row >= args.space.rows) return;
  int64_t at[1];
  args.space.offsets(row, at);
  const int64_t source = args.source(row);
  Element* const out = static_cast<Element*>(args.out) + at[0];
  const Element* const from = static_cast<const Element*>(args.table) + (source < 0 ? 0 : source) * args.table_stride;
  const int64_t h = source < 0 ? 0 : args.h; // what there is to read
  const bool vector = on_16_bytes(out) && on_16_bytes(from);
  const int64_t step = static_cast<int64_t>(args.row_threads) * kElements;
  for (int64_t first = static_cast<int64_t>(lane) * kElements; first < args.h; first += kCopyUnroll * step) {
    uint4 chunk[kCopyUnroll];
#pragma unroll
    for (int u = 0; u < kCopyUnroll; ++u)
      chunk[u] = first + u * step < h ? load_chunk<T>(from + first + u * step, h - first - u * step, vector)
                                      : make_uint4(0, 0, 0, 0);
#pragma unroll
    for (int u = 0; u < kCopyUnroll; ++u) {
      if (args.scale != 1 && source >= 0) {
        float v[kElements];
        unpack<T>(chunk[u], v);
#pragma unroll
        for (int i = 0; i < kElements; ++i) v[i] *= args.scale;
        chunk[u] = pack<T>(v);
      }
      if (first + u * step < args.h)
        store_chunk<T>(out + first + u * step, chunk[u], args.h - first - u * step, vector);
    }
  }
}

template <spf_scalar_type T>
spf_status launch_copy(const Call& call, const LaunchContext& ctx) {
  CopyArgs args;
  static_cast<EmbeddingArgs&>(args) = embedding_args(call);
  if (args.h == 0 || args.space.rows == 0) return SPF_OK;
  const int64_t chunks = args.h / (cuda::kChunkElements<T> * kCopyUnroll);
  args.row_threads = 8;
  while (args.row_threads < kCopyThreads && args.row_threads < chunks) args.row_threads *= 2;
  const int64_t rows = kCopyThreads / args.row_threads; // of a block
  return cuda::launch("embedding", ctx, copy_rows<T>, (args.space.rows + rows - 1) / rows, kCopyThreads, 0, args);
}

} // namespace spf::embedding
