// One command of `spearfish`. A command lives in its own file, <name>_command.cpp, and is listed once in main.cpp.
#pragma once

#include <memory>
#include <stdexcept>
#include <string>

#include <CLI/CLI.hpp>

namespace spearfish::cli {

// Exit codes, as --help states them.
enum Exit : int {
  kOk = 0,
  kFailure = 1,  // something that should work does not
  kUsage = 2,    // the command line itself is wrong
  kNoKernel = 3, // no kernel of this build and device serves what was asked for
  kBadFile = 4,  // a file or a part of it is missing, corrupt, of a kind that is not served, or in the way
  kNoMemory = 5, // more memory is needed than there is; the message says how much
};

// The command line is wrong: one sentence for stderr, exit code kUsage.
class UsageError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// The work failed for a reason of its own: one sentence for stderr, exit code kFailure.
class CommandError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// A file cannot be read, written or understood: one sentence for stderr, exit code kBadFile.
class FileError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// The device that was asked for is not here: one sentence for stderr, exit code kNoKernel.
class NoDeviceError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

class Command {
 public:
  Command() = default;
  Command(const Command&) = delete;
  Command& operator=(const Command&) = delete;
  virtual ~Command() = default;

  // Declares options and positionals. Called once; what it binds must live as long as the command. The footer of `app`
  // holds at least one example line.
  virtual void define(CLI::App& app) = 0;

  // Runs after a successful parse and returns the exit code. May throw any of these errors or spearfish::Error.
  virtual int run() = 0;
};

// A row of the table in main.cpp.
struct CommandRow {
  const char* name;
  const char* summary;
  std::unique_ptr<Command> (*make)();
};

std::unique_ptr<Command> make_coverage_command();
std::unique_ptr<Command> make_demo_command();
std::unique_ptr<Command> make_check_command();
std::unique_ptr<Command> make_bench_command();
std::unique_ptr<Command> make_doctor_command();
std::unique_ptr<Command> make_quantize_command();
std::unique_ptr<Command> make_plan_command();
std::unique_ptr<Command> make_generate_command();
std::unique_ptr<Command> make_perplexity_command();
std::unique_ptr<Command> make_inspect_command();
std::unique_ptr<Command> make_compare_command();

} // namespace spearfish::cli
