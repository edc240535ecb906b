// `spearfish demo`: a generated weight in every format, through the kernel that the planner picks, against fp64 and
// against what this machine's memory and arithmetic can do.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <map>
#include <optional>
#include <thread>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "check/probe/cpu.hpp"
#include "command.hpp"
#include "numbers.hpp"
#include "problem.hpp"
#include "sample.hpp"
#include "spearfish/spearfish.hpp"
#include "suggest.hpp"
#include "terminal.hpp"

namespace spearfish::cli {
namespace {

using Clock = std::chrono::steady_clock;
using Json = nlohmann::ordered_json;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

// What the machine can do at most.
struct Limits {
  std::vector<spf::check::ComputeLimit> compute;
  std::map<size_t, double> bandwidth; // bytes per second by working set
  int threads = 1;

  double read_bandwidth(size_t bytes) {
    const auto [at, is_new] = bandwidth.emplace(spf::check::working_set(bytes), 0.0);
    if (is_new) at->second = spf::check::measure_read_bandwidth(at->first, threads);
    return at->second;
  }
};

struct Row {
  std::string format;
  int64_t m = 0;
  std::string kernel, instance, layout, activation;
  size_t packed_bytes = 0;
  double error = 0;        // of the kernel: ||out - exact|| / ||exact||, exact from the quantized weight in fp64
  double format_error = 0; // of the format: the same with exact from the weight before quantization
  double seconds = 0;
  double bytes_per_second = 0, flops = 0;
  double limit_seconds = 0;
  std::string bound;   // "memory" or "compute": which limit is the nearer one
  std::string refusal; // nothing can run: why
};

double relative_error(const std::vector<double>& got, const std::vector<double>& exact) {
  double difference = 0, norm = 0;
  for (size_t i = 0; i < exact.size(); ++i) {
    difference += (got[i] - exact[i]) * (got[i] - exact[i]);
    norm += exact[i] * exact[i];
  }
  return norm > 0 ? std::sqrt(difference / norm) : std::sqrt(difference);
}

class DemoCommand : public Command {
 public:
  void define(CLI::App& app) override {
    app.add_option("--m", ms_, "Rows of activations, several allowed")
        ->capture_default_str()
        ->expected(1, -1)
        ->check(whole_number(1));
    app.add_option("--n", n_, "Output features")->capture_default_str()->check(whole_number(1));
    app.add_option("--k", k_, "Reduction")->capture_default_str()->check(whole_number(1));
    app.add_option("--formats", formats_, "Weight formats, separated by blanks or commas. Default: all")
        ->delimiter(',')
        ->expected(1, -1);
    app.add_option("--act", act_, "Scalar type of the activations: bf16, f16 or f32")->capture_default_str();
    app.add_flag("--allow-8bit-activation", allow_8bit_, "Kernels may quantize activations to 8 bits");
    app.add_option("--threads", threads_, "CPU threads (default: OMP_NUM_THREADS or all cores)")
        ->check(whole_number(1, 4096));
    app.add_flag("--json", json_, "JSON instead of text");
    app.footer(
        "Exit codes: 0 every format ran, 1 failure, 2 wrong usage, 3 some format has no kernel here.\n"
        "Examples: spearfish demo\n"
        "          spearfish demo --m 1 8 512 --n 4096 --k 14336 --formats int4-g128,q4_k,nvfp4 --json\n");
  }

  int run() override {
    const std::vector<std::string> known = quant_scheme_names();
    if (formats_.empty()) formats_ = known;
    for (const std::string& format : formats_)
      if (std::find(known.begin(), known.end(), format) == known.end())
        throw UsageError(unknown_word("weight format", format, known));
    activation_ = scalar_type_named(act_, {"bf16", "f16", "f32"});
    if (threads_) check(spf_cpu_set_threads(*threads_));
    limits_.threads = spf_cpu_threads();
    {
      Progress progress(formats_.size() * ms_.size() + 1);
      progress.show(0, "measuring the machine");
      limits_.compute = spf::check::measure_compute(facts(Device::cpu()).cpu_features, limits_.threads);
      prepare();
      for (const std::string& format : formats_) run_format(format, progress);
    }
    if (json_)
      fmt::print("{}\n", to_json().dump(2));
    else
      print_text();
    const bool all_ran = std::all_of(rows_.begin(), rows_.end(), [](const Row& r) { return r.refusal.empty(); });
    return all_ran ? kOk : kNoKernel;
  }

 private:
  static constexpr int64_t kCheckedColumns = 64;

  void prepare() {
    weight_ = normal_values(static_cast<size_t>(n_ * k_), 0.02, 1);
    const int64_t most = *std::max_element(ms_.begin(), ms_.end());
    x_.emplace(activation_, Shape{most, k_}, normal_values(static_cast<size_t>(most * k_), 1.0, 2));
    x_values_ = x_->values();
    // Columns spread over all of N, the first and the last among them.
    const int64_t count = std::min(n_, kCheckedColumns);
    for (int64_t i = 0; i < count; ++i) columns_.push_back(count == 1 ? 0 : i * (n_ - 1) / (count - 1));
    exact_ = product(weight_);
  }

  // fp64 results of the checked columns, for the largest M.
  std::vector<double> product(const std::vector<float>& w) const {
    const int64_t rows = static_cast<int64_t>(x_values_.size()) / k_;
    std::vector<double> out;
    for (int64_t m = 0; m < rows; ++m)
      for (int64_t column : columns_) {
        const double* x = x_values_.data() + m * k_;
        const float* row = w.data() + column * k_;
        double sum = 0;
        for (int64_t k = 0; k < k_; ++k) sum += x[k] * static_cast<double>(row[k]);
        out.push_back(sum);
      }
    return out;
  }

  void run_format(const std::string& format, Progress& progress) {
    const QuantizedWeight quantized = QuantizedWeight::quantize(quant_scheme(format), n_, k_, weight_.data());
    const std::vector<double> exact = product(quantized.dequantize());
    std::optional<PackedWeight> packed;
    for (int64_t m : ms_) {
      progress.show(rows_.size() + 1, fmt::format("{} M={}", format, m));
      Row row;
      row.format = format;
      row.m = m;
      const Tensor x = x_->view().slice(0, 0, m);
      OwnedTensor out(SPF_F32, {m, n_});
      try {
        Launch launch;
        launch.allow_activation_8bit(allow_8bit_);
        const Plan plan = plan_linear(x, quantized.scheme(), n_, k_, std::nullopt, out.view(), launch);
        if (!packed || packed->layout() != plan.layout()) packed.emplace(PackedWeight::pack(quantized, plan.layout()));
        measure(plan, x, *packed, out, exact, &row);
      } catch (const Error& e) {
        if (e.status() != SPF_UNSUPPORTED && e.status() != SPF_NOT_BUILT) throw;
        row.refusal = e.what();
      }
      rows_.push_back(std::move(row));
    }
  }

  void measure(const Plan& plan, const Tensor& x, const PackedWeight& packed, const OwnedTensor& out,
               const std::vector<double>& exact, Row* row) {
    const Buffer workspace(plan.workspace_bytes());
    Launch launch;
    launch.allow_activation_8bit(allow_8bit_).workspace(workspace.data(), workspace.size());
    linear(x, packed, std::nullopt, out.view(), launch);
    // Best of as many runs as fit into a fifth of a second, at most 200, at least one after the first.
    row->seconds = 1e30;
    const auto begin = Clock::now();
    for (int i = 0; i < 200 && (i == 0 || seconds_since(begin) < 0.2); ++i) {
      const auto start = Clock::now();
      linear(x, packed, std::nullopt, out.view(), launch);
      row->seconds = std::min(row->seconds, seconds_since(start));
    }
    row->kernel = plan.kernel();
    row->instance = plan.instance();
    row->layout = plan.layout();
    row->activation = plan.activation();
    row->packed_bytes = packed.bytes();
    const std::vector<double> values = out.values();
    std::vector<double> got;
    for (int64_t m = 0; m < row->m; ++m)
      for (int64_t column : columns_) got.push_back(values[static_cast<size_t>(m * n_ + column)]);
    const auto checked = static_cast<std::ptrdiff_t>(got.size());
    row->error = relative_error(got, {exact.begin(), exact.begin() + checked});
    row->format_error =
        relative_error({exact.begin(), exact.begin() + checked}, {exact_.begin(), exact_.begin() + checked});
    const double bytes = static_cast<double>(packed.bytes()) + static_cast<double>(x.extent_bytes()) +
                         4.0 * static_cast<double>(row->m * n_);
    const double operations = 2.0 * static_cast<double>(row->m) * static_cast<double>(n_) * static_cast<double>(k_);
    row->bytes_per_second = bytes / row->seconds;
    row->flops = operations / row->seconds;
    const double memory = bytes / limits_.read_bandwidth(packed.bytes());
    const double compute = operations / spf::check::best_for(limits_.compute, row->activation).per_second;
    row->limit_seconds = std::max(memory, compute);
    row->bound = memory >= compute ? "memory" : "compute";
  }

  void print_text() const {
    fmt::print("linear, N={} K={}, {} activations, {}, {} thread{}\n", n_, k_, act_, facts(Device::cpu()).name,
               limits_.threads, limits_.threads == 1 ? "" : "s");
    for (const auto& limit : limits_.compute)
      fmt::print("  {:<12} {:8.0f} GFLOP/s\n", limit.name, limit.per_second * 1e-9);
    for (const auto& [bytes, rate] : limits_.bandwidth)
      fmt::print("  read {:<10} {:5.1f} GB/s\n", bytes_text(static_cast<double>(bytes)), rate * 1e-9);
    fmt::print("\n");
    Table table({{"format"},
                 {"M", true},
                 {"kernel"},
                 {"layout"},
                 {"MiB", true},
                 {"error", true},
                 {"format error", true},
                 {"us", true},
                 {"GB/s", true},
                 {"GFLOP/s", true},
                 {"of limit", true},
                 {"bound"}});
    for (const Row& r : rows_) {
      if (!r.refusal.empty()) {
        table.add({r.format, std::to_string(r.m), {"none", Colour::kBad}});
        continue;
      }
      table.add({r.format, std::to_string(r.m), r.kernel + (r.instance.empty() ? "" : "/" + r.instance), r.layout,
                 fmt::format("{:.1f}", static_cast<double>(r.packed_bytes) / 1048576.0), fmt::format("{:.1e}", r.error),
                 fmt::format("{:.1e}", r.format_error), fmt::format("{:.0f}", r.seconds * 1e6),
                 fmt::format("{:.1f}", r.bytes_per_second * 1e-9), fmt::format("{:.1f}", r.flops * 1e-9),
                 fmt::format("{:.0f} %", 100 * r.limit_seconds / r.seconds), r.bound});
    }
    fmt::print("{}\n", table.text());
    fmt::print(
        "error: of the kernel against fp64 on the quantized weight; format error: of the quantized weight's fp64 "
        "result against the\n"
        "unquantized one's. Both are relative, over {} of {} columns. of limit: the time that reading the packed "
        "weight at the bandwidth\n"
        "of its size, or the arithmetic at this CPU's peak, would take, against the time taken.\n",
        columns_.size(), n_);
    double load = 0;
    const auto cores = static_cast<double>(std::thread::hardware_concurrency());
    if (getloadavg(&load, 1) == 1 && load > 1.5 * cores)
      fmt::print(
          "Other work keeps this machine busy (load {:.0f} on {:.0f} cores): rates and limits are lower than they "
          "would be.\n",
          load, cores);
    for (const Row& r : rows_)
      if (!r.refusal.empty()) fmt::print(stderr, "spearfish: {} M={}: {}\n", r.format, r.m, r.refusal);
  }

  Json to_json() const {
    Json out = {{"device", facts(Device::cpu()).name},
                {"threads", limits_.threads},
                {"version", spf_version_string()},
                {"limits", {{"compute", Json::array()}, {"read", Json::array()}}},
                {"rows", Json::array()}};
    for (const auto& limit : limits_.compute)
      out["limits"]["compute"].push_back({{"name", limit.name}, {"gflops", limit.per_second * 1e-9}});
    for (const auto& [bytes, rate] : limits_.bandwidth)
      out["limits"]["read"].push_back({{"bytes", bytes}, {"gbs", rate * 1e-9}});
    for (const Row& r : rows_) {
      Json row = {{"op", "linear"}, {"weight", r.format}, {"act", act_}, {"m", r.m}, {"n", n_}, {"k", k_}};
      if (!r.refusal.empty()) {
        row["kernel"] = nullptr;
        row["reason"] = r.refusal;
      } else {
        row.update({{"kernel", r.kernel},
                    {"instance", r.instance},
                    {"layout", r.layout},
                    {"activation", r.activation},
                    {"packed_bytes", r.packed_bytes},
                    {"error", r.error},
                    {"format_error", r.format_error},
                    {"us", r.seconds * 1e6},
                    {"gbs", r.bytes_per_second * 1e-9},
                    {"gflops", r.flops * 1e-9},
                    {"limit_us", r.limit_seconds * 1e6},
                    {"bound", r.bound},
                    {"share", r.limit_seconds / r.seconds}});
      }
      out["rows"].push_back(std::move(row));
    }
    return out;
  }

  std::vector<int64_t> ms_ = {1, 64};
  int64_t n_ = 2048, k_ = 4096;
  std::vector<std::string> formats_;
  std::string act_ = "bf16";
  bool allow_8bit_ = false, json_ = false;
  std::optional<int32_t> threads_;

  ScalarType activation_ = SPF_BF16;
  Limits limits_;
  std::vector<float> weight_;
  std::optional<OwnedTensor> x_;
  std::vector<double> x_values_, exact_;
  std::vector<int64_t> columns_;
  std::vector<Row> rows_;
};

} // namespace

std::unique_ptr<Command> make_demo_command() { return std::make_unique<DemoCommand>(); }

} // namespace spearfish::cli
