// Every table row x case row x instance against the reference.
#include "device.hpp"
#include "driver.hpp"

namespace spf::drivers {

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
    const std::string name = row.op + " " + row.kernel + "/" + row.instance;
    for (const check::Failed& failure : row.failures)
      findings.expect(false, name + ", " + failure.test + ": " + failure.difference);
    for (const auto& [why, count] : row.refusals) findings.skip(row.kernel + ": " + why);
  }
}

} // namespace spf::drivers
