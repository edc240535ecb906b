// JSON of checkpoints, with every error naming the file and the field.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

#include "model/error.hpp"

namespace spearfish::model {

using Json = nlohmann::json;

// Parses a whole document. Refuses (SPF_CORRUPT_DATA, naming the byte or the key): what is not JSON, a key that stands
// twice in one object, nesting deeper than 64.
Json parse_json(std::string_view text, std::string_view file);

// A JSON object with a path for messages. Borrowed.
class JsonObject {
 public:
  // Error if `value` is not an object.
  JsonObject(const Json& value, std::string file, std::string path);

  const Json* find(std::string_view key) const; // nullptr if absent or null
  bool has(std::string_view key) const { return find(key) != nullptr; }

  // Required forms throw if the key is absent; all throw if the type is wrong or an integer is outside [lo, hi].
  int64_t integer(std::string_view key, int64_t lo, int64_t hi) const;
  int64_t integer(std::string_view key, int64_t lo, int64_t hi, int64_t fallback) const;
  double number(std::string_view key) const; // finite
  double number(std::string_view key, double fallback) const;
  bool boolean(std::string_view key, bool fallback) const;
  std::string string(std::string_view key) const;
  std::string string(std::string_view key, std::string_view fallback) const;
  JsonObject object(std::string_view key) const;
  const Json& array(std::string_view key) const;

  std::string field(std::string_view key) const {
    return path_.empty() ? std::string(key) : path_ + "." + std::string(key);
  }
  const std::string& file() const noexcept { return file_; }
  const std::string& path() const noexcept { return path_; }
  const Json& json() const noexcept { return *value_; }

  [[noreturn]] void refuse(std::string_view key, std::string_view value, std::string_view allowed,
                           spf_status status = SPF_UNSUPPORTED) const;

 private:
  const Json& require(std::string_view key, std::string_view allowed) const;
  const Json* value_;
  std::string file_, path_;
};

// How a JSON value reads in a message: short, one line.
std::string shown(const Json& value);

} // namespace spearfish::model
