#include "ops/plan_handle.hpp"

#include "core/status.hpp"

const char* spf::ops::determinism_text(Determinism d) {
  switch (d) {
    case Determinism::kRowInvariant:
      return "row-invariant";
    case Determinism::kRunToRun:
      return "run-to-run";
    default:
      return "nondeterministic";
  }
}

namespace {

const char* activation_text(spf::Activation activation, const spf::Problem& problem) {
  switch (activation) {
    case spf::Activation::kSplitBf16:
      return problem.type("T") == SPF_F32 ? "two bf16 terms" : "as given";
    case spf::Activation::kFixedS16:
      return "s16 per run of up to 128 columns";
    case spf::Activation::kQuantizedS8:
      return "s8 per run of up to 128 columns";
    default:
      return "as given";
  }
}

} // namespace

spf_plan::spf_plan(const spf::Problem& problem, const spf::Plan& plan) : op(problem.op->name), layout(problem.layout) {
  for (const spf::Rejection& r : plan.rejections) rejected.push_back({spf::full_name(*r.kernel), r.code, r.reason});
  if (plan.kernel == nullptr) return;
  kernel = spf::full_name(*plan.kernel);
  instance = plan.instance().name;
  // While the weight is not packed yet, the plan says in which layout the chosen kernel wants it.
  if (layout.empty() && !plan.kernel->layouts.empty())
    layout = plan.choice.layout != nullptr ? plan.choice.layout : plan.kernel->layouts.front();
  activation = activation_text(plan.kernel->activation, problem);
  if (plan.kernel->rounds_weights) activation += ", weights rounded to 16 bits";
  determinism = spf::ops::determinism_text(plan.kernel->determinism);
  workspace_bytes = plan.choice.workspace_bytes;
  cost_us = plan.choice.cost;
}

using spf::check_struct_size;
using spf::fail;

extern "C" {

spf_status spf_plan_describe(const spf_plan* plan, spf_plan_info* info) {
  if (spf_status s = check_struct_size(info, sizeof(spf_plan_info), "plan_describe", "info"); s != SPF_OK) return s;
  if (plan == nullptr) return fail(SPF_INVALID_ARGUMENT, "plan_describe", "validate", "plan", "NULL", "a plan");
  *info = {info->struct_size,
           plan->op.c_str(),
           plan->kernel.c_str(),
           plan->instance.c_str(),
           plan->layout.c_str(),
           plan->activation.c_str(),
           plan->determinism.c_str(),
           plan->workspace_bytes,
           plan->cost_us,
           static_cast<int32_t>(plan->rejected.size())};
  return SPF_OK;
}

spf_status spf_plan_rejected(const spf_plan* plan, int32_t index, spf_plan_rejection* rejection) {
  if (spf_status s = check_struct_size(rejection, sizeof(spf_plan_rejection), "plan_rejected", "rejection");
      s != SPF_OK)
    return s;
  if (plan == nullptr) return fail(SPF_INVALID_ARGUMENT, "plan_rejected", "validate", "plan", "NULL", "a plan");
  if (index < 0 || static_cast<size_t>(index) >= plan->rejected.size())
    return fail(SPF_NOT_FOUND, "plan_rejected", "validate", "index", std::to_string(index),
                std::to_string(plan->rejected.size()) + " rejections");
  const spf_plan::Rejected& r = plan->rejected[static_cast<size_t>(index)];
  *rejection = {rejection->struct_size, r.kernel.c_str(), r.code.c_str(), r.reason.c_str()};
  return SPF_OK;
}

void spf_plan_free(spf_plan* plan) { delete plan; }
}
