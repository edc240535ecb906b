// The mma.sync kernels where cases.toml does not reach: every number of rows, shapes at random, groups of unequal
// sizes, slices of K, zero points at both ends, negative scales, numbers that are not finite. Expected values are fp64
// sums over spf_dequantize().
#include <cmath>
#include <functional>
#include <limits>
#include <random>

#include "core/scalar.hpp"
#include "device.hpp"
#include "spearfish/ops/linear.h"
#include "support/weights.hpp"

namespace {

using linear_cuda::device;
using linear_cuda::matrix;
using linear_cuda::on_device;
using support::OwnedWeight;
using support::scheme;

// --- one call -------------------------------------------------------------------------------------------------------

struct Problem {
  int64_t m, n, k;
  spf_scalar_type type = SPF_BF16;
};

std::vector<uint16_t> codes_of(spf_scalar_type type, const std::vector<float>& values) {
  std::vector<uint16_t> out;
  for (const float v : values) out.push_back(static_cast<uint16_t>(spf::encode(type, v)));
  return out;
}

// The kernel that serves the Marlin order on mma.sync here; "" if nothing does.
const char* mma_kernel() { return device().facts().compute_capability >= 80 ? "sm80_mma" : "sm75_mma"; }

class Weight {
 public:
  explicit Weight(OwnedWeight owned) : owned_(std::move(owned)), values_(support::dequantized(owned_.weight)) {
    const support::PackedWeight host = support::packed(owned_.weight, "marlin");
    packed_ = host.header;
    block_ = on_device(host.memory.data(), static_cast<int64_t>(host.memory.size()));
    packed_.data = block_.data();
    packed_.device = device().device();
  }
  int64_t n() const { return owned_.weight.n; }
  int64_t k() const { return owned_.weight.k; }
  float at(int64_t row, int64_t column) const { return values_[static_cast<size_t>(row * k() + column)]; }
  const spf_packed_weight& packed() const { return packed_; }

 private:
  OwnedWeight owned_;
  std::vector<float> values_;
  spf_packed_weight packed_ = {};
  spf::check::Block block_;
};

// A call of the kernel with its memory; out is f32.
class Call {
 public:
  Call(const Weight& weight, const Problem& p, const std::vector<uint16_t>& x)
      : weight_(weight.packed()), count_(static_cast<size_t>(p.m * p.n)) {
    x_ = on_device(x.data(), static_cast<int64_t>(x.size() * 2));
    out_ = device().allocate(std::max<int64_t>(p.m * p.n * 4, 1));
    x_view_ = matrix(x_.data(), p.type, p.m, p.k);
    out_view_ = matrix(out_.data(), SPF_F32, p.m, p.n);
    options_.struct_size = sizeof options_;
    options_.require_kernel = mma_kernel();
    spf_launch launch;
    spf_plan* plan = nullptr;
    EXPECT_EQ(spf_launch_init(&launch, device().device()), SPF_OK);
    launch.options = &options_;
    launch.plan = &plan;
    launch.flags = SPF_LAUNCH_PLAN_ONLY;
    taken_ = spf_linear(&x_view_, &weight_, nullptr, &out_view_, &launch) == SPF_OK;
    if (!taken_) return;
    spf_plan_info info = {};
    info.struct_size = sizeof info;
    EXPECT_EQ(spf_plan_describe(plan, &info), SPF_OK);
    room_ = info.workspace_bytes;
    spf_plan_free(plan);
    workspace_ = device().allocate(std::max<int64_t>(static_cast<int64_t>(room_), 1));
    poison();
  }

  bool taken() const { return taken_; } // false: the kernel refuses
  void set_x(const std::vector<uint16_t>& x) {
    device().write(x_.data(), x.data(), static_cast<int64_t>(x.size() * 2));
  }
  // Every byte of out and of the workspace becomes NaN.
  void poison() {
    const std::vector<uint8_t> bytes(std::max(count_ * 4, room_), 0xff);
    device().write(out_.data(), bytes.data(), static_cast<int64_t>(count_ * 4));
    device().write(workspace_.data(), bytes.data(), static_cast<int64_t>(room_));
  }
  spf_status enqueue(void* stream) {
    spf_launch launch;
    EXPECT_EQ(spf_launch_init(&launch, device().device()), SPF_OK);
    launch.options = &options_;
    launch.workspace = workspace_.data();
    launch.workspace_bytes = room_;
    launch.stream = stream;
    return spf_linear(&x_view_, &weight_, nullptr, &out_view_, &launch);
  }
  std::vector<float> out() {
    device().wait();
    std::vector<float> out(count_);
    device().read(out.data(), out_.data(), static_cast<int64_t>(count_ * 4));
    return out;
  }

 private:
  spf_packed_weight weight_;
  size_t count_, room_ = 0;
  bool taken_ = false;
  spf::check::Block x_, out_, workspace_;
  spf_tensor x_view_, out_view_;
  spf_plan_options options_ = {};
};

// Empty if the kernel refuses.
std::vector<float> multiply(const Weight& weight, const Problem& p, const std::vector<uint16_t>& x) {
  Call call(weight, p, x);
  if (!call.taken()) return {};
  EXPECT_EQ(call.enqueue(nullptr), SPF_OK);
  return call.out();
}

// Weights are rounded once to the activations' type, independently, by 0.4 roundoffs in the mean: ten of
// those, and fp32 sums.
void expect_close(const Weight& weight, const Problem& p, const std::vector<uint16_t>& x, const std::vector<float>& out,
                  const std::string& what, int64_t columns = 16) {
  ASSERT_EQ(out.size(), static_cast<size_t>(p.m * p.n)) << what << ": refused";
  const double roundoff = p.type == SPF_BF16 ? 0x1p-8 : 0x1p-11;
  std::mt19937 random(static_cast<unsigned>(p.m * 7919 + p.n));
  for (int64_t m = 0; m < p.m; ++m)
    for (int64_t i = 0; i < std::min(columns, p.n); ++i) {
      const int64_t n = columns >= p.n ? i : static_cast<int64_t>(random() % static_cast<unsigned>(p.n));
      double sum = 0, squares = 0;
      for (int64_t k = 0; k < p.k; ++k) {
        const double term = spf::decode(p.type, x[static_cast<size_t>(m * p.k + k)]) * weight.at(n, k);
        sum += term;
        squares += term * term;
      }
      const double bound = std::sqrt(squares) * (4 * roundoff + std::sqrt(static_cast<double>(p.k)) * 0x1p-22) + 1e-30;
      ASSERT_NEAR(out[static_cast<size_t>(m * p.n + n)], sum, bound) << what << " [" << m << ", " << n << "]";
    }
}

void check(const spf_quant_scheme& s, const Problem& p, unsigned seed, const std::string& what) {
  const Weight weight(support::quantized(s, p.n, p.k, support::random_matrix(p.n, p.k, seed)));
  const std::vector<uint16_t> x = codes_of(p.type, support::normal_values(p.m * p.k, seed + 1));
  expect_close(weight, p, x, multiply(weight, p, x), what);
}

bool takes_bf16() { return device().facts().compute_capability >= 80; }
spf_scalar_type own_type() { return takes_bf16() ? SPF_BF16 : SPF_F16; }

const spf_quant_scheme kInt4 = scheme(SPF_FORMAT_CT_INT, SPF_U4B8, SPF_F16, 128);

// --- tests ----------------------------------------------------------------------------------------------------------

// One block a tile, several blocks a tile, more tiles than blocks on a small device.
TEST(Mma, EveryNumberOfRows) {
  const int64_t shapes[][2] = {{136, 256}, {64, 1040}, {264, 400}};
  for (const auto& [n, k] : shapes) {
    const Weight weight(support::quantized(kInt4, n, k, support::random_matrix(n, k, 3)));
    const std::vector<uint16_t> x = codes_of(own_type(), support::normal_values(256 * k, 4));
    for (int64_t m = 1; m <= 256; ++m) {
      const Problem p = {m, n, k, own_type()};
      const std::vector<uint16_t> rows(x.begin(), x.begin() + m * k);
      expect_close(weight, p, rows, multiply(weight, p, rows), "m=" + std::to_string(m), 3);
      if (HasFailure()) return;
    }
  }
}

TEST(Mma, RandomShapes) {
  const spf_quant_scheme schemes[] = {
      kInt4,
      scheme(SPF_FORMAT_CT_INT, SPF_U4B8, SPF_F16, 16),
      scheme(SPF_FORMAT_CT_INT, SPF_U4, SPF_F16, 64, 1, SPF_ZERO_INTEGER),
      scheme(SPF_FORMAT_CT_INT, SPF_U8, SPF_F16, 32, 1, SPF_ZERO_INTEGER),
      scheme(SPF_FORMAT_CT_INT, SPF_U8, SPF_F16, 128, 1, SPF_ZERO_INTEGER),
      scheme(SPF_FORMAT_CT_INT, SPF_U4, SPF_F16, -1, 1, SPF_ZERO_INTEGER),
      scheme(SPF_FORMAT_CT_INT, SPF_U8, SPF_F16, -1, 1, SPF_ZERO_INTEGER),
  };
  std::mt19937 random(5);
  for (int i = 0; i < 42; ++i) {
    const auto up_to = [&](int64_t most) { return static_cast<int64_t>(1 + random() % static_cast<unsigned>(most)); };
    const Problem p = {up_to(i % 4 == 0 ? 200 : 20), up_to(i % 5 == 0 ? 2000 : 300),
                       256 + up_to(i % 7 == 0 ? 4000 : 800), i % 3 == 0 ? SPF_F16 : own_type()};
    check(schemes[i % std::size(schemes)], p, static_cast<unsigned>(i),
          "scheme " + std::to_string(i % std::size(schemes)) + " m=" + std::to_string(p.m) +
              " n=" + std::to_string(p.n) + " k=" + std::to_string(p.k));
    if (HasFailure()) return;
  }
}

// Columns of 16 consecutive k that belong to several groups.
OwnedWeight with_groups(const spf_quant_scheme& s, int64_t n, int64_t k, const std::function<int64_t(int64_t)>& group) {
  OwnedWeight owned = support::quantized(s, n, k, support::random_matrix(n, k, 8));
  auto* g_idx = static_cast<int32_t*>(owned.weight.g_idx.data);
  for (int64_t i = 0; i < k; ++i) g_idx[i] = static_cast<int32_t>(group(i));
  return owned;
}

TEST(Mma, ActOrderWithGroupsOfAnySize) {
  std::mt19937 random(9);
  for (const spf_scalar_type code : {SPF_U4B8, SPF_U4, SPF_U8B128, SPF_U8}) {
    const bool zeros = code == SPF_U4 || code == SPF_U8;
    spf_quant_scheme s = scheme(SPF_FORMAT_CT_INT, code, SPF_F16, 32, 1, zeros ? SPF_ZERO_INTEGER : SPF_ZERO_NONE);
    s.has_g_idx = 1;
    for (const int64_t m : {1, 20, 70}) {
      const Problem p = {m, 200, 600, own_type()};
      const Weight weight(with_groups(s, p.n, p.k, [&](int64_t) { return random() % 19; }));
      const std::vector<uint16_t> x = codes_of(p.type, support::normal_values(p.m * p.k, 10));
      expect_close(weight, p, x, multiply(weight, p, x), "code " + std::to_string(code) + " m=" + std::to_string(m));
    }
  }
}

// A tensor-parallel rank has some columns of every group: slices of K add up to the whole.
TEST(Mma, SlicesOfKAddUp) {
  constexpr int64_t kM = 5, kN = 130, kK = 1024, kGroup = 128;
  const spf_scalar_type type = own_type();
  const std::vector<float> w = support::random_matrix(kN, kK, 12);
  const std::vector<uint16_t> x = codes_of(type, support::normal_values(kM * kK, 13));
  for (const int64_t parts : {1, 2, 4, 8}) {
    const int64_t k = kK / parts;
    std::vector<double> sum(kM * kN), want(kM * kN), squares(kM * kN);
    for (int64_t part = 0; part < parts; ++part) {
      // Columns of this rank in an order of their own: group boundaries of the whole lie anywhere in it.
      const auto column = [&](int64_t i) { return (i * parts + part) * 37 % kK; };
      spf_quant_scheme s = scheme(SPF_FORMAT_CT_INT, SPF_U4B8, SPF_F16, static_cast<int>(kGroup / parts));
      s.has_g_idx = 1;
      std::vector<float> slice;
      for (int64_t n = 0; n < kN; ++n)
        for (int64_t i = 0; i < k; ++i) slice.push_back(w[static_cast<size_t>(n * kK + column(i))]);
      OwnedWeight owned = support::quantized(s, kN, k, slice);
      auto* g_idx = static_cast<int32_t*>(owned.weight.g_idx.data);
      for (int64_t i = 0; i < k; ++i) g_idx[i] = static_cast<int32_t>(column(i) / kGroup);
      const Weight weight(std::move(owned));
      std::vector<uint16_t> rows;
      for (int64_t m = 0; m < kM; ++m)
        for (int64_t i = 0; i < k; ++i) rows.push_back(x[static_cast<size_t>(m * kK + column(i))]);
      const std::vector<float> out = multiply(weight, {kM, kN, k, type}, rows);
      ASSERT_EQ(out.size(), sum.size()) << parts;
      for (int64_t m = 0; m < kM; ++m)
        for (int64_t n = 0; n < kN; ++n) {
          const auto at = static_cast<size_t>(m * kN + n);
          sum[at] += out[at];
          for (int64_t i = 0; i < k; ++i) {
            const double term = spf::decode(type, rows[static_cast<size_t>(m * k + i)]) * weight.at(n, i);
            want[at] += term;
            squares[at] += term * term;
          }
        }
    }
    for (size_t i = 0; i < sum.size(); ++i)
      ASSERT_NEAR(sum[i], want[i], std::sqrt(squares[i]) * 4 * (type == SPF_BF16 ? 0x1p-8 : 0x1p-11)) << parts;
  }
}

// Scales of both signs, and zero points 0 and the largest.
TEST(Mma, NegativeScalesAndZeroPointsAtBothEnds) {
  constexpr int64_t kN = 96, kK = 256, kGroups = kK / 32;
  for (const spf_scalar_type code : {SPF_U4, SPF_U8, SPF_U4B8}) {
    const int32_t largest = code == SPF_U8 ? 255 : 15;
    const bool zeros = code != SPF_U4B8;
    const spf_quant_scheme s =
        scheme(SPF_FORMAT_CT_INT, code, SPF_F16, 32, 1, zeros ? SPF_ZERO_INTEGER : SPF_ZERO_NONE);
    std::vector<float> scales;
    std::vector<int32_t> points;
    for (int64_t i = 0; i < kN * kGroups; ++i) {
      scales.push_back((i % 3 == 0 ? -1.0f : 1.0f) * 0x1p-6f * static_cast<float>(1 + i % 5));
      points.push_back(i % 2 == 0 ? 0 : largest);
    }
    const std::vector<float> w = support::random_matrix(kN, kK, 20);
    size_t bytes = 0;
    ASSERT_EQ(spf_quantize_size(&s, kN, kK, &bytes), SPF_OK);
    OwnedWeight owned{support::AlignedBytes(bytes), {}};
    owned.weight.struct_size = sizeof owned.weight;
    ASSERT_EQ(spf_quantize_with_scales(&s, kN, kK, w.data(), scales.data(), zeros ? points.data() : nullptr, 1.0f,
                                       owned.memory.data(), bytes, &owned.weight),
              SPF_OK);
    const Weight weight(std::move(owned));
    const Problem p = {9, kN, kK, own_type()};
    const std::vector<uint16_t> x = codes_of(p.type, support::normal_values(p.m * p.k, 21));
    expect_close(weight, p, x, multiply(weight, p, x), "code " + std::to_string(code), kN);
  }
}

// One scale and one zero point a column: scales lie in another order than those of groups.
TEST(Mma, ZeroPointsOfWholeColumns) {
  for (const spf_scalar_type code : {SPF_U8, SPF_U4})
    for (const spf_scalar_type type : {own_type(), SPF_F16})
      for (const int64_t m : {5, 70})
        check(scheme(SPF_FORMAT_CT_INT, code, SPF_F16, -1, 1, SPF_ZERO_INTEGER), {m, 200, 1000, type}, 25,
              "code " + std::to_string(code) + " type " + std::to_string(type) + " m=" + std::to_string(m));
}

// A row that holds a NaN or an infinity becomes NaN or infinite, and no other row does.
TEST(Mma, NumbersThatAreNotFiniteStayInTheirRow) {
  const Problem p = {20, 130, 300, own_type()};
  const Weight weight(support::quantized(kInt4, p.n, p.k, support::random_matrix(p.n, p.k, 30)));
  std::vector<float> values = support::normal_values(p.m * p.k, 31);
  values[static_cast<size_t>(3 * p.k + 7)] = std::numeric_limits<float>::quiet_NaN();
  values[static_cast<size_t>(11 * p.k + 299)] = std::numeric_limits<float>::infinity();
  const std::vector<float> out = multiply(weight, p, codes_of(p.type, values));
  ASSERT_EQ(out.size(), static_cast<size_t>(p.m * p.n));
  for (int64_t m = 0; m < p.m; ++m)
    for (int64_t n = 0; n < p.n; ++n) {
      const float v = out[static_cast<size_t>(m * p.n + n)];
      if (m == 3)
        EXPECT_TRUE(std::isnan(v)) << n;
      else if (m == 11)
        EXPECT_TRUE(weight.at(n, 299) == 0 ? std::isnan(v)
                                           : std::isinf(v) && std::signbit(v) == std::signbit(weight.at(n, 299)))
            << n << " " << v;
      else
        EXPECT_TRUE(std::isfinite(v)) << m << " " << n;
    }
}

// The same call gives the same bits, also beside another that takes some of the multiprocessors from it.
TEST(Mma, SameBitsAtEveryRunUnderContention) {
  const int runs = device().facts().sm_count > 8 ? 100 : 5; // a small device is an emulated one
  for (const int64_t m : {3, 33, 130}) {
    const Problem p = {m, 1160, 2000, own_type()}, other = {17, 200, 1000, own_type()};
    const Weight weight(support::quantized(kInt4, p.n, p.k, support::random_matrix(p.n, p.k, 40)));
    const Weight other_weight(
        support::quantized(kInt4, other.n, other.k, support::random_matrix(other.n, other.k, 42)));
    Call call(weight, p, codes_of(p.type, support::normal_values(p.m * p.k, 41)));
    Call beside(other_weight, other, codes_of(other.type, support::normal_values(other.m * other.k, 43)));
    ASSERT_TRUE(call.taken() && beside.taken());
    ASSERT_EQ(call.enqueue(nullptr), SPF_OK);
    ASSERT_EQ(beside.enqueue(nullptr), SPF_OK);
    const std::vector<float> first = call.out(), first_beside = beside.out();
    for (int i = 0; i < runs; ++i) {
      call.poison();
      device().wait();
      for (int n = 0; n < 1 + i % 3; ++n) ASSERT_EQ(beside.enqueue(device().stream(1)), SPF_OK);
      ASSERT_EQ(call.enqueue(device().stream(0)), SPF_OK);
      ASSERT_EQ(call.out(), first) << "m=" << m << " run " << i;
      ASSERT_EQ(beside.out(), first_beside) << "m=" << m << " run " << i;
    }
  }
}

// A graph reads what its tensors hold when it is replayed.
TEST(Mma, ReplayFollowsChangedData) {
  if (!device().has_streams()) GTEST_SKIP() << "no graphs here";
  for (const int64_t m : {1, 40}) {
    const Problem p = {m, 648, 1024, own_type()};
    const Weight weight(support::quantized(kInt4, p.n, p.k, support::random_matrix(p.n, p.k, 50)));
    Call call(weight, p, codes_of(p.type, support::normal_values(p.m * p.k, 51)));
    ASSERT_TRUE(call.taken());
    spf_status status = SPF_OK;
    const auto replay = device().capture([&] { status = call.enqueue(device().stream(0)); });
    ASSERT_EQ(status, SPF_OK);
    for (unsigned seed = 52; seed < 55; ++seed) {
      const std::vector<uint16_t> x = codes_of(p.type, support::normal_values(p.m * p.k, seed));
      call.set_x(x);
      call.poison();
      replay();
      EXPECT_EQ(call.out(), multiply(weight, p, x)) << "m=" << m << " seed " << seed;
    }
  }
}

} // namespace
