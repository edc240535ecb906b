// Geometry of linear/sm90_stream: one pure function, read by its policy and by its launch. Host only.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/linear/sm90_wgmma.hpp"
#include "spearfish/device.h"

namespace spf::linear {

struct StreamShape {
  int64_t m = 0, n = 0, k = 0;
  int64_t group = 0; // values along K that share a scale; 0: the whole of K
  spf_scalar_type weight = SPF_U4B8;
};

struct StreamGeometry {
  static constexpr int kWarps = 8, kStages = 4;
  static constexpr int kStageBytes = 2048; // of codes: 4 or 2 k16 rows of 64 columns
  static constexpr int kUnitRows = 8;      // k16 rows of a unit: 128 k
  static constexpr int kCluster = 2;       // blocks that share K

  int clusters = 0;  // each owns a run of 64-column tiles
  int units = 0;     // of 128 k in K
  int fold_rows = 0; // k16 rows between scales
  int x_pitch = 0;   // bytes of a token's slice of x in shared memory
  size_t shared_bytes = 0;

  bool fits() const { return clusters > 0; }
};

constexpr int64_t stream_ceil(int64_t a, int64_t b) { return (a + b - 1) / b; }

// A slot of a warp's ring, one stage: rows of codes, then for each fold a row of scales and one of zero points.
struct StreamSlot {
  int rows, folds, scale_row, scales_at, zeros_at, bytes;
};

// fold_rows: k16 rows between scales. column_scale: one scale a column, which no slot holds.
constexpr StreamSlot stream_slot(spf_scalar_type weight, int fold_rows, bool column_scale) {
  StreamSlot slot = {};
  slot.rows = StreamGeometry::kStageBytes / (128 * wgmma_bits(weight));
  slot.folds = fold_rows >= slot.rows ? 1 : slot.rows / fold_rows;
  slot.scale_row = 64 * wgmma_scale_bytes(weight);
  slot.scales_at = StreamGeometry::kStageBytes;
  slot.zeros_at = slot.scales_at + (column_scale ? 0 : slot.folds * slot.scale_row);
  slot.bytes = slot.zeros_at + (wgmma_zeros(weight) ? slot.folds * 32 : 0);
  return slot;
}

// Pieces of 16 bytes that a (tile, warp) leaves for each block of the cluster: 32 columns, two of them and two tokens a
// piece.
constexpr int stream_pieces(int tokens) { return 16 * ((tokens + 1) / 2); }

// Which blocks own what. fits() is false if a slice of x and the partial sums leave no room for the weights in flight.
constexpr StreamGeometry stream_geometry(const StreamShape& shape, const spf_device_facts& facts) {
  StreamGeometry g;
  const int64_t tiles = stream_ceil(shape.n, 64);
  const int64_t units = stream_ceil(shape.k, 128);
  g.units = static_cast<int>(units);
  const int64_t most = facts.sm_count / g.kCluster;
  if (most < 1 || tiles < 1 || units < 1 || shape.m < 1) return g;
  const int64_t clusters = tiles < most ? tiles : most;
  g.fold_rows = shape.group == 0 || shape.group >= 128 ? 8 : static_cast<int>(shape.group / 16);
  const int slot_bytes = stream_slot(shape.weight, g.fold_rows, shape.group == 0).bytes;
  const int64_t slice = stream_ceil(units, g.kCluster);
  // 16 bytes more than the slice: rows of eight tokens then fall into different banks.
  const int64_t pitch = slice * 256 + 16;
  const int64_t columns = stream_ceil(tiles, clusters);
  const int64_t sums = g.kCluster * (columns + g.kWarps) * stream_pieces(static_cast<int>(shape.m)) * 16;
  // The ring, a slice of x, the sums, and which warps met a column.
  int64_t bytes =
      static_cast<int64_t>(g.kWarps) * g.kStages * slot_bytes + shape.m * pitch + sums + g.kCluster * columns;
  // With multiprocessors to spare, two blocks of the next launch would share one of them while this launch drains: more
  // than half of the shared memory keeps them apart (kernels/linear/notes/sm90_stream.md, version 3).
  const int64_t room = facts.shared_memory_per_block - 1024, alone = room < 116 * 1024 ? room : 116 * 1024;
  if (clusters * g.kCluster < facts.sm_count && bytes < alone) bytes = alone;
  if (bytes > room || pitch > 1 << 20) return g;
  g.x_pitch = static_cast<int>(pitch);
  g.shared_bytes = static_cast<size_t>(bytes);
  g.clusters = static_cast<int>(clusters);
  return g;
}

} // namespace spf::linear
