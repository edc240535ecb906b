#include <cstdio>

#include "emit.hpp"

namespace spf::kernelgen {
namespace {

std::string cmake_path(const Unit& unit) {
  if (unit.generated) return "${SPEARFISH_GEN_OUT}/units/" + unit.file;
  return unit.in_tree ? "${SPEARFISH_GEN_ROOT}/" + unit.file : unit.file;
}

} // namespace

std::string emit_unit(const Unit& unit) {
  std::string out = "// Written by kernelgen from the manifests and arch/arch.toml.\n";
  if (!unit.functions.empty()) out += "#include \"core/call.hpp\"\n";
  out += "#include \"" + unit.include + "\"\n";
  if (unit.functions.empty()) return out;
  out += "\nnamespace " + std::string(kGeneratedNamespace) + " {\n";
  for (const UnitFunction& f : unit.functions)
    out += "\nspf_status " + f.name +
           "(const Call& call, const LaunchContext& context) {\n  using namespace spf::" + unit.family +
           ";\n  return " + f.expression + "(call, context);\n}\n";
  return out + "\n}  // namespace " + kGeneratedNamespace + "\n";
}

std::string emit_cmake(const Build& build) {
  std::string out = "# Written by kernelgen from the manifests and arch/arch.toml.\n";
  for (const Library& lib : build.libraries) {
    out += "spearfish_kernel_library(" + lib.name + " LANGUAGE " + (lib.cuda ? "CUDA" : "CXX");
    if (!lib.flags.empty()) {
      out += "\n  FLAGS";
      for (const std::string& f : lib.flags) out += " \"" + f + "\"";
    }
    if (!lib.packages.empty()) {
      out += "\n  PACKAGES";
      for (const std::string& p : lib.packages) out += " " + p;
    }
    out += "\n  SOURCES\n";
    for (const Unit& u : lib.units) out += "    \"" + cmake_path(u) + "\"\n";
    out += ")\n";
  }
  return out +
         "spearfish_kernel_library(spf_kernel_table LANGUAGE CXX\n  SOURCES\n    "
         "\"${SPEARFISH_GEN_OUT}/table.cpp\"\n)\n";
}

} // namespace spf::kernelgen
