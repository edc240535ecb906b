// Which mma.sync kernel of scaled_linear runs. Costs are microseconds.
#pragma once

#include "kernels/linear/policy_cuda.hpp"
#include "kernels/linear/policy_scaled.hpp"

namespace spf::linear {

// 8-bit weights and activations of the same kind, any number of tokens.
inline PolicyResult sm80_mma8_policy(const Problem& p, const spf_device_facts& facts,
                                     std::span<const InstanceRow> instances) {
  const ByteForm form = byte_form(p);
  if (*form.layout == '\0') return form.refusal;
  PolicyResult result = mma_choice(
      p, facts, instances,
      [&](const InstanceRow& row) {
        return policy::axis(row, "X") == p.type("X") && policy::axis(row, "fold") == (form.fold ? 1 : 0);
      },
      [&](const InstanceRow& row) { return mma_tile_of(row, byte_format(form.fold)); });
  result.layout = form.layout;
  return result;
}

} // namespace spf::linear
