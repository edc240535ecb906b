// `spearfish coverage`: which kernel serves which target, and what of that was built, tested and tuned.
#include <algorithm>
#include <optional>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "command.hpp"
#include "spearfish/spearfish.hpp"
#include "terminal.hpp"

namespace spearfish::cli {
namespace {

Colour colour_of(const std::string& state) {
  if (state == "excluded") return Colour::kDim;
  return state == "ptx" ? Colour::kWarn : Colour::kGood;
}

// "rms_norm, layer_norm" as it is; long lists by their number.
std::string ops_text(const std::string& ops) {
  const auto count = std::count(ops.begin(), ops.end(), ',') + 1;
  return count <= 2 ? ops : fmt::format("{} ops", count);
}

// Rows that differ in their target only.
bool same_answer(const Coverage::Row& a, const Coverage::Row& b) {
  return a.family == b.family && a.kernel == b.kernel && a.ops == b.ops && a.state == b.state && a.reason == b.reason &&
         a.built == b.built && a.tested == b.tested && a.tuned == b.tuned;
}

void print_text(const Coverage& coverage) {
  fmt::print("targets {}{}\n\n", coverage.targets.empty() ? "CPU only" : coverage.targets,
             coverage.toolkit.empty() ? "" : ", toolkit " + coverage.toolkit);
  if (coverage.rows.empty()) {
    fmt::print("no kernel of the manifests is for these targets\n");
    return;
  }
  Table table({{"kernel"}, {"ops"}, {"targets"}, {"state"}, {"built"}, {"tested"}, {"tuned"}, {"reason"}});
  for (size_t i = 0; i < coverage.rows.size();) {
    const Coverage::Row& row = coverage.rows[i];
    std::string targets = row.target;
    for (++i; i < coverage.rows.size() && same_answer(row, coverage.rows[i]); ++i)
      targets += " " + coverage.rows[i].target;
    table.add({row.family + "/" + row.kernel,
               ops_text(row.ops),
               targets,
               {row.state, colour_of(row.state)},
               row.built ? "yes" : "no",
               row.tested.empty() ? "no" : row.tested,
               row.tuned.empty() ? "no" : row.tuned,
               {row.reason, Colour::kDim}});
  }
  fmt::print("{}", table.text());
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
      print_text(coverage);
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
