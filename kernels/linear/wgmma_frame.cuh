// What the kernels on Hopper's warpgroup products have in common (sm90_wgmma.cuh, sm90_wgmma8.cuh): a block of four
// copying warps and several consuming warpgroups around a ring of stages in shared memory, the tiles that a block
// walks over, and the way of results from registers to out.
#pragma once

#include "kernels/common/cuda/launch.cuh"
#include "kernels/common/cuda/tensor_copy.cuh"
#include "kernels/common/cuda/tensor_map.hpp"
#include "kernels/common/rows.hpp"
#include "kernels/linear/sm90_wgmma.hpp"

namespace spf::linear {

// --- a block and its work -------------------------------------------------------------------------------------------

// Blocks of a cluster: kShare that work on the same tokens, or `split` on the same tile, each with a part of K. args:
// of a kernel, or a plan.
template <class C, class Args>
SPF_HOST_DEVICE int cluster_width(const Args& args) {
  return C::kShare > 1 ? C::kShare : args.split;
}

// What of the work is a block's. C says which tiles there are: tiles(args), of tile_channels(args) channels and kN
// tokens.
template <class C>
struct WgmmaWork {
  int first, step, tiles; // tiles first, first + step, ... of `tiles`
  int begin, end;         // stages of K
  int rank;               // in the cluster
  int width;              // of the cluster, in blocks

  template <class Args>
  __device__ __forceinline__ explicit WgmmaWork(const Args& a)
      : first(blockIdx.x),
        step(a.clusters),
        tiles(C::tiles(a)),
        begin(0),
        end(a.k_blocks),
        rank(0),
        width(cluster_width<C>(a)) {
    if (width > 1) {
      rank = static_cast<int>(cuda::cluster_rank());
      first = blockIdx.x / width;
    }
    if (C::kShare == 1 && a.split > 1) {
      begin = a.k_blocks * rank / a.split;
      end = a.k_blocks * (rank + 1) / a.split;
    }
  }
};

// Sets the first channel and token of what the block has in a unit: a tile, or one of kShare with the same tokens.
template <class C, class Args, class Place>
__device__ __forceinline__ void place_tile(const Args& a, const WgmmaWork<C>& work, int channel_units, int unit,
                                           Place* place) {
  const int per_run = a.token_run * channel_units, run = unit / per_run, in = unit - run * per_run;
  const int size = min(a.token_run, a.token_tiles - run * a.token_run), channel = in / size;
  place->channel = (C::kShare > 1 ? channel * C::kShare + work.rank : channel) * C::tile_channels(a);
  place->token = (run * a.token_run + in - channel * size) * C::kN;
}

// No block leaves while another's copies are on their way to it.
template <class C>
__device__ __forceinline__ void end_block() {
  if constexpr (C::kShare > 1) {
    __syncwarp();
    cuda::cluster_arrive();
    cuda::cluster_wait();
  }
}

// What a kernel is given of a plan.
template <class Args>
void set_schedule(const WgmmaPlan& plan, Args* a) {
  a->channel_tiles = plan.channel_tiles;
  a->token_tiles = plan.token_tiles;
  a->token_run = plan.token_run;
  a->k_blocks = plan.k_blocks;
  a->split = plan.split;
  a->clusters = plan.clusters;
}

// --- x ---------------------------------------------------------------------------------------------------------------

// Of a tile that reaches past x, only the rows that exist are copied: the copy engine takes longer for others than for
// these. What stands in their place goes into sums that nobody writes. So x has two maps: `x` with boxes of kXBox rows,
// `x_end` with one of the rows that are left over.
template <class C>
inline constexpr int kXBox = C::kN / C::kShare;

// That of a box of which so many rows exist.
template <class C, class Args>
__device__ __forceinline__ const CUtensorMap& x_map(const Args& a, int rows) {
  return rows < kXBox<C> ? a.x_end : a.x;
}

// matrix: x, whose boxes are set here.
template <class C, class Args>
spf_status encode_x(const char* op, cuda::Matrix matrix, Args* a) {
  matrix.box_rows = kXBox<C>;
  const spf_status status = cuda::encode(op, matrix, &a->x);
  matrix.box_rows = a->m % kXBox<C>;
  return status != SPF_OK || matrix.box_rows == 0 ? status : cuda::encode(op, matrix, &a->x_end);
}

// --- the ring of stages ---------------------------------------------------------------------------------------------

// A place in the ring.
template <int kStages>
struct RingPlace {
  int stage = 0;
  uint32_t phase = 0;

  __device__ __forceinline__ void advance(int count) {
    stage += count;
    if (stage < kStages) return;
    stage -= kStages;
    phase ^= 1;
  }
};

// A warp says that it has read a stage, to all blocks that share x: its lanes each arrive at one block's barrier.
// empty: the barriers of the ring's stages; at: the lane's, of its block.
template <class C>
__device__ __forceinline__ uint32_t release_place(uint32_t empty, int lane) {
  return C::kShare > 1 ? cuda::in_block(empty, lane % C::kShare) : empty;
}
template <class C>
__device__ __forceinline__ void release_stage(uint32_t at, int stage, int lane) {
  if constexpr (C::kShare > 1) {
    if (lane < C::kShare) cuda::barrier_arrive_in_cluster(at + 8 * stage);
  } else {
    if (lane == 0) cuda::barrier_arrive(at + 8 * stage);
  }
}

// --- results of 16 bits ---------------------------------------------------------------------------------------------

// Of a warpgroup's 64 channels in shared memory a token has a row of eight pieces of 16 bytes, one per warp and half;
// piece q of token t stands at q ^ t % 8, so that a store of eight rows, or of eight pieces, meets all banks. Stores
// tokens 8 b .. 8 b + 15 of a warp: r[q] has two tokens of block b + q / 2, channel lane / 4 + q % 2 * 8.
__device__ __forceinline__ void stage_16_tokens(uint32_t staged, int b, int warp, int lane, const uint32_t (&r)[4]) {
  const int token = (b + lane / 16) * 8 + lane % 8, piece = (warp * 2 + lane / 8 % 2) ^ (lane % 8);
  cuda::store_matrices_transposed(staged + token * 128 + piece * 16, r);
}

// Of channels n .. n + 7 of a row of out, which has channel n at `to`, those before `end`.
__device__ __forceinline__ void store_some(uint16_t* to, int n, const int32_t& end, const uint4& chunk) {
  const uint32_t parts[4] = {chunk.x, chunk.y, chunk.z, chunk.w};
#pragma unroll
  for (int i = 0; i < 8; ++i)
    if (n + i < end) to[i] = static_cast<uint16_t>(parts[i / 2] >> (16 * (i % 2)));
}

} // namespace spf::linear
