// A family's kernels.toml in memory: ops, kernels, and the axes that multiply into instances.
#pragma once

#include <cstdint>
#include <deque>
#include <filesystem>
#include <limits>
#include <string>
#include <vector>

#include "arch/resolve.hpp"
#include "arch_file.hpp"

namespace spf::kernelgen {

// One value of an axis: as written, as a number, and as it stands in C++ template arguments.
struct AxisValue {
  std::string text;
  int64_t number = 0;
  std::string cpp;

  friend bool operator==(const AxisValue&, const AxisValue&) = default;
};

// One key of [kernel.axes]. A plain list is one axis; a list of tables is several axes that vary together.
struct AxisEntry {
  std::string key;
  std::vector<std::string> names;              // axes that it sets
  std::vector<std::vector<AxisValue>> choices; // each: one value per name
};

// A comparison of an axis with values or with another axis. All conditions of a `when` must hold.
struct Condition {
  enum class Op { kIn, kEqual, kNotEqual, kLess, kLessEqual, kGreater, kGreaterEqual };
  std::string axis;
  Op op = Op::kIn;
  std::vector<AxisValue> values; // one, or several for kIn
  std::string other;             // compare with this axis instead
};

// Which code targets a rule is for. Nothing set: all.
struct Selector {
  std::vector<arch::Target> targets, except;
  std::vector<std::string> lacking; // targets that lack one of these features

  bool everywhere() const { return targets.empty() && except.empty() && lacking.empty(); }
  bool matches(const arch::ArchTable& table, arch::Target code) const;
};

struct SkipRule {
  std::vector<Condition> when; // empty: everything that `where` selects
  Selector where;
  std::string why;
};

// Other values of some axes on some targets.
struct TargetAxes {
  Selector where;
  std::vector<AxisEntry> axes; // replace the entries of the same key
};

struct Dim {
  bool leading = false;
  bool padded = false; // rounded up to a multiple of factor
  std::string symbol;  // "" for a constant; "*" for the product of the leading dimensions, of padded ones only
  int factor = 1;
  int divisor = 1; // of the symbol's extent, before all else

  bool binds() const { return !padded && divisor == 1; }
};

struct Operand {
  std::string name, role, view, type, shape, values, traffic;
  bool optional = false;
  std::vector<Dim> dims;
};

struct TypeVariable {
  std::string name;
  std::vector<std::string> types;
};

struct Param {
  std::string name, kind;
  double fallback = 0;
  double min = -std::numeric_limits<double>::infinity(), max = std::numeric_limits<double>::infinity();
};

struct Op {
  std::string family, name, summary, constraint;
  bool packed_weight = false;
  std::vector<TypeVariable> types;
  std::vector<Operand> operands;
  std::vector<Param> params;
  std::vector<std::string> symbols;
};

// Bytes of local memory that a thread of a device function may use (spilled registers, arrays), and why they do no
// harm; scripts/resources holds a build to it. Without a rule: none.
struct StackRule {
  std::string function; // or the beginning of its name
  int64_t bytes = 0;
  std::string why;
};

struct Kernel {
  std::string family, name;
  std::vector<std::string> ops;
  std::string file;    // as written
  std::string include; // as a unit includes or names it: "kernels/norm/sm75_rows.cuh", or absolute
  bool in_tree = true;
  arch::Target::Kind kind = arch::Target::Kind::kNone;
  arch::KernelFacts facts; // spans into the pools of the ArchFile and the Manifests
  std::vector<std::string> layouts, packages, tested, tuned;
  std::string determinism, activation, weights, policy, launch;
  bool required = false, is_reference = false;
  double compile_seconds = 1; // of one instance for one target
  std::vector<AxisEntry> axes;
  std::vector<SkipRule> skips;
  std::vector<StackRule> stacks;
  std::vector<TargetAxes> target_axes;
  std::string manifest; // file, for messages
  int line = 0;
};

struct Manifests {
  std::vector<Op> ops; // in the order of the files, then as written
  std::vector<Kernel> kernels;
  std::vector<std::string> policies; // policy headers, in order of first use
  std::deque<std::vector<arch::Target>> target_lists;

  const Op* find_op(const std::string& name) const;
};

// Where a manifest stands, and how generated code names the files beside it.
struct ManifestFile {
  std::string shown;            // for messages, e.g. "kernels/norm/kernels.toml"
  std::filesystem::path folder; // on disk
  std::string prefix;           // "kernels/norm/", or the absolute folder with a slash
  bool in_tree = true;
  std::string family;      // if the text does not say; the folder's name in the tree
  bool check_files = true; // false: text without files beside it (tests, fuzzing)
};

// Scalar types by name, as manifests and include/spearfish/types.h spell them; nullptr for other words.
struct ScalarTypeName {
  const char* name;
  const char* enumerator;
  int number;
};
const ScalarTypeName* find_scalar_type(std::string_view name);

void load_manifest(const std::string& text, const ManifestFile& where, ArchFile& arch, Diagnostics& diagnostics,
                   Manifests& out);

// What only shows once every file is read: names that must be unique, ops and kernels that refer to each other.
void check_manifests(Manifests& manifests, Diagnostics& diagnostics);

} // namespace spf::kernelgen
