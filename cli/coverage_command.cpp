// `spearfish coverage`: which kernel serves which target, and what of that was built, tested and tuned.
#include <algorithm>
#include <cctype>
#include <optional>
#include <set>
#include <string_view>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "command.hpp"
#include "spearfish/spearfish.hpp"
#include "terminal.hpp"

namespace spearfish::cli {
namespace {

// "scaled_linear" as it is; long names and lists by their number, as the lines have to fit a window.
std::string ops_text(const std::string& ops) {
  constexpr size_t kLongest = 22;
  const auto count = std::count(ops.begin(), ops.end(), ',') + 1;
  return ops.size() <= kLongest ? ops : fmt::format("{} op{}", count, count == 1 ? "" : "s");
}

// CPU classes are words (x86-64, avx2), CUDA targets numbers.
bool is_cpu(const Coverage::Row& row) { return std::isdigit(static_cast<unsigned char>(row.target.front())) == 0; }

// "9.0 has no cluster" of the target 9.0a -> "has no cluster".
std::string reason_of(const Coverage::Row& row) {
  const size_t blank = row.reason.find(' ');
  const bool names_target = blank != std::string::npos && row.target.compare(0, blank, row.reason, 0, blank) == 0;
  return names_target ? row.reason.substr(blank + 1) : row.reason;
}

// Rows of a kernel, in the order of the answer, of which the text tells the same but for their target.
bool same_text(const Coverage::Row& a, const Coverage::Row& b) {
  const bool excluded = a.state == "excluded";
  return a.family == b.family && a.kernel == b.kernel && a.ops == b.ops && excluded == (b.state == "excluded") &&
         (excluded ? reason_of(a) == reason_of(b) : a.built == b.built && a.tested == b.tested && a.tuned == b.tuned);
}

// "9.0a 10.0; family 12.1": targets by how they are served, those of native code first and without a word. Of CPU
// classes "avx2 and up".
std::string serves_text(const std::vector<const Coverage::Row*>& rows) {
  std::string out;
  if (is_cpu(*rows.front()) && rows.front()->state == "native")
    return rows.front()->target + (rows.size() > 1 ? " and up" : "");
  for (const char* state : {"native", "family", "compatible", "ptx"}) {
    std::string targets;
    for (const Coverage::Row* row : rows)
      if (row->state == state) targets += " " + row->target;
    if (targets.empty()) continue;
    const bool native = std::string_view(state) == "native";
    out += (out.empty() ? "" : "; ") + (native ? targets.substr(1) : state + targets);
  }
  return out;
}

void print_text(const Coverage& coverage, bool supposed) {
  fmt::print("targets {}{}{}\n\n", coverage.targets.empty() ? "CPU only" : coverage.targets,
             coverage.toolkit.empty() ? "" : ", toolkit " + coverage.toolkit,
             supposed ? "\nwhat a build for them would hold; \"built\" is what this one holds" : "");
  if (coverage.rows.empty()) {
    fmt::print("no kernel of the manifests is for these targets\n");
    return;
  }
  std::vector<std::vector<const Coverage::Row*>> groups;
  std::set<std::string> served_on_cpu;
  for (const Coverage::Row& row : coverage.rows) {
    if (is_cpu(row) && row.state != "excluded") served_on_cpu.insert(row.family + "/" + row.kernel);
    const auto same = std::find_if(groups.begin(), groups.end(), [&](const auto& g) { return same_text(*g[0], row); });
    if (same == groups.end())
      groups.push_back({&row});
    else
      same->push_back(&row);
  }
  constexpr size_t kTargets = 18, kReason = 26;
  Table serves({{"kernel"}, {"ops"}, {"serves", false, kTargets}, {"built"}, {"tested on"}, {"tuned on"}});
  Table left_out({{"left out"}, {"ops"}, {"targets", false, kTargets}, {"reason", false, kReason}});
  bool any_left_out = false;
  for (const auto& group : groups) {
    const Coverage::Row& row = *group.front();
    const std::string name = row.family + "/" + row.kernel;
    if (row.state != "excluded") {
      serves.add({name,
                  ops_text(row.ops),
                  serves_text(group),
                  {row.built ? "yes" : "no", row.built ? Colour::kGood : Colour::kDim},
                  row.tested.empty() ? "no" : row.tested,
                  row.tuned.empty() ? "no" : row.tuned});
      continue;
    }
    // The classes below the one that a CPU kernel is for need no row.
    if (is_cpu(row) && served_on_cpu.count(name) > 0) continue;
    std::string targets;
    for (const Coverage::Row* one : group) targets += (targets.empty() ? "" : " ") + one->target;
    left_out.add({name, ops_text(row.ops), targets, {reason_of(row), Colour::kDim}});
    any_left_out = true;
  }
  fmt::print("{}", serves.text());
  if (any_left_out) fmt::print("\n{}", left_out.text());
  fmt::print(
      "\ntested on: devices on which the kernel passed the whole conformance run, for whatever target;\n"
      "tuned on: devices on which its choices were measured. docs/measurements/README.md says at which\n"
      "commit, and what has changed since.\n");
}

class CoverageCommand : public Command {
 public:
  void define(CLI::App& app) override {
    app.add_option("--archs", archs_,
                   "Targets in any spelling, e.g. '8.0;9.0a;12.0f', 'sm_90 sm_120', all. Default: this build's");
    app.add_option("--toolkit", toolkit_,
                   "With --archs: the CUDA toolkit to suppose, e.g. 12.8. Default: the newest known");
    app.add_flag("--json", json_, "JSON instead of text");
    app.footer(
        "Exit codes: 0 success, 2 wrong usage.\n"
        "Examples: spearfish coverage\n"
        "          spearfish coverage --archs '8.9;10.0;12.0f' --toolkit 12.8 --json\n");
  }

  int run() override {
    if (toolkit_ && !archs_) throw UsageError("--toolkit is for --archs: this build's toolkit is a fact");
    Coverage coverage;
    try {
      coverage = spearfish::coverage(archs_, toolkit_);
    } catch (const Error& e) {
      if (e.status() != SPF_INVALID_ARGUMENT) throw;
      throw UsageError(e.what());
    }
    if (!json_) {
      print_text(coverage, archs_.has_value());
      return kOk;
    }
    nlohmann::ordered_json rows = nlohmann::ordered_json::array();
    for (const Coverage::Row& r : coverage.rows)
      rows.push_back({{"family", r.family},
                      {"kernel", r.kernel},
                      {"ops", r.ops},
                      {"target", r.target},
                      {"state", r.state},
                      {"code", r.code},
                      {"reason", r.reason},
                      {"built", r.built},
                      {"tested", r.tested},
                      {"tuned", r.tuned}});
    const nlohmann::ordered_json out = {{"targets", coverage.targets}, {"toolkit", coverage.toolkit}, {"rows", rows}};
    fmt::print("{}\n", out.dump(2));
    return kOk;
  }

 private:
  std::optional<std::string> archs_, toolkit_;
  bool json_ = false;
};

} // namespace

std::unique_ptr<Command> make_coverage_command() { return std::make_unique<CoverageCommand>(); }

} // namespace spearfish::cli
