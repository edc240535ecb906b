// Which activation kernel runs, at which instance. Costs are microseconds.
#pragma once

#include "kernels/common/policy.hpp"

namespace spf::activation {

inline double elements(const Problem& problem) {
  return static_cast<double>(problem.extent("*")) * static_cast<double>(problem.extent("D"));
}

inline PolicyResult sm75_rows_policy(const Problem& problem, const spf_device_facts& facts,
                                     std::span<const InstanceRow> instances) {
  const spf_scalar_type type = problem.type("T");
  const int instance = policy::instance_with(instances, "T", type);
  if (instance < 0) return policy::refuse("type", "no instance of this type");
  const double moved = problem.op->operands[0].dims[problem.op->operands[0].dim_count - 1].factor + 1;
  const double bytes = elements(problem) * moved * static_cast<double>(policy::element_bytes(type));
  return policy::accept(instance, policy::streaming_cost(facts, bytes));
}

// Measured on one Zen 4 core, bf16 SiLU: 0.8 ns (AVX-512) and 1.3 ns (AVX2) per output.
inline PolicyResult avx512_rows_policy(const Problem& problem, const spf_device_facts& facts,
                                       std::span<const InstanceRow>) {
  return policy::cpu_rows(facts, elements(problem), 0.8);
}
inline PolicyResult avx2_rows_policy(const Problem& problem, const spf_device_facts& facts,
                                     std::span<const InstanceRow>) {
  return policy::cpu_rows(facts, elements(problem), 1.3);
}

// Scalar loops with fp64 transcendentals: about 7 ns per output, one thread.
inline PolicyResult reference_policy(const Problem& problem, const spf_device_facts&, std::span<const InstanceRow>) {
  return policy::accept(0, 0.5 + elements(problem) * 7e-3);
}

} // namespace spf::activation
