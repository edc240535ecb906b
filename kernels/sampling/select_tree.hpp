// The shape of sm75_select's tree, from the length of a row and K. The policy sizes the workspace with it, the kernel
// walks it.
#pragma once

#include <cstdint>

namespace spf::sampling {

inline constexpr int kSelectThreads = 256;
inline constexpr int kSelectEach = 32;                              // entries of a thread
inline constexpr int kSelectEntries = kSelectThreads * kSelectEach; // of a block
inline constexpr int kLeastPassed = 128, kMostSelected = 4096;      // K at most, so that every level halves the lists
inline constexpr int kMostLevels = 24;

struct SelectTree {
  int32_t passed = 0;              // entries of a list at most
  int32_t group = 0;               // lists that a block reads
  int32_t sorted = 1;              // a power of two, K or more
  int32_t levels = 0;              // the last one writes the answer
  int32_t lists[kMostLevels] = {}; // blocks of a row, by level

  // Workspace: twice the counts and lists of the first level, whose lists are the most.
  int64_t counts_bytes(int64_t rows) const { return (rows * lists[0] * 4 + 255) / 256 * 256; }
  int64_t half_bytes(int64_t rows) const {
    return levels > 1 ? counts_bytes(rows) + (rows * lists[0] * passed * 8 + 255) / 256 * 256 : 0;
  }
};

inline SelectTree select_tree(int64_t v, int64_t k) {
  SelectTree tree;
  const auto room = static_cast<int32_t>((k + k / 4 + 31) / 32 * 32);
  tree.passed = room < kLeastPassed ? kLeastPassed : room < kMostSelected ? room : kMostSelected;
  tree.group = kSelectEntries / tree.passed;
  while (tree.sorted < k) tree.sorted *= 2;
  int64_t lists = (v + kSelectEntries - 1) / kSelectEntries;
  if (lists < 1) lists = 1;
  tree.lists[tree.levels++] = static_cast<int32_t>(lists);
  while (lists > 1) {
    lists = (lists + tree.group - 1) / tree.group;
    tree.lists[tree.levels++] = static_cast<int32_t>(lists);
  }
  return tree;
}

} // namespace spf::sampling
