// Every op goes into a CUDA graph, and the graph computes with the data that lies in its buffers when it is replayed.
#include "driver.hpp"

namespace spf::drivers {
namespace {

void drive(const Session& session, const Problem& problem, const Kernel& kernel, uint32_t flags, Findings* findings) {
  const std::string here =
      where(problem, kernel.name) + (flags != 0 ? ", captured with programmatic dependent launch" : ", captured");
  Call call(session, problem, {});
  if (!accepts(call, kernel, findings)) return;
  RunOptions options;
  options.demand.require = kernel.name;
  options.flags = flags;
  call.fill(check::make_inputs(problem, Pattern::kPlain));
  call.prepare(options);
  spf_status status = SPF_OK;
  const auto replay = session.memory.capture([&] { status = call.enqueue(options, session.memory.stream(0)); });
  if (!findings->expect(status == SPF_OK, here + ": " + spf_status_name(status))) return;
  for (uint64_t salt : {1, 2, 3}) {
    const std::vector<Codes> inputs = check::make_inputs(problem, Pattern::kPlain, salt);
    call.fill(inputs);
    replay();
    Outcome outcome;
    outcome.plan = call.prepared();
    outcome.outputs = call.outputs(&outcome.damage);
    findings->expect_right(here, check::check_outcome(problem, inputs, check::reference(problem, inputs), outcome));
  }
}

} // namespace

void capture(const Session& session, const Op& op, Findings& findings) {
  std::vector<Case> cases = cases_of_size(op, 1e3, 4e6, 4);
  for (const Case& seed : served_seeds(session, op, 4))
    cases.push_back(at_extents(op, seed, op.has_leading() ? std::vector<int64_t>{7} : std::vector<int64_t>{}, 264));
  for (const Case& c : cases) {
    const Problem problem = check::make_problem(c);
    for (const Kernel& kernel : check::kernels_of(op.name, session.memory.device().kind))
      for (uint32_t flags : {uint32_t{0}, static_cast<uint32_t>(SPF_LAUNCH_PDL)})
        drive(session, problem, kernel, flags, &findings);
  }
}

} // namespace spf::drivers
