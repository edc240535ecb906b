// How the CUDA kernels split rows among blocks, and where their intermediate results lie in the workspace. Policies
// size it, kernels use it.
#pragma once

#include "kernels/sampling/definition.h"

namespace spf::sampling {

// A block of argmax or sample takes one part of one row.
inline constexpr int kPartThreads = 256;
inline constexpr int64_t kPartStep = 2048; // parts are whole multiples of it

struct Parts {
  int32_t count = 1;  // of a row, at most kPartThreads
  int64_t length = 0; // entries of each but the last
  int64_t blocks = 0; // of all rows
};

// Blocks for every multiprocessor eight times over, as far as parts stay worth a block.
inline Parts row_parts(int64_t rows, int64_t v, int32_t multiprocessors) {
  const auto up = [](int64_t a, int64_t b) { return (a + b - 1) / b; };
  const int64_t wanted = rows > 0 ? 8 * (multiprocessors > 0 ? multiprocessors : 100) / rows : 1;
  int64_t count = wanted < 1 ? 1 : wanted > kPartThreads ? kPartThreads : wanted;
  Parts parts;
  parts.length = up(up(v > 0 ? v : 1, count), kPartStep) * kPartStep;
  parts.count = static_cast<int32_t>(up(v > 0 ? v : 1, parts.length));
  parts.blocks = rows * parts.count;
  return parts;
}

inline constexpr uint32_t kBins = kFarthest >> 20; // of the first level: a sixteenth of an octave each
inline constexpr uint32_t kListed = 4096;          // distances that the second level may list; beyond, it reads the row

// What the kernels of one sample call tell each other about a row.
struct RowState {
  RowRule rule;
  uint32_t by_min_p = 0;    // the farthest distance that min-p keeps
  uint32_t arrived[2] = {}; // blocks that have ended, of histogram and refine: the last one concludes
  uint32_t listed = 0;      // distances in the list, or more than kListed
  uint32_t farthest = 0;    // that top-k and top-p keep, once known
  // What the histogram left open:
  uint32_t k_bin = kBins; // the bin of top-k's border; kBins: k_farthest is known
  uint32_t k_farthest = kFarthest - 1;
  uint64_t k_before = 0;                // tokens before that bin
  uint32_t p_first = kBins, p_last = 0; // the bins in which top-p's border may lie; first > last: none
};

struct SampleWorkspace {
  int64_t best = 0, masses = 0, counts = 0, bins = 0, list = 0, states = 0, bytes = 0; // byte offsets, total
};

inline SampleWorkspace sample_workspace(int64_t rows, const Parts& parts) {
  SampleWorkspace w;
  const auto take = [&](int64_t each) {
    const int64_t at = w.bytes;
    w.bytes += (rows * each + 255) / 256 * 256;
    return at;
  };
  w.best = take(8 * parts.count);   // u64 by part: its best logit and index
  w.masses = take(8 * parts.count); // u64 by part: the mass that stays
  w.bins = take(8 * kBins);         // u64: mass by bin
  w.counts = take(4 * kBins);       // u32: tokens by bin
  w.list = take(4 * kListed);       // u32: distances in the open bins
  w.states = take(static_cast<int64_t>(sizeof(RowState)));
  return w;
}

} // namespace spf::sampling
