// WHO RUNS. Pure: (problem, device facts, demands, table) -> the kernel instance to run, or every refusal.
#pragma once

#include <string>
#include <vector>

#include "plan/table.hpp"
#include "spearfish/plan.h"

namespace spf {

struct Rejection {
  const KernelRow* kernel;
  const char* code; // vocabulary of spf_plan_rejection
  std::string reason;
};

struct Plan {
  const KernelRow* kernel = nullptr; // nullptr: nothing can run
  PolicyResult choice;
  std::vector<Rejection> rejections; // filled when asked for, or when nothing can run

  const InstanceRow& instance() const { return kernel->instances[static_cast<size_t>(choice.instance)]; }
};

// What a caller demands of the choice; views into an spf_plan_options.
struct Demands {
  const char* require = nullptr;
  const char* const* forbid = nullptr;
  int forbid_count = 0;
};

// Chooses. explain: also list why each candidate that did not win was passed over (costs allocations).
// On failure returns SPF_NOT_BUILT, SPF_UNSUPPORTED or SPF_REQUIREMENT_UNMET with the error detail set, and plan.kernel
// is null.
spf_status choose(const Problem& problem, const spf_device_facts& facts, const Demands& demands,
                  const ManifestTable& table, bool explain, Plan* plan);

// "norm/sm75_rows"
std::string full_name(const KernelRow& kernel);

// True if `pattern` is the kernel's name, family/name or family/name/instance.
bool name_matches(const KernelRow& kernel, const InstanceRow* instance, const char* pattern);

// A CUDA device's facts as a target, e.g. 90 -> 9.0.
arch::Target target_of(const spf_device_facts& facts);

} // namespace spf
