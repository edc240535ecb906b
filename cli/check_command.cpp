// `spearfish check`: conformance of every kernel on this machine.
#include <fstream>
#include <set>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "check/conformance.hpp"
#include "command.hpp"
#include "run_command.hpp"
#include "terminal.hpp"

namespace spearfish::cli {
namespace {

class CheckCommand final : public Command {
 public:
  void define(CLI::App& app) override {
    run_.define(app);
    app.add_option("--kernel", options_.kernel, "Only kernels of this name: sm75_rows or norm/sm75_rows")
        ->type_name("NAME");
    app.add_flag("--quick", options_.quick, "A few small cases for each instance");
    app.add_flag("--reference", options_.reference, "On the CPU, also the reference against itself");
    app.footer(
        "Exit codes: 0 everything that ran is right, 1 something is not, 2 wrong usage, 3 no such device here, 4 a "
        "file\n"
        "cannot be read or written.\n"
        "Example: spearfish check norm activation --device cuda:0 --json check.json\n");
  }

  int run() override {
    return run_.guarded([&](spf::check::Memory& memory, const std::vector<spf::check::Case>& cases) {
      Progress progress(cases.size());
      spf::check::Report report = spf::check::run_conformance(
          {memory}, cases, options_, [&](size_t done, size_t, const std::string& what) { progress.show(done, what); });
      report.info = spf::check::run_info(memory, run_.command_line("check", extra_flags()));
      run_.write_json(report.json());
      if (!run_.json_to_stdout()) print(report);
      return report.failed() == 0 ? kOk : kFailure;
    });
  }

 private:
  std::string extra_flags() const {
    return (options_.kernel.empty() ? "" : " --kernel " + options_.kernel) + (options_.quick ? " --quick" : "") +
           (options_.reference ? " --reference" : "");
  }

  static void print(const spf::check::Report& report) {
    fmt::print("{} on {}\n\n", paint(Colour::kBold, "Conformance"), report.info.device);
    Table table({{"op"},
                 {"kernel"},
                 {"instance"},
                 {"passed", true},
                 {"failed", true},
                 {"skipped", true},
                 {"error/limit", true}});
    for (const spf::check::ReportRow& row : report.rows)
      table.add({row.op, row.kernel, row.instance,
                 Cell(std::to_string(row.passed), row.passed > 0 ? Colour::kGood : Colour::kNone),
                 Cell(std::to_string(row.failed), row.failed > 0 ? Colour::kBad : Colour::kNone),
                 std::to_string(row.skipped), row.passed > 0 ? fmt::format("{:.2f}", row.worst) : ""});
    fmt::print("{}", table.text());
    for (const spf::check::ReportRow& row : report.rows)
      for (const spf::check::Failed& failure : row.failures)
        fmt::print("\n{} {} {} {}, {}:\n  {}\n", paint(Colour::kBad, "failed"), row.op, row.kernel, row.instance,
                   failure.test, failure.difference);
    std::map<std::string, int64_t> refusals;
    for (const spf::check::ReportRow& row : report.rows)
      for (const auto& [why, count] : row.refusals) refusals[row.kernel + ": " + why] += count;
    if (!refusals.empty()) fmt::print("\nSkipped:\n");
    for (const auto& [why, count] : refusals) fmt::print("  {:6}  {}\n", count, why);
    fmt::print("\n{} passed, {} failed, {} skipped\n", report.passed(), report.failed(), report.skipped());
  }

  RunCommand run_;
  spf::check::ConformanceOptions options_;
};

} // namespace

std::unique_ptr<Command> make_check_command() { return std::make_unique<CheckCommand>(); }

} // namespace spearfish::cli
