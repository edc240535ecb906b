// `spearfish quantize`: a plain checkpoint in, a quantized one out.
#include <atomic>
#include <csignal>
#include <cstring>
#include <map>
#include <optional>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "command.hpp"
#include "model/calibration.hpp"
#include "model/quantize.hpp"
#include "model_options.hpp"
#include "numbers.hpp"
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
    app.add_option(
           "--calibrate", text_,
           "Round so that outputs over this text stay close (GPTQ, with AWQ's scales where they help); default: "
           "each weight to nearest")
        ->type_name("TEXT");
    app.add_option("--calibrate-bytes", calibrate_bytes_, "Read only the first BYTES of that text")
        ->type_name("BYTES")
        ->capture_default_str()
        ->check(whole_number(1));
    app.add_flag("--act-order", act_order_, "Round columns of large inputs first; their groups stay where they are");
    app.add_flag("--no-scaling", no_scaling_, "GPTQ alone");
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
        "Example: spearfish quantize models/sample --format int4-g128 --out out/sample-int4 --calibrate "
        "models/sample/calibration.txt\n",
        names));
  }

  int run() override {
    const std::vector<std::string> formats = model::quantize_formats();
    if (std::find(formats.begin(), formats.end(), format_) == formats.end())
      throw UsageError(unknown_word("format", format_, formats));
    if (text_.empty() && (act_order_ || no_scaling_))
      throw UsageError(std::string(act_order_ ? "--act-order" : "--no-scaling") +
                       " says how to calibrate; allowed: with --calibrate TEXT");
    const SignalGuard guard;
    model::QuantizeReport report;
    try {
      std::optional<Progress> bar;
      model::QuantizeOptions options;
      options.format = format_;
      size_t linears_done = 0;
      options.progress = [&](size_t done, size_t total, std::string_view what) {
        if (stop_signal != 0) throw Interrupted();
        if (!bar || done == 0) bar.emplace(total);
        linears_done = done;
        bar->show(done, what);
      };
      const model::Checkpoint source = model::Checkpoint::open(model_);
      source.check_finite(); // norms too, which nobody rounds
      std::optional<model::Calibration> calibration;
      if (!text_.empty()) {
        calibration.emplace(source, calibration_ids(source), calibration_options(source, bar, linears_done));
        options.moments = [&](size_t layer) { return calibration->layer(layer); };
        options.gptq.by_importance = act_order_;
        options.scale_inputs = !no_scaling_;
      }
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
  std::vector<int32_t> calibration_ids(const model::Checkpoint& source) const {
    constexpr uint64_t kLongest = uint64_t{1} << 30;
    std::string text = model::read_text(text_, kLongest);
    if (text.size() > static_cast<size_t>(calibrate_bytes_)) text.resize(static_cast<size_t>(calibrate_bytes_));
    if (text.empty()) throw UsageError("--calibrate " + text_ + " is empty; allowed: a text of at least one byte");
    return tokenizer_of(model_, source)->encode(text);
  }

  model::CalibrationOptions calibration_options(const model::Checkpoint& source, std::optional<Progress>& bar,
                                                const size_t& linears_done) const {
    model::CalibrationOptions options;
    options.window = std::min(options.window, source.config().max_positions);
    options.progress = [&bar, &linears_done, linears = source.linears().size()](int64_t done, int64_t all, int64_t pass,
                                                                                int64_t passes) {
      if (stop_signal != 0) throw Interrupted();
      if (!bar) bar.emplace(linears);
      bar->show(linears_done,
                fmt::format("reading the text, pass {} of {}: {} of {} tokens", pass + 1, passes, done, all));
    };
    return options;
  }

  void print(const model::QuantizeReport& report) const {
    struct Sum {
      size_t layers = 0;
      int64_t weights = 0;
      double nearest_error = 0, error = 0;
    };
    std::map<std::pair<std::string, std::string>, Sum> sums;
    for (const model::QuantizedLinear& row : report.linears) {
      Sum& sum = sums[{row.scheme, row.method}];
      ++sum.layers;
      sum.weights += row.n * row.k;
      sum.nearest_error += row.nearest_error;
      sum.error += row.error;
    }
    std::vector<Table::Column> columns = {{"format"}, {"rounding"}, {"layers", true}, {"weights", true}};
    if (!text_.empty()) columns.insert(columns.end(), {{"output error %", true}, {"to nearest %", true}});
    Table table(columns);
    for (const auto& [key, sum] : sums) {
      std::vector<Cell> row = {key.first, key.second, std::to_string(sum.layers), std::to_string(sum.weights)};
      const auto mean = [count = static_cast<double>(sum.layers)](double total) {
        return fmt::format("{:.2f}", 100 * total / count);
      };
      if (!text_.empty()) row.insert(row.end(), {mean(sum.error), mean(sum.nearest_error)});
      table.add(row);
    }
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
    for (const model::QuantizedLinear& row : report.linears) {
      Json linear = {{"name", row.name}, {"scheme", row.scheme}, {"method", row.method}, {"n", row.n}, {"k", row.k}};
      if (!text_.empty()) {
        linear["nearest_error"] = row.nearest_error;
        linear["error"] = row.error;
      }
      j["linears"].push_back(std::move(linear));
    }
    return j;
  }

  std::string model_, format_, out_, text_;
  int64_t calibrate_bytes_ = 32768;
  bool act_order_ = false, no_scaling_ = false, json_ = false;
};

} // namespace

std::unique_ptr<Command> make_quantize_command() { return std::make_unique<QuantizeCommand>(); }

} // namespace spearfish::cli
