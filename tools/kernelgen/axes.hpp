// Axes multiply into instances; skip rules drop combinations; some axes have other values on some targets.
#pragma once

#include <string>
#include <vector>

#include "manifest.hpp"

namespace spf::kernelgen {

inline constexpr int64_t kMaxCombinations = 1'000'000;

// [kernel.axes] or the axes of a target rule. Values: a list of strings, integers and booleans; or a list of tables,
// which are several axes that vary together, where a list inside a table multiplies within that row.
std::vector<AxisEntry> read_axes(Reader& reader);

// A `when` table: axis = value | [values] | "!= value" | "< 4" | "== other_axis" | ...
std::vector<Condition> read_conditions(Reader& reader, const std::vector<std::string>& axes);

// One point of the axes.
struct Instance {
  std::vector<std::string> axes;
  std::vector<AxisValue> values;
  std::vector<bool> on; // by position in the code list given to expand()

  std::string name() const; // "T=bf16,vec=8"
};

// Combinations before skipping, saturating above kMaxCombinations.
int64_t count_combinations(const Kernel& kernel);

// Every instance that exists for at least one of these code targets: in axis order, values as written.
std::vector<Instance> expand(const Kernel& kernel, const arch::ArchTable& table, const std::vector<arch::Target>& code);

// `launch` with its placeholders filled in.
std::string launch_expression(const Kernel& kernel, const std::string& op, const Instance& instance);

} // namespace spf::kernelgen
