// The transform against the matrix that its header defines, and against itself.
#include <bit>
#include <cmath>
#include <vector>

#include <gtest/gtest.h>

#include "spearfish/spearfish.hpp"

namespace {

using namespace spearfish;

std::vector<float> transformed(std::vector<float> x, bool normalize) {
  const auto n = static_cast<int64_t>(x.size());
  std::vector<float> out(x.size());
  hadamard_transform(Tensor(x.data(), SPF_F32, {1, n}), Tensor(out.data(), SPF_F32, {1, n}), normalize);
  return out;
}

TEST(Hadamard, RowsAreThoseOfSylvestersMatrix) {
  for (size_t n : {1u, 2u, 8u, 64u, 512u})
    for (size_t i : {size_t{0}, n / 3, n - 1}) {
      std::vector<float> unit(n);
      unit[i] = 3;
      const std::vector<float> out = transformed(unit, false);
      for (size_t j = 0; j < n; ++j)
        ASSERT_EQ(out[j], std::popcount(i & j) % 2 == 0 ? 3 : -3) << n << " " << i << " " << j;
    }
}

TEST(Hadamard, UndoesItself) {
  for (size_t n : {2u, 16u, 128u, 4096u, 32768u}) {
    std::vector<float> x(n);
    for (size_t i = 0; i < n; ++i) x[i] = static_cast<float>(i * 7919 % 1009) / 100 - 5;
    const std::vector<float> back = transformed(transformed(x, true), true);
    for (size_t i = 0; i < n; ++i) ASSERT_NEAR(back[i], x[i], 2e-5) << n << " " << i;
  }
}

TEST(Hadamard, WorksInPlace) {
  std::vector<float> x = {1, 2, 3, 4};
  const Tensor view(x.data(), SPF_F32, {1, 4});
  hadamard_transform(view, view);
  EXPECT_EQ(x, (std::vector<float>{5, -1, -2, 0}));
}

TEST(Hadamard, RefusesLengthsThatAreNoPowerOfTwo) {
  for (int64_t n : {0, 3, 96, 65536}) {
    std::vector<float> x(static_cast<size_t>(n)), out(static_cast<size_t>(n));
    try {
      hadamard_transform(Tensor(x.data(), SPF_F32, {1, n}), Tensor(out.data(), SPF_F32, {1, n}));
      FAIL() << n;
    } catch (const Error& e) {
      EXPECT_EQ(e.status(), SPF_INVALID_SHAPE);
      EXPECT_EQ(e.allowed(), "a power of two from 1 to 32768 columns");
    }
  }
}

} // namespace
