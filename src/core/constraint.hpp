// Relations between the extents, types and parameters of an op that shapes cannot say: heads a multiple of key heads,
// an even rotary size. An op names such a function in its manifest (`constraint`); it stands in the family's
// policy.hpp.
#pragma once

#include <string>

#include "core/call.hpp"

namespace spf {

// What is wrong with a problem, for the error's detail; an empty field: nothing.
struct Violation {
  std::string field;   // "query.shape[1]", or a parameter's name
  std::string value;   // what was found
  std::string allowed; // what would have been accepted
};

} // namespace spf
