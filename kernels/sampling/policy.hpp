// Which sampling kernel runs, with its workspace. Costs are microseconds.
#pragma once

#include "kernels/common/policy.hpp"

namespace spf::sampling {

inline double entries(const Problem& problem) {
  return static_cast<double>(problem.extent("*")) * static_cast<double>(problem.extent("V"));
}

// Threads for which a workspace has room, and hence that a kernel uses at most.
inline int64_t workspace_threads(const Problem& problem, const spf_device_facts& facts) {
  const int64_t threads = facts.sm_count > 0 ? facts.sm_count : 1, rows = problem.extent("*");
  return rows < threads ? rows : threads;
}

// One row a thread. Measured on one Zen 4 core, f32 rows of 128256: 0.6 ns an entry.
inline PolicyResult portable_argmax_policy(const Problem& problem, const spf_device_facts& facts,
                                           std::span<const InstanceRow>) {
  return policy::accept(0, 0.3 + entries(problem) * 0.6e-3 / policy::useful_threads(facts, entries(problem) * 4));
}

// Workspace: the distances of one row for each thread.
inline PolicyResult portable_sample_policy(const Problem& problem, const spf_device_facts& facts,
                                           std::span<const InstanceRow>) {
  const double threads = static_cast<double>(workspace_threads(problem, facts));
  PolicyResult result = policy::accept(0, 2 + entries(problem) * 10e-3 / (threads > 1 ? threads : 1));
  result.workspace_bytes = static_cast<size_t>(workspace_threads(problem, facts) * problem.extent("V")) * 4;
  return result;
}

// Scalar loops, one thread; sample sorts each row.
inline PolicyResult reference_policy(const Problem& problem, const spf_device_facts&, std::span<const InstanceRow>) {
  return policy::accept(0, 5 + entries(problem) * 100e-3);
}

} // namespace spf::sampling
