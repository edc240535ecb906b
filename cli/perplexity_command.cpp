// `spearfish perplexity`: bits per byte that a model gives to a text.
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "command.hpp"
#include "model/error.hpp"
#include "model/perplexity.hpp"
#include "model_options.hpp"
#include "numbers.hpp"
#include "terminal.hpp"

namespace spearfish::cli {
namespace {

using Json = nlohmann::ordered_json;

class PerplexityCommand final : public Command {
 public:
  void define(CLI::App& app) override {
    model_.define(app);
    app.add_option("--text", text_, "The text to score")->type_name("FILE")->required();
    app.add_option("--window", window_,
                   "Tokens of a window; windows advance by half of it (default: the model's context, at most 4096)")
        ->check(whole_number(2, 1 << 20));
    app.add_option("--limit", limit_, "Score only the first BYTES of the text")
        ->type_name("BYTES")
        ->check(whole_number(1));
    app.add_flag("--json", json_, "JSON instead of text");
    app.footer(std::string(kModelExitCodes) +
               "Example: spearfish perplexity models/sample --text models/sample/held_out.txt --limit 20000\n");
  }

  int run() override {
    model_.open();
    constexpr uint64_t kLongest = uint64_t{1} << 30;
    std::string text = model::read_text(text_, kLongest);
    if (limit_ > 0 && text.size() > static_cast<size_t>(limit_)) text.resize(static_cast<size_t>(limit_));
    if (text.empty()) throw UsageError("--text " + text_ + " is empty; allowed: a text of at least one byte");
    const auto tokenizer = model_.tokenizer();
    model::RunnerOptions options = model_.runner_options();
    constexpr int64_t kUsualWindow = 4096;
    options.context = window_ != 0 ? window_ : std::min(kUsualWindow, model_.checkpoint().config().max_positions);
    model::Runner runner(model_.checkpoint(), options);
    model::Perplexity result;
    {
      Progress progress(text.size());
      result = model::perplexity(runner, *tokenizer, text, options.context, [&](int64_t done, int64_t all) {
        progress.show(text.size() * static_cast<size_t>(done) / static_cast<size_t>(all), "bytes");
      });
    }
    const double rate = static_cast<double>(result.tokens) / result.seconds;
    if (json_) {
      const Json out = {{"model", model_.path},
                        {"text", text_},
                        {"device", model_.device_name},
                        {"bits_per_byte", result.bits_per_byte},
                        {"standard_error", result.standard_error},
                        {"bytes", result.bytes},
                        {"tokens", result.tokens},
                        {"window", options.context},
                        {"seconds", result.seconds},
                        {"layers", layers_json(runner.plan())}};
      fmt::print("{}\n", out.dump(2));
      return kOk;
    }
    fmt::print("{:.4f} bits per byte (standard error {:.4f})\n", result.bits_per_byte, result.standard_error);
    fmt::print("{} bytes, {} tokens, windows of {}, {:.1f} s, {:.0f} tokens/s scored\n\n", result.bytes, result.tokens,
               options.context, result.seconds, rate);
    fmt::print("{}", layers_table(runner.plan()));
    return kOk;
  }

 private:
  ModelOptions model_;
  std::string text_;
  int64_t window_ = 0, limit_ = 0;
  bool json_ = false;
};

} // namespace

std::unique_ptr<Command> make_perplexity_command() { return std::make_unique<PerplexityCommand>(); }

} // namespace spearfish::cli
