// What the generic drivers share. A driver is a function over (session, op): it builds problems from the op's schema
// and case file, so an op or a kernel joins by standing in a manifest. Drivers return what they found instead of
// asserting, for faults_test.cpp runs them over implementations that are wrong on purpose and wants to see the
// findings.
#pragma once

#include <string>
#include <vector>

#include "check/compare.hpp"
#include "check/conformance.hpp"

namespace spf::drivers {

using check::Call;
using check::Case;
using check::Codes;
using check::Demand;
using check::Kernel;
using check::Layout;
using check::Op;
using check::Operand;
using check::Outcome;
using check::Pattern;
using check::PlanFacts;
using check::Problem;
using check::Random;
using check::RunOptions;
using check::Session;

struct Findings {
  // Thrown by expect() where one finding is enough.
  struct Found {};

  bool one_is_enough = false;
  int64_t checks = 0;
  std::vector<std::string> wrong;
  std::vector<std::string> skipped; // what this device or build refuses, each reason once

  bool expect(bool right, const std::string& what) {
    ++checks;
    if (right) return true;
    wrong.push_back(what);
    if (one_is_enough) throw Found();
    return false;
  }
  // `wrong_text` is empty if all is well.
  bool expect_right(const std::string& where, const std::string& wrong_text) {
    return expect(wrong_text.empty(), where + ": " + wrong_text);
  }
  void skip(const std::string& why);
  // The first few of each list, for a failure message.
  std::string text() const;
};

struct Driver {
  const char* name;
  void (*run)(const Session& session, const Op& op, Findings& findings);
  bool needs_streams;
};

void conformance(const Session& session, const Op& op, Findings& findings);
// After conformance of all ops: some case asked something of each instance that this device can run.
void every_instance_is_reached(Findings& findings);
void shapes(const Session& session, const Op& op, Findings& findings);
void far_strides(const Session& session, const Op& op, Findings& findings);
void poison(const Session& session, const Op& op, Findings& findings);
void query_equals_launch(const Session& session, const Op& op, Findings& findings);
void determinism(const Session& session, const Op& op, Findings& findings);
void capture(const Session& session, const Op& op, Findings& findings);

inline constexpr Driver kDrivers[] = {
    {"conformance", conformance, false},
    {"shapes", shapes, false},
    {"far_strides", far_strides, false},
    {"poison", poison, false},
    {"query_equals_launch", query_equals_launch, false},
    {"determinism", determinism, false},
    {"capture", capture, true},
};

// --- problems to drive with --------------------------------------------------------------------------------------

// One case for each different combination of types, weight scheme and absent operands in the op's case file, at most
// `most` of them, spread evenly; the drivers replace the extents. Of an op that does not take any extents it is the
// smallest case with the fewest extents below 2, for the drivers stay near it.
std::vector<Case> seeds(const Op& op, size_t most);

// Whether a kernel of this device takes a seed, at small extents.
bool is_served(const Session& session, const Op& op, const Case& seed);
// Those of all seeds that some kernel of the session's device runs at small extents; all if none is.
std::vector<Case> served_seeds(const Session& session, const Op& op, size_t most);

// A seed at other leading dimensions and extents: every symbol gets `extent`. Ops that do not take any extents keep the
// seed's, but for the row length of the first operand of numbers, where the op allows that.
Case at_extents(const Op& op, Case seed, std::vector<int64_t> leading, int64_t extent);

// The op's own non-bench cases, ordered by size, whose elements lie in the range; at most `most`, spread evenly.
std::vector<Case> cases_of_size(const Op& op, double smallest, double largest, size_t most);

// Of drawn or changed extents: small enough for a driver to run many.
bool is_small(const Problem& problem);

// Elements of a type in 16 bytes: what a vector access of a kernel holds.
int64_t vector_elements(const Problem& problem);

// --- ways to lay an operand out ---------------------------------------------------------------------------------

// Rows `padding` elements apart from each other's ends; leading dimensions keep C order.
Layout padded(const std::vector<int64_t>& shape, int64_t padding);
// Leading dimensions in reversed order of stride.
Layout leading_transposed(const std::vector<int64_t>& shape);
// The last two dimensions exchanged.
Layout transposed(const std::vector<int64_t>& shape);
// Every leading dimension with stride 0.
Layout broadcast(const std::vector<int64_t>& shape);

// True if the kernel runs this problem; otherwise notes the refusal.
bool accepts(Call& call, const Kernel& kernel, Findings* findings);

// "rms_norm bf16 [5] H=128 on norm/sm75_rows"
std::string where(const Problem& problem, const std::string& kernel);

} // namespace spf::drivers
