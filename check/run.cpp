#include "check/run.hpp"

#include <algorithm>

#include "check/weight.hpp"

namespace spf::check {
PlanFacts read_plan(const spf_plan* plan) {
  PlanFacts facts;
  if (plan == nullptr) return facts;
  spf_plan_info info = {};
  info.struct_size = sizeof info;
  expect_ok(spf_plan_describe(plan, &info), "spf_plan_describe");
  facts.kernel = info.kernel;
  facts.instance = info.instance;
  facts.layout = info.layout;
  facts.activation = info.activation;
  facts.determinism = info.determinism;
  facts.workspace_bytes = info.workspace_bytes;
  facts.cost_us = info.cost_us;
  for (int32_t i = 0; i < info.rejected_count; ++i) {
    spf_plan_rejection r = {};
    r.struct_size = sizeof r;
    expect_ok(spf_plan_rejected(plan, i, &r), "spf_plan_rejected");
    facts.rejected.push_back({r.kernel, r.code, r.reason});
  }
  return facts;
}

Call::Call(const Session& session, const Problem& problem, const std::vector<Layout>& layouts)
    : session_(session), problem_(problem) {
  buffers_.reserve(problem.operands.size());
  for (size_t i = 0; i < problem.operands.size(); ++i) {
    OperandShape shape = problem.operands[i];
    if (!shape.present) shape.shape = {0};
    buffers_.emplace_back(session_.memory, shape, i < layouts.size() ? layouts[i] : Layout{});
    views_.push_back(buffers_.back().view());
  }
}

void Call::fill(const std::vector<Codes>& inputs, uint8_t poison) {
  before_.assign(buffers_.size(), {});
  for (size_t i = 0; i < buffers_.size(); ++i) {
    buffers_[i].put(inputs[i], poison);
    before_[i] = buffers_[i].held();
  }
}

std::vector<Codes> Call::held() const {
  std::vector<Codes> codes(buffers_.size());
  for (size_t i = 0; i < buffers_.size(); ++i)
    if (problem_.operands[i].present && problem_.op->operands[i].role != SPF_ROLE_OUT) codes[i] = before_[i];
  return codes;
}

spf_status Call::call(const Demand& demand, uint32_t flags, void* stream, const spf_packed_weight* weight,
                      void* workspace, size_t workspace_bytes, PlanFacts* plan, ErrorDetail* error) {
  std::vector<const spf_tensor*> operands;
  for (size_t i = 0; i < views_.size(); ++i) operands.push_back(problem_.operands[i].present ? &views_[i] : nullptr);
  std::vector<const char*> forbid;
  for (const std::string& name : demand.forbid) forbid.push_back(name.c_str());
  spf_plan_options options = {};
  options.struct_size = sizeof options;
  options.require_kernel = demand.require.empty() ? nullptr : demand.require.c_str();
  options.forbid = forbid.data();
  options.forbid_count = static_cast<int32_t>(forbid.size());
  options.allow_activation_8bit = problem_.allow_activation_8bit ? 1 : 0;
  options.allow_nondeterministic = 1; // every kernel of the table is to be reached
  spf_launch launch = {};
  expect_ok(spf_launch_init(&launch, session_.memory.device()), "spf_launch_init");
  launch.flags = flags;
  launch.stream = stream;
  launch.workspace = workspace;
  launch.workspace_bytes = workspace_bytes;
  launch.options = &options;
  spf_plan* made = nullptr;
  if (plan != nullptr) launch.plan = &made;
  const spf_status status =
      session_.call(problem_.op->name.c_str(), operands.data(), static_cast<int32_t>(operands.size()),
                    problem_.params.data(), static_cast<int32_t>(problem_.params.size()), weight, &launch);
  if (status != SPF_OK && error != nullptr) *error = last_error();
  if (plan != nullptr) *plan = read_plan(made);
  spf_plan_free(made);
  return status;
}

PlanFacts Call::query(const Demand& demand, spf_status* status, ErrorDetail* error) {
  PlanFacts plan;
  const spf_packed_weight* weight = nullptr;
  spf_packed_weight header = {};
  if (problem_.weight) {
    header = problem_.weight->header(session_.memory.device());
    weight = &header;
  }
  *status = call(demand, SPF_LAUNCH_PLAN_ONLY, nullptr, weight, nullptr, 0, &plan, error);
  // The layout is the plan's answer; with the weight packed that way the same kernel must be chosen again.
  if (*status != SPF_OK || !problem_.weight) return plan;
  header = problem_.weight->header(session_.memory.device());
  plan.layout.copy(header.layout, sizeof header.layout - 1);
  PlanFacts packed_plan;
  *status = call(demand, SPF_LAUNCH_PLAN_ONLY, nullptr, weight, nullptr, 0, &packed_plan, error);
  return packed_plan;
}

PlanFacts Call::query_refused(const Demand& demand, spf_status* status, ErrorDetail* error) {
  const spf_packed_weight* weight = nullptr;
  spf_packed_weight header = {};
  if (problem_.weight) {
    header = problem_.weight->header(session_.memory.device());
    std::string(spf_layout_name(0)).copy(header.layout, sizeof header.layout - 1);
    weight = &header;
  }
  PlanFacts plan;
  *status = call(demand, SPF_LAUNCH_PLAN_ONLY, nullptr, weight, nullptr, 0, &plan, error);
  return plan;
}

void Call::prepare(const RunOptions& options) {
  spf_status status = SPF_OK;
  ErrorDetail error;
  prepared_ = query(options.demand, &status, &error);
  if (status != SPF_OK) throw Failure(problem_.op->name + ": " + error.message);
  if (problem_.weight) weight_ = &problem_.weight->packed(prepared_.layout, session_.memory);
  size_t bytes = prepared_.workspace_bytes;
  if (options.workspace == Workspace::kTooSmall && bytes > 0) --bytes;
  // Workspaces are aligned to 256 bytes, so an end that faults needs a size to match; the start is what must be
  // aligned.
  const size_t padded = (bytes + 255) / 256 * 256;
  if (bytes == 0) return;
  workspace_ = session_.memory.allocate(static_cast<int64_t>(padded), Edge::kEnd);
  const std::vector<std::byte> poison(padded, std::byte{options.poison});
  session_.memory.write(workspace_.data(), poison.data(), static_cast<int64_t>(padded));
}

spf_status Call::enqueue(const RunOptions& options, void* stream) {
  size_t bytes = prepared_.workspace_bytes;
  if (options.workspace == Workspace::kTooSmall && bytes > 0) --bytes;
  return call(options.demand, options.flags, stream, weight_, bytes > 0 ? workspace_.data() : nullptr, bytes, nullptr,
              nullptr);
}

Outcome Call::launch(const RunOptions& options) {
  Outcome outcome;
  outcome.plan = query(options.demand, &outcome.status, &outcome.error);
  const bool planned = outcome.status == SPF_OK;
  if (planned) prepare(options);
  size_t bytes = planned ? prepared_.workspace_bytes : 0;
  if (options.workspace == Workspace::kTooSmall && bytes > 0) --bytes;
  // Refused already; the launch must refuse too, and that not for a lack of bytes to look at.
  if (problem_.weight && !planned) weight_ = &problem_.weight->packed(spf_layout_name(0), session_.memory);
  outcome.status = call(options.demand, options.flags, session_.memory.stream(options.stream), weight_,
                        bytes > 0 ? workspace_.data() : nullptr, bytes, &outcome.plan, &outcome.error);
  session_.memory.wait();
  if (bytes > 0) {
    std::vector<std::byte> tail(static_cast<size_t>(workspace_.bytes()) - bytes);
    session_.memory.read(tail.data(), workspace_.data() + bytes, static_cast<int64_t>(tail.size()));
    if (std::any_of(tail.begin(), tail.end(), [&](std::byte b) { return b != std::byte{options.poison}; }))
      outcome.damage = "a byte past the end of the workspace was overwritten";
  }
  std::string damage;
  if (!before_.empty()) outcome.outputs = outputs(&damage);
  if (outcome.damage.empty()) outcome.damage = damage;
  return outcome;
}

std::vector<Codes> Call::outputs(std::string* damage) {
  std::vector<Codes> codes(buffers_.size());
  for (size_t i = 0; i < buffers_.size(); ++i) {
    if (!problem_.operands[i].present) continue;
    const Operand& operand = problem_.op->operands[i];
    Codes now = buffers_[i].get();
    std::string what = buffers_[i].damage();
    if (what.empty() && !operand.is_output() && now != before_[i]) what = "the input itself was overwritten";
    if (!what.empty() && damage->empty()) *damage = operand.name + ": " + what;
    if (operand.is_output()) codes[i] = std::move(now);
  }
  return codes;
}

Outcome run(const Session& session, const Problem& problem, const std::vector<Codes>& inputs,
            const std::vector<Layout>& layouts, const RunOptions& options) {
  Call call(session, problem, layouts);
  call.fill(inputs, options.poison);
  return call.launch(options);
}

namespace {

Memory& host() {
  static const std::unique_ptr<Memory> cpu = open_device("cpu");
  return *cpu;
}

} // namespace

bool is_legal(const Problem& problem) {
  spf_status status = SPF_OK;
  Call({host()}, problem, {}).query({"reference", {}}, &status);
  return status == SPF_OK;
}

std::vector<Codes> reference(const Problem& problem, const std::vector<Codes>& inputs) {
  RunOptions options;
  options.demand.require = "reference";
  const Outcome outcome = run({host()}, problem, inputs, {}, options);
  if (outcome.status != SPF_OK)
    throw Failure("the reference of " + problem.op->name + " refused " + problem.name + ": " + outcome.error.message);
  return outcome.outputs;
}

} // namespace spf::check
