#include "model/kv_pages.hpp"

#include <algorithm>

namespace spearfish::model {

KvPages::KvPages(int64_t sequences, int64_t context, int64_t block_size)
    : sequences_(sequences),
      per_sequence_((context + block_size - 1) / block_size),
      block_size_(block_size),
      lengths_(index(sequences)),
      tables_(index(sequences * per_sequence_)),
      free_(index(sequences * per_sequence_)) {
  for (size_t i = 0; i < free_.size(); ++i) free_[i] = static_cast<int32_t>(free_.size() - 1 - i);
}

void KvPages::extend(int64_t sequence, int64_t count) {
  int64_t& length = lengths_[index(sequence)];
  int64_t have = (length + block_size_ - 1) / block_size_;
  length += count;
  for (const int64_t need = (length + block_size_ - 1) / block_size_; have < need; ++have) {
    tables_[index(sequence * per_sequence_ + have)] = free_.back();
    free_.pop_back();
  }
}

void KvPages::clear(int64_t sequence) {
  int64_t& length = lengths_[index(sequence)];
  const int64_t have = (length + block_size_ - 1) / block_size_;
  for (int64_t i = have; i-- > 0;) {
    int32_t& page = tables_[index(sequence * per_sequence_ + i)];
    free_.push_back(page);
    page = 0;
  }
  length = 0;
}

int64_t KvPages::slot(int64_t sequence, int64_t position) const {
  const int64_t page = tables_[index(sequence * per_sequence_ + position / block_size_)];
  return page * block_size_ + position % block_size_;
}

} // namespace spearfish::model
