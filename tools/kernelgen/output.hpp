// The output folder: unchanged files keep their time stamps, files of an earlier run that no longer belong are removed.
#pragma once

#include <filesystem>
#include <set>
#include <string>

namespace spf::kernelgen {

class OutputFolder {
 public:
  explicit OutputFolder(std::filesystem::path folder) : folder_(std::move(folder)) {}

  // Throws std::runtime_error with the path if it cannot be written.
  void write(const std::string& name, const std::string& text);

  // Removes what the last run wrote and this one did not. Never touches a file that kernelgen did not write.
  void finish();

 private:
  std::filesystem::path folder_;
  std::set<std::string> written_;
};

// A file's bytes; throws std::runtime_error with the path if it cannot be read.
std::string read_file(const std::filesystem::path& path);

} // namespace spf::kernelgen
