// Strict reading of TOML tables: every key must be known, every value of the right kind, every complaint names file,
// line, row and what would have been accepted.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace spf::kernelgen {
[[noreturn]] inline void malformed_toml() { throw std::runtime_error("a malformed key or value"); }
} // namespace spf::kernelgen

// toml++ 3.3 takes some malformed keys for impossible: an assertion, or with NDEBUG an assumption that the compiler
// builds on. Found by fuzzing ("[[*" is enough). Here they are errors like any other.
#pragma push_macro("NDEBUG")
#undef NDEBUG
#define TOML_ASSERT(expr) ((expr) ? static_cast<void>(0) : spf::kernelgen::malformed_toml())
#define TOML_ENABLE_FORMATTERS 0
#include <toml++/toml.h>
#pragma pop_macro("NDEBUG")

namespace spf::kernelgen {

// Complaints about the input, in the order found.
class Diagnostics {
 public:
  void add(const std::string& file, int line, const std::string& text) {
    messages_.push_back(line > 0 ? file + ":" + std::to_string(line) + ": " + text : file + ": " + text);
  }
  void add(const std::string& text) { messages_.push_back(text); }
  bool empty() const { return messages_.empty(); }
  const std::vector<std::string>& messages() const { return messages_; }

 private:
  std::vector<std::string> messages_;
};

// One table of a file, with the words that name it in messages, e.g. `kernel "sm75_rows"`.
class Reader {
 public:
  Reader(const toml::table& table, std::string file, std::string label, Diagnostics& diagnostics)
      : table_(table), file_(std::move(file)), label_(std::move(label)), diagnostics_(diagnostics) {}

  // Refuses keys that are not in the list, with the nearest one.
  void allow(std::initializer_list<std::string_view> keys);

  bool has(std::string_view key) const { return table_.contains(key); }
  std::string string(std::string_view key, std::optional<std::string> fallback = std::nullopt);
  int64_t integer(std::string_view key, std::optional<int64_t> fallback = std::nullopt);
  int64_t integer_in(std::string_view key, int64_t min, int64_t max); // required
  double number(std::string_view key, std::optional<double> fallback = std::nullopt);
  bool boolean(std::string_view key, std::optional<bool> fallback = std::nullopt);
  std::vector<std::string> strings(std::string_view key);

  // Sub-tables of an array of tables ([[key]]); empty if the key is absent.
  std::vector<const toml::table*> tables(std::string_view key);
  const toml::table* table(std::string_view key);

  // Entries of the table itself in the order in which they are written.
  static std::vector<std::pair<std::string, const toml::node*>> in_order(const toml::table& table);

  void complain(const std::string& text, const toml::node* at = nullptr);
  void complain_at(std::string_view key, const std::string& text) { complain(text, table_.get(key)); }

  const toml::table& raw() const { return table_; }
  const std::string& file() const { return file_; }
  const std::string& label() const { return label_; }
  void relabel(std::string label) { label_ = std::move(label); }
  int line() const { return static_cast<int>(table_.source().begin.line); }
  Diagnostics& diagnostics() { return diagnostics_; }

 private:
  const toml::node* find(std::string_view key, bool required);

  const toml::table& table_;
  std::string file_, label_;
  Diagnostics& diagnostics_;
};

// Parses a file's text; complains and returns nothing if it is not TOML.
std::optional<toml::table> parse_toml(const std::string& text, const std::string& file, Diagnostics& diagnostics);

// "a, b, c"
template <class Strings>
std::string joined(const Strings& strings) {
  std::string out;
  for (const auto& s : strings) out += (out.empty() ? "" : ", ") + std::string(s);
  return out;
}

// '"x" is not known; did you mean "y"? known: ...'
std::string unknown_name(std::string_view what, std::string_view name, const std::vector<std::string>& known);

} // namespace spf::kernelgen
