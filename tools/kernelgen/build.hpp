// From manifests and a request to everything that is written: answers, instances, translation units, libraries.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "arch/resolve.hpp"
#include "axes.hpp"
#include "manifest.hpp"

namespace spf::kernelgen {

struct Request {
  std::vector<arch::Target> targets; // CUDA and HIP; the CPU rows are always asked for
  arch::Version toolkit;
  std::vector<arch::PackageRow> missing; // packages that are not there
  bool share_code = false;               // arch::Toolchain
  std::string family;                    // "" for all
  int most_instances = 0;                // of a CUDA kernel, spread over its axes; 0: all
  double unit_seconds = 20;              // aim of one generated translation unit on one core
};

// What became of an instance.
struct InstanceBuild {
  Instance instance;                  // `on` is by position in KernelBuild::potential_code
  std::vector<std::string> functions; // by op: the function that launches it; "" if not in this build
};

// One (op, kernel) pair per entry of `ops`, sharing everything else.
struct KernelBuild {
  const Kernel* kernel = nullptr;
  arch::Resolution resolution; // for this request
  arch::Resolution potential;  // every plain target, newest toolkit
  std::vector<arch::Target> potential_code;
  std::vector<InstanceBuild> instances;
  int built_instances = 0;
  int units = 0;
  double seconds = 0; // estimated, one core
};

// One generated function.
struct UnitFunction {
  std::string name;
  std::string expression; // "rms_norm_rows<SPF_BF16, 8>"
};

// One translation unit.
struct Unit {
  std::string file; // "norm_sm75_rows_rms_norm_0.cu" if generated, else the source itself
  bool generated = true;
  bool in_tree = true; // of a source that is not generated: relative to the root
  std::string family, include;
  std::vector<UnitFunction> functions;
  double seconds = 0;
  std::set<std::string> kernels; // "norm/sm75_rows": whose code it holds
};

// Units that are compiled with the same flags: one object library.
struct Library {
  std::string name; // "spf_cuda_90a", "spf_cpu_avx2"
  bool cuda = false;
  std::vector<arch::Target> code;
  std::vector<std::string> packages; // headers of others
  std::vector<std::string> flags;
  std::vector<Unit> units;
};

struct Build {
  const ArchFile* arch = nullptr;
  const Manifests* manifests = nullptr;
  Request request;
  std::vector<KernelBuild> kernels;
  std::vector<Library> libraries; // ascending by name
};

// Lays everything out. Complains if a required op stays uncovered.
Build make_build(const ArchFile& arch, const Manifests& manifests, const Request& request, Diagnostics& diagnostics);

// Function that launches an instance of a kernel without template arguments: "spf::norm::reference_rms_norm".
std::string plain_function(const Kernel& kernel);

// Namespace of generated functions.
inline constexpr const char* kGeneratedNamespace = "spf::generated";

} // namespace spf::kernelgen
