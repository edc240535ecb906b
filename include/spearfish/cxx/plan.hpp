// Plans, launches, and every op by name.
#pragma once

#include <algorithm>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "spearfish/cxx/device.hpp"
#include "spearfish/cxx/error.hpp"
#include "spearfish/cxx/tensor.hpp"
#include "spearfish/plan.h"

namespace spearfish {

// What runs and why. Move-only. Empty until a call stores one.
class Plan {
 public:
  struct Rejection {
    std::string kernel, code, reason;
  };

  Plan() = default;
  explicit Plan(spf_plan* owned) : handle_(owned) {}

  // True if a kernel was chosen.
  explicit operator bool() const { return handle_ && *info().kernel != '\0'; }
  bool empty() const noexcept { return handle_ == nullptr; }

  std::string op() const { return info().op; }
  std::string kernel() const { return info().kernel; }           // "norm/sm75_rows"; "" if nothing can run
  std::string instance() const { return info().instance; }       // "T=bf16,vec=8"
  std::string layout() const { return info().layout; }           // of the packed weight; "" if there is none
  std::string activation() const { return info().activation; }   // "as given", ...: see spf_plan_info
  std::string determinism() const { return info().determinism; } // "row-invariant", "run-to-run", "nondeterministic"
  size_t workspace_bytes() const { return info().workspace_bytes; }
  double cost_us() const { return info().cost_us; } // the policy's estimate

  // Every candidate that does not run, with the reason.
  std::vector<Rejection> rejected() const {
    std::vector<Rejection> out;
    for (int32_t i = 0, count = info().rejected_count; i < count; ++i) {
      spf_plan_rejection r = {};
      r.struct_size = sizeof r;
      check(spf_plan_rejected(handle_.get(), i, &r));
      out.push_back({r.kernel, r.code, r.reason});
    }
    return out;
  }

  const spf_plan* get() const noexcept { return handle_.get(); }

 private:
  struct Free {
    void operator()(spf_plan* plan) const { spf_plan_free(plan); }
  };
  spf_plan_info info() const {
    spf_plan_info i = {};
    i.struct_size = sizeof i;
    check(spf_plan_describe(handle_.get(), &i));
    return i;
  }

  std::unique_ptr<spf_plan, Free> handle_;
};

// How a call runs. The default: the CPU, no demands, no workspace. Setters chain.
class Launch {
 public:
  explicit Launch(Device device = Device::cpu()) : device_(device) {}

  Launch& on(Device device) {
    device_ = device;
    return *this;
  }
  Launch& stream(void* cuda_stream) {
    stream_ = cuda_stream;
    return *this;
  }
  // Caller's memory, 256-byte aligned, at least plan.workspace_bytes().
  Launch& workspace(void* memory, size_t bytes) {
    workspace_ = memory;
    workspace_bytes_ = bytes;
    return *this;
  }
  // CUDA: programmatic dependent launch.
  Launch& pdl(bool allow = true) {
    flags_ = allow ? flags_ | SPF_LAUNCH_PDL : flags_ & ~uint32_t{SPF_LAUNCH_PDL};
    return *this;
  }

  // Only this kernel ("kernel", "family/kernel" or "family/kernel/instance"); unmet throws SPF_REQUIREMENT_UNMET.
  Launch& require(std::string kernel) {
    require_ = std::move(kernel);
    return *this;
  }
  Launch& forbid(std::string kernel) {
    forbid_.push_back(std::move(kernel));
    return *this;
  }
  Launch& allow_activation_8bit(bool allow = true) {
    allow_activation_8bit_ = allow;
    return *this;
  }
  Launch& allow_nondeterministic(bool allow = true) {
    allow_nondeterministic_ = allow;
    return *this;
  }

  // Stores the plan, also when the call fails because nothing can run. `plan` must outlive the call.
  Launch& explain(Plan& plan) {
    plan_ = &plan;
    return *this;
  }
  // Validates and plans, stores the plan, runs nothing; data pointers may be NULL.
  Launch& plan_only(Plan& plan) {
    flags_ |= SPF_LAUNCH_PLAN_ONLY;
    return explain(plan);
  }
  // Plans for a device that need not be here; runs nothing.
  Launch& plan_only(Plan& plan, const DeviceFacts& facts) {
    facts_ = facts;
    return plan_only(plan);
  }

  Device device() const { return device_; }

  // Calls `body(const spf_launch*)`, stores the plan if one was asked for, and throws if the call failed.
  template <class Body>
  void run(Body&& body) const {
    std::vector<const char*> forbid;
    for (const std::string& name : forbid_) forbid.push_back(name.c_str());
    spf_plan_options options = {};
    options.struct_size = sizeof options;
    options.require_kernel = require_ ? require_->c_str() : nullptr;
    options.forbid = forbid.empty() ? nullptr : forbid.data();
    options.forbid_count = static_cast<int32_t>(forbid.size());
    options.allow_activation_8bit = allow_activation_8bit_ ? 1 : 0;
    options.allow_nondeterministic = allow_nondeterministic_ ? 1 : 0;
    spf_launch launch = {};
    check(spf_launch_init(&launch, device_));
    launch.flags = flags_;
    launch.stream = stream_;
    launch.workspace = workspace_;
    launch.workspace_bytes = workspace_bytes_;
    launch.options = &options;
    launch.facts = facts_ ? &*facts_ : nullptr;
    spf_plan* plan = nullptr;
    launch.plan = plan_ != nullptr ? &plan : nullptr;
    const spf_status status = body(static_cast<const spf_launch*>(&launch));
    if (plan_ != nullptr) *plan_ = Plan(plan);
    check(status);
  }

 private:
  Device device_;
  uint32_t flags_ = 0;
  void* stream_ = nullptr;
  void* workspace_ = nullptr;
  size_t workspace_bytes_ = 0;
  std::optional<std::string> require_;
  std::vector<std::string> forbid_;
  bool allow_activation_8bit_ = false, allow_nondeterministic_ = false;
  std::optional<DeviceFacts> facts_;
  Plan* plan_ = nullptr;
};

namespace detail {
inline const spf_tensor* pointer(const OptionalTensor& tensor) { return tensor ? tensor->get() : nullptr; }
} // namespace detail

// --- every op, by name ---------------------------------------------------------------------------------------------

struct OperandInfo {
  std::string name;
  spf_operand_role role;
  bool optional;
  spf_view_rule view;
  int type_variable;             // operands with the same number have the same type
  std::vector<ScalarType> types; // accepted
  std::string shape;             // "*,2*D"
  std::string values;            // "index NB*BS or -1"; "" = any number
};

struct ParamInfo {
  std::string name, kind; // "f64", "i64", "bool"
  double fallback, min, max;
};

struct OpInfo {
  std::string name, family, summary;
  bool takes_packed_weight;
  std::vector<OperandInfo> operands;
  std::vector<ParamInfo> params;
};

// Every op of the library, in manifest order.
inline std::vector<OpInfo> ops() {
  std::vector<OpInfo> out;
  for (int32_t i = 0;; ++i) {
    spf_op_info info = {};
    info.struct_size = sizeof info;
    const spf_status status = spf_op_describe(i, &info);
    if (status == SPF_NOT_FOUND) return out;
    check(status);
    OpInfo op{info.name, info.family, info.summary, info.takes_packed_weight != 0, {}, {}};
    for (int32_t o = 0; o < info.operand_count; ++o) {
      spf_operand_info x = {};
      x.struct_size = sizeof x;
      check(spf_op_operand(info.name, o, &x));
      OperandInfo operand{x.name, x.role, x.optional != 0, x.view, x.type_variable, {}, x.shape, x.values};
      for (int t = 1; t < SPF_TYPE_COUNT; ++t)
        if ((x.types >> t & 1u) != 0) operand.types.push_back(static_cast<ScalarType>(t));
      op.operands.push_back(std::move(operand));
    }
    for (int32_t p = 0; p < info.param_count; ++p) {
      spf_param_info x = {};
      x.struct_size = sizeof x;
      check(spf_op_param(info.name, p, &x));
      op.params.push_back({x.name, x.kind, x.fallback, x.min, x.max});
    }
    out.push_back(std::move(op));
  }
}

// Runs (or plans) an op by name. operands: one per schema operand, std::nullopt where absent. params: one per schema
// parameter, or none for the defaults. weight: for ops that take a packed weight.
inline void call(const std::string& op, const std::vector<OptionalTensor>& operands, const std::vector<double>& params,
                 const Launch& launch, const spf_packed_weight* weight = nullptr) {
  std::vector<const spf_tensor*> pointers;
  for (const OptionalTensor& operand : operands) pointers.push_back(detail::pointer(operand));
  launch.run([&](const spf_launch* l) {
    return spf_op_call(op.c_str(), pointers.data(), static_cast<int32_t>(pointers.size()),
                       params.empty() ? nullptr : params.data(), static_cast<int32_t>(params.size()), weight, l);
  });
}

} // namespace spearfish
