// Which embedding kernel runs. Costs are microseconds.
#pragma once

#include "kernels/common/policy.hpp"

namespace spf::embedding {

// Bytes that a problem reads and writes.
inline double traffic(const Problem& problem) {
  return 2.0 * static_cast<double>(problem.extent("*")) * static_cast<double>(problem.extent("H")) *
         static_cast<double>(policy::element_bytes(problem.type("T")));
}

inline PolicyResult sm75_copy_policy(const Problem& problem, const spf_device_facts& facts,
                                     std::span<const InstanceRow> instances) {
  const int instance = policy::instance_with(instances, "T", problem.type("T"));
  if (instance < 0) return policy::refuse("type", "no instance of this type");
  return policy::accept(instance, policy::streaming_cost(facts, traffic(problem)));
}

// A thread copies about 10 GB/s from a table that no cache holds.
inline PolicyResult portable_copy_policy(const Problem& problem, const spf_device_facts& facts,
                                         std::span<const InstanceRow>) {
  const double bytes = traffic(problem);
  return policy::accept(0, 0.3 + bytes * 1e-4 / policy::useful_threads(facts, bytes));
}

// Element by element, one thread: about 2 ns each.
inline PolicyResult reference_policy(const Problem& problem, const spf_device_facts&, std::span<const InstanceRow>) {
  return policy::accept(0, 0.5 + traffic(problem) * 1e-3);
}

} // namespace spf::embedding
