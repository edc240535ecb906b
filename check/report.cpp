#include "check/report.hpp"

#include <ctime>
#include <fstream>

#include "check/memory.hpp"
#include "spearfish/version.h"

namespace spf::check {
namespace {

// "model name : AMD EPYC ..." of the first processor; the facts of a CPU name its features instead.
std::string cpu_name(const spf_device_facts& facts) {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);)
    if (line.starts_with("model name"))
      return line.substr(line.find(':') + 2) + ", " + std::to_string(facts.sm_count) + " threads";
  return facts.name;
}

// "spearfish 0.1.0 (abc1234; GNU 12.2.0; ..." -> "abc1234".
std::string commit_of(const std::string& version) {
  const size_t open = version.find('('), end = version.find(';');
  return open == std::string::npos || end == std::string::npos ? version : version.substr(open + 1, end - open - 1);
}

template <class Field>
int64_t sum(const std::vector<ReportRow>& rows, Field field) {
  int64_t total = 0;
  for (const ReportRow& row : rows) total += row.*field;
  return total;
}

} // namespace

RunInfo run_info(const Memory& memory, const std::string& command) {
  RunInfo info;
  info.device = memory.is_cpu() ? cpu_name(memory.facts()) : memory.facts().name;
  if (!memory.is_cpu()) info.driver = std::to_string(spf_cuda_driver_version());
  info.toolkit = spf_built_toolkit();
  info.commit = commit_of(spf_version_string());
  info.command = command;
  const std::time_t now = std::time(nullptr);
  std::tm utc;
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &utc));
  info.date = text;
  return info;
}

int64_t Report::passed() const { return sum(rows, &ReportRow::passed); }
int64_t Report::failed() const { return sum(rows, &ReportRow::failed); }
int64_t Report::skipped() const { return sum(rows, &ReportRow::skipped); }

nlohmann::ordered_json Report::json() const {
  nlohmann::ordered_json out = {{"device", info.device},   {"driver", info.driver},
                                {"toolkit", info.toolkit}, {"commit", info.commit},
                                {"command", info.command}, {"date", info.date},
                                {"passed", passed()},      {"failed", failed()},
                                {"skipped", skipped()},    {"rows", nlohmann::ordered_json::array()}};
  for (const ReportRow& row : rows) {
    nlohmann::ordered_json item = {{"op", row.op},         {"kernel", row.kernel}, {"instance", row.instance},
                                   {"passed", row.passed}, {"failed", row.failed}, {"skipped", row.skipped}};
    if (row.passed > 0) {
      item["worst_error_over_limit"] = row.worst;
      if (!row.worst_case.empty()) item["worst_case"] = row.worst_case;
    }
    for (const auto& [reason, count] : row.refusals) item["refusals"][reason] = count;
    for (const Failed& failure : row.failures)
      item["failures"].push_back({{"test", failure.test}, {"difference", failure.difference}});
    out["rows"].push_back(std::move(item));
  }
  return out;
}

} // namespace spf::check
