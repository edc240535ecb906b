// Every op, by name: validate once -> plan -> launch. Asking and launching are the same function.
#include <cstdlib>
#include <cstring>
#include <string>

#include "core/status.hpp"
#include "ops/plan_handle.hpp"
#include "ops/validate.hpp"
#include "plan/planner.hpp"
#include "runtime/runtime.hpp"
#include "spearfish/plan.h"

namespace spf::ops {
namespace {

const OpSchema* find_op(const char* name) {
  for (const OpSchema& op : kManifest.ops)
    if (std::strcmp(op.name, name) == 0) return &op;
  return nullptr;
}

spf_status unknown_op(const char* name) {
  std::string known;
  for (const OpSchema& op : kManifest.ops) known += (known.empty() ? "" : ", ") + std::string(op.name);
  return fail(SPF_NOT_FOUND, "op", "validate", "op", name ? name : "NULL", known);
}

// The facts to plan with: those given, or the launch device's own.
spf_status device_facts(const char* op, const spf_launch& launch, const spf_device_facts** facts) {
  if (launch.facts != nullptr) {
    if ((launch.flags & SPF_LAUNCH_PLAN_ONLY) == 0)
      return fail(SPF_INVALID_ARGUMENT, op, "validate", "launch.facts", "given",
                  "NULL unless SPF_LAUNCH_PLAN_ONLY is set");
    if (spf_status s = check_struct_size(launch.facts, sizeof(spf_device_facts), op, "launch.facts"); s != SPF_OK)
      return s;
    *facts = launch.facts;
    return SPF_OK;
  }
  switch (launch.device.kind) {
    case SPF_CPU:
      if (launch.device.index != 0)
        return fail(SPF_INVALID_DEVICE, op, "validate", "launch.device", "cpu:" + std::to_string(launch.device.index),
                    "cpu:0");
      *facts = &runtime::cpu_facts();
      return SPF_OK;
    case SPF_CUDA:
      return runtime::cuda_facts(launch.device.index, facts);
    default:
      return fail(SPF_INVALID_DEVICE, op, "validate", "launch.device.kind", std::to_string(launch.device.kind),
                  "SPF_CPU, SPF_CUDA");
  }
}

spf_status check_workspace(const char* op, const spf_launch& launch, size_t needed) {
  if (needed == 0) return SPF_OK;
  if (launch.workspace_bytes < needed || launch.workspace == nullptr)
    return fail(SPF_WORKSPACE_TOO_SMALL, op, "launch", "workspace_bytes",
                std::to_string(launch.workspace ? launch.workspace_bytes : 0), "at least " + std::to_string(needed));
  if ((reinterpret_cast<uintptr_t>(launch.workspace) & 255u) != 0)
    return fail(SPF_INVALID_ALIGNMENT, op, "launch", "workspace", "not aligned", "a multiple of 256 bytes");
  return SPF_OK;
}

// SPEARFISH_CHECK_LAUNCHES=1 waits after each launch, so that a device fault names the op that caused it.
bool checks_launches() {
  static const bool on = [] {
    const char* value = std::getenv("SPEARFISH_CHECK_LAUNCHES");
    return value != nullptr && std::strcmp(value, "1") == 0;
  }();
  return on;
}

spf_status launch_planned(const Call& call, const Plan& plan, const spf_device_facts& facts, const spf_launch& launch) {
  const char* op = call.problem.op->name;
  if (spf_status s = check_workspace(op, launch, plan.choice.workspace_bytes); s != SPF_OK) return s;
  LaunchContext context;
  context.facts = &facts;
  context.stream = launch.stream;
  context.workspace = launch.workspace;
  context.workspace_bytes = launch.workspace_bytes;
  context.flags = launch.flags;
  context.threads = runtime::cpu_threads();
  const LaunchFn run = plan.instance().launch;
  if (facts.kind == SPF_CPU) return run(call, context);
  runtime::CudaDeviceScope scope(launch.device.index);
  if (scope.status() != SPF_OK) return scope.status();
  const spf_status status = run(call, context);
  if (status == SPF_OK && checks_launches()) return runtime::cuda_synchronize(op, launch.stream);
  return status;
}

spf_status check_options(const char* op, const spf_plan_options& options) {
  if (spf_status s = check_struct_size(&options, sizeof(spf_plan_options), op, "launch.options"); s != SPF_OK) return s;
  if (options.forbid_count < 0)
    return fail(SPF_INVALID_ARGUMENT, op, "validate", "launch.options.forbid_count",
                std::to_string(options.forbid_count), "0 or more");
  if (options.forbid_count > 0 && options.forbid == nullptr)
    return fail(SPF_INVALID_ARGUMENT, op, "validate", "launch.options.forbid", "NULL", "forbid_count names");
  for (int32_t i = 0; i < options.forbid_count; ++i)
    if (options.forbid[i] == nullptr)
      return fail(SPF_INVALID_ARGUMENT, op, "validate", "launch.options.forbid[" + std::to_string(i) + "]", "NULL",
                  "the name of a kernel");
  return SPF_OK;
}

spf_status check_launch(const char* op, const spf_launch* launch) {
  if (spf_status s = check_struct_size(launch, sizeof(spf_launch), op, "launch"); s != SPF_OK) return s;
  if ((launch->flags & ~(SPF_LAUNCH_PDL | SPF_LAUNCH_PLAN_ONLY)) != 0)
    return fail(SPF_INVALID_ARGUMENT, op, "validate", "launch.flags", std::to_string(launch->flags),
                "SPF_LAUNCH_PDL, SPF_LAUNCH_PLAN_ONLY");
  return launch->options != nullptr ? check_options(op, *launch->options) : SPF_OK;
}

spf_status call_op(const OpSchema& schema, const RawCall& raw, const spf_launch& launch) {
  const spf_device_facts* facts = nullptr;
  if (spf_status s = device_facts(schema.name, launch, &facts); s != SPF_OK) return s;
  Call call;
  if (spf_status s = validate(schema, raw, &call); s != SPF_OK) return s;
  Demands demands;
  if (const spf_plan_options* o = launch.options) {
    demands = {o->require_kernel, o->forbid, o->forbid_count};
    call.problem.allow_activation_8bit = o->allow_activation_8bit != 0;
    call.problem.allow_nondeterministic = o->allow_nondeterministic != 0;
  }
  Plan plan;
  const spf_status chosen = choose(call.problem, *facts, demands, kManifest, launch.plan != nullptr, &plan);
  if (launch.plan != nullptr) *launch.plan = new spf_plan(call.problem, plan);
  if (chosen != SPF_OK || (launch.flags & SPF_LAUNCH_PLAN_ONLY) != 0 || writes_nothing(call)) return chosen;
  return launch_planned(call, plan, *facts, launch);
}

} // namespace
} // namespace spf::ops

using namespace spf;
using namespace spf::ops;

extern "C" {

spf_status spf_launch_init(spf_launch* launch, spf_device device) {
  if (launch == nullptr)
    return fail(SPF_INVALID_ARGUMENT, "launch_init", "validate", "launch", "NULL", "a pointer to a struct");
  *launch = spf_launch{};
  launch->struct_size = sizeof *launch;
  launch->device = device;
  return SPF_OK;
}

spf_status spf_op_call(const char* op, const spf_tensor* const* operands, int32_t operand_count, const double* params,
                       int32_t param_count, const spf_packed_weight* weight, const spf_launch* launch) {
  return guarded(op ? op : "op", [&]() -> spf_status {
    if (launch != nullptr && launch->plan != nullptr && launch->struct_size >= sizeof(spf_launch))
      *launch->plan = nullptr;
    const OpSchema* schema = op ? find_op(op) : nullptr;
    if (schema == nullptr) return unknown_op(op);
    if (spf_status s = check_launch(op, launch); s != SPF_OK) return s;
    if (operand_count < 0)
      return fail(SPF_INVALID_ARGUMENT, op, "validate", "operand_count", std::to_string(operand_count),
                  std::to_string(schema->operand_count));
    if (operands == nullptr && operand_count > 0)
      return fail(SPF_INVALID_ARGUMENT, op, "validate", "operands", "NULL",
                  std::to_string(schema->operand_count) + " tensors");
    if (params != nullptr && param_count != schema->param_count)
      return fail(SPF_INVALID_ARGUMENT, op, "validate", "param_count", std::to_string(param_count),
                  std::to_string(schema->param_count));
    RawCall raw;
    raw.operands = {operands, static_cast<size_t>(operand_count)};
    if (params != nullptr) raw.params = {params, static_cast<size_t>(param_count)};
    raw.weight = weight;
    raw.device = launch->device;
    raw.plan_only = (launch->flags & SPF_LAUNCH_PLAN_ONLY) != 0;
    return call_op(*schema, raw, *launch);
  });
}

spf_status spf_op_describe(int32_t index, spf_op_info* info) {
  if (spf_status s = check_struct_size(info, sizeof(spf_op_info), "op_describe", "info"); s != SPF_OK) return s;
  if (index < 0 || static_cast<size_t>(index) >= kManifest.ops.size())
    return fail(SPF_NOT_FOUND, "op_describe", "validate", "index", std::to_string(index),
                "0 to " + std::to_string(kManifest.ops.size() - 1));
  const OpSchema& op = kManifest.ops[static_cast<size_t>(index)];
  *info = {info->struct_size,       op.name, op.family, op.summary, op.operand_count, op.param_count,
           op.packed_weight ? 1 : 0};
  return SPF_OK;
}

spf_status spf_op_operand(const char* name, int32_t index, spf_operand_info* info) {
  return guarded("op_operand", [&]() -> spf_status {
    if (spf_status s = check_struct_size(info, sizeof(spf_operand_info), "op_operand", "info"); s != SPF_OK) return s;
    const OpSchema* op = name ? find_op(name) : nullptr;
    if (op == nullptr) return unknown_op(name);
    if (index < 0 || index >= op->operand_count)
      return fail(SPF_NOT_FOUND, "op_operand", "validate", "index", std::to_string(index),
                  "0 to " + std::to_string(op->operand_count - 1));
    const OperandSchema& o = op->operands[index];
    *info = {info->struct_size,
             o.name,
             static_cast<spf_operand_role>(o.role),
             o.optional ? 1 : 0,
             static_cast<spf_view_rule>(o.view),
             o.type_variable,
             op->type_variables[o.type_variable].name,
             op->type_variables[o.type_variable].types,
             o.shape_text,
             o.values_text,
             o.traffic_text};
    return SPF_OK;
  });
}

spf_status spf_op_param(const char* name, int32_t index, spf_param_info* info) {
  return guarded("op_param", [&]() -> spf_status {
    if (spf_status s = check_struct_size(info, sizeof(spf_param_info), "op_param", "info"); s != SPF_OK) return s;
    const OpSchema* op = name ? find_op(name) : nullptr;
    if (op == nullptr) return unknown_op(name);
    if (index < 0 || index >= op->param_count)
      return fail(SPF_NOT_FOUND, "op_param", "validate", "index", std::to_string(index),
                  std::to_string(op->param_count) + " parameters");
    const ParamSchema& p = op->params[index];
    const char* kind = p.kind == ParamKind::kF64 ? "f64" : p.kind == ParamKind::kI64 ? "i64" : "bool";
    *info = {info->struct_size, p.name, kind, p.fallback, p.min, p.max};
    return SPF_OK;
  });
}
}
