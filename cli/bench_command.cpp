// `spearfish bench`: the bench cases, timed beside the limits of the machine.
#include <algorithm>
#include <cstdio>
#include <fstream>

#include <fmt/format.h>

#include "check/bench.hpp"
#include "command.hpp"
#include "roofline.hpp"
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
    app.add_flag("--gemm-peers", options_.gemm_peers,
                 "CUDA: time cuBLASLt's bf16 and fp8 products beside the rows of linear, if the machine has it");
    app.add_option("--seconds", options_.seconds, "Start no further case after so long")->type_name("N");
    app.add_option("--roofline", roofline_, "Write the rows that multiply as a roofline plot, SVG")->type_name("FILE");
    app.footer(
        "Exit codes: 0 success, 1 failure, 2 wrong usage.\n"
        "Example: spearfish bench norm activation --device cuda:0 --json bench.json\n");
  }

  int run() override {
    return run_.guarded([&](spf::check::Memory& memory, const std::vector<spf::check::Case>& cases) {
      size_t timed = 0;
      for (const spf::check::Case& c : cases) timed += c.bench ? 1 : 0;
      const spf::check::RunInfo info = spf::check::run_info(memory, run_.command_line("bench", extra_flags()));
      // Rows are printed and written as they come: whoever stops a long run keeps what it has measured.
      const auto keep = [&](const spf::check::BenchReport& so_far) {
        spf::check::BenchReport report = so_far;
        report.info = info;
        if (!run_.json_to_stdout()) run_.write_json(report.json());
        if (!run_.json_to_stdout()) report.rows.empty() ? print_head(report) : print_row(report.rows.back());
      };
      Progress progress(timed);
      spf::check::BenchReport report = spf::check::run_bench(
          memory, cases, options_, [&](size_t done, size_t, const std::string& what) { progress.show(done, what); },
          keep);
      report.info = info;
      run_.write_json(report.json());
      if (!roofline_.empty()) write_roofline(report);
      if (run_.json_to_stdout()) return kOk;
      for (const std::string& why : report.refused) fmt::print("refused: {}\n", why);
      for (const std::string& note : report.notes) fmt::print("note: {}\n", note);
      return kOk;
    });
  }

 private:
  std::string extra_flags() const {
    return (options_.kernel.empty() ? "" : " --kernel " + options_.kernel) +
           (options_.every_kernel ? " --every-kernel" : "") + (options_.pdl ? " --pdl" : "") +
           (options_.warm ? " --warm" : "") + (options_.peers.empty() ? "" : " --peers FILE") +
           (options_.gemm_peers ? " --gemm-peers" : "") +
           (options_.seconds > 0 ? fmt::format(" --seconds {:g}", options_.seconds) : "") +
           (roofline_.empty() ? "" : " --roofline FILE");
  }

  static void print_head(const spf::check::BenchReport& report) {
    fmt::print("{} on {}\n", paint(Colour::kBold, "Bench"), report.info.device);
    const spf::check::Limits& limits = report.limits;
    if (limits.copy_bytes_per_second > 0)
      fmt::print("  copy {:.0f} GB/s, read {:.0f} GB/s, an empty kernel {:.2f} us\n",
                 limits.copy_bytes_per_second / 1e9, limits.read_bytes_per_second / 1e9, limits.empty_us);
    else
      fmt::print("  read {:.1f} GB/s\n", limits.read_bytes_per_second / 1e9);
    if (limits.tensor_per_second > 0) fmt::print("  cuBLASLt bf16 {:.0f} TFLOP/s\n", limits.tensor_per_second / 1e12);
    for (const auto& [name, rate] : limits.compute) fmt::print("  {} {:.0f} Gop/s\n", name, rate / 1e9);
    fmt::print("\n{:>10}  {:>10}  {:>6}\n", "us", "limit us", "share");
    std::fflush(stdout);
  }

  static void print_row(const spf::check::BenchRow& row) {
    const auto best = std::min_element(row.peers.begin(), row.peers.end(),
                                       [](const auto& a, const auto& b) { return a.second.us < b.second.us; });
    const std::string peer =
        best == row.peers.end()
            ? ""
            : fmt::format("  x{:.2f} of {} {:.2f} us", row.us / best->second.us, best->first, best->second.us);
    std::string sustained = row.sustained_us > 0 ? fmt::format("  sustained {:.2f} us", row.sustained_us) : "";
    if (row.sustained_us > 0 && best != row.peers.end() && best->second.sustained_us > 0)
      sustained += fmt::format(" x{:.2f}", row.sustained_us / best->second.sustained_us);
    fmt::print("{:10.2f}  {:10.2f}  {:5.0f} %  {} {}  {} {}{}{}\n", row.us, row.limit_us, 100 * row.limit_us / row.us,
               row.op, row.name, row.kernel, row.instance, peer, sustained);
    std::fflush(stdout);
  }

  // Ours by kernel. What the roof is made of is the same run's: reading, and cuBLASLt's or the CPU's best product.
  void write_roofline(const spf::check::BenchReport& report) const {
    double peak = report.limits.tensor_per_second;
    for (const spf::check::ComputeLimit& limit : report.limits.compute) peak = std::max(peak, limit.per_second);
    if (peak <= 0) throw CommandError("a roofline needs the rate of the arithmetic units: add --gemm-peers");
    std::vector<RooflinePoint> points;
    for (const spf::check::BenchRow& row : report.rows)
      if (row.operations > 0)
        points.push_back({row.operations, row.read_bytes + row.written_bytes, row.us, row.kernel});
    std::ofstream out(roofline_);
    out << roofline_svg("Spearfish on " + report.info.device, report.limits.read_bytes_per_second, peak, points);
    if (!out.flush()) throw CommandError("cannot write " + roofline_);
  }

  RunCommand run_;
  spf::check::BenchOptions options_;
  std::string roofline_;
};

} // namespace

std::unique_ptr<Command> make_bench_command() { return std::make_unique<BenchCommand>(); }

} // namespace spearfish::cli
