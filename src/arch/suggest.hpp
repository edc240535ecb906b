// "Did you mean ...?": the nearest of a list of names.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

namespace spf::arch {

// Edits (insert, delete, replace, swap of neighbours) that turn a into b.
inline size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> before(b.size() + 1), previous(b.size() + 1), current(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) previous[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    current[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      current[j] = std::min({previous[j] + 1, current[j - 1] + 1, previous[j - 1] + (a[i - 1] != b[j - 1])});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
        current[j] = std::min(current[j], before[j - 2] + 1);
    }
    before.swap(previous);
    previous.swap(current);
  }
  return previous[b.size()];
}

// The nearest name, or "" if none is near: at most a third of the longer word, and at least one edit is always near.
template <class Names>
std::string nearest(std::string_view word, const Names& known) {
  std::string best;
  size_t best_distance = 0;
  if (word.size() > 64) return best; // no name is that long, and the distance would cost its square
  for (const auto& candidate : known) {
    const std::string_view name = candidate;
    const size_t distance = edit_distance(word, name);
    if (distance > std::max<size_t>(1, std::max(word.size(), name.size()) / 3)) continue;
    if (best.empty() || distance < best_distance) {
      best = name;
      best_distance = distance;
    }
  }
  return best;
}

} // namespace spf::arch
