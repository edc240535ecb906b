// The ops of the library as the public schema tells them: what the conformance engine, the bench and the test drivers
// build problems from. Nothing here knows an op by name.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/value_rule.hpp"
#include "spearfish/plan.h"

namespace spf::check {

// One dimension of an operand: extent = factor * symbol, the symbol's extent rounded up to a multiple of factor, a
// constant (symbol empty), or "*": any leading dimensions.
struct Dim {
  std::string symbol; // "rows": the product of the leading dimensions, of padded ones only
  int64_t factor = 1;
  bool leading = false;
  bool padded = false;
  int64_t divisor = 1; // of the symbol's extent, before all else

  bool binds() const { return !leading && !padded && divisor == 1 && !symbol.empty(); }
  // Of a dimension that is no leading one.
  int64_t extent(int64_t symbol_extent) const {
    if (symbol.empty()) return factor;
    const int64_t part = (symbol_extent + divisor - 1) / divisor;
    return padded ? (part + factor - 1) / factor * factor : factor * part;
  }
};

struct Operand {
  std::string name;
  spf_operand_role role;
  bool optional;
  spf_view_rule view;
  std::string type_variable; // operands with the same variable share a type
  std::vector<spf_scalar_type> types;
  std::vector<Dim> dims;
  ValueRule values;                     // what it may hold
  std::optional<ExtentProduct> traffic; // elements that a call moves, if not all

  bool is_output() const { return role != SPF_ROLE_IN; }
  bool has_leading() const { return !dims.empty() && dims.front().leading; }
  // Holds indices, lengths or scales, not just numbers.
  bool has_rule() const {
    using Kind = ValueRule::Kind;
    return values.kind != Kind::kAny && values.kind != Kind::kModerate && !values.of_output();
  }
};

struct Param {
  std::string name;
  std::string kind; // "f64", "i64", "bool"
  double fallback, min, max;
};

struct Op {
  std::string name, family;
  bool packed_weight;
  std::vector<Operand> operands;
  std::vector<Param> params;

  int operand_index(const std::string& operand) const; // -1 if there is none
  int param_index(const std::string& param) const;
  bool has_leading() const;
  // Rows of numbers and nothing that binds extents to each other or to values: any extents make a problem. Other ops
  // are tried around the problems of their case file.
  bool takes_any_extents() const;
  std::vector<std::string> symbols() const; // without "*", in order of appearance; N and K of a packed weight too
  std::vector<std::string> type_variables() const; // in order of appearance
};

// Every op of the library, read once.
const std::vector<Op>& ops();

// nullptr if there is none.
const Op* find_op(const std::string& name);

std::string type_name(spf_scalar_type type);
int64_t type_bytes(spf_scalar_type type); // of one unpacked element

// "*,2*D" -> dims. Throws std::runtime_error on text that is no shape.
std::vector<Dim> parse_shape(const std::string& text);

// One kernel of the library, as the coverage table names it.
struct Kernel {
  std::string name; // "norm/sm75_rows"
  std::vector<std::string> instances;
  bool is_reference;

  // What spf_plan_options.require_kernel takes for one instance.
  std::string pattern(const std::string& instance) const { return instance.empty() ? name : name + "/" + instance; }
};

// Whether `wanted` names this kernel: "norm/sm75_rows", "sm75_rows", or "" for any.
bool name_fits(const std::string& kernel, const std::string& wanted);

// The kernels of an op for a kind of device, manifest order.
std::vector<Kernel> kernels_of(const std::string& op, spf_device_kind kind);

} // namespace spf::check
