// `spearfish quantize` as a user runs it: what it says, and what is left when it is killed.
#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <thread>

#include <fcntl.h>

#include "run.hpp"

namespace spf::test {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

const std::string kSample = SPF_SOURCE_DIR "/models/sample";

class QuantizeCli : public testing::Test {
 protected:
  QuantizeCli() {
    std::string pattern = (fs::temp_directory_path() / "spearfish-cli-XXXXXX").string();
    dir_ = ::mkdtemp(pattern.data());
  }
  ~QuantizeCli() override { fs::remove_all(dir_); }

  std::string out() const { return (dir_ / "out").string(); }
  size_t entries() const {
    return static_cast<size_t>(std::distance(fs::directory_iterator(dir_), fs::directory_iterator()));
  }
  std::vector<std::string> args(const std::string& format, std::vector<std::string> more = {}) const {
    std::vector<std::string> all = {"quantize", kSample, "--format", format, "--out", out()};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }

  // Starts the command, waits until it writes, sends it a signal. Returns its wait status.
  int signalled(const std::string& format, int signal) const {
    const pid_t child = fork();
    if (child == 0) {
      const int nowhere = open("/dev/null", O_WRONLY);
      dup2(nowhere, STDOUT_FILENO);
      dup2(nowhere, STDERR_FILENO);
      std::vector<std::string> all = args(format);
      all.insert(all.begin(), SPF_CLI);
      std::vector<char*> argv;
      for (std::string& a : all) argv.push_back(a.data());
      argv.push_back(nullptr);
      execv(argv[0], argv.data());
      _exit(127);
    }
    const fs::path partial = dir_ / ".out.partial";
    for (int i = 0; i < 30000 && (!fs::exists(partial) || fs::is_empty(partial)); ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    kill(child, signal);
    int status = 0;
    waitpid(child, &status, 0);
    return status;
  }

  fs::path dir_;
};

TEST_F(QuantizeCli, TextAndJson) {
  const Result text = command(args("int4-g128"));
  ASSERT_EQ(text.code, 0) << text.err;
  EXPECT_TRUE(contains(text.out, "int4-g128  nearest       49  5505024")) << text.out;
  EXPECT_TRUE(contains(text.out, "10.6 MiB -> 2.8 MiB in " + out())) << text.out;
  EXPECT_EQ(text.err, "");
  EXPECT_EQ(entries(), 1u);
  fs::remove_all(out());
  const Result r = command(args("q4_k", {"--json"}));
  ASSERT_EQ(r.code, 0) << r.err;
  const Json j = json_of(r);
  EXPECT_EQ(j["format"], "q4_k");
  EXPECT_EQ(j["linears"].size(), 50u);
  EXPECT_EQ(j["linears"][0]["name"], "model.embed_tokens");
  EXPECT_EQ(j["linears"][0]["scheme"], "q6_k");
  EXPECT_EQ(j["linears"][1]["scheme"], "q4_k");
  EXPECT_LT(j["bytes"].get<double>(), 0.31 * j["source_bytes"].get<double>());
}

TEST_F(QuantizeCli, RefusesInOneSentence) {
  expect_refused(command(args("int4-g12")), 2, "'int4-g12' is not a format; did you mean 'int4-g128'?");
  fs::create_directory(out());
  std::ofstream(dir_ / "out" / "precious") << "kept";
  expect_refused(command(args("int8")), 2, out() + ": output folder is there already; allowed: a name that is free");
  EXPECT_TRUE(fs::exists(dir_ / "out" / "precious"));
  const Result missing =
      command({"quantize", (dir_ / "nothing").string(), "--format", "int8", "--out", (dir_ / "x").string()});
  EXPECT_EQ(missing.code, 4);
  EXPECT_TRUE(contains(missing.err, "nothing: checkpoint is missing")) << missing.err;
  EXPECT_EQ(entries(), 1u);
}

TEST_F(QuantizeCli, Calibrated) {
  const std::string text = kSample + "/calibration.txt";
  const std::vector<std::string> how = {"--calibrate", text, "--calibrate-bytes", "400", "--no-scaling", "--json"};
  const Json j = json_of(command(args("int4-g128", how)));
  ASSERT_EQ(j["linears"].size(), 49u);
  double nearest = 0, error = 0;
  for (const Json& linear : j["linears"]) {
    nearest += linear["nearest_error"].get<double>();
    error += linear["error"].get<double>();
  }
  EXPECT_GT(error, 0);
  EXPECT_LT(error, 0.8 * nearest);
  EXPECT_EQ(entries(), 1u);
}

TEST_F(QuantizeCli, RefusesCalibrationsInOneSentence) {
  const std::string text = kSample + "/calibration.txt";
  expect_refused(command(args("int8", {"--act-order"})), 2,
                 "--act-order says how to calibrate; allowed: with --calibrate TEXT");
  const std::string empty = (dir_ / "empty").string();
  std::ofstream(empty).flush();
  expect_refused(command(args("int8", {"--calibrate", empty})), 2,
                 "--calibrate " + empty + " is empty; allowed: a text of at least one byte");
  const Result missing = command(args("int8", {"--calibrate", empty + "er"}));
  EXPECT_EQ(missing.code, 4);
  EXPECT_TRUE(contains(missing.err, "emptyer")) << missing.err;
  EXPECT_EQ(entries(), 1u) << "something half-done was left";
}

TEST_F(QuantizeCli, AnInterruptLeavesNothing) {
  for (const int signal : {SIGINT, SIGTERM}) {
    const int status = signalled("q4_k", signal);
    ASSERT_TRUE(WIFEXITED(status));
    EXPECT_EQ(WEXITSTATUS(status), 128 + signal);
    EXPECT_EQ(entries(), 0u);
  }
}

TEST_F(QuantizeCli, KilledWhileWriting) {
  for (const char* format : {"q4_k", "int4-g128"}) {
    const int status = signalled(format, SIGKILL);
    ASSERT_TRUE(WIFSIGNALED(status));
    EXPECT_FALSE(fs::exists(out())) << "half of a checkpoint";
    // The next run clears up and does it all.
    const Result again = command(args(format));
    ASSERT_EQ(again.code, 0) << again.err;
    EXPECT_EQ(entries(), 1u);
    for (const auto& entry : fs::directory_iterator(out())) EXPECT_NE(entry.path().filename().string()[0], '.');
    fs::remove_all(out());
  }
}

} // namespace
} // namespace spf::test
