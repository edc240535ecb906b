// A problem as the command line states it: an op, extents, types, a weight format. Turned into operands without data.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "spearfish/spearfish.hpp"

namespace spearfish::cli {

// The op of that name. Throws UsageError with the near one.
OpInfo find_op(const std::string& name);

// Extents by dimension symbol: "H" -> {4096}, "*" -> any number of leading dimensions.
using Extents = std::map<std::string, std::vector<int64_t>>;

// "H=4096", "*=2x3x4" (also "*=[2,3,4]"), several in one text separated by commas or blanks. Throws UsageError.
Extents parse_extents(const std::vector<std::string>& texts);

// Dimension symbols that the operands of an op name, in order of first use; "*" first where it occurs.
std::vector<std::string> symbols_of(const OpInfo& op);

// Types of operands: one for every type variable, but for those of the operands that are named.
struct OperandTypes {
  ScalarType usual;
  std::map<std::string, ScalarType> named;
};

// The operand of that name. Throws UsageError with the near one.
const OperandInfo& find_operand(const OpInfo& op, const std::string& name);

// One tensor per operand, without data; std::nullopt for those listed in `absent`. Throws UsageError for a symbol that
// is missing or unknown, and for an operand that is unknown or cannot be left out.
std::vector<OptionalTensor> operands_without_data(const OpInfo& op, const Extents& extents, const OperandTypes& types,
                                                  const std::vector<std::string>& absent, Device device);

// "epsilon=1e-5" -> one value per parameter, the others at their defaults. Throws UsageError.
std::vector<double> parse_params(const OpInfo& op, const std::vector<std::string>& texts);

// A weight format with an optional group size: ("int4", 128) and ("int4-g128", none) are the same. Throws UsageError
// with the near name.
struct WeightFormat {
  std::string name;
  QuantScheme scheme;
};
WeightFormat weight_format(const std::string& name, const int64_t* group);

// Facts of a device given by name. Throws UsageError with the near name if it is unknown, spearfish::Error if it is a
// device of this machine that is not here.
DeviceFacts device_facts(const std::string& name);

// The scalar type of that name. Throws UsageError with the near one of `known`, or with all that are taken.
ScalarType scalar_type_named(const std::string& name, const std::vector<std::string>& known);

} // namespace spearfish::cli
