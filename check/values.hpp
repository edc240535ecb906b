// Numbers that mean something: what goes into an operand for which the manifest gives a rule (`values`).
#pragma once

#include <vector>

#include "check/problem.hpp"

namespace spf::check {

// `count` numbers under the rule. Where "or -1" allows it, some lie outside the range on either side, by little and by
// much: what an op does then is part of its definition. Bench data are regular instead: no number outside, the longest
// lengths, equal runs.
std::vector<double> make_values(const Problem& problem, size_t operand, Random& random);

// Offsets of padded parts, from the offsets that a rule `padded` names.
std::vector<double> make_padded(const ValueRule& rule, const std::vector<double>& offsets);

} // namespace spf::check
