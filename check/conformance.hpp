// Conformance: every kernel instance x every case, against the reference.
#pragma once

#include "check/report.hpp"
#include "check/run.hpp"

namespace spf::check {

struct ConformanceOptions {
  std::vector<std::string> families; // empty = all
  std::string kernel;                // only kernels of this name ("sm75_rows", "norm/sm75_rows"); "" = all
  bool reference = false;            // on the CPU also the reference itself: that it repeats, and writes what it must
  bool quick = false;                // one small covering subset: for compute-sanitizer and smoke tests
  bool stop_at_failure = false;      // the first failure of a case ends the run
  bool benches = false;              // also the bench cases, whatever their size
  double largest = 3e7;              // elements of a case that is still run
  double largest_product = 2e8;      // multiplications of one, for ops with a packed weight
};

// Runs it. A case that an instance refuses is skipped with the refusal; an instance that a device could run, but that
// no case reaches, counts as one failure. Throws UsageError for names that do not exist.
Report run_conformance(const Session& session, const std::vector<Case>& cases, const ConformanceOptions& options,
                       const ProgressCall& progress = {});

// Throws UsageError unless an op of the cases has a kernel of that name for such a device: "sm75_rows",
// "norm/sm75_rows", or either with an instance behind it. "" is every kernel.
void require_kernel(const std::vector<Case>& cases, spf_device_kind kind, const std::string& name);

// Checks one problem on one kernel instance; what every driver calls "right". expected: reference() of what the
// operands hold. "" if right.
std::string check_outcome(const Problem& problem, const std::vector<Codes>& inputs, const std::vector<Codes>& expected,
                          const Outcome& outcome, double* worst = nullptr);

} // namespace spf::check
