#include "arch/resolve.hpp"

#include <algorithm>
#include <tuple>

namespace spf::arch {
namespace {

using Kind = Target::Kind;

std::string cuda_number(Target t) { return std::to_string(t.major) + "." + std::to_string(t.minor); }

// A code target without embedding flags: capability and suffix only.
Target bare(Target t) {
  t.ptx = false;
  t.sass = true;
  return t;
}

Target with_suffix(Target t, Suffix suffix) {
  t = bare(t);
  t.suffix = suffix;
  return t;
}

auto capability(Target t) { return std::tuple(t.major, t.minor); }

// First toolkit that compiles a target with this suffix; {0, 0} if none ever does.
Version first_toolkit(const ArchRow& row, Suffix suffix) {
  switch (suffix) {
    case Suffix::kNone:
      return row.toolkit;
    case Suffix::kFamily:
      return row.family_toolkit;
    case Suffix::kSpecific:
      return row.specific_toolkit;
  }
  return {};
}

bool compiles(const ArchRow& row, Suffix suffix, Version toolkit) {
  const Version first = first_toolkit(row, suffix);
  return first.known() && first <= toolkit;
}

bool has_all(const ArchRow& row, Suffix suffix, std::span<const char* const> needs) {
  return std::ranges::all_of(needs, [&](const char* f) { return has_feature(row, suffix, f); });
}

std::string join(std::span<const std::string> parts) {
  std::string out;
  for (size_t i = 0; i < parts.size(); ++i) out += (i == 0 ? "" : i + 1 == parts.size() ? " and " : ", ") + parts[i];
  return out;
}

// Code that a kernel can be compiled to with this toolkit.
struct Candidates {
  std::vector<Target> machine; // bare
  std::vector<Target> ptx;     // bare, plain
  std::string toolkit_reason;  // set when the toolkit alone rules everything out
};

Candidates explicit_candidates(const ArchTable& table, const KernelFacts& kernel, Version toolkit) {
  Candidates out;
  const Target* first_ptx = nullptr; // "+PTX" on an entry says that the source may run from PTX of it and of later ones
  for (const Target& t : kernel.targets)
    if (t.ptx && t.suffix == Suffix::kNone && (!first_ptx || capability(t) < capability(*first_ptx))) first_ptx = &t;
  for (const Target& t : kernel.targets) {
    const ArchRow* row = find_row(table, t);
    // A list given as data may name targets that no row describes; then only the names can be matched.
    Suffix suffix = t.suffix;
    if (row && !compiles(*row, suffix, toolkit)) {
      // 'a' code can do all that 'f' code can, on its own capability: it stands in while the toolkit has no 'f'.
      if (suffix != Suffix::kFamily || !compiles(*row, Suffix::kSpecific, toolkit)) continue;
      suffix = Suffix::kSpecific;
    }
    if (t.sass) out.machine.push_back(with_suffix(t, suffix));
    if (suffix == Suffix::kNone && (kernel.ptx || (first_ptx && capability(*first_ptx) <= capability(t))))
      out.ptx.push_back(bare(t));
  }
  return out;
}

Candidates feature_candidates(const ArchTable& table, const KernelFacts& kernel, Version toolkit) {
  Candidates out;
  for (const ArchRow& row : table.rows) {
    if (row.target.kind != Kind::kCuda) continue;
    for (Suffix suffix : {Suffix::kNone, Suffix::kFamily, Suffix::kSpecific}) {
      if (!compiles(row, suffix, toolkit) || !has_all(row, suffix, kernel.needs)) continue;
      out.machine.push_back(with_suffix(row.target, suffix));
      if (suffix == Suffix::kNone && kernel.ptx) out.ptx.push_back(bare(row.target));
    }
  }
  return out;
}

// Order of preference among code that serves a request: nearest capability; then a suffix that was asked for; then
// 'f' before 'a', because it serves more devices. Plain code comes last where a manifest lists suffixes beside it (they
// are listed for a reason) and first where features decide (it serves most, and nothing more is needed).
int preference(const KernelFacts& kernel, Target code, Target request, bool nearest) {
  const int by_suffix = kernel.targets.empty() ? (code.suffix == Suffix::kNone     ? 2
                                                  : code.suffix == Suffix::kFamily ? 1
                                                                                   : 0)
                                               : (code.suffix == Suffix::kNone     ? 0
                                                  : code.suffix == Suffix::kFamily ? 2
                                                                                   : 1);
  return code.minor * (nearest ? 8 : -8) + (request.suffix != Suffix::kNone && code.suffix == request.suffix ? 4 : 0) +
         by_suffix;
}

bool same_features(std::span<const char* const> a, std::span<const char* const> b) {
  const auto within = [](std::span<const char* const> list, std::span<const char* const> all) {
    return std::ranges::all_of(list, [&](std::string_view f) {
      return std::ranges::any_of(all, [&](std::string_view other) { return f == other; });
    });
  };
  return within(a, b) && within(b, a);
}

// Whether code of one row does for a request of another as well as that row's own would, with shared code: features
// decide, they are the same, and the kernel's rules tell neither row from others.
bool shares_code(const ArchTable& table, const KernelFacts& kernel, Target code, Target request) {
  if (!kernel.targets.empty() || request.suffix == Suffix::kSpecific || code.suffix == Suffix::kSpecific) return false;
  const ArchRow *from = find_row(table, code), *to = find_row(table, request);
  if (from == nullptr || to == nullptr || !same_features(from->features, to->features) ||
      !same_features(from->family_features, to->family_features))
    return false;
  return std::ranges::none_of(kernel.apart, [&](const Target& t) {
    return capability(t) == capability(code) || capability(t) == capability(request);
  });
}

Answer classify(Target code, Target request) {
  if (code.suffix == request.suffix && capability(code) == capability(request)) return Answer::kNative;
  if (code.suffix == Suffix::kFamily) return Answer::kFamily;
  return capability(code) == capability(request) ? Answer::kNative : Answer::kCompatible;
}

std::string missing_features(const ArchRow& row, std::span<const char* const> needs) {
  std::vector<std::string> missing;
  for (const char* f : needs)
    if (!has_feature(row, Suffix::kSpecific, f)) missing.push_back(f);
  return join(missing);
}

std::string why_excluded(const ArchTable& table, const KernelFacts& kernel, Target request, Version toolkit) {
  if (!kernel.targets.empty()) {
    std::vector<std::string> names;
    for (const Target& t : kernel.targets) {
      names.push_back(to_string(table, t));
      if (!serves(t, request)) continue;
      const ArchRow* row = find_row(table, t);
      if (row && t.sass && !compiles(*row, t.suffix, toolkit)) {
        const Version first = first_toolkit(*row, t.suffix);
        return to_string(table, bare(t)) +
               (first.known() ? " needs toolkit " + to_string(first) + ", this is " + to_string(toolkit)
                              : " is code that no toolkit compiles");
      }
    }
    for (const Target& t : kernel.targets)
      if (t.suffix == Suffix::kSpecific && t.major == request.major && t.minor != request.minor)
        return to_string(table, bare(t)) + " code runs on " + cuda_number(t) + " only";
    return "made for " + join(names) + " only";
  }
  const ArchRow* row = find_row(table, request);
  if (!row) return to_string(table, bare(request)) + " is not a row of arch.toml";
  if (const std::string missing = missing_features(*row, kernel.needs); !missing.empty())
    return std::string(row->name) + " has no " + missing;
  for (Suffix suffix : {Suffix::kNone, Suffix::kSpecific, Suffix::kFamily})
    if (has_all(*row, suffix, kernel.needs) && first_toolkit(*row, suffix).known())
      return to_string(table, with_suffix(request, suffix)) + " needs toolkit " +
             to_string(first_toolkit(*row, suffix)) + ", this is " + to_string(toolkit);
  return std::string(row->name) + " has no code with " +
         join(std::vector<std::string>(kernel.needs.begin(), kernel.needs.end()));
}

Answered answer_cuda(const ArchTable& table, const KernelFacts& kernel, const Candidates& candidates, Target request,
                     const Toolchain& toolchain) {
  Answered out{request, Answer::kExcluded, {}, {}};
  const Target* best = nullptr;
  // Among code that is as good as the request's own the least capable, which serves most; else the nearest.
  for (const bool nearest : {false, true}) {
    if (best || !request.sass || (!nearest && !toolchain.share_code)) continue;
    for (const Target& c : candidates.machine)
      if (serves(c, request) && (nearest || shares_code(table, kernel, c, request)) &&
          (!best || preference(kernel, c, request, nearest) > preference(kernel, *best, request, nearest)))
        best = &c;
  }
  if (best) {
    out.answer = classify(*best, request);
    out.code = *best;
    if (request.ptx && candidates.ptx.empty())
      out.reason = "no PTX embedded: this kernel is not allowed to run from PTX";
    return out;
  }
  const Target* base = nullptr;
  for (const Target& c : candidates.ptx)
    if (capability(c) <= capability(request) && (!base || capability(*base) < capability(c))) base = &c;
  if (base) {
    out.answer = Answer::kPtx;
    out.code = *base;
    out.code.ptx = true;
    out.code.sass = false;
    return out;
  }
  if (!request.sass && !kernel.ptx && std::ranges::none_of(kernel.targets, [](Target t) { return t.ptx; }))
    out.reason = "PTX alone was asked for, and this kernel is not allowed to run from PTX";
  else
    out.reason = why_excluded(table, kernel, request, toolchain.toolkit);
  return out;
}

void add_code(std::vector<Target>& code, Target t) {
  for (Target& c : code) {
    if (bare(c) != bare(t)) continue;
    c.sass |= t.sass;
    c.ptx |= t.ptx;
    return;
  }
  code.push_back(t);
}

std::string missing_package(const KernelFacts& kernel, const Toolchain& toolchain) {
  for (const char* name : kernel.packages)
    for (const PackageRow& p : toolchain.missing)
      if (std::string_view(name) == p.name) return "needs " + std::string(name) + ": " + p.note;
  return {};
}

Resolution resolve_cuda(const ArchTable& table, const KernelFacts& kernel, std::span<const Target> requests,
                        const Toolchain& toolchain, std::span<const LeftTo> left_to) {
  Resolution out;
  const Version toolkit = toolchain.toolkit;
  std::string excluded;
  if (!toolkit.known())
    excluded = "no CUDA toolkit";
  else if (toolkit < kernel.cuda_min)
    excluded = "needs toolkit " + to_string(kernel.cuda_min) + ", this is " + to_string(toolkit);
  const Candidates candidates =
      kernel.targets.empty() ? feature_candidates(table, kernel, toolkit) : explicit_candidates(table, kernel, toolkit);
  Target newest_kept; // latest request that is not left to another kernel
  for (const Target& request : requests) {
    const auto left = std::ranges::find_if(left_to, [&](const LeftTo& l) { return l.target == request; });
    if (!excluded.empty()) {
      out.answers.push_back({request, Answer::kExcluded, {}, excluded});
    } else if (left != left_to.end()) {
      out.answers.push_back({request, Answer::kExcluded, {}, "left to " + std::string(left->kernel)});
    } else {
      out.answers.push_back(answer_cuda(table, kernel, candidates, request, toolchain));
      newest_kept = request;
      Answered& a = out.answers.back();
      if (a.answer == Answer::kExcluded) continue;
      // Last, so that targets which the kernel could not serve anyway say so.
      if (const std::string missing = missing_package(kernel, toolchain); !missing.empty()) {
        a = {request, Answer::kExcluded, {}, missing};
        continue;
      }
      add_code(out.code, a.code);
      if (!request.ptx || !request.sass) continue;
      // "+PTX" by request: of the newest base that the kernel can be compiled to.
      const Target* base = nullptr;
      for (const Target& c : candidates.ptx)
        if (capability(c) <= capability(request) && (!base || capability(*base) < capability(c))) base = &c;
      if (!base) continue;
      Target t = *base;
      t.ptx = true;
      t.sass = false;
      add_code(out.code, t);
    }
  }
  // "+PTX" by manifest holds where that very target was asked for and something of a later major might use it.
  for (const Target& t : kernel.targets) {
    if (!t.ptx || t.suffix != Suffix::kNone || newest_kept.major <= t.major) continue;
    const bool asked = std::ranges::any_of(requests, [&](const Target& r) { return capability(r) == capability(t); });
    for (Target& c : out.code)
      if (asked && bare(c) == bare(t)) c.ptx = true;
  }
  std::ranges::sort(out.code);
  return out;
}

Resolution resolve_cpu(const ArchTable& table, const KernelFacts& kernel, std::span<const Target> requests) {
  Resolution out;
  const ArchRow* code = nullptr; // the least capable row that suffices
  for (const ArchRow& row : table.rows) {
    if (code || row.target.kind != Kind::kCpu) continue;
    const bool named = kernel.targets.empty() || std::ranges::find(kernel.targets, row.target) != kernel.targets.end();
    if (named && has_all(row, Suffix::kNone, kernel.needs)) code = &row;
  }
  for (const Target& request : requests) {
    const ArchRow* row = find_row(table, request);
    Answered a{request, Answer::kExcluded, {}, {}};
    if (!code) {
      a.reason =
          "no CPU row of arch.toml has " + join(std::vector<std::string>(kernel.needs.begin(), kernel.needs.end()));
    } else if (!row || (row->cpu_features & code->cpu_features) != code->cpu_features) {
      a.reason = "needs " + std::string(code->name);
    } else {
      a.answer = row == code ? Answer::kNative : Answer::kCompatible;
      a.code = code->target;
      add_code(out.code, code->target);
    }
    out.answers.push_back(a);
  }
  return out;
}

Resolution resolve_hip(const ArchTable& table, const KernelFacts& kernel, std::span<const Target> requests) {
  Resolution out;
  for (const Target& request : requests) {
    const ArchRow* row = find_row(table, request);
    Answered a{request, Answer::kExcluded, {}, {}};
    const bool listed = kernel.targets.empty() || std::ranges::find(kernel.targets, request) != kernel.targets.end();
    if (!row) {
      a.reason = to_string(table, request) + " is not a row of arch.toml";
    } else if (!row->has_kernels) {
      a.reason = "no kernels for HIP targets yet";
    } else if (!listed) {
      a.reason = "not among the targets that the kernel lists";
    } else if (!has_all(*row, Suffix::kNone, kernel.needs)) {
      a.reason = std::string(row->name) + " has no " + missing_features(*row, kernel.needs);
    } else {
      a.answer = Answer::kNative;
      a.code = request;
      add_code(out.code, request);
    }
    out.answers.push_back(a);
  }
  return out;
}

} // namespace

std::vector<Target> canonical(std::span<const Target> targets) {
  std::vector<Target> out;
  for (const Target& t : targets) add_code(out, t);
  std::ranges::sort(out);
  return out;
}

std::vector<Target> keep_supported(std::span<const Target> supported, std::span<const Target> targets) {
  std::vector<Target> out;
  for (const Target& t : canonical(targets))
    if (std::ranges::any_of(supported, [&](const Target& s) { return serves(with_suffix(s, Suffix::kNone), t); }))
      out.push_back(t);
  return out;
}

Resolution resolve(const ArchTable& table, const KernelFacts& kernel, std::span<const Target> requested,
                   const Toolchain& toolchain, std::span<const LeftTo> left_to) {
  std::vector<Target> requests = canonical(requested);
  std::erase_if(requests, [&](const Target& t) { return t.kind != kernel.kind; });
  switch (kernel.kind) {
    case Kind::kCuda:
      return resolve_cuda(table, kernel, requests, toolchain, left_to);
    case Kind::kCpu:
      return resolve_cpu(table, kernel, requests);
    case Kind::kHip:
      return resolve_hip(table, kernel, requests);
    case Kind::kNone:
      break;
  }
  return {};
}

std::vector<Resolution> resolve_all(const ArchTable& table, std::span<const NamedKernel> kernels,
                                    std::span<const Target> requested, const Toolchain& toolchain) {
  std::vector<Resolution> out(kernels.size());
  // A kernel that others yield to does not yield itself, so two passes settle it.
  for (size_t i = 0; i < kernels.size(); ++i)
    if (kernels[i].facts.unless.empty()) out[i] = resolve(table, kernels[i].facts, requested, toolchain);
  for (size_t i = 0; i < kernels.size(); ++i) {
    if (kernels[i].facts.unless.empty()) continue;
    std::vector<LeftTo> left_to;
    for (size_t j = 0; j < kernels.size(); ++j) {
      const auto& unless = kernels[i].facts.unless;
      if (kernels[j].op != kernels[i].op || !kernels[j].facts.unless.empty()) continue;
      if (std::ranges::none_of(unless, [&](const char* n) { return kernels[j].name == n; })) continue;
      for (const Answered& a : out[j].answers)
        if (a.answer != Answer::kExcluded && a.answer != Answer::kPtx) left_to.push_back({a.target, kernels[j].name});
    }
    out[i] = resolve(table, kernels[i].facts, requested, toolchain, left_to);
  }
  return out;
}

const ArchRow* find_row(const ArchTable& table, Target target) {
  for (const ArchRow& row : table.rows)
    if (row.target.kind == target.kind && capability(row.target) == capability(target)) return &row;
  return nullptr;
}

bool has_feature(const ArchRow& row, Suffix suffix, std::string_view feature) {
  const auto in = [&](std::span<const char* const> list) {
    return std::ranges::any_of(list, [&](const char* f) { return feature == f; });
  };
  if (in(row.features)) return true;
  if (suffix == Suffix::kNone) return false;
  if (in(row.family_features)) return true;
  return suffix == Suffix::kSpecific && in(row.specific_features);
}

std::string to_string(const ArchTable& table, Target target) {
  if (target.kind != Kind::kCuda) {
    const ArchRow* row = find_row(table, target);
    return row ? row->name : "?";
  }
  std::string out = cuda_number(target);
  if (target.suffix == Suffix::kFamily) out += 'f';
  if (target.suffix == Suffix::kSpecific) out += 'a';
  if (!target.sass) return out + "-virtual";
  return target.ptx ? out + "+PTX" : out;
}

std::string to_string(Version version) {
  return version.known() ? std::to_string(version.major) + "." + std::to_string(version.minor) : std::string();
}

const char* to_string(Answer answer) {
  switch (answer) {
    case Answer::kNative:
      return "native";
    case Answer::kFamily:
      return "family";
    case Answer::kCompatible:
      return "compatible";
    case Answer::kPtx:
      return "ptx";
    case Answer::kExcluded:
      return "excluded";
  }
  return "excluded";
}

std::vector<std::string> gencode(std::span<const Target> code) {
  std::vector<std::string> out;
  for (const Target& t : code) {
    std::string number = std::to_string(t.major) + std::to_string(t.minor);
    if (t.suffix == Suffix::kFamily) number += 'f';
    if (t.suffix == Suffix::kSpecific) number += 'a';
    std::string embed;
    if (t.ptx || !t.sass) embed = "compute_" + number;
    if (t.sass) embed += (embed.empty() ? "sm_" : ",sm_") + number;
    out.push_back("--generate-code=arch=compute_" + number + ",code=[" + embed + "]");
  }
  return out;
}

} // namespace spf::arch
