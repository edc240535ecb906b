// Geometry of linear/sm90_column: one pure function, read by its policy and by its launch.
#pragma once

#include "kernels/common/rows.hpp"
#include "kernels/linear/sm90_stream.hpp"

namespace spf::linear {

// What a warp does: some units of a column. The warps of a team share x, which comes in the order of K.
struct ColumnPlace {
  int16_t unit = 0, units = 0;           // of 128 k: the first of its part of K, and how many
  int16_t team_unit = 0, team_units = 0; // the same of what the team needs of x
  uint8_t column = 0;                    // of the block
  uint8_t slot = 0;                      // where its ring lies, and in the end its sums
  uint8_t team = 0, mates = 0;           // mates: warps of the team
  uint8_t leads = 0;                     // asks for x
  uint8_t unused[3] = {};
};
static_assert(sizeof(ColumnPlace) == 16);

// The work of a block. A column's sums lie in the slots first[column] to first[column + 1] - 1, in the order of K.
struct ColumnBlock {
  static constexpr int kWarps = 16;
  ColumnPlace warps[kWarps];
  uint8_t first[kWarps + 1] = {};
  uint8_t columns = 0, teams = 0;
  uint8_t unused[13] = {};
  int busiest = 0; // units of the scheduler that has most
};

struct ColumnGeometry {
  static constexpr int kWarps = ColumnBlock::kWarps, kStages = 4;
  static constexpr int kUnitRows = 8; // k16 rows of a unit: 128 k, two stages of x

  int clusters = 0; // each owns a run of 64-column tiles
  int ranks = 0;    // blocks of a cluster, each with a part of K
  int columns = 0;  // tiles of a cluster at most
  int busiest = 0;  // units of the scheduler that has most
  size_t shared_bytes = 0;

  constexpr bool fits() const { return clusters > 0; }
};

// Stages of 64 k in a team's ring of x: more where several warps read them.
SPF_HOST_DEVICE constexpr int column_x_stages(int columns) { return columns == 1 ? 2 : 4; }

// Divides `columns` columns of the units [first, first + units) among the warps. Warps that are equal modulo 4 share a
// scheduler, and a scheduler's instructions are what bounds 16 tokens, so all four should have equal work:
//   up to 8 columns   a warp has 1 / parts of a column; of seven columns, whose 14 warps fill two of the schedulers,
//                     the first part is 6/16 to 8/16
//   9 to 15           one warp a column, but two for each of the last 16 - columns
constexpr ColumnBlock column_block(int columns, int first, int units) {
  constexpr int kWarps = ColumnBlock::kWarps;
  ColumnBlock b;
  b.columns = static_cast<uint8_t>(columns);
  const bool halves = columns > kWarps / 2 && columns < kWarps;
  const int whole = halves ? 2 * columns - kWarps : 0; // columns that have a warp of their own
  const int parts = halves ? 2 : kWarps / columns;
  b.teams = static_cast<uint8_t>(parts + (whole > 0 ? 1 : 0));
  // Sixteenths of K that the first part of each of seven columns has; the scheduler of either part.
  constexpr int kSixteenths[7] = {7, 7, 7, 7, 6, 6, 8},
                kSchedulers[2][7] = {{0, 0, 0, 0, 1, 1, 1}, {2, 2, 3, 3, 2, 3, 1}};
  int load[4] = {}, count[4] = {}, slot = 0;
  bool leads[kWarps + 1] = {};
  const auto place = [&](int column, int part, int of, int team, int mates, int scheduler, int team_first,
                         int team_end) {
    const int begin = columns == 7 ? part * kSixteenths[column] * units / 16 : units * part / of;
    const int end = columns == 7 && part == 0 ? kSixteenths[column] * units / 16 : units * (part + 1) / of;
    if (scheduler < 0 && !halves) scheduler = (slot + slot / 4) % 4; // parts may take turns at being larger
    if (scheduler < 0)                                               // the one with least to do
      for (int s = 0; s < 4; ++s)
        if (count[s] < 4 && (scheduler < 0 || load[s] < load[scheduler])) scheduler = s;
    ColumnPlace& p = b.warps[scheduler + 4 * count[scheduler]++];
    load[scheduler] += end - begin;
    if (load[scheduler] > b.busiest) b.busiest = load[scheduler];
    p.unit = static_cast<int16_t>(first + begin);
    p.units = static_cast<int16_t>(end - begin);
    p.team_unit = static_cast<int16_t>(first + team_first);
    p.team_units = static_cast<int16_t>(team_end - team_first);
    p.column = static_cast<uint8_t>(column);
    p.slot = static_cast<uint8_t>(b.first[column] + part);
    p.team = static_cast<uint8_t>(team);
    p.mates = static_cast<uint8_t>(mates);
    p.leads = leads[team] ? 0 : 1;
    leads[team] = true;
    ++slot;
  };
  for (int c = 0; c < columns; ++c) b.first[c + 1] = static_cast<uint8_t>(b.first[c] + (c < whole ? 1 : parts));
  for (int c = 0; c < whole; ++c) place(c, 0, 1, 0, whole, -1, 0, units);
  for (int part = 0; part < parts; ++part) {
    const int team_first = columns == 7 && part == 1 ? units * 6 / 16 : units * part / parts;
    const int team_end = units * (part + 1) / parts; // of seven columns the first part is a half at most
    for (int c = whole; c < columns; ++c)
      place(c, part, parts, part + (whole > 0 ? 1 : 0), columns - whole, columns == 7 ? kSchedulers[part][c] : -1,
            team_first, team_end);
  }
  // The other warps have nothing to do, and a slot each.
  for (int s = 0; s < 4; ++s)
    for (; count[s] < 4; ++count[s]) b.warps[s + 4 * count[s]].slot = static_cast<uint8_t>(slot++);
  return b;
}

// The block of a cluster's rank: a part of K.
constexpr ColumnBlock column_block(int columns, int64_t units, int ranks, int rank) {
  const int first = static_cast<int>(units * rank / ranks), end = static_cast<int>(units * (rank + 1) / ranks);
  return column_block(columns, first, end - first);
}

// Does not depend on the number of tokens: a token's results do not. Two blocks share K where that leaves a block no
// more columns than warps; blocks that have all of K to themselves were slower wherever both fit (README.md).
constexpr ColumnGeometry column_geometry(const StreamShape& shape, const spf_device_facts& facts) {
  const int64_t tiles = stream_ceil(shape.n, 64), units = stream_ceil(shape.k, 128);
  if (tiles < 1 || units < 1 || units > 1 << 13 || shape.m < 1 || shape.m > 16) return {};
  const int fold = shape.group == 0 || shape.group >= 128 ? 8 : static_cast<int>(shape.group / 16);
  const int slot = stream_slot(shape.weight, fold, shape.group == 0).bytes;
  for (int ranks = 2; ranks >= 1; --ranks) {
    const int64_t most = facts.sm_count / ranks;
    if (most < 1) continue;
    ColumnGeometry g;
    g.ranks = ranks;
    g.clusters = static_cast<int>(tiles < most ? tiles : most);
    const int64_t columns = stream_ceil(tiles, g.clusters);
    if (columns > g.kWarps) continue;
    g.columns = static_cast<int>(columns);
    g.busiest = column_block(g.columns, units, ranks, ranks - 1).busiest;
    int64_t x = 0; // bytes of x's rings for 16 tokens; a block may have a column less, and so more teams
    for (int c = g.columns > 1 ? g.columns - 1 : 1; c <= g.columns; ++c) {
      const int64_t bytes = int64_t{column_block(c, 0, 16).teams} * column_x_stages(c) * 16 * 128;
      if (bytes > x) x = bytes;
    }
    const int64_t bytes = 1024 + x + int64_t{g.kWarps} * g.kStages * slot + (ranks == 2 ? columns * 16 * 128 : 0);
    if (bytes > static_cast<int64_t>(facts.shared_memory_per_block) - 1024) continue;
    g.shared_bytes = static_cast<size_t>(bytes);
    return g;
  }
  return {};
}

} // namespace spf::linear
