// Rows more than 2^31 and 2^32 elements apart: every offset that involves a row has to be 64 bits wide. On the CPU the
// storage is a sparse reservation; on a GPU it is real memory, so a problem that does not fit is skipped and said so.
#include "driver.hpp"

namespace spf::drivers {
namespace {

constexpr int64_t kDeviceBudget = int64_t{40} << 30; // bytes

// Bytes that operands of this layout take, as far as they count: the CPU's reservation does not.
int64_t storage_bytes(const Problem& problem, const std::vector<Layout>& layouts) {
  int64_t bytes = 0;
  for (size_t i = 0; i < layouts.size(); ++i) {
    const check::OperandShape& operand = problem.operands[i];
    if (!operand.present || layouts[i].stride.empty()) continue;
    int64_t last = 0;
    for (size_t d = 0; d < operand.shape.size(); ++d) last += (operand.shape[d] - 1) * layouts[i].stride[d];
    bytes += (last + 1) * check::type_bytes(operand.type);
  }
  return bytes;
}

// Operands whose outermost stride can be anything: those with rows together, any other (pages of a cache, sequences)
// for itself.
std::vector<std::vector<size_t>> groups_of(const Op& op) {
  std::vector<std::vector<size_t>> groups(1);
  for (size_t i = 0; i < op.operands.size(); ++i) {
    const Operand& operand = op.operands[i];
    if (operand.view == SPF_VIEW_CONTIGUOUS || operand.dims.size() < (operand.has_leading() ? 1 : 2)) continue;
    if (operand.has_leading())
      groups[0].push_back(i);
    else
      groups.push_back({i});
  }
  if (groups[0].empty()) groups.erase(groups.begin());
  return groups;
}

void far_rows(const Session& session, const Problem& problem, const std::vector<size_t>& group, int64_t stride,
              Findings* findings) {
  std::vector<Layout> layouts(problem.operands.size());
  std::string how = ", " + std::to_string(stride) + " elements apart:";
  for (size_t i : group) {
    const std::vector<int64_t>& shape = problem.operands[i].shape;
    if (!problem.operands[i].present || shape.size() < 2 || shape[0] < 2) continue;
    layouts[i].stride = check::contiguous_strides(shape);
    layouts[i].stride[0] = stride;
    how += " " + problem.op->operands[i].name;
  }
  if (how.back() == ':') return;
  const int64_t bytes = storage_bytes(problem, layouts);
  if (!session.memory.is_cpu() && (bytes > kDeviceBudget || bytes > session.memory.largest_block())) {
    findings->skip(problem.op->name + how + ": takes " + std::to_string(bytes >> 30) + " GiB");
    return;
  }
  Call call(session, problem, layouts);
  const std::vector<Codes> inputs = check::make_inputs(problem, Pattern::kPlain);
  const std::vector<Codes> expected = check::reference(problem, inputs);
  for (const Kernel& kernel : check::kernels_of(problem.op->name, session.memory.device().kind)) {
    if (!accepts(call, kernel, findings)) continue;
    call.fill(inputs);
    RunOptions options;
    options.demand.require = kernel.name;
    findings->expect_right(where(problem, kernel.name) + how,
                           check::check_outcome(problem, inputs, expected, call.launch(options)));
  }
}

} // namespace

void far_strides(const Session& session, const Op& op, Findings& findings) {
  const std::vector<std::vector<size_t>> groups = groups_of(op);
  if (groups.empty()) {
    findings.skip(op.name + " has no operand with free row strides");
    return;
  }
  // On a GPU two rows are what fits. Three on the CPU make 2 * 2^31 wrap as well.
  std::vector<int64_t> rows;
  if (op.has_leading()) rows = {session.memory.is_cpu() ? 3 : 2};
  for (const Case& seed : served_seeds(session, op, 3))
    for (int64_t extent : {int64_t{96}, int64_t{129}}) {
      const Problem problem = check::make_problem(at_extents(op, seed, rows, extent));
      for (int64_t stride : {(int64_t{1} << 31) + 8, (int64_t{1} << 32) + 8, (int64_t{1} << 32) + 8192 + 3})
        for (const std::vector<size_t>& group : groups) far_rows(session, problem, group, stride, &findings);
    }
}

} // namespace spf::drivers
