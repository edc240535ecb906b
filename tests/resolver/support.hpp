// Kernels and lists as text, for tests of the resolver.
#pragma once

#include <sstream>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "arch/parse.hpp"
#include "arch/resolve.hpp"
#include "plan/table.hpp"

namespace spf::arch::test {

inline const ArchTable& table() { return kManifest.arch; }

// "8.0+PTX 9.0a" by syntax alone: lists may name capabilities that have no row.
inline std::vector<Target> targets(const std::string& text) {
  std::vector<Target> out;
  std::istringstream words(text);
  for (std::string word; words >> word;) {
    const auto target = parse_cuda_spelling(word);
    EXPECT_TRUE(target.has_value()) << word;
    if (target) out.push_back(*target);
  }
  return out;
}

inline std::string text(const std::vector<Target>& list) {
  std::string out;
  for (const Target& t : list) out += (out.empty() ? "" : " ") + to_string(table(), t);
  return out;
}

inline Version version(const std::string& v) {
  const auto parsed = parse_version(v);
  EXPECT_TRUE(parsed.has_value()) << v;
  return parsed.value_or(Version{});
}

// A kernel that lists its targets.
struct Listed {
  std::vector<Target> list;
  explicit Listed(const std::string& t) : list(targets(t)) {}
  KernelFacts facts() const {
    KernelFacts f;
    f.kind = Target::Kind::kCuda;
    f.targets = list;
    return f;
  }
};

// A kernel that asks for features.
struct Featured {
  std::vector<const char*> needs;
  bool ptx = false;
  KernelFacts facts() const {
    KernelFacts f;
    f.kind = Target::Kind::kCuda;
    f.needs = needs;
    f.ptx = ptx;
    return f;
  }
};

inline Resolution resolve_text(const KernelFacts& kernel, const std::string& requested,
                               const std::string& toolkit = "13.0", const std::string& left_to_others = "") {
  std::vector<LeftTo> left;
  for (const Target& t : targets(left_to_others)) left.push_back({t, "another"});
  return resolve(table(), kernel, targets(requested), version(toolkit), left);
}

// What is compiled for a request.
inline std::string code(const KernelFacts& kernel, const std::string& requested, const std::string& toolkit = "13.0",
                        const std::string& left_to_others = "") {
  return text(resolve_text(kernel, requested, toolkit, left_to_others).code);
}

// The answer for one target, "native 9.0a" or "excluded: reason".
inline std::string answer(const KernelFacts& kernel, const std::string& target, const std::string& toolkit = "13.0") {
  const Resolution r = resolve_text(kernel, target, toolkit);
  EXPECT_EQ(r.answers.size(), 1u);
  if (r.answers.empty()) return "none";
  const Answered& a = r.answers[0];
  if (a.answer == Answer::kExcluded) return "excluded: " + a.reason;
  return std::string(to_string(a.answer)) + " " + to_string(table(), a.code);
}

} // namespace spf::arch::test
