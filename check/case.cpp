#include "check/case.hpp"

#include <algorithm>
#include <cstdio>
#include <functional>
#include <string_view>

#include <toml++/toml.h>

#include "check/op.hpp"
#include "check/status.hpp"

namespace spf::check {
namespace {

std::string number_text(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%g", value);
  return text;
}

// One [[case]] row while it is read.
class Row {
 public:
  Row(const toml::table& table, const std::string& where) : table_(table), where_(where) {}

  std::vector<Case> cases() {
    check_keys();
    std::vector<Case> out(1);
    multiply(out, "op", [this](Case& c, const toml::node& n) { c.op = text(n, "op"); });
    multiply_table(out, "types",
                   [this](Case& c, const std::string& k, const toml::node& n) { c.types[k] = text(n, k); });
    multiply_table(out, "dims", [this](Case& c, const std::string& k, const toml::node& n) { dim(c, k, n); });
    multiply_table(out, "params",
                   [this](Case& c, const std::string& k, const toml::node& n) { c.params[k] = number(n, k); });
    multiply(out, "weight", [this](Case& c, const toml::node& n) { c.weight = text(n, "weight"); });
    multiply(out, "act_order", [this](Case& c, const toml::node& n) { c.act_order = flag(n, "act_order"); });
    multiply(out, "allow_activation_8bit",
             [this](Case& c, const toml::node& n) { c.allow_activation_8bit = flag(n, "allow_activation_8bit"); });
    multiply(out, "bench", [this](Case& c, const toml::node& n) { c.bench = flag(n, "bench"); });
    multiply(out, "peer", [this](Case& c, const toml::node& n) { c.peer = text(n, "peer"); });
    if (const toml::node* absent = table_.get("absent")) {
      const toml::array* list = absent->as_array();
      if (list == nullptr) bad("absent", "a list of operand names");
      for (Case& c : out)
        for (const toml::node& name : *list) c.absent.insert(text(name, "absent"));
    }
    if (table_.get("op") == nullptr) bad("op", "the name of an op");
    return out;
  }

 private:
  [[noreturn]] void bad(const std::string& key, const std::string& allowed) const {
    throw UsageError(where_ + ": '" + key + "' must be " + allowed);
  }

  void check_keys() const {
    static constexpr const char* kKnown[] = {"op",     "types", "dims", "params",    "absent",
                                             "weight", "bench", "peer", "act_order", "allow_activation_8bit"};
    for (const auto& [key, value] : table_)
      if (std::none_of(std::begin(kKnown), std::end(kKnown), [&](const char* k) { return key.str() == k; }))
        throw UsageError(where_ + ": unknown key '" + std::string(key.str()) + "'");
  }

  std::string text(const toml::node& node, const std::string& key) const {
    if (const auto* value = node.as_string()) return value->get();
    bad(key, "a string");
  }

  double number(const toml::node& node, const std::string& key) const {
    if (const auto* value = node.as_boolean()) return value->get() ? 1 : 0;
    if (const auto value = node.value<double>()) return *value;
    bad(key, "a number or a boolean");
  }

  bool flag(const toml::node& node, const std::string& key) const {
    if (const auto* value = node.as_boolean()) return value->get();
    bad(key, "true or false");
  }

  int64_t extent(const toml::node& node, const std::string& key) const {
    const auto* value = node.as_integer();
    if (value == nullptr || value->get() < 0) bad(key, "an extent of 0 or more");
    return value->get();
  }

  void dim(Case& c, const std::string& key, const toml::node& node) const {
    if (key != "*") {
      c.dims[key] = extent(node, key);
      return;
    }
    const toml::array* list = node.as_array();
    if (list == nullptr) bad(key, "a list of leading dimensions");
    c.leading.clear();
    for (const toml::node& item : *list) c.leading.push_back(extent(item, key));
  }

  // { each = [...] } -> its items; anything else stands for itself.
  static std::vector<const toml::node*> alternatives(const toml::node& node) {
    std::vector<const toml::node*> items;
    const toml::table* table = node.as_table();
    const toml::array* each = table != nullptr && table->size() == 1 ? table->get_as<toml::array>("each") : nullptr;
    if (each == nullptr) return {&node};
    for (const toml::node& item : *each) items.push_back(&item);
    return items;
  }

  static void apply(std::vector<Case>& cases, const toml::node& node,
                    const std::function<void(Case&, const toml::node&)>& set) {
    std::vector<Case> out;
    for (const Case& c : cases)
      for (const toml::node* item : alternatives(node)) {
        out.push_back(c);
        set(out.back(), *item);
      }
    cases = std::move(out);
  }

  void multiply(std::vector<Case>& cases, const char* key,
                const std::function<void(Case&, const toml::node&)>& set) const {
    if (const toml::node* node = table_.get(key)) apply(cases, *node, set);
  }

  void multiply_table(std::vector<Case>& cases, const char* key,
                      const std::function<void(Case&, const std::string&, const toml::node&)>& set) const {
    const toml::node* node = table_.get(key);
    if (node == nullptr) return;
    const toml::table* table = node->as_table();
    if (table == nullptr) bad(key, "a table");
    for (const auto& [name, value] : *table) {
      const std::string k(name.str());
      apply(cases, value, [&](Case& c, const toml::node& n) { set(c, k, n); });
    }
  }

  const toml::table& table_;
  const std::string& where_;
};

} // namespace

std::string Case::name() const {
  std::string out;
  const auto word = [&](const std::string& w) { out += (out.empty() ? "" : " ") + w; };
  for (const auto& [variable, type] : types) word(types.size() == 1 ? type : variable + "=" + type);
  std::string shape;
  for (int64_t extent : leading) shape += (shape.empty() ? "" : "x") + std::to_string(extent);
  if (!shape.empty()) word("[" + shape + "]");
  for (const auto& [symbol, extent] : dims) word(symbol + "=" + std::to_string(extent));
  if (!weight.empty()) word("weight=" + weight);
  if (act_order) word("act_order");
  if (allow_activation_8bit) word("allow_activation_8bit");
  for (const auto& [param, value] : params) word(param + "=" + number_text(value));
  for (const std::string& operand : absent) word("no_" + operand);
  return out;
}

std::vector<Case> parse_cases(std::string_view text, const std::string& source) {
  toml::table root;
  try {
    root = toml::parse(text, source);
  } catch (const toml::parse_error& error) {
    throw UsageError(source + ":" + std::to_string(error.source().begin.line) + ": " +
                     std::string(error.description()));
  }
  for (const auto& [key, value] : root)
    if (key.str() != "case") throw UsageError(source + ": unknown key '" + std::string(key.str()) + "'");
  const toml::array* rows = root.get_as<toml::array>("case");
  std::vector<Case> all;
  if (rows == nullptr) return all;
  for (const toml::node& node : *rows) {
    const std::string where = source + ":" + std::to_string(node.source().begin.line);
    const toml::table* table = node.as_table();
    if (table == nullptr) throw UsageError(where + ": 'case' must be a table");
    for (Case& c : Row(*table, where).cases()) {
      if (find_op(c.op) == nullptr) throw UsageError(where + ": no op is called '" + c.op + "'");
      all.push_back(std::move(c));
    }
  }
  return all;
}

std::vector<Case> embedded_cases(const std::vector<std::string>& names) {
  // A build of one family has the cases of all, and the ops of that one.
  std::vector<CaseFile> files;
  std::string known;
  for (int i = 0; i < kCaseFileCount; ++i) {
    if (std::none_of(ops().begin(), ops().end(), [&](const Op& op) { return op.family == kCaseFiles[i].family; }))
      continue;
    files.push_back(kCaseFiles[i]);
    known += (known.empty() ? "" : ", ") + std::string(kCaseFiles[i].family);
  }
  const auto chosen = [&](std::string_view name) { return std::find(names.begin(), names.end(), name) != names.end(); };
  for (const std::string& name : names)
    if (find_op(name) == nullptr &&
        std::none_of(files.begin(), files.end(), [&](const CaseFile& f) { return name == f.family; }))
      throw UsageError("no family or op is called '" + name + "'; families: " + known);
  std::vector<Case> all;
  for (const CaseFile& file : files) {
    const bool whole = names.empty() || chosen(file.family);
    if (!whole && std::none_of(ops().begin(), ops().end(),
                               [&](const Op& op) { return op.family == file.family && chosen(op.name); }))
      continue;
    for (Case& c : parse_cases(file.text, std::string("kernels/") + file.family + "/cases.toml"))
      if (whole || chosen(c.op)) all.push_back(std::move(c));
  }
  return all;
}

} // namespace spf::check
