// A dispatch table made by hand: four kernels of one op, so that every rule of the planner has a row that it decides.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "plan/planner.hpp"

namespace spf::test {

inline constexpr arch::Target cuda_target(int major, int minor, arch::Suffix suffix = arch::Suffix::kNone) {
  return {arch::Target::Kind::kCuda, static_cast<int16_t>(major), static_cast<int16_t>(minor), suffix, false};
}

inline spf_status launch_nothing(const Call&, const LaunchContext&) { return SPF_OK; }

// Accepts with the cost that the first axis of the cheapest instance states; refuses M == 13.
inline PolicyResult cheapest_instance(const Problem& problem, const spf_device_facts&,
                                      std::span<const InstanceRow> instances) {
  PolicyResult r;
  if (problem.extent("M") == 13) {
    r.code = "shape";
    r.reason = "M is 13";
    return r;
  }
  for (size_t i = 0; i < instances.size(); ++i) {
    const double cost = static_cast<double>(instances[i].axes.front().number);
    if (r.accepted && r.cost <= cost) continue;
    r = {true, static_cast<int>(i), cost, 64, "", ""};
  }
  return r;
}

inline OpSchema make_op(bool packed_weight) {
  OpSchema op = {};
  op.name = "mul";
  op.family = "family";
  op.summary = "";
  op.packed_weight = packed_weight;
  op.symbol_count = 1;
  op.symbols[0] = "M";
  return op;
}

// An owning KernelRow: rows may be changed by a test before the table is built.
struct Kernel {
  std::string name;
  spf_device_kind device = SPF_CPU;
  std::vector<InstanceRow> instances;
  std::vector<const char*> needs = {};
  std::vector<const char*> layouts = {};
  std::vector<TargetCoverage> coverage = {}, potential = {};
  Determinism determinism = Determinism::kRowInvariant;
  Activation activation = Activation::kAsGiven;
  const char* op = "mul";
};

// Axis values must outlive the rows.
inline InstanceRow instance(const char* name, int64_t cost, LaunchFn launch = launch_nothing) {
  static std::vector<std::unique_ptr<AxisValue>> kept;
  kept.push_back(std::make_unique<AxisValue>(AxisValue{"cost", name, cost}));
  return {name, std::span<const AxisValue>(kept.back().get(), 1), launch, {}};
}

class Table {
 public:
  explicit Table(std::vector<Kernel> kernels, bool packed_weight = false)
      : kernels_(std::move(kernels)), op_(make_op(packed_weight)) {
    // Field by field: a row may grow, and what a test does not name stays zero.
    for (const Kernel& k : kernels_) {
      KernelRow row = {};
      row.family = "family";
      row.op = k.op;
      row.name = k.name.c_str();
      row.file = "x.cpp";
      row.device = k.device;
      row.needs = k.needs;
      row.layouts = k.layouts;
      row.determinism = k.determinism;
      row.activation = k.activation;
      row.policy = cheapest_instance;
      row.instances = k.instances;
      row.coverage = k.coverage;
      row.potential = k.potential;
      rows_.push_back(row);
    }
    table_.ops = std::span<const OpSchema>(&op_, 1);
    table_.kernels = rows_;
    table_.targets = targets.c_str();
    table_.toolkit = "";
  }
  Table(const Table&) = delete;

  Problem problem(int64_t m = 1) const {
    Problem p;
    p.op = &op_;
    p.symbols[0] = m;
    return p;
  }

  // "kernel/instance", or the status and the codes of all refusals.
  std::string choose(const Problem& p, const spf_device_facts& facts, const Demands& demands = {}) {
    status = spf::choose(p, facts, demands, table_, true, &plan);
    if (status == SPF_OK) return std::string(plan.kernel->name) + "/" + plan.instance().name;
    return spf_status_name(status);
  }
  // "code: reason" of one kernel's refusal; "" if it was not refused.
  std::string refusal(const std::string& kernel) const {
    for (const Rejection& r : plan.rejections)
      if (kernel == r.kernel->name) return std::string(r.code) + ": " + r.reason;
    return "";
  }
  const ManifestTable& table() const { return table_; }

  std::string targets = "9.0a";
  spf_status status = SPF_OK;
  Plan plan;

 private:
  std::vector<Kernel> kernels_;
  OpSchema op_;
  std::vector<KernelRow> rows_;
  ManifestTable table_ = {};
};

inline spf_device_facts cpu(uint32_t features = 0) {
  spf_device_facts f = {};
  f.struct_size = sizeof f;
  f.kind = SPF_CPU;
  f.cpu_features = features;
  std::snprintf(f.name, sizeof f.name, "a cpu");
  return f;
}

inline spf_device_facts gpu(int capability, bool pretend) {
  spf_device_facts f = {};
  f.struct_size = sizeof f;
  f.kind = SPF_CUDA;
  f.compute_capability = capability;
  f.is_pretend = pretend ? 1 : 0;
  std::snprintf(f.name, sizeof f.name, "a gpu");
  return f;
}

inline spf_error_detail last_error() {
  spf_error_detail d = {};
  d.struct_size = sizeof d;
  spf_last_error(&d);
  return d;
}

} // namespace spf::test
