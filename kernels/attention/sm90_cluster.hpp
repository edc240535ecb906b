// Geometry of attention/sm90_cluster: one pure function, read by its policy and by its launch.
#pragma once

#include "kernels/attention/sm80_split.hpp"

namespace spf::attention {

struct ClusterGeometry {
  static constexpr int kMostRanks = 8;  // blocks of a cluster, a power of two
  static constexpr int kLeastRanks = 4; // sm90_cluster_policy leaves fewer to sm80_split

  int64_t items = 0; // clusters: of up to 8 head_tiles query heads of a KV head of a sequence
  int ranks = 0;     // blocks of each; 0: does not fit
  int warps = 0;     // of a block
  size_t shared_bytes = 0;
};

// What the blocks of a cluster send each other: sums of every rank for a share of the outputs, then the largest score
// and the weight of every rank and head.
constexpr int cluster_exchange_bytes(int dims, int head_tiles) {
  return 8 * head_tiles * (dims * 4 + ClusterGeometry::kMostRanks * 8);
}

// Half tiles of a warp in shared memory. 100 KB of a multiprocessor in flight are enough for all that it can take in;
// with more, requests queue, the first tile comes with the last ones, and nothing is multiplied until then: 1 x 8k on
// H200 takes 13.9 us with 4 and 14.4 with all the 6 that fit, of e4m3 12.9 with 4 and 13.7 with 12.
constexpr int cluster_slots(int dims, int element_bytes, int head_tiles) {
  const int room = (226 * 1024 - cluster_exchange_bytes(dims, head_tiles)) / SplitGeometry::kMaxWarps;
  const int slots = room / split_slot_bytes(dims, element_bytes);
  const int most = element_bytes > 1 && dims < 128 ? 6 : 4;
  return slots > most ? most : slots;
}

constexpr ClusterGeometry cluster_geometry(int64_t items, int dims, int element_bytes, int head_tiles,
                                           const spf_device_facts& facts) {
  ClusterGeometry g;
  g.items = items;
  g.warps = SplitGeometry::kMaxWarps;
  g.shared_bytes = static_cast<size_t>(g.warps * cluster_slots(dims, element_bytes, head_tiles) *
                                           split_slot_bytes(dims, element_bytes) +
                                       cluster_exchange_bytes(dims, head_tiles));
  if (items < 1 || g.shared_bytes + 1024 > static_cast<size_t>(facts.shared_memory_per_block)) return g;
  // Clusters of 8 fit into 15 sixteenths of H200 at a time, and one that has to wait takes as long again.
  for (g.ranks = ClusterGeometry::kMostRanks; g.ranks > 1 && items * g.ranks > facts.sm_count * 7 / 8;) g.ranks /= 2;
  return g;
}

} // namespace spf::attention
