// Coverage of this library, or of a list that the resolver decides anew from the facts in the dispatch table.
#include "spearfish/coverage.h"

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "arch/parse.hpp"
#include "arch/resolve.hpp"
#include "core/status.hpp"
#include "plan/table.hpp"
#include "spearfish/device.h"

struct spf_coverage {
  struct Row {
    std::string family, kernel, ops, target, state, code, reason, tested, tuned;
    bool built;
  };
  std::vector<Row> rows;
  std::string targets, toolkit;
};

namespace {

using namespace spf;
using arch::Answer;
using arch::Target;
using Kind = Target::Kind;

std::string join(std::span<const char* const> items) {
  std::string out;
  for (const char* item : items) out += (out.empty() ? "" : ", ") + std::string(item);
  return out;
}

// Whether this library's own code of a kernel runs on a target.
bool holds(const KernelRow& kernel, Target target) {
  if (std::ranges::none_of(kernel.instances, [](const InstanceRow& i) { return i.launch != nullptr; })) return false;
  if (target.kind == Kind::kCuda) {
    const TargetCoverage* found = find_coverage(kernel.coverage, target);
    return found != nullptr;
  }
  return std::ranges::any_of(
      kernel.coverage, [&](const TargetCoverage& c) { return c.target == target && c.answer != Answer::kExcluded; });
}

void add(spf_coverage& out, const KernelRow& kernel, Target target, Answer answer, Target code, std::string reason) {
  const arch::ArchTable& table = kManifest.arch;
  spf_coverage::Row row{kernel.family,
                        kernel.name,
                        kernel.op,
                        arch::to_string(table, target),
                        arch::to_string(answer),
                        answer == Answer::kExcluded ? "" : arch::to_string(table, code),
                        std::move(reason),
                        join(kernel.tested),
                        join(kernel.tuned),
                        holds(kernel, target)};
  // Ops of which the same is true share a row.
  for (spf_coverage::Row& r : out.rows) {
    if (r.family != row.family || r.kernel != row.kernel || r.target != row.target || r.state != row.state ||
        r.code != row.code || r.reason != row.reason || r.built != row.built || r.tested != row.tested ||
        r.tuned != row.tuned)
      continue;
    r.ops += ", " + row.ops;
    return;
  }
  out.rows.push_back(std::move(row));
}

std::vector<Target> gpus_of_this_machine() {
  std::vector<Target> out;
  for (int32_t i = 0; i < spf_cuda_device_count(); ++i) {
    spf_device_facts facts{};
    facts.struct_size = sizeof(facts);
    if (spf_device_probe({SPF_CUDA, i}, &facts) == SPF_OK) out.push_back(arch::cuda_target(facts.compute_capability));
  }
  return out;
}

std::string target_list(std::span<const Target> targets) {
  std::string out;
  for (const Target& t : targets)
    if (t.kind != Kind::kCpu) out += (out.empty() ? "" : ";") + arch::to_string(kManifest.arch, t);
  return out;
}

spf_status resolve_anew(const char* archs, const char* toolkit, spf_coverage& out) {
  arch::Version version = kManifest.arch.newest_toolkit;
  if (toolkit != nullptr) {
    const auto parsed = arch::parse_version(toolkit);
    if (!parsed)
      return fail(SPF_INVALID_ARGUMENT, "coverage_query", "validate", "toolkit", toolkit,
                  "a version such as " + arch::to_string(kManifest.arch.newest_toolkit));
    version = *parsed;
  }
  const std::vector<Target> native = gpus_of_this_machine();
  const arch::ParsedList list = arch::parse_list(archs, {&kManifest.arch, version, native});
  if (!list.error.empty()) return fail(SPF_INVALID_ARGUMENT, "coverage_query", "validate", "archs", archs, list.error);
  if (list.targets.empty())
    return fail(SPF_INVALID_ARGUMENT, "coverage_query", "validate", "archs", archs, "at least one target");
  std::vector<arch::NamedKernel> kernels;
  for (const KernelRow& k : kManifest.kernels) kernels.push_back({k.op, k.name, k.facts});
  arch::Toolchain toolchain = version;
  toolchain.missing = kManifest.missing;
  toolchain.share_code = kManifest.share_code;
  const auto resolutions = arch::resolve_all(kManifest.arch, kernels, list.targets, toolchain);
  for (size_t i = 0; i < kernels.size(); ++i) {
    const KernelRow& kernel = kManifest.kernels[i];
    for (const arch::Answered& a : resolutions[i].answers) {
      const bool exists =
          a.answer == Answer::kExcluded ||
          std::ranges::any_of(kernel.instances, [&](const InstanceRow& r) { return instance_exists(r, a.code); });
      add(out, kernel, a.target, exists ? a.answer : Answer::kExcluded, a.code, exists ? a.reason : arch::kNoInstance);
    }
  }
  out.targets = target_list(list.targets);
  out.toolkit = arch::to_string(version);
  return SPF_OK;
}

} // namespace

extern "C" {

spf_status spf_coverage_query(const char* archs, const char* toolkit, spf_coverage** coverage) {
  if (coverage == nullptr)
    return fail(SPF_INVALID_ARGUMENT, "coverage_query", "validate", "coverage", "NULL",
                "where the answer is to be stored");
  return guarded("coverage_query", [&] {
    auto out = std::make_unique<spf_coverage>();
    if (archs != nullptr) {
      if (const spf_status s = resolve_anew(archs, toolkit, *out); s != SPF_OK) return s;
    } else {
      for (const KernelRow& kernel : kManifest.kernels)
        for (const TargetCoverage& c : kernel.coverage) add(*out, kernel, c.target, c.answer, c.code, c.reason);
      out->targets = kManifest.targets;
      out->toolkit = kManifest.toolkit;
    }
    *coverage = out.release();
    return SPF_OK;
  });
}

int32_t spf_coverage_count(const spf_coverage* coverage) {
  return coverage == nullptr ? 0 : static_cast<int32_t>(coverage->rows.size());
}

spf_status spf_coverage_get(const spf_coverage* coverage, int32_t index, spf_coverage_row* row) {
  if (const spf_status s = check_struct_size(row, sizeof(spf_coverage_row), "coverage_get", "row"); s != SPF_OK)
    return s;
  if (coverage == nullptr)
    return fail(SPF_INVALID_ARGUMENT, "coverage_get", "validate", "coverage", "NULL",
                "an answer of spf_coverage_query()");
  if (index < 0 || static_cast<size_t>(index) >= coverage->rows.size())
    return fail(SPF_NOT_FOUND, "coverage_get", "validate", "index", std::to_string(index),
                std::to_string(coverage->rows.size()) + " rows");
  const spf_coverage::Row& r = coverage->rows[static_cast<size_t>(index)];
  *row = {row->struct_size, r.family.c_str(), r.kernel.c_str(), r.ops.c_str(),    r.target.c_str(), r.state.c_str(),
          r.code.c_str(),   r.reason.c_str(), r.built ? 1 : 0,  r.tested.c_str(), r.tuned.c_str()};
  return SPF_OK;
}

const char* spf_coverage_targets(const spf_coverage* coverage) {
  return coverage == nullptr ? "" : coverage->targets.c_str();
}

const char* spf_coverage_toolkit(const spf_coverage* coverage) {
  return coverage == nullptr ? "" : coverage->toolkit.c_str();
}

void spf_coverage_free(spf_coverage* coverage) { delete coverage; }
}
