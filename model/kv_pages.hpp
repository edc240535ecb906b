// Which pages of the key/value cache belong to which sequence. Host side only: the pages themselves lie on the device.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace spearfish::model {

class KvPages {
 public:
  // `sequences` of at most `context` positions each, in pages of `block_size`. There are pages for all at full length.
  KvPages(int64_t sequences, int64_t context, int64_t block_size);

  int64_t blocks() const noexcept { return sequences_ * per_sequence_; }
  int64_t blocks_per_sequence() const noexcept { return per_sequence_; }
  int64_t block_size() const noexcept { return block_size_; }
  int64_t length(int64_t sequence) const { return lengths_[index(sequence)]; }
  int64_t free_blocks() const noexcept { return static_cast<int64_t>(free_.size()); }

  // Makes a sequence `count` positions longer; takes pages as they are needed.
  void extend(int64_t sequence, int64_t count);
  // Gives a sequence's pages back.
  void clear(int64_t sequence);

  // The row of the cache that holds a position: page * block_size + offset.
  int64_t slot(int64_t sequence, int64_t position) const;
  // [sequences, blocks_per_sequence], row by row; 0 where a sequence has no page yet.
  std::span<const int32_t> tables() const noexcept { return tables_; }

 private:
  static size_t index(int64_t i) { return static_cast<size_t>(i); }
  int64_t sequences_, per_sequence_, block_size_;
  std::vector<int64_t> lengths_;
  std::vector<int32_t> tables_;
  std::vector<int32_t> free_; // the last is taken first
};

} // namespace spearfish::model
