// Decode attention of a few sequences, 9.0 and later: a cluster of blocks takes an item (a KV head of a sequence), so
// nothing goes through memory and one kernel does it all. What a warp does is in decode_tiles.cuh.
//
//   tiles of 16 keys     0 1 2 .. | 8 9 ..      | ..          warps of rank 0 | of rank 1 | .. | of rank 0 again
//   sums of a block      [heads][dims], added in the order of its warps
//   outputs              cut among the ranks: each is sent everybody's sums of its own and adds them in their order
//
// Lengths, block tables and keys would be three trips to memory, one after the other. Here the tiles of a warp do not
// depend on the length, so a warp asks for the length and for its entries of the table at once.
#pragma once

#include <bit>

#include "kernels/attention/decode_tiles.cuh"
#include "kernels/attention/sm90_cluster.hpp"
#include "kernels/common/cuda/launch.cuh"

namespace spf::attention {

struct ClusterArgs : DecodeArgs {
  int32_t rank_bits; // log2 of the blocks of a cluster
};

// The only segment of a block: its item, whole; ranks and warps take turns.
struct WholeItem {
  Segment now;

  __device__ __forceinline__ bool next() { return false; }
  __device__ __forceinline__ bool begins_item() const { return true; }
  __device__ __forceinline__ bool ends_item() const { return true; }
};

// --- the end ---------------------------------------------------------------------------------------------------------

template <int kHeads, int kDims>
struct Exchange {
  float sums[kHeads * kDims];                          // [ranks][heads][dims of this rank]
  float2 states[ClusterGeometry::kMostRanks * kHeads]; // [ranks][heads]: largest score, weight
};

template <spf_scalar_type T, spf_scalar_type C, int kDims, int kTiles>
struct ClusterSums {
  using Kernel = DecodeKernel<T, C, kDims, kTiles>;
  static constexpr int kHeads = Kernel::kHeads, kPitch = kDims + 4; // lanes of a store fall into different banks
  static constexpr int kSlots = cluster_slots(kDims, KvType<C>::kBytes, kTiles), kRing = kSlots * Kernel::kSlotBytes;
  using ExchangeOf = Exchange<kHeads, kDims>;
  static constexpr int kWarps = SplitGeometry::kMaxWarps, kThreads = 32 * kWarps;
  static constexpr int kDimBits = kDims == 64 ? 6 : kDims == 128 ? 7 : 8;
  static_assert(sizeof(ExchangeOf) == cluster_exchange_bytes(kDims, kTiles));
  static_assert(kDims == 1 << kDimBits && kHeads * (kPitch + 2) * 4 <= kRing);

  // What a warp adds up for the others of its block, where its ring was.
  struct WarpSums {
    float sums[kHeads][kPitch], largest[kHeads], weights[kHeads];
  };

  const ClusterArgs& args;
  ExchangeOf& exchange;
  cuda::Barrier& arrived;
  unsigned char* const rings;
  const int rank = static_cast<int>(cuda::cluster_rank()), own = static_cast<int>(threadIdx.x);
  const int ranks = 1 << args.rank_bits, own_bits = kDimBits - args.rank_bits; // log2 of a rank's dimensions

  __device__ __forceinline__ WarpSums& of_warp(int warp) const {
    return *reinterpret_cast<WarpSums*>(rings + warp * kRing);
  }
  // Query heads of an item.
  __device__ __forceinline__ int columns(int unit) const {
    const int left = args.group - args.head_tile_of(unit) * kHeads;
    return left < kHeads ? left : kHeads;
  }

  // Before any block may send.
  __device__ __forceinline__ void expect(int unit) const {
    if (own != 0) return;
    arrived.init(1);
    cuda::fence_barrier_init();
    arrived.arrive_expect(static_cast<uint32_t>(columns(unit) * (4 * kDims + 8 * ranks)));
  }

  __device__ __forceinline__ void finish(const Segment& s, Kernel& kernel) const {
    const int heads = columns(s.unit);
    WarpSums& mine = of_warp(kernel.warp);
    kernel.add_weights();
    __syncwarp(); // the ring has been read
    kernel.store_heads(mine.largest, kernel.top);
    __syncthreads();
    // Every warp's sums to the largest score of the block, before they leave its registers.
#pragma unroll
    for (int n = 0; n < kTiles; ++n) {
      float factor[2];
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        factor[i] = factor_of(kernel.top[n][i], block_largest(8 * n + 2 * kernel.t + i));
        kernel.weight[n][i] *= factor[i];
      }
      kernel.mma.scale(n, factor);
    }
    kernel.mma.template store<kDims>(mine.sums[0], kPitch, 0, kernel.g, kernel.t);
    kernel.store_heads(mine.weights, kernel.weight);
    __syncthreads();
    cuda::cluster_wait(); // every block expects
    for (int at = 2 * own; at < heads * kDims; at += 2 * kThreads) {
      const int head = at / kDims, dim = at % kDims;
      float2 sum = {0, 0};
#pragma unroll
      for (int w = 0; w < kWarps; ++w) {
        const float2 part = *reinterpret_cast<const float2*>(&of_warp(w).sums[head][dim]);
        sum.x += part.x;
        sum.y += part.y;
      }
      const int at_owner = ((rank * kHeads + head) << own_bits) + (dim & ((1 << own_bits) - 1));
      cuda::store_remote(&exchange.sums[at_owner], arrived, static_cast<uint32_t>(dim >> own_bits), sum);
    }
    for (int i = own; i < heads * ranks; i += kThreads) {
      const int head = i >> args.rank_bits, to = i & (ranks - 1);
      float weight = 0;
#pragma unroll
      for (int w = 0; w < kWarps; ++w) weight += of_warp(w).weights[head];
      cuda::store_remote(&exchange.states[rank * kHeads + head].x, arrived, static_cast<uint32_t>(to),
                         make_float2(block_largest(head), weight));
    }
    arrived.wait(0);
    // A number of ranks that is known leaves 16 loads at once and no test between them.
    static_assert(ClusterGeometry::kLeastRanks == 4 && ClusterGeometry::kMostRanks == 8);
    if (ranks == 8)
      write_outputs<8>(s, kernel);
    else
      write_outputs<4>(s, kernel);
  }

 private:
  // Adds the ranks' sums of this rank's outputs, in the order of the ranks.
  template <int kRanks>
  __device__ __forceinline__ void write_outputs(const Segment& s, const Kernel& kernel) const {
    constexpr int kOwn = kDims / kRanks; // dimensions of a rank
    const int kv_head = args.kv_head_of(s.unit);
    for (int i = own; i < columns(s.unit) * kOwn; i += kThreads) {
      const int head = i / kOwn, dim = i % kOwn;
      float2 state[kRanks];
      float part[kRanks], most = -INFINITY, sum = 0, weight = 0;
#pragma unroll
      for (int r = 0; r < kRanks; ++r) {
        state[r] = exchange.states[r * kHeads + head];
        part[r] = exchange.sums[(r * kHeads + head) * kOwn + dim];
      }
#pragma unroll
      for (int r = 0; r < kRanks; ++r) most = fmaxf(most, state[r].x);
#pragma unroll
      for (int r = 0; r < kRanks; ++r) {
        const float factor = factor_of(state[r].x, most);
        sum += part[r] * factor;
        weight += state[r].y * factor;
      }
      write_output<T>(args.a, s.sequence, kernel.head_of(s, head), kv_head, rank * kOwn + dim, sum, most, weight);
    }
  }
  static __device__ __forceinline__ float factor_of(float largest_of_part, float most) {
    return largest_of_part == -INFINITY ? 0.0f : cuda::fast_exp2(largest_of_part - most);
  }
  __device__ __forceinline__ float block_largest(int head) const {
    float most = -INFINITY;
#pragma unroll
    for (int w = 0; w < kWarps; ++w) most = fmaxf(most, of_warp(w).largest[head]);
    return most;
  }
};

// --- the kernel ------------------------------------------------------------------------------------------------------

template <spf_scalar_type T, spf_scalar_type C, int kDims, int kTiles>
__global__ void __launch_bounds__(32 * SplitGeometry::kMaxWarps, 1)
    cluster_decode(const __grid_constant__ ClusterArgs args) {
  using Kernel = DecodeKernel<T, C, kDims, kTiles>;
  using Sums = ClusterSums<T, C, kDims, kTiles>;
  SPF_DYNAMIC_SHARED(unsigned char, shared, 16);
  __shared__ cuda::Barrier arrived;
  // No launch_dependents(): clusters of a kernel that starts while these run find their places taken, share a GPC's way
  // to memory, and lose more than a launch takes (1 x 32k, H200: 53 us instead of 39).
  const int item = static_cast<int>(blockIdx.x) >> args.rank_bits, warp = static_cast<int>(threadIdx.x) / 32;
  Segment s;
  s.sequence = args.a.sequences == 1 ? 0 : item / args.units;
  s.unit = item - s.sequence * args.units;
  const Sums sums{args, *reinterpret_cast<typename Sums::ExchangeOf*>(shared + Sums::kWarps * Sums::kRing), arrived,
                  shared};
  sums.expect(s.unit);
  cuda::cluster_arrive_relaxed();
  cuda::wait_for_primary();

  const int32_t first = sums.rank * Sums::kWarps + warp, stride = Sums::kWarps << args.rank_bits;
  // With a window the first tile depends on the length.
  TableEntries ahead;
  if (args.a.window <= 0)
    ahead = TableEntries(args, s.sequence, first, stride, static_cast<int32_t>(args.a.table_width * args.a.block_size));
  args.span(s.sequence, &s.first, &s.length);
  s.begin = s.first / SplitGeometry::kKeys;
  s.end = Segment::tiles_up_to(s.length);
  if (s.length <= 0) {
    cuda::cluster_wait();
    if (sums.rank != 0) return;
    for (int i = static_cast<int>(threadIdx.x); i < sums.columns(s.unit) * kDims; i += Sums::kThreads)
      write_output<T>(args.a, s.sequence, head_of<Kernel::kHeads>(args, s, i / kDims), args.kv_head_of(s.unit),
                      i % kDims, 0.0f, -INFINITY, 0.0f);
    return;
  }
  Kernel kernel(args);
  kernel.template run<Sums::kSlots>(WholeItem{s}, first, stride, ahead,
                                    cuda::shared_address(shared) + static_cast<uint32_t>(warp * Sums::kRing),
                                    [](const Segment&, bool, bool) {});
  sums.finish(s, kernel);
}

// --- launch ----------------------------------------------------------------------------------------------------------

template <spf_scalar_type T, spf_scalar_type C, int kDims, int kTiles>
spf_status launch_cluster(const char* op, const AttentionArgs& a, const LaunchContext& ctx) {
  ClusterArgs args = {decode_args(a, kTiles), 0};
  const ClusterGeometry geometry =
      cluster_geometry(a.sequences * args.units, kDims, KvType<C>::kBytes, kTiles, *ctx.facts);
  args.rank_bits = std::countr_zero(static_cast<unsigned>(geometry.ranks));
  return cuda::launch(op, ctx, cluster_decode<T, C, kDims, kTiles>, geometry.items * geometry.ranks,
                      32 * geometry.warps, geometry.shared_bytes, args, geometry.ranks);
}

template <spf_scalar_type T, spf_scalar_type C, int kDims, int kTiles>
spf_status cluster(const Call& call, const LaunchContext& ctx) {
  return launch_cluster<T, C, kDims, kTiles>(call.problem.op->name, attention_args(call), ctx);
}

} // namespace spf::attention
