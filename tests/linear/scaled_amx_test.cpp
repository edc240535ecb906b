// scaled_linear's AMX rows on emulated tiles, whatever the processor: codes given as they are, scales of tokens and of
// 128 columns, zero points, against fp64 sums over the weight's values.
#include <cmath>
#include <random>

#include "amx_emulated.hpp"
#include "core/scalar.hpp"
#include "ops/validate.hpp"
#include "plan/table.hpp"
#include "problem.hpp"
#include "runtime/runtime.hpp"
#include "spearfish/spearfish.hpp"
#include "support/weights.hpp"

namespace {

bool can_emulate() {
  constexpr uint32_t kNeeded = SPF_CPU_AVX512_VNNI | SPF_CPU_AVX512_BF16;
  return (spf::runtime::cpu_facts().cpu_features & kNeeded) == kNeeded;
}

const spf::OpSchema& scaled_linear_op() {
  for (const spf::OpSchema& op : spf::kManifest.ops)
    if (std::string(op.name) == "scaled_linear") return op;
  throw std::runtime_error("no op scaled_linear");
}

spf::PolicyFn policy_of(const std::string& name) {
  for (const spf::KernelRow& row : spf::kManifest.kernels)
    if (row.name == name) return row.policy;
  throw std::runtime_error("no kernel " + name);
}

spf_tensor tensor(const void* data, spf_scalar_type type, std::vector<int64_t> shape) {
  spf_tensor t;
  EXPECT_EQ(
      spf_tensor_init(&t, const_cast<void*>(data), type, static_cast<int>(shape.size()), shape.data(), {SPF_CPU, 0}),
      SPF_OK);
  return t;
}

struct Case {
  const char* scheme;
  spf_scalar_type x;
  int64_t m, n, k, groups; // groups: scales of a token
  bool zeros = false;
};

// A product by `launch`, checked element by element.
void expect_product(const Case& c, const char* kernel, spf::LaunchFn launch) {
  SCOPED_TRACE(testing::Message() << c.scheme << " " << c.m << " x " << c.n << " x " << c.k << ", " << c.groups
                                  << " scales");
  std::mt19937 random(7);
  const spf_quant_scheme scheme = spearfish::quant_scheme(c.scheme);
  const support::OwnedWeight owned = support::quantized(scheme, c.n, c.k, support::random_matrix(c.n, c.k, 1));
  const std::vector<float> weight = support::dequantized(owned.weight);
  std::vector<uint8_t> x(static_cast<size_t>(c.m * c.k));
  for (uint8_t& v : x) {
    v = static_cast<uint8_t>(random());
    if (c.x == SPF_E4M3) v &= 0xbf; // below 2
  }
  std::vector<float> scale(static_cast<size_t>(c.m * c.groups)), bias(static_cast<size_t>(c.n));
  for (float& v : scale) v = static_cast<float>(1 + random() % 9) / 16.0f;
  for (float& v : bias) v = static_cast<float>(random() % 17) - 8.0f;
  std::vector<int32_t> azp(static_cast<size_t>(c.m)), sums(static_cast<size_t>(c.n));
  for (int32_t& v : azp) v = static_cast<int32_t>(random() % 256) - 128;

  // Sums of codes, which times the channel's scale are sums of values.
  const auto* codes = static_cast<const int8_t*>(owned.weight.codes.data);
  for (int64_t n = 0; c.zeros && n < c.n; ++n)
    for (int64_t k = 0; k < c.k; ++k) sums[static_cast<size_t>(n)] += codes[n * c.k + k];

  const support::PackedWeight packed = support::packed(owned.weight, "cpu_n16");

  std::vector<float> out(static_cast<size_t>(c.m * c.n), std::nanf(""));
  const spf_tensor x_view = tensor(x.data(), c.x, {c.m, c.k}),
                   scale_view = tensor(scale.data(), SPF_F32, {c.m, c.groups}),
                   bias_view = tensor(bias.data(), SPF_F32, {c.n}), azp_view = tensor(azp.data(), SPF_I32, {c.m}),
                   adj_view = tensor(sums.data(), SPF_I32, {c.n}), out_view = tensor(out.data(), SPF_F32, {c.m, c.n});
  const spf_tensor* operands[] = {
      &x_view, &scale_view, &bias_view, c.zeros ? &azp_view : nullptr, c.zeros ? &adj_view : nullptr,
      nullptr, nullptr,     &out_view};
  spf::ops::RawCall raw;
  raw.operands = operands;
  raw.weight = &packed.header;
  raw.device = {SPF_CPU, 0};
  spf::Call call;
  ASSERT_EQ(spf::ops::validate(scaled_linear_op(), raw, &call), SPF_OK);
  ASSERT_EQ(linear_test::run_guarded(call, policy_of(kernel), launch, 2), "");

  for (int64_t m = 0; m < c.m; ++m)
    for (int64_t n = 0; n < c.n; ++n) {
      double want = 0, size = 0;
      for (int64_t k = 0; k < c.k; ++k) {
        const uint8_t code = x[static_cast<size_t>(m * c.k + k)];
        const double value = c.x == SPF_S8 ? static_cast<int8_t>(code) - (c.zeros ? azp[static_cast<size_t>(m)] : 0)
                                           : static_cast<double>(spf::decode(SPF_E4M3, code));
        const double product =
            value * static_cast<double>(weight[static_cast<size_t>(n * c.k + k)]) *
            static_cast<double>(scale[static_cast<size_t>(m * c.groups + (c.groups > 1 ? k / 128 : 0))]);
        want += product;
        size += std::abs(product);
      }
      want += static_cast<double>(bias[static_cast<size_t>(n)]);
      // f32 sums of exact products: a rounding each at most.
      const double bound = size * static_cast<double>(c.k) * 0x1p-25 + std::abs(want) * 0x1p-21 + 1e-6;
      ASSERT_NEAR(static_cast<double>(out[static_cast<size_t>(m * c.n + n)]), want, bound) << m << ", " << n;
    }
}

TEST(ScaledAmx, SignedBytesOnEmulatedTiles) {
  if (!can_emulate()) GTEST_SKIP() << "emulated tiles need AVX-512 VNNI and BF16";
  for (const char* scheme : {"s8-channel", "int8", "int8-g128", "int4-g32", "int4-g128", "int4-channel"})
    for (const int64_t m : {1, 5, 33})
      for (const int64_t groups : {1, 3})
        expect_product({scheme, SPF_S8, m, 37, 384, groups}, "amx_a8", spf::linear::emulated_amx_s8);
  for (const int64_t m : {1, 17})
    expect_product({"s8-channel", SPF_S8, m, 50, 200, 1, true}, "amx_a8", spf::linear::emulated_amx_s8);
}

TEST(ScaledAmx, E4m3OnEmulatedTiles) { // takes one scale a token
  if (!can_emulate()) GTEST_SKIP() << "emulated tiles need AVX-512 VNNI and BF16";
  for (const char* scheme : {"fp8", "fp8-channel", "fp8-block"})
    for (const int64_t m : {1, 5, 33})
      for (const int64_t k : {200, 384})
        expect_product({scheme, SPF_E4M3, m, 37, k, 1}, "amx_e4m3", spf::linear::emulated_amx_bf16);
}

} // namespace
