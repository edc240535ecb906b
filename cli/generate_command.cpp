// `spearfish generate`: a checkpoint, a prompt, and the text after it; then what ran, how fast, and how near the limit.
#include <algorithm>
#include <chrono>
#include <cstdio>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include "command.hpp"
#include "model_options.hpp"
#include "numbers.hpp"
#include "terminal.hpp"

namespace spearfish::cli {
namespace {

using Clock = std::chrono::steady_clock;
using Json = nlohmann::ordered_json;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

// Comma-separated ids. Throws UsageError naming the one that is none.
std::vector<int32_t> parse_ids(const std::vector<std::string>& words) {
  std::vector<int32_t> ids;
  for (const std::string& word : words) {
    if (word.empty() || word.size() > 9 || word.find_first_not_of("0123456789") != std::string::npos)
      throw UsageError("--token-ids is '" + word + "'; allowed: token ids, separated by commas");
    ids.push_back(std::stoi(word));
  }
  return ids;
}

// One sequence as it grows.
struct Sequence {
  std::vector<int32_t> ids; // generated
  std::string text;
  const char* stop = "length"; // or "end": an end-of-sequence id came
  std::unique_ptr<model::StreamDecoder> decoder;
};

class GenerateCommand final : public Command {
 public:
  void define(CLI::App& app) override {
    model_.define(app);
    app.add_option("--prompt", prompt_, "The text to go on from")->type_name("TEXT");
    app.add_option("--token-ids", token_ids_, "The prompt as token ids; ids are printed instead of text")
        ->type_name("ID,...")
        ->delimiter(',');
    app.add_option("--max-tokens", max_tokens_, "Tokens to generate at most")
        ->capture_default_str()
        ->check(whole_number(1));
    app.add_option("--temperature", sampling_.temperature, "0: always the likeliest token")
        ->capture_default_str()
        ->check(number(0));
    app.add_option("--top-k", sampling_.top_k, "Draw from the k likeliest; 0: all")
        ->capture_default_str()
        ->check(whole_number(0));
    app.add_option("--top-p", sampling_.top_p, "Draw from the likeliest that make up this probability")
        ->capture_default_str()
        ->check(number(0, 1));
    app.add_option("--min-p", sampling_.min_p, "Draw from those at least this likely, relative to the likeliest")
        ->capture_default_str()
        ->check(number(0, 1));
    app.add_option("--seed", sampling_.seed, "Of the random numbers; sequence i of a batch takes seed + i")
        ->capture_default_str();
    app.add_option("--batch", batch_, "Sequences at once, all from the same prompt")
        ->capture_default_str()
        ->check(whole_number(1, 4096));
    app.add_option("--context", context_, "Positions of a sequence (default: prompt and --max-tokens)")
        ->check(whole_number(1));
    app.add_flag("--ignore-end", ignore_end_, "Go on after an end-of-sequence token");
    app.add_flag("--json", json_, "JSON instead of text");
    app.footer(std::string(kModelExitCodes) +
               "Examples: spearfish generate models/sample --prompt 'It was ' --max-tokens 200 --temperature 0.8\n"
               "          spearfish generate llama-3.1-8b-int4 --token-ids 128000,791,1917 --device cuda:0 --json\n");
  }

  int run() override {
    if (prompt_.has_value() == !token_ids_.empty())
      throw UsageError("either --prompt or --token-ids says what to go on from");
    model_.open();
    std::vector<int32_t> prompt;
    if (prompt_) {
      tokenizer_ = model_.tokenizer();
      prompt = tokenizer_->encode(*prompt_);
    } else {
      prompt = parse_ids(token_ids_);
    }
    if (prompt.empty()) throw UsageError("--prompt gives no tokens; allowed: a text of at least one");
    model::RunnerOptions options = model_.runner_options();
    options.batch = batch_;
    options.context = context_ != 0 ? context_ : static_cast<int64_t>(prompt.size()) + max_tokens_;
    model::Runner runner(model_.checkpoint(), options);
    generate(runner, prompt);
    const double limit = read_limit(options.device, runner.plan().memory.weights);
    report(runner, options, prompt, limit);
    return kOk;
  }

 private:
  void generate(model::Runner& runner, const std::vector<int32_t>& prompt) {
    sequences_.resize(static_cast<size_t>(batch_));
    std::vector<int32_t> last(sequences_.size());
    const auto prefill_start = Clock::now();
    for (size_t i = 0; i < sequences_.size(); ++i) {
      model::SamplingOptions sampling = sampling_;
      sampling.seed += i;
      if (tokenizer_) sequences_[i].decoder = std::make_unique<model::StreamDecoder>(*tokenizer_);
      runner.set_sampling(static_cast<int64_t>(i), sampling);
      last[i] = runner.prefill(static_cast<int64_t>(i), prompt);
    }
    prefill_seconds_ = seconds_since(prefill_start);
    room_ = runner.plan().context - static_cast<int64_t>(prompt.size());
    if (prompt_ && streams()) show(paint(Colour::kDim, *prompt_));
    for (size_t i = 0; i < sequences_.size(); ++i) last[i] = take(sequences_[i], last[i]);
    const auto decode_start = Clock::now();
    while (std::any_of(last.begin(), last.end(), [](int32_t id) { return id >= 0; })) {
      const std::span<const int32_t> next = runner.step(last);
      ++steps_;
      for (size_t i = 0; i < sequences_.size(); ++i) {
        if (last[i] < 0) continue;
        ++decoded_;
        last[i] = take(sequences_[i], next[i]);
      }
    }
    decode_seconds_ = seconds_since(decode_start);
    for (Sequence& s : sequences_)
      if (s.decoder) add_text(s, s.decoder->finish());
    if (streams()) show("\n");
  }

  bool streams() const { return !json_ && batch_ == 1; }

  static void show(const std::string& text) {
    std::fputs(text.c_str(), stdout);
    std::fflush(stdout);
  }

  void add_text(Sequence& sequence, const std::string& text) const {
    sequence.text += text;
    if (streams()) show(text);
  }

  // Appends a drawn id; returns it, or -1 if the sequence ends with it.
  int32_t take(Sequence& sequence, int32_t id) const {
    const std::vector<int64_t>& ends = model_.checkpoint().config().eos;
    if (!ignore_end_ && std::find(ends.begin(), ends.end(), id) != ends.end()) {
      sequence.stop = "end";
      return -1;
    }
    sequence.ids.push_back(id);
    if (sequence.decoder)
      add_text(sequence, sequence.decoder->push(id));
    else if (streams())
      show((sequence.ids.size() > 1 ? "," : "") + std::to_string(id));
    const auto count = static_cast<int64_t>(sequence.ids.size());
    return count >= max_tokens_ || count > room_ ? -1 : id;
  }

  void report(const model::Runner& runner, const model::RunnerOptions& options, const std::vector<int32_t>& prompt,
              double limit) const {
    const auto prompt_tokens = static_cast<double>(prompt.size() * sequences_.size());
    const double prefill_rate = prompt_tokens / prefill_seconds_;
    const double decode_rate = decoded_ > 0 ? static_cast<double>(decoded_) / decode_seconds_ : 0;
    const double positions = static_cast<double>(prompt.size()) + static_cast<double>(steps_) / 2;
    const double bytes = decode_bytes(model_.checkpoint(), options, runner.plan(), positions);
    const double rate = steps_ > 0 ? bytes * static_cast<double>(steps_) / decode_seconds_ : 0;
    if (json_) {
      Json out = {{"model", model_.path},
                  {"device", model_.device_name},
                  {"batch", batch_},
                  {"prompt_tokens", prompt.size()},
                  {"sequences", Json::array()},
                  {"prefill", {{"seconds", prefill_seconds_}, {"tokens_per_second", prefill_rate}}},
                  {"decode",
                   {{"tokens", decoded_},
                    {"steps", steps_},
                    {"seconds", decode_seconds_},
                    {"tokens_per_second", decode_rate},
                    {"bytes_per_step", bytes},
                    {"bytes_per_second", rate},
                    {"limit_bytes_per_second", limit},
                    {"share_of_limit", limit > 0 ? rate / limit : 0}}},
                  {"memory", memory_json(runner.plan().memory)},
                  {"peak_device_bytes", runner.memory()},
                  {"peak_process_bytes", peak_process_memory()},
                  {"layers", layers_json(runner.plan())}};
      for (const Sequence& s : sequences_) {
        Json row = {{"token_ids", s.ids}, {"stop", s.stop}};
        if (tokenizer_) row["text"] = s.text;
        out["sequences"].push_back(std::move(row));
      }
      fmt::print("{}\n", out.dump(2, ' ', false, Json::error_handler_t::replace));
      return;
    }
    if (!streams())
      for (size_t i = 0; i < sequences_.size(); ++i)
        fmt::print("[{}] {}\n", i,
                   tokenizer_ ? sequences_[i].text : fmt::format("{}", fmt::join(sequences_[i].ids, ",")));
    fmt::print("\n{}\n", layers_table(runner.plan()));
    fmt::print("prefill  {:.0f} tokens at {:.1f} tokens/s\n", prompt_tokens, prefill_rate);
    fmt::print("decode   {} tokens at {:.1f} tokens/s, {} sequence{} at once\n", decoded_, decode_rate, batch_,
               batch_ == 1 ? "" : "s");
    fmt::print("memory   {:.1f} GB/s of weights and cache, {:.0f} % of the {:.1f} GB/s that {} reads\n", rate * 1e-9,
               limit > 0 ? 100 * rate / limit : 0, limit * 1e-9, model_.device_name);
    fmt::print("peak     {} on the device, {} of the process\n", bytes_text(static_cast<double>(runner.memory())),
               bytes_text(static_cast<double>(peak_process_memory())));
  }

  ModelOptions model_;
  std::optional<std::string> prompt_;
  std::vector<std::string> token_ids_;
  model::SamplingOptions sampling_;
  int64_t max_tokens_ = 128, batch_ = 1, context_ = 0;
  bool ignore_end_ = false, json_ = false;

  std::unique_ptr<model::Tokenizer> tokenizer_;
  std::vector<Sequence> sequences_;
  int64_t steps_ = 0, decoded_ = 0;
  int64_t room_ = 0; // positions behind the prompt
  double prefill_seconds_ = 0, decode_seconds_ = 0;
};

} // namespace

std::unique_ptr<Command> make_generate_command() { return std::make_unique<GenerateCommand>(); }

} // namespace spearfish::cli
