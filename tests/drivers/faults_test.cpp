// The drivers can fail: each runs over implementations that are wrong on purpose, in the way that the driver is there
// to catch, and has to find it. Every fault wraps the real call and spoils one thing.
#include <algorithm>
#include <cstring>
#include <functional>
#include <map>

#include <gtest/gtest.h>

#include "device.hpp"
#include "driver.hpp"

namespace spf::drivers {
namespace {

using check::OpCall;

// A call as a fault sees it.
struct Seen {
  const Op& op;
  const spf_tensor* const* operands;
  const double* params;
  const spf_packed_weight* weight;
  const spf_launch* launch;

  bool plan_only() const { return (launch->flags & SPF_LAUNCH_PLAN_ONLY) != 0; }
  int32_t count() const { return static_cast<int32_t>(op.operands.size()); }
  spf_status really(const spf_tensor* const* with, const spf_launch* how) const {
    return spf_op_call(op.name.c_str(), with, count(), params, static_cast<int32_t>(op.params.size()), weight, how);
  }
  spf_status really() const { return really(operands, launch); }

  // The first output that holds anything, or nullptr.
  const spf_tensor* output() const {
    for (size_t i = 0; i < op.operands.size(); ++i) {
      const spf_tensor* t = operands[i];
      if (op.operands[i].is_output() && t != nullptr && !std::count(t->shape, t->shape + t->rank, 0)) return t;
    }
    return nullptr;
  }
};

using Fault = std::function<spf_status(const Seen&)>;

OpCall wrap(const Op& op, Fault fault) {
  return [&op, fault = std::move(fault)](const char*, const spf_tensor* const* operands, int32_t, const double* params,
                                         int32_t, const spf_packed_weight* weight, const spf_launch* launch) {
    return fault({op, operands, params, weight, launch});
  };
}

int64_t elements(const spf_tensor& t) {
  int64_t count = 1;
  for (int i = 0; i < t.rank; ++i) count *= t.shape[i];
  return count;
}

// The index-th element in C order.
std::byte* element(const spf_tensor& t, int64_t index) {
  int64_t offset = 0;
  for (int i = t.rank - 1; i >= 0; --i) {
    offset += index % t.shape[i] * t.stride[i];
    index /= t.shape[i];
  }
  return static_cast<std::byte*>(t.data) + offset * check::type_bytes(t.type);
}

// Turns the sign of an element, or makes 1 of 0: wrong whatever the tolerance.
void spoil(const spf_tensor& t, int64_t index) {
  const int64_t size = check::type_bytes(t.type);
  Codes code(static_cast<size_t>(size));
  device().wait();
  device().read(code.data(), element(t, index), size);
  double value = 0;
  check::expect_ok(spf_decode(t.type, code.data(), 1, &value), "spf_decode");
  value = std::abs(value) > 1e-3 ? -value : 1;
  check::expect_ok(spf_encode(t.type, &value, 1, code.data()), "spf_encode");
  device().write(element(t, index), code.data(), size);
}

// Runs the call, and spoils the middle element of the output if `when` says so.
Fault spoils_if(std::function<bool(const Seen&)> when) {
  return [when = std::move(when)](const Seen& seen) {
    const spf_status status = seen.really();
    if (status == SPF_OK && !seen.plan_only() && seen.output() != nullptr && when(seen))
      spoil(*seen.output(), elements(*seen.output()) / 2);
    return status;
  };
}

// Runs the call with changed copies of its operands.
spf_status with_views(const Seen& seen, const std::function<void(const Operand&, spf_tensor&)>& change) {
  std::vector<spf_tensor> copies(seen.op.operands.size());
  std::vector<const spf_tensor*> views(copies.size(), nullptr);
  for (size_t i = 0; i < copies.size(); ++i) {
    if (seen.operands[i] == nullptr) continue;
    copies[i] = *seen.operands[i];
    change(seen.op.operands[i], copies[i]);
    views[i] = &copies[i];
  }
  return seen.really(views.data(), seen.launch);
}

bool is_strided(const spf_tensor& t) {
  int64_t step = 1;
  for (int i = t.rank - 1; i >= 0; --i) {
    if (t.shape[i] > 1 && t.stride[i] != step) return true;
    step *= t.shape[i];
  }
  return false;
}

// --- the faults ---------------------------------------------------------------------------------------------------

Fault always_wrong() {
  return spoils_if([](const Seen&) { return true; });
}

// Takes every view for a contiguous one, as far as that stays inside its storage. Not those of ids and lengths: what
// lies between them could be any.
Fault ignores_strides() {
  return [](const Seen& seen) {
    return with_views(seen, [](const Operand& operand, spf_tensor& t) {
      int64_t last = 0;
      for (int i = 0; i < t.rank; ++i) last += (t.shape[i] - 1) * t.stride[i];
      if (operand.has_rule() || operand.dims.size() < 2 || last + 1 < elements(t)) return;
      for (int64_t i = t.rank - 1, step = 1; i >= 0; step *= std::max<int64_t>(t.shape[i], 1), --i) t.stride[i] = step;
    });
  };
}

// Loses what is left over after whole vectors or tiles: the last element comes out wrong where some extent of an
// operand is one more than a multiple of 8. A reduction has its tail in an input.
Fault wrong_tails() {
  return [](const Seen& seen) {
    const spf_status status = seen.really();
    const spf_tensor* out = seen.output();
    const bool tail = std::any_of(seen.operands, seen.operands + seen.count(), [](const spf_tensor* t) {
      return t != nullptr && elements(*t) > 1 &&
             std::any_of(t->shape, t->shape + t->rank, [](int64_t extent) { return extent % 8 == 1; });
    });
    if (status == SPF_OK && !seen.plan_only() && out != nullptr && tail) spoil(*out, elements(*out) - 1);
    return status;
  };
}

// Says yes to what the library refuses with a status.
Fault never_refuses(spf_status refused) {
  return [refused](const Seen& seen) {
    const spf_status status = seen.really();
    return status == refused ? SPF_OK : status;
  };
}

Fault misreads_misaligned() {
  return spoils_if([](const Seen& seen) {
    return (reinterpret_cast<uintptr_t>(seen.output()->data) & 15u) != 0 && !is_strided(*seen.output());
  });
}

// Row offsets in 32 bits.
Fault wraps_offsets() {
  return [](const Seen& seen) {
    return with_views(seen, [](const Operand& operand, spf_tensor& t) {
      if (operand.has_rule()) return;
      for (int i = 0; i < t.rank; ++i) t.stride[i] = static_cast<uint32_t>(t.stride[i]);
    });
  };
}

Fault writes_past_the_end() {
  return [](const Seen& seen) {
    const spf_status status = seen.really();
    const spf_tensor* out = seen.output();
    if (status != SPF_OK || seen.plan_only() || out == nullptr) return status;
    std::byte* const end = element(*out, elements(*out) - 1) + check::type_bytes(out->type);
    if (reinterpret_cast<uintptr_t>(end) % 256 == 0) return status; // there the view may end where memory faults
    const std::byte one{0x55};
    device().wait();
    device().write(end, &one, 1);
    return status;
  };
}

// Leaves the last output element as it was.
Fault forgets_an_element() {
  return [](const Seen& seen) {
    const spf_tensor* out = seen.output();
    if (seen.plan_only() || out == nullptr) return seen.really();
    const int64_t size = check::type_bytes(out->type);
    Codes before(static_cast<size_t>(size));
    device().read(before.data(), element(*out, elements(*out) - 1), size);
    const spf_status status = seen.really();
    device().wait();
    device().write(element(*out, elements(*out) - 1), before.data(), size);
    return status;
  };
}

Fault overwrites_inputs() {
  return [](const Seen& seen) {
    const spf_status status = seen.really();
    for (size_t i = 0; i < seen.op.operands.size(); ++i)
      if (status == SPF_OK && !seen.plan_only() && seen.op.operands[i].role == SPF_ROLE_IN &&
          seen.operands[i] != nullptr && elements(*seen.operands[i]) > 0) {
        spoil(*seen.operands[i], 0);
        break;
      }
    return status;
  };
}

Fault takes_small_workspaces() { return never_refuses(SPF_WORKSPACE_TOO_SMALL); }

// The query is a guess of its own.
Fault query_always_agrees() {
  return [](const Seen& seen) {
    const spf_status status = seen.really();
    return seen.plan_only() ? SPF_OK : status;
  };
}

// Another error than the query's, and one that names nothing.
Fault launch_refuses_otherwise() {
  return [](const Seen& seen) {
    const spf_status status = seen.really();
    if (status == SPF_OK || seen.plan_only()) return status;
    spf_scalar_type type;
    (void)spf_scalar_type_from_name("no such type", &type);
    return status;
  };
}

Fault drifts() {
  return [calls = std::make_shared<int>(0)](const Seen& seen) {
    return spoils_if([&](const Seen&) { return ++*calls % 3 == 0; })(seen);
  };
}

Fault depends_on_the_batch() {
  return spoils_if([](const Seen& seen) { return seen.output()->rank < 2 || seen.output()->shape[0] == 1; });
}

Fault depends_on_threads() {
  return spoils_if([](const Seen&) { return spf_cpu_threads() == 3; });
}

// Runs on the default stream, whatever it was given: nothing of it is in the graph.
Fault ignores_the_stream() {
  return [](const Seen& seen) {
    spf_launch launch = *seen.launch;
    launch.stream = nullptr;
    return seen.really(seen.operands, &launch);
  };
}

struct Row {
  const char* name;
  void (*driver)(const Session&, const Op&, Findings&);
  Fault (*fault)();
  bool cpu_only = false, streams_only = false, workspace_only = false, rows_only = false;
};

const Row kRows[] = {
    {"conformance finds a wrong element", conformance, always_wrong},
    {"shapes finds ignored strides", shapes, ignores_strides},
    {"shapes finds wrong tails", shapes, wrong_tails},
    {"shapes finds misread misaligned views", shapes, misreads_misaligned},
    {"shapes finds accepted misalignment", shapes, [] { return never_refuses(SPF_INVALID_ALIGNMENT); }},
    {"shapes finds accepted strides", shapes, [] { return never_refuses(SPF_INVALID_STRIDE); }},
    {"far strides finds 32-bit offsets", far_strides, wraps_offsets},
    {"poison finds a write past the view", poison, writes_past_the_end},
    {"poison finds an element that is not written", poison, forgets_an_element},
    {"poison finds an overwritten input", poison, overwrites_inputs},
    {"poison finds an accepted small workspace", poison, takes_small_workspaces, false, false, true},
    {"query equals launch finds a query that guesses", query_equals_launch, query_always_agrees},
    {"query equals launch finds another refusal", query_equals_launch, launch_refuses_otherwise},
    {"determinism finds a drift", determinism, drifts},
    {"determinism finds a dependence on the batch", determinism, depends_on_the_batch, false, false, false, true},
    {"determinism finds a dependence on threads", determinism, depends_on_threads, true},
    {"capture finds an ignored stream", capture, ignores_the_stream, false, true},
};

// True if a kernel of the op, on some problem that the poison driver makes, has such a plan.
bool has_plan(const Session& session, const Op& op, const std::function<bool(const PlanFacts&)>& such) {
  for (const Case& c : seeds(op, 4)) {
    const Problem problem = check::make_problem(
        at_extents(op, c, op.has_leading() ? std::vector<int64_t>{3} : std::vector<int64_t>{}, 130));
    Call call(session, problem, {});
    for (const Kernel& kernel : check::kernels_of(op.name, session.memory.device().kind)) {
      spf_status status = SPF_OK;
      const PlanFacts plan = call.query({kernel.name, {}}, &status);
      if (status == SPF_OK && such(plan)) return true;
    }
  }
  return false;
}

bool has_workspace(const PlanFacts& plan) { return plan.workspace_bytes > 0; }
bool has_invariant_rows(const PlanFacts& plan) { return plan.determinism == "row-invariant"; }

// The first op of each family: what the drivers do does not depend on which op of a family it is. Ops with a packed
// weight take long and exercise nothing else, so they stand in only where a workspace is needed.
std::vector<const Op*> chosen_ops(const Row& row, const Session& session) {
  std::map<std::string, const Op*> by_family;
  for (const Op& op : check::ops()) {
    if (row.workspace_only ? !has_plan(session, op, has_workspace) : op.packed_weight) continue;
    if (row.rows_only && (!op.has_leading() || !has_plan(session, op, has_invariant_rows))) continue;
    if (check::kernels_of(op.name, session.memory.device().kind).empty()) continue;
    by_family.try_emplace(op.family, &op);
  }
  std::vector<const Op*> chosen;
  for (const auto& [family, op] : by_family) chosen.push_back(op);
  return chosen;
}

class Faults : public testing::TestWithParam<size_t> {};

TEST_P(Faults, AreFound) {
  const Row& row = kRows[GetParam()];
  SCOPED_TRACE(row.name);
  const Session honest{device()};
  if ((row.cpu_only && !device().is_cpu()) || (row.streams_only && !device().has_streams()))
    GTEST_SKIP() << "not on this device";
  const std::vector<const Op*> chosen = chosen_ops(row, honest);
  if (chosen.empty()) GTEST_SKIP() << "no op here fits";
  for (const Op* op : chosen) {
    Session session{device(), wrap(*op, row.fault())};
    Findings findings;
    findings.one_is_enough = true;
    EXPECT_THROW(row.driver(session, *op, findings), Findings::Found)
        << op->name << ": the driver ran " << findings.checks << " checks and saw nothing";
  }
}

INSTANTIATE_TEST_SUITE_P(faults, Faults, testing::Range<size_t>(0, std::size(kRows)),
                         [](const testing::TestParamInfo<size_t>& row) {
                           std::string name = kRows[row.param].name;
                           std::replace_if(
                               name.begin(), name.end(),
                               [](char c) { return std::isalnum(static_cast<unsigned char>(c)) == 0; }, '_');
                           return name;
                         });

} // namespace
} // namespace spf::drivers
