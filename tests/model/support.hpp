// What the tests of model/ share: scratch folders, raw bytes, and refusals by field.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <span>
#include <string>
#include <string_view>

#include <gtest/gtest.h>
#include <unistd.h>

#include "model/error.hpp"
#include "model/file.hpp"

namespace model_test {

namespace fs = std::filesystem;
using spearfish::model::Bytes;
using spearfish::model::Error;

// A folder that is there while the object is.
class Scratch {
 public:
  Scratch() {
    std::string pattern = (fs::temp_directory_path() / "spearfish-model-XXXXXX").string();
    path_ = ::mkdtemp(pattern.data());
  }
  ~Scratch() { fs::remove_all(path_); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  fs::path operator/(std::string_view name) const { return path_ / name; }
  const fs::path& path() const { return path_; }
  size_t entries() const {
    return static_cast<size_t>(std::distance(fs::directory_iterator(path_), fs::directory_iterator()));
  }

 private:
  fs::path path_;
};

inline Bytes bytes_of(std::string_view text) { return std::as_bytes(std::span(text)); }

inline std::string slurp(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

inline void spill(const fs::path& path, std::string_view text) { std::ofstream(path, std::ios::binary) << text; }

// Runs `f`, which must refuse; returns the refusal.
template <class F>
Error refusal(F&& f) {
  try {
    f();
  } catch (const Error& e) {
    return e;
  }
  ADD_FAILURE() << "nothing was refused";
  return {SPF_OK, "", "", "", ""};
}

} // namespace model_test
