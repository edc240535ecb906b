// `spearfish bench`: the bench cases, timed beside the limits of the machine.
#include <algorithm>
#include <cstdio>
#include <fstream>

#include <fmt/format.h>

#include "check/bench.hpp"
#include "command.hpp"
#include "numbers.hpp"
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
    app.add_flag("--every-instance", options_.every_instance,
                 "Time the instances that the plan thinks near a kernel's best, of --kernel or of all");
    app.add_flag("--pdl", options_.pdl, "CUDA: launch with programmatic dependent launch");
    app.add_flag("--warm", options_.warm, "CUDA: the same operands for every launch, left in the cache");
    app.add_option("--peers", options_.peers, "CSV of others' times: family,name,shape,m_or_tokens,peer,us")
        ->type_name("FILE");
    app.add_flag("--gemm-peers", options_.gemm_peers,
                 "CUDA: time cuBLASLt's bf16 and fp8 products beside the rows of linear, if the machine has it");
    app.add_option("--seconds", options_.seconds, "Start no further case after so long")
        ->type_name("N")
        ->check(positive_number());
    app.add_option("--roofline", roofline_, "Write the rows that multiply as a roofline plot, SVG")->type_name("FILE");
    app.footer(
        "Exit codes: 0 success, 1 failure, 2 wrong usage, 3 no such device here, 4 a file cannot be read or written.\n"
        "Example: spearfish bench norm activation --device cuda:0 --json bench.json\n");
  }

  int run() override {
    for (const auto& [flag, given] :
         {std::pair{"--pdl", options_.pdl}, {"--warm", options_.warm}, {"--gemm-peers", options_.gemm_peers}})
      if (given && run_.on_cpu()) throw UsageError(fmt::format("{} is for a CUDA device; --device is cpu", flag));
    if (!options_.peers.empty()) RunCommand::require_readable(options_.peers);
    if (!roofline_.empty()) RunCommand::require_writable(roofline_);
    return run_.guarded([&](spf::check::Memory& memory, const std::vector<spf::check::Case>& cases) {
      spf::check::require_kernel(cases, memory.device().kind, options_.kernel);
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
           (options_.every_kernel ? " --every-kernel" : "") + (options_.every_instance ? " --every-instance" : "") +
           (options_.pdl ? " --pdl" : "") + (options_.warm ? " --warm" : "") +
           (options_.peers.empty() ? "" : " --peers FILE") + (options_.gemm_peers ? " --gemm-peers" : "") +
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
    if (limits.tensor_per_second > 0)
      fmt::print("  cuBLASLt bf16 {:.0f} TFLOP/s, fp8 {:.0f}\n", limits.tensor_per_second / 1e12,
                 limits.tensor8_per_second / 1e12);
    for (const auto& [name, rate] : limits.compute) fmt::print("  {} {:.0f} Gop/s\n", name, rate / 1e9);
    fmt::print("\n{:>10}  {:>10}  {:>6}\n", "us", "limit us", "share");
    std::fflush(stdout);
  }

  static void print_row(const spf::check::BenchRow& row) {
    // What this run timed beside ours, and of the numbers that a file brought the best.
    std::string peers;
    const auto add = [&](const std::string& name, const spf::check::PeerTime& time) {
      peers += fmt::format("  {} {:.2f} us (x{:.2f})", name, time.us, row.us / time.us);
    };
    const std::pair<const std::string, spf::check::PeerTime>* best = nullptr;
    for (const auto& peer : row.peers) {
      if (peer.second.timed_here)
        add(peer.first, peer.second);
      else if (best == nullptr || peer.second.us < best->second.us)
        best = &peer;
    }
    if (best != nullptr) add(best->first, best->second);
    if (row.sustained_us > 0) {
      peers += fmt::format("  sustained {:.2f} us", row.sustained_us);
      for (const auto& [name, time] : row.peers)
        if (time.sustained_us > 0)
          peers += fmt::format(", {} {:.2f} (x{:.2f})", name, time.sustained_us, row.sustained_us / time.sustained_us);
    }
    fmt::print("{:10.2f}  {:10.2f}  {:5.0f} %  {} {}  {} {}{}\n", row.us, row.limit_us, 100 * row.limit_us / row.us,
               row.op, row.name, row.kernel, row.instance, peers);
    std::fflush(stdout);
  }

  static bool eight_bit(const spf::check::BenchReport& report) {
    return std::any_of(report.rows.begin(), report.rows.end(),
                       [](const spf::check::BenchRow& row) { return row.op == "scaled_linear"; });
  }

  // Ours by kernel. What the roof is made of is the same run's: reading, and cuBLASLt's or the CPU's best product.
  void write_roofline(const spf::check::BenchReport& report) const {
    double peak = std::max(report.limits.tensor_per_second, eight_bit(report) ? report.limits.tensor8_per_second : 0.0);
    for (const spf::check::ComputeLimit& limit : report.limits.compute) peak = std::max(peak, limit.per_second);
    if (peak <= 0) throw CommandError("a roofline needs the rate of the arithmetic units: add --gemm-peers");
    std::vector<RooflinePoint> points;
    for (const spf::check::BenchRow& row : report.rows)
      if (row.operations > 0)
        points.push_back({row.operations, row.read_bytes + row.written_bytes, row.us, row.kernel});
    std::ofstream out(roofline_);
    out << roofline_svg("Spearfish on " + report.info.device, report.limits.read_bytes_per_second, peak, points);
    if (!out.flush()) throw FileError("cannot write " + roofline_);
  }

  RunCommand run_;
  spf::check::BenchOptions options_;
  std::string roofline_;
};

} // namespace

std::unique_ptr<Command> make_bench_command() { return std::make_unique<BenchCommand>(); }

} // namespace spearfish::cli
