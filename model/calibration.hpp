// What a model's linear layers read when it reads a text: the input of GPTQ and AWQ.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <vector>

#include "model/quantize.hpp"
#include "model/runner.hpp"
#include "model/tokenizer.hpp"

namespace spearfish::model {

struct CalibrationOptions {
  int64_t window = 1024; // tokens that the model reads at once; at most its context
  // Bytes of moments to hold: as many layers as fit are watched in one pass over the text, at least one.
  size_t memory = size_t{2} << 30;
  // Tokens read of all, in this pass; pass `pass` of `passes`. May throw.
  std::function<void(int64_t done, int64_t all, int64_t pass, int64_t passes)> progress;
};

// The second moments of the inputs of every layer, gathered when they are asked for. The model runs on the CPU, with
// f32 activations, as it is: layers are not rounded before what comes behind them is watched.
class Calibration final : private LinearObserver {
 public:
  // Reads `ids` in windows of their own. `checkpoint` must outlive this object. Error (SPF_INVALID_ARGUMENT) for no
  // ids, an id outside the vocabulary, or a window that is not in 1..context; SPF_OUT_OF_MEMORY as of Runner.
  Calibration(const Checkpoint& checkpoint, std::vector<int32_t> ids, CalibrationOptions options);

  // Moments of one layer, valid until another pass is needed: ask in ascending order. Error as of the progress
  // callback.
  LayerMoments layer(size_t index);

  int64_t tokens() const noexcept { return static_cast<int64_t>(ids_.size()); }

 private:
  void observe(const Linear& linear, const Tensor& x) override;
  void watch(size_t first);

  const Checkpoint& checkpoint_;
  std::vector<int32_t> ids_;
  CalibrationOptions options_;
  size_t layers_per_pass_ = 1;
  size_t first_ = 0, end_ = 0;                    // layers that moments_ holds
  std::map<const Linear*, InputMoments> moments_; // of the first linear of each site
};

} // namespace spearfish::model
