#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>

#include "emit.hpp"

namespace spf::kernelgen {
namespace {

using arch::Answer;
using arch::Target;
using Kind = Target::Kind;

std::string padded(const std::string& text, size_t width) {
  return text.size() >= width ? text : text + std::string(width - text.size(), ' ');
}
std::string padded_left(const std::string& text, size_t width) {
  return text.size() >= width ? text : std::string(width - text.size(), ' ') + text;
}

std::string rounded(double seconds) {
  char buffer[32];
  std::snprintf(buffer, sizeof(buffer), "%.0f", seconds);
  return buffer;
}

std::string json_strings(const std::vector<std::string>& list) {
  std::string out = "[";
  for (const std::string& s : list) out += (out.size() > 1 ? ", " : "") + quoted(s);
  return out + "]";
}

std::string code_name(const Build& build, const Target& code) {
  return code.kind == Kind::kNone ? "" : arch::to_string(build.arch->table, code);
}

// A cell of the printed table: how a kernel serves one target.
std::string cell(const Build& build, const arch::Answered& a) {
  switch (a.answer) {
    case Answer::kExcluded:
      return "-";
    case Answer::kNative:
      return code_name(build, a.code);
    case Answer::kFamily:
      return code_name(build, a.code);
    case Answer::kCompatible:
      return code_name(build, a.code) + " code";
    case Answer::kPtx:
      return "PTX " + std::to_string(a.code.major) + "." + std::to_string(a.code.minor);
  }
  return "-";
}

std::string code_list(const Build& build, const std::vector<Target>& code) {
  std::string out;
  for (const Target& t : code) out += (out.empty() ? "" : " ") + code_name(build, t);
  return out.empty() ? "-" : out;
}

struct FamilyTotals {
  int kernels = 0, instances = 0, units = 0;
  double seconds = 0;
};

std::map<std::string, FamilyTotals> totals(const Build& build) {
  std::map<std::string, FamilyTotals> out;
  for (const KernelBuild& b : build.kernels) {
    FamilyTotals& t = out[b.kernel->family];
    ++t.kernels;
    t.instances += b.built_instances;
    t.units += b.units;
    t.seconds += b.seconds;
  }
  return out;
}

void table_text(std::string& out, const std::vector<std::vector<std::string>>& rows, const std::vector<bool>& numeric) {
  std::vector<size_t> width(rows[0].size(), 0);
  for (const auto& row : rows)
    for (size_t i = 0; i < row.size(); ++i) width[i] = std::max(width[i], row[i].size());
  for (const auto& row : rows) {
    std::string line = " ";
    for (size_t i = 0; i < row.size(); ++i)
      line += " " + (numeric[i] ? padded_left(row[i], width[i]) : padded(row[i], width[i])) + " ";
    line.erase(line.find_last_not_of(' ') + 1);
    out += line + "\n";
  }
}

// One line of the printed table: rows of one kernel name that are served alike stand together.
struct Line {
  std::string name;
  size_t ops;
  int instances, units;
  double seconds;
  std::vector<std::string> cells;
};

void add_line(std::vector<Line>& lines, Line line) {
  for (Line& l : lines) {
    if (l.name != line.name || l.cells != line.cells) continue;
    l.ops += line.ops;
    l.instances += line.instances;
    l.units += line.units;
    l.seconds += line.seconds;
    return;
  }
  lines.push_back(std::move(line));
}

void explain_kernel(std::string& out, const Build& build, const KernelBuild& b) {
  const Kernel& k = *b.kernel;
  out += "\n" + k.family + "/" + k.name + "  (" + joined(k.ops) + ")\n  from " + k.manifest + ":" +
         std::to_string(k.line) + ", file " + k.file + "\n";
  if (!k.facts.needs.empty()) out += "  needs " + joined(k.facts.needs) + "\n";
  if (!k.packages.empty()) out += "  compiled with " + joined(k.packages) + "\n";
  if (!k.facts.targets.empty()) {
    out += "  lists";
    for (const Target& t : k.facts.targets) out += " " + code_name(build, t);
    out += "\n";
  }
  for (const arch::Answered& a : b.resolution.answers) {
    out += "  " + padded(arch::to_string(build.arch->table, a.target), 12) + " " + arch::to_string(a.answer);
    if (a.answer != Answer::kExcluded) out += " by " + code_name(build, a.code);
    if (!a.reason.empty()) out += ": " + a.reason;
    out += "\n";
  }
  out += "  code: " + code_list(build, b.resolution.code) + "\n  instances: " + std::to_string(b.built_instances) +
         " built of " + std::to_string(b.instances.size()) + " that exist, " + std::to_string(count_combinations(k)) +
         " combinations of axes\n";
  for (const SkipRule& s : k.skips) out += "  skips some: " + s.why + "\n";
}

std::string stack_rules(const Kernel& kernel) {
  if (kernel.stacks.empty()) return "";
  std::string out;
  for (const StackRule& s : kernel.stacks)
    out += std::string(out.empty() ? "" : ", ") + "{\"function\": " + quoted(s.function) +
           ", \"bytes\": " + std::to_string(s.bytes) + ", \"why\": " + quoted(s.why) + "}";
  return ", \"stack\": [" + out + "]";
}

} // namespace

std::string emit_coverage_json(const Build& build) {
  std::string out = "{\n  \"targets\": " + quoted(emit_targets(build)) +
                    ",\n  \"toolkit\": " + quoted(arch::to_string(build.request.toolkit)) + ",\n  \"families\": {";
  bool first = true;
  for (const auto& [family, t] : totals(build)) {
    out += std::string(first ? "" : ",") + "\n    " + quoted(family) + ": {\"kernels\": " + std::to_string(t.kernels) +
           ", \"instances\": " + std::to_string(t.instances) + ", \"units\": " + std::to_string(t.units) +
           ", \"compile_seconds\": " + rounded(t.seconds) + "}";
    first = false;
  }
  out += "\n  },\n  \"rows\": [";
  first = true;
  for (const KernelBuild& b : build.kernels)
    for (const arch::Answered& a : b.resolution.answers) {
      const Kernel& k = *b.kernel;
      out += std::string(first ? "" : ",") + "\n    {\"family\": " + quoted(k.family) +
             ", \"kernel\": " + quoted(k.name) + ", \"ops\": " + json_strings(k.ops) +
             ", \"target\": " + quoted(arch::to_string(build.arch->table, a.target)) + ", \"state\": \"" +
             arch::to_string(a.answer) + "\", \"code\": " + quoted(code_name(build, a.code)) +
             ", \"reason\": " + quoted(a.reason) +
             ", \"built\": " + (a.answer == Answer::kExcluded ? "false" : "true") +
             ", \"instances\": " + std::to_string(b.built_instances) + ", \"tested\": " + json_strings(k.tested) +
             ", \"tuned\": " + json_strings(k.tuned) + stack_rules(k) + "}";
      first = false;
    }
  out += "\n  ],\n  \"libraries\": [";
  first = true;
  for (const Library& lib : build.libraries) {
    std::vector<std::string> code;
    std::string units;
    for (const Target& t : lib.code) code.push_back(code_name(build, t));
    for (const Unit& u : lib.units)
      units += std::string(units.empty() ? "" : ",") + "\n      {\"file\": " + quoted(u.file) +
               ", \"kernels\": " + json_strings({u.kernels.begin(), u.kernels.end()}) + "}";
    out += std::string(first ? "" : ",") + "\n    {\"name\": " + quoted(lib.name) + ", \"language\": \"" +
           (lib.cuda ? "CUDA" : "CXX") + "\", \"code\": " + json_strings(code) + ", \"units\": [" + units + "]}";
    first = false;
  }
  return out + "\n  ]\n}\n";
}

std::string emit_coverage_text(const Build& build, bool explain) {
  const std::string targets = emit_targets(build);
  std::string out = "Spearfish kernels";
  out += targets.empty()
             ? " for the CPU\n"
             : " for the CPU and " + targets + " with toolkit " + arch::to_string(build.request.toolkit) + "\n";
  std::vector<Target> columns;
  for (const Target& t : arch::canonical(build.request.targets))
    if (t.kind == Kind::kCuda) columns.push_back(t);
  for (const Kind kind : {Kind::kCuda, Kind::kCpu}) {
    if (kind == Kind::kCuda && columns.empty()) continue;
    std::vector<std::vector<std::string>> rows = {
        {kind == Kind::kCuda ? "CUDA kernel" : "CPU kernel", "ops", "instances", "units", "est. s"}};
    std::vector<bool> numeric = {false, true, true, true, true};
    if (kind == Kind::kCuda)
      for (const Target& t : columns) rows[0].push_back(arch::to_string(build.arch->table, t));
    else
      rows[0].push_back("runs from");
    numeric.resize(rows[0].size(), false);
    std::vector<Line> lines;
    for (const KernelBuild& b : build.kernels) {
      if (b.kernel->kind != kind) continue;
      Line line{
          b.kernel->family + "/" + b.kernel->name, b.kernel->ops.size(), b.built_instances, b.units, b.seconds, {}};
      if (kind == Kind::kCuda)
        for (const arch::Answered& a : b.resolution.answers) line.cells.push_back(cell(build, a));
      else
        line.cells.push_back(code_list(build, b.resolution.code));
      add_line(lines, std::move(line));
    }
    for (const Line& l : lines) {
      rows.push_back(
          {l.name, std::to_string(l.ops), std::to_string(l.instances), std::to_string(l.units), rounded(l.seconds)});
      rows.back().insert(rows.back().end(), l.cells.begin(), l.cells.end());
    }
    if (rows.size() > 1) table_text(out, rows, numeric);
  }
  std::string excluded;
  for (const KernelBuild& b : build.kernels)
    if (b.kernel->kind != Kind::kCpu)
      for (const arch::Answered& a : b.resolution.answers)
        if (!a.reason.empty())
          excluded += "  " + b.kernel->family + "/" + b.kernel->name + " on " +
                      arch::to_string(build.arch->table, a.target) + ": " + a.reason + "\n";
  if (!excluded.empty()) out += "Not served, and why:\n" + excluded;
  out += "By family:\n";
  std::vector<std::vector<std::string>> rows = {{"family", "kernels", "instances", "units", "est. s"}};
  for (const auto& [family, t] : totals(build))
    rows.push_back(
        {family, std::to_string(t.kernels), std::to_string(t.instances), std::to_string(t.units), rounded(t.seconds)});
  if (rows.size() > 1) table_text(out, rows, {false, true, true, true, true});
  if (explain) {
    for (const KernelBuild& b : build.kernels) explain_kernel(out, build, b);
    for (const Library& lib : build.libraries) {
      out += "\nlibrary " + lib.name + ": " + joined(lib.flags) + "\n";
      for (const Unit& u : lib.units)
        out += "  " + padded_left(rounded(u.seconds), 4) + " s  " + u.file + "  " + std::to_string(u.functions.size()) +
               " instances\n";
    }
  }
  return out;
}

std::string emit_kernels_markdown(const Build& build) {
  std::string out =
      "# Kernels\n\nWritten by kernelgen from the manifests and arch/arch.toml: what each kernel can be built for with "
      "toolkit " +
      arch::to_string(build.arch->table.newest_toolkit) +
      ". Built, tested and tuned are three different things; this build's answers are in `spearfish coverage`.\n";
  std::string family;
  for (const KernelBuild& b : build.kernels) {
    const Kernel& k = *b.kernel;
    if (k.family != family) {
      family = k.family;
      out += "\n## " + family +
             "\n\n| kernel | ops | device | needs | serves | instances | determinism | tested on | tuned on |\n"
             "| --- | --- | --- | --- | --- | --- | --- | --- | --- |\n";
    }
    std::string needs = joined(k.facts.needs);
    for (const Target& t : k.facts.targets) needs += (needs.empty() ? "" : " ") + code_name(build, t);
    for (const std::string& p : k.packages) needs += (needs.empty() ? "" : "; ") + p;
    if (k.facts.cuda_min.known())
      needs += (needs.empty() ? "" : "; ") + std::string("toolkit ") + arch::to_string(k.facts.cuda_min);
    std::string serves;
    for (const arch::Answered& a : b.potential.answers)
      if (a.answer != Answer::kExcluded)
        serves += (serves.empty() ? "" : " ") + arch::to_string(build.arch->table, a.target) +
                  (a.answer == Answer::kPtx ? " (PTX)" : "");
    out += "| " + k.name + " | " + joined(k.ops) + " | " +
           (k.kind == Kind::kCuda  ? "CUDA"
            : k.kind == Kind::kCpu ? "CPU"
                                   : "HIP") +
           " | " + needs + " | " + serves + " | " + std::to_string(b.instances.size()) + " | " + k.determinism + " | " +
           joined(k.tested) + " | " + joined(k.tuned) + " |\n";
  }
  return out;
}

std::string emit_test_list(const Build& build) {
  std::string out;
  for (const KernelBuild& b : build.kernels) {
    std::string code;
    for (const Target& t : b.resolution.code) code += " " + code_name(build, t);
    for (size_t o = 0; o < b.kernel->ops.size(); ++o)
      for (const InstanceBuild& i : b.instances)
        if (!i.functions[o].empty())
          out +=
              b.kernel->family + "/" + b.kernel->ops[o] + "/" + b.kernel->name + "/" + i.instance.name() + code + "\n";
  }
  return out;
}

} // namespace spf::kernelgen
