// scaled_linear: what its scales, zero points and views mean, computed here from the codes alone; and what it refuses.
#include <optional>
#include <random>

#include <gtest/gtest.h>
#include <spearfish/spearfish.hpp>

using namespace spearfish;

namespace {

template <class T>
Tensor matrix(std::vector<T>& data, ScalarType type, int64_t rows, int64_t columns) {
  return Tensor(data.data(), type, {rows, columns});
}

// s8 codes and a weight of s8 codes with scales a channel, all random.
struct Integers {
  static constexpr int64_t kM = 5, kN = 37, kK = 200;
  std::vector<int8_t> x = std::vector<int8_t>(kM * kK);
  std::vector<float> w = std::vector<float>(kN * kK), scale = std::vector<float>(kM);
  std::vector<int32_t> azp = std::vector<int32_t>(kM), sums = std::vector<int32_t>(kN);
  std::optional<QuantizedWeight> quantized;
  std::vector<float> values = std::vector<float>(kN * kK);

  Integers() {
    std::mt19937 random(3);
    for (int8_t& v : x) v = static_cast<int8_t>(static_cast<int>(random() % 255) - 127);
    for (float& v : w) v = static_cast<float>(static_cast<int>(random() % 255) - 127) / 64.0f;
    for (float& v : scale) v = static_cast<float>(1 + random() % 7) / 8.0f;
    for (int32_t& v : azp) v = static_cast<int32_t>(random() % 256) - 128;
    quantized = QuantizedWeight::quantize(quant_scheme("s8-channel"), kN, kK, w.data());
    check(spf_dequantize(quantized->get(), values.data()));
    const auto* codes = static_cast<const int8_t*>(quantized->get()->codes.data);
    for (int64_t n = 0; n < kN; ++n)
      for (int64_t k = 0; k < kK; ++k) sums[static_cast<size_t>(n)] += codes[n * kK + k];
  }

  std::vector<float> run(Tensor x_scale, const ScaledLinearExtras& extras) {
    std::vector<float> out(kM * kN, -1.0f);
    const Tensor in = matrix(x, SPF_S8, kM, kK), to = matrix(out, SPF_F32, kM, kN);
    const Plan plan = plan_scaled_linear(in, x_scale, quantized->scheme(), kN, kK, to, extras);
    const PackedWeight packed = PackedWeight::pack(*quantized, plan.layout());
    const Buffer workspace(plan.workspace_bytes());
    scaled_linear(in, x_scale, packed, to, extras, Launch().workspace(workspace.data(), workspace.size()));
    return out;
  }

  // sum over k of scale (x - zero) W
  std::vector<double> expected(bool with_zero, bool one_zero = false) const {
    std::vector<double> out;
    for (int64_t m = 0; m < kM; ++m)
      for (int64_t n = 0; n < kN; ++n) {
        double sum = 0;
        for (int64_t k = 0; k < kK; ++k)
          sum += static_cast<double>(x[static_cast<size_t>(m * kK + k)] -
                                     (with_zero ? azp[static_cast<size_t>(one_zero ? 0 : m)] : 0)) *
                 static_cast<double>(values[static_cast<size_t>(n * kK + k)]);
        out.push_back(sum * static_cast<double>(scale[static_cast<size_t>(m)]));
      }
    return out;
  }
};

void expect_near(const std::vector<float>& got, const std::vector<double>& want) {
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < got.size(); ++i)
    EXPECT_NEAR(static_cast<double>(got[i]), want[i], 1e-4 + 1e-5 * std::abs(want[i])) << i;
}

TEST(ScaledLinear, ZeroPointsOfTokensAreThoseOfTheAsymmetricProduct) {
  Integers t;
  const Tensor scale = matrix(t.scale, SPF_F32, t.kM, 1);
  expect_near(t.run(scale, {}), t.expected(false));
  ScaledLinearExtras extras;
  extras.azp = Tensor(t.azp.data(), SPF_I32, {t.kM});
  extras.azp_adj = Tensor(t.sums.data(), SPF_I32, {t.kN});
  expect_near(t.run(scale, extras), t.expected(true));
}

TEST(ScaledLinear, OneZeroPointMayBeMultipliedInBefore) {
  Integers t;
  const Tensor scale = matrix(t.scale, SPF_F32, t.kM, 1);
  std::vector<int32_t> folded = t.sums;
  for (int32_t& v : folded) v *= t.azp[0];
  ScaledLinearExtras extras;
  extras.azp_adj = Tensor(folded.data(), SPF_I32, {t.kN});
  const std::vector<float> before = t.run(scale, extras);
  expect_near(before, t.expected(true, true));
  // The same zero point as a view that steps nowhere.
  extras.azp_adj = Tensor(t.sums.data(), SPF_I32, {t.kN});
  extras.azp = Tensor(t.azp.data(), SPF_I32, {t.kM}, {0});
  EXPECT_EQ(t.run(scale, extras), before);
}

TEST(ScaledLinear, OneScaleIsAViewThatStepsNowhere) {
  Integers t;
  std::fill(t.scale.begin(), t.scale.end(), 0.375f);
  const std::vector<float> all = t.run(matrix(t.scale, SPF_F32, t.kM, 1), {});
  std::vector<float> one = {0.375f};
  EXPECT_EQ(t.run(Tensor(one.data(), SPF_F32, {t.kM, 1}, {0, 1}), {}), all);
}

TEST(ScaledLinear, ScalesOf128ColumnsMayLieByColumns) {
  Integers t;
  std::vector<float> rows(t.kM * 2), columns(t.kM * 2);
  for (int64_t m = 0; m < t.kM; ++m)
    for (int64_t g = 0; g < 2; ++g)
      rows[static_cast<size_t>(m * 2 + g)] = columns[static_cast<size_t>(g * t.kM + m)] =
          static_cast<float>(1 + 3 * m + g) / 16.0f;
  const std::vector<float> got = t.run(matrix(rows, SPF_F32, t.kM, 2), {});
  EXPECT_EQ(t.run(Tensor(columns.data(), SPF_F32, {t.kM, 2}, {1, t.kM}), {}), got);
  std::vector<double> want;
  for (int64_t m = 0; m < t.kM; ++m)
    for (int64_t n = 0; n < t.kN; ++n) {
      double sum = 0;
      for (int64_t k = 0; k < t.kK; ++k)
        sum += static_cast<double>(rows[static_cast<size_t>(m * 2 + k / 128)]) *
               static_cast<double>(t.x[static_cast<size_t>(m * t.kK + k)]) *
               static_cast<double>(t.values[static_cast<size_t>(n * t.kK + k)]);
      want.push_back(sum);
    }
  expect_near(got, want);
}

// On a device that is not here: tiles of 256 tokens get their scales by way of a workspace, a factor a token and block.
TEST(ScaledLinear, BlockTilesAreChosenWhateverWayScalesLie) {
  DeviceFacts h200;
  check(spf_device_facts_by_name("h200", &h200));
  const Device device(spf_device{SPF_CUDA, 0});
  constexpr int64_t kWide = 8192, kGroups = 64;
  const auto plan = [&](int64_t m, const Shape& strides) {
    const Tensor x(nullptr, SPF_E4M3, {m, kWide}, device), out(nullptr, SPF_BF16, {m, kWide}, device);
    const Tensor scale(nullptr, SPF_F32, {m, kGroups}, strides, device);
    Plan made;
    Launch launch(device);
    launch.plan_only(made, h200);
    scaled_linear(x, scale, unpacked_weight(quant_scheme("fp8-block"), kWide, kWide, device), out, {}, launch);
    return made;
  };
  for (const Shape& strides : {Shape{kGroups, 1}, Shape{kGroups + 1, 1}, Shape{1, 4000}, Shape{1, 4001}}) {
    const Plan many = plan(4000, strides), few = plan(16, strides);
    EXPECT_NE(many.instance().find("tokens=256"), std::string::npos) << many.instance();
    EXPECT_EQ(many.workspace_bytes(), 4096U * kGroups * 4) << strides[0];
    EXPECT_EQ(few.instance().find("tokens=256"), std::string::npos) << few.instance();
    EXPECT_EQ(few.workspace_bytes(), 0U) << strides[0];
  }
}

TEST(ScaledLinear, RefusesByName) {
  Integers t;
  const Tensor scale = matrix(t.scale, SPF_F32, t.kM, 1);
  const auto refused = [&](const Tensor& x_scale, const ScaledLinearExtras& extras) -> std::string {
    try {
      t.run(x_scale, extras);
    } catch (const Error& error) {
      return error.field();
    }
    return "";
  };
  std::vector<float> three(t.kM * 3, 1.0f);
  EXPECT_EQ(refused(matrix(three, SPF_F32, t.kM, 3), {}), "x_scale.shape[-1]");
  ScaledLinearExtras zeros;
  zeros.azp = Tensor(t.azp.data(), SPF_I32, {t.kM});
  EXPECT_EQ(refused(scale, zeros), "azp_adj");
  zeros.azp_adj = Tensor(t.sums.data(), SPF_I32, {t.kN});
  EXPECT_EQ(refused(matrix(three, SPF_F32, t.kM, 2), zeros), "azp_adj");
  ScaledLinearExtras factor;
  std::vector<float> one = {1.0f};
  factor.out_factor = Tensor(one.data(), SPF_F32, {1});
  EXPECT_EQ(refused(scale, factor), "out_factor");
}

} // namespace
