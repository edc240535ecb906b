// Geometry of linear/sm90_stream: one pure function, read by its policy and by its launch. Host only.
#pragma once

#include <cstddef>
#include <cstdint>

#include "spearfish/device.h"

namespace spf::linear {

struct StreamShape {
  int64_t m = 0, n = 0, k = 0;
  int64_t group = 0; // values along K that share a scale; 0: the whole of K
  bool zeros = false;
};

struct StreamGeometry {
  static constexpr int kWarps = 8, kStages = 4, kRows = 4; // k16 rows a stage
  static constexpr int kUnitRows = 8;                      // k16 rows of a unit: 128 k

  static constexpr int kCluster = 2; // blocks that share K

  int clusters = 0;  // each owns a run of 64-column tiles
  int units = 0;     // of 128 k in K
  int fold_rows = 0; // k16 rows between scales
  int x_pitch = 0;   // bytes of a token's slice of x in shared memory
  size_t shared_bytes = 0;

  bool fits() const { return clusters > 0; }
};

constexpr int64_t stream_ceil(int64_t a, int64_t b) { return (a + b - 1) / b; }

// A slot of a warp's ring, one stage: rows of codes, then for each fold the scales and the zero points, each at its
// lane's place.
struct StreamSlot {
  int folds, scales_at, zeros_at, bytes;
};

// fold_rows: k16 rows between scales. column_scale: one scale a column, which no slot holds.
constexpr StreamSlot stream_slot(int fold_rows, bool column_scale, bool zeros) {
  StreamSlot slot = {};
  slot.folds = fold_rows >= StreamGeometry::kRows ? 1 : StreamGeometry::kRows / fold_rows;
  slot.scales_at = StreamGeometry::kRows * 512;
  slot.zeros_at = slot.scales_at + (column_scale ? 0 : slot.folds * 512);
  slot.bytes = slot.zeros_at + (zeros ? slot.folds * 128 : 0);
  return slot;
}

// Which blocks own what. fits() is false if a slice of x and the partial sums leave no room for the weights in flight.
constexpr StreamGeometry stream_geometry(const StreamShape& shape, const spf_device_facts& facts) {
  StreamGeometry g;
  const int64_t tiles = stream_ceil(shape.n, 64);
  const int64_t units = stream_ceil(shape.k, 128);
  g.units = static_cast<int>(units);
  const int64_t most = facts.sm_count / g.kCluster;
  if (most < 1 || tiles < 1 || units < 1) return g;
  const int64_t clusters = tiles < most ? tiles : most;
  g.fold_rows = shape.group == 0 || shape.group >= 128 ? 8 : static_cast<int>(shape.group / 16);
  const int slot_bytes = stream_slot(g.fold_rows, shape.group == 0, shape.zeros).bytes;
  const int64_t slice = stream_ceil(units, g.kCluster);
  // 16 bytes more than the slice: rows of eight tokens then fall into different banks.
  const int64_t pitch = slice * 256 + 16;
  const int64_t columns = stream_ceil(tiles, clusters);
  const int64_t owned = stream_ceil(columns * shape.m, g.kCluster);
  int64_t bytes = static_cast<int64_t>(g.kWarps) * g.kStages * slot_bytes + shape.m * pitch +
                  (columns + g.kWarps) * shape.m * 256 + g.kCluster * owned * 256;
  // With multiprocessors to spare, two blocks of the next launch would share one of them while this launch drains: more
  // than half of the shared memory keeps them apart (kernels/linear/README.md, sm90_stream, version 3).
  constexpr int64_t kAlone = 116 * 1024;
  if (clusters * g.kCluster < facts.sm_count && bytes < kAlone) bytes = kAlone;
  if (bytes > facts.shared_memory_per_block - 1024 || pitch > 1 << 20) return g;
  g.x_pitch = static_cast<int>(pitch);
  g.shared_bytes = static_cast<size_t>(bytes);
  g.clusters = static_cast<int>(clusters);
  return g;
}

} // namespace spf::linear
