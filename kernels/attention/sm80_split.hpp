// Geometry of attention/sm80_split: one pure function, read by its policy and by its launch.
#pragma once

#include <cstddef>
#include <cstdint>

#include "spearfish/device.h"

namespace spf::attention {

struct SplitGeometry {
  static constexpr int kKeys = 16;    // of a tile
  static constexpr int kMaxWarps = 8; // of a block

  int blocks = 0; // that share the keys of all sequences; one a multiprocessor
  int warps = 0;  // of a block
  size_t shared_bytes = 0;
  size_t workspace_bytes = 0;

  bool fits() const { return warps > 0; }
};

// Keys, or values, of one tile in shared memory: rows of `dims` elements and 16 bytes, so that eight rows fall into
// different banks.
constexpr int split_slot_bytes(int dims, int element_bytes) {
  return SplitGeometry::kKeys * (dims * element_bytes + 16);
}

// Dimensions that warps add up at a time, and floats from one head's to the next's: lanes of a store then fall into
// different banks.
constexpr int split_slice(int head_tiles) { return 64 / head_tiles; }
constexpr int split_slice_pitch(int head_tiles) { return split_slice(head_tiles) + 4; }

// Bytes of a warp's part of the sums, largest scores and weights.
constexpr int split_sum_bytes(int head_tiles) { return 8 * head_tiles * (split_slice_pitch(head_tiles) + 2) * 4; }

// Half tiles that a warp has room for: what 8 warps fit into the 227 KiB of a multiprocessor beside their sums.
constexpr int split_slots(int dims, int element_bytes, int head_tiles) {
  const int room = 226 * 1024 / SplitGeometry::kMaxWarps - split_sum_bytes(head_tiles);
  const int slots = room / split_slot_bytes(dims, element_bytes);
  return slots > 12 ? 12 : slots;
}

// dims: the instance's head size; head_tiles: of 8 query heads.
constexpr SplitGeometry split_geometry(int dims, int element_bytes, int head_tiles, const spf_device_facts& facts) {
  SplitGeometry g;
  const int heads = 8 * head_tiles;
  const int64_t of_warp =
      int64_t{split_slots(dims, element_bytes, head_tiles)} * split_slot_bytes(dims, element_bytes) +
      split_sum_bytes(head_tiles);
  const int64_t warps = (facts.shared_memory_per_block - 1024) / of_warp;
  if (facts.sm_count < 1 || warps < 1) return g;
  g.blocks = facts.sm_count;
  g.warps = static_cast<int>(warps < g.kMaxWarps ? warps : g.kMaxWarps);
  g.shared_bytes = static_cast<size_t>(g.warps * of_warp);
  // A block leaves the sums of at most two items unfinished: the one it begins with and the one it ends with.
  g.workspace_bytes =
      static_cast<size_t>(g.blocks) * (16 + 2 * static_cast<size_t>(heads) * static_cast<size_t>(dims + 2) * 4);
  return g;
}

} // namespace spf::attention
