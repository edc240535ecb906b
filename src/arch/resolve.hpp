// The resolver: which code is compiled for which requested target, and why not. Pure and total: every request gets an
// answer, and the answer for one request does not depend on the others.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "arch/target.hpp"

namespace spf::arch {

// What a build has to compile with.
struct Toolchain {
  Toolchain(Version t = {}) : toolkit(t) {} // a bare toolkit release is one: every package is there
  Version toolkit;                          // {0, 0}: no CUDA toolkit, which excludes every CUDA target
  std::span<const PackageRow> missing;      // packages that are not there
  // One machine code for the capabilities of a major whose features do not differ: the least of them serves all. Builds
  // for many targets get shorter, libraries smaller.
  bool share_code = false;
};

// What a kernel does for one requested target.
struct Answered {
  Target target; // as requested
  Answer answer = Answer::kExcluded;
  Target code;        // what serves it: machine code (sass) or PTX (ptx); kind kNone if excluded
  std::string reason; // why excluded; or a remark (PTX asked for and not embedded); or ""

  friend bool operator==(const Answered&, const Answered&) = default;
};

struct Resolution {
  std::vector<Answered> answers; // one per distinct request of the kernel's kind, ascending
  std::vector<Target> code;      // what to compile: ascending, distinct; sass and ptx say which of the two to embed

  friend bool operator==(const Resolution&, const Resolution&) = default;
};

// A target that this kernel leaves to another one.
struct LeftTo {
  Target target;
  std::string_view kernel;
};

// Reason of a kernel whose axes leave nothing to compile on a target that it could otherwise serve.
inline constexpr const char* kNoInstance = "no instance of it exists on this target";

// Resolves one kernel.
Resolution resolve(const ArchTable& table, const KernelFacts& kernel, std::span<const Target> requested,
                   const Toolchain& toolchain, std::span<const LeftTo> left_to = {});

// A kernel with the names under which others refer to it in `unless`.
struct NamedKernel {
  std::string_view op;
  std::string_view name;
  KernelFacts facts;
};

// Resolves kernels together, so that `unless` takes effect. One Resolution per kernel, in the order given.
std::vector<Resolution> resolve_all(const ArchTable& table, std::span<const NamedKernel> kernels,
                                    std::span<const Target> requested, const Toolchain& toolchain);

// A list with duplicates merged (9.0 and 9.0+PTX are one entry, 9.0+PTX), ascending.
std::vector<Target> canonical(std::span<const Target> targets);

// Those targets that something on the supported list serves: same major, equal or lower minor. Suffixes of either side
// neither block nor rewrite an entry. For users whose toolchain publishes a list of what it supports.
std::vector<Target> keep_supported(std::span<const Target> supported, std::span<const Target> targets);

// The row that a target names; nullptr if the table has none.
const ArchRow* find_row(const ArchTable& table, Target target);

// Whether code with this suffix on this row has the feature.
bool has_feature(const ArchRow& row, Suffix suffix, std::string_view feature);

// "9.0a", "12.0+PTX", "8.0-virtual", "avx512_vnni".
std::string to_string(const ArchTable& table, Target target);
std::string to_string(Version version);

// "native", "family", "compatible", "ptx", "excluded".
const char* to_string(Answer answer);

// nvcc options for a set of code targets, one string an option, e.g. "--generate-code=arch=compute_90a,code=[sm_90a]".
std::vector<std::string> gencode(std::span<const Target> code);

} // namespace spf::arch
