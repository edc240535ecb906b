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

// And a cache holds the heads' type, or codes, which may have scales: one, or one a head.
inline Violation cache_constraint(const Problem& problem) {
  const spf_scalar_type held = problem.type("K");
  const bool codes = held == SPF_E4M3 || held == SPF_E5M2;
  if (!codes && held != problem.type("T"))
    return {"key_cache.type",
            held == SPF_F32   ? "f32"
            : held == SPF_F16 ? "f16"
                              : "bf16",
            "the type of the heads, e4m3, e5m2"};
  if (problem.extent("S") > problem.extent("N"))
    return {"slot_mapping.shape[0]", std::to_string(problem.extent("S")),
            "at most the tokens of key, " + std::to_string(problem.extent("N"))};
  for (const char* scale : {"k_scale", "v_scale"}) {
    if (!problem.has(scale)) continue;
    if (!codes) return {scale, "given", "NULL: a cache of numbers has no scale"};
    if (problem.extent("SH") != 1 && problem.extent("SH") != problem.extent("KH"))
      return {std::string(scale) + ".shape[0]", std::to_string(problem.extent("SH")),
              "1 or the number of heads, " + std::to_string(problem.extent("KH"))};
  }
  return rope_constraint(problem);
}

// Elements that are read and written.
inline double elements(const Problem& problem) {
  if (problem.has("slot_mapping"))
    return static_cast<double>(problem.extent("N")) *
           static_cast<double>(problem.extent("QH") + 2 * problem.extent("KH")) *
           static_cast<double>(problem.extent("D"));
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
