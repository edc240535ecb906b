// The sparse kernels on 2:4 weights of small integers, whose sums are exact: every pattern of two in four at every
// place of a tile, few and many tokens, and numbers in x that are not finite.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include "core/scalar.hpp"
#include "device.hpp"
#include "spearfish/ops/linear.h"
#include "spearfish/ops/scaled_linear.h"
#include "support/weights.hpp"

namespace {

using linear_cuda::device;
using linear_cuda::matrix;
using linear_cuda::on_device;

// Elements of 8 or 16 bits.
std::vector<uint8_t> encoded(spf_scalar_type type, const std::vector<float>& values) {
  const auto width = static_cast<size_t>(spf::scalar_info(type).bits / 8);
  std::vector<uint8_t> out(values.size() * width);
  for (size_t i = 0; i < values.size(); ++i) {
    const uint64_t code = spf::encode(type, values[i]);
    std::memcpy(&out[i * width], &code, width);
  }
  return out;
}

// Integers of -7 to 7 in the places of a pattern that the row and the group choose; the first of the patterns are those
// of two values.
std::vector<float> sparse_integers(int64_t n, int64_t k, unsigned seed) {
  static constexpr int kPatterns[] = {3, 5, 9, 6, 10, 12, 1, 2, 4, 8, 0};
  std::mt19937 random(seed);
  std::vector<float> w(static_cast<size_t>(n * k));
  for (int64_t row = 0; row < n; ++row)
    for (int64_t group = 0; group * 4 < k; ++group) {
      const int pattern = kPatterns[(row * 7 + group) % (row % 3 == 0 ? 11 : 6)];
      for (int i = 0; i < 4; ++i)
        if ((pattern >> i & 1) != 0 && group * 4 + i < k) {
          const int magnitude = 1 + static_cast<int>(random() % 7);
          w[static_cast<size_t>(row * k + group * 4 + i)] = static_cast<float>(random() % 2 ? magnitude : -magnitude);
        }
    }
  return w;
}

std::vector<float> integers(int64_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<float> x(static_cast<size_t>(count));
  for (float& v : x) v = static_cast<float>(static_cast<int>(random() % 15) - 7);
  return x;
}

// A weight whose values are the codes: plain, or under scales of 1.
struct Weight {
  int64_t n, k;
  spf_scalar_type type;
  std::vector<float> values;
  spf_packed_weight packed = {};
  spf::check::Block block;

  Weight(const char* scheme_name, int64_t rows, int64_t columns)
      : n(rows), k(columns), values(sparse_integers(rows, columns, 11)) {
    spf_quant_scheme s = {};
    s.struct_size = sizeof s;
    EXPECT_EQ(spf_quant_scheme_by_name(scheme_name, &s), SPF_OK);
    type = s.weight;
    size_t bytes = 0;
    EXPECT_EQ(spf_quantize_size(&s, n, k, &bytes), SPF_OK);
    support::AlignedBytes memory(bytes);
    spf_quantized_weight q = {};
    q.struct_size = sizeof q;
    const std::vector<float> ones(static_cast<size_t>(n), 1.0f);
    EXPECT_EQ(s.format == SPF_FORMAT_PLAIN ? spf_quantize(&s, n, k, values.data(), memory.data(), bytes, &q)
                                           : spf_quantize_with_scales(&s, n, k, values.data(), ones.data(), nullptr,
                                                                      1.0f, memory.data(), bytes, &q),
              SPF_OK);
    EXPECT_EQ(support::dequantized(q), values);
    const support::PackedWeight host = support::packed(q, "sparse24");
    packed = host.header;
    block = on_device(host.memory.data(), static_cast<int64_t>(host.memory.size()));
    packed.data = block.data();
    packed.device = device().device();
  }
  float at(int64_t row, int64_t column) const { return values[static_cast<size_t>(row * k + column)]; }
};

// x W^T in f32 by the sparse kernel; empty where none is here.
std::vector<float> multiply(const Weight& w, int64_t m, const std::vector<float>& x) {
  const std::vector<uint8_t> codes = encoded(w.type, x);
  const std::vector<float> ones(static_cast<size_t>(m), 1.0f);
  std::vector<float> out(static_cast<size_t>(m * w.n), std::numeric_limits<float>::quiet_NaN());
  const spf::check::Block x_block = on_device(codes.data(), static_cast<int64_t>(codes.size()));
  const spf::check::Block scale_block = on_device(ones.data(), m * 4);
  const spf::check::Block out_block = on_device(out.data(), static_cast<int64_t>(out.size() * 4));
  const spf_tensor x_view = matrix(x_block.data(), w.type, m, w.k), scale = matrix(scale_block.data(), SPF_F32, m, 1);
  const spf_tensor out_view = matrix(out_block.data(), SPF_F32, m, w.n);
  const bool eight = spf::scalar_info(w.type).bits == 8;
  const auto call = [&](const spf_launch& launch) {
    if (!eight) return spf_linear(&x_view, &w.packed, nullptr, &out_view, &launch);
    return spf_scaled_linear(&x_view, &scale, &w.packed, nullptr, nullptr, nullptr, nullptr, nullptr, &out_view,
                             &launch);
  };
  spf_plan_options options = {};
  options.struct_size = sizeof options;
  options.require_kernel = eight ? "sm90_sparse8" : "sm90_sparse";
  spf_launch launch;
  spf_plan* plan = nullptr;
  EXPECT_EQ(spf_launch_init(&launch, device().device()), SPF_OK);
  launch.options = &options;
  launch.plan = &plan;
  launch.flags = SPF_LAUNCH_PLAN_ONLY;
  const spf_status planned = call(launch);
  spf_plan_info info = {};
  info.struct_size = sizeof info;
  if (planned == SPF_OK) {
    EXPECT_EQ(spf_plan_describe(plan, &info), SPF_OK);
  }
  spf_plan_free(plan);
  if (planned != SPF_OK) return {};
  const spf::check::Block workspace = device().allocate((static_cast<int64_t>(info.workspace_bytes) / 256 + 1) * 256);
  launch.plan = nullptr;
  launch.flags = 0;
  launch.workspace = workspace.data();
  launch.workspace_bytes = info.workspace_bytes;
  EXPECT_EQ(call(launch), SPF_OK);
  device().wait();
  device().read(out.data(), out_block.data(), static_cast<int64_t>(out.size() * 4));
  return out;
}

class Sparse : public testing::TestWithParam<const char*> {};

INSTANTIATE_TEST_SUITE_P(Types, Sparse, testing::Values("bf16-2of4", "f16-2of4", "fp8-channel-2of4", "s8-channel-2of4"),
                         [](const auto& param_info) {
                           std::string name = param_info.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

TEST_P(Sparse, EveryPatternIsExact) {
  bool ran = false;
  // 1004, 2052: the ring of stages goes round.
  for (const auto& [n, k] : {std::pair{64, 128}, {200, 332}, {150, 1004}, {130, 2052}})
    for (const int64_t m : {1, 16, 40, 128, 130, 300}) {
      const Weight w(GetParam(), n, k);
      const std::vector<float> x = integers(m * k, 12), got = multiply(w, m, x);
      if (got.empty()) continue;
      ran = true;
      for (int64_t i = 0; i < m; ++i)
        for (int64_t j = 0; j < n; ++j) {
          int sum = 0;
          for (int64_t c = 0; c < k; ++c)
            sum += static_cast<int>(x[static_cast<size_t>(i * k + c)]) * static_cast<int>(w.at(j, c));
          ASSERT_EQ(got[static_cast<size_t>(i * n + j)], static_cast<float>(sum)) << m << ": " << i << ", " << j;
        }
    }
  if (!ran) GTEST_SKIP() << "no sparse kernel for this device is built";
}

// NaN in a column of x reaches the channels that keep the column, and no other token. A channel that keeps two other
// columns of the four is not touched.
TEST_P(Sparse, NanReachesWhatItIsMultipliedBy) {
  const int64_t m = 20, n = 100, k = 256, token = 13;
  const Weight w(GetParam(), n, k);
  if (w.type == SPF_S8) GTEST_SKIP() << "integers have no NaN";
  for (const int64_t column : {0, 77, 254}) {
    std::vector<float> x = integers(m * k, 13);
    x[static_cast<size_t>(token * k + column)] = std::numeric_limits<float>::quiet_NaN();
    const std::vector<float> got = multiply(w, m, x);
    if (got.empty()) GTEST_SKIP() << "no sparse kernel for this device is built";
    for (int64_t i = 0; i < m; ++i)
      for (int64_t j = 0; j < n; ++j) {
        const float value = got[static_cast<size_t>(i * n + j)];
        int others = 0;
        for (int64_t c = column / 4 * 4; c < column / 4 * 4 + 4; ++c) others += c != column && w.at(j, c) != 0 ? 1 : 0;
        if (i != token || others == 2) {
          ASSERT_TRUE(std::isfinite(value)) << i << ", " << j;
        } else if (w.at(j, column) != 0) {
          ASSERT_TRUE(std::isnan(value)) << i << ", " << j;
        }
      }
  }
}

} // namespace
