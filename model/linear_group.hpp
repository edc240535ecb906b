// Linear layers that read the same rows, as one weight where their formats allow: q, k and v, or gate and up.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "model/checkpoint.hpp"

namespace spearfish::model {

// The name of a scheme: "int4-g128" where the library has one, else made of its parts: "gptq-u4b8-g128".
std::string scheme_name(const spf_quant_scheme& scheme);

// One linear layer and the weight that it runs with.
struct LinearPart {
  const Linear* linear = nullptr;
  const spf_quantized_weight* weight = nullptr;
};

// Parts whose output rows follow each other. Borrows.
struct LinearGroup {
  std::vector<LinearPart> parts;
  spf_quant_scheme scheme = {};
  int64_t n = 0, k = 0;

  bool has_bias() const { return parts.front().linear->bias.type != SPF_TYPE_NONE; }
  std::string name() const; // "model.layers.0.self_attn.q_proj, ...k_proj"
};

// Splits layers into as few groups as keep every value: parts are joined if scheme and K are the same, their rows lie
// side by side in every view, and no scale spans all rows (unless it is the same number).
std::vector<LinearGroup> group_linears(const std::vector<LinearPart>& parts);

// The views of a whole group; owns the bytes where they had to be put together.
class JoinedWeight {
 public:
  explicit JoinedWeight(const LinearGroup& group);
  const spf_quantized_weight& weight() const noexcept { return weight_; }

 private:
  spf_tensor join(const LinearGroup& group, const spf_tensor spf_quantized_weight::*view, int dim);

  spf_quantized_weight weight_ = {};
  std::vector<std::unique_ptr<std::byte[]>> memory_;
};

} // namespace spearfish::model
