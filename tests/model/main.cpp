// test_model [--device=cpu|cuda:N] [gtest flags]. Exits with 77 where there is no such device, which CTest reports as
// skipped. On a GPU only the tests of the runner say anything new.
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include <gtest/gtest.h>

#include "device.hpp"

namespace model_test {
namespace {
spearfish::Device chosen;
constexpr int kSkipped = 77;
} // namespace

spearfish::Device device() { return chosen; }

std::filesystem::path source_dir() {
  const char* given = std::getenv("SPEARFISH_SOURCE_DIR");
  return given != nullptr && *given != '\0' ? given : SPF_SOURCE_DIR;
}

int run(int argc, char** argv) {
  constexpr char kCuda[] = "--device=cuda:";
  for (int i = 1; i < argc; ++i)
    if (std::strncmp(argv[i], kCuda, sizeof kCuda - 1) == 0)
      chosen = spearfish::Device::cuda(std::atoi(argv[i] + sizeof kCuda - 1));
  try {
    (void)spearfish::facts(chosen);
  } catch (const spearfish::Error& e) {
    std::printf("skipped: %s\n", e.what());
    return kSkipped;
  }
  return RUN_ALL_TESTS();
}

} // namespace model_test

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  return model_test::run(argc, argv);
}
