#include <cstdio>
#include <memory>

#include <gtest/gtest.h>

#include "device.hpp"

namespace linear_cuda {
namespace {
std::unique_ptr<spf::check::Memory> opened;
}
spf::check::Memory& device() { return *opened; }

spf::check::Block on_device(const void* host, int64_t bytes) {
  spf::check::Block block = device().allocate(bytes > 0 ? bytes : 1);
  if (bytes > 0) device().write(block.data(), host, bytes);
  return block;
}

spf_tensor matrix(void* data, spf_scalar_type type, int64_t rows, int64_t columns) {
  spf_tensor t;
  const int64_t shape[] = {rows, columns};
  EXPECT_EQ(spf_tensor_init(&t, data, type, 2, shape, device().device()), SPF_OK);
  return t;
}
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
