// What norms with groups take, and which norm kernel runs, at which instance. Costs are microseconds.
#pragma once

#include "core/constraint.hpp"
#include "kernels/common/policy.hpp"

namespace spf::norm {

inline Violation per_block_constraint(const Problem& p) {
  const auto group = static_cast<int64_t>(p.param("group_size"));
  if (group != 32 && group != 64 && group != 128) return {"group_size", std::to_string(group), "32, 64 or 128"};
  if (p.extent("H") % group != 0)
    return {"x.shape[-1]", std::to_string(p.extent("H")), "a multiple of group_size, " + std::to_string(group)};
  if (p.extent("G") != p.extent("H") / group)
    return {"scale.shape[-1]", std::to_string(p.extent("G")),
            "H / group_size, " + std::to_string(p.extent("H") / group)};
  return {};
}

// Elements that a problem reads and writes: x and out, or x and residual both ways; codes count as half of one.
inline double traffic(const Problem& problem) {
  const double elements = static_cast<double>(problem.extent("*")) * static_cast<double>(problem.extent("H"));
  const bool adds = problem.has("residual"), codes = problem.has("scale");
  return elements * (codes ? (adds ? 3.5 : 1.5) : adds ? 4 : 2);
}

// The smallest capacity that holds a row, in the instances of its type; capacity 0 holds any.
inline PolicyResult sm75_rows_policy(const Problem& problem, const spf_device_facts& facts,
                                     std::span<const InstanceRow> instances) {
  const spf_scalar_type type = problem.type("T");
  const int64_t chunks = (problem.extent("H") * policy::element_bytes(type) + 15) / 16;
  int best = -1;
  int64_t capacity = 0;
  for (size_t i = 0; i < instances.size(); ++i) {
    const int64_t holds = policy::axis(instances[i], "chunks");
    if (policy::axis(instances[i], "T") != type || (holds != 0 && holds < chunks)) continue;
    if (best >= 0 && (holds == 0 || (capacity != 0 && capacity <= holds))) continue;
    best = static_cast<int>(i);
    capacity = holds;
  }
  if (best < 0) return policy::refuse("type", "no instance of this type and row length");
  const double bytes = traffic(problem) * static_cast<double>(policy::element_bytes(type));
  return policy::accept(best, policy::streaming_cost(facts, bytes));
}

// Measured on one Zen 4 core: 0.13 ns (AVX-512) and 0.2 ns (AVX2) per element moved.
inline PolicyResult avx512_rows_policy(const Problem& problem, const spf_device_facts& facts,
                                       std::span<const InstanceRow>) {
  return policy::cpu_rows(facts, traffic(problem), 0.13);
}
inline PolicyResult avx2_rows_policy(const Problem& problem, const spf_device_facts& facts,
                                     std::span<const InstanceRow>) {
  return policy::cpu_rows(facts, traffic(problem), 0.2);
}

// Scalar loops with double accumulation: about 1 ns per element moved, one thread.
inline PolicyResult reference_policy(const Problem& problem, const spf_device_facts&, std::span<const InstanceRow>) {
  return policy::accept(0, 0.5 + traffic(problem) * 1e-3);
}

} // namespace spf::norm
