// Refusals of files, configurations and vocabularies.
#pragma once

#include <string>
#include <string_view>

#include "spearfish/cxx/error.hpp"

namespace spearfish::model {

// What is wrong with a file, by name. what() reads "<file>: <field> is <value>; allowed: <allowed>".
// status(): SPF_CORRUPT_DATA for bytes that are not what they claim, SPF_UNSUPPORTED for what is well-formed but not
// served, SPF_NOT_FOUND for a missing file, tensor or token, SPF_INVALID_ARGUMENT for what the caller asked,
// SPF_DEVICE_ERROR for a failed system call.
class Error : public spearfish::Error {
 public:
  Error(spf_status status, std::string_view file, std::string_view field, std::string_view value,
        std::string_view allowed)
      : Error(status, Parts{std::string(file), std::string(field), shown(value), std::string(allowed)}) {}

  const std::string& file() const noexcept { return op(); }

 private:
  struct Parts {
    std::string file, field, value, allowed;
  };
  Error(spf_status status, const Parts& p)
      : spearfish::Error(status, detail_of(status, p,
                                           p.file + (p.file.empty() ? "" : ": ") + p.field +
                                               (p.value.empty() ? "" : " is " + p.value) +
                                               (p.allowed.empty() ? "" : "; allowed: " + p.allowed))) {}
  static spf_error_detail detail_of(spf_status status, const Parts& p, const std::string& message) {
    return {sizeof(spf_error_detail), status,         0, p.file.c_str(), "load", p.field.c_str(), p.value.c_str(),
            p.allowed.c_str(),        message.c_str()};
  }
  // Bytes of a damaged file may be anything: shortens, and shows control characters as \xNN.
  static std::string shown(std::string_view value) {
    constexpr size_t kLongest = 160;
    std::string out;
    for (const char c : value.substr(0, kLongest)) {
      if (static_cast<unsigned char>(c) >= 0x20 && c != 0x7f) {
        out += c;
        continue;
      }
      constexpr char kHex[] = "0123456789abcdef";
      out += "\\x";
      out += kHex[static_cast<unsigned char>(c) >> 4];
      out += kHex[c & 15];
    }
    if (value.size() > kLongest) out += "...";
    return out;
  }
};

} // namespace spearfish::model
