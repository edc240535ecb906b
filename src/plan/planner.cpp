#include "plan/planner.hpp"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <string_view>

#include "core/status.hpp"

namespace spf {
namespace {

struct CpuFeature {
  const char* name;
  uint32_t bit;
};

constexpr CpuFeature kCpuFeatures[] = {
    {"avx2", SPF_CPU_AVX2},
    {"avx512", SPF_CPU_AVX512},
    {"avx512_vnni", SPF_CPU_AVX512_VNNI},
    {"avx512_bf16", SPF_CPU_AVX512_BF16},
    {"amx_int8", SPF_CPU_AMX_INT8},
    {"amx_bf16", SPF_CPU_AMX_BF16},
};

// A feature that this CPU lacks, or nullptr.
const char* missing_cpu_feature(const KernelRow& kernel, const spf_device_facts& facts) {
  for (const char* need : kernel.needs) {
    bool have = std::string_view(need) == "x86-64";
    for (const CpuFeature& f : kCpuFeatures)
      if (std::string_view(need) == f.name) have = (facts.cpu_features & f.bit) != 0;
    if (!have) return need;
  }
  return nullptr;
}

int order(arch::Target t) { return t.major * 100 + t.minor; }

bool covers(const TargetCoverage& coverage, arch::Target device) {
  switch (coverage.answer) {
    case arch::Answer::kExcluded:
      return false;
    case arch::Answer::kPtx:
      return coverage.code.kind == device.kind && order(coverage.code) <= order(device);
    default:
      return arch::serves(coverage.code, device);
  }
}

std::string join(std::span<const char* const> items) {
  std::string out;
  for (const char* item : items) out += (out.empty() ? "" : ", ") + std::string(item);
  return out;
}

struct Refusal {
  const char* code = nullptr; // nullptr: no refusal
  std::string reason;         // left empty where nobody asked: launches plan too, and may not ask for memory
};

template <class Reason>
Refusal refuse(bool explain, const char* code, const Reason& reason) {
  return {code, explain ? std::string(reason()) : std::string()};
}

// Can this kernel's code run on the device at all? For a device given by name the question is what the kernel could be
// built for; for a real one, what this build holds.
Refusal device_refusal(const KernelRow& kernel, const spf_device_facts& facts, const ManifestTable& table,
                       bool explain) {
  if (kernel.device == SPF_CPU) {
    if (const char* need = missing_cpu_feature(kernel, facts))
      return refuse(explain, "feature", [&] { return std::string("needs ") + need; });
    return {};
  }
  const arch::Target device = target_of(facts);
  const auto covered_by = [&](std::span<const TargetCoverage> rows) {
    for (const TargetCoverage& row : rows)
      if (covers(row, device)) return true;
    return false;
  };
  const bool possible = covered_by(kernel.potential);
  if (facts.is_pretend != 0 ? possible : covered_by(kernel.coverage)) return {};
  if (!possible)
    return refuse(explain, "target", [&] {
      return kernel.needs.empty() ? std::string("not made for this target") : "needs " + join(kernel.needs);
    });
  for (const TargetCoverage& row : kernel.coverage) // a package that was not there, say
    if (row.target.kind == device.kind && order(row.target) == order(device) && *row.reason != '\0')
      return refuse(explain, "not_built", [&] { return std::string("this build leaves it out: ") + row.reason; });
  return refuse(explain, "not_built", [&] {
    return "this build holds code for: " + std::string(*table.targets ? table.targets : "no GPU") +
           "; add the target with -DSPEARFISH_CUDA=ON -DSPEARFISH_CUDA_ARCHS";
  });
}

bool forbidden(const KernelRow& kernel, const InstanceRow* instance, const Demands& demands) {
  for (int i = 0; i < demands.forbid_count; ++i)
    if (name_matches(kernel, instance, demands.forbid[i])) return true;
  return false;
}

// Everything that is decided before the policy is asked.
Refusal static_refusal(const KernelRow& kernel, const Problem& problem, const spf_device_facts& facts,
                       const Demands& demands, const ManifestTable& table, bool explain) {
  const auto because = [&](const char* code, const char* reason) {
    return refuse(explain, code, [&] { return reason; });
  };
  if (forbidden(kernel, nullptr, demands)) return because("forbidden", "forbidden by the caller");
  if (Refusal r = device_refusal(kernel, facts, table, explain); r.code != nullptr) return r;
  if (kernel.determinism == Determinism::kNone && !problem.allow_nondeterministic)
    return because("determinism", "uses atomics; allow_nondeterministic is 0");
  if (kernel.activation == Activation::kQuantizedS8 && !problem.allow_activation_8bit)
    return because("activation", "quantizes activations to 8 bits; allow_activation_8bit is 0");
  if (problem.op->packed_weight && *problem.layout != '\0') {
    bool reads = false;
    for (const char* layout : kernel.layouts) reads |= std::string_view(layout) == problem.layout;
    if (!reads)
      return refuse(explain, "layout", [&] { return "reads " + join(kernel.layouts) + ", not " + problem.layout; });
  }
  return {};
}

// Whether some of a kernel's instances exist on some of its targets only.
bool differs_by_target(const KernelRow& kernel) {
  return std::any_of(kernel.instances.begin(), kernel.instances.end(),
                     [](const InstanceRow& i) { return !i.only.empty(); });
}

// The machine code that a driver takes for a device: the nearest; nullptr where it has none.
const arch::Target* nearest_code(std::span<const TargetCoverage> coverage, arch::Target device) {
  const arch::Target* best = nullptr;
  for (const TargetCoverage& row : coverage) {
    if (row.answer == arch::Answer::kExcluded || !row.code.sass || !arch::serves(row.code, device)) continue;
    if (best == nullptr || order(*best) < order(row.code)) best = &row.code;
  }
  return best;
}

// The instances that the policy may choose among: those that the caller leaves, that exist in the code which serves the
// device, and that this build holds.
struct Choices {
  std::vector<InstanceRow> rows;
  std::vector<int> indices; // where each stands in the kernel's list
  Refusal refusal;          // set if there is none
};

Choices allowed_instances(const KernelRow& kernel, bool any_instance, const spf_device_facts& facts,
                          const Demands& demands) {
  Choices out;
  bool missing = false;
  const arch::Target* code = nullptr;
  if (kernel.device != SPF_CPU && differs_by_target(kernel))
    code = nearest_code(facts.is_pretend != 0 ? kernel.potential : kernel.coverage, target_of(facts));
  for (size_t i = 0; i < kernel.instances.size(); ++i) {
    const InstanceRow& instance = kernel.instances[i];
    if (!any_instance && !name_matches(kernel, &instance, demands.require)) continue;
    if (forbidden(kernel, &instance, demands)) continue;
    if (code != nullptr && !instance_exists(instance, *code)) {
      missing = true;
      continue;
    }
    if (instance.launch == nullptr && facts.is_pretend == 0) {
      missing = true;
      continue;
    }
    out.rows.push_back(instance);
    out.indices.push_back(static_cast<int>(i));
  }
  if (out.rows.empty())
    out.refusal = missing ? Refusal{"not_built", "none of its instances that may run is in this build"}
                          : Refusal{"forbidden", "every instance is forbidden by the caller"};
  return out;
}

bool all_built(const KernelRow& kernel) {
  return std::all_of(kernel.instances.begin(), kernel.instances.end(),
                     [](const InstanceRow& i) { return i.launch != nullptr; });
}

Refusal ask_policy(const KernelRow& kernel, const Problem& problem, const spf_device_facts& facts,
                   const Demands& demands, bool explain, PolicyResult* result) {
  const bool any_instance = demands.require == nullptr || name_matches(kernel, nullptr, demands.require);
  if (any_instance && demands.forbid_count == 0 && !differs_by_target(kernel) &&
      (facts.is_pretend != 0 || all_built(kernel))) {
    *result = kernel.policy(problem, facts, kernel.instances);
  } else {
    const Choices choices = allowed_instances(kernel, any_instance, facts, demands);
    if (choices.rows.empty()) return choices.refusal;
    *result = kernel.policy(problem, facts, choices.rows);
    if (result->accepted) result->instance = choices.indices[static_cast<size_t>(result->instance)];
  }
  if (!result->accepted) return refuse(explain, result->code, [&] { return result->reason; });
  return {};
}

bool required(const KernelRow& kernel, const Demands& demands) {
  if (demands.require == nullptr || name_matches(kernel, nullptr, demands.require)) return true;
  for (const InstanceRow& instance : kernel.instances)
    if (name_matches(kernel, &instance, demands.require)) return true;
  return false;
}

spf_status report_failure(const Problem& problem, const spf_device_facts& facts, const Demands& demands,
                          const ManifestTable& table, const Plan& plan) {
  const char* op = problem.op->name;
  const bool forbids = std::any_of(plan.rejections.begin(), plan.rejections.end(),
                                   [](const Rejection& r) { return std::string_view(r.code) == "forbidden"; });
  if (demands.require != nullptr || forbids) {
    for (const Rejection& r : plan.rejections)
      if (demands.require != nullptr && required(*r.kernel, demands))
        return fail(SPF_REQUIREMENT_UNMET, op, "plan", "require_kernel", demands.require,
                    full_name(*r.kernel) + " cannot run: " + r.reason);
    if (demands.require != nullptr) {
      std::string known;
      for (const Rejection& r : plan.rejections) known += (known.empty() ? "" : ", ") + full_name(*r.kernel);
      return fail(SPF_REQUIREMENT_UNMET, op, "plan", "require_kernel", demands.require,
                  "a kernel of this op and device: " + known);
    }
    return fail(SPF_REQUIREMENT_UNMET, op, "plan", "forbid", demands.forbid[0],
                "a list that leaves a kernel that can run");
  }
  bool not_built = false;
  std::string reasons;
  for (const Rejection& r : plan.rejections) {
    not_built |= std::string_view(r.code) == "not_built";
    reasons += (reasons.empty() ? "" : "; ") + full_name(*r.kernel) + ": " + r.reason;
  }
  if (plan.rejections.empty()) reasons = "no kernel of this op exists for this kind of device";
  const std::string targets = *table.targets ? table.targets : "CPU only";
  const std::string device(facts.name, strnlen(facts.name, sizeof facts.name));
  if (not_built)
    return fail(SPF_NOT_BUILT, op, "plan", "device", device,
                "targets in this build: " + targets + " (" + reasons + ")");
  return fail(SPF_UNSUPPORTED, op, "plan", "device", device, "a problem that some kernel serves (" + reasons + ")");
}

} // namespace

std::string full_name(const KernelRow& kernel) { return std::string(kernel.family) + "/" + kernel.name; }

bool name_matches(const KernelRow& kernel, const InstanceRow* instance, const char* pattern) {
  const std::string_view want = pattern;
  if (instance == nullptr) return want == kernel.name || want == full_name(kernel);
  return want == full_name(kernel) + "/" + instance->name;
}

arch::Target target_of(const spf_device_facts& facts) {
  arch::Target t;
  t.kind = facts.kind == SPF_CUDA  ? arch::Target::Kind::kCuda
           : facts.kind == SPF_HIP ? arch::Target::Kind::kHip
                                   : arch::Target::Kind::kCpu;
  t.major = static_cast<int16_t>(facts.compute_capability / 10);
  t.minor = static_cast<int16_t>(facts.compute_capability % 10);
  return t;
}

spf_status choose(const Problem& problem, const spf_device_facts& facts, const Demands& demands,
                  const ManifestTable& table, bool explain, Plan* plan) {
  *plan = Plan{};
  const auto reject = [&](const KernelRow& kernel, const char* code, std::string reason) {
    plan->rejections.push_back({&kernel, code, std::move(reason)});
  };
  for (const KernelRow& kernel : table.kernels) {
    if (kernel.device != facts.kind || std::strcmp(kernel.op, problem.op->name) != 0) continue;
    if (!required(kernel, demands)) {
      if (explain) reject(kernel, "not_required", std::string("the caller requires ") + demands.require);
      continue;
    }
    PolicyResult result;
    Refusal refusal = static_refusal(kernel, problem, facts, demands, table, explain);
    if (refusal.code == nullptr) refusal = ask_policy(kernel, problem, facts, demands, explain, &result);
    if (refusal.code != nullptr) {
      if (explain) reject(kernel, refusal.code, std::move(refusal.reason));
      continue;
    }
    const bool wins = plan->kernel == nullptr || result.cost < plan->choice.cost;
    const KernelRow* loser = wins ? plan->kernel : &kernel;
    const double loser_cost = wins ? plan->choice.cost : result.cost;
    if (wins) {
      plan->kernel = &kernel;
      plan->choice = result;
    }
    if (explain && loser != nullptr) {
      char text[96];
      std::snprintf(text, sizeof text, "estimated %.4g us; the chosen one is estimated faster", loser_cost);
      reject(*loser, "slower", text);
    }
  }
  if (plan->kernel != nullptr) return SPF_OK;
  // Nothing can run: the reasons are needed now, whatever was asked for.
  if (!explain) return choose(problem, facts, demands, table, true, plan);
  return report_failure(problem, facts, demands, table, *plan);
}

} // namespace spf
