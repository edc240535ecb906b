// What `check` and `bench` share: families, device, case file and JSON output.
#pragma once

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <functional>
#include <sstream>

#include <nlohmann/json.hpp>

#include "check/conformance.hpp"
#include "command.hpp"

namespace spearfish::cli {

class RunCommand {
 public:
  void define(CLI::App& app) {
    app.add_option("FAMILY", families_, "Families or ops to run; all if none is named")->type_name("");
    app.add_option("--device", device_, "cpu, cuda or cuda:N")->type_name("DEVICE")->capture_default_str();
    app.add_option("--cases", cases_, "Read cases from this file instead of the built-in ones")->type_name("FILE");
    app.add_option("--json", json_, "Write the result as JSON to FILE; without FILE to standard output")
        ->type_name("FILE")
        ->expected(0, 1);
    json_option_ = app.get_option("--json");
  }

  // Opens the device, reads the cases and tries the output; what is wrong with them becomes a sentence and an exit
  // code before anything runs.
  int guarded(const std::function<int(spf::check::Memory&, const std::vector<spf::check::Case>&)>& body) {
    try {
      const auto memory = spf::check::open_device(device_);
      const std::vector<spf::check::Case> read = cases();
      if (json_option_->count() > 0 && !json_to_stdout()) require_writable(json_);
      return body(*memory, read);
    } catch (const spf::check::UsageError& e) {
      throw UsageError(e.what());
    } catch (const spf::check::NoDevice& e) {
      throw NoDeviceError(e.what());
    }
  }

  bool on_cpu() const { return device_ == "cpu"; }

  static void require_readable(const std::string& file) {
    errno = 0;
    if (!std::ifstream(file)) throw FileError("cannot read " + file + ": " + std::strerror(errno));
  }
  static void require_writable(const std::string& file) {
    errno = 0;
    if (!std::ofstream(file, std::ios::app)) throw FileError("cannot write " + file + ": " + std::strerror(errno));
  }

  bool json_to_stdout() const { return json_option_->count() > 0 && (json_.empty() || json_ == "-"); }

  void write_json(const nlohmann::ordered_json& json) const {
    if (json_option_->count() == 0) return;
    const std::string text = json.dump(1) + "\n";
    if (json_to_stdout()) {
      std::fputs(text.c_str(), stdout);
      return;
    }
    std::ofstream out(json_);
    out << text;
    if (!out.flush()) throw FileError("cannot write " + json_);
  }

  // The command as it could be typed again.
  std::string command_line(const std::string& name, const std::string& extra) const {
    std::string line = "spearfish " + name;
    for (const std::string& family : families_) line += " " + family;
    return line + " --device " + device_ + (cases_.empty() ? "" : " --cases " + cases_) + extra;
  }

 private:
  std::vector<spf::check::Case> cases() const {
    if (cases_.empty()) return spf::check::embedded_cases(families_);
    require_readable(cases_);
    std::stringstream text;
    text << std::ifstream(cases_).rdbuf();
    try {
      return spf::check::parse_cases(text.str(), cases_);
    } catch (const spf::check::UsageError& e) {
      throw FileError(e.what());
    }
  }

  std::vector<std::string> families_;
  std::string device_ = "cpu", cases_, json_;
  CLI::Option* json_option_ = nullptr;
};

} // namespace spearfish::cli
