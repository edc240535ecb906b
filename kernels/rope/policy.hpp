// What rope ops take, and which kernel runs. Costs are microseconds.
#pragma once

#include "core/constraint.hpp"
#include "kernels/common/policy.hpp"
#include "kernels/rope/args.h"

namespace spf::rope {

// Pairs make R even; it fits the head; tables are f32 or of the heads' type; q and k heads lie inside the fused row.
inline Violation rope_constraint(const Problem& problem) {
  const int64_t rotary = problem.extent("R"), size = problem.extent("D");
  if (rotary % 2 != 0 || rotary > size)
    return {"cos_sin.shape[1]", std::to_string(rotary), "an even number of at most D = " + std::to_string(size)};
  if (problem.type("C") != SPF_F32 && problem.type("C") != problem.type("T"))
    return {"cos_sin.type", problem.type("C") == SPF_F16 ? "f16" : "bf16", "f32, or the type of the heads"};
  const double heads = problem.param("q_heads") + problem.param("k_heads");
  if (heads > static_cast<double>(problem.extent("H")))
    return {"k_heads", std::to_string(static_cast<int64_t>(problem.param("k_heads"))),
            "q_heads + k_heads of at most H = " + std::to_string(problem.extent("H"))};
  return {};
}

// Elements that are read and written.
inline double elements(const Problem& problem) {
  const double heads = problem.extent("H") > 0 ? problem.param("q_heads") + problem.param("k_heads")
                                               : static_cast<double>(problem.extent("QH") + problem.extent("KH"));
  return static_cast<double>(problem.extent("*")) * heads * static_cast<double>(problem.extent("D"));
}

inline PolicyResult sm75_heads_policy(const Problem& problem, const spf_device_facts& facts,
                                      std::span<const InstanceRow> instances) {
  const int instance = policy::instance_with(instances, "T", problem.type("T"));
  if (instance < 0) return policy::refuse("type", "no instance of this type");
  const double bytes = 2 * elements(problem) * static_cast<double>(policy::element_bytes(problem.type("T")));
  return policy::accept(instance, policy::streaming_cost(facts, bytes));
}

inline PolicyResult cpu_heads_policy(const Problem& problem, const spf_device_facts& facts, double ns) {
  if (problem.extent("R") > kCpuRotary) return policy::refuse("shape", "rotates at most 1024 entries of a head");
  const double threads = policy::useful_threads(facts, elements(problem) * 4);
  return policy::accept(0, 0.3 + elements(problem) * ns * 1e-3 / threads);
}
inline PolicyResult avx512_heads_policy(const Problem& problem, const spf_device_facts& facts,
                                        std::span<const InstanceRow>) {
  return cpu_heads_policy(problem, facts, 0.3);
}
inline PolicyResult avx2_heads_policy(const Problem& problem, const spf_device_facts& facts,
                                      std::span<const InstanceRow>) {
  return cpu_heads_policy(problem, facts, 0.5);
}

inline PolicyResult reference_policy(const Problem& problem, const spf_device_facts&, std::span<const InstanceRow>) {
  return policy::accept(0, 0.5 + elements(problem) * 5e-3);
}

} // namespace spf::rope
