#include "model/rounded_weights.hpp"

namespace spearfish::model {
namespace {

size_t bytes_of(const spf_quantized_weight& weight) {
  size_t sum = 0;
  for (const spf_tensor* view : {&weight.codes, &weight.scales, &weight.zeros, &weight.g_idx, &weight.global_scale}) {
    int64_t bytes = 0;
    if (view->type != SPF_TYPE_NONE) check(spf_tensor_extent_bytes(view, &bytes));
    sum += static_cast<size_t>(bytes);
  }
  return sum;
}

} // namespace

RoundedWeights::RoundedWeights(const Checkpoint& checkpoint, const std::string& format) {
  const QuantScheme scheme = quant_scheme(format);
  for (const TensorEntry& tensor : checkpoint.tensors().tensors()) bytes_ += tensor.bytes.size();
  std::vector<float> values;
  for (const Linear* linear : checkpoint.linears()) {
    if (linear == &checkpoint.lm_head()) continue;
    const spf_quantized_weight& from = linear->weight;
    values.resize(static_cast<size_t>(from.n * from.k));
    check(spf_dequantize(&from, values.data()));
    try {
      const auto [at, is_new] =
          weights_.emplace(linear, QuantizedWeight::quantize(scheme, from.n, from.k, values.data()));
      if (is_new) bytes_ += bytes_of(*at->second.get()) - bytes_of(from);
    } catch (const spearfish::Error& e) {
      throw spearfish::Error(e.status(), linear->name + ": " + e.what());
    }
  }
}

WeightChoice RoundedWeights::choice() const {
  return [this](const Linear& linear) -> const spf_quantized_weight* {
    const auto found = weights_.find(&linear);
    return found == weights_.end() ? nullptr : found->second.get();
  };
}

} // namespace spearfish::model
