// Runs the built command.
#pragma once

#include <array>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <sys/wait.h>
#include <unistd.h>

namespace spf::test {

struct Result {
  int code = -1;
  std::string out, err;
};

inline std::string read_all(int descriptor) {
  std::string text;
  std::array<char, 4096> buffer;
  for (ssize_t got; (got = read(descriptor, buffer.data(), buffer.size())) > 0;)
    text.append(buffer.data(), static_cast<size_t>(got));
  close(descriptor);
  return text;
}

// `spearfish args...`, without a shell. Standard error goes to a file, so that neither pipe can fill up and block.
inline Result command(const std::vector<std::string>& args, const std::vector<std::string>& environment = {}) {
  Result result;
  int out[2];
  std::FILE* err = std::tmpfile();
  if (err == nullptr || pipe(out) != 0) {
    ADD_FAILURE() << "no pipe";
    return result;
  }
  const pid_t child = fork();
  if (child == 0) {
    dup2(out[1], STDOUT_FILENO);
    dup2(fileno(err), STDERR_FILENO);
    close(out[0]);
    close(out[1]);
    std::vector<std::string> all = {SPF_CLI};
    all.insert(all.end(), args.begin(), args.end());
    std::vector<char*> argv;
    for (std::string& a : all) argv.push_back(a.data());
    argv.push_back(nullptr);
    for (const std::string& e : environment)
      setenv(e.substr(0, e.find('=')).c_str(), e.substr(e.find('=') + 1).c_str(), 1);
    execv(argv[0], argv.data());
    _exit(127);
  }
  close(out[1]);
  result.out = read_all(out[0]);
  int status = 0;
  waitpid(child, &status, 0);
  result.code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  std::rewind(err);
  std::array<char, 4096> buffer;
  for (size_t got; (got = std::fread(buffer.data(), 1, buffer.size(), err)) > 0;) result.err.append(buffer.data(), got);
  std::fclose(err);
  return result;
}

inline nlohmann::json json_of(const Result& result) {
  const auto parsed = nlohmann::json::parse(result.out, nullptr, false);
  EXPECT_FALSE(parsed.is_discarded()) << "not JSON: " << result.out << result.err;
  return parsed;
}

inline bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

// One sentence on standard error, nothing on standard output, and that exit code.
inline void expect_refused(const Result& r, int code, const std::string& sentence) {
  EXPECT_EQ(r.code, code) << r.err;
  EXPECT_EQ(r.out, "");
  EXPECT_EQ(r.err, "spearfish: " + sentence + "\n");
}

} // namespace spf::test
