// Which block quantizer runs, at which instance. Costs are microseconds.
#pragma once

#include "core/constraint.hpp"
#include "kernels/common/policy.hpp"

namespace spf::block_quantize {

// Scales that nobody can read would make codes that nobody can use.
inline Violation some_scales(const Problem& problem) {
  if (problem.has("scales") || problem.has("scales_swizzled")) return {};
  return {"scales", "NULL, and scales_swizzled too", "at least one of the two"};
}

// A rotation of a size that tensor cores take, whole blocks of it a row, and a place for scales.
inline Violation rotation_fits(const Problem& problem) {
  const OperandSchema& x = problem.op->operands[0];
  const int64_t size = problem.extent("R"), group = x.dims[x.dim_count - 1].factor,
                columns = problem.extent("G") * group;
  if (size != 32 && size != 64 && size != 128 && (size != 16 || group != 16))
    return {"rotation.shape[0]", std::to_string(size), group == 16 ? "16, 32, 64 or 128" : "32, 64 or 128"};
  if (columns % size != 0)
    return {"x.shape", std::to_string(columns) + " columns",
            "a multiple of " + std::to_string(size) + ", as rotation has"};
  return some_scales(problem);
}

// One offset more than experts, and room for every way to spread the rows over them.
inline Violation experts_fit(const Problem& problem) {
  const int64_t offsets = problem.extent("E1"), experts = problem.extent("E"), rows = problem.extent("M");
  if (offsets < 1) return {"expert_offsets.shape[0]", "0", "one more than experts"};
  if (problem.has("global_scales") && offsets != experts + 1)
    return {"expert_offsets.shape[0]", std::to_string(offsets),
            std::to_string(experts + 1) + ": one more than experts"};
  if (rows > 0 && offsets == 1) return {"x.shape[0]", std::to_string(rows), "0 without experts"};
  const int64_t parts = rows < offsets - 1 ? rows : offsets - 1, tiles = parts + (rows - parts) / 128;
  if (problem.extent("B") < tiles)
    return {"scales_swizzled.shape[0]", std::to_string(128 * problem.extent("B")),
            std::to_string(128 * tiles) + " or more: a tile of 128 rows for each that a row may begin"};
  return {};
}

// Values that are quantized, by the codes' extent: x holds twice as many for gated ops.
inline double values(const Problem& problem) {
  const OperandSchema& codes = problem.op->operands[problem.op->operand_index("codes")];
  const bool nibbles = problem.types[codes.type_variable] == SPF_U8;
  return static_cast<double>(problem.extent("*") + problem.extent("M")) * static_cast<double>(problem.extent("G")) *
         codes.dims[codes.dim_count - 1].factor * (nibbles ? 2 : 1);
}

inline bool is_gated(const Problem& problem) { return problem.op->name[0] == 's'; }

inline PolicyResult sm75_chunks_policy(const Problem& problem, const spf_device_facts& facts,
                                       std::span<const InstanceRow> instances) {
  const spf_scalar_type type = problem.type("T"), code = problem.type("C");
  for (size_t i = 0; i < instances.size(); ++i) {
    if (policy::axis(instances[i], "T") != type) continue;
    if (const int64_t made = policy::axis(instances[i], "C"); made >= 0 && made != code) continue;
    const double read = static_cast<double>(policy::element_bytes(type)) * (is_gated(problem) ? 2 : 1);
    return policy::accept(static_cast<int>(i), policy::streaming_cost(facts, values(problem) * (read + 1)));
  }
  return policy::refuse("type", "no instance of these types");
}

// Reading and writing, as long as tensor cores keep up; for wide rotations they just do.
inline PolicyResult sm80_rotate_policy(const Problem& problem, const spf_device_facts& facts,
                                       std::span<const InstanceRow> instances) {
  const int64_t size = problem.extent("R");
  for (size_t i = 0; i < instances.size(); ++i)
    if (policy::axis(instances[i], "T") == problem.type("T") &&
        policy::axis(instances[i], "width") == (size < 32 ? 32 : size))
      return policy::accept(static_cast<int>(i), policy::streaming_cost(facts, values(problem) * 3));
  return policy::refuse("type", "no instance of this type and size of rotation");
}

// Sums in fp64 by rows and columns of the rotation: about 1.5 ns a product, one thread.
inline PolicyResult reference_rotate_policy(const Problem& problem, const spf_device_facts&,
                                            std::span<const InstanceRow>) {
  return policy::accept(0, 0.5 + values(problem) * (static_cast<double>(problem.extent("R")) * 1.5e-3 + 6e-3));
}

// Estimated for one core: 0.3 ns (AVX-512) and 0.5 ns (AVX2) a value, three times that with SiLU.
inline PolicyResult avx512_rows_policy(const Problem& problem, const spf_device_facts& facts,
                                       std::span<const InstanceRow>) {
  return policy::cpu_rows(facts, values(problem), is_gated(problem) ? 0.9 : 0.3);
}
inline PolicyResult avx2_rows_policy(const Problem& problem, const spf_device_facts& facts,
                                     std::span<const InstanceRow>) {
  return policy::cpu_rows(facts, values(problem), is_gated(problem) ? 1.5 : 0.5);
}

inline double scales(const Problem& problem) {
  return static_cast<double>(problem.extent("*")) * static_cast<double>(problem.extent("R") * problem.extent("G"));
}
inline PolicyResult sm75_tiles_policy(const Problem& problem, const spf_device_facts& facts,
                                      std::span<const InstanceRow>) {
  return policy::accept(0, policy::streaming_cost(facts, 2 * scales(problem)));
}
// A byte at a time, about 1 ns each, one thread.
inline PolicyResult reference_tiles_policy(const Problem& problem, const spf_device_facts&,
                                           std::span<const InstanceRow>) {
  return policy::accept(0, 0.5 + scales(problem) * 1e-3);
}

// Scalar loops over every rounding: about 6 ns a value, 25 with SiLU, one thread.
inline PolicyResult reference_policy(const Problem& problem, const spf_device_facts&, std::span<const InstanceRow>) {
  return policy::accept(0, 0.5 + values(problem) * (is_gated(problem) ? 25e-3 : 6e-3));
}

} // namespace spf::block_quantize
