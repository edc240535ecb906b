// Runs a fuzzing entry over a folder of inputs without libFuzzer: each file as it is, cut short at many places, and
// with bytes changed by a fixed sequence. Exits 1 if the folder holds nothing, so that an empty corpus cannot pass.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace {

void feed(const std::string& text) {
  LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(text.data()), text.size());
}

uint32_t next(uint32_t& state) {
  state ^= state << 13;
  state ^= state >> 17;
  state ^= state << 5;
  return state;
}

} // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: %s CORPUS_FOLDER\n", argv[0]);
    return 2;
  }
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(argv[1])) files.push_back(entry.path());
  std::ranges::sort(files);
  size_t runs = 0;
  for (const auto& file : files) {
    std::ifstream in(file, std::ios::binary);
    const std::string text{std::istreambuf_iterator<char>(in), {}};
    feed(text);
    ++runs;
    uint32_t state = 0x9E3779B9u ^ static_cast<uint32_t>(text.size());
    for (int i = 0; i < 60 && !text.empty(); ++i, ++runs) {
      std::string changed = text.substr(0, i % 3 == 0 ? next(state) % text.size() : text.size());
      for (uint32_t edits = next(state) % 4; edits > 0 && !changed.empty(); --edits) {
        const size_t at = next(state) % changed.size();
        switch (next(state) % 3) {
          case 0:
            changed[at] = static_cast<char>(next(state));
            break;
          case 1:
            changed.erase(at, 1 + next(state) % 8);
            break;
          default:
            changed.insert(at, text.substr(next(state) % text.size(), next(state) % 16));
        }
      }
      feed(changed);
    }
  }
  std::printf("%zu files, %zu runs\n", files.size(), runs);
  return files.empty() ? 1 : 0;
}
