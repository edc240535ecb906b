#include "model/pretokenize.hpp"

#include "model/unicode.hpp"

namespace spearfish::model {
namespace {

constexpr std::string_view kGpt2Expression =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
constexpr std::string_view kCl100kExpression =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kQwen2Expression =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

bool is_line_end(uint32_t code) { return code == '\r' || code == '\n'; }
bool is_other(uint32_t code) { return !is_space(code) && !is_letter(code) && !is_number(code); }

// A text from one position on, read a character at a time.
class Cursor {
 public:
  Cursor(std::string_view text, size_t at) : text_(text), at_(at) {}
  bool end() const { return at_ >= text_.size(); }
  uint32_t code() const { return utf8_at(text_, at_).code; }
  void next() { at_ += utf8_at(text_, at_).length; }
  size_t at() const { return at_; }

  // Passes characters while `pred`, at most `most` of them; tells how many.
  template <class Pred>
  size_t pass(Pred pred, size_t most = SIZE_MAX) {
    size_t count = 0;
    while (count < most && !end() && pred(code())) {
      next();
      ++count;
    }
    return count;
  }

 private:
  std::string_view text_;
  size_t at_;
};

// Lower-case letter of an ASCII letter or of the long s, which case folding makes an s; else the code itself.
uint32_t folded(uint32_t code) {
  if (code == 0x17f) return 's';
  return code - 'A' < 26 ? code | 0x20 : code;
}

// Length of 's 't 're 've 'm 'll 'd at a position, or 0.
size_t contraction(std::string_view text, size_t position, bool any_case) {
  Cursor c(text, position);
  if (c.end() || c.code() != '\'') return 0;
  c.next();
  if (c.end()) return 0;
  const auto letter = [&] { return any_case ? folded(c.code()) : c.code(); };
  const uint32_t first = letter();
  c.next();
  if (first == 's' || first == 't' || first == 'm' || first == 'd') return c.at() - position;
  const uint32_t wanted = first == 'r' || first == 'v' ? 'e' : first == 'l' ? 'l' : 0;
  if (wanted == 0 || c.end() || letter() != wanted) return 0;
  c.next();
  return c.at() - position;
}

// \s+(?!\S)|\s+ : a run of blanks, without its last one if something follows that is not blank.
size_t blanks(std::string_view text, size_t position) {
  Cursor c(text, position);
  size_t last = position, count = 0;
  while (!c.end() && is_space(c.code())) {
    last = c.at();
    c.next();
    ++count;
  }
  return (c.end() || count == 1 ? c.at() : last) - position;
}

size_t gpt2(std::string_view text, size_t position) {
  if (const size_t length = contraction(text, position, false)) return length;
  Cursor c(text, position);
  if (c.code() == ' ') c.next();
  if (c.pass(is_letter) || c.pass(is_number) || c.pass(is_other)) return c.at() - position;
  return blanks(text, position);
}

size_t cl100k(std::string_view text, size_t position, size_t most_digits) {
  if (const size_t length = contraction(text, position, true)) return length;
  {
    Cursor c(text, position);
    const uint32_t first = c.code();
    if (!is_letter(first) && !is_number(first) && !is_line_end(first)) c.next();
    if (c.pass(is_letter)) return c.at() - position;
  }
  {
    Cursor c(text, position);
    if (c.pass(is_number, most_digits)) return c.at() - position;
  }
  {
    Cursor c(text, position);
    if (c.code() == ' ') c.next();
    if (c.pass(is_other)) {
      c.pass(is_line_end);
      return c.at() - position;
    }
  }
  Cursor c(text, position);
  size_t past_line_end = 0;
  while (!c.end() && is_space(c.code())) {
    const bool line_end = is_line_end(c.code());
    c.next();
    if (line_end) past_line_end = c.at();
  }
  return past_line_end != 0 ? past_line_end - position : blanks(text, position);
}

} // namespace

std::optional<SplitRule> split_rule_of(std::string_view expression) {
  if (expression == kGpt2Expression) return SplitRule::kGpt2;
  if (expression == kCl100kExpression) return SplitRule::kCl100k;
  if (expression == kQwen2Expression) return SplitRule::kQwen2;
  return std::nullopt;
}

size_t next_piece(SplitRule rule, std::string_view text, size_t position) {
  if (rule == SplitRule::kGpt2) return gpt2(text, position);
  return cl100k(text, position, rule == SplitRule::kQwen2 ? 1 : 3);
}

} // namespace spearfish::model
