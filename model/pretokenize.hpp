// Pre-tokenizers: where a text is cut before tokens are merged.
#pragma once

#include <functional>
#include <optional>
#include <string_view>

namespace spearfish::model {

// Splitting expressions that published tokenizers use, each a scanner written by hand.
enum class SplitRule {
  kGpt2,   // letters, numbers, others, each with one space before; English contractions
  kCl100k, // Llama-3: contractions in any case, one other character before letters, numbers by three, line ends apart
  kQwen2   // as Llama-3, numbers one by one
};

// The rule of a regular expression as tokenizer.json spells it; nothing if it is not one of them.
std::optional<SplitRule> split_rule_of(std::string_view expression);

// Bytes of the piece that starts at `position` (< text.size()). Pieces follow each other without gaps.
size_t next_piece(SplitRule rule, std::string_view text, size_t position);

} // namespace spearfish::model
