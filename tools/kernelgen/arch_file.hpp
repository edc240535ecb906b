// arch/arch.toml in memory.
#pragma once

#include <deque>
#include <string>
#include <vector>

#include "arch/parse.hpp"
#include "arch/target.hpp"
#include "toml_reader.hpp"

namespace spf::kernelgen {

// Keeps strings and lists of strings alive for the tables that point at them.
class StringPool {
 public:
  const char* add(const std::string& text) { return strings_.emplace_back(text).c_str(); }
  std::span<const char* const> add(const std::vector<std::string>& texts) {
    std::vector<const char*> list;
    for (const std::string& t : texts) list.push_back(add(t));
    return lists_.emplace_back(std::move(list));
  }

 private:
  std::deque<std::string> strings_;
  std::deque<std::vector<const char*>> lists_;
};

// A GPU product.
struct Device {
  std::string name;
  arch::Target target;
  int sm_count = 0;
  int64_t l2_bytes = 0, memory_bytes = 0;
};

struct ArchFile {
  ArchFile() = default;
  ArchFile(const ArchFile&) = delete;
  ArchFile& operator=(const ArchFile&) = delete;

  StringPool pool;
  std::vector<std::string> features; // the vocabulary, as written
  std::vector<arch::ArchRow> rows;
  std::vector<Device> devices;
  std::vector<arch::RetiredRow> retired;
  std::vector<arch::PackageRow> packages;
  std::vector<std::vector<std::string>> cpu_bits; // by row: names of SPF_CPU_* bits
  arch::ArchTable table;

  arch::ListContext context(arch::Version toolkit) const { return {&table, toolkit, {}}; }
};

// Reads arch.toml. What cannot be understood is reported and left out.
void load_arch(const std::string& text, const std::string& file, Diagnostics& diagnostics, ArchFile& out);

} // namespace spf::kernelgen
