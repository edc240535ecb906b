#include <cstdio>
#include <memory>

#include <gtest/gtest.h>

#include "device.hpp"

namespace linear_cuda {
namespace {
std::unique_ptr<spf::check::Memory> opened;
}
spf::check::Memory& device() { return *opened; }
} // namespace linear_cuda

int main(int argc, char** argv) {
  constexpr int kSkipped = 77;
  testing::InitGoogleTest(&argc, argv);
  try {
    linear_cuda::opened = spf::check::open_device("cuda:0");
  } catch (const spf::check::NoDevice& e) {
    std::printf("skipped: %s\n", e.what());
    return kSkipped;
  }
  return RUN_ALL_TESTS();
}
