// `spearfish`: the command line. Parses, finds the command, turns every failure into one sentence and an exit code.
#include <cstdio>
#include <exception>
#include <vector>

#include <fmt/format.h>

#include "command.hpp"
#include "model/error.hpp"
#include "spearfish/spearfish.hpp"
#include "suggest.hpp"

namespace spearfish::cli {
namespace {

// Every command, in the order of --help.
constexpr CommandRow kCommands[] = {
    {"doctor", "What this machine and this build can run, and how to add what is missing", make_doctor_command},
    {"plan", "Which kernel serves a problem on a device, and why the others do not", make_plan_command},
    {"coverage", "Which kernel is built, tested and tuned for which target", make_coverage_command},
    {"generate", "Text from a checkpoint and a prompt, and which kernel served what, how fast", make_generate_command},
    {"perplexity", "Bits per byte that a checkpoint gives to a text", make_perplexity_command},
    {"inspect", "What a checkpoint holds, which kernels would run it, in how much memory", make_inspect_command},
    {"compare", "A checkpoint in every weight format: text, size, quality, speed", make_compare_command},
    {"demo", "A generated weight in every format, through the planned kernels", make_demo_command},
    {"check", "Every kernel on this machine against the reference", make_check_command},
    {"bench", "The same kernels timed, beside the limits of this machine", make_bench_command},
    {"quantize", "A plain checkpoint into a quantized one that other tools read too", make_quantize_command},
};

constexpr const char* kFooter =
    "Exit codes: 0 success, 1 failure, 2 wrong usage, 3 no kernel can run, 4 a file is missing, corrupt or not "
    "served,\n"
    "5 not enough memory.\n"
    "Example: spearfish plan linear --m 8 --n 4096 --k 14336 --weight int4-g128\n";

int fail(Exit code, std::string_view message) {
  fmt::print(stderr, "spearfish: {}\n", message);
  return code;
}

std::vector<std::string> command_names() {
  std::vector<std::string> names;
  for (const CommandRow& row : kCommands) names.emplace_back(row.name);
  return names;
}

// Every spelling of every option of an app: "--json", "-h".
std::vector<std::string> option_names(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
    for (const std::string& name : option->get_snames()) names.push_back("-" + name);
  }
  return names;
}

// What the first argument that nothing took should have been.
std::string unexpected(const CLI::App& app, const std::string& argument, bool is_root) {
  if (argument.size() > 1 && argument.front() == '-')
    return unknown_word("flag", argument.substr(0, argument.find('=')), option_names(app));
  if (is_root) return unknown_word("command", argument, command_names());
  return fmt::format("'{}' was not expected; see 'spearfish {} --help'", argument, app.get_name());
}

// The exit code of a refusal, as kFooter states them. A refusal of a file says so by its type.
Exit exit_code(const Error& e) {
  const bool file = dynamic_cast<const model::Error*>(&e) != nullptr;
  switch (e.status()) {
    case SPF_OUT_OF_MEMORY:
      return kNoMemory;
    case SPF_NOT_BUILT:
    case SPF_INVALID_DEVICE:
      return kNoKernel;
    case SPF_UNSUPPORTED:
      return file ? kBadFile : kNoKernel;
    case SPF_NOT_FOUND:
    case SPF_CORRUPT_DATA:
      return file ? kBadFile : kFailure;
    case SPF_INVALID_ARGUMENT:
      return file ? kUsage : kFailure;
    default:
      return kFailure;
  }
}

int parse_and_run(int argc, char** argv) {
  CLI::App app("Kernels for quantized inference: what runs here, what would run elsewhere, and how well.", "spearfish");
  app.set_version_flag("--version", spf_version_string());
  app.footer(kFooter);
  // Left-over arguments are looked at below, so that the near word can be named.
  app.allow_extras();
  // One command: `check quantize` names a family, although there is a command of that name.
  app.require_subcommand(0, 1);
  std::vector<std::unique_ptr<Command>> commands;
  std::vector<CLI::App*> apps;
  for (const CommandRow& row : kCommands) {
    commands.push_back(row.make());
    apps.push_back(app.add_subcommand(row.name, row.summary));
    apps.back()->allow_extras();
    commands.back()->define(*apps.back());
  }
  const auto chosen = [&]() -> size_t {
    for (size_t i = 0; i < apps.size(); ++i)
      if (apps[i]->parsed()) return i;
    return apps.size();
  };
  const auto left_over = [&]() -> std::string {
    const size_t i = chosen();
    if (const auto extras = app.remaining(); !extras.empty()) return unexpected(app, extras.front(), true);
    if (i == apps.size()) return "";
    if (const auto extras = apps[i]->remaining(); !extras.empty()) return unexpected(*apps[i], extras.front(), false);
    return "";
  };
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& e) {
    return app.exit(e); // --help and --version
  } catch (const CLI::ParseError& e) {
    // A mistyped flag is the likelier cause of a missing one.
    const std::string extra = left_over();
    return fail(kUsage, extra.empty() ? e.what() : extra);
  }
  if (const std::string extra = left_over(); !extra.empty()) return fail(kUsage, extra);
  if (chosen() == apps.size()) {
    fmt::print(stderr, "{}", app.help());
    return kUsage;
  }
  return commands[chosen()]->run();
}

} // namespace
} // namespace spearfish::cli

int main(int argc, char** argv) {
  using namespace spearfish;
  try {
    return cli::parse_and_run(argc, argv);
  } catch (const cli::UsageError& e) {
    return cli::fail(cli::kUsage, e.what());
  } catch (const cli::FileError& e) {
    return cli::fail(cli::kBadFile, e.what());
  } catch (const cli::NoDeviceError& e) {
    return cli::fail(cli::kNoKernel, e.what());
  } catch (const Error& e) {
    return cli::fail(cli::exit_code(e), e.what());
  } catch (const std::exception& e) {
    return cli::fail(cli::kFailure, e.what());
  }
}
