// kernels.toml as a stranger may write it: either complaints, or a layout of which every text can be made. What was
// accepted must give the same bytes twice.
#include <cstdint>
#include <cstdlib>

#include "axes.hpp"
#include "build.hpp"
#include "emit.hpp"
#include "output.hpp"

namespace {

using namespace spf;
using namespace spf::kernelgen;

constexpr int64_t kFewCombinations = 2000; // larger ones are legal, and too slow to be tried often

std::string all_texts(const std::string& text, bool& accepted) {
  static const std::string arch_text = read_file(std::string(SPF_SOURCE_DIR) + "/arch/arch.toml");
  Diagnostics diagnostics;
  ArchFile arch;
  Manifests manifests;
  load_arch(arch_text, "arch/arch.toml", diagnostics, arch);
  if (!diagnostics.empty()) std::abort();
  load_manifest(text, {"kernels/x/kernels.toml", "", "kernels/x/", true, "x", false}, arch, diagnostics, manifests);
  check_manifests(manifests, diagnostics);
  accepted = diagnostics.empty();
  for (const Kernel& k : manifests.kernels) accepted &= count_combinations(k) <= kFewCombinations;
  accepted &= manifests.kernels.size() <= 40;
  if (!accepted) return {};
  Request request;
  request.toolkit = {13, 0};
  request.targets = arch::parse_list("7.5;9.0a;12.0f;8.0+PTX", arch.context({13, 0})).targets;
  const Build build = make_build(arch, manifests, request, diagnostics);
  std::string out = emit_table(build) + emit_cmake(build) + emit_coverage_json(build) +
                    emit_coverage_text(build, true) + emit_kernels_markdown(build) + emit_test_list(build);
  for (const Library& lib : build.libraries)
    for (const Unit& unit : lib.units) out += emit_unit(unit);
  return out;
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  bool accepted = false;
  const std::string first = all_texts(text, accepted);
  if (accepted && all_texts(text, accepted) != first) std::abort();
  return 0;
}
