#include "model/calibration.hpp"

#include <algorithm>

#include "model/error.hpp"

namespace spearfish::model {
namespace {

// The linears of a layer that stand for those that read the same rows.
std::vector<const Linear*> sites(const DecoderLayer& layer) {
  return {&layer.qkv.front(), &layer.o, &layer.gate_up.front(), &layer.down};
}

size_t moment_bytes(const DecoderLayer& layer) {
  size_t bytes = 0;
  for (const Linear* site : sites(layer))
    bytes += static_cast<size_t>(site->weight.k * site->weight.k) * sizeof(double);
  return bytes;
}

} // namespace

Calibration::Calibration(const Checkpoint& checkpoint, std::vector<int32_t> ids, CalibrationOptions options)
    : checkpoint_(checkpoint), ids_(std::move(ids)), options_(std::move(options)) {
  if (ids_.empty()) throw Error(SPF_INVALID_ARGUMENT, "", "calibration text", "of no tokens", "at least one token");
  const int64_t most = checkpoint.config().max_positions;
  if (options_.window < 1 || options_.window > most)
    throw Error(SPF_INVALID_ARGUMENT, "", "window", std::to_string(options_.window), "1 to " + std::to_string(most));
  layers_per_pass_ = std::max<size_t>(1, options_.memory / moment_bytes(checkpoint.layers().front()));
}

void Calibration::observe(const Linear& linear, const Tensor& x) {
  const auto found = moments_.find(&linear);
  if (found != moments_.end()) found->second.add(static_cast<const float*>(x.data()), x.extent(0), x.stride(0));
}

void Calibration::watch(size_t first) {
  const size_t count = checkpoint_.layers().size();
  moments_.clear();
  first_ = first;
  end_ = std::min(count, first + layers_per_pass_);
  for (size_t i = first_; i < end_; ++i)
    for (const Linear* site : sites(checkpoint_.layers()[i])) moments_.emplace(site, InputMoments(site->weight.k));
  RunnerOptions options;
  options.activation = SPF_F32;
  options.context = options_.window;
  options.observer = this;
  Runner runner(checkpoint_, options);
  const auto all = static_cast<int64_t>(ids_.size());
  const auto passes = static_cast<int64_t>((count + layers_per_pass_ - 1) / layers_per_pass_);
  for (int64_t at = 0; at < all; at += options_.window) {
    const int64_t rows = std::min(options_.window, all - at);
    if (options_.progress) options_.progress(at, all, static_cast<int64_t>(first / layers_per_pass_), passes);
    // No logits are wanted.
    runner.evaluate(std::span(ids_).subspan(static_cast<size_t>(at), static_cast<size_t>(rows)), rows, {});
  }
}

LayerMoments Calibration::layer(size_t index) {
  if (index < first_ || index >= end_) watch(index / layers_per_pass_ * layers_per_pass_);
  const DecoderLayer& layer = checkpoint_.layers()[index];
  const auto of = [&](const Linear& site) { return &moments_.at(&site); };
  return {of(layer.qkv.front()), of(layer.o), of(layer.gate_up.front()), of(layer.down)};
}

} // namespace spearfish::model
