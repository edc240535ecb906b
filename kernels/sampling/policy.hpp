// Which sampling kernel runs, with its workspace. Costs are microseconds.
#pragma once

#include <string>

#include "core/constraint.hpp"
#include "kernels/common/policy.hpp"
#include "kernels/sampling/parts.hpp"
#include "kernels/sampling/select_tree.hpp"

namespace spf::sampling {

inline int64_t row_count(const Problem& problem) {
  return problem.op->operands[0].dims[0].leading ? problem.extent("*") : problem.extent("B") * problem.extent("N");
}
inline double entries(const Problem& problem) {
  return static_cast<double>(row_count(problem)) * static_cast<double>(problem.extent("V"));
}
inline double logit_bytes(const Problem& problem) {
  return entries(problem) * static_cast<double>(policy::element_bytes(problem.type("T")));
}

// Threads for which a workspace has room, and hence that a kernel uses at most: one a row.
inline int64_t row_threads(int64_t rows, const spf_device_facts& facts) {
  const int64_t threads = facts.sm_count > 0 ? facts.sm_count : 1;
  return rows < threads ? rows : threads;
}

// --- what shapes cannot say ----------------------------------------------------------------------------------------

// The sum of a row's masses fits 64 bits.
inline Violation row_fits(const Problem& problem) {
  if (problem.extent("V") <= kMostEntries) return {};
  return {"logits.shape[-1]", std::to_string(problem.extent("V")), "at most " + std::to_string(kMostEntries)};
}

// --- CUDA ----------------------------------------------------------------------------------------------------------

inline PolicyResult serve_type(const Problem& problem, std::span<const InstanceRow> instances, double cost_us,
                               int64_t workspace) {
  const int instance = policy::instance_with(instances, "T", problem.type("T"));
  if (instance < 0) return policy::refuse("type", "no instance of this type");
  if (problem.extent("V") > 0x7fffffff) return policy::refuse("shape", "rows of over 2147483647 entries");
  PolicyResult result = policy::accept(instance, cost_us);
  result.workspace_bytes = static_cast<size_t>(workspace);
  return result;
}

inline PolicyResult sm75_scan_policy(const Problem& problem, const spf_device_facts& facts,
                                     std::span<const InstanceRow> instances) {
  const Parts parts = row_parts(row_count(problem), problem.extent("V"), facts.sm_count);
  return serve_type(problem, instances, 2 + policy::streaming_cost(facts, logit_bytes(problem)),
                    parts.count > 1 ? 8 * parts.blocks : 0);
}

// The first pass comes from memory, three more from L2.
inline PolicyResult sm75_histogram_policy(const Problem& problem, const spf_device_facts& facts,
                                          std::span<const InstanceRow> instances) {
  const Parts parts = row_parts(row_count(problem), problem.extent("V"), facts.sm_count);
  return serve_type(problem, instances, 8 + 2.5 * policy::streaming_cost(facts, logit_bytes(problem)),
                    sample_workspace(row_count(problem), parts).bytes);
}

inline PolicyResult sm75_select_policy(const Problem& problem, const spf_device_facts& facts,
                                       std::span<const InstanceRow> instances) {
  if (problem.extent("K") > kMostSelected) return policy::refuse("shape", "K over 4096");
  const SelectTree tree = select_tree(problem.extent("V"), problem.extent("K"));
  return serve_type(problem, instances, 2 * tree.levels + 1.5 * policy::streaming_cost(facts, logit_bytes(problem)),
                    problem.extent("K") > 0 ? 2 * tree.half_bytes(row_count(problem)) : 0);
}

inline PolicyResult sm75_elementwise_policy(const Problem& problem, const spf_device_facts& facts,
                                            std::span<const InstanceRow> instances) {
  const double bytes = 2 * logit_bytes(problem) + (problem.has("output_counts") ? 4 : 0) * entries(problem);
  return serve_type(problem, instances, policy::streaming_cost(facts, bytes), 0);
}

// --- CPU -----------------------------------------------------------------------------------------------------------

// One row a thread.
inline PolicyResult portable_policy(const Problem& problem, const spf_device_facts& facts, double ns,
                                    int64_t workspace_of_thread) {
  const int64_t threads = row_threads(row_count(problem), facts);
  PolicyResult result =
      policy::accept(0, 1 + entries(problem) * ns * 1e-3 / static_cast<double>(threads > 1 ? threads : 1));
  result.workspace_bytes = static_cast<size_t>(threads * workspace_of_thread);
  return result;
}
inline PolicyResult portable_scan_policy(const Problem& problem, const spf_device_facts& facts,
                                         std::span<const InstanceRow>) {
  return portable_policy(problem, facts, 0.6, 0);
}
// Workspace: the distances of a row.
inline PolicyResult portable_histogram_policy(const Problem& problem, const spf_device_facts& facts,
                                              std::span<const InstanceRow>) {
  return portable_policy(problem, facts, 10, problem.extent("V") * 4);
}
// Workspace: K entries to sort.
inline PolicyResult portable_select_policy(const Problem& problem, const spf_device_facts& facts,
                                           std::span<const InstanceRow>) {
  return portable_policy(problem, facts, 6, problem.extent("K") * 8);
}
inline PolicyResult portable_elementwise_policy(const Problem& problem, const spf_device_facts& facts,
                                                std::span<const InstanceRow>) {
  return portable_policy(problem, facts, 2, 0);
}

// Scalar loops, one thread; rows are sorted.
inline PolicyResult reference_policy(const Problem& problem, const spf_device_facts&, std::span<const InstanceRow>) {
  return policy::accept(0, 5 + entries(problem) * 100e-3);
}

} // namespace spf::sampling
