// The texts that kernelgen writes. Each is a pure function of the layout, so equal input gives equal bytes.
#pragma once

#include <string>

#include "build.hpp"

namespace spf::kernelgen {

std::string emit_table(const Build& build);                       // table.cpp: the constexpr dispatch table
std::string emit_unit(const Unit& unit);                          // units/*.cu, units/*.cpp: instances
std::string emit_cmake(const Build& build);                       // targets.cmake: one object library per set of flags
std::string emit_coverage_json(const Build& build);               // coverage.json
std::string emit_coverage_text(const Build& build, bool explain); // the table printed when configuring
std::string emit_kernels_markdown(const Build& build);            // kernels.md, for the documentation
std::string emit_devices(const Build& build); // devices.inc: {name, major, minor, multiprocessors, shared, L2, memory}
std::string emit_test_list(const Build& build); // tests.txt: family/op/kernel/instance, target by target

// A canonical target list: "9.0a;12.0f".
std::string emit_targets(const Build& build);

// "..." as a C++ or JSON string literal.
std::string quoted(const std::string& text);

} // namespace spf::kernelgen
