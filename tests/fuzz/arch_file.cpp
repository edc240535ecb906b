// arch.toml as a stranger may write it: either complaints, or a table with which the resolver answers every request.
#include "arch_file.hpp"

#include <cstdint>
#include <cstdlib>

#include "arch/resolve.hpp"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace spf;
  kernelgen::Diagnostics diagnostics;
  kernelgen::ArchFile arch;
  kernelgen::load_arch(std::string(reinterpret_cast<const char*>(data), size), "arch/arch.toml", diagnostics, arch);
  std::vector<arch::Target> targets;
  for (const arch::ArchRow& row : arch.rows) targets.push_back(row.target);
  targets.push_back(arch::cuda_target(99));
  for (const arch::Target::Kind kind :
       {arch::Target::Kind::kCpu, arch::Target::Kind::kCuda, arch::Target::Kind::kHip}) {
    arch::KernelFacts kernel;
    kernel.kind = kind;
    size_t expected = 0;
    for (const arch::Target& t : arch::canonical(targets)) expected += t.kind == kind;
    const arch::Resolution r = arch::resolve(arch.table, kernel, targets, arch::Version{13, 0});
    if (r.answers.size() != expected) std::abort();
    for (const arch::Answered& a : r.answers)
      if ((a.answer == arch::Answer::kExcluded) != (a.code.kind == arch::Target::Kind::kNone)) std::abort();
  }
  if (!diagnostics.empty()) return 0;
  for (const arch::ArchRow& row : arch.rows) {
    const arch::ParsedList parsed = arch::parse_target(row.name, arch.context({}));
    if (row.target.kind != arch::Target::Kind::kCuda) continue;
    if (parsed.targets.size() != 1 || parsed.targets[0] != row.target) std::abort();
  }
  return 0;
}
