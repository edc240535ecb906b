// `spearfish bench`: the bench cases, timed beside the limits of the machine.
#include <fmt/format.h>

#include "check/bench.hpp"
#include "command.hpp"
#include "run_command.hpp"
#include "terminal.hpp"

namespace spearfish::cli {
namespace {

class BenchCommand final : public Command {
 public:
  void define(CLI::App& app) override {
    run_.define(app);
    app.add_option("--kernel", options_.kernel, "Force this kernel instead of the planner's choice")->type_name("NAME");
    app.add_flag("--every-kernel", options_.every_kernel, "Time every kernel that takes a case");
    app.add_flag("--pdl", options_.pdl, "CUDA: launch with programmatic dependent launch");
    app.add_flag("--warm", options_.warm, "CUDA: the same operands for every launch, left in the cache");
    app.add_option("--peers", options_.peers, "CSV of others' times: family,name,shape,m_or_tokens,peer,us")
        ->type_name("FILE");
    app.footer(
        "Exit codes: 0 success, 1 failure, 2 wrong usage.\n"
        "Example: spearfish bench norm activation --device cuda:0 --json bench.json\n");
  }

  int run() override {
    return run_.guarded([&](spf::check::Memory& memory, const std::vector<spf::check::Case>& cases) {
      size_t timed = 0;
      for (const spf::check::Case& c : cases) timed += c.bench ? 1 : 0;
      spf::check::BenchReport report;
      {
        Progress progress(timed);
        report = spf::check::run_bench(
            memory, cases, options_, [&](size_t done, size_t, const std::string& what) { progress.show(done, what); });
      }
      report.info = spf::check::run_info(memory, run_.command_line("bench", extra_flags()));
      run_.write_json(report.json());
      if (!run_.json_to_stdout()) print(report);
      return kOk;
    });
  }

 private:
  std::string extra_flags() const {
    return (options_.kernel.empty() ? "" : " --kernel " + options_.kernel) +
           (options_.every_kernel ? " --every-kernel" : "") + (options_.pdl ? " --pdl" : "") +
           (options_.warm ? " --warm" : "") + (options_.peers.empty() ? "" : " --peers FILE");
  }

  static void print(const spf::check::BenchReport& report) {
    fmt::print("{} on {}\n", paint(Colour::kBold, "Bench"), report.info.device);
    const spf::check::Limits& limits = report.limits;
    if (limits.copy_bytes_per_second > 0)
      fmt::print("  copy {:.0f} GB/s, read {:.0f} GB/s, an empty kernel {:.2f} us\n",
                 limits.copy_bytes_per_second / 1e9, limits.read_bytes_per_second / 1e9, limits.empty_us);
    else
      fmt::print("  read {:.1f} GB/s\n", limits.read_bytes_per_second / 1e9);
    for (const auto& [name, rate] : limits.compute) fmt::print("  {} {:.0f} Gop/s\n", name, rate / 1e9);
    Table table(
        {{"op"}, {"case"}, {"kernel"}, {"instance"}, {"us", true}, {"limit us", true}, {"share", true}, {"peers"}});
    for (const spf::check::BenchRow& row : report.rows) {
      std::string peers;
      for (const auto& [peer, us] : row.peers)
        peers += fmt::format("{}{} {:.2f} us (x{:.2f})", peers.empty() ? "" : ", ", peer, us, row.us / us);
      table.add({row.op, row.name, row.kernel, row.instance, fmt::format("{:.2f}", row.us),
                 fmt::format("{:.2f}", row.limit_us), fmt::format("{:.0f} %", 100 * row.limit_us / row.us), peers});
    }
    fmt::print("\n{}", table.text());
    for (const std::string& why : report.refused) fmt::print("refused: {}\n", why);
  }

  RunCommand run_;
  spf::check::BenchOptions options_;
};

} // namespace

std::unique_ptr<Command> make_bench_command() { return std::make_unique<BenchCommand>(); }

} // namespace spearfish::cli
