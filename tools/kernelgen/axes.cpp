#include "axes.hpp"

#include <algorithm>
#include <map>

namespace spf::kernelgen {
namespace {

bool read_value(const toml::node& node, AxisValue& out) {
  if (const auto b = node.value_exact<bool>()) {
    out = {*b ? "true" : "false", *b ? 1 : 0, *b ? "true" : "false"};
    return true;
  }
  if (const auto i = node.value_exact<int64_t>()) {
    out = {std::to_string(*i), *i, std::to_string(*i)};
    return true;
  }
  if (const auto s = node.value_exact<std::string>()) {
    if (const ScalarTypeName* type = find_scalar_type(*s))
      out = {*s, type->number, type->enumerator};
    else
      out = {*s, 0, *s};
    return !s->empty() && s->find_first_of("\"\\\n;=,/") == std::string::npos;
  }
  return false;
}

constexpr const char* kValueRule = "must hold strings (no quotes, commas, slashes or '='), integers or booleans";

// Rows of a table whose lists multiply: {b = "u4", gb = [1, 2]} is two rows.
std::vector<std::vector<AxisValue>> multiply_row(Reader& reader,
                                                 const std::vector<std::pair<std::string, const toml::node*>>& cells) {
  std::vector<std::vector<AxisValue>> rows = {{}};
  for (const auto& cell : cells) {
    const std::string& name = cell.first;
    const toml::node* node = cell.second;
    std::vector<AxisValue> values;
    const auto add = [&](const toml::node& n) {
      AxisValue v;
      if (read_value(n, v))
        values.push_back(std::move(v));
      else
        reader.complain("\"" + name + "\" " + kValueRule, &n);
    };
    if (const toml::array* list = node->as_array())
      for (const toml::node& n : *list) add(n);
    else
      add(*node);
    std::vector<std::vector<AxisValue>> next;
    for (const auto& row : rows)
      for (const AxisValue& v : values) {
        if (static_cast<int64_t>(next.size()) > kMaxCombinations) break;
        next.push_back(row);
        next.back().push_back(v);
      }
    rows = std::move(next);
  }
  return rows;
}

bool compare(Condition::Op op, const AxisValue& a, const AxisValue& b) {
  switch (op) {
    case Condition::Op::kIn:
    case Condition::Op::kEqual:
      return a.text == b.text;
    case Condition::Op::kNotEqual:
      return a.text != b.text;
    case Condition::Op::kLess:
      return a.number < b.number;
    case Condition::Op::kLessEqual:
      return a.number <= b.number;
    case Condition::Op::kGreater:
      return a.number > b.number;
    case Condition::Op::kGreaterEqual:
      return a.number >= b.number;
  }
  return false;
}

const AxisValue* find(const std::vector<std::string>& names, const std::vector<AxisValue>& values,
                      const std::string& axis) {
  for (size_t i = 0; i < names.size(); ++i)
    if (names[i] == axis) return &values[i];
  return nullptr;
}

bool holds(const Condition& c, const std::vector<std::string>& names, const std::vector<AxisValue>& values) {
  const AxisValue* v = find(names, values, c.axis);
  if (!v) return false;
  if (!c.other.empty()) {
    const AxisValue* other = find(names, values, c.other);
    return other && compare(c.op, *v, *other);
  }
  return std::ranges::any_of(c.values, [&](const AxisValue& want) { return compare(c.op, *v, want); });
}

bool skipped(const Kernel& kernel, const arch::ArchTable& table, arch::Target code,
             const std::vector<std::string>& names, const std::vector<AxisValue>& values) {
  return std::ranges::any_of(kernel.skips, [&](const SkipRule& rule) {
    return rule.where.matches(table, code) &&
           std::ranges::all_of(rule.when, [&](const Condition& c) { return holds(c, names, values); });
  });
}

std::vector<AxisEntry> axes_on(const Kernel& kernel, const arch::ArchTable& table, arch::Target code) {
  std::vector<AxisEntry> axes = kernel.axes;
  for (const TargetAxes& rule : kernel.target_axes) {
    if (!rule.where.matches(table, code)) continue;
    for (const AxisEntry& replacement : rule.axes)
      for (AxisEntry& entry : axes)
        if (entry.key == replacement.key) entry = replacement;
  }
  return axes;
}

void saturating_multiply(int64_t& product, size_t factor) {
  product = product > kMaxCombinations ? product
                                       : product * static_cast<int64_t>(std::min<size_t>(factor, kMaxCombinations + 1));
}

} // namespace

bool Selector::matches(const arch::ArchTable& table, arch::Target code) const {
  const auto listed = [&](const std::vector<arch::Target>& list) {
    return std::ranges::any_of(list, [&](const arch::Target& t) {
      return t.kind == code.kind && t.major == code.major && t.minor == code.minor &&
             (t.suffix == arch::Suffix::kNone || t.suffix == code.suffix);
    });
  };
  if (!targets.empty() && !listed(targets)) return false;
  if (!except.empty() && listed(except)) return false;
  if (lacking.empty()) return true;
  const arch::ArchRow* row = arch::find_row(table, code);
  return !row ||
         std::ranges::any_of(lacking, [&](const std::string& f) { return !arch::has_feature(*row, code.suffix, f); });
}

std::vector<AxisEntry> read_axes(Reader& reader) {
  std::vector<AxisEntry> out;
  for (const auto& [key, node] : Reader::in_order(reader.raw())) {
    const toml::array* list = node->as_array();
    if (!list || list->empty()) {
      reader.complain("\"" + key + "\" must be a list of at least one value", node);
      continue;
    }
    AxisEntry entry{key, {}, {}};
    for (const toml::node& element : *list) {
      std::vector<std::string> names;
      if (const toml::table* row = element.as_table()) {
        const auto cells = Reader::in_order(*row);
        for (const auto& cell : cells) names.push_back(cell.first);
        for (auto& choice : multiply_row(reader, cells)) entry.choices.push_back(std::move(choice));
      } else {
        names = {key};
        AxisValue v;
        if (read_value(element, v))
          entry.choices.push_back({std::move(v)});
        else
          reader.complain("\"" + key + "\" " + kValueRule, &element);
      }
      if (entry.names.empty()) entry.names = names;
      if (names != entry.names || names.empty()) {
        reader.complain("every row of \"" + key + "\" must set the same axes in the same order", &element);
        entry.choices.clear();
        break;
      }
    }
    for (size_t i = 0; i < entry.choices.size(); ++i)
      if (std::find(entry.choices.begin(), entry.choices.begin() + static_cast<std::ptrdiff_t>(i), entry.choices[i]) !=
          entry.choices.begin() + static_cast<std::ptrdiff_t>(i)) {
        reader.complain("\"" + key + "\" holds the same choice twice", node);
        break;
      }
    if (!entry.choices.empty()) out.push_back(std::move(entry));
  }
  return out;
}

std::vector<Condition> read_conditions(Reader& reader, const std::vector<std::string>& axes) {
  static const std::pair<const char*, Condition::Op> kOperators[] = {
      {"==", Condition::Op::kEqual},        {"!=", Condition::Op::kNotEqual}, {"<=", Condition::Op::kLessEqual},
      {">=", Condition::Op::kGreaterEqual}, {"<", Condition::Op::kLess},      {">", Condition::Op::kGreater}};
  std::vector<Condition> out;
  for (const auto& [axis, node] : Reader::in_order(reader.raw())) {
    if (std::ranges::find(axes, axis) == axes.end()) {
      reader.complain(unknown_name("axis", axis, axes), node);
      continue;
    }
    Condition c;
    c.axis = axis;
    bool good = true;
    const auto add = [&](const toml::node& n) {
      AxisValue v;
      good &= read_value(n, v);
      c.values.push_back(std::move(v));
    };
    const auto text = node->value_exact<std::string>();
    const auto* op = text ? std::ranges::find_if(kOperators, [&](const auto& o) { return text->starts_with(o.first); })
                          : std::end(kOperators);
    if (const toml::array* list = node->as_array()) {
      for (const toml::node& n : *list) add(n);
      good &= !list->empty();
    } else if (op != std::end(kOperators)) {
      c.op = op->second;
      std::string operand = text->substr(std::string(op->first).size());
      operand.erase(0, operand.find_first_not_of(' '));
      const bool integer =
          !operand.empty() && operand.find_first_not_of("-0123456789") == std::string::npos && operand.size() < 18;
      if (std::ranges::find(axes, operand) != axes.end()) {
        c.other = operand;
      } else if (integer && operand.find('-', 1) == std::string::npos && operand != "-") {
        c.values.push_back({operand, std::stoll(operand), operand});
      } else if (c.op == Condition::Op::kEqual || c.op == Condition::Op::kNotEqual) {
        c.values.push_back({operand, 0, operand});
      } else {
        good = false;
      }
    } else {
      add(*node);
    }
    if (good)
      out.push_back(std::move(c));
    else
      reader.complain(
          "\"" + axis + "\" must be a value, a list of values, or a comparison such as \"> 4\" or \"!= other_axis\"",
          node);
  }
  return out;
}

std::string Instance::name() const {
  std::string out;
  for (size_t i = 0; i < axes.size(); ++i) out += (i ? "," : "") + axes[i] + "=" + values[i].text;
  return out;
}

int64_t count_combinations(const Kernel& kernel) {
  int64_t most = 1;
  for (const AxisEntry& e : kernel.axes) {
    size_t choices = e.choices.size();
    for (const TargetAxes& rule : kernel.target_axes)
      for (const AxisEntry& r : rule.axes)
        if (r.key == e.key) choices = std::max(choices, r.choices.size());
    saturating_multiply(most, choices);
  }
  return most;
}

std::vector<Instance> expand(const Kernel& kernel, const arch::ArchTable& table,
                             const std::vector<arch::Target>& code) {
  std::vector<std::string> names;
  for (const AxisEntry& e : kernel.axes) names.insert(names.end(), e.names.begin(), e.names.end());
  std::vector<Instance> out;
  std::map<std::vector<std::string>, size_t> seen; // value texts -> position in out
  for (size_t c = 0; c < code.size(); ++c) {
    const std::vector<AxisEntry> axes = axes_on(kernel, table, code[c]);
    std::vector<size_t> at(axes.size(), 0);
    while (true) {
      std::vector<AxisValue> values;
      std::vector<std::string> key;
      for (size_t i = 0; i < axes.size(); ++i)
        for (const AxisValue& v : axes[i].choices[at[i]]) {
          values.push_back(v);
          key.push_back(v.text);
        }
      if (!skipped(kernel, table, code[c], names, values)) {
        const auto [it, fresh] = seen.try_emplace(std::move(key), out.size());
        if (fresh) out.push_back({names, std::move(values), std::vector<bool>(code.size(), false)});
        out[it->second].on[c] = true;
      }
      size_t i = axes.size(); // the last axis runs fastest
      while (i > 0 && ++at[i - 1] == axes[i - 1].choices.size()) at[--i] = 0;
      if (i == 0) break;
    }
  }
  return out;
}

std::string launch_expression(const Kernel& kernel, const std::string& op, const Instance& instance) {
  std::string out;
  for (size_t i = 0; i < kernel.launch.size();) {
    const size_t end = kernel.launch[i] == '{' ? kernel.launch.find('}', i) : std::string::npos;
    if (end == std::string::npos) {
      out += kernel.launch[i++];
      continue;
    }
    const std::string name = kernel.launch.substr(i + 1, end - i - 1);
    if (name == "op") {
      out += op;
    } else if (const AxisValue* v = find(instance.axes, instance.values, name)) {
      out += v->cpp;
    }
    i = end + 1;
  }
  return out;
}

} // namespace spf::kernelgen
