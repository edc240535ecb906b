// Every table row x case row x instance against the reference.
#include <map>
#include <set>

#include "device.hpp"
#include "driver.hpp"

namespace spf::drivers {
namespace {

// What the ops that ran so far asked of instances. A kernel that is compiled once for several ops has instances that
// only some of them can reach.
std::set<std::string> reached;
std::map<std::string, std::string> unreached; // instance, and an op that did not

} // namespace

void every_instance_is_reached(Findings& findings) {
  findings.checks += static_cast<int64_t>(reached.size());
  for (const auto& [instance, op] : unreached)
    findings.expect(reached.contains(instance), instance + ": no case of " + op + " or another op reaches it");
}

void conformance(const Session& session, const Op& op, Findings& findings) {
  std::vector<Case> cases;
  for (const Case& c : check::embedded_cases({op.family}))
    if (c.op == op.name) cases.push_back(c);
  findings.expect(!cases.empty(), "no case row names " + op.name);
  check::ConformanceOptions options;
  options.reference = true;
  options.quick = quick();
  options.stop_at_failure = findings.one_is_enough;
  const check::Report report = check::run_conformance(session, cases, options);
  findings.checks += report.passed();
  for (const check::ReportRow& row : report.rows) {
    const std::string instance = row.kernel + "/" + row.instance;
    if (row.unreached) {
      unreached.emplace(instance, row.op);
      continue;
    }
    if (row.passed > 0) reached.insert(instance);
    const std::string name = row.op + " " + instance;
    for (const check::Failed& failure : row.failures)
      findings.expect(false, name + ", " + failure.test + ": " + failure.difference);
    for (const auto& [why, count] : row.refusals) findings.skip(row.kernel + ": " + why);
  }
}

} // namespace spf::drivers
