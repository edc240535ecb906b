#include "build.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

namespace spf::kernelgen {
namespace {

using arch::Answer;
using arch::Target;
using Kind = Target::Kind;

// Seconds besides a unit's instances: once, for the host's half, and once a target, to read the headers. Measured with
// nvcc 13.0.
constexpr double kUnitFixedCuda = 2.4, kUnitOverheadCuda = 1.0;
constexpr double kUnitOverheadCpu = 1.0;

std::vector<Target> with_cpu_rows(const arch::ArchTable& table, const std::vector<Target>& targets) {
  std::vector<Target> out = targets;
  for (const arch::ArchRow& row : table.rows)
    if (row.target.kind == Kind::kCpu) out.push_back(row.target);
  return out;
}

std::vector<Target> every_row(const arch::ArchTable& table) {
  std::vector<Target> out;
  out.reserve(table.rows.size());
  for (const arch::ArchRow& row : table.rows) out.push_back(row.target);
  return out;
}

// Kernels yield to each other op by op; check_manifests() saw to it that all ops of a kernel come to the same answer.
std::vector<arch::Resolution> resolve_by_kernel(const ArchFile& arch, const std::vector<const Kernel*>& kernels,
                                                const std::vector<Target>& targets, const arch::Toolchain& toolchain) {
  std::vector<arch::NamedKernel> named;
  std::vector<size_t> first;
  for (const Kernel* k : kernels) {
    first.push_back(named.size());
    for (const std::string& op : k->ops) named.push_back({op, k->name, k->facts});
  }
  const auto all = arch::resolve_all(arch.table, named, targets, toolchain);
  std::vector<arch::Resolution> out;
  for (size_t i : first) out.push_back(all[i]);
  return out;
}

Target capability_and_suffix(Target t) {
  t.ptx = false;
  t.sass = true;
  return t;
}

// Code targets of both lists, without embedding flags, ascending.
std::vector<Target> united_code(const std::vector<Target>& a, const std::vector<Target>& b) {
  std::set<Target> set;
  for (const Target& t : a) set.insert(capability_and_suffix(t));
  for (const Target& t : b) set.insert(capability_and_suffix(t));
  return {set.begin(), set.end()};
}

std::string code_label(const Target& t) {
  std::string out = std::to_string(t.major) + std::to_string(t.minor);
  if (t.suffix == arch::Suffix::kFamily) out += 'f';
  if (t.suffix == arch::Suffix::kSpecific) out += 'a';
  if (!t.sass) return out + "v";
  return t.ptx ? out + "p" : out;
}

// A kernel whose axes leave no instance on a target does not serve it, whatever its features say.
void exclude_empty(arch::Resolution& resolution, const std::vector<Target>& potential_code,
                   const std::vector<InstanceBuild>& instances) {
  const auto empty = [&](const Target& code) {
    const auto at = static_cast<size_t>(std::ranges::lower_bound(potential_code, capability_and_suffix(code)) -
                                        potential_code.begin());
    return std::ranges::none_of(instances, [&](const InstanceBuild& i) { return i.instance.on[at]; });
  };
  for (arch::Answered& a : resolution.answers)
    if (a.answer != Answer::kExcluded && empty(a.code)) a = {a.target, Answer::kExcluded, {}, arch::kNoInstance};
  std::erase_if(resolution.code, empty);
}

class Layout {
 public:
  Layout(const ArchFile& arch, const Request& request) : arch_(arch), request_(request) {}

  // Distributes a kernel's built instances over units and names the functions.
  void place(KernelBuild& build) {
    const Kernel& kernel = *build.kernel;
    const bool plain = kernel.launch.find('<') == std::string::npos;
    const bool per_op = kernel.launch.find("{op}") != std::string::npos;
    // Instances that are compiled for the same code targets may share units.
    std::map<std::vector<Target>, std::vector<UnitFunction>> groups;
    std::map<std::string, std::string> named; // expression -> function
    const std::vector<bool> sampled = sample(kernel, build.instances.size());
    for (size_t i = 0; i < build.instances.size(); ++i) {
      InstanceBuild& instance = build.instances[i];
      instance.functions.assign(kernel.ops.size(), "");
      if (!sampled[i]) continue;
      std::vector<Target> code;
      for (const Target& c : build.resolution.code) {
        const auto at =
            std::ranges::lower_bound(build.potential_code, capability_and_suffix(c)) - build.potential_code.begin();
        if (instance.instance.on[static_cast<size_t>(at)]) code.push_back(c);
      }
      if (code.empty()) continue;
      ++build.built_instances;
      for (size_t o = 0; o < kernel.ops.size(); ++o) {
        if (plain) {
          instance.functions[o] = plain_function(kernel);
          add_source(kernel, code, build);
          continue;
        }
        const std::string expression = launch_expression(kernel, kernel.ops[o], instance.instance);
        const auto [it, fresh] = named.try_emplace(expression, "");
        if (fresh) {
          it->second = kernel.family + "_" + kernel.name + "_" + (per_op ? kernel.ops[o] : kernel.ops.front()) + "_" +
                       std::to_string(named.size() - 1);
          groups[code].push_back({it->second, expression});
        }
        instance.functions[o] = std::string(kGeneratedNamespace) + "::" + it->second;
      }
    }
    int next = 0;
    for (const auto& [code, functions] : groups) add_units(kernel, code, functions, next, build);
  }

  std::vector<Library> libraries() && {
    for (const auto& [key, source] : sources_) {
      Unit unit{key, needs_wrapper(key), source.kernel->in_tree, source.kernel->family, key, {}, 0, source.kernels};
      if (unit.generated)
        unit.file =
            source.kernel->family + "_" + std::filesystem::path(key).stem().string() + extension(*source.kernel);
      unit.seconds = overhead(*source.kernel, source.code.size()) + source.seconds;
      library(*source.kernel, {source.code.begin(), source.code.end()}).units.push_back(std::move(unit));
    }
    std::vector<Library> out;
    for (auto& [name, lib] : libraries_) {
      std::ranges::sort(lib.units, {}, &Unit::file);
      out.push_back(std::move(lib));
    }
    return out;
  }

 private:
  struct Source {
    const Kernel* kernel;
    std::set<Target> code;
    double seconds = 0;
    std::set<std::string> kernels;
  };

  // Which of `count` instances to build. Steps of the golden ratio, so that no axis has the same value in all of them.
  std::vector<bool> sample(const Kernel& kernel, size_t count) const {
    const auto most = static_cast<size_t>(request_.most_instances);
    if (most == 0 || kernel.kind != Kind::kCuda || count <= most) return std::vector<bool>(count, true);
    std::vector<bool> out(count, false);
    double at = 0.5;
    for (size_t found = 0; found < most; at += 0.6180339887498949) {
      const auto i = static_cast<size_t>((at - std::floor(at)) * static_cast<double>(count));
      found += out[i] ? 0 : 1;
      out[i] = true;
    }
    return out;
  }

  static double overhead(const Kernel& kernel, size_t codes) {
    return kernel.kind == Kind::kCuda ? kUnitFixedCuda + kUnitOverheadCuda * static_cast<double>(codes)
                                      : kUnitOverheadCpu;
  }
  static const char* extension(const Kernel& kernel) { return kernel.kind == Kind::kCuda ? ".cu" : ".cpp"; }
  static bool needs_wrapper(const std::string& file) { return file.ends_with(".cuh") || file.ends_with(".hpp"); }

  // A source that launches without template arguments is compiled once, for every target that one of its kernels needs.
  void add_source(const Kernel& kernel, const std::vector<Target>& code, KernelBuild& build) {
    const auto [it, fresh] = sources_.try_emplace(kernel.include, Source{&kernel, {}, 0, {}});
    for (const Target& t : code) merge(it->second.code, t);
    it->second.kernels.insert(kernel.family + "/" + kernel.name);
    const double seconds = kernel.compile_seconds * static_cast<double>(code.size());
    it->second.seconds += seconds;
    build.seconds += seconds;
    if (fresh) {
      ++build.units;
      build.seconds += overhead(kernel, code.size());
    }
  }

  static void merge(std::set<Target>& set, Target t) {
    for (auto it = set.begin(); it != set.end(); ++it) {
      if (capability_and_suffix(*it) != capability_and_suffix(t)) continue;
      t.sass |= it->sass;
      t.ptx |= it->ptx;
      set.erase(it);
      break;
    }
    set.insert(t);
  }

  void add_units(const Kernel& kernel, const std::vector<Target>& code, const std::vector<UnitFunction>& functions,
                 int& next, KernelBuild& build) {
    const double per_function = kernel.compile_seconds * static_cast<double>(code.size());
    const double fixed = overhead(kernel, code.size());
    // As many units as keep each within the aim; equal costs spread evenly, in order. What every unit costs besides its
    // instances grows with the targets, and so does the aim, though not as fast: 45 s for seven if it is 20 for one.
    const double aim = request_.unit_seconds * (1 + 0.2 * static_cast<double>(code.size() - 1));
    const double room = std::max(aim - fixed, per_function);
    const size_t per_unit = std::max<size_t>(1, static_cast<size_t>(room / per_function + 1e-9));
    const size_t count = (functions.size() + per_unit - 1) / per_unit;
    for (size_t u = 0; u < count; ++u) {
      const size_t begin = functions.size() * u / count, end = functions.size() * (u + 1) / count;
      Unit unit;
      unit.file = kernel.family + "_" + kernel.name + "_" + kernel.ops.front() + "_" + std::to_string(next++) +
                  extension(kernel);
      unit.family = kernel.family;
      unit.include = kernel.include;
      unit.kernels = {kernel.family + "/" + kernel.name};
      unit.functions.assign(functions.begin() + static_cast<std::ptrdiff_t>(begin),
                            functions.begin() + static_cast<std::ptrdiff_t>(end));
      unit.seconds = fixed + per_function * static_cast<double>(end - begin);
      build.seconds += unit.seconds;
      ++build.units;
      library(kernel, code).units.push_back(std::move(unit));
    }
  }

  Library& library(const Kernel& kernel, const std::vector<Target>& code) {
    std::string name = kernel.kind == Kind::kCuda ? "spf_cuda" : "spf_cpu";
    std::vector<std::string> flags;
    if (kernel.kind == Kind::kCuda) {
      for (const Target& t : code) name += "_" + code_label(t);
      for (const std::string& p : kernel.packages) name += "_" + p;
      flags = arch::gencode(code);
    } else {
      const arch::ArchRow* row = arch::find_row(arch_.table, code.front());
      name += "_" + std::string(row->name);
      flags.assign(row->flags.begin(), row->flags.end());
    }
    std::ranges::replace(name, '-', '_');
    Library& lib = libraries_[name];
    lib.name = name;
    lib.cuda = kernel.kind == Kind::kCuda;
    lib.code = code;
    lib.packages = kernel.packages;
    lib.flags = flags;
    return lib;
  }

  const ArchFile& arch_;
  const Request& request_;
  std::map<std::string, Library> libraries_;
  std::map<std::string, Source> sources_;
};

// A source without template arguments has one set of CPU flags; two rows that disagree cannot share it.
void check_shared_sources(const std::vector<KernelBuild>& kernels, const ArchFile& arch, Diagnostics& diagnostics) {
  std::map<std::string, const KernelBuild*> first;
  for (const KernelBuild& b : kernels) {
    const Kernel& k = *b.kernel;
    if (k.kind != Kind::kCpu || k.launch.find('<') != std::string::npos || b.resolution.code.empty()) continue;
    const auto [it, fresh] = first.try_emplace(k.include, &b);
    if (!fresh && it->second->resolution.code != b.resolution.code)
      diagnostics.add(k.manifest, k.line,
                      "kernel \"" + k.name + "\": its file is compiled for " +
                          arch::to_string(arch.table, it->second->resolution.code[0]) + " by kernel \"" +
                          it->second->kernel->name + "\" and for " + arch::to_string(arch.table, b.resolution.code[0]) +
                          " here; give each its own file");
  }
}

void check_required(const Build& build, Diagnostics& diagnostics) {
  struct Cover {
    bool required = false;
    std::map<Target, std::string> reasons; // uncovered so far
    std::set<Target> covered;
  };
  std::map<std::pair<std::string, Kind>, Cover> covers;
  for (const KernelBuild& b : build.kernels)
    for (const std::string& op : b.kernel->ops) {
      Cover& cover = covers[{op, b.kernel->kind}];
      cover.required |= b.kernel->required;
      for (const arch::Answered& a : b.resolution.answers) {
        if (a.answer != Answer::kExcluded)
          cover.covered.insert(a.target);
        else
          cover.reasons[a.target] += (cover.reasons[a.target].empty() ? "" : "; ") + b.kernel->name + ": " + a.reason;
      }
    }
  for (const auto& [key, cover] : covers) {
    if (!cover.required) continue;
    for (const auto& [target, reason] : cover.reasons)
      if (!cover.covered.contains(target))
        diagnostics.add("required op \"" + key.first + "\" has no kernel for " +
                        arch::to_string(build.arch->table, target) + " (" + reason + ")");
  }
}

} // namespace

std::string plain_function(const Kernel& kernel) { return "spf::" + kernel.family + "::" + kernel.launch; }

Build make_build(const ArchFile& arch, const Manifests& manifests, const Request& request, Diagnostics& diagnostics) {
  Build build{&arch, &manifests, request, {}, {}};
  std::vector<const Kernel*> kernels;
  for (const Kernel& k : manifests.kernels)
    if (!k.ops.empty() && (request.family.empty() || k.family == request.family)) kernels.push_back(&k);
  arch::Toolchain toolchain = request.toolkit;
  toolchain.missing = request.missing;
  toolchain.share_code = request.share_code;
  const auto now = resolve_by_kernel(arch, kernels, with_cpu_rows(arch.table, request.targets), toolchain);
  const auto ever = resolve_by_kernel(arch, kernels, every_row(arch.table), arch.table.newest_toolkit);
  Layout layout(arch, build.request);
  for (size_t i = 0; i < kernels.size(); ++i) {
    KernelBuild b;
    b.kernel = kernels[i];
    b.resolution = now[i];
    b.potential = ever[i];
    b.potential_code = united_code(now[i].code, ever[i].code);
    for (Instance& instance : expand(*kernels[i], arch.table, b.potential_code))
      b.instances.push_back({std::move(instance), {}});
    exclude_empty(b.resolution, b.potential_code, b.instances);
    exclude_empty(b.potential, b.potential_code, b.instances);
    layout.place(b);
    build.kernels.push_back(std::move(b));
  }
  build.libraries = std::move(layout).libraries();
  check_shared_sources(build.kernels, arch, diagnostics);
  check_required(build, diagnostics);
  return build;
}

} // namespace spf::kernelgen
