#include "output.hpp"

#include <fstream>
#include <sstream>
#include <stdexcept>

namespace spf::kernelgen {
namespace {

constexpr const char* kList = "written.txt"; // names of the files of the last run

void store(const std::filesystem::path& path, const std::string& text) {
  std::filesystem::create_directories(path.parent_path());
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  out << text;
  out.flush();
  if (!out) throw std::runtime_error("cannot write " + path.string());
}

bool holds(const std::filesystem::path& path, const std::string& text) {
  std::error_code error;
  return std::filesystem::file_size(path, error) == text.size() && !error && read_file(path) == text;
}

} // namespace

std::string read_file(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) throw std::runtime_error("cannot read " + path.string());
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

void OutputFolder::write(const std::string& name, const std::string& text) {
  written_.insert(name);
  if (!holds(folder_ / name, text)) store(folder_ / name, text);
}

void OutputFolder::finish() {
  if (std::filesystem::exists(folder_ / kList)) {
    std::istringstream before(read_file(folder_ / kList));
    for (std::string name; std::getline(before, name);) {
      const bool outside = name.empty() || name.front() == '/' || name.find("..") != std::string::npos;
      if (!outside && !written_.contains(name)) std::filesystem::remove(folder_ / name);
    }
  }
  std::string list;
  for (const std::string& name : written_) list += name + "\n";
  if (!holds(folder_ / kList, list)) store(folder_ / kList, list);
}

} // namespace spf::kernelgen
