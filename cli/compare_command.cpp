// `spearfish compare`: one model in every weight format: a few lines of its text, its size, quality and speed.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <limits>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "command.hpp"
#include "model/error.hpp"
#include "model/linear_group.hpp"
#include "model/perplexity.hpp"
#include "model_options.hpp"
#include "numbers.hpp"
#include "plot.hpp"
#include "suggest.hpp"
#include "terminal.hpp"

namespace spearfish::cli {
namespace {

using Clock = std::chrono::steady_clock;
using Json = nlohmann::ordered_json;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

struct Row {
  std::string format, text, kernel, refusal;
  size_t bytes = 0;
  model::Perplexity quality;
  double loss = 0, loss_error = 0; // of bits per byte against the checkpoint as it is, relative; its standard error
  double decode_rate = 0, prefill_rate = 0;
};

// The relative change of bits per byte and its standard error, token by token: what both find hard cancels.
void compare(const model::Perplexity& base, Row* row) {
  const size_t count = base.token_bits.size();
  double sum = 0, squares = 0, all = 0;
  for (size_t i = 0; i < count; ++i) {
    const auto a = static_cast<double>(base.token_bits[i]), b = static_cast<double>(row->quality.token_bits[i]);
    sum += b - a;
    all += a;
  }
  const double mean = sum / static_cast<double>(count);
  for (size_t i = 0; i < count; ++i) {
    const double d = static_cast<double>(row->quality.token_bits[i]) - static_cast<double>(base.token_bits[i]) - mean;
    squares += d * d;
  }
  row->loss = sum / all;
  row->loss_error = std::sqrt(squares) / all;
}

class CompareCommand final : public Command {
 public:
  void define(CLI::App& app) override {
    app.add_option("MODEL", path_, "A folder with config.json and safetensors, or a *.gguf or *.safetensors file")
        ->type_name("")
        ->required();
    app.add_option("--text", text_, "The text to score")->type_name("FILE")->required();
    app.add_option("--limit", limit_, "Score only the first BYTES of the text")
        ->type_name("BYTES")
        ->capture_default_str()
        ->check(whole_number(1));
    app.add_option("--formats", formats_, "Weight formats, separated by blanks or commas. Default: all")
        ->delimiter(',')
        ->expected(1, -1);
    app.add_option("--prompt", prompt_, "The text to go on from")->type_name("TEXT")->capture_default_str();
    app.add_option("--max-tokens", max_tokens_, "Tokens to generate in each format")
        ->capture_default_str()
        ->check(whole_number(1));
    app.add_option("--device", device_, "cpu, cuda or cuda:N")->type_name("DEVICE")->capture_default_str();
    app.add_flag("--allow-8bit-activation", allow_8bit_, "Kernels may quantize activations to 8 bits");
    app.add_option("--svg", svg_, "Write a plot of quality against size to this file")->type_name("FILE");
    app.add_flag("--json", json_, "JSON instead of text");
    app.footer(std::string(kModelExitCodes) +
               "Example: spearfish compare models/sample --text models/sample/held_out.txt --svg quality.svg\n");
  }

  int run() override {
    options_.device = parse_device(device_);
    options_.allow_activation_8bit = allow_8bit_;
    const std::vector<std::string> known = quant_scheme_names();
    if (formats_.empty())
      for (const std::string& name : known)
        if (name != "f32" && name != "f16" && name != "bf16") formats_.push_back(name);
    for (const std::string& format : formats_)
      if (std::find(known.begin(), known.end(), format) == known.end())
        throw UsageError(unknown_word("weight format", format, known));
    open();
    formats_.erase(std::remove(formats_.begin(), formats_.end(), base_name()), formats_.end()); // measured first
    {
      Progress progress(formats_.size() + 1);
      progress.show(0, base_name());
      rows_.push_back(measure(base_name(), {}, file_bytes()));
      for (const std::string& format : formats_) {
        progress.show(rows_.size(), format);
        rows_.push_back(measure_rounded(format));
      }
    }
    if (!svg_.empty()) write_svg();
    if (json_)
      print_json();
    else
      print_text();
    return kOk;
  }

 private:
  void open() {
    checkpoint_.emplace(model::Checkpoint::open(path_));
    checkpoint_->check_finite();
    tokenizer_ = tokenizer_of(path_, *checkpoint_);
    constexpr uint64_t kLongest = uint64_t{1} << 30;
    scored_ = model::read_text(text_, kLongest);
    if (scored_.size() > static_cast<size_t>(limit_)) scored_.resize(static_cast<size_t>(limit_));
    if (scored_.empty()) throw UsageError("--text " + text_ + " is empty; allowed: a text of at least one byte");
    constexpr int64_t kUsualWindow = 2048;
    options_.context = std::min(kUsualWindow, checkpoint_->config().max_positions);
    ids_ = tokenizer_->encode(prompt_);
    if (ids_.empty()) throw UsageError("--prompt gives no tokens; allowed: a text of at least one");
  }

  std::string base_name() const { return model::scheme_name(checkpoint_->layers().front().o.weight.scheme); }

  size_t file_bytes() const {
    size_t sum = 0;
    for (const model::TensorEntry& tensor : checkpoint_->tensors().tensors()) sum += tensor.bytes.size();
    return sum;
  }

  Row measure_rounded(const std::string& format) {
    try {
      const model::RoundedWeights rounded(*checkpoint_, format);
      return measure(format, rounded.choice(), rounded.bytes());
    } catch (const Error& e) {
      if (e.status() != SPF_UNSUPPORTED && e.status() != SPF_NOT_BUILT && e.status() != SPF_INVALID_SHAPE) throw;
      Row row;
      row.format = format;
      row.refusal = e.what();
      return row;
    }
  }

  Row measure(const std::string& format, const model::WeightChoice& weight, size_t bytes) {
    Row row;
    row.format = format;
    row.bytes = bytes;
    model::RunnerOptions options = options_;
    options.weight = weight;
    model::Runner runner(*checkpoint_, options);
    const model::LinearPlan& largest =
        *std::max_element(runner.plan().linears.begin(), runner.plan().linears.end() - 1,
                          [](const auto& a, const auto& b) { return a.packed_bytes < b.packed_bytes; });
    row.kernel = largest.decode_kernel +
                 (largest.prefill_kernel == largest.decode_kernel ? "" : ", prefill " + largest.prefill_kernel);
    generate(runner, &row);
    row.quality = model::perplexity(runner, *tokenizer_, scored_, options.context);
    compare(rows_.empty() ? row.quality : rows_.front().quality, &row);
    return row;
  }

  // Text, and both rates: the better of two runs, as the first one warms up.
  void generate(model::Runner& runner, Row* row) const {
    const size_t room = static_cast<size_t>(runner.plan().context) - 1;
    const std::string long_text = scored_.substr(0, room);
    std::vector<int32_t> long_prompt = tokenizer_->encode(long_text);
    long_prompt.resize(std::min(long_prompt.size(), room));
    for (int pass = 0; pass < 2; ++pass) {
      runner.clear(0);
      auto start = Clock::now();
      runner.prefill(0, long_prompt);
      row->prefill_rate = std::max(row->prefill_rate, static_cast<double>(long_prompt.size()) / seconds_since(start));
      runner.clear(0);
      model::StreamDecoder decoder(*tokenizer_);
      row->text.clear();
      int32_t next = runner.prefill(0, ids_);
      start = Clock::now();
      const int64_t most = std::min(max_tokens_, static_cast<int64_t>(room - ids_.size()));
      for (int64_t i = 0; i < most; ++i) {
        row->text += decoder.push(next);
        next = runner.step({&next, 1})[0];
      }
      row->decode_rate = std::max(row->decode_rate, static_cast<double>(most) / seconds_since(start));
      row->text += decoder.finish();
    }
  }

  void write_svg() const {
    std::vector<PlotPoint> points;
    for (const Row& row : rows_)
      if (row.refusal.empty()) points.push_back({static_cast<double>(row.bytes) / 1e6, 100 * row.loss, row.format});
    const std::filesystem::path path(svg_);
    if (path.has_parent_path()) std::filesystem::create_directories(path.parent_path());
    const std::filesystem::path part = svg_ + ".part";
    {
      std::ofstream out(part);
      out << scatter_svg(fmt::format("{}: quality against size of {} weight formats", path_, points.size()),
                         "weights, MB", fmt::format("loss of bits per byte against {}, %", base_name()), points);
      if (!out.flush()) throw CommandError("cannot write " + part.string());
    }
    std::filesystem::rename(part, path);
  }

  void print_text() const {
    for (const Row& row : rows_)
      if (row.refusal.empty())
        fmt::print("{}  {}{}\n\n", paint(Colour::kBold, row.format), paint(Colour::kDim, prompt_), row.text);
    Table table({{"format"},
                 {"MB", true},
                 {"bits/byte", true},
                 {"loss %", true},
                 {"+-", true},
                 {"decode tok/s", true},
                 {"prefill tok/s", true},
                 {"kernel"}});
    for (const Row& row : rows_) {
      if (!row.refusal.empty()) {
        table.add({row.format, "", "", "", "", "", "", {"none", Colour::kBad}});
        continue;
      }
      table.add({row.format, fmt::format("{:.2f}", static_cast<double>(row.bytes) / 1e6),
                 fmt::format("{:.4f}", row.quality.bits_per_byte), fmt::format("{:.2f}", 100 * row.loss),
                 fmt::format("{:.2f}", 100 * row.loss_error), fmt::format("{:.0f}", row.decode_rate),
                 fmt::format("{:.0f}", row.prefill_rate), row.kernel});
    }
    const model::Perplexity& base = rows_.front().quality;
    fmt::print("{}\n", table.text());
    fmt::print(
        "bits/byte over {} bytes of {}, standard error {:.4f}; loss against {}, and its standard error. MB: all "
        "weights.\n",
        base.bytes, text_, base.standard_error, base_name());
    if (!svg_.empty()) fmt::print("Quality against size: {}\n", svg_);
    std::fflush(stdout);
    for (const Row& row : rows_)
      if (!row.refusal.empty()) fmt::print(stderr, "spearfish: {}: {}\n", row.format, row.refusal);
  }

  void print_json() const {
    Json out = {{"model", path_},
                {"device", device_},
                {"text", text_},
                {"allow_8bit_activation", allow_8bit_},
                {"bytes", rows_.front().quality.bytes}};
    for (const Row& row : rows_) {
      if (!row.refusal.empty()) {
        out["rows"].push_back({{"format", row.format}, {"kernel", nullptr}, {"reason", row.refusal}});
        continue;
      }
      out["rows"].push_back({{"format", row.format},
                             {"bytes", row.bytes},
                             {"bits_per_byte", row.quality.bits_per_byte},
                             {"standard_error", row.quality.standard_error},
                             {"loss", row.loss},
                             {"loss_standard_error", row.loss_error},
                             {"decode_tokens_per_second", row.decode_rate},
                             {"prefill_tokens_per_second", row.prefill_rate},
                             {"kernel", row.kernel},
                             {"text", row.text}});
    }
    fmt::print("{}\n", out.dump(2, ' ', false, Json::error_handler_t::replace));
  }

  std::string path_, text_, prompt_ = "It was a ", device_ = "cpu", svg_;
  std::vector<std::string> formats_;
  int64_t limit_ = 16384, max_tokens_ = 120;
  bool allow_8bit_ = false, json_ = false;

  model::RunnerOptions options_;
  std::optional<model::Checkpoint> checkpoint_;
  std::unique_ptr<model::Tokenizer> tokenizer_;
  std::string scored_;
  std::vector<int32_t> ids_;
  std::vector<Row> rows_;
};

} // namespace

std::unique_ptr<Command> make_compare_command() { return std::make_unique<CompareCommand>(); }

} // namespace spearfish::cli
