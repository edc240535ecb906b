// Which Hadamard kernel runs, at which instance. Costs are microseconds.
#pragma once

#include <bit>

#include "core/constraint.hpp"
#include "kernels/common/policy.hpp"

namespace spf::hadamard {

inline Violation power_of_two(const Problem& problem) {
  const int64_t n = problem.extent("N");
  if (n >= 1 && n <= 32768 && std::has_single_bit(static_cast<uint64_t>(n))) return {};
  return {"x.shape", std::to_string(n) + " columns", "a power of two from 1 to 32768 columns"};
}

inline double elements(const Problem& problem) {
  return static_cast<double>(problem.extent("*")) * static_cast<double>(problem.extent("N"));
}

inline PolicyResult sm75_butterfly_policy(const Problem& problem, const spf_device_facts& facts,
                                          std::span<const InstanceRow> instances) {
  const spf_scalar_type type = problem.type("T");
  const int64_t n = problem.extent("N"), width = n < 32 ? 0 : n; // 0: any below 32
  for (size_t i = 0; i < instances.size(); ++i)
    if (policy::axis(instances[i], "T") == type && policy::axis(instances[i], "width") == width)
      return policy::accept(
          static_cast<int>(i),
          policy::streaming_cost(facts, 2 * elements(problem) * static_cast<double>(policy::element_bytes(type))));
  return policy::refuse("type", "no instance of this type and width");
}

// Estimated for one core: each of log2(N) passes over a row in cache costs 0.15 ns an element with SSE2.
inline PolicyResult portable_f32_policy(const Problem& problem, const spf_device_facts& facts,
                                        std::span<const InstanceRow>) {
  const double passes = 2 + std::bit_width(static_cast<uint64_t>(problem.extent("N")));
  return policy::cpu_rows(facts, elements(problem), 0.15 * passes + 2);
}

// fp64, one thread.
inline PolicyResult reference_policy(const Problem& problem, const spf_device_facts&, std::span<const InstanceRow>) {
  const double passes = 2 + std::bit_width(static_cast<uint64_t>(problem.extent("N")));
  return policy::accept(0, 0.5 + elements(problem) * (passes * 0.4 + 4) * 1e-3);
}

} // namespace spf::hadamard
