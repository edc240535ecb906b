// What an op takes, as data. kernelgen writes one OpSchema per [[op]] of a manifest; validation, planning, the generic
// C entry points, tests and docs read it.
#pragma once

#include <cstdint>

#include "spearfish/types.h"

namespace spf {

inline constexpr int kMaxOperands = 16;
inline constexpr int kMaxParams = 12;
inline constexpr int kMaxDims = 6;     // of one operand
inline constexpr int kMaxSymbols = 16; // distinct dimension symbols of one op

struct Problem;   // core/call.hpp
struct Violation; // core/constraint.hpp

constexpr uint32_t type_bit(spf_scalar_type t) { return 1u << static_cast<uint32_t>(t); }

enum class Role : uint8_t { kIn, kOut, kInOut };

// Which views an operand may be.
enum class ViewRule : uint8_t {
  kRows,       // last dimension contiguous, every other stride free (inputs: 0 broadcasts; outputs: no overlap)
  kAny,        // every stride free
  kContiguous, // C order, no gaps
};

// One dimension of an operand: extent = factor * symbol, the symbol's extent divided or rounded up to a multiple of
// factor, or any number of leading dimensions ("*"). symbol is an index into OpSchema::symbols, -1 for a constant
// extent = factor.
struct DimSchema {
  int8_t symbol;
  int32_t factor;
  bool leading = false; // "*": zero or more dimensions whose product binds the symbol "*"
  bool padded = false;  // "up128(G)": rounded up
  int32_t divisor = 1;  // "K/2", "up4(K/16)": the symbol's extent divided first, rounded up

  // Whether the dimension says what its symbol is; else the weight or an operand before this one does.
  constexpr bool binds() const { return symbol >= 0 && !padded && divisor == 1; }
  // Of a dimension that is no leading one.
  constexpr int64_t extent(int64_t symbol_extent) const {
    if (symbol < 0) return factor;
    const int64_t part = (symbol_extent + divisor - 1) / divisor;
    return padded ? (part + factor - 1) / factor * factor : factor * part;
  }
};

struct OperandSchema {
  const char* name;
  Role role;
  bool optional;
  ViewRule view;
  int8_t type_variable; // index into OpSchema::type_variables
  int8_t dim_count;
  DimSchema dims[kMaxDims];
  const char* shape_text;        // as the manifest writes it: "*,2*D"
  const char* values_text = "";  // what it may hold, as core/value_rule.hpp reads it; "": any number
  const char* traffic_text = ""; // elements that a call moves of it, a product of symbols; "": all
};

struct TypeVariable {
  const char* name;
  uint32_t types; // type_bit() mask of what the op accepts
};

enum class ParamKind : uint8_t { kF64, kI64, kBool };

struct ParamSchema {
  const char* name;
  ParamKind kind;
  double fallback; // default
  double min, max; // inclusive; +-infinity when unbounded
};

// Relations that shapes cannot say. Pure; runs before every plan, for plan-only calls too.
using ConstraintFn = Violation (*)(const Problem&);

struct OpSchema {
  const char* name;
  const char* family;
  const char* summary;
  bool packed_weight; // takes an spf_packed_weight besides the operands (linear)
  int8_t operand_count, param_count, type_variable_count, symbol_count;
  OperandSchema operands[kMaxOperands];
  ParamSchema params[kMaxParams];
  TypeVariable type_variables[kMaxOperands];
  const char* symbols[kMaxSymbols]; // "*" is always symbol 0 when it occurs
  ConstraintFn constraint = nullptr;

  int operand_index(const char* operand) const; // -1 if the op has no such operand
};

} // namespace spf
