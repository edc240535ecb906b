// The program: options, exit status, text and JSON.
#include <array>
#include <cstdio>
#include <filesystem>

#include <nlohmann/json.hpp>
#include <sys/wait.h>

#include "support.hpp"

namespace spf::kernelgen::test {
namespace {

struct Outcome {
  int status = -1;
  std::string out; // both streams
};

Outcome run(const std::string& arguments) {
  const std::string command = std::string("'") + SPF_KERNELGEN + "' " + arguments + " 2>&1";
  Outcome r;
  FILE* pipe = popen(command.c_str(), "r");
  if (!pipe) return r;
  std::array<char, 4096> buffer{};
  while (const size_t n = std::fread(buffer.data(), 1, buffer.size(), pipe)) r.out.append(buffer.data(), n);
  const int status = pclose(pipe);
  r.status = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  return r;
}

const std::string kRoot = std::string("--root '") + SPF_SOURCE_DIR + "' ";

bool has(const Outcome& r, const std::string& part) { return r.out.find(part) != std::string::npos; }

TEST(Program, HelpShowsEveryOptionAndExamples) {
  const Outcome r = run("--help");
  EXPECT_EQ(r.status, 0);
  for (const char* part : {"--archs", "--toolkit", "--packages", "--share", "--family", "--out", "--explain", "--json",
                           "--root", "--extra", "examples:", "exit status"})
    EXPECT_TRUE(has(r, part)) << part;
}

TEST(Program, UnknownOptionsSuggestTheNearOne) {
  const Outcome r = run("--arch 9.0a");
  EXPECT_EQ(r.status, 2);
  EXPECT_TRUE(has(r, "'--arch' is not an option; did you mean '--archs'?")) << r.out;
  EXPECT_TRUE(has(run("--toolkti 13.0"), "did you mean '--toolkit'?"));
  EXPECT_EQ(run("--archs").status, 2);
  EXPECT_EQ(run("--explain=yes").status, 2);
  EXPECT_EQ(run("--unit-seconds nought").status, 2);
}

TEST(Program, UnknownFamilySuggestsTheNearOne) {
  const Outcome r = run(kRoot + "--family nrom");
  EXPECT_EQ(r.status, 1);
  EXPECT_TRUE(has(r, "did you mean \"norm\"?")) << r.out;
}

TEST(Program, UnknownPackageSuggestsTheNearOne) {
  const Outcome r = run(kRoot + "--packages cutlas");
  EXPECT_EQ(r.status, 1);
  EXPECT_TRUE(has(r, "did you mean \"cutlass\"?")) << r.out;
}

TEST(Program, BadTargetsAndToolkitsAreNamed) {
  EXPECT_TRUE(has(run(kRoot + "--archs 9.1 --toolkit 13.0"), "target '9.1' is not known; did you mean '9.0'"));
  EXPECT_TRUE(has(run(kRoot + "--archs 9.0 --toolkit thirteen"), "not a version such as 13.0"));
  EXPECT_TRUE(has(run(kRoot + "--archs 9.0"), "say with --toolkit which toolkit compiles it"));
  EXPECT_TRUE(has(run(kRoot + "--archs gfx942 --toolkit 13.0"), "no kernel exists for HIP targets yet"));
  EXPECT_EQ(run(kRoot + "--archs 9.1 --toolkit 13.0").status, 1);
  EXPECT_EQ(run("--root /nowhere").status, 1);
}

TEST(Program, JsonHoldsTheRowsThatTheCommandLinePromises) {
  const Outcome r = run(kRoot + "--archs 'sm_90a 12.0' --toolkit 13.0 --json");
  ASSERT_EQ(r.status, 0) << r.out;
  const auto json = nlohmann::json::parse(r.out);
  EXPECT_EQ(json["targets"], "9.0a;12.0");
  EXPECT_EQ(json["toolkit"], "13.0");
  ASSERT_FALSE(json["rows"].empty());
  for (const auto& row : json["rows"])
    for (const char* key : {"family", "kernel", "target", "state", "reason", "built", "tested", "tuned"})
      EXPECT_TRUE(row.contains(key)) << key;
  for (const auto& [name, family] : json["families"].items())
    for (const char* key : {"instances", "units", "compile_seconds"}) EXPECT_TRUE(family.contains(key)) << name;
}

TEST(Program, ExplainPrintsEveryAnswerAndUnit) {
  const Outcome r = run(kRoot + "--archs '8.0;9.0a' --toolkit 13.0 --family norm --explain");
  ASSERT_EQ(r.status, 0) << r.out;
  for (const char* part :
       {"By family:", "norm", "instances", "est. s", "norm/reference", "library spf_cpu_x86_64", "native by x86-64"})
    EXPECT_TRUE(has(r, part)) << part << "\n" << r.out;
  EXPECT_FALSE(has(r, "activation/"));
}

// All spellings of one request are one request.
TEST(Program, SpellingsGiveTheSameBytes) {
  const Outcome a = run(kRoot + "--archs '8.0;9.0a' --toolkit 13.0 --json");
  for (const char* spelled : {"'9.0a, 8.0'", "'sm_90a sm_80'", "'90a-real;80-real;8.0'"})
    EXPECT_EQ(run(kRoot + "--archs " + spelled + " --toolkit 13.0 --json").out, a.out) << spelled;
}

TEST(Program, WritesTheSameFolderTwice) {
  const std::filesystem::path out = std::filesystem::path(SPF_BINARY_DIR) / "kernelgen_program_out";
  std::filesystem::remove_all(out);
  const std::string command = kRoot + "--archs '8.0;9.0a' --toolkit 13.0 --out '" + out.string() + "'";
  ASSERT_EQ(run(command).status, 0);
  std::vector<std::pair<std::string, std::string>> before;
  for (const auto& f : std::filesystem::recursive_directory_iterator(out))
    if (f.is_regular_file()) before.emplace_back(f.path().string(), read_file(f.path()));
  EXPECT_GE(before.size(), 7u);
  EXPECT_EQ(read_file(out / "archs"), "8.0;9.0a\n");
  ASSERT_EQ(run(command).status, 0);
  for (const auto& [path, text] : before) EXPECT_EQ(read_file(path), text) << path;
  std::filesystem::remove_all(out);
}

TEST(Program, AnExtraManifestOutsideTheTree) {
  const std::filesystem::path folder = std::filesystem::path(SPF_BINARY_DIR) / "kernelgen_extra";
  OutputFolder files(folder);
  files.write("kernels.toml",
              "family = \"mine\"\n[[op]]\nname = \"my_op\"\nsummary = \"s\"\ntypes = { T = [\"f32\"] }\n"
              "operands = [ { name = \"x\", type = \"T\", shape = \"*\" } ]\n"
              "[[kernel]]\nop = \"my_op\"\nname = \"reference\"\nfile = \"mine.cpp\"\nlaunch = \"run\"\n");
  files.write("mine.cpp", "");
  const Outcome r = run(kRoot + "--family mine --explain --extra '" + (folder / "kernels.toml").string() + "'");
  EXPECT_EQ(r.status, 0) << r.out;
  EXPECT_TRUE(has(r, (folder / "mine.cpp").string())) << r.out;
  std::filesystem::remove_all(folder);
}

} // namespace
} // namespace spf::kernelgen::test
