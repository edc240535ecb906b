#include "manifest.hpp"

#include <algorithm>
#include <cmath>
#include <set>

#include "arch/parse.hpp"
#include "axes.hpp"
#include "core/schema.hpp"
#include "core/value_rule.hpp"
#include "spearfish/types.h"

namespace spf::kernelgen {
namespace {

using Kind = arch::Target::Kind;

constexpr ScalarTypeName kScalarTypes[] = {
    {"f32", "SPF_F32", SPF_F32},
    {"f16", "SPF_F16", SPF_F16},
    {"bf16", "SPF_BF16", SPF_BF16},
    {"e4m3", "SPF_E4M3", SPF_E4M3},
    {"e5m2", "SPF_E5M2", SPF_E5M2},
    {"e8m0", "SPF_E8M0", SPF_E8M0},
    {"e2m1", "SPF_E2M1", SPF_E2M1},
    {"s8", "SPF_S8", SPF_S8},
    {"u8", "SPF_U8", SPF_U8},
    {"s4", "SPF_S4", SPF_S4},
    {"u4", "SPF_U4", SPF_U4},
    {"u4b8", "SPF_U4B8", SPF_U4B8},
    {"u8b128", "SPF_U8B128", SPF_U8B128},
    {"i32", "SPF_I32", SPF_I32},
    {"i64", "SPF_I64", SPF_I64},
    {"bool", "SPF_BOOL", SPF_BOOL},
};
static_assert(std::size(kScalarTypes) == SPF_TYPE_COUNT - 1);

std::vector<std::string> scalar_type_names() {
  std::vector<std::string> out;
  for (const ScalarTypeName& t : kScalarTypes) out.push_back(t.name);
  return out;
}

bool identifier(std::string_view text) {
  if (text.empty() || (text[0] >= '0' && text[0] <= '9')) return false;
  return std::ranges::all_of(text, [](char c) {
    return c == '_' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
  });
}

std::string trim(std::string_view text) {
  const size_t a = text.find_first_not_of(' ');
  if (a == std::string_view::npos) return {};
  return std::string(text.substr(a, text.find_last_not_of(' ') - a + 1));
}

class Loader {
 public:
  Loader(const ManifestFile& where, ArchFile& arch, Diagnostics& diagnostics, Manifests& out)
      : where_(where), arch_(arch), diagnostics_(diagnostics), out_(out) {}

  void load(const toml::table& root) {
    Reader top(root, where_.shown, "", diagnostics_);
    top.allow({"family", "op", "kernel"});
    family_ = top.string("family", where_.family.empty() ? std::nullopt : std::optional<std::string>(where_.family));
    if (!identifier(family_)) {
      if (!family_.empty()) top.complain_at("family", "a family's name must be a C identifier");
      return;
    }
    for (const toml::table* t : top.tables("op")) op(*t);
    for (const toml::table* t : top.tables("kernel")) kernel(*t);
  }

 private:
  std::string one_of(Reader& reader, const char* key, const std::string& fallback,
                     const std::vector<std::string>& known) {
    const std::string value = reader.string(key, fallback);
    if (std::ranges::find(known, value) != known.end()) return value;
    reader.complain_at(key, unknown_name(key, value, known));
    return fallback;
  }

  std::string name_of(Reader& reader) {
    const std::string name = reader.string("name");
    if (!identifier(name) && reader.has("name")) reader.complain_at("name", "the name must be a C identifier");
    return name;
  }

  void check_limit(Reader& reader, const char* what, size_t count, size_t limit) {
    if (count > limit)
      reader.complain("has " + std::to_string(count) + " " + what + "; at most " + std::to_string(limit) +
                      " are allowed");
  }

  // --- ops ---------------------------------------------------------------------------------------------------------

  void op(const toml::table& t) {
    Reader reader(t, where_.shown, "op", diagnostics_);
    Op out;
    out.family = family_;
    out.name = name_of(reader);
    reader.relabel("op \"" + out.name + "\"");
    reader.allow({"name", "summary", "types", "operands", "params", "packed_weight", "constraint"});
    out.summary = reader.string("summary");
    out.packed_weight = reader.boolean("packed_weight", false);
    out.constraint = reader.string("constraint", "");
    if (!out.constraint.empty()) {
      if (!identifier(out.constraint))
        reader.complain_at("constraint", "\"constraint\" must be the name of a function in namespace spf::" + family_);
      policy_header(reader, "constraint");
    }
    if (const toml::table* types = reader.table("types")) {
      Reader list(*types, where_.shown, reader.label() + ", types", diagnostics_);
      for (const auto& [name, node] : Reader::in_order(*types)) {
        TypeVariable v{name, list.strings(name)};
        for (const std::string& type : v.types)
          if (!find_scalar_type(type)) list.complain(unknown_name("scalar type", type, scalar_type_names()), node);
        if (v.types.empty()) list.complain("\"" + name + "\" accepts no type", node);
        out.types.push_back(std::move(v));
      }
    }
    for (const toml::table* o : reader.tables("operands")) operand(*o, reader.label(), out);
    for (const toml::table* o : reader.tables("operands")) value_rules(*o, reader.label(), out);
    for (const toml::table* p : reader.tables("params")) param(*p, reader.label(), out);
    check_limit(reader, "operands", out.operands.size(), kMaxOperands);
    check_limit(reader, "params", out.params.size(), kMaxParams);
    check_limit(reader, "types", out.types.size(), kMaxOperands);
    check_limit(reader, "dimension symbols", out.symbols.size(), kMaxSymbols);
    out_.ops.push_back(std::move(out));
  }

  void operand(const toml::table& t, const std::string& label, Op& op) {
    Reader reader(t, where_.shown, label + ", operand", diagnostics_);
    Operand out;
    out.name = name_of(reader);
    reader.relabel(label + ", operand \"" + out.name + "\"");
    reader.allow({"name", "role", "type", "shape", "view", "optional", "values", "traffic"});
    out.role = one_of(reader, "role", "in", {"in", "out", "inout"});
    out.view = one_of(reader, "view", "rows", {"rows", "any", "contiguous"});
    out.optional = reader.boolean("optional", false);
    out.type = reader.string("type");
    if (std::ranges::none_of(op.types, [&](const TypeVariable& v) { return v.name == out.type; })) {
      // A fixed scalar type is a variable of that one type.
      if (find_scalar_type(out.type)) {
        op.types.push_back({out.type, {out.type}});
      } else if (reader.has("type")) {
        std::vector<std::string> known;
        for (const TypeVariable& v : op.types) known.push_back(v.name);
        for (const std::string& s : scalar_type_names()) known.push_back(s);
        reader.complain_at("type", unknown_name("type", out.type, known));
      }
    }
    for (const Operand& o : op.operands)
      if (o.name == out.name) reader.complain("there are two operands of this name");
    out.shape = reader.string("shape");
    read_shape(reader, out.shape, out, op);
    out.values = reader.string("values", "");
    out.traffic = reader.string("traffic", "");
    op.operands.push_back(std::move(out));
  }

  // `values` and `traffic` may name symbols of later operands, so they are read when all shapes are known.
  void value_rules(const toml::table& t, const std::string& label, const Op& op) {
    Reader reader(t, where_.shown, label + ", operand \"" + trim(t["name"].value_or(std::string())) + "\"",
                  diagnostics_);
    const std::string values = reader.string("values", ""), traffic = reader.string("traffic", "");
    const auto symbols = [&](const char* key, const ExtentProduct& product) {
      std::vector<std::string> known = op.symbols;
      if (!known.empty() && known.front() == "*") known.front() = "rows";
      for (const std::string& s : product.symbols)
        if (std::ranges::find(known, s) == known.end()) reader.complain_at(key, unknown_name("symbol", s, known));
    };
    ValueRule rule;
    if (!parse_value_rule(values, &rule))
      reader.complain_at(
          "values",
          "values \"" + values.substr(0, 60) +
              "\" is not understood; allowed: \"[unique] index BOUND [or -1]\", \"offsets "
              "TOTAL\", \"range LOW..HIGH\", \"padded N OPERAND\", \"positive\", \"moderate\", \"mean COUNT\", "
              "\"exact\", \"codes\", \"scales\", \"block scales OPERAND\", with products "
              "such as NB*BS");
    if (!rule.of.empty() && std::ranges::find(op.operands, rule.of, &Operand::name) == op.operands.end())
      reader.complain_at("values", "there is no operand \"" + rule.of + "\"");
    symbols("values", rule.low);
    symbols("values", rule.high);
    ExtentProduct moved;
    if (!traffic.empty() && !parse_extent_product(traffic, &moved))
      reader.complain_at("traffic", "\"traffic\" must be a product of numbers and symbols such as 2*T*D");
    symbols("traffic", moved);
  }

  // "*,2*D,up4(G),K/2": comma-separated; '*' once and first; a factor, a symbol, both, or a symbol's extent divided or
  // rounded up.
  void read_shape(Reader& reader, const std::string& text, Operand& out, Op& op) {
    const auto bad = [&](const std::string& why) {
      reader.complain_at("shape", "shape \"" + text.substr(0, 60) + "\": " + why);
    };
    size_t begin = 0;
    while (begin <= text.size() && !text.empty()) {
      const size_t end = std::min(text.find(',', begin), text.size());
      const std::string part = trim(std::string_view(text).substr(begin, end - begin));
      begin = end + 1;
      Dim dim;
      std::string symbol = part;
      if (part == "*") {
        dim.leading = true;
        if (!out.dims.empty()) return bad("'*' may only come first");
      } else if (part.starts_with("up")) {
        if (!read_padded(part, dim, op))
          return bad("a padded extent is upN(SYMBOL), upN(SYMBOL/M) or upN(rows) of operands before");
        symbol = dim.symbol;
      } else if (part.find('/') != std::string::npos) {
        if (!read_divided(part, dim) || !is_bound(dim.symbol, op))
          return bad("a divided extent is SYMBOL/N of operands before, or of the weight's N or K");
        symbol = dim.symbol;
      } else {
        if (const size_t digits = part.find_first_not_of("0123456789"); digits != 0) {
          const std::string factor = part.substr(0, std::min(digits, part.size()));
          if (factor.empty() || factor.size() > 9) return bad("an extent is a number, a symbol, or number*symbol");
          dim.factor = std::stoi(factor);
          if (dim.factor == 0) return bad("an extent cannot be 0");
          symbol = digits == std::string::npos ? "" : trim(part.substr(digits));
          if (!symbol.empty() && symbol[0] != '*') return bad("an extent is a number, a symbol, or number*symbol");
          if (!symbol.empty()) symbol = trim(symbol.substr(1));
          if (symbol.empty() && digits != std::string::npos)
            return bad("an extent is a number, a symbol, or number*symbol");
        }
        if (!symbol.empty() && !identifier(symbol)) return bad("\"" + symbol + "\" is not a dimension symbol");
        dim.symbol = symbol;
      }
      const std::string key = dim.leading ? "*" : dim.symbol;
      if (!key.empty() && std::ranges::find(op.symbols, key) == op.symbols.end()) {
        if (dim.leading) // always symbol 0
          op.symbols.insert(op.symbols.begin(), key);
        else
          op.symbols.push_back(key);
      }
      out.dims.push_back(dim);
    }
    if (out.dims.size() > static_cast<size_t>(kMaxDims))
      bad("at most " + std::to_string(kMaxDims) + " dimensions are allowed");
  }

  // Whether the weight or an operand before says what the symbol is; "*": the leading dimensions' product.
  static bool is_bound(const std::string& symbol, const Op& op) {
    if (op.packed_weight && (symbol == "N" || symbol == "K")) return true;
    return std::ranges::any_of(op.operands, [&](const Operand& earlier) {
      return !earlier.optional && std::ranges::any_of(earlier.dims, [&](const Dim& d) {
        return d.binds() && (d.leading ? symbol == "*" : symbol == d.symbol);
      });
    });
  }

  // "K/16", or a symbol alone.
  static bool read_divided(const std::string& text, Dim& dim) {
    const size_t slash = text.find('/');
    dim.symbol = trim(text.substr(0, slash));
    if (!identifier(dim.symbol)) return false;
    if (slash == std::string::npos) return true;
    const std::string divisor = trim(text.substr(slash + 1));
    if (divisor.empty() || divisor.size() > 6 || divisor.find_first_not_of("0123456789") != std::string::npos)
      return false;
    dim.divisor = std::stoi(divisor);
    return dim.divisor >= 2;
  }

  // "up128(rows)", "up4(K/16)".
  static bool read_padded(const std::string& part, Dim& dim, const Op& op) {
    const size_t open = part.find('(');
    if (open < 3 || open > 9 || open == std::string::npos || part.back() != ')') return false;
    const std::string factor = part.substr(2, open - 2);
    if (factor.find_first_not_of("0123456789") != std::string::npos || std::stoi(factor) < 2) return false;
    dim.factor = std::stoi(factor);
    dim.padded = true;
    if (!read_divided(part.substr(open + 1, part.size() - open - 2), dim)) return false;
    if (dim.symbol == "rows") dim.symbol = "*";
    return is_bound(dim.symbol, op);
  }

  void param(const toml::table& t, const std::string& label, Op& op) {
    Reader reader(t, where_.shown, label + ", param", diagnostics_);
    Param out;
    out.name = name_of(reader);
    reader.relabel(label + ", param \"" + out.name + "\"");
    reader.allow({"name", "kind", "default", "min", "max", "note"});
    out.kind = one_of(reader, "kind", "f64", {"f64", "i64", "bool"});
    out.fallback = reader.number("default");
    if (out.kind == "bool") {
      out.min = 0;
      out.max = 1;
    }
    out.min = reader.number("min", out.min);
    out.max = reader.number("max", out.max);
    if (!(out.min <= out.fallback && out.fallback <= out.max))
      reader.complain("the default must lie between min and max");
    for (const Param& p : op.params)
      if (p.name == out.name) reader.complain("there are two params of this name");
    op.params.push_back(std::move(out));
  }

  // --- kernels -----------------------------------------------------------------------------------------------------

  void kernel(const toml::table& t) {
    Reader reader(t, where_.shown, "kernel", diagnostics_);
    Kernel out;
    out.family = family_;
    out.manifest = where_.shown;
    out.line = reader.line();
    out.name = name_of(reader);
    reader.relabel("kernel \"" + out.name + "\"");
    reader.allow({"op",       "ops",     "name",        "file",     "device",      "needs",           "targets",
                  "cuda_min", "layouts", "ptx",         "required", "determinism", "activation",      "weights",
                  "policy",   "launch",  "tested",      "tuned",    "unless",      "compile_seconds", "axes",
                  "skip",     "stack",   "target_axes", "packages"});
    out.is_reference = out.name == "reference";
    if (!out.is_reference && !out.name.empty() && out.name.find('_') == std::string::npos)
      reader.complain_at("name", "a kernel is called <target-or-isa>_<method>, or reference");
    out.ops = reader.strings("ops");
    if (reader.has("op")) out.ops.insert(out.ops.begin(), reader.string("op"));
    if (out.ops.empty()) reader.complain("names no op: give \"op\" or \"ops\"");
    file_and_device(reader, out);
    requirements(reader, out);
    out.layouts = reader.strings("layouts");
    out.required = reader.boolean("required", false);
    out.determinism = one_of(reader, "determinism", "row-invariant", {"row-invariant", "run-to-run", "none"});
    out.activation = one_of(reader, "activation", "as-given", {"as-given", "split-bf16", "fixed-s16", "quantized-s8"});
    out.weights = one_of(reader, "weights", "as-packed", {"as-packed", "rounded-16"});
    out.policy = reader.string("policy", "");
    out.tested = reader.strings("tested");
    out.tuned = reader.strings("tuned");
    out.compile_seconds = reader.number("compile_seconds", 1.0);
    if (!(out.compile_seconds > 0 && out.compile_seconds <= 3600))
      reader.complain_at("compile_seconds", "\"compile_seconds\" must be above 0 and at most 3600");
    axes_and_rules(reader, out);
    out.launch = reader.string("launch");
    launch(reader, out);
    if (out.policy.empty() && !out.axes.empty())
      reader.complain("has axes and no \"policy\"; a policy must choose among its instances");
    if (!out.policy.empty() && !identifier(out.policy))
      reader.complain_at("policy", "\"policy\" must be the name of a function in namespace spf::" + family_);
    if (!out.policy.empty()) policy_header(reader, "policy");
    out_.kernels.push_back(std::move(out));
  }

  void file_and_device(Reader& reader, Kernel& out) {
    out.file = reader.string("file");
    out.in_tree = where_.in_tree;
    out.include = where_.prefix + out.file;
    const std::string extension = std::filesystem::path(out.file).extension().string();
    const bool cuda = extension == ".cuh" || extension == ".cu";
    const bool cpu = extension == ".hpp" || extension == ".cpp";
    if (!cuda && !cpu && extension != ".hip" && reader.has("file"))
      reader.complain_at("file", "\"file\" must end in .cuh or .cu (CUDA), .hpp or .cpp (CPU), or .hip");
    if (out.file.find("..") != std::string::npos || out.file.find_first_of("\"\\\n;$") != std::string::npos)
      reader.complain_at("file", "\"file\" must be a plain name relative to the manifest");
    else if (where_.check_files && !out.file.empty() && !std::filesystem::exists(where_.folder / out.file))
      reader.complain_at("file", "the file \"" + out.file + "\" does not exist beside the manifest");
    const std::string device = one_of(reader, "device",
                                      cuda                  ? "cuda"
                                      : extension == ".hip" ? "hip"
                                                            : "cpu",
                                      {"cuda", "cpu", "hip"});
    out.kind = device == "cuda" ? Kind::kCuda : device == "cpu" ? Kind::kCpu : Kind::kHip;
    out.facts.kind = out.kind;
  }

  void requirements(Reader& reader, Kernel& out) {
    std::vector<std::string> needs;
    for (const std::string& f : reader.strings("needs")) {
      if (std::ranges::find(arch_.features, f) == arch_.features.end())
        reader.complain_at("needs", unknown_name("feature", f, arch_.features));
      else
        needs.push_back(f);
    }
    out.facts.needs = arch_.pool.add(needs);
    std::vector<arch::Target> targets = target_list(reader, "targets");
    if (reader.has("targets") && targets.empty())
      reader.complain_at("targets", "an empty list of targets; leave the key out to go by features");
    for (const arch::Target& target : targets)
      if (target.kind != out.kind)
        reader.complain_at("targets", arch::to_string(arch_.table, target) + " is not a target of the kernel's device");
    if (!needs.empty() && !targets.empty())
      reader.complain("has both \"needs\" and \"targets\"; a list of targets stands instead of features");
    if (out.kind == Kind::kCpu && targets.size() > 1)
      reader.complain_at("targets", "a CPU kernel is compiled for one row; several are listed");
    out.facts.targets = out_.target_lists.emplace_back(std::move(targets));
    if (reader.has("cuda_min")) {
      if (const auto v = arch::parse_version(reader.string("cuda_min")))
        out.facts.cuda_min = *v;
      else
        reader.complain_at("cuda_min", "\"cuda_min\" must be a toolkit version such as \"12.8\"");
      if (out.kind != Kind::kCuda) reader.complain_at("cuda_min", "\"cuda_min\" is for CUDA kernels");
    }
    out.packages = reader.strings("packages");
    for (const std::string& p : out.packages) {
      std::vector<std::string> known;
      for (const arch::PackageRow& row : arch_.packages) known.push_back(row.name);
      if (std::ranges::find(known, p) == known.end()) reader.complain_at("packages", unknown_name("package", p, known));
    }
    if (!out.packages.empty() && out.kind != Kind::kCuda)
      reader.complain_at("packages", "\"packages\" is for CUDA kernels");
    out.facts.packages = arch_.pool.add(out.packages);
    out.facts.ptx = one_of(reader, "ptx", "no", {"no", "yes"}) == "yes";
    out.facts.unless = arch_.pool.add(reader.strings("unless"));
  }

  std::vector<arch::Target> target_list(Reader& reader, const char* key) {
    std::vector<arch::Target> out;
    for (const std::string& word : reader.strings(key)) {
      const arch::ParsedList parsed = arch::parse_target(word, arch_.context({}));
      if (!parsed.error.empty())
        reader.complain_at(key, parsed.error);
      else
        out.push_back(parsed.targets[0]);
    }
    return out;
  }

  Selector selector(Reader& reader) {
    Selector out{target_list(reader, "targets"), target_list(reader, "except"), {}};
    for (const std::string& f : reader.strings("lacking")) {
      if (std::ranges::find(arch_.features, f) == arch_.features.end())
        reader.complain_at("lacking", unknown_name("feature", f, arch_.features));
      else
        out.lacking.push_back(f);
    }
    return out;
  }

  void axes_and_rules(Reader& reader, Kernel& out) {
    if (const toml::table* axes = reader.table("axes")) {
      Reader list(*axes, where_.shown, reader.label() + ", axes", diagnostics_);
      out.axes = read_axes(list);
    }
    std::vector<std::string> names;
    for (const AxisEntry& e : out.axes)
      for (const std::string& n : e.names) {
        if (std::ranges::find(names, n) != names.end()) reader.complain("the axis \"" + n + "\" is set twice");
        names.push_back(n);
      }
    for (const toml::table* t : reader.tables("target_axes")) {
      Reader rule(*t, where_.shown, reader.label() + ", target_axes", diagnostics_);
      rule.allow({"targets", "except", "lacking", "axes"});
      TargetAxes entry{selector(rule), {}};
      if (entry.where.everywhere()) rule.complain("selects no target: give \"targets\", \"except\" or \"lacking\"");
      if (const toml::table* axes = rule.table("axes")) {
        Reader list(*axes, where_.shown, rule.label(), diagnostics_);
        entry.axes = read_axes(list);
      }
      for (const AxisEntry& e : entry.axes) {
        const auto base = std::ranges::find(out.axes, e.key, &AxisEntry::key);
        if (base == out.axes.end() || base->names != e.names)
          rule.complain("\"" + e.key + "\" does not replace an axis of the kernel with the same columns");
      }
      std::erase_if(entry.axes, [&](const AxisEntry& e) {
        const auto base = std::ranges::find(out.axes, e.key, &AxisEntry::key);
        return base == out.axes.end() || base->names != e.names;
      });
      out.target_axes.push_back(std::move(entry));
    }
    for (const toml::table* t : reader.tables("skip")) {
      Reader rule(*t, where_.shown, reader.label() + ", skip", diagnostics_);
      rule.allow({"when", "why", "targets", "except", "lacking"});
      SkipRule skip{{}, selector(rule), rule.string("why")};
      if (rule.has("why") && skip.why.empty()) rule.complain_at("why", "\"why\" must give a reason");
      if (const toml::table* when = rule.table("when")) {
        Reader conditions(*when, where_.shown, rule.label(), diagnostics_);
        skip.when = read_conditions(conditions, names);
      }
      if (skip.when.empty() && skip.where.everywhere())
        rule.complain("skips everything: give \"when\" or a choice of targets");
      out.skips.push_back(std::move(skip));
    }
    for (const toml::table* t : reader.tables("stack")) {
      Reader rule(*t, where_.shown, reader.label() + ", stack", diagnostics_);
      rule.allow({"function", "bytes", "why"});
      StackRule stack{rule.string("function"), rule.integer("bytes"), rule.string("why")};
      if (rule.has("why") && stack.why.empty()) rule.complain_at("why", "\"why\" must give a reason");
      if (rule.has("function") && !identifier(stack.function))
        rule.complain_at("function", "\"function\" must be the name of a device function");
      if (stack.bytes <= 0 || stack.bytes % 4 != 0)
        rule.complain_at("bytes", "\"bytes\" must be a multiple of 4 above 0");
      out.stacks.push_back(std::move(stack));
    }
    std::vector<arch::Target> apart;
    const auto set_apart = [&](const Selector& where) {
      apart.insert(apart.end(), where.targets.begin(), where.targets.end());
      apart.insert(apart.end(), where.except.begin(), where.except.end());
    };
    for (const TargetAxes& t : out.target_axes) set_apart(t.where);
    for (const SkipRule& s : out.skips) set_apart(s.where);
    out.facts.apart = out_.target_lists.emplace_back(std::move(apart));
    if (count_combinations(out) > kMaxCombinations)
      reader.complain("the axes multiply into more than " + std::to_string(kMaxCombinations) + " combinations");
  }

  // "fn" or "fn<{T},{vec}>": every axis must occur, and nothing else.
  void launch(Reader& reader, Kernel& out) {
    if (out.launch.empty()) return;
    const size_t open = out.launch.find('<');
    if (!identifier(trim(std::string_view(out.launch).substr(0, open))) ||
        (open != std::string::npos && out.launch.back() != '>'))
      return reader.complain_at("launch", "\"launch\" must be a function of namespace spf::" + family_ +
                                              ", plain or with template arguments");
    if (out.launch.find_first_of("\"\\\n;") != std::string::npos)
      return reader.complain_at("launch", "\"launch\" holds a character that no function's name has");
    std::set<std::string> used;
    for (size_t i = out.launch.find('{'); i != std::string::npos; i = out.launch.find('{', i + 1)) {
      const size_t end = out.launch.find('}', i);
      if (end == std::string::npos) return reader.complain_at("launch", "a '{' is never closed");
      used.insert(out.launch.substr(i + 1, end - i - 1));
    }
    std::vector<std::string> known = {"op"};
    for (const AxisEntry& e : out.axes) known.insert(known.end(), e.names.begin(), e.names.end());
    for (const std::string& u : used)
      if (std::ranges::find(known, u) == known.end())
        reader.complain_at("launch", unknown_name("placeholder", u, known));
    for (size_t i = 1; i < known.size(); ++i)
      if (!used.contains(known[i]))
        reader.complain_at("launch", "the axis \"" + known[i] + "\" does not occur in \"launch\"");
    const std::string extension = std::filesystem::path(out.file).extension().string();
    if (!used.empty() && (extension == ".cpp" || extension == ".cu"))
      reader.complain_at("launch", "template arguments need a header (.cuh or .hpp), because instances include it");
  }

  // Where the functions that `key` names are defined.
  void policy_header(Reader& reader, const char* key) {
    const std::string header = where_.prefix + "policy.hpp";
    if (where_.check_files && !std::filesystem::exists(where_.folder / "policy.hpp"))
      reader.complain_at(key, "there is no policy.hpp beside the manifest");
    else if (std::ranges::find(out_.policies, header) == out_.policies.end())
      out_.policies.push_back(header);
  }

  const ManifestFile& where_;
  ArchFile& arch_;
  Diagnostics& diagnostics_;
  Manifests& out_;
  std::string family_;
};

} // namespace

const ScalarTypeName* find_scalar_type(std::string_view name) {
  for (const ScalarTypeName& t : kScalarTypes)
    if (name == t.name) return &t;
  return nullptr;
}

const Op* Manifests::find_op(const std::string& name) const {
  const auto it = std::ranges::find(ops, name, &Op::name);
  return it == ops.end() ? nullptr : &*it;
}

void load_manifest(const std::string& text, const ManifestFile& where, ArchFile& arch, Diagnostics& diagnostics,
                   Manifests& out) {
  if (const auto root = parse_toml(text, where.shown, diagnostics)) Loader(where, arch, diagnostics, out).load(*root);
}

void check_manifests(Manifests& manifests, Diagnostics& diagnostics) {
  std::set<std::string> op_names, rows;
  for (const Op& op : manifests.ops)
    if (!op_names.insert(op.name).second) diagnostics.add("op \"" + op.name + "\" is defined twice");
  const std::vector<std::string> known(op_names.begin(), op_names.end());
  for (const Kernel& k : manifests.kernels) {
    const auto complain = [&](const std::string& text) {
      diagnostics.add(k.manifest, k.line, "kernel \"" + k.name + "\": " + text);
    };
    for (const std::string& op : k.ops) {
      if (!op_names.contains(op)) complain(unknown_name("op", op, known));
      if (!rows.insert(k.family + "/" + op + "/" + k.name).second)
        complain("there are two rows of this name for op \"" + op + "\"");
    }
    for (const char* other : k.facts.unless) {
      std::vector<std::string> peers;
      for (const Kernel& p : manifests.kernels) {
        const bool serves_all = std::ranges::all_of(
            k.ops, [&](const std::string& op) { return std::ranges::find(p.ops, op) != p.ops.end(); });
        if (p.family == k.family && p.name != k.name && p.facts.unless.empty() && serves_all) peers.push_back(p.name);
      }
      if (std::ranges::find(peers, other) == peers.end())
        complain(unknown_name("\"unless\": a kernel that serves the same ops and yields to none,", other, peers));
    }
  }
}

} // namespace spf::kernelgen
