// Target lists and toolkit versions as a user may type them: an error in one sentence, or targets that read back as
// themselves.
#include <cstdint>
#include <cstdlib>

#include "arch/parse.hpp"
#include "arch/resolve.hpp"
#include "arch_file.hpp"
#include "output.hpp"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace spf;
  static const kernelgen::ArchFile* arch = [] {
    static kernelgen::ArchFile file;
    kernelgen::Diagnostics diagnostics;
    kernelgen::load_arch(kernelgen::read_file(std::string(SPF_SOURCE_DIR) + "/arch/arch.toml"), "arch/arch.toml",
                         diagnostics, file);
    if (!diagnostics.empty()) std::abort();
    return &file;
  }();
  const std::string text(reinterpret_cast<const char*>(data), size);
  if (const auto v = arch::parse_version(text))
    if (arch::parse_version(arch::to_string(*v)) != v) std::abort();
  const arch::Target native[] = {arch::cuda_target(90)};
  arch::ListContext context = arch->context({12, 9});
  context.native = native;
  const arch::ParsedList parsed = arch::parse_list(text, context);
  if (!parsed.error.empty()) {
    if (!parsed.targets.empty()) std::abort();
    return 0;
  }
  std::string canonical;
  for (const arch::Target& t : parsed.targets)
    canonical += (canonical.empty() ? "" : ";") + arch::to_string(arch->table, t);
  const arch::ParsedList again = arch::parse_list(canonical, context);
  if (!again.error.empty() || again.targets != parsed.targets) std::abort();
  return 0;
}
