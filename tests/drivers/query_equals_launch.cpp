// "Is this supported?" and the launch are one answer: thousands of random problems, most of them odd, some of them
// wrong, are asked about with SPF_LAUNCH_PLAN_ONLY and then launched. Status, kernel, instance, workspace and reasons
// must be equal, and a refusal names the op and the field.
#include <algorithm>

#include "driver.hpp"

namespace spf::drivers {
namespace {

class Fuzz {
 public:
  Fuzz(const Session& session, const Op& op, Findings& findings)
      : session_(session), op_(op), findings_(findings), random_(check::hash_bytes(op.name.data(), op.name.size())) {
    for (const Kernel& kernel : check::kernels_of(op.name, session.memory.device().kind)) {
      names_.push_back(kernel.name);
      names_.push_back(kernel.name.substr(kernel.name.find('/') + 1));
      for (const std::string& instance : kernel.instances) names_.push_back(kernel.pattern(instance));
    }
    names_.push_back("no_such_kernel");
  }

  void run(int problems) {
    // Where a device serves few of an op's schemes, most problems are still of those.
    const std::vector<Case> any = seeds(op_, 64), served = served_seeds(session_, op_, 1000);
    for (int i = 0; i < problems; ++i) one(random_.pick(random_.chance(0.7) ? served : any), i);
    // A generator that only makes problems of one kind tests nothing. Without a kernel for this device all of them are
    // refused, and that too has to be told alike.
    findings_.expect(accepted_ > problems / 12 || !is_served(session_, op_, served.front()),
                     op_.name + ": only " + std::to_string(accepted_) + " problems were legal");
    findings_.expect(refused_ > problems / 8,
                     op_.name + ": only " + std::to_string(refused_) + " problems were refused");
  }

 private:
  void one(const Case& seed, int index) {
    const Problem problem = check::make_problem(drawn(seed));
    std::vector<Layout> layouts;
    for (const check::OperandShape& operand : problem.operands) {
      const Operand& schema = op_.operands[layouts.size()];
      layouts.push_back(layout(operand, schema.view == SPF_VIEW_CONTIGUOUS ? 40 : 10));
    }
    Call call(session_, problem, layouts);
    // Without a fill the views hold anything, which ids and lengths must not.
    if (!op_.takes_any_extents()) call.fill(check::make_inputs(problem, Pattern::kPlain));
    const std::string twist = random_.chance(0.4) ? mutate(problem, call.views()) : "";
    RunOptions options;
    options.demand = demand();
    const std::string here = where(problem, options.demand.require.empty() ? "any kernel" : options.demand.require) +
                             (twist.empty() ? "" : ", " + twist) + ", problem " + std::to_string(index);
    compare(call, options, here);
  }

  Case drawn(const Case& seed) {
    Case c = seed;
    c.bench = false;
    c.leading.clear();
    if (op_.has_leading())
      for (int64_t rank = random_.below(4); rank > 0; --rank)
        c.leading.push_back(random_.pick<int64_t>({0, 1, 1, 2, 3, 5}));
    const auto extent = [&] { return random_.pick<int64_t>({0, 1, 2, 3, 5, 8, 16, 31, 32, 33, 64, 100, 128, 256}); };
    const std::vector<std::string> symbols = op_.symbols();
    if (op_.takes_any_extents()) {
      // Some stay, for ops that take few extents.
      for (const std::string& symbol : symbols)
        if (op_.packed_weight || random_.chance(0.7)) c.dims[symbol] = extent();
      return c;
    }
    // Most draws of all extents at once would be of no use to an op that binds them to each other.
    for (int64_t changes = symbols.empty() ? 0 : random_.below(3); changes > 0; --changes) {
      Case other = c;
      other.dims[random_.pick(symbols)] = extent();
      const Problem problem = check::make_problem(other);
      if (is_small(problem) && (random_.chance(0.2) || check::is_legal(problem))) c = other;
    }
    return c;
  }

  // Four in `of` lie in some way that is not the plain one.
  Layout layout(const check::OperandShape& operand, int64_t of) {
    Layout l;
    switch (random_.below(of)) {
      case 0:
        l = padded(operand.shape, random_.below(20));
        break;
      case 1:
        l = leading_transposed(operand.shape);
        break;
      case 2:
        l = transposed(operand.shape);
        break;
      case 3:
        l = broadcast(operand.shape);
        break;
      default:
        break;
    }
    if (random_.chance(0.15)) l.misalign = random_.below(17);
    if (random_.chance(0.15)) l.misalign = random_.below(5) * check::type_bytes(operand.type);
    return l;
  }

  // Makes one thing wrong, in ways that never let an accepted call reach memory that is not its own.
  std::string mutate(const Problem& problem, std::vector<spf_tensor>& views) {
    const size_t i = static_cast<size_t>(random_.below(static_cast<int64_t>(views.size())));
    spf_tensor& t = views[i];
    const std::string& name = op_.operands[i].name;
    const int64_t d = t.rank > 0 ? random_.below(t.rank) : 0;
    // Ids and lengths of another type, or read from another operand, could be any.
    const bool ruled = op_.operands[i].has_rule();
    switch (ruled ? random_.pick<int64_t>({0, 2, 3, 4, 5, 6, 7}) : random_.below(9)) {
      case 0:
        if (t.rank > 0) --t.shape[d];
        return name + " one shorter";
      case 1: {
        const auto type = static_cast<spf_scalar_type>(random_.below(SPF_TYPE_COUNT + 1));
        const bool known = type > SPF_TYPE_NONE && type < SPF_TYPE_COUNT;
        if (!known || check::type_bytes(type) <= check::type_bytes(problem.operands[i].type)) t.type = type;
        return name + " of another type";
      }
      case 2:
        if (t.rank > 0) t.stride[d] = -t.stride[d];
        return name + " with a negative stride";
      case 3:
        if (t.rank > 0) --t.rank;
        return name + " of lower rank";
      case 4:
        t.rank = static_cast<int32_t>(random_.pick<int64_t>({-1, SPF_MAX_RANK + 1, 1000}));
        return name + " of impossible rank";
      case 5:
        t.device.index += 1;
        return name + " on another device";
      case 6:
        t.struct_size = static_cast<uint32_t>(random_.below(8));
        return name + " with a wrong struct_size";
      case 7:
        t.packing = SPF_PACKING_LOW_FIRST;
        return name + " packed";
      default: {
        const size_t other = static_cast<size_t>(random_.below(static_cast<int64_t>(views.size())));
        // Only smaller or equal views move, so that they stay inside the other's storage.
        if (problem.operands[i].elements() * check::type_bytes(problem.operands[i].type) <=
                problem.operands[other].elements() * check::type_bytes(problem.operands[other].type) &&
            is_plain(t) && is_plain(views[other]))
          t.data = views[other].data;
        return name + " over " + op_.operands[other].name;
      }
    }
  }

  // Contiguous: what it spans is what its elements take.
  static bool is_plain(const spf_tensor& t) {
    int64_t step = 1;
    for (int d = t.rank - 1; d >= 0; --d) {
      if (t.stride[d] != step) return false;
      step *= std::max<int64_t>(t.shape[d], 1);
    }
    return true;
  }

  Demand demand() {
    Demand d;
    if (random_.chance(0.3)) d.require = random_.pick(names_);
    if (random_.chance(0.2))
      for (int64_t count = 1 + random_.below(3); count > 0; --count) d.forbid.push_back(random_.pick(names_));
    return d;
  }

  void compare(Call& call, const RunOptions& options, const std::string& here) {
    spf_status status = SPF_OK;
    check::ErrorDetail error;
    PlanFacts plan = call.query(options.demand, &status, &error);
    if (status != SPF_OK) plan = call.query_refused(options.demand, &status, &error);
    const Outcome outcome = call.launch(options);
    if (!findings_.expect(status == outcome.status, here + ": the query says " + spf_status_name(status) +
                                                        " and the launch " + spf_status_name(outcome.status) + ": " +
                                                        error.message + outcome.error.message))
      return;
    findings_.expect(
        plan.kernel == outcome.plan.kernel && plan.instance == outcome.plan.instance &&
            plan.workspace_bytes == outcome.plan.workspace_bytes,
        here + ": the query chose " + plan.full_instance() + " and the launch " + outcome.plan.full_instance());
    if (status == SPF_OK) {
      ++accepted_;
      findings_.expect(plan.runs(), here + ": accepted without a kernel");
      return;
    }
    ++refused_;
    findings_.expect(!plan.runs(), here + ": refused with a kernel");
    findings_.expect(error.message == outcome.error.message,
                     here + ": the query says '" + error.message + "' and the launch '" + outcome.error.message + "'");
    findings_.expect(error.op == op_.name && !error.field.empty() &&
                         error.message.find(error.field) != std::string::npos &&
                         error.message.find(op_.name) != std::string::npos && !error.allowed.empty(),
                     here + ": the refusal does not name op, field and what is allowed: '" + error.message + "'");
  }

  const Session& session_;
  const Op& op_;
  Findings& findings_;
  Random random_;
  std::vector<std::string> names_;
  int accepted_ = 0, refused_ = 0;
};

} // namespace

void query_equals_launch(const Session& session, const Op& op, Findings& findings) {
  Fuzz(session, op, findings).run(session.memory.is_cpu() ? 600 : 300);
}

} // namespace spf::drivers
