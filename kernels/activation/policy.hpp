// Which activation kernel runs, at which instance. Costs are microseconds.
#pragma once

#include "kernels/common/policy.hpp"

namespace spf::activation {

inline double elements(const Problem& problem) {
  return static_cast<double>(problem.extent("*")) * static_cast<double>(problem.extent("D"));
}

// Scalar loops with fp64 transcendentals: about 25 ns per output, one thread.
inline PolicyResult reference_policy(const Problem& problem, const spf_device_facts&, std::span<const InstanceRow>) {
  return policy::accept(0, 0.5 + elements(problem) * 25e-3);
}

} // namespace spf::activation
