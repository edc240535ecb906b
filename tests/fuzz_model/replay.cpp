// Runs a fuzz target over a corpus without libFuzzer: each file as it is, cut at every 1/64 of its length, and under
// 400 fixed mutations (changed bytes, changed 32-bit words, removed and doubled stretches). Exits 1 if the corpus is
// missing.
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

#include "target.hpp"

namespace {

void run(const std::string& input) {
  LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(input.data()), input.size());
}

std::string damaged(std::string input, std::mt19937& random) {
  const auto pick = [&](size_t n) { return static_cast<size_t>(random() % n); };
  for (size_t changes = 1 + pick(4); changes > 0 && !input.empty(); --changes) {
    const size_t at = pick(input.size());
    const size_t length = 1 + pick(std::min<size_t>(input.size() - at, 40));
    switch (pick(5)) {
      case 0:
        input[at] = static_cast<char>(random());
        break;
      case 1:
        input[at] = static_cast<char>(input[at] ^ (1 << pick(8)));
        break;
      case 2: {
        constexpr uint32_t kWords[] = {0, 1, 0x7fffffff, 0x80000000, 0xffffffff};
        const uint32_t word = kWords[pick(5)];
        std::memcpy(input.data() + at, &word, std::min<size_t>(4, input.size() - at));
        break;
      }
      case 3:
        input.erase(at, length);
        break;
      default:
        input.insert(at, input.substr(at, length));
        break;
    }
  }
  return input;
}

} // namespace

int main(int argc, char** argv) {
  std::vector<std::filesystem::path> files;
  for (int i = 1; i < argc; ++i)
    for (const auto& entry : std::filesystem::directory_iterator(argv[i])) files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  if (files.empty()) {
    std::fprintf(stderr, "no corpus\n");
    return 1;
  }
  std::mt19937 random(1);
  run("");
  for (const auto& path : files) {
    std::ifstream file(path, std::ios::binary);
    const std::string whole{std::istreambuf_iterator<char>(file), {}};
    run(whole);
    for (size_t part = 0; part < 64; ++part) run(whole.substr(0, whole.size() * part / 64));
    for (int i = 0; i < 400; ++i) run(damaged(whole, random));
  }
  std::printf("%zu files\n", files.size());
  return 0;
}
