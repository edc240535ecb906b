// What every implementation of apply_penalties reads, and what it does to one logit.
#pragma once

#include "core/call.hpp"
#include "kernels/common/rows.hpp"

namespace spf::sampling {

struct RowPenalties {
  float repetition = 1, presence = 0, frequency = 0;

  // Of a token that was seen, `count` times in the output.
  SPF_HOST_DEVICE float apply(float logit, int32_t count) const {
    logit = logit > 0 ? logit / repetition : logit * repetition;
    if (count <= 0) return logit;
    return logit - frequency * static_cast<float>(count) - presence;
  }
};

struct PenaltyArgs {
  RowSpace<3> space; // the rows of [0] logits, [1] prompt mask, [2] output counts
  void* logits = nullptr;
  const uint8_t* prompt = nullptr; // bool
  const int32_t* counts = nullptr;
  // [rows] each, null: off
  const float* repetition = nullptr;
  const float* presence = nullptr;
  const float* frequency = nullptr;
  int64_t v = 0;

  SPF_HOST_DEVICE RowPenalties row(int64_t r) const {
    RowPenalties penalties;
    if (repetition != nullptr) penalties.repetition = repetition[r];
    if (presence != nullptr) penalties.presence = presence[r];
    if (frequency != nullptr) penalties.frequency = frequency[r];
    return penalties;
  }
};

inline PenaltyArgs penalty_args(const Call& call) {
  PenaltyArgs args;
  const spf_tensor* const logits = call.operand("logits");
  const spf_tensor* const prompt = call.operand("prompt_mask");
  const spf_tensor* const counts = call.operand("output_counts");
  const spf_tensor* const all[3] = {logits, prompt != nullptr ? prompt : logits, counts != nullptr ? counts : logits};
  const auto vector = [&](const char* name) {
    const spf_tensor* const tensor = call.operand(name);
    return tensor != nullptr ? static_cast<const float*>(tensor->data) : nullptr;
  };
  args.space = row_space(all);
  args.logits = logits->data;
  args.prompt = prompt != nullptr ? static_cast<const uint8_t*>(prompt->data) : nullptr;
  args.counts = counts != nullptr ? static_cast<const int32_t*>(counts->data) : nullptr;
  args.repetition = vector("repetition");
  args.presence = vector("presence");
  args.frequency = vector("frequency");
  args.v = call.problem.extent("V");
  return args;
}

} // namespace spf::sampling
