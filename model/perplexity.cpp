#include "model/perplexity.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <numbers>

#include "model/error.hpp"

namespace spearfish::model {
namespace {

// Bits that a row of logits gives to one id.
double bits(std::span<const float> logits, int32_t id) {
  const double most = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float v : logits) sum += std::exp(static_cast<double>(v) - most);
  return (std::log(sum) + most - static_cast<double>(logits[static_cast<size_t>(id)])) / std::numbers::ln2;
}

} // namespace

Perplexity perplexity(Runner& runner, std::span<const int32_t> ids, int64_t bytes, int64_t window,
                      const std::function<void(int64_t, int64_t)>& progress) {
  const int64_t context = runner.plan().context, scored = static_cast<int64_t>(ids.size()) - 1;
  if (scored < 1) throw Error(SPF_INVALID_ARGUMENT, "", "tokens", std::to_string(ids.size()), "at least 2");
  if (bytes < 1) throw Error(SPF_INVALID_ARGUMENT, "", "bytes", std::to_string(bytes), "1 or more");
  if (window < 2 || window > context)
    throw Error(SPF_INVALID_ARGUMENT, "", "window", std::to_string(window), "2 to " + std::to_string(context));
  const int64_t stride = window / 2;
  const auto start_time = std::chrono::steady_clock::now();
  Perplexity out;
  out.token_bits.reserve(static_cast<size_t>(scored));
  // The logits after ids[start + i] score ids[start + i + 1].
  for (int64_t start = 0, done = 0; done < scored; start += stride) {
    const int64_t count = std::min(window, scored - start), first = done - start;
    runner.evaluate(
        ids.subspan(static_cast<size_t>(start), static_cast<size_t>(count)), first,
        [&](int64_t at, std::span<const float> logits) {
          out.token_bits.push_back(static_cast<float>(bits(logits, ids[static_cast<size_t>(start + at + 1)])));
        });
    done = start + count;
    if (progress) progress(done, scored);
  }
  double sum = 0, squares = 0;
  for (const float b : out.token_bits) sum += static_cast<double>(b);
  const double mean = sum / static_cast<double>(scored);
  for (const float b : out.token_bits) squares += (static_cast<double>(b) - mean) * (static_cast<double>(b) - mean);
  out.tokens = scored;
  out.bytes = bytes;
  out.bits_per_byte = sum / static_cast<double>(bytes);
  // Tokens are taken as independent: of the sum, sqrt(tokens) times a token's deviation.
  out.standard_error = std::sqrt(squares) / static_cast<double>(bytes);
  out.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start_time).count();
  return out;
}

Perplexity perplexity(Runner& runner, const Tokenizer& tokenizer, std::string_view text, int64_t window,
                      const std::function<void(int64_t, int64_t)>& progress) {
  // What a tokenizer puts before an empty text is what stands before any.
  std::vector<int32_t> ids = tokenizer.encode("");
  const bool begins = !ids.empty();
  ids = tokenizer.encode(text);
  if (!begins) ids.insert(ids.begin(), 0);
  return perplexity(runner, ids, static_cast<int64_t>(text.size()), window, progress);
}

} // namespace spearfish::model
