// What an operand may hold besides any number of its type, as a manifest says it in `values`: indices, offsets,
// lengths, scales. kernelgen checks the text, docs show it, and test data are made from it. The library itself cannot
// look: the numbers lie on a device, so every op says what it does with those outside the rule.
#pragma once

#include <cstdint>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace spf {

// A product of numbers and dimension symbols, "2*NB*BS"; `rows` stands for the product of the leading dimensions.
struct ExtentProduct {
  int64_t factor = 1;
  std::vector<std::string> symbols;

  template <class ExtentOf>
  int64_t evaluate(ExtentOf&& extent_of) const {
    int64_t value = factor;
    for (const std::string& symbol : symbols) value *= static_cast<int64_t>(extent_of(symbol));
    return value;
  }
};

struct ValueRule {
  enum class Kind : uint8_t {
    kAny,
    kIndex,    // 0 <= v < high; unique: no two equal ones; or_minus_one: v outside that range means "none"
    kOffsets,  // nondecreasing, the first 0, the last high
    kRange,    // low <= v <= high
    kPadded,   // offsets of the parts that operand `of` gives offsets of, each length rounded up to a multiple of `low`
    kPositive, // finite and above 0
    kFactor,   // the same, and it multiplies results: their rows (leading dimensions), columns (N) or all of them
    kModerate, // any number; test data stay around 1, where a sum of products of two of them decides an exponential
    kMean,     // of an output: a weighted mean of up to `high` rows, or the logarithm of the weights' sum
    kExact,    // of an output: the reference's bits
    kCodes,  // of an output: codes of numbers that were computed and rounded before, each at most next to the right one
    kScales, // of an output: scales of such numbers
    kBlockScales, // finite and above 0: scales of the blocks of operand `of`, in tiles of 128 x 4
  };
  Kind kind = Kind::kAny;
  bool unique = false;
  bool or_minus_one = false;
  ExtentProduct low, high;
  std::string of;

  // Says how an output is compared, not what an input holds.
  bool of_output() const {
    return kind == Kind::kMean || kind == Kind::kExact || kind == Kind::kCodes || kind == Kind::kScales;
  }
};

// "NB*BS" -> product. False for text that is none.
inline bool parse_extent_product(std::string_view text, ExtentProduct* product) {
  *product = {};
  while (true) {
    const size_t star = text.find('*');
    const std::string_view part = text.substr(0, star);
    if (part.empty() || part.size() > 40) return false;
    const bool number = part[0] >= '0' && part[0] <= '9';
    int64_t value = 0;
    for (const char c : part) {
      const bool digit = c >= '0' && c <= '9';
      if (!digit && (number || !(c == '_' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')))) return false;
      if (number) value = value * 10 + (c - '0');
      if (value > 1'000'000'000) return false;
    }
    if (number && __builtin_mul_overflow(product->factor, value, &product->factor)) return false;
    if (!number) product->symbols.emplace_back(part);
    if (star == std::string_view::npos) return true;
    text.remove_prefix(star + 1);
  }
}

// Reads "index NB*BS", "index V or -1", "unique index NB*BS or -1", "offsets T", "range 1..MB*BS", "positive",
// "padded 128 offsets", "block scales x", "factor", "moderate", "mean MB*BS", "exact", "codes", "scales" or "". False
// for anything else.
inline bool parse_value_rule(const std::string& text, ValueRule* rule) {
  using Kind = ValueRule::Kind;
  *rule = {};
  std::vector<std::string> words;
  std::istringstream in(text);
  for (std::string word; in >> word;) words.push_back(word);
  if (words.empty()) return true;
  if (words.size() >= 2 && words[words.size() - 2] == "or" && words.back() == "-1") {
    rule->or_minus_one = true;
    words.resize(words.size() - 2);
  }
  if (!words.empty() && words[0] == "unique") {
    rule->unique = true;
    words.erase(words.begin());
  }
  if (words.empty()) return false;
  const bool index = words[0] == "index";
  if (!index && (rule->unique || rule->or_minus_one)) return false;
  constexpr std::pair<const char*, Kind> kPlainWords[] = {{"positive", Kind::kPositive}, {"factor", Kind::kFactor},
                                                          {"moderate", Kind::kModerate}, {"exact", Kind::kExact},
                                                          {"codes", Kind::kCodes},       {"scales", Kind::kScales}};
  for (const auto& [word, kind] : kPlainWords) {
    if (words[0] != word) continue;
    rule->kind = kind;
    return words.size() == 1;
  }
  if (words[0] == "padded") {
    if (words.size() != 3) return false;
    rule->kind = Kind::kPadded;
    rule->of = words[2];
    return parse_extent_product(words[1], &rule->low) && rule->low.symbols.empty() && rule->low.factor > 0;
  }
  if (words[0] == "block" && words.size() == 3 && words[1] == "scales") {
    rule->kind = Kind::kBlockScales;
    rule->of = words[2];
    return true;
  }
  if (words.size() != 2) return false;
  if (words[0] == "range") {
    rule->kind = Kind::kRange;
    const size_t dots = words[1].find("..");
    return dots != std::string::npos && parse_extent_product(words[1].substr(0, dots), &rule->low) &&
           parse_extent_product(words[1].substr(dots + 2), &rule->high);
  }
  if (!index && words[0] != "offsets" && words[0] != "mean") return false;
  rule->kind = index ? Kind::kIndex : words[0] == "mean" ? Kind::kMean : Kind::kOffsets;
  return parse_extent_product(words[1], &rule->high);
}

} // namespace spf
