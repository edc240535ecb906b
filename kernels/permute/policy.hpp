// Which permute kernel runs, at which instance. Costs are microseconds.
#pragma once

#include "kernels/common/policy.hpp"

namespace spf::permute {

inline double elements(const Problem& problem) {
  return static_cast<double>(problem.extent("*")) * static_cast<double>(problem.extent("J"));
}

inline PolicyResult sm75_gather_policy(const Problem& problem, const spf_device_facts& facts,
                                       std::span<const InstanceRow> instances) {
  const int64_t bytes = policy::element_bytes(problem.type("T"));
  const int instance = policy::instance_with(instances, "bytes", bytes);
  if (instance < 0) return policy::refuse("type", "no instance of this size of element");
  return policy::accept(instance, policy::streaming_cost(facts, 2 * elements(problem) * static_cast<double>(bytes)));
}

// One load that waits for an index, one store: about 0.6 ns an element on each thread.
inline PolicyResult reference_policy(const Problem& problem, const spf_device_facts& facts,
                                     std::span<const InstanceRow>) {
  return policy::cpu_rows(facts, elements(problem), 0.6);
}

} // namespace spf::permute
