// What a conformance run found, per kernel instance.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

namespace spf::check {

// What a run was made on and with: the head of every JSON that check and bench write.
struct RunInfo {
  std::string device;  // "NVIDIA H200", or the CPU's name
  std::string driver;  // "13000"; "" on the CPU
  std::string toolkit; // "13.0"; "" in a CPU-only build
  std::string commit;
  std::string command; // the command line
  std::string date;    // UTC, ISO 8601
};

class Memory;
RunInfo run_info(const Memory& memory, const std::string& command);

struct Failed {
  std::string test; // case, pattern or layout
  std::string difference;
};

// One instance of one kernel of one op.
struct ReportRow {
  std::string op, kernel, instance;
  int64_t passed = 0, failed = 0, skipped = 0;
  double worst = 0; // largest error over its limit
  std::string worst_case;
  std::map<std::string, int64_t> refusals; // why cases were skipped, and how many
  std::vector<Failed> failures;            // the first few
  bool unreached = false;                  // no case asked anything of it: counted as one failure
};

struct Report {
  RunInfo info;
  std::vector<ReportRow> rows;

  int64_t passed() const;
  int64_t failed() const;
  int64_t skipped() const;
  nlohmann::ordered_json json() const;
};

// Called as work proceeds; total is known from the start.
using ProgressCall = std::function<void(size_t done, size_t total, const std::string& what)>;

} // namespace spf::check
