// Help, exit codes, and the near word for a mistyped one.
#include <algorithm>
#include <sstream>

#include "cli/suggest.hpp"
#include "run.hpp"
#include "spearfish/spearfish.hpp"

namespace spf::test {
namespace {

using spearfish::cli::edit_distance;
using spearfish::cli::nearest;
using spearfish::cli::unknown_word;

TEST(Suggest, EditDistance) {
  EXPECT_EQ(edit_distance("", ""), 0);
  EXPECT_EQ(edit_distance("", "abc"), 3);
  EXPECT_EQ(edit_distance("abc", ""), 3);
  EXPECT_EQ(edit_distance("plan", "plan"), 0);
  EXPECT_EQ(edit_distance("plan", "pln"), 1);
  EXPECT_EQ(edit_distance("plan", "plain"), 1);
  EXPECT_EQ(edit_distance("plan", "plam"), 1);
  EXPECT_EQ(edit_distance("plan", "paln"), 1);
  EXPECT_EQ(edit_distance("PLAN", "plan"), 0);
  EXPECT_EQ(edit_distance("kitten", "sitting"), 3);
  EXPECT_EQ(edit_distance("ca", "abc"), 3);
}

TEST(Suggest, Nearest) {
  const std::vector<std::string> words = {"doctor", "plan", "coverage", "demo"};
  EXPECT_EQ(nearest("docter", words), "doctor");
  EXPECT_EQ(nearest("pan", words), "plan");
  EXPECT_EQ(nearest("convergence", words), "");
  EXPECT_EQ(nearest("xyz", words), "");
  EXPECT_EQ(nearest("x", {}), "");
  EXPECT_EQ(nearest("ab", {"ac", "ad"}), "ac") << "the earlier one of two that are as near";
  EXPECT_EQ(unknown_word("command", "pan", words), "'pan' is not a command; did you mean 'plan'?");
  EXPECT_EQ(unknown_word("command", "xyz", words), "'xyz' is not a command; known: doctor, plan, coverage, demo");
}

// The commands that --help lists.
std::vector<std::string> listed_commands(const std::string& help) {
  std::vector<std::string> names;
  const size_t begin = help.find("Subcommands:\n");
  if (begin == std::string::npos) return names;
  std::istringstream lines(help.substr(begin + 13));
  for (std::string line; std::getline(lines, line) && line.substr(0, 2) == "  ";)
    if (line[2] != ' ') names.push_back(line.substr(2, line.find(' ', 2) - 2));
  return names;
}

TEST(Usage, HelpOfEveryCommandHasAnExampleAndExitCodes) {
  const Result top = command({"--help"});
  EXPECT_EQ(top.code, 0);
  EXPECT_EQ(top.err, "");
  EXPECT_TRUE(contains(top.out, "Exit codes: 0 success, 1 failure, 2 wrong usage, 3 no kernel can run, 4 a file is"));
  EXPECT_TRUE(contains(top.out, "5 not enough memory."));
  const std::vector<std::string> names = listed_commands(top.out);
  for (const char* name :
       {"doctor", "plan", "coverage", "generate", "perplexity", "inspect", "compare", "demo", "check", "bench"})
    EXPECT_EQ(std::count(names.begin(), names.end(), name), 1) << name << " is not listed";
  for (const std::string& name : names) {
    const Result help = command({name, "--help"});
    EXPECT_EQ(help.code, 0) << name;
    EXPECT_TRUE(contains(help.out, "spearfish " + name)) << name;
    EXPECT_TRUE(contains(help.out, "Example")) << name;
    EXPECT_TRUE(contains(help.out, "Exit codes: 0")) << name;
    EXPECT_TRUE(contains(help.out, "--json")) << name;
    EXPECT_EQ(help.out.back(), '\n') << name;
  }
}

TEST(Usage, HelpOfPlanExcerpt) {
  std::string help = command({"plan", "--help"}).out;
  const std::string newer = "TEXT [cpu]"; // as CLI11 2.4 writes a default
  if (const size_t at = help.find(newer); at != std::string::npos) help.replace(at, newer.size(), "TEXT=cpu  ");
  for (const char* line :
       {"  op TEXT REQUIRED            The op, e.g. linear, rms_norm, silu_and_mul\n",
        "  --device TEXT=cpu           cpu, cuda:0, or one that is not here: cpu:avx2, sm_90, 9.0, h200, ...\n",
        "  --group INT                 Values along K that share a scale; -1 = all of K\n",
        "Examples: spearfish plan linear --m 8 --n 4096 --k 14336 --weight int4-g128 --device h200\n"})
    EXPECT_TRUE(contains(help, line)) << line << "\nis not in\n" << help;
}

TEST(Usage, Version) {
  const Result r = command({"--version"});
  EXPECT_EQ(r.code, 0);
  EXPECT_EQ(r.out, std::string(spf_version_string()) + "\n");
}

TEST(Usage, NothingShowsTheHelp) {
  const Result r = command({});
  EXPECT_EQ(r.code, 2);
  EXPECT_EQ(r.out, "");
  EXPECT_TRUE(contains(r.err, "Usage: spearfish"));
}

TEST(Usage, NearCommands) {
  expect_refused(command({"pln"}), 2, "'pln' is not a command; did you mean 'plan'?");
  expect_refused(command({"Doctr", "--json"}), 2, "'Doctr' is not a command; did you mean 'doctor'?");
  const Result far = command({"quartermaster"});
  EXPECT_EQ(far.code, 2);
  EXPECT_TRUE(contains(far.err, "'quartermaster' is not a command; known: doctor, plan")) << far.err;
}

TEST(Usage, NearFlags) {
  expect_refused(command({"doctor", "--jsn"}), 2, "'--jsn' is not a flag; did you mean '--json'?");
  expect_refused(command({"coverage", "--arch=9.0"}), 2, "'--arch' is not a flag; did you mean '--archs'?");
  expect_refused(command({"--verison"}), 2, "'--verison' is not a flag; did you mean '--version'?");
  // The mistyped flag is named, not the one that is missing because of it.
  expect_refused(command({"plan", "--devise", "cpu"}), 2, "'--devise' is not a flag; did you mean '--device'?");
}

TEST(Usage, MissingAndMalformedValues) {
  const Result missing = command({"plan"});
  EXPECT_EQ(missing.code, 2);
  EXPECT_TRUE(contains(missing.err, "op is required")) << missing.err;
  expect_refused(command({"plan", "linear", "--m", "eight"}), 2, "--m: 'eight' is not a whole number of 0 or more");
  expect_refused(command({"plan", "linear", "--m", "-1"}), 2, "--m: '-1' is not a whole number of 0 or more");
  expect_refused(command({"plan", "linear", "--m", "9223372036854775808"}), 2,
                 "--m: '9223372036854775808' is above 9223372036854775807");
  expect_refused(command({"demo", "--m", "0"}), 2, "--m: '0' is not a whole number of 1 or more");
  expect_refused(command({"demo", "--threads", "0"}), 2, "--threads: '0' is not a whole number from 1 to 4096");
  expect_refused(command({"generate", "x", "--top-p", "2"}), 2, "--top-p: '2' is not a number from 0 to 1");
  expect_refused(command({"generate", "x", "--temperature", "nan"}), 2,
                 "--temperature: 'nan' is not a number of 0 or more");
  expect_refused(command({"generate", "x", "--memory", "0"}), 2, "--memory: '0' is not a number above 0");
  expect_refused(command({"bench", "--seconds", "-1"}), 2, "--seconds: '-1' is not a number above 0");
  EXPECT_EQ(command({"doctor", "extra"}).code, 2);
}

TEST(Output, HasNoColourAndNoProgressWithoutATerminal) {
  for (const std::vector<std::string>& args : {std::vector<std::string>{"doctor"},
                                               {"coverage"},
                                               {"plan", "silu", "--dims", "*=2", "D=8"},
                                               {"demo", "--n", "32", "--k", "256", "--m", "1", "--formats", "f16"}}) {
    const Result r = command(args, {"TERM=xterm-256color"});
    EXPECT_FALSE(contains(r.out, "\033")) << args[0];
    EXPECT_FALSE(contains(r.err, "\033")) << args[0];
    EXPECT_FALSE(contains(r.err, "\r")) << args[0];
  }
}

} // namespace
} // namespace spf::test
