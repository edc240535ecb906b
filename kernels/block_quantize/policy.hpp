// Which block quantizer runs, at which instance. Costs are microseconds.
#pragma once

#include "core/constraint.hpp"
#include "kernels/common/policy.hpp"

namespace spf::block_quantize {

// Scales that nobody can read would make codes that nobody can use.
inline Violation some_scales(const Problem& problem) {
  if (problem.has("scales") || problem.has("scales_swizzled")) return {};
  return {"scales", "NULL, and scales_swizzled too", "at least one of the two"};
}

// Values that are quantized, by the codes' extent: x holds twice as many for gated ops.
inline double values(const Problem& problem) {
  const OperandSchema& codes = problem.op->operands[problem.op->operand_index("codes")];
  const bool nibbles = problem.types[codes.type_variable] == SPF_U8;
  return static_cast<double>(problem.extent("*")) * static_cast<double>(problem.extent("G")) *
         codes.dims[codes.dim_count - 1].factor * (nibbles ? 2 : 1);
}

inline bool is_gated(const Problem& problem) { return problem.op->name[0] == 's'; }

inline PolicyResult sm75_chunks_policy(const Problem& problem, const spf_device_facts& facts,
                                       std::span<const InstanceRow> instances) {
  const spf_scalar_type type = problem.type("T"), code = problem.type("C");
  for (size_t i = 0; i < instances.size(); ++i) {
    if (policy::axis(instances[i], "T") != type) continue;
    if (const int64_t made = policy::axis(instances[i], "C"); made >= 0 && made != code) continue;
    const double read = static_cast<double>(policy::element_bytes(type)) * (is_gated(problem) ? 2 : 1);
    return policy::accept(static_cast<int>(i), policy::streaming_cost(facts, values(problem) * (read + 1)));
  }
  return policy::refuse("type", "no instance of these types");
}

// Scalar loops over every rounding: about 6 ns a value, 25 with SiLU, one thread.
inline PolicyResult reference_policy(const Problem& problem, const spf_device_facts&, std::span<const InstanceRow>) {
  return policy::accept(0, 0.5 + values(problem) * (is_gated(problem) ? 25e-3 : 6e-3));
}

} // namespace spf::block_quantize
