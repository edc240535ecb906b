// Which norm kernel runs, at which instance. Costs are microseconds.
#pragma once

#include "kernels/common/policy.hpp"

namespace spf::norm {

// Elements that a problem reads and writes per element of x: x and out, or x and residual both ways.
inline double traffic(const Problem& problem) {
  const double elements = static_cast<double>(problem.extent("*")) * static_cast<double>(problem.extent("H"));
  return elements * (problem.op->operands[1].role == Role::kInOut ? 4 : 2);
}

// Scalar loops with double accumulation: about 2.5 ns per element moved, one thread.
inline PolicyResult reference_policy(const Problem& problem, const spf_device_facts&, std::span<const InstanceRow>) {
  return policy::accept(0, 0.5 + traffic(problem) * 2.5e-3);
}

} // namespace spf::norm
