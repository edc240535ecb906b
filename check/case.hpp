// Cases: the rows of kernels/<family>/cases.toml, from which both the conformance run and the bench are made.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace spf::check {

struct Case {
  std::string op;
  std::map<std::string, std::string> types; // type variable -> scalar type name
  std::vector<int64_t> leading;             // extents of "*"
  std::map<std::string, int64_t> dims;      // symbol -> extent
  std::map<std::string, double> params;     // what differs from the defaults
  std::set<std::string> absent;             // optional operands left out
  std::string weight;                       // quant scheme name; ops with a packed weight only
  bool act_order = false;
  bool allow_activation_8bit = false;
  bool bench = false;
  std::string peer; // "name/shape" of the rows of a peer file that did the same work, where op and extents do not tell

  // "bf16 5x4096 epsilon=1e-05": unique among the cases of an op, and stable, for it seeds the data.
  std::string name() const;
};

// Reads a case file. { each = [...] } at any value multiplies. Throws UsageError naming source, row and key.
std::vector<Case> parse_cases(std::string_view toml, const std::string& source);

// The case files of the tree that this binary was built from, by family.
struct CaseFile {
  const char* family;
  const char* text;
};
extern const CaseFile kCaseFiles[];
extern const int kCaseFileCount;

// Every case of the chosen families and ops (all if empty). Throws UsageError for a name that is neither.
std::vector<Case> embedded_cases(const std::vector<std::string>& names);

} // namespace spf::check
