// The near word for a mistyped one.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace spearfish::cli {

// Insertions, deletions, substitutions and swaps of neighbours that turn one word into the other, ignoring case.
int edit_distance(std::string_view a, std::string_view b);

// The candidate nearest to `word`; "" if none is near enough (a third of the longer word's letters, at least one).
// Ties go to the earlier candidate.
std::string nearest(std::string_view word, const std::vector<std::string>& candidates);

// "'wrod' is not a WHAT; did you mean 'word'?" or, with nothing near, "...; known: a, b, c".
std::string unknown_word(std::string_view what, std::string_view word, const std::vector<std::string>& candidates);

} // namespace spearfish::cli
