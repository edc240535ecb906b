// `spearfish quantize`: a plain checkpoint in, a quantized one out.
#include <atomic>
#include <csignal>
#include <cstring>
#include <map>
#include <optional>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "command.hpp"
#include "model/quantize.hpp"
#include "suggest.hpp"
#include "terminal.hpp"

namespace spearfish::cli {
namespace {

using Json = nlohmann::ordered_json;

std::atomic<int> stop_signal = 0;

// Ctrl-C and kill unwind, so that what was written so far is removed.
class Interrupted : public std::exception {
 public:
  const char* what() const noexcept override { return "interrupted; nothing was written"; }
};

class SignalGuard {
 public:
  SignalGuard() {
    for (const int s : {SIGINT, SIGTERM, SIGHUP}) std::signal(s, [](int received) { stop_signal = received; });
  }
  ~SignalGuard() {
    for (const int s : {SIGINT, SIGTERM, SIGHUP}) std::signal(s, SIG_DFL);
  }
  SignalGuard(const SignalGuard&) = delete;
  SignalGuard& operator=(const SignalGuard&) = delete;
};

class QuantizeCommand final : public Command {
 public:
  void define(CLI::App& app) override {
    app.add_option("MODEL", model_, "Folder with config.json and safetensors, plain weights")
        ->required()
        ->type_name("");
    app.add_option("--format", format_, "What the linear layers become")->required()->type_name("FORMAT");
    app.add_option("--out", out_, "Folder to make; nothing of that name may exist")->required()->type_name("DIR");
    app.add_flag("--json", json_, "JSON instead of text");
    std::string names;
    for (const std::string& name : model::quantize_formats()) names += " " + name;
    app.footer(fmt::format(
        "Formats:{}.\n"
        "The last ten write model.gguf, the others the layout of compressed-tensors.\n"
        "DIR appears when it is complete; until then all is in a hidden folder beside it, which an interrupt "
        "removes, and\n"
        "which after a crash the next run removes.\n"
        "Exit codes: 0 success, 1 failure, 2 wrong usage or DIR exists, 4 MODEL is missing, corrupt or not "
        "served, 130 or 143 interrupted.\n"
        "Example: spearfish quantize models/sample --format int4-g128 --out out/sample-int4\n",
        names));
  }

  int run() override {
    const std::vector<std::string> formats = model::quantize_formats();
    if (std::find(formats.begin(), formats.end(), format_) == formats.end())
      throw UsageError(unknown_word("format", format_, formats));
    const SignalGuard guard;
    model::QuantizeReport report;
    try {
      std::optional<Progress> bar;
      model::QuantizeOptions options;
      options.format = format_;
      options.progress = [&](size_t done, size_t total, std::string_view what) {
        if (stop_signal != 0) throw Interrupted();
        if (!bar) bar.emplace(total);
        bar->show(done, what);
      };
      const model::Checkpoint source = model::Checkpoint::open(model_);
      report = model::quantize_checkpoint(source, model_, out_, options);
    } catch (const Interrupted& e) {
      fmt::print(stderr, "spearfish: {}\n", e.what());
      return 128 + stop_signal;
    }
    if (json_)
      fmt::print("{}\n", to_json(report).dump(1));
    else
      print(report);
    return kOk;
  }

 private:
  void print(const model::QuantizeReport& report) const {
    struct Sum {
      size_t layers = 0;
      int64_t weights = 0;
    };
    std::map<std::string, Sum> by_scheme;
    for (const model::QuantizedLinear& row : report.linears) {
      Sum& sum = by_scheme[row.scheme];
      ++sum.layers;
      sum.weights += row.n * row.k;
    }
    Table table({{"format"}, {"layers", true}, {"weights", true}});
    for (const auto& [scheme, sum] : by_scheme)
      table.add({scheme, std::to_string(sum.layers), std::to_string(sum.weights)});
    fmt::print("{}", table.text());
    for (const std::string& name : report.plain) fmt::print("left plain: {}\n", name);
    fmt::print("{} -> {} in {}\n", bytes_text(static_cast<double>(report.source_bytes)),
               bytes_text(static_cast<double>(report.bytes)), out_);
  }

  Json to_json(const model::QuantizeReport& report) const {
    Json j = {{"model", model_},
              {"format", format_},
              {"out", out_},
              {"source_bytes", report.source_bytes},
              {"bytes", report.bytes},
              {"plain", report.plain},
              {"linears", Json::array()}};
    for (const model::QuantizedLinear& row : report.linears)
      j["linears"].push_back(
          {{"name", row.name}, {"scheme", row.scheme}, {"method", row.method}, {"n", row.n}, {"k", row.k}});
    return j;
  }

  std::string model_, format_, out_;
  bool json_ = false;
};

} // namespace

std::unique_ptr<Command> make_quantize_command() { return std::make_unique<QuantizeCommand>(); }

} // namespace spearfish::cli
