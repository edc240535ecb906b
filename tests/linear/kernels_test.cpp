// Every kernel on every weight format that it accepts, and what the kernels promise of each other's bits.
#include <cmath>

#include <spearfish/spearfish.hpp>

#include "core/scalar.hpp"
#include "problem.hpp"

using namespace linear_test;

namespace {

class EveryFormat : public testing::TestWithParam<support::NamedScheme> {};
INSTANTIATE_TEST_SUITE_P(All, EveryFormat, testing::ValuesIn(support::all_schemes()), support::test_name);

TEST_P(EveryFormat, EveryKernelIsWithinItsBound) {
  Weight weight(GetParam().scheme, 37, 512);
  const Matrix bias = Matrix::normal(SPF_F32, 1, weight.n, 3);
  for (const int64_t m : {1, 4, 35}) {
    const Matrix x = Matrix::normal(SPF_BF16, m, weight.k, static_cast<unsigned>(m));
    int ran = 0;
    for (const Kernel& k : kernels()) {
      Matrix out(SPF_F32, m, weight.n, 5);
      if (!run(k, weight, x, &bias, out).empty()) continue;
      expect_close(k, weight, x, &bias, out, GetParam().name + " m=" + std::to_string(m));
      EXPECT_TRUE(out.gaps_untouched()) << k.name;
      ++ran;
    }
    EXPECT_GE(ran, 2) << "the reference and the portable kernel take every format";
  }
}

// A row that a kernel computes alone, in a batch, or with other threads has the same bits; and the integer kernels of
// all instruction sets agree with each other.
TEST_P(EveryFormat, RowsHaveTheirBits) {
  Weight weight(GetParam().scheme, 83, 256);
  constexpr int64_t kRows = 21;
  const Matrix x = Matrix::normal(SPF_F16, kRows, weight.k, 7);
  std::vector<uint8_t> integers[2];
  for (const Kernel& k : kernels()) {
    Matrix batch(SPF_F32, kRows, weight.n);
    if (!run(k, weight, x, nullptr, batch).empty()) continue;
    for (const int threads : {1, 3}) {
      Matrix other(SPF_F32, kRows, weight.n);
      run(k, weight, x, nullptr, other, threads);
      EXPECT_EQ(batch.elements(), other.elements()) << k.name << " with " << threads << " threads";
    }
    for (const int64_t row : {int64_t{0}, int64_t{9}, kRows - 1}) {
      Matrix alone(SPF_F32, 1, weight.n), one(SPF_F16, 1, weight.k);
      for (int64_t i = 0; i < weight.k; ++i) one.set(0, i, x.at(row, i));
      run(k, weight, one, nullptr, alone);
      const std::vector<uint8_t> all = batch.elements();
      const auto begin = all.begin() + static_cast<std::ptrdiff_t>(row * weight.n * 4);
      EXPECT_TRUE(std::equal(begin, begin + static_cast<std::ptrdiff_t>(weight.n * 4), alone.elements().begin()))
          << k.name << " row " << row;
    }
    if (k.name.ends_with("_s8") || k.name.ends_with("_s16")) {
      std::vector<uint8_t>& first = integers[k.rounds_to_8_bits() ? 0 : 1];
      if (first.empty()) first = batch.elements();
      EXPECT_EQ(first, batch.elements()) << k.name << " differs from the integer kernel before it";
    }
  }
}

// "as given" is true of the kernels that say so, and of no other. Short sums, so that nothing else is of that size.
TEST(Kernels, ActivationsAreWhatThePlanSays) {
  for (const char* name : {"int4-channel", "int8", "bf16"}) {
    Weight weight(scheme_named(name), 64, 8);
    for (const spf_scalar_type type : {SPF_BF16, SPF_F16, SPF_F32}) {
      const Matrix x = Matrix::normal(type, 16, weight.k, 11);
      for (const Kernel& k : kernels()) {
        Matrix out(SPF_F32, 16, weight.n);
        if (!run(k, weight, x, nullptr, out).empty()) continue;
        double worst = 0; // error in roundings of the sum of magnitudes
        for (int64_t r = 0; r < x.rows; ++r)
          for (int64_t n = 0; n < weight.n; ++n) {
            double want = 0, magnitude = 0;
            for (int64_t i = 0; i < weight.k; ++i) {
              const double term = static_cast<double>(x.at(r, i)) * weight.at(n, i);
              want += term;
              magnitude += std::abs(term);
            }
            worst = std::max(worst, std::abs(out.at(r, n) - want) / (magnitude * 0x1p-24));
          }
        const std::string what = k.name + " " + name + " " + spf::scalar_info(type).name;
        if (activation_error(k, type) == 0)
          EXPECT_LE(worst, 12) << what;
        else
          EXPECT_GT(worst, 12) << what;
      }
    }
  }
}

TEST(Kernels, NonFiniteActivationsStayInTheirRow) {
  for (const char* name : {"int4-g128", "int4-g32-asym", "q4_k", "int8", "nvfp4", "fp8", "bf16", "f16", "f32"}) {
    Weight weight(scheme_named(name), 40, 512);
    const Matrix clean = Matrix::normal(SPF_F32, 9, weight.k, 5);
    for (const Kernel& k : kernels()) {
      Matrix expected(SPF_F32, 9, weight.n);
      if (!run(k, weight, clean, nullptr, expected).empty()) continue;
      for (const float bad : {NAN, INFINITY, -INFINITY}) {
        Matrix x = clean, out(SPF_F32, 9, weight.n);
        x.set(4, 130, bad);
        run(k, weight, x, nullptr, out);
        for (int64_t n = 0; n < weight.n; ++n)
          EXPECT_FALSE(std::isfinite(out.at(4, n)) && weight.at(n, 130) != 0) << k.name << " " << name << " " << n;
        for (int64_t n = 0; n < weight.n; ++n) {
          out.set(4, n, 0);
          expected.set(4, n, 0);
        }
        EXPECT_EQ(out.bytes(), expected.bytes()) << k.name << " " << name;
      }
    }
  }
}

TEST(Kernels, ExtremeActivationsKeepTheirScale) {
  Weight weight(scheme_named("int4-g64"), 20, 192);
  for (const float magnitude : {1e-32f, 1e-20f, 1e-10f, 1e10f, 1e30f}) {
    Matrix x = Matrix::normal(SPF_F32, 3, weight.k, 5);
    for (int64_t r = 0; r < 3; ++r)
      for (int64_t c = 0; c < weight.k; ++c) x.set(r, c, r == 1 && c < 64 ? 0.0f : x.at(r, c) * magnitude);
    for (const Kernel& k : kernels()) {
      Matrix out(SPF_F32, 3, weight.n);
      if (!run(k, weight, x, nullptr, out).empty()) continue;
      for (int64_t r = 0; r < 3; ++r)
        for (int64_t n = 0; n < weight.n; ++n) {
          double want = 0, squares = 0;
          for (int64_t c = 0; c < weight.k; ++c) {
            want += static_cast<double>(x.at(r, c)) * weight.at(n, c);
            squares += std::pow(static_cast<double>(x.at(r, c)) * weight.at(n, c), 2);
          }
          EXPECT_NEAR(out.at(r, n), want, std::sqrt(squares) * (k.rounds_to_8_bits() ? 0.05 : 2e-4))
              << k.name << " " << magnitude;
        }
    }
  }
}

// On a device that is not here: kernels of the Marlin order that take scales in groups of 64 count on a new one every
// 64 values of K. Groups of 192 or 320, multiples of 64 but not of 128, are other kernels' to multiply.
TEST(Kernels, GroupsOfOddMultiplesOf64AreNotTakenForGroupsOf64) {
  using namespace spearfish;
  DeviceFacts h200;
  check(spf_device_facts_by_name("h200", &h200));
  const Device device(spf_device{SPF_CUDA, 0});
  const auto kernel_for = [&](const char* format, int32_t group, int64_t m) {
    QuantScheme scheme = quant_scheme(format);
    scheme.group_k = group;
    const Tensor x(nullptr, SPF_F16, {m, 1920}, device), out(nullptr, SPF_F16, {m, 4096}, device);
    return plan_linear(x, scheme, 4096, 1920, {}, out, Launch(device), h200).kernel();
  };
  for (const int64_t m : {1, 12, 40, 64, 100, 500}) {
    EXPECT_TRUE(kernel_for("int4-g64", 64, m).starts_with("linear/sm90_")) << m;
    for (const int32_t group : {192, 320})
      for (const char* format : {"int4-g64", "int8-g128"})
        EXPECT_FALSE(kernel_for(format, group, m).starts_with("linear/sm90_"))
            << format << " group " << group << " m=" << m;
  }
}

} // namespace
