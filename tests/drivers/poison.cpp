// What a kernel may touch, and what its result may depend on: not on what lay in its outputs, in the padding around
// them or in the workspace before; and it writes every output element and nothing else.
#include "driver.hpp"

namespace spf::drivers {
namespace {

// NaN in every type; zero; an ordinary number; the sign bit alone.
constexpr uint8_t kPoisons[] = {0xFF, 0x00, 0x3C, 0x80};

void same_under_every_poison(const Session& session, const Problem& problem, const std::vector<Layout>& layouts,
                             const char* how, const Kernel& kernel, Findings* findings) {
  const std::string here = where(problem, kernel.name) + ", " + how;
  Call call(session, problem, layouts);
  if (!accepts(call, kernel, findings)) return;
  const std::vector<Codes> inputs = check::make_inputs(problem, Pattern::kPlain);
  const std::vector<Codes> expected = check::reference(problem, inputs);
  std::vector<Codes> first;
  for (uint8_t poison : kPoisons) {
    call.fill(inputs, poison);
    RunOptions options;
    options.demand.require = kernel.name;
    options.poison = poison;
    Outcome outcome = call.launch(options);
    if (!findings->expect_right(here, check::check_outcome(problem, inputs, expected, outcome))) return;
    if (first.empty()) first = outcome.outputs;
    const std::string difference = check::first_difference(problem, first, outcome.outputs);
    if (!findings->expect(difference.empty(), here + ": the result depends on what lay around it: " + difference))
      return;
  }
}

// One byte less than the plan asks for is refused, by name, before anything is written.
void small_workspace(const Session& session, const Problem& problem, const Kernel& kernel, Findings* findings) {
  Call call(session, problem, {});
  spf_status status = SPF_OK;
  const PlanFacts plan = call.query({kernel.name, {}}, &status);
  if (status != SPF_OK || plan.workspace_bytes == 0) return;
  const std::string here = where(problem, kernel.name) + ", a workspace one byte too small";
  call.fill(check::make_inputs(problem, Pattern::kPlain));
  std::vector<Codes> before;
  for (size_t i = 0; i < problem.operands.size(); ++i) before.push_back(call.buffer(i).held());
  RunOptions options;
  options.demand.require = kernel.name;
  options.workspace = check::Workspace::kTooSmall;
  const Outcome outcome = call.launch(options);
  findings->expect(outcome.status == SPF_WORKSPACE_TOO_SMALL, here + ": " + spf_status_name(outcome.status));
  for (size_t i = 0; i < before.size(); ++i)
    if (problem.op->operands[i].is_output() && problem.operands[i].present)
      findings->expect(outcome.outputs[i] == before[i],
                       here + ": refused, but " + problem.op->operands[i].name + " was written");
}

void drive(const Session& session, const Problem& problem, Findings* findings) {
  std::vector<Layout> gaps(problem.operands.size()), ends(problem.operands.size());
  for (size_t i = 0; i < gaps.size(); ++i) {
    ends[i].flush_end = true;
    if (problem.op->operands[i].view != SPF_VIEW_CONTIGUOUS) gaps[i] = padded(problem.operands[i].shape, 7);
  }
  for (const Kernel& kernel : check::kernels_of(problem.op->name, session.memory.device().kind)) {
    same_under_every_poison(session, problem, gaps, "row-padded", kernel, findings);
    same_under_every_poison(session, problem, ends, "ending where memory faults", kernel, findings);
    small_workspace(session, problem, kernel, findings);
  }
}

} // namespace

void poison(const Session& session, const Op& op, Findings& findings) {
  const std::vector<int64_t> leading = op.has_leading() ? std::vector<int64_t>{3} : std::vector<int64_t>{};
  for (const Case& seed : seeds(op, op.packed_weight ? 1000 : 6))
    for (int64_t extent : op.packed_weight ? std::vector<int64_t>{5, 130} : std::vector<int64_t>{5, 8, 130, 260})
      drive(session, check::make_problem(at_extents(op, seed, leading, extent)), &findings);
  // Large enough for every instance, among them those that need a workspace.
  for (const Case& c : cases_of_size(op, 1e4, 1e6, 6)) drive(session, check::make_problem(c), &findings);
}

} // namespace spf::drivers
