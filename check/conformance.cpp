#include "check/conformance.hpp"

#include <algorithm>
#include <optional>
#include <set>

#include "check/compare.hpp"

namespace spf::check {
namespace {

constexpr size_t kKeptFailures = 20;
constexpr int64_t kQuickCases = 3; // per instance

// Refusals that say nothing of the case: the kernel cannot run on this device or is not in this build.
bool is_about_device(const std::string& code) { return code == "feature" || code == "target" || code == "not_built"; }

// A case with its data, made when first needed.
struct Prepared {
  explicit Prepared(const Case& c) : problem(make_problem(c)) {}

  struct Data {
    Pattern pattern;
    std::vector<Codes> inputs, expected;
  };

  void make(bool quick) {
    if (!data.empty()) return;
    for (Pattern pattern : {Pattern::kPlain, Pattern::kMixed, Pattern::kSpecial}) {
      if (quick && pattern != Pattern::kPlain) continue;
      std::vector<Codes> inputs = make_inputs(problem, pattern);
      if (!data.empty() && inputs == data.front().inputs) continue; // an op whose rules leave no room for others
      std::vector<Codes> expected = reference(problem, inputs);
      data.push_back({pattern, std::move(inputs), std::move(expected)});
    }
  }

  Problem problem;
  std::vector<Data> data;
};

class Run {
 public:
  Run(const Session& session, const ConformanceOptions& options) : session_(session), options_(options) {}

  Report report(const std::vector<Case>& cases, const ProgressCall& progress) {
    Report report;
    require_kernel(cases, session_.memory.device().kind, options_.kernel);
    rows_ = &report.rows;
    for (size_t i = 0; i < cases.size(); ++i) {
      if (progress) progress(i, cases.size(), cases[i].op + " " + cases[i].name());
      run_case(cases[i]);
      if (options_.stop_at_failure && failed_) return report;
    }
    if (progress) progress(cases.size(), cases.size(), "");
    flag_unreached();
    return report;
  }

 private:
  ReportRow& row(const std::string& op, const std::string& kernel, const std::string& instance) {
    const std::string key = op + '\n' + kernel + '\n' + instance;
    const auto [at, fresh] = index_.try_emplace(key, rows_->size());
    if (fresh) {
      ReportRow r;
      r.op = op;
      r.kernel = kernel;
      r.instance = instance;
      rows_->push_back(r);
      device_refused_.push_back(false);
    }
    return (*rows_)[at->second];
  }

  // Whether the reference can be computed in a reasonable time: it is one thread of plain loops.
  bool fits(const Case& c, const Problem& problem) const {
    if (options_.benches) return true;
    double largest = problem.weight ? options_.largest_product : options_.largest;
    if (c.bench || options_.quick) largest /= 10;
    return problem.multiplications() <= largest;
  }

  void run_case(const Case& c) {
    Prepared prepared(c);
    const Problem& problem = prepared.problem;
    const bool too_large = !fits(c, problem);
    std::optional<Call> call;
    for (const Kernel& kernel : kernels_of(c.op, session_.memory.device().kind)) {
      if (!name_fits(kernel.name, options_.kernel)) continue;
      // On the CPU the reference is what the others are compared with.
      if (kernel.is_reference && session_.memory.is_cpu() && !options_.reference) continue;
      // A kernel of hundreds of instances that takes the problem in none of them is asked once.
      std::optional<Refusal> whole;
      for (const std::string& instance : kernel.instances) {
        ReportRow& r = row(c.op, kernel.name, instance);
        if (options_.quick && r.passed + r.failed >= kQuickCases) continue;
        if (whole && whole->refused) {
          skip(r, *whole);
          continue;
        }
        if (too_large) {
          skip(r, "larger than the conformance run computes; 'bench' times it");
          continue;
        }
        if (!call) call.emplace(session_, problem, std::vector<Layout>{});
        if (!whole) {
          whole = ask(*call, kernel.name, {kernel.name, {}});
          if (whole->refused) {
            skip(r, *whole);
            continue;
          }
        }
        run_instance(r, prepared, *call, kernel.pattern(instance));
      }
    }
  }

  void skip(ReportRow& r, const std::string& why) {
    ++r.skipped;
    ++r.refusals[why];
  }

  // Whether a kernel, or one of its instances, takes a problem.
  struct Refusal {
    bool refused = false, about_device = false;
    std::string why;
    PlanFacts plan;
  };

  static Refusal ask(Call& call, const std::string& kernel, const Demand& demand) {
    spf_status status = SPF_OK;
    ErrorDetail error;
    Refusal answer;
    answer.plan = call.query(demand, &status, &error);
    if (status == SPF_OK) return answer;
    answer.refused = true;
    answer.why = error.message;
    for (const PlanFacts::Rejection& rejection : answer.plan.rejected) {
      if (rejection.kernel != kernel || rejection.code == "not_required") continue;
      answer.why = rejection.code + ": " + rejection.reason;
      answer.about_device = answer.about_device || is_about_device(rejection.code);
    }
    return answer;
  }

  void skip(ReportRow& r, const Refusal& refusal) {
    if (refusal.about_device) device_refused_[static_cast<size_t>(&r - rows_->data())] = true;
    skip(r, refusal.why);
  }

  void run_instance(ReportRow& r, Prepared& prepared, Call& call, const std::string& pattern) {
    const Demand demand{pattern, {}};
    const Refusal answer = ask(call, r.kernel, demand);
    if (answer.refused) {
      skip(r, answer);
      return;
    }
    const PlanFacts& plan = answer.plan;
    prepared.make(options_.quick);
    for (const Prepared::Data& data : prepared.data) {
      // An 8-bit activation has no code for NaN or infinity.
      if (data.pattern == Pattern::kSpecial && plan.activation.starts_with("s8")) continue;
      call.fill(data.inputs);
      RunOptions run;
      run.demand = demand;
      const Outcome outcome = call.launch(run);
      double worst = 0;
      std::string wrong = check_outcome(prepared.problem, data.inputs, data.expected, outcome, &worst);
      if (wrong.empty() && outcome.plan.full_instance() != pattern)
        wrong = "the plan chose " + outcome.plan.full_instance() + " instead";
      const std::string test = prepared.problem.name + ", " + kPatternNames[static_cast<int>(data.pattern)] + " data";
      if (worst > r.worst) {
        r.worst = worst;
        r.worst_case = test;
      }
      if (wrong.empty()) {
        ++r.passed;
      } else {
        ++r.failed;
        failed_ = true;
        if (r.failures.size() < kKeptFailures) r.failures.push_back({test, wrong});
      }
    }
  }

  // A kernel that could run here but that no case asks anything of is untested, and says so. Of a kernel that is
  // compiled once for several ops, one of them is enough: what tells its instances apart may be a type that only some
  // of them have.
  void flag_unreached() {
    std::set<std::pair<std::string, std::string>> reached;
    for (const ReportRow& r : *rows_)
      if (r.passed + r.failed > 0) reached.emplace(r.kernel, r.instance);
    for (size_t i = 0; i < rows_->size(); ++i) {
      ReportRow& r = (*rows_)[i];
      if (reached.contains({r.kernel, r.instance}) || device_refused_[i] || options_.quick) continue;
      ++r.failed;
      r.unreached = true;
      r.failures.push_back({"coverage", "no case reaches this instance"});
    }
  }

  const Session& session_;
  const ConformanceOptions& options_;
  std::vector<ReportRow>* rows_ = nullptr;
  std::vector<bool> device_refused_; // by row
  std::map<std::string, size_t> index_;
  bool failed_ = false;
};

} // namespace

std::string check_outcome(const Problem& problem, const std::vector<Codes>& inputs, const std::vector<Codes>& expected,
                          const Outcome& outcome, double* worst) {
  if (outcome.status != SPF_OK) return std::string(spf_status_name(outcome.status)) + ": " + outcome.error.message;
  if (!outcome.damage.empty()) return outcome.damage;
  const Comparison comparison = compare(problem, inputs, outcome.outputs, expected, outcome.plan.activation);
  if (worst != nullptr) *worst = comparison.worst;
  return comparison.equal ? "" : comparison.difference;
}

void require_kernel(const std::vector<Case>& cases, spf_device_kind kind, const std::string& name) {
  if (name.empty()) return;
  std::set<std::string> known;
  for (const Case& c : cases)
    for (const Kernel& kernel : kernels_of(c.op, kind)) known.insert(kernel.name);
  std::string list;
  for (const std::string& kernel : known) {
    for (size_t end = name.find('/'); end != std::string::npos; end = name.find('/', end + 1))
      if (name_fits(kernel, name.substr(0, end))) return;
    if (name_fits(kernel, name)) return;
    list += (list.empty() ? "" : ", ") + kernel;
  }
  throw UsageError("no kernel here is called '" + name + "'; there are: " + list);
}

Report run_conformance(const Session& session, const std::vector<Case>& cases, const ConformanceOptions& options,
                       const ProgressCall& progress) {
  return Run(session, options).report(cases, progress);
}

} // namespace spf::check
