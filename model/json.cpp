#include "model/json.hpp"

#include <cmath>
#include <unordered_set>
#include <vector>

namespace spearfish::model {
namespace {

constexpr int kMaxDepth = 64;

} // namespace

Json parse_json(std::string_view text, std::string_view file) {
  std::vector<std::unordered_set<std::string>> keys; // of the objects that are open
  const auto watch = [&](int depth, Json::parse_event_t event, Json& value) {
    if (depth > kMaxDepth)
      throw Error(SPF_CORRUPT_DATA, file, "JSON nesting", "deeper than " + std::to_string(kMaxDepth), "less");
    if (event == Json::parse_event_t::object_start) keys.emplace_back();
    if (event == Json::parse_event_t::object_end) keys.pop_back();
    if (event == Json::parse_event_t::key) {
      const auto& key = value.get_ref<const std::string&>();
      if (!keys.back().insert(key).second)
        throw Error(SPF_CORRUPT_DATA, file, "key", key, "each key once in an object");
    }
    return true;
  };
  try {
    return Json::parse(text.begin(), text.end(), watch);
  } catch (const Json::parse_error& e) {
    throw Error(SPF_CORRUPT_DATA, file, "byte " + std::to_string(e.byte), "not JSON", "a JSON document");
  } catch (const Json::exception&) { // a number beyond double
    throw Error(SPF_CORRUPT_DATA, file, "a number", "out of range", "numbers that a double holds");
  }
}

std::string shown(const Json& value) {
  std::string text = value.dump(-1, ' ', false, Json::error_handler_t::replace);
  if (text.size() > 80) text = text.substr(0, 77) + "...";
  return text;
}

JsonObject::JsonObject(const Json& value, std::string file, std::string path)
    : value_(&value), file_(std::move(file)), path_(std::move(path)) {
  if (!value.is_object())
    throw Error(SPF_CORRUPT_DATA, file_, path_.empty() ? "document" : path_, shown(value), "a JSON object");
}

const Json* JsonObject::find(std::string_view key) const {
  const auto it = value_->find(key);
  return it == value_->end() || it->is_null() ? nullptr : &*it;
}

void JsonObject::refuse(std::string_view key, std::string_view value, std::string_view allowed,
                        spf_status status) const {
  throw Error(status, file_, field(key), value, allowed);
}

const Json& JsonObject::require(std::string_view key, std::string_view allowed) const {
  const Json* value = find(key);
  if (value == nullptr) refuse(key, "missing", allowed, SPF_CORRUPT_DATA);
  return *value;
}

int64_t JsonObject::integer(std::string_view key, int64_t lo, int64_t hi) const {
  const std::string allowed = "an integer from " + std::to_string(lo) + " to " + std::to_string(hi);
  const Json& value = require(key, allowed);
  const bool fits = value.is_number_unsigned() ? value.get<uint64_t>() <= static_cast<uint64_t>(INT64_MAX)
                                               : value.is_number_integer();
  if (!fits || value.get<int64_t>() < lo || value.get<int64_t>() > hi)
    refuse(key, shown(value), allowed, SPF_CORRUPT_DATA);
  return value.get<int64_t>();
}

int64_t JsonObject::integer(std::string_view key, int64_t lo, int64_t hi, int64_t fallback) const {
  return has(key) ? integer(key, lo, hi) : fallback;
}

double JsonObject::number(std::string_view key) const {
  const Json& value = require(key, "a number");
  if (!value.is_number() || !std::isfinite(value.get<double>()))
    refuse(key, shown(value), "a number", SPF_CORRUPT_DATA);
  return value.get<double>();
}

double JsonObject::number(std::string_view key, double fallback) const { return has(key) ? number(key) : fallback; }

bool JsonObject::boolean(std::string_view key, bool fallback) const {
  const Json* value = find(key);
  if (value == nullptr) return fallback;
  if (!value->is_boolean()) refuse(key, shown(*value), "true or false", SPF_CORRUPT_DATA);
  return value->get<bool>();
}

std::string JsonObject::string(std::string_view key) const {
  const Json& value = require(key, "a string");
  if (!value.is_string()) refuse(key, shown(value), "a string", SPF_CORRUPT_DATA);
  return value.get<std::string>();
}

std::string JsonObject::string(std::string_view key, std::string_view fallback) const {
  return has(key) ? string(key) : std::string(fallback);
}

JsonObject JsonObject::object(std::string_view key) const { return {require(key, "a JSON object"), file_, field(key)}; }

const Json& JsonObject::array(std::string_view key) const {
  const Json& value = require(key, "a JSON array");
  if (!value.is_array()) refuse(key, shown(value), "a JSON array", SPF_CORRUPT_DATA);
  return value;
}

} // namespace spearfish::model
