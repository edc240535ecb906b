// What quantize ops take, and which kernel runs. Costs are microseconds.
#pragma once

#include "core/constraint.hpp"
#include "kernels/common/policy.hpp"
#include "kernels/quantize/workspace.hpp"

namespace spf::quantize {

// A scale has a block of rows and columns; blocks are equal and cover x.
inline Violation static_fp8_constraint(const Problem& p) {
  const auto divides = [](int64_t parts, int64_t whole) { return whole == 0 || (parts > 0 && whole % parts == 0); };
  if (!divides(p.extent("SR"), p.extent("*")))
    return {"scale.shape[0]", std::to_string(p.extent("SR")),
            "a divisor of the rows of x, " + std::to_string(p.extent("*"))};
  if (!divides(p.extent("SC"), p.extent("K")))
    return {"scale.shape[1]", std::to_string(p.extent("SC")), "a divisor of K, " + std::to_string(p.extent("K"))};
  return {};
}

inline bool has_experts(const Problem& p) { return p.has("counts"); }

// Groups cover a row; scales have a column for each, or a word for four.
inline Violation groups_constraint(const Problem& p) {
  const bool experts = has_experts(p),
             packed_op = p.extent("W") > 0 || std::string_view(p.op->name).ends_with("packed");
  const int64_t group = experts ? 128 : static_cast<int64_t>(p.param("group_size")), k = p.extent("K");
  if ((group & (group - 1)) != 0) return {"group_size", std::to_string(group), "32, 64, 128, 256 or 512"};
  if (k % group != 0) return {"out.shape[-1]", std::to_string(k), "a multiple of the group, " + std::to_string(group)};
  const int64_t groups = k / group, words = (groups + 3) / 4;
  if (packed_op) {
    if (p.extent("W") != words)
      return {"scale.shape[1]", std::to_string(p.extent("W")), "a word for four groups, " + std::to_string(words)};
    if (p.extent("P") < p.extent("*"))
      return {"scale.shape[0]", std::to_string(p.extent("P")),
              "the rows of x, " + std::to_string(p.extent("*")) + ", or more"};
    return {};
  }
  const bool packed = experts && p.type("S") == SPF_I32;
  if (p.extent("G") != (packed ? words : groups))
    return {"scale.shape[-1]", std::to_string(p.extent("G")),
            packed ? "a word for four groups, " + std::to_string(words)
                   : "a scale for each group, " + std::to_string(groups)};
  return {};
}

inline double elements(const Problem& p) {
  const double rows = has_experts(p) ? static_cast<double>(p.extent("E")) * static_cast<double>(p.extent("M"))
                                     : static_cast<double>(p.extent("*"));
  return rows * static_cast<double>(p.extent("K"));
}

inline bool one_computed_scale(const Problem& p) { return std::string_view(p.op->name) == "dynamic_scaled_fp8_quant"; }

inline PolicyResult sm75_policy(const Problem& p, const spf_device_facts& facts,
                                std::span<const InstanceRow> instances) {
  const spf_scalar_type type = p.type("T");
  const int instance = policy::instance_with(instances, "T", type);
  if (instance < 0) return policy::refuse("type", "no instance of this type");
  const double size = static_cast<double>(policy::element_bytes(type));
  PolicyResult result = policy::accept(instance, policy::streaming_cost(facts, elements(p) * (size + 1)));
  if (!one_computed_scale(p)) return result;
  result.cost += policy::streaming_cost(facts, elements(p) * size);
  result.workspace_bytes = kMostPartials * sizeof(float);
  return result;
}

// Measured on one Zen 4 core: ns an element, with its two passes.
inline PolicyResult avx512_rows_policy(const Problem& p, const spf_device_facts& facts, std::span<const InstanceRow>) {
  return policy::cpu_rows(facts, elements(p), 0.3);
}
inline PolicyResult avx2_rows_policy(const Problem& p, const spf_device_facts& facts, std::span<const InstanceRow>) {
  return policy::cpu_rows(facts, elements(p), 0.5);
}
inline PolicyResult reference_policy(const Problem& p, const spf_device_facts&, std::span<const InstanceRow>) {
  return policy::accept(0, 0.5 + elements(p) * 8e-3);
}

} // namespace spf::quantize
