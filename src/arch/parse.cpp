#include "arch/parse.hpp"

#include <algorithm>
#include <cctype>

#include "arch/resolve.hpp"
#include "arch/suggest.hpp"

namespace spf::arch {
namespace {

using Kind = Target::Kind;

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return out;
}

bool digit(char c) { return c >= '0' && c <= '9'; }

// Up to three digits, or nothing.
std::optional<int16_t> number(std::string_view text) {
  if (text.empty() || text.size() > 3 || !std::ranges::all_of(text, digit)) return std::nullopt;
  int value = 0;
  for (char c : text) value = value * 10 + (c - '0');
  return static_cast<int16_t>(value);
}

bool take_front(std::string_view& text, std::string_view prefix) {
  if (!text.starts_with(prefix)) return false;
  text.remove_prefix(prefix.size());
  return true;
}

bool take_back(std::string_view& text, std::string_view suffix) {
  if (!text.ends_with(suffix)) return false;
  text.remove_suffix(suffix.size());
  return true;
}

// Everything that a user may have meant, for suggestions.
std::vector<std::string> spellings(const ListContext& context) {
  std::vector<std::string> out = {"native", "all", "all-major"};
  for (const ArchRow& row : context.table->rows) {
    out.push_back(row.name);
    if (row.target.kind != Kind::kCuda) continue;
    if (*row.generation) out.push_back(row.generation);
    std::string plain = std::to_string(row.target.major) + std::to_string(row.target.minor);
    for (const std::string& base : {std::string(row.name), plain, "sm_" + plain}) {
      out.push_back(base);
      if (row.specific_toolkit.known()) out.push_back(base + "a");
      if (row.family_toolkit.known()) out.push_back(base + "f");
    }
    out.push_back(std::string(row.name) + "+PTX");
    out.push_back(plain + "-real");
    out.push_back(plain + "-virtual");
  }
  return out;
}

std::string known_targets(const ArchTable& table) {
  std::string out;
  for (const ArchRow& row : table.rows) {
    if (row.target.kind == Kind::kHip) continue;
    out += (out.empty() ? "" : " ") + std::string(row.name);
    if (row.target.kind != Kind::kCuda) continue;
    if (row.specific_toolkit.known()) out += "[a]";
    if (row.family_toolkit.known()) out += "[f]";
  }
  return out;
}

ParsedList unknown(std::string_view word, const ListContext& context) {
  // The word comes from outside and may be long; no target's name is.
  const std::string shown = word.size() > 40 ? std::string(word.substr(0, 40)) + "..." : std::string(word);
  std::string error = "target '" + shown + "' is not known";
  if (const std::string near = nearest(lower(word), spellings(context)); !near.empty())
    error += "; did you mean '" + near + "'?";
  error += "; known are native, all, all-major, " + known_targets(*context.table) +
           ", each CUDA target also with +PTX, -real or -virtual";
  return {{}, error};
}

std::string strip_suffix(std::string name) {
  while (!name.empty() && (name.back() == 'a' || name.back() == 'f')) name.pop_back();
  return name;
}

ParsedList check_cuda(std::string_view word, Target t, const ListContext& context) {
  const ArchTable& table = *context.table;
  const ArchRow* row = find_row(table, t);
  if (!row) {
    for (const RetiredRow& r : table.retired)
      if (r.target.major == t.major && r.target.minor == t.minor)
        return {{}, "target '" + std::string(word) + "': " + r.note + "; known are " + known_targets(table)};
    return unknown(word, context);
  }
  const std::string base = strip_suffix(row->name);
  if (t.suffix == Suffix::kSpecific && !row->specific_toolkit.known())
    return {{},
            "target '" + std::string(word) + "': there is no architecture-specific code for " + base + "; say " + base};
  if (t.suffix == Suffix::kFamily && !row->family_toolkit.known())
    return {{},
            "target '" + std::string(word) + "': there is no family code for " + base + "; say " + base +
                (row->specific_toolkit.known() ? " or " + base + "a" : "")};
  if (t.ptx && t.suffix != Suffix::kNone)
    return {{},
            "target '" + std::string(word) + "': PTX of " +
                to_string(table, {Kind::kCuda, t.major, t.minor, t.suffix}) + " is not forward compatible; say " +
                to_string(table, {Kind::kCuda, t.major, t.minor, t.suffix}) + " or " + base + "+PTX"};
  return {{t}, {}};
}

bool separator(char c) { return c == ';' || c == ',' || std::isspace(static_cast<unsigned char>(c)); }

} // namespace

std::optional<Version> parse_version(std::string_view text) {
  const size_t dot = text.find('.');
  if (dot == std::string_view::npos) return std::nullopt;
  std::string_view minor = text.substr(dot + 1);
  if (const size_t second = minor.find('.'); second != std::string_view::npos) {
    std::string_view rest = minor.substr(second + 1);
    if (rest.empty() || !std::ranges::all_of(rest, [](char c) { return digit(c) || c == '.'; })) return std::nullopt;
    minor = minor.substr(0, second);
  }
  const auto a = number(text.substr(0, dot));
  const auto b = number(minor);
  if (!a || !b || *a == 0) return std::nullopt;
  return Version{*a, *b};
}

std::optional<Target> parse_cuda_spelling(std::string_view word) {
  const std::string lowered = lower(word);
  std::string_view text = lowered;
  Target t;
  t.kind = Kind::kCuda;
  bool virtual_only = take_front(text, "compute_");
  if (!virtual_only && !take_front(text, "sm_")) take_front(text, "sm");
  if (take_back(text, "+ptx")) {
    if (virtual_only) return std::nullopt;
    t.ptx = true;
  } else if (take_back(text, "-virtual")) {
    virtual_only = true;
  } else if (take_back(text, "-real")) {
    if (virtual_only) return std::nullopt;
  }
  if (virtual_only) {
    t.ptx = true;
    t.sass = false;
  }
  if (take_back(text, "a"))
    t.suffix = Suffix::kSpecific;
  else if (take_back(text, "f"))
    t.suffix = Suffix::kFamily;
  const size_t dot = text.find('.');
  // Without a dot the last digit is the minor: 75 -> 7.5, 120 -> 12.0.
  const std::string_view major =
      dot == std::string_view::npos ? text.substr(0, text.empty() ? 0 : text.size() - 1) : text.substr(0, dot);
  const std::string_view minor = dot == std::string_view::npos ? text.substr(major.size()) : text.substr(dot + 1);
  const auto a = number(major);
  const auto b = number(minor);
  if (!a || !b) return std::nullopt;
  t.major = *a;
  t.minor = *b;
  return t;
}

ParsedList parse_target(std::string_view word, const ListContext& context) {
  const std::string lowered = lower(word);
  const std::string_view base = std::string_view(lowered).substr(0, lowered.find(':')); // gfx90a:xnack- and the like
  for (const ArchRow& row : context.table->rows) {
    if (row.target.kind == Kind::kCpu && lowered == row.name) return {{row.target}, {}};
    if (row.target.kind == Kind::kHip && base == row.name) return {{row.target}, {}};
  }
  if (const auto t = parse_cuda_spelling(word)) return check_cuda(word, *t, context);
  return unknown(word, context);
}

ParsedList parse_list(std::string_view list, const ListContext& context) {
  const ArchTable& table = *context.table;
  const Version toolkit = context.toolkit.known() ? context.toolkit : table.newest_toolkit;
  ParsedList out;
  for (size_t i = 0; i < list.size();) {
    if (separator(list[i])) {
      ++i;
      continue;
    }
    size_t end = i;
    while (end < list.size() && !separator(list[end])) ++end;
    const std::string_view word = list.substr(i, end - i);
    i = end;
    const std::string lowered = lower(word);
    if (lowered == "native") {
      if (context.native.empty())
        return {{}, "target 'native': no CUDA GPU was found on this machine; name the targets, e.g. 9.0a or 'all'"};
      out.targets.insert(out.targets.end(), context.native.begin(), context.native.end());
      continue;
    }
    if (lowered == "all" || lowered == "all-major") {
      int16_t last_major = 0;
      for (const ArchRow& row : table.rows) {
        if (row.target.kind != Kind::kCuda || toolkit < row.toolkit) continue;
        if (lowered == "all-major" && row.target.major == last_major) continue;
        last_major = row.target.major;
        out.targets.push_back(row.target);
      }
      continue;
    }
    std::string_view generation = lowered;
    const bool generation_ptx = take_back(generation, "+ptx");
    bool found = false;
    for (const ArchRow& row : table.rows) {
      if (row.target.kind != Kind::kCuda || generation != row.generation) continue;
      Target t = row.target;
      t.ptx = generation_ptx;
      out.targets.push_back(t);
      found = true;
    }
    if (found) continue;
    const ParsedList one = parse_target(word, context);
    if (!one.error.empty()) return {{}, one.error};
    out.targets.insert(out.targets.end(), one.targets.begin(), one.targets.end());
  }
  out.targets = canonical(out.targets);
  return out;
}

} // namespace spf::arch
