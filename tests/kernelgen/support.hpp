// Manifests and hardware tables given as text, for tests of the generator.
#pragma once

#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "arch/parse.hpp"
#include "build.hpp"
#include "emit.hpp"
#include "output.hpp"

namespace spf::kernelgen::test {

inline const std::string& arch_text() {
  static const std::string text = read_file(std::string(SPF_SOURCE_DIR) + "/arch/arch.toml");
  return text;
}

// Everything that one run of the generator holds.
struct World {
  Diagnostics diagnostics;
  ArchFile arch;
  Manifests manifests;
  Build build;

  explicit World(const std::string& arch_toml = arch_text()) {
    load_arch(arch_toml, "arch/arch.toml", diagnostics, arch);
  }

  World& manifest(const std::string& text, const std::string& family = "") {
    const std::string prefix = "kernels/" + family + "/";
    load_manifest(text, {prefix + "kernels.toml", "", prefix, true, family, false}, arch, diagnostics, manifests);
    check_manifests(manifests, diagnostics);
    return *this;
  }

  // Targets by syntax alone, so that lists may name capabilities without a row.
  const Build& request(const std::string& archs, const std::string& toolkit = "13.0", double unit_seconds = 20,
                       int most_instances = 0) {
    Request r;
    std::string word;
    for (const char c : archs + ",") {
      if (c != ',') {
        word += c;
        continue;
      }
      if (const auto t = arch::parse_cuda_spelling(word)) r.targets.push_back(*t);
      word.clear();
    }
    if (const auto v = arch::parse_version(toolkit)) r.toolkit = *v;
    r.unit_seconds = unit_seconds;
    r.most_instances = most_instances;
    build = make_build(arch, manifests, r, diagnostics);
    return build;
  }

  std::string complaints() const {
    std::string out;
    for (const std::string& m : diagnostics.messages()) out += m + "\n";
    return out;
  }

  const KernelBuild& kernel(const std::string& name) const {
    for (const KernelBuild& b : build.kernels)
      if (b.kernel->name == name) return b;
    ADD_FAILURE() << "no kernel " << name;
    return build.kernels.front();
  }
};

inline std::string data(const std::string& name) {
  return read_file(std::string(SPF_TEST_DATA) + "/manifests/" + name);
}

} // namespace spf::kernelgen::test
