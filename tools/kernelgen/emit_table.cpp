#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>
#include <set>

#include "emit.hpp"

namespace spf::kernelgen {
namespace {

using arch::Target;
using Kind = Target::Kind;

// A list of texts as a named constant; equal lists share one.
class Constants {
 public:
  std::string strings(const std::vector<std::string>& list) {
    std::string body;
    for (const std::string& s : list) body += (body.empty() ? "" : ", ") + quoted(s);
    return constant("const char*", "kNames", body);
  }
  std::string strings(std::span<const char* const> list) {
    return strings(std::vector<std::string>(list.begin(), list.end()));
  }
  std::string constant(const std::string& type, const std::string& prefix, const std::string& body) {
    if (body.empty()) return "{}";
    const auto [it, fresh] = known_.try_emplace(type + "|" + body, prefix + "_" + std::to_string(known_.size()));
    if (fresh) text += "constexpr " + type + " " + it->second + "[] = {" + body + "};\n";
    return it->second;
  }
  std::string text;

 private:
  std::map<std::string, std::string> known_;
};

std::string target(const Target& t) {
  const char* kind = t.kind == Kind::kCuda  ? "kCuda"
                     : t.kind == Kind::kCpu ? "kCpu"
                     : t.kind == Kind::kHip ? "kHip"
                                            : nullptr;
  if (!kind) return "{}";
  const char* suffix = t.suffix == arch::Suffix::kNone     ? "kNone"
                       : t.suffix == arch::Suffix::kFamily ? "kFamily"
                                                           : "kSpecific";
  return std::string("{Kind::") + kind + ", " + std::to_string(t.major) + ", " + std::to_string(t.minor) +
         ", Suffix::" + suffix + ", " + (t.ptx ? "true" : "false") + ", " + (t.sass ? "true" : "false") + "}";
}

std::string targets(Constants& constants, std::span<const Target> list) {
  std::string body;
  for (const Target& t : list) body += (body.empty() ? "" : ", ") + target(t);
  return constants.constant("Target", "kTargets", body);
}

std::string version(arch::Version v) { return "{" + std::to_string(v.major) + ", " + std::to_string(v.minor) + "}"; }

const char* answer(arch::Answer a) {
  switch (a) {
    case arch::Answer::kNative:
      return "Answer::kNative";
    case arch::Answer::kFamily:
      return "Answer::kFamily";
    case arch::Answer::kCompatible:
      return "Answer::kCompatible";
    case arch::Answer::kPtx:
      return "Answer::kPtx";
    case arch::Answer::kExcluded:
      return "Answer::kExcluded";
  }
  return "Answer::kExcluded";
}

std::string coverage(Constants& constants, const arch::Resolution& resolution) {
  std::string body;
  for (const arch::Answered& a : resolution.answers)
    body +=
        "\n    {" + target(a.target) + ", " + answer(a.answer) + ", " + target(a.code) + ", " + quoted(a.reason) + "},";
  return constants.constant("TargetCoverage", "kCoverage", body);
}

std::string real(double v) {
  if (std::isinf(v)) return v < 0 ? "-kInfinity" : "kInfinity";
  char buffer[40];
  std::snprintf(buffer, sizeof(buffer), "%.17g", v);
  std::string out = buffer;
  return out.find_first_of(".en") == std::string::npos ? out + ".0" : out;
}

std::string op_row(const Op& op) {
  const auto variable = [&](const std::string& name) {
    return std::ranges::find(op.types, name, &TypeVariable::name) - op.types.begin();
  };
  std::string out = "    {" + quoted(op.name) + ", " + quoted(op.family) + ", " + quoted(op.summary) + ", " +
                    (op.packed_weight ? "true" : "false") + ", " + std::to_string(op.operands.size()) + ", " +
                    std::to_string(op.params.size()) + ", " + std::to_string(op.types.size()) + ", " +
                    std::to_string(op.symbols.size()) + ",\n     {";
  for (const Operand& o : op.operands) {
    const char* role = o.role == "in" ? "kIn" : o.role == "out" ? "kOut" : "kInOut";
    const char* view = o.view == "rows" ? "kRows" : o.view == "any" ? "kAny" : "kContiguous";
    out += "\n      {" + quoted(o.name) + ", Role::" + role + ", " + (o.optional ? "true" : "false") +
           ", ViewRule::" + view + ", " + std::to_string(variable(o.type)) + ", " + std::to_string(o.dims.size()) +
           ", {";
    for (size_t i = 0; i < o.dims.size(); ++i) {
      const Dim& d = o.dims[i];
      const std::string key = d.leading ? "*" : d.symbol; // padded rows: "*" too
      const auto symbol = key.empty() ? -1 : std::ranges::find(op.symbols, key) - op.symbols.begin();
      out += std::string(i ? ", " : "") + "{" + std::to_string(symbol) + ", " + std::to_string(d.factor) + ", " +
             (d.leading ? "true" : "false") + (d.padded ? ", true" : ", false") +
             (d.divisor > 1 ? ", " + std::to_string(d.divisor) + "}" : "}");
    }
    out += "}, " + quoted(o.shape) + ", " + quoted(o.values) + ", " + quoted(o.traffic) + "},";
  }
  out += "},\n     {";
  for (const Param& p : op.params) {
    const char* kind = p.kind == "f64" ? "kF64" : p.kind == "i64" ? "kI64" : "kBool";
    out += "\n      {" + quoted(p.name) + ", ParamKind::" + kind + ", " + real(p.fallback) + ", " + real(p.min) + ", " +
           real(p.max) + "},";
  }
  out += "},\n     {";
  for (const TypeVariable& v : op.types) {
    std::string mask;
    for (const std::string& t : v.types)
      if (const ScalarTypeName* type = find_scalar_type(t))
        mask += (mask.empty() ? "" : " | ") + std::string("type_bit(") + type->enumerator + ")";
    out += "{" + quoted(v.name) + ", " + mask + "}, ";
  }
  out += "},\n     {";
  for (const std::string& s : op.symbols) out += quoted(s) + ", ";
  const std::string constraint = op.constraint.empty() ? "nullptr" : "&spf::" + op.family + "::" + op.constraint;
  return out + "},\n     " + constraint + "},\n";
}

// All axis values of a kernel in one array; instances point into it.
void instance_rows(Constants& constants, const KernelBuild& b, const std::string& id, std::vector<std::string>& names) {
  const size_t axes = b.instances.empty() ? 0 : b.instances[0].instance.axes.size();
  std::string body;
  for (const InstanceBuild& i : b.instances)
    for (size_t a = 0; a < axes; ++a) {
      const AxisValue& v = i.instance.values[a];
      body += "\n    {" + quoted(i.instance.axes[a]) + ", " + quoted(v.text) + ", " + std::to_string(v.number) + "},";
    }
  if (!body.empty()) constants.text += "constexpr AxisValue kAxes_" + id + "[] = {" + body + "\n};\n";
  std::map<std::string, std::string> same; // ops whose instances launch the same functions share the rows
  for (size_t o = 0; o < b.kernel->ops.size(); ++o) {
    std::string rows;
    for (size_t n = 0; n < b.instances.size(); ++n) {
      const InstanceBuild& i = b.instances[n];
      std::vector<Target> only;
      if (std::ranges::find(i.instance.on, false) != i.instance.on.end())
        for (size_t c = 0; c < i.instance.on.size(); ++c)
          if (i.instance.on[c]) only.push_back(b.potential_code[c]);
      const std::string axis_span =
          axes == 0 ? "{}" : "{kAxes_" + id + " + " + std::to_string(n * axes) + ", " + std::to_string(axes) + "}";
      rows += "\n    {" + quoted(i.instance.name()) + ", " + axis_span + ", " +
              (i.functions[o].empty() ? "nullptr" : "&" + i.functions[o]) + ", " + targets(constants, only) + "},";
    }
    if (rows.empty()) {
      names.push_back("{}");
      continue;
    }
    const auto [it, fresh] = same.try_emplace(rows, "kInstances_" + id + "_" + std::to_string(o));
    if (fresh) constants.text += "constexpr InstanceRow " + it->second + "[] = {" + rows + "\n};\n";
    names.push_back(it->second);
  }
}

std::string kernel_row(Constants& constants, const Build& build, const KernelBuild& b, const std::string& op,
                       const std::string& instances) {
  const Kernel& k = *b.kernel;
  const char* device = k.kind == Kind::kCuda ? "SPF_CUDA" : k.kind == Kind::kCpu ? "SPF_CPU" : "SPF_HIP";
  const char* determinism = k.determinism == "row-invariant" ? "kRowInvariant"
                            : k.determinism == "run-to-run"  ? "kRunToRun"
                                                             : "kNone";
  const char* activation = k.activation == "split-bf16"  ? "kSplitBf16"
                           : k.activation == "fixed-s16" ? "kFixedS16"
                           : k.activation == "as-given"  ? "kAsGiven"
                                                         : "kQuantizedS8";
  uint32_t cpu_features = 0;
  if (k.kind == Kind::kCpu && !b.potential.code.empty())
    if (const arch::ArchRow* row = arch::find_row(build.arch->table, b.potential.code[0]))
      cpu_features = row->cpu_features;
  const std::string needs = constants.strings(k.facts.needs);
  return "    {.family = " + quoted(k.family) + ", .op = " + quoted(op) + ", .name = " + quoted(k.name) +
         ", .file = " + quoted(k.file) + ",\n     .device = " + device +
         ", .is_reference = " + (k.is_reference ? "true" : "false") +
         ", .required = " + (k.required ? "true" : "false") + ", .needs = " + needs +
         ", .layouts = " + constants.strings(k.layouts) + ",\n     .determinism = Determinism::" + determinism +
         ", .activation = Activation::" + activation +
         ", .rounds_weights = " + (k.weights == "rounded-16" ? "true" : "false") + ", .policy = &" +
         (k.policy.empty() ? "serve_anything" : "spf::" + k.family + "::" + k.policy) +
         ",\n     .instances = " + instances + ", .coverage = " + coverage(constants, b.resolution) +
         ", .potential = " + coverage(constants, b.potential) + ",\n     .tested = " + constants.strings(k.tested) +
         ", .tuned = " + constants.strings(k.tuned) + ", .facts = {Kind::" +
         (k.kind == Kind::kCuda  ? "kCuda"
          : k.kind == Kind::kCpu ? "kCpu"
                                 : "kHip") +
         ", " + needs + ", " + targets(constants, k.facts.targets) + ", " + version(k.facts.cuda_min) + ", " +
         (k.facts.ptx ? "true" : "false") + ", " + constants.strings(k.facts.unless) + ", " +
         constants.strings(k.facts.packages) + ", " + targets(constants, k.facts.apart) +
         "},\n     .cpu_features = " + std::to_string(cpu_features) + "u},\n";
}

std::string arch_row(Constants& constants, const arch::ArchRow& r) {
  return "    {" + target(r.target) + ", " + quoted(r.name) + ", " + quoted(r.generation) + ", " +
         constants.strings(r.features) + ", " + constants.strings(r.family_features) + ", " +
         constants.strings(r.specific_features) + ", " + version(r.toolkit) + ", " + version(r.family_toolkit) + ", " +
         version(r.specific_toolkit) + ", " + std::to_string(r.shared_memory_per_block) + ", " +
         std::to_string(r.registers_per_sm) + ", " + std::to_string(r.threads_per_sm) + ", " +
         std::to_string(r.cpu_features) + "u, " + constants.strings(r.flags) + ", " +
         (r.has_kernels ? "true" : "false") + "},\n";
}

// Forward declarations of everything that the table points at.
std::string declarations(const Build& build) {
  std::map<std::string, std::set<std::string>> by_namespace;
  for (const KernelBuild& b : build.kernels)
    for (const InstanceBuild& i : b.instances)
      for (const std::string& f : i.functions)
        if (const size_t colon = f.rfind("::"); colon != std::string::npos)
          by_namespace[f.substr(0, colon)].insert(f.substr(colon + 2));
  std::string out;
  for (const auto& [name, functions] : by_namespace) {
    out += "namespace " + name + " {\n";
    for (const std::string& f : functions) out += "spf_status " + f + "(const Call&, const LaunchContext&);\n";
    out += "}\n";
  }
  return out;
}

} // namespace

std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (byte < 0x20) {
      out += ' ';
    } else {
      out += c;
    }
  }
  return out + '"';
}

std::string emit_targets(const Build& build) {
  std::string out;
  for (const Target& t : arch::canonical(build.request.targets))
    out += (out.empty() ? "" : ";") + arch::to_string(build.arch->table, t);
  return out;
}

std::string emit_devices(const Build& build) {
  std::string out = "// Written by kernelgen from arch/arch.toml.\n";
  for (const Device& d : build.arch->devices) {
    const arch::ArchRow* row = arch::find_row(build.arch->table, d.target);
    out += "{" + quoted(d.name) + ", " + std::to_string(d.target.major) + ", " + std::to_string(d.target.minor) + ", " +
           std::to_string(d.sm_count) + ", " + std::to_string(row ? row->shared_memory_per_block : 0) + ", " +
           std::to_string(d.l2_bytes) + ", " + std::to_string(d.memory_bytes) + "},\n";
  }
  return out;
}

std::string emit_table(const Build& build) {
  const arch::ArchTable& table = build.arch->table;
  Constants constants;
  std::string ops, kernels, rows, retired, devices;
  for (const Op& op : build.manifests->ops)
    if (build.request.family.empty() || op.family == build.request.family) ops += op_row(op);
  for (size_t i = 0; i < build.kernels.size(); ++i) {
    std::vector<std::string> names;
    instance_rows(constants, build.kernels[i], std::to_string(i), names);
    for (size_t o = 0; o < names.size(); ++o)
      kernels += kernel_row(constants, build, build.kernels[i], build.kernels[i].kernel->ops[o], names[o]);
  }
  for (const arch::ArchRow& r : table.rows) rows += arch_row(constants, r);
  for (const arch::RetiredRow& r : table.retired)
    retired += "    {" + target(r.target) + ", " + quoted(r.note) + "},\n";
  const auto package_rows = [](std::span<const arch::PackageRow> list) {
    std::string body;
    for (const arch::PackageRow& p : list) body += "    {" + quoted(p.name) + ", " + quoted(p.note) + "},\n";
    return body;
  };
  for (const Device& d : build.arch->devices) {
    const arch::ArchRow* row = arch::find_row(table, d.target);
    devices += "    {" + quoted(d.name) + ", " + target(d.target) + ", " + std::to_string(d.sm_count) + ", " +
               std::to_string(row ? row->shared_memory_per_block : 0) + ", " + std::to_string(d.l2_bytes) + ", " +
               std::to_string(d.memory_bytes) + "},\n";
  }
  const auto array = [](const std::string& type, const std::string& name, const std::string& body) {
    return body.empty() ? "constexpr std::span<const " + type + "> " + name + " = {};\n"
                        : "constexpr " + type + " " + name + "[] = {\n" + body + "};\n";
  };
  std::string out =
      "// Written by kernelgen from the manifests and arch/arch.toml.\n#include <limits>\n\n#include "
      "\"plan/table.hpp\"\n";
  for (const std::string& policy : build.manifests->policies) out += "#include \"" + policy + "\"\n";
  out += "\n" + declarations(build);
  out +=
      "\nnamespace spf {\nnamespace {\n\nusing arch::Answer;\nusing arch::Suffix;\nusing arch::Target;\nusing Kind = "
      "arch::Target::Kind;\n"
      "[[maybe_unused]] constexpr double kInfinity = std::numeric_limits<double>::infinity();\n\n" +
      constants.text + array("OpSchema", "kOps", ops) + array("KernelRow", "kKernels", kernels) +
      array("arch::ArchRow", "kArchRows", rows) + array("arch::RetiredRow", "kRetired", retired) +
      array("arch::PackageRow", "kPackages", package_rows(table.packages)) +
      array("arch::PackageRow", "kMissing", package_rows(build.request.missing)) +
      array("DeviceRow", "kDevices", devices) +
      "\n}  // namespace\n\nconstinit const ManifestTable kManifest = {.ops = kOps, .kernels = kKernels, .devices = "
      "kDevices,\n    .targets = " +
      quoted(emit_targets(build)) + ", .toolkit = " + quoted(arch::to_string(build.request.toolkit)) +
      ", .arch = {kArchRows, kRetired, " + version(table.newest_toolkit) +
      ", kPackages}, .missing = kMissing, .share_code = " + (build.request.share_code ? "true" : "false") +
      "};\n\n}  // namespace spf\n";
  return out;
}

} // namespace spf::kernelgen
