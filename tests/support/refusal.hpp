// What a call of the C++ interface refuses.
#pragma once

#include <functional>
#include <string>

#include "spearfish/spearfish.hpp"

namespace support {

// The field that the error of `call` names; "" if it throws none.
inline std::string refused_field(const std::function<void()>& call) {
  try {
    call();
  } catch (const spearfish::Error& e) {
    return e.field();
  }
  return "";
}

} // namespace support
