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

#include "kernels/attention/decode_tiles.cuh"
#include "kernels/attention/sm90_cluster.hpp"
#include "kernels/common/cuda/launch.cuh"

namespace spf::attention {

struct ClusterArgs : DecodeArgs {
  int32_t ranks;
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
  float sums[kHeads * kDims];                          // [ranks][outputs of this rank]
  float2 states[ClusterGeometry::kMostRanks * kHeads]; // [ranks][heads]: largest score, weight
};

template <spf_scalar_type T, spf_scalar_type C, int kDims, int kTiles>
struct ClusterSums {
  using Kernel = DecodeKernel<T, C, kDims, kTiles>;
  static constexpr int kHeads = Kernel::kHeads, kPitch = kDims + 4; // lanes of a store fall into different banks
  static constexpr int kSlots = cluster_slots(kDims, KvType<C>::kBytes, kTiles), kRing = kSlots * Kernel::kSlotBytes;
  using ExchangeOf = Exchange<kHeads, kDims>;
  static constexpr int kWarps = SplitGeometry::kMaxWarps, kThreads = 32 * kWarps;
  static_assert(sizeof(ExchangeOf) == cluster_exchange_bytes(kDims, kTiles));
  static_assert(kWarps * kHeads * (kPitch + 2) * 4 <= kWarps * kRing);

  const ClusterArgs& args;
  ExchangeOf& exchange;
  cuda::Barrier& arrived;
  float* const sums;    // [warps][heads][kPitch], where the rings were
  float* const largest; // [warps][heads]
  float* const weights; // [warps][heads]
  const int rank = static_cast<int>(cuda::cluster_rank()), own = static_cast<int>(threadIdx.x);

  __device__ __forceinline__ ClusterSums(const ClusterArgs& a, ExchangeOf& e, cuda::Barrier& b, float* ring)
      : args(a),
        exchange(e),
        arrived(b),
        sums(ring),
        largest(ring + kWarps * kHeads * kPitch),
        weights(largest + kWarps * kHeads) {}

  // Query heads of an item, and outputs of a rank.
  __device__ __forceinline__ int columns(int unit) const {
    const int left = static_cast<int>(args.a.group()) - unit % args.head_tiles * kHeads;
    return left < kHeads ? left : kHeads;
  }
  __device__ __forceinline__ int share(int unit) const { return columns(unit) * kDims / args.ranks; }

  // Before any block may send.
  __device__ __forceinline__ void expect(int unit) const {
    if (own != 0) return;
    arrived.init(1);
    cuda::fence_barrier_init();
    arrived.arrive_expect(static_cast<uint32_t>(args.ranks * (share(unit) * 4 + columns(unit) * 8)));
  }

  __device__ __forceinline__ void finish(const Segment& s, Kernel& kernel) const {
    const int heads = columns(s.unit), outputs = share(s.unit);
    __syncthreads(); // the rings have been read
    kernel.mma.template store<kDims>(sums + kernel.warp * kHeads * kPitch, kPitch, 0, kernel.g, kernel.t);
    kernel.store_weights(largest + kernel.warp * kHeads, weights + kernel.warp * kHeads);
    __syncthreads();
    cuda::cluster_wait(); // every block expects
    for (int at = 2 * own; at < heads * kDims; at += 2 * kThreads) {
      const int head = at / kDims, owner = at / outputs;
      const float most = block_largest(head);
      float2 sum = {0, 0};
#pragma unroll
      for (int w = 0; w < kWarps; ++w) {
        const float2 part = *reinterpret_cast<const float2*>(sums + (w * kHeads + head) * kPitch + at % kDims);
        const float factor = factor_of(largest[w * kHeads + head], most);
        sum.x += part.x * factor;
        sum.y += part.y * factor;
      }
      cuda::store_remote(exchange.sums + rank * outputs + at - owner * outputs, arrived, static_cast<uint32_t>(owner),
                         sum);
    }
    for (int i = own; i < heads * args.ranks; i += kThreads) {
      const int head = i / args.ranks, to = i % args.ranks;
      const float most = block_largest(head);
      float weight = 0;
#pragma unroll
      for (int w = 0; w < kWarps; ++w)
        weight += weights[w * kHeads + head] * factor_of(largest[w * kHeads + head], most);
      cuda::store_remote(&exchange.states[rank * kHeads + head].x, arrived, static_cast<uint32_t>(to),
                         make_float2(most, weight));
    }
    arrived.wait(0);
    for (int i = own; i < outputs; i += kThreads) {
      constexpr int kMost = ClusterGeometry::kMostRanks;
      const int at = rank * outputs + i, head = at / kDims;
      float2 state[kMost];
      float most = -INFINITY, sum = 0, weight = 0;
#pragma unroll
      for (int r = 0; r < kMost; ++r) {
        state[r] = r < args.ranks ? exchange.states[r * kHeads + head] : make_float2(-INFINITY, 0.0f);
        most = fmaxf(most, state[r].x);
      }
#pragma unroll
      for (int r = 0; r < kMost; ++r) {
        const float factor = factor_of(state[r].x, most);
        sum += (r < args.ranks ? exchange.sums[r * outputs + i] : 0.0f) * factor;
        weight += state[r].y * factor;
      }
      write_output<T>(args.a, s.sequence, kernel.head_of(s, head), at % kDims, sum, most, weight);
    }
  }

 private:
  static __device__ __forceinline__ float factor_of(float largest_of_part, float most) {
    return largest_of_part == -INFINITY ? 0.0f : cuda::fast_exp2(largest_of_part - most);
  }
  __device__ __forceinline__ float block_largest(int head) const {
    float most = -INFINITY;
#pragma unroll
    for (int w = 0; w < kWarps; ++w) most = fmaxf(most, largest[w * kHeads + head]);
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
  const int item = static_cast<int>(blockIdx.x) / args.ranks, warp = static_cast<int>(threadIdx.x) / 32;
  Segment s;
  s.sequence = item / args.units;
  s.unit = item % args.units;
  const Sums sums(args, *reinterpret_cast<typename Sums::ExchangeOf*>(shared + Sums::kWarps * Sums::kRing), arrived,
                  reinterpret_cast<float*>(shared));
  sums.expect(s.unit);
  cuda::cluster_arrive();
  cuda::wait_for_primary();

  const int32_t first = sums.rank * Sums::kWarps + warp, stride = args.ranks * Sums::kWarps;
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
      write_output<T>(args.a, s.sequence, head_of<Kernel::kHeads>(args, s, i / kDims), i % kDims, 0.0f, -INFINITY,
                      0.0f);
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
spf_status launch_cluster(const char* op, const AttentionArgs& a, const LaunchContext& ctx, int most_ranks) {
  ClusterArgs args = {decode_args(a, kTiles), 0};
  ClusterGeometry geometry = cluster_geometry(a.sequences * args.units, kDims, KvType<C>::kBytes, kTiles, *ctx.facts);
  args.ranks = geometry.ranks < most_ranks ? geometry.ranks : most_ranks;
  return cuda::launch(op, ctx, cluster_decode<T, C, kDims, kTiles>, geometry.items * args.ranks, 32 * geometry.warps,
                      geometry.shared_bytes, args, args.ranks);
}

template <spf_scalar_type T, spf_scalar_type C, int kDims, int kTiles>
spf_status cluster(const Call& call, const LaunchContext& ctx) {
  return launch_cluster<T, C, kDims, kTiles>(call.problem.op->name, attention_args(call), ctx,
                                             ClusterGeometry::kMostRanks);
}

} // namespace spf::attention
