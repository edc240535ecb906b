// Compares what a kernel wrote with what the reference wrote, under the tolerance of core/tolerance.hpp.
#pragma once

#include <string>
#include <vector>

#include "check/run.hpp"

namespace spf::check {

struct Comparison {
  bool equal = true;
  double worst = 0;       // largest error as a multiple of its limit, flips aside; above 1 fails
  int64_t flips = 0;      // elements that needed the wider limit of a flipped rounding
  std::string difference; // the first element that is wrong: "out[3, 17] = 0.5, reference 0.75, allowed 0.001"
};

// outputs and expected: by operand, as Outcome::outputs. inputs are read for the magnitude that errors are measured in.
// activation: PlanFacts::activation, which says whether the kernel rounded its activations.
Comparison compare(const Problem& problem, const std::vector<Codes>& inputs, const std::vector<Codes>& outputs,
                   const std::vector<Codes>& expected, const std::string& activation);

// Bit for bit. "" if equal, else the first element that differs.
std::string first_difference(const Problem& problem, const std::vector<Codes>& a, const std::vector<Codes>& b);

} // namespace spf::check
