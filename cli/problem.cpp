#include "problem.hpp"

#include <algorithm>
#include <charconv>
#include <functional>
#include <numeric>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "command.hpp"
#include "suggest.hpp"

namespace spearfish::cli {
namespace {

std::vector<std::string> split(const std::string& text, const char* separators) {
  std::vector<std::string> out;
  size_t begin = 0;
  while ((begin = text.find_first_not_of(separators, begin)) != std::string::npos) {
    const size_t end = text.find_first_of(separators, begin);
    out.push_back(text.substr(begin, end - begin));
    if (end == std::string::npos) break;
    begin = end;
  }
  return out;
}

// "a, b, or c like d" -> its parts between commas.
std::vector<std::string> split_list(const std::string& text) {
  std::vector<std::string> out;
  for (std::string& part : split(text, ",")) {
    part.erase(0, part.find_first_not_of(' '));
    out.push_back(std::move(part));
  }
  return out;
}

int64_t parse_extent(const std::string& text, const std::string& where) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < 0)
    throw UsageError(fmt::format("'{}' in '{}' is not an extent: a whole number of 0 or more", text, where));
  return value;
}

// Splits at commas and blanks outside brackets: "*=[2,3],H=8" -> "*=[2,3]", "H=8".
std::vector<std::string> split_assignments(const std::string& text) {
  std::vector<std::string> out(1);
  int depth = 0;
  for (char c : text) {
    depth += c == '[' ? 1 : c == ']' ? -1 : 0;
    if (depth == 0 && (c == ',' || c == ' '))
      out.emplace_back();
    else
      out.back() += c;
  }
  out.erase(std::remove(out.begin(), out.end(), ""), out.end());
  return out;
}

// One dimension of a shape text: "2*D" is {2, "D"}, "H" is {1, "H"}, "8" is {8, ""}, "K/2" is {1, "K", false, 2}.
struct Dim {
  int64_t factor = 1;
  std::string symbol;
  bool padded = false; // "up128(G)": an extent rounded up to a multiple; "rows" is the product of the leading ones
  int64_t divisor = 1;
};

Dim parse_dim(const std::string& text) {
  if (text == "*") return {1, text};
  Dim dim;
  if (const size_t open = text.find('('); text.starts_with("up") && open != std::string::npos) {
    dim = parse_dim(text.substr(open + 1, text.size() - open - 2));
    return {std::stoll(text.substr(2, open - 2)), dim.symbol, true, dim.divisor};
  }
  if (const size_t slash = text.find('/'); slash != std::string::npos)
    return {1, text.substr(0, slash), false, std::stoll(text.substr(slash + 1))};
  std::string rest = text;
  if (const size_t star = text.find('*'); star != std::string::npos) {
    dim.factor = std::stoll(text.substr(0, star));
    rest = text.substr(star + 1);
  }
  if (rest.find_first_not_of("0123456789") == std::string::npos)
    dim.factor *= std::stoll(rest);
  else
    dim.symbol = rest;
  return dim;
}

} // namespace

OpInfo find_op(const std::string& name) {
  std::vector<std::string> names;
  for (OpInfo& op : ops()) {
    if (op.name == name) return std::move(op);
    names.push_back(op.name);
  }
  throw UsageError(unknown_word("op", name, names));
}

Extents parse_extents(const std::vector<std::string>& texts) {
  Extents out;
  for (const std::string& text : texts)
    for (const std::string& assignment : split_assignments(text)) {
      const size_t equals = assignment.find('=');
      if (equals == std::string::npos || equals == 0)
        throw UsageError(fmt::format("'{}' is not of the form SYMBOL=EXTENT, for example H=4096 or *=2x3", assignment));
      const std::string symbol = assignment.substr(0, equals);
      std::vector<int64_t> values;
      std::string list = assignment.substr(equals + 1); // "2x3", "[2,3]", "[2, 3]"
      if (list.size() >= 2 && list.front() == '[' && list.back() == ']') list = list.substr(1, list.size() - 2);
      for (size_t at; (at = list.find(", ")) != std::string::npos;) list.erase(at + 1, 1);
      for (char& c : list)
        if (c == 'x' || c == ' ') c = ',';
      for (size_t begin = 0; !list.empty() && begin <= list.size();) {
        const size_t end = std::min(list.find(',', begin), list.size());
        values.push_back(parse_extent(list.substr(begin, end - begin), assignment));
        begin = end + 1;
      }
      if (symbol != "*" && values.size() != 1)
        throw UsageError(fmt::format("'{}' must give {} one extent", assignment, symbol));
      if (!out.emplace(symbol, values).second) throw UsageError(fmt::format("{} is given twice", symbol));
    }
  return out;
}

std::vector<std::string> symbols_of(const OpInfo& op) {
  std::vector<std::string> out;
  for (const OperandInfo& operand : op.operands)
    for (const std::string& text : split(operand.shape, ", ")) {
      const Dim dim = parse_dim(text);
      const bool binds = !dim.padded && !dim.symbol.empty() && dim.divisor == 1;
      if (binds && std::find(out.begin(), out.end(), dim.symbol) == out.end()) out.push_back(dim.symbol);
    }
  if (op.takes_packed_weight)
    for (const char* symbol : {"N", "K"})
      if (std::find(out.begin(), out.end(), symbol) == out.end()) out.emplace_back(symbol);
  std::stable_partition(out.begin(), out.end(), [](const std::string& s) { return s == "*"; });
  return out;
}

// The extent of a dimension as it is given by name.
std::string extent_name(const Dim& dim) { return dim.padded && dim.symbol == "rows" ? "*" : dim.symbol; }

// Throws unless every extent is given that the operands which are not absent have, and names all that lack at once,
// with the operands that have them, and those that could be left out instead.
void require_extents(const OpInfo& op, const Extents& extents, const std::vector<std::string>& absent) {
  const auto holds = [](const std::vector<std::string>& list, const std::string& word) {
    return std::find(list.begin(), list.end(), word) != list.end();
  };
  std::vector<std::string> missing, optional, where;
  for (const bool of_optional : {false, true}) {
    const std::vector<std::string> required = missing;
    for (const OperandInfo& operand : op.operands) {
      if (operand.optional != of_optional || holds(absent, operand.name)) continue;
      bool alone = false;
      const size_t before = missing.size();
      for (const std::string& text : split(operand.shape, ", ")) {
        const Dim dim = parse_dim(text);
        const std::string name = extent_name(dim);
        if (dim.symbol.empty() || extents.find(name) != extents.end()) continue;
        alone |= !holds(required, name);
        if (!holds(missing, name)) missing.push_back(name);
      }
      if (missing.size() > before) where.push_back(fmt::format("{} [{}]", operand.name, operand.shape));
      if (alone && of_optional) optional.push_back(operand.name);
    }
  }
  if (missing.empty()) return;
  throw UsageError(fmt::format("{} needs the extent{} of {}: --dims {}=... ({}){}", op.name,
                               missing.size() > 1 ? "s" : "", fmt::join(missing, ", "), fmt::join(missing, "=... "),
                               fmt::join(where, ", "),
                               optional.empty() ? "" : fmt::format("; or --without {}", fmt::join(optional, " "))));
}

const OperandInfo& find_operand(const OpInfo& op, const std::string& name) {
  std::vector<std::string> names;
  for (const OperandInfo& operand : op.operands) {
    if (operand.name == name) return operand;
    names.push_back(operand.name);
  }
  throw UsageError(unknown_word("operand of " + op.name, name, names));
}

std::vector<OptionalTensor> operands_without_data(const OpInfo& op, const Extents& extents, const OperandTypes& types,
                                                  const std::vector<std::string>& absent, Device device) {
  const std::vector<std::string> known = symbols_of(op);
  for (const auto& [symbol, values] : extents)
    if (std::find(known.begin(), known.end(), symbol) == known.end())
      throw UsageError(fmt::format("'{}' is no dimension of {}; it has {}", symbol, op.name, fmt::join(known, ", ")));
  for (const std::string& name : absent)
    if (!find_operand(op, name).optional) throw UsageError(fmt::format("{} of {} cannot be left out", name, op.name));
  std::map<int, ScalarType> named; // by type variable
  for (const auto& [name, type] : types.named) named[find_operand(op, name).type_variable] = type;
  require_extents(op, extents, absent);
  std::vector<OptionalTensor> out;
  for (const OperandInfo& operand : op.operands) {
    if (std::find(absent.begin(), absent.end(), operand.name) != absent.end()) {
      out.emplace_back();
      continue;
    }
    Shape shape;
    for (const std::string& text : split(operand.shape, ", ")) {
      const Dim dim = parse_dim(text);
      if (dim.symbol.empty()) {
        shape.push_back(dim.factor);
        continue;
      }
      const auto given = extents.find(extent_name(dim));
      if (dim.padded) {
        const int64_t extent =
            std::accumulate(given->second.begin(), given->second.end(), int64_t{1}, std::multiplies<>());
        const int64_t part = (extent + dim.divisor - 1) / dim.divisor;
        shape.push_back((part + dim.factor - 1) / dim.factor * dim.factor);
      } else {
        for (int64_t extent : given->second) shape.push_back(dim.factor * ((extent + dim.divisor - 1) / dim.divisor));
      }
    }
    // Operands of activations take the type that was asked for, and are refused if they cannot; those that never hold
    // activations (indices, scales) have the first type that they take.
    const auto has = [&](ScalarType t) {
      return std::find(operand.types.begin(), operand.types.end(), t) != operand.types.end();
    };
    const auto asked = named.find(operand.type_variable);
    const ScalarType type = asked != named.end()                ? asked->second
                            : has(types.usual) || has(SPF_BF16) ? types.usual
                                                                : operand.types.front();
    out.emplace_back(Tensor(nullptr, type, shape, device));
  }
  return out;
}

std::vector<double> parse_params(const OpInfo& op, const std::vector<std::string>& texts) {
  std::vector<double> values;
  std::vector<std::string> names;
  for (const ParamInfo& param : op.params) {
    values.push_back(param.fallback);
    names.push_back(param.name);
  }
  for (const std::string& text : texts) {
    const size_t equals = text.find('=');
    if (equals == std::string::npos) throw UsageError(fmt::format("'{}' is not of the form NAME=VALUE", text));
    const std::string name = text.substr(0, equals), number = text.substr(equals + 1);
    const auto at = std::find(names.begin(), names.end(), name);
    if (at == names.end()) {
      if (names.empty()) throw UsageError(fmt::format("{} has no parameters", op.name));
      throw UsageError(unknown_word("parameter of " + op.name, name, names));
    }
    size_t used = 0;
    try {
      values[static_cast<size_t>(at - names.begin())] = std::stod(number, &used);
    } catch (const std::exception&) {
      used = std::string::npos;
    }
    if (used != number.size()) throw UsageError(fmt::format("'{}' in '{}' is not a number", number, text));
  }
  return values;
}

WeightFormat weight_format(const std::string& name, const int64_t* group) {
  const std::vector<std::string> known = quant_scheme_names();
  const auto is_known = [&](const std::string& word) {
    return std::find(known.begin(), known.end(), word) != known.end();
  };
  if (group == nullptr) {
    try {
      return {name, quant_scheme(name)}; // names that no list shows, too: "fp8-2of4"
    } catch (const Error& e) {
      if (e.status() != SPF_NOT_FOUND) throw;
      throw UsageError(unknown_word("weight format", name, known));
    }
  }
  if (*group != -1 && *group <= 0)
    throw UsageError(fmt::format("--group is {}; allowed: -1 (all of K) or a positive number", *group));
  // "int4-g32-asym" with another group is "int4-g64-asym"; "int4" with a group is "int4-g64".
  std::string base = name, suffix;
  if (const size_t asym = base.rfind("-asym"); asym != std::string::npos) {
    suffix = base.substr(asym);
    base.resize(asym);
  }
  if (const size_t dash = base.rfind('-'); dash != std::string::npos && is_known(name)) base.resize(dash);
  const std::string grouped =
      fmt::format("{}{}{}", base, *group == -1 ? std::string("-channel") : fmt::format("-g{}", *group), suffix);
  if (is_known(grouped)) return {grouped, quant_scheme(grouped)};
  if (is_known(name)) {
    const QuantScheme scheme = quant_scheme(name);
    if (scheme.group_k == *group) return {name, scheme};
    throw UsageError(fmt::format("{} has no variant with groups of {}; its groups are {}", name, *group,
                                 scheme.group_k == -1 ? std::string("all of K") : std::to_string(scheme.group_k)));
  }
  throw UsageError(unknown_word("weight format", grouped, known));
}

DeviceFacts device_facts(const std::string& name) {
  try {
    return facts(name);
  } catch (const Error& e) {
    if (e.status() != SPF_NOT_FOUND) throw;
    throw UsageError(unknown_word("device", name, split_list(e.allowed())));
  }
}

ScalarType scalar_type_named(const std::string& name, const std::vector<std::string>& known) {
  if (std::find(known.begin(), known.end(), name) != known.end()) return scalar_type(name);
  spf_scalar_type other = SPF_TYPE_NONE;
  if (spf_scalar_type_from_name(name.c_str(), &other) == SPF_OK)
    throw UsageError(fmt::format("{} is not a type that is taken here; allowed: {}", name, fmt::join(known, ", ")));
  throw UsageError(unknown_word("scalar type", name, known));
}

} // namespace spearfish::cli
