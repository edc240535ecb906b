// int4 groups of 128 for every number of rows from 1 to 64, random N and K up to 4096, act order and zero points
// included, through the planned kernel; and all kernels around every border of M, N and K.
#include <random>

#include "problem.hpp"

using namespace linear_test;

namespace {

// Plans, gives the workspace that the plan asks for, launches. Returns the kernel's name.
std::string call(Weight& weight, const Matrix& x, Matrix& out, bool allow_8_bits) {
  spf_plan_options options = {};
  options.struct_size = sizeof options;
  options.allow_activation_8bit = allow_8_bits;
  spf_launch launch;
  spf_plan* plan = nullptr;
  EXPECT_EQ(spf_launch_init(&launch, {SPF_CPU, 0}), SPF_OK);
  launch.options = &options;
  launch.plan = &plan;
  launch.flags = SPF_LAUNCH_PLAN_ONLY;
  const spf_tensor x_view = x.view(), out_view = out.view();
  const spf_packed_weight& packed = weight.packed("cpu_n16");
  EXPECT_EQ(spf_linear(&x_view, &packed, nullptr, &out_view, &launch), SPF_OK);
  spf_plan_info info = {};
  info.struct_size = sizeof info;
  EXPECT_EQ(spf_plan_describe(plan, &info), SPF_OK);
  EXPECT_STREQ(info.layout, "cpu_n16");
  const std::string name = info.kernel;
  EXPECT_STREQ(info.activation, name.ends_with("_s8")    ? "s8 per run of up to 128 columns"
                                : name.ends_with("_s16") ? "s16 per run of up to 128 columns"
                                                         : "as given");
  if (!allow_8_bits) {
    EXPECT_FALSE(name.ends_with("_s8"));
  }
  support::AlignedBytes workspace(info.workspace_bytes, 0xff);
  spf_plan_free(plan);
  launch.plan = nullptr;
  launch.flags = 0;
  launch.workspace = workspace.data();
  launch.workspace_bytes = info.workspace_bytes;
  EXPECT_EQ(spf_linear(&x_view, &packed, nullptr, &out_view, &launch), SPF_OK);
  return name.substr(name.find('/') + 1);
}

// Exact products of 12 columns of every row: the sizes are large, so a sample of the features is compared.
void expect_sample_close(const std::string& kernel_name, const Weight& weight, const Matrix& x, const Matrix& out,
                         std::mt19937& random, const std::string& what) {
  const double activation = activation_error(kernel(kernel_name), x.type) * 6 / std::sqrt(3.0);
  for (int64_t m = 0; m < x.rows; ++m) {
    double largest = 0;
    for (int64_t k = 0; k < x.columns; ++k) largest = std::max(largest, std::abs(static_cast<double>(x.at(m, k))));
    for (int i = 0; i < 12; ++i) {
      const auto n = static_cast<int64_t>(random() % static_cast<unsigned>(weight.n));
      double want = 0;
      for (int64_t k = 0; k < x.columns; ++k) want += static_cast<double>(x.at(m, k)) * weight.at(n, k);
      const double depth = static_cast<double>(weight.k);
      const double bound =
          largest * weight.norm(n) * (activation + (depth / 2 + 8 * std::sqrt(depth) + 16) * 0x1p-24) + 0x1p-24;
      ASSERT_NEAR(out.at(m, n), want, bound) << kernel_name << " " << what << " [" << m << ", " << n << "]";
    }
  }
}

TEST(Sweep, Int4Groups128OfEveryNumberOfRows) {
  std::mt19937 random(2026);
  spf_quant_scheme schemes[3] = {scheme_named("int4-g128"), scheme_named("int4-g128-asym"), scheme_named("int4-g128")};
  schemes[2].has_g_idx = 1;
  for (int64_t m = 1; m <= 64; ++m) {
    spf_quant_scheme scheme = schemes[m % 3];
    const auto n = static_cast<int64_t>(1 + random() % (m % 8 == 0 ? 4096 : 700));
    const auto k = static_cast<int64_t>(1 + random() % (m % 8 == 1 ? 4096 : 1500));
    Weight weight(scheme, n, k, static_cast<unsigned>(m));
    const Matrix x = Matrix::normal(SPF_BF16, m, k, static_cast<unsigned>(m));
    for (const bool allow : {false, true}) {
      Matrix out(SPF_F32, m, n);
      const std::string name = call(weight, x, out, allow);
      expect_sample_close(name, weight, x, out, random,
                          "m=" + std::to_string(m) + " n=" + std::to_string(n) + " k=" + std::to_string(k));
    }
  }
}

TEST(Sweep, BordersOfEveryExtent) {
  std::mt19937 random(7);
  for (const char* name : {"int4-g32", "int4-g32-asym", "int8", "fp8", "f16", "nvfp4"}) {
    for (const int64_t k : {0, 1, 2, 3, 15, 16, 17, 31, 33, 64, 127, 128, 129, 260}) {
      const int64_t n = std::vector<int64_t>{0, 1, 2, 3, 15, 16, 17, 33, 65}[random() % 9];
      if (std::string(name) == "nvfp4" && k % 16 != 0) continue; // the format's own rule
      Weight weight(scheme_named(name), n, k, static_cast<unsigned>(k));
      for (const int64_t m : {0, 1, 2, 3, 7, 8, 9, 16, 17}) {
        const Matrix x = Matrix::normal(SPF_F32, m, k, 1), bias = Matrix::normal(SPF_BF16, 1, n, 2);
        for (const Kernel& kernel : kernels()) {
          Matrix out(SPF_F16, m, n, 3);
          if (!run(kernel, weight, x, &bias, out).empty()) continue;
          expect_close(
              kernel, weight, x, &bias, out,
              std::string(name) + " m=" + std::to_string(m) + " n=" + std::to_string(n) + " k=" + std::to_string(k));
          EXPECT_TRUE(out.gaps_untouched()) << kernel.name;
        }
      }
    }
  }
}

// More rows than a kernel prepares at a time.
TEST(Sweep, ManyRows) {
  for (const char* name : {"int4-g64", "mxfp8", "bf16"}) {
    Weight weight(scheme_named(name), 50, 160);
    const Matrix x = Matrix::normal(SPF_BF16, 300, weight.k, 3);
    for (const Kernel& kernel : kernels()) {
      Matrix out(SPF_BF16, 300, weight.n);
      if (run(kernel, weight, x, nullptr, out).empty()) expect_close(kernel, weight, x, nullptr, out, name);
    }
  }
}

} // namespace
