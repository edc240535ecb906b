// Byte-pair merging over token ids.
#pragma once

#include <cstddef>
#include <cstdint>
#include <unordered_map>
#include <vector>

namespace spearfish::model {

class MergeTable {
 public:
  // The pair (left, right) becomes `merged`; pairs added earlier go first. False if the pair is there already.
  bool add(int32_t left, int32_t right, int32_t merged);
  std::size_t size() const noexcept { return merges_.size(); }

  // Merges until no pair is left: always the pair that was added first, the leftmost of equal ones. n log n in symbols.
  void merge(std::vector<int32_t>& symbols) const;

 private:
  struct Merge {
    uint32_t rank;
    int32_t merged;
  };
  const Merge* find(int32_t left, int32_t right) const;
  std::unordered_map<uint64_t, Merge> merges_;
};

} // namespace spearfish::model
