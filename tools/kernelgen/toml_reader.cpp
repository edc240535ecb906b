#include "toml_reader.hpp"

#include <algorithm>

#include "arch/suggest.hpp"

namespace spf::kernelgen {
namespace {

bool written_before(const toml::source_position& a, const toml::source_position& b) {
  return a.line != b.line ? a.line < b.line : a.column < b.column;
}

} // namespace

std::string unknown_name(std::string_view what, std::string_view name, const std::vector<std::string>& known) {
  std::string out = std::string(what) + " \"" + std::string(name.substr(0, 60)) + "\" is not known";
  if (const std::string near = arch::nearest(name, known); !near.empty()) out += "; did you mean \"" + near + "\"?";
  return out + (known.empty() ? "; there is none" : "; known: " + joined(known));
}

void Reader::complain(const std::string& text, const toml::node* at) {
  const auto line = at ? at->source().begin.line : table_.source().begin.line;
  diagnostics_.add(file_, static_cast<int>(line), label_.empty() ? text : label_ + ": " + text);
}

void Reader::allow(std::initializer_list<std::string_view> keys) {
  const std::vector<std::string> known(keys.begin(), keys.end());
  for (const auto& [key, node] : in_order(table_))
    if (std::ranges::find(known, key) == known.end()) complain(unknown_name("key", key, known), node);
}

const toml::node* Reader::find(std::string_view key, bool required) {
  const toml::node* node = table_.get(key);
  if (!node && required) complain("lacks the key \"" + std::string(key) + "\"");
  return node;
}

std::string Reader::string(std::string_view key, std::optional<std::string> fallback) {
  const toml::node* node = find(key, !fallback);
  if (!node) return fallback.value_or("");
  if (const auto value = node->value_exact<std::string>()) return *value;
  complain("\"" + std::string(key) + "\" must be a string", node);
  return fallback.value_or("");
}

int64_t Reader::integer(std::string_view key, std::optional<int64_t> fallback) {
  const toml::node* node = find(key, !fallback);
  if (!node) return fallback.value_or(0);
  if (const auto value = node->value_exact<int64_t>()) return *value;
  complain("\"" + std::string(key) + "\" must be an integer", node);
  return fallback.value_or(0);
}

int64_t Reader::integer_in(std::string_view key, int64_t min, int64_t max) {
  const int64_t value = integer(key);
  if (value >= min && value <= max) return value;
  if (has(key))
    complain_at(key, "\"" + std::string(key) + "\" must lie in " + std::to_string(min) + " to " + std::to_string(max));
  return min;
}

double Reader::number(std::string_view key, std::optional<double> fallback) {
  const toml::node* node = find(key, !fallback);
  if (!node) return fallback.value_or(0);
  if (const auto value = node->value_exact<double>()) return *value;
  if (const auto value = node->value_exact<int64_t>()) return static_cast<double>(*value);
  if (const auto value = node->value_exact<bool>()) return *value ? 1 : 0;
  complain("\"" + std::string(key) + "\" must be a number", node);
  return fallback.value_or(0);
}

bool Reader::boolean(std::string_view key, std::optional<bool> fallback) {
  const toml::node* node = find(key, !fallback);
  if (!node) return fallback.value_or(false);
  if (const auto value = node->value_exact<bool>()) return *value;
  complain("\"" + std::string(key) + "\" must be true or false", node);
  return fallback.value_or(false);
}

std::vector<std::string> Reader::strings(std::string_view key) {
  std::vector<std::string> out;
  const toml::node* node = table_.get(key);
  if (!node) return out;
  const toml::array* array = node->as_array();
  if (!array) {
    complain("\"" + std::string(key) + "\" must be a list of strings", node);
    return out;
  }
  for (const toml::node& element : *array) {
    if (const auto value = element.value_exact<std::string>())
      out.push_back(*value);
    else
      complain("\"" + std::string(key) + "\" must be a list of strings", &element);
  }
  return out;
}

std::vector<const toml::table*> Reader::tables(std::string_view key) {
  std::vector<const toml::table*> out;
  const toml::node* node = table_.get(key);
  if (!node) return out;
  const toml::array* array = node->as_array();
  if (!array) {
    complain("\"" + std::string(key) + "\" must be an array of tables", node);
    return out;
  }
  for (const toml::node& element : *array) {
    if (const toml::table* t = element.as_table())
      out.push_back(t);
    else
      complain("\"" + std::string(key) + "\" must be an array of tables", &element);
  }
  return out;
}

const toml::table* Reader::table(std::string_view key) {
  const toml::node* node = table_.get(key);
  if (!node) return nullptr;
  if (const toml::table* t = node->as_table()) return t;
  complain("\"" + std::string(key) + "\" must be a table", node);
  return nullptr;
}

std::vector<std::pair<std::string, const toml::node*>> Reader::in_order(const toml::table& table) {
  struct Entry {
    std::string key;
    const toml::node* node;
    toml::source_position at;
  };
  std::vector<Entry> entries;
  for (auto&& [key, node] : table) entries.push_back({std::string(key.str()), &node, key.source().begin});
  std::ranges::stable_sort(entries, [](const Entry& a, const Entry& b) { return written_before(a.at, b.at); });
  std::vector<std::pair<std::string, const toml::node*>> out;
  out.reserve(entries.size());
  for (const Entry& e : entries) out.emplace_back(e.key, e.node);
  return out;
}

namespace {

// The line of the first byte outside ASCII and outside comments; 0 if there is none. toml++ 3.3 runs into undefined
// behaviour on some letters in bare keys, so none but those of comments reach it.
int line_of_foreign_byte(const std::string& text) {
  int line = 1;
  char quote = 0;
  bool comment = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '\n') {
      ++line;
      quote = 0;
      comment = false;
    } else if (comment) {
      continue;
    } else if (static_cast<unsigned char>(c) >= 0x80) {
      return line;
    } else if (quote != 0) {
      if (c == '\\' && quote == '"' && i + 1 < text.size() && text[i + 1] != '\n') ++i;
      if (c == quote) quote = 0;
    } else if (c == '"' || c == '\'') {
      quote = c;
    } else if (c == '#') {
      comment = true;
    }
  }
  return 0;
}

} // namespace

std::optional<toml::table> parse_toml(const std::string& text, const std::string& file, Diagnostics& diagnostics) {
  if (const int line = line_of_foreign_byte(text); line != 0) {
    diagnostics.add(file, line, "keys and values are ASCII; only comments may hold other letters");
    return std::nullopt;
  }
  try {
    return toml::parse(text, file);
  } catch (const toml::parse_error& e) {
    diagnostics.add(file, static_cast<int>(e.source().begin.line), "not TOML: " + std::string(e.description()));
  } catch (const std::runtime_error& e) {
    diagnostics.add(file, 0, std::string("not TOML: ") + e.what());
  }
  return std::nullopt;
}

} // namespace spf::kernelgen
