// How well a model predicts a text.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string_view>
#include <vector>

#include "model/runner.hpp"
#include "model/tokenizer.hpp"

namespace spearfish::model {

struct Perplexity {
  double bits_per_byte = 0;
  double standard_error = 0;     // of bits_per_byte
  int64_t tokens = 0, bytes = 0; // scored
  double seconds = 0;
  std::vector<float> token_bits; // of each scored token, in order: for paired comparisons
};

// Scores every token of `ids` but the first, windows of `window` tokens that advance by half of that: a token has at
// least window / 2 - 1 before it where there are as many. bytes: of the text that the scored tokens stand for.
// progress(done, all), in tokens. Error (SPF_INVALID_ARGUMENT) for fewer than two ids, or a window that is not in
// 2..context.
Perplexity perplexity(Runner& runner, std::span<const int32_t> ids, int64_t bytes, int64_t window,
                      const std::function<void(int64_t, int64_t)>& progress = {});

// The same of a text: encoded with the tokenizer's begin-of-sequence id, or an id 0 before it where it has none.
Perplexity perplexity(Runner& runner, const Tokenizer& tokenizer, std::string_view text, int64_t window,
                      const std::function<void(int64_t, int64_t)>& progress = {});

} // namespace spearfish::model
