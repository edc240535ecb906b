// A checkpoint's linear layers rounded to a format in memory, to run without writing them.
#pragma once

#include <cstddef>
#include <map>
#include <string>

#include "model/runner.hpp"

namespace spearfish::model {

class RoundedWeights {
 public:
  // Rounds every linear but lm_head to nearest. Error for a format that cannot be written; SPF_UNSUPPORTED naming the
  // layer where it does not fit (block formats want K in whole blocks).
  RoundedWeights(const Checkpoint& checkpoint, const std::string& format);

  // Valid while this object lives.
  WeightChoice choice() const;
  // Bytes of all weights, those that were not rounded included: what a file of them takes, without its header.
  size_t bytes() const noexcept { return bytes_; }

 private:
  std::map<const Linear*, QuantizedWeight> weights_;
  size_t bytes_ = 0;
};

} // namespace spearfish::model
