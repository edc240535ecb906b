// Same input, same bits: run again, on another number of threads, on another stream beside another call, and, for
// kernels that call themselves row-invariant, a row alone and the same row in a batch.
#include "check/blocks.hpp"
#include "driver.hpp"

namespace spf::drivers {
namespace {

constexpr const char* kRowInvariant = "row-invariant";
constexpr const char* kNondeterministic = "nondeterministic";

// Rows [row, row + count) of an operand's codes; all of them for operands without rows.
Codes rows_of(const Problem& problem, size_t operand, const Codes& codes, int64_t row, int64_t count) {
  if (problem.op->operands[operand].values.kind == ValueRule::Kind::kBlockScales && !codes.empty())
    return check::tile_rows(codes, problem.operands[operand].shape.back(), row, count);
  if (!problem.op->operands[operand].has_leading() || codes.empty()) return codes;
  const auto bytes = static_cast<int64_t>(codes.size()) / problem.rows();
  return Codes(codes.begin() + row * bytes, codes.begin() + (row + count) * bytes);
}

std::vector<Codes> rows_of(const Problem& problem, const std::vector<Codes>& all, int64_t row, int64_t count) {
  std::vector<Codes> some;
  for (size_t i = 0; i < all.size(); ++i) some.push_back(rows_of(problem, i, all[i], row, count));
  return some;
}

class Determinism {
 public:
  Determinism(const Session& session, const Problem& problem, const Kernel& kernel, Findings* findings)
      : session_(session),
        problem_(problem),
        findings_(findings),
        here_(where(problem, kernel.name)),
        inputs_(make_inputs(problem, Pattern::kMixed)) {
    options_.demand.require = kernel.name;
    Call call(session, problem, {});
    if (!accepts(call, kernel, findings)) return;
    call.fill(inputs_);
    const Outcome outcome = call.launch(options_);
    if (!findings->expect(outcome.status == SPF_OK, here_ + ": " + outcome.error.message)) return;
    if (outcome.plan.determinism == kNondeterministic) {
      findings->skip(kernel.name + " is nondeterministic by declaration");
      return;
    }
    first_ = outcome.outputs;
    repeats(call);
    threads(call);
    streams(call);
    if (outcome.plan.determinism == kRowInvariant) rows();
  }

 private:
  void same(const std::vector<Codes>& expected, const std::vector<Codes>& got, const Problem& problem,
            const std::string& how) {
    const std::string difference = check::first_difference(problem, expected, got);
    findings_->expect(difference.empty(), here_ + ", " + how + ": " + difference);
  }

  void repeats(Call& call) {
    for (int i = 0; i < 3; ++i) {
      call.fill(inputs_);
      same(first_, call.launch(options_).outputs, problem_, "run again");
    }
  }

  void threads(Call& call) {
    if (!session_.memory.is_cpu()) return;
    const struct Restored { // also where a finding ends the driver
      int32_t before = spf_cpu_threads();
      ~Restored() { (void)spf_cpu_set_threads(before); }
    } restored;
    for (int32_t count : {1, 2, 3, 7}) {
      check::expect_ok(spf_cpu_set_threads(count), "spf_cpu_set_threads");
      call.fill(inputs_);
      same(first_, call.launch(options_).outputs, problem_, "on " + std::to_string(count) + " threads");
    }
  }

  // Two calls in flight at once, each on a stream and buffers of its own: neither may use scratch that both share.
  void streams(Call& call) {
    if (!session_.memory.has_streams()) return;
    Call other(session_, problem_, {});
    const std::vector<Codes> other_inputs = check::make_inputs(problem_, Pattern::kPlain, 1);
    other.fill(other_inputs);
    const std::vector<Codes> other_first = other.launch(options_).outputs;
    call.fill(inputs_);
    other.fill(other_inputs);
    call.prepare(options_);
    other.prepare(options_);
    const bool in_place = updates_in_place();
    for (int i = 0; i < (in_place ? 1 : 8); ++i) {
      findings_->expect(call.enqueue(options_, session_.memory.stream(0)) == SPF_OK, here_ + ": launch on stream 0");
      findings_->expect(other.enqueue(options_, session_.memory.stream(1)) == SPF_OK, here_ + ": launch on stream 1");
    }
    session_.memory.wait();
    std::string damage;
    same(first_, call.outputs(&damage), problem_, "two streams at once");
    same(other_first, other.outputs(&damage), problem_, "two streams at once");
    findings_->expect(damage.empty(), here_ + ", two streams at once: " + damage);
  }

  // Ops with in-and-out operands change their own input, so a second run of the same call is another problem.
  bool updates_in_place() const {
    for (const Operand& operand : problem_.op->operands)
      if (operand.role == SPF_ROLE_INOUT) return true;
    return false;
  }

  void rows() {
    if (!problem_.op->has_leading() || problem_.rows() < 2) return;
    const int64_t all = problem_.rows();
    for (int64_t count : {int64_t{1}, std::min<int64_t>(all - 1, 3)})
      for (int64_t row = 0; row + count <= all; row += std::max<int64_t>(1, (all - count) / 3)) {
        const Problem part = problem_.with_leading({count});
        const std::vector<Codes> part_inputs = rows_of(problem_, inputs_, row, count);
        Call call(session_, part, {});
        spf_status status = SPF_OK;
        call.query(options_.demand, &status);
        if (status != SPF_OK) continue; // a kernel may leave small batches to another
        call.fill(part_inputs);
        std::vector<Codes> alone = call.launch(options_).outputs, among = rows_of(problem_, first_, row, count);
        for (size_t i = 0; i < among.size(); ++i) // an output of all rows together has none to compare
          if (!problem_.op->operands[i].has_leading()) alone[i] = among[i] = {};
        same(among, alone, part,
             std::to_string(count) + " of " + std::to_string(all) + " rows from row " + std::to_string(row));
      }
  }

  const Session& session_;
  const Problem& problem_;
  Findings* findings_;
  std::string here_;
  std::vector<Codes> inputs_, first_;
  RunOptions options_;
};

} // namespace

void determinism(const Session& session, const Op& op, Findings& findings) {
  std::vector<Case> cases = cases_of_size(op, 1e5, 4e6, 4);
  for (const Case& seed : served_seeds(session, op, 4))
    for (int64_t extent : {40, 517, 4096}) {
      if (op.packed_weight && extent > 1000) continue;
      cases.push_back(
          at_extents(op, seed, op.has_leading() ? std::vector<int64_t>{19} : std::vector<int64_t>{}, extent));
    }
  for (const Case& c : cases) {
    const Problem problem = check::make_problem(c);
    if (problem.elements() > 20'000'000) continue; // several long dimensions at once
    for (const Kernel& kernel : check::kernels_of(op.name, session.memory.device().kind))
      Determinism(session, problem, kernel, &findings);
  }
}

} // namespace spf::drivers
