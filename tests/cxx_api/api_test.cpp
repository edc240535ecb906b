// The C++ interface: exceptions, ownership, views, plans.
#include <thread>
#include <type_traits>

#include <dlpack/dlpack.h>
#include <gtest/gtest.h>

#include "spearfish/spearfish.hpp"

namespace spearfish {
namespace {

static_assert(std::is_nothrow_move_constructible_v<Plan> && !std::is_copy_constructible_v<Plan>);
static_assert(std::is_nothrow_move_constructible_v<Buffer> && !std::is_copy_constructible_v<Buffer>);
static_assert(std::is_move_constructible_v<QuantizedWeight> && !std::is_copy_constructible_v<QuantizedWeight>);
static_assert(std::is_move_constructible_v<PackedWeight> && !std::is_copy_constructible_v<PackedWeight>);
static_assert(std::is_copy_constructible_v<Tensor>, "a view is copied like a pointer");
static_assert(scalar_type_of<const float>() == SPF_F32 && scalar_type_of<double>() == SPF_TYPE_NONE);

template <class Body>
Error error_of(Body&& body) {
  try {
    body();
  } catch (const Error& e) {
    return e;
  }
  ADD_FAILURE() << "nothing was thrown";
  return Error(SPF_OK, "");
}

// --- errors --------------------------------------------------------------------------------------------------------

TEST(Errors, CarryEveryPart) {
  float data[8] = {};
  const Error e = error_of([&] { silu(Tensor(data, SPF_F32, {2, 4}), Tensor(data, SPF_F16, {2, 4})); });
  EXPECT_EQ(e.status(), SPF_INVALID_TYPE);
  EXPECT_STREQ(e.status_name(), "SPF_INVALID_TYPE");
  EXPECT_EQ(e.op(), "silu");
  EXPECT_EQ(e.stage(), "validate");
  EXPECT_EQ(e.field(), "out.type");
  EXPECT_EQ(e.value(), "f16");
  EXPECT_EQ(e.allowed(), "f32 as in the other operands");
  EXPECT_EQ(e.device_code(), 0);
  EXPECT_STREQ(e.what(), "silu: out.type is f16; allowed: f32 as in the other operands");
}

TEST(Errors, OutliveTheThreadsLastError) {
  const Error first = error_of([] { scalar_type("bf17"); });
  error_of([] { facts("h2000"); });
  EXPECT_EQ(first.status(), SPF_NOT_FOUND);
  EXPECT_EQ(first.value(), "bf17");
}

TEST(Errors, AForeignStatusGetsItsOwnSentence) {
  error_of([] { scalar_type("bf17"); }); // the thread's last error is another one
  const Error e = error_of([] { check(SPF_DEVICE_ERROR); });
  EXPECT_EQ(e.status(), SPF_DEVICE_ERROR);
  EXPECT_STREQ(e.what(), spf_status_sentence(SPF_DEVICE_ERROR));
  EXPECT_EQ(e.field(), "");
  EXPECT_NO_THROW(check(SPF_OK));
}

// --- devices and types ---------------------------------------------------------------------------------------------

TEST(Devices, CompareAndProbe) {
  EXPECT_EQ(Device(), Device::cpu());
  EXPECT_NE(Device::cuda(0), Device::cuda(1));
  EXPECT_NE(Device::cuda(0), Device::cpu());
  EXPECT_EQ(facts(Device::cpu()).kind, SPF_CPU);
  EXPECT_EQ(facts("h200").compute_capability, 90);
  EXPECT_TRUE(facts("cpu:avx2").has(SPF_CPU_AVX2));
  EXPECT_FALSE(facts("cpu:avx2").has(SPF_CPU_AVX512));
  EXPECT_EQ(error_of([] { facts("h2000"); }).status(), SPF_NOT_FOUND);
  EXPECT_NE(error_of([] { facts(Device::cuda(999)); }).status(), SPF_OK);
}

TEST(Types, NamesBothWays) {
  for (int t = 1; t < SPF_TYPE_COUNT; ++t) {
    const auto type = static_cast<ScalarType>(t);
    EXPECT_EQ(scalar_type(name(type)), type);
  }
  EXPECT_EQ(describe(SPF_BF16).mantissa_bits, 7);
  EXPECT_EQ(error_of([] { describe(SPF_TYPE_COUNT); }).status(), SPF_INVALID_TYPE);
}

// --- views ---------------------------------------------------------------------------------------------------------

TEST(Tensors, ContiguousAndStrided) {
  const float data[24] = {};
  const Tensor t(data, SPF_F32, {2, 3, 4});
  EXPECT_EQ(t.strides(), (Shape{12, 4, 1}));
  EXPECT_EQ(t.shape(), (Shape{2, 3, 4}));
  EXPECT_EQ(t.elements(), 24);
  EXPECT_EQ(t.rank(), 3);
  EXPECT_EQ(t.data(), data);
  EXPECT_EQ(t.extent_bytes(), 96);
  EXPECT_EQ(t.device(), Device::cpu());
  const Tensor s(data, SPF_F32, {2, 3}, {10, 2});
  EXPECT_EQ(s.extent_bytes(), (10 + 4 + 1) * 4);
  EXPECT_EQ(error_of([&] { Tensor(data, SPF_F32, {2, 3}, {1}); }).status(), SPF_INVALID_STRIDE);
  EXPECT_EQ(error_of([&] { Tensor(data, SPF_F32, {2, -3}); }).status(), SPF_INVALID_SHAPE);
  EXPECT_EQ(error_of([&] { t.extent(3); }).status(), SPF_INVALID_ARGUMENT);
  EXPECT_EQ(error_of([&] { t.stride(-1); }).status(), SPF_INVALID_ARGUMENT);
}

TEST(Tensors, OfCppTypes) {
  const int32_t i[4] = {};
  int8_t b[4] = {};
  EXPECT_EQ(view(i, {4}).type(), SPF_I32);
  EXPECT_EQ(view(b, {2, 2}).type(), SPF_S8);
}

TEST(Tensors, SliceAndTranspose) {
  float data[24];
  for (int i = 0; i < 24; ++i) data[i] = static_cast<float>(i);
  const Tensor t(data, SPF_F32, {2, 3, 4});
  const Tensor s = t.slice(1, 1, 3);
  EXPECT_EQ(s.shape(), (Shape{2, 2, 4}));
  EXPECT_EQ(static_cast<float*>(s.data())[0], 4.0f);
  EXPECT_EQ(s.strides(), t.strides());
  EXPECT_EQ(t.slice(2, 4, 4).elements(), 0);
  const Tensor x = t.transpose(0, 2);
  EXPECT_EQ(x.shape(), (Shape{4, 3, 2}));
  EXPECT_EQ(x.strides(), (Shape{1, 4, 12}));
  EXPECT_EQ(Tensor(nullptr, SPF_F32, {4, 4}).slice(0, 1, 2).data(), nullptr);
  EXPECT_EQ(error_of([&] { t.slice(1, 2, 1); }).status(), SPF_INVALID_SHAPE);
  EXPECT_EQ(error_of([&] { t.slice(1, 0, 4); }).status(), SPF_INVALID_SHAPE);
  EXPECT_EQ(error_of([&] { t.slice(1, -1, 2); }).status(), SPF_INVALID_SHAPE);
  spf_tensor packed = *Tensor(data, SPF_U4, {8}).get();
  packed.packing = SPF_PACKING_LOW_FIRST;
  EXPECT_EQ(error_of([&] { Tensor(packed).slice(0, 1, 3); }).status(), SPF_INVALID_ARGUMENT);
}

TEST(Tensors, DlpackRoundTrip) {
  float data[6] = {};
  DLManagedTensor* managed = to_dlpack(Tensor(data, SPF_F32, {2, 3}, {3, 1}));
  const Tensor back = from_dlpack(managed);
  EXPECT_EQ(back.data(), data);
  EXPECT_EQ(back.shape(), (Shape{2, 3}));
  EXPECT_EQ(back.type(), SPF_F32);
  managed->deleter(managed);
  EXPECT_EQ(error_of([&] { to_dlpack(Tensor(data, SPF_E2M1, {2})); }).status(), SPF_INVALID_TYPE);
}

// --- plans and launches --------------------------------------------------------------------------------------------

Plan plan_silu() {
  Plan plan;
  silu(Tensor(nullptr, SPF_F32, {4, 8}), Tensor(nullptr, SPF_F32, {4, 8}), Launch().plan_only(plan));
  return plan;
}

TEST(Plans, AnEmptyPlanIsNoPlan) {
  const Plan plan;
  EXPECT_TRUE(plan.empty());
  EXPECT_FALSE(plan);
  EXPECT_EQ(error_of([&] { plan.kernel(); }).status(), SPF_INVALID_ARGUMENT);
}

TEST(Plans, Move) {
  Plan a = plan_silu();
  ASSERT_TRUE(a);
  const std::string kernel = a.kernel();
  Plan b = std::move(a);
  EXPECT_TRUE(a.empty()); // NOLINT(bugprone-use-after-move): a moved-from plan is empty
  EXPECT_EQ(b.kernel(), kernel);
  a = std::move(b);
  EXPECT_TRUE(b.empty()); // NOLINT(bugprone-use-after-move)
  EXPECT_EQ(a.kernel(), kernel);
  a = Plan();
  EXPECT_TRUE(a.empty());
}

TEST(Plans, SayWhatRuns) {
  const Plan plan = plan_silu();
  EXPECT_EQ(plan.op(), "silu");
  EXPECT_EQ(plan.kernel().substr(0, 11), "activation/");
  EXPECT_EQ(plan.activation(), "as given");
  EXPECT_NE(plan.determinism(), "");
  EXPECT_EQ(plan.layout(), "");
  EXPECT_GT(plan.cost_us(), 0);
}

TEST(Plans, ForADeviceThatIsNotHere) {
  Plan plan;
  silu(Tensor(nullptr, SPF_F32, {4, 8}), Tensor(nullptr, SPF_F32, {4, 8}),
       Launch().plan_only(plan, facts("cpu:x86-64")));
  EXPECT_TRUE(plan);
  for (const Plan::Rejection& r : plan.rejected()) EXPECT_NE(r.reason, "") << r.kernel;
}

TEST(Plans, ExplainRunsAndStoresThePlan) {
  float x[4] = {1, 2, 3, 4}, out[4] = {};
  Plan plan;
  silu(view(x, {4}), view(out, {4}), Launch().explain(plan));
  EXPECT_TRUE(plan);
  EXPECT_GT(out[3], 3.0f);
}

TEST(Plans, AFailedPlanIsStoredWithItsReasons) {
  Plan plan;
  const Error e = error_of([&] {
    silu(Tensor(nullptr, SPF_F32, {4, 8}), Tensor(nullptr, SPF_F32, {4, 8}),
         Launch().plan_only(plan).require("reference").forbid("activation/reference"));
  });
  EXPECT_EQ(e.status(), SPF_REQUIREMENT_UNMET);
  ASSERT_FALSE(plan.empty());
  EXPECT_FALSE(plan);
  EXPECT_EQ(plan.kernel(), "");
  bool forbidden = false;
  for (const Plan::Rejection& r : plan.rejected())
    forbidden |= r.kernel == "activation/reference" && r.code == "forbidden";
  EXPECT_TRUE(forbidden);
}

TEST(Launches, RequireForcesAKernel) {
  float x[4] = {1, 2, 3, 4}, out[4] = {};
  Plan plan;
  silu(view(x, {4}), view(out, {4}), Launch().require("reference").explain(plan));
  EXPECT_EQ(plan.kernel(), "activation/reference");
}

TEST(Launches, AreValuesThatMayBeKept) {
  const Launch launch = Launch().require("reference");
  float x[4] = {1, 2, 3, 4}, out[4] = {};
  for (int i = 0; i < 3; ++i) silu(view(x, {4}), view(out, {4}), launch);
  Launch copy = launch;
  EXPECT_EQ(error_of([&] { silu(view(x, {4}), view(out, {4}), copy.on(Device::cuda(77))); }).op(), "device");
  EXPECT_EQ(launch.device(), Device::cpu());
}

TEST(Launches, RunOnSeveralThreadsAtOnce) {
  std::vector<std::thread> threads;
  std::vector<int> wrong(4);
  for (size_t t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      std::vector<float> x(256, static_cast<float>(t)), out(256), again(256);
      silu(view(x.data(), {256}), view(again.data(), {256}));
      for (int i = 0; i < 20; ++i) {
        silu(view(x.data(), {256}), view(out.data(), {256}));
        wrong[t] += out != again;
      }
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, std::vector<int>(4));
}

// --- weights -------------------------------------------------------------------------------------------------------

std::vector<float> ramp(int64_t count) {
  std::vector<float> out;
  for (int64_t i = 0; i < count; ++i) out.push_back(static_cast<float>((i * 37 % 101) - 50) / 64.0f);
  return out;
}

TEST(Buffers, AlignedMovableAndEmpty) {
  Buffer a(100);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(a.data()) % 256, 0u);
  EXPECT_EQ(a.size(), 100u);
  void* memory = a.data();
  const Buffer b = std::move(a);
  EXPECT_EQ(b.data(), memory);
  EXPECT_EQ(a.data(), nullptr); // NOLINT(bugprone-use-after-move)
  EXPECT_EQ(a.size(), 0u);
  EXPECT_EQ(Buffer().data(), nullptr);
  EXPECT_NE(Buffer(0).data(), nullptr);
}

TEST(Weights, QuantizePackAndUnpackInEveryFormat) {
  constexpr int64_t kN = 32, kK = 256;
  const std::vector<float> w = ramp(kN * kK);
  for (const std::string& format : quant_scheme_names()) {
    QuantizedWeight quantized = QuantizedWeight::quantize(quant_scheme(format), kN, kK, w.data());
    EXPECT_EQ(quantized.n(), kN);
    const std::vector<float> values = quantized.dequantize();
    const QuantizedWeight moved = std::move(quantized);
    EXPECT_EQ(moved.dequantize(), values) << format << ": views must follow their memory";
    PackedWeight packed = PackedWeight::pack(moved, "reference");
    EXPECT_EQ(packed.layout(), "reference");
    EXPECT_EQ(packed.n(), kN);
    EXPECT_EQ(packed.k(), kK);
    EXPECT_GT(packed.bytes(), 0u);
    const PackedWeight moved_packed = std::move(packed);
    EXPECT_EQ(moved_packed.unpack(), values) << format;
  }
}

TEST(Weights, Borrowed) {
  const std::vector<float> w = ramp(4 * 8);
  const QuantizedWeight owned = QuantizedWeight::quantize(quant_scheme("f32"), 4, 8, w.data());
  EXPECT_EQ(QuantizedWeight::borrow(*owned.get()).dequantize(), w);
  spf_quantized_weight wrong = *owned.get();
  wrong.k = 9;
  EXPECT_NE(error_of([&] { QuantizedWeight::borrow(wrong); }).status(), SPF_OK);
}

TEST(Weights, UnknownNames) {
  EXPECT_EQ(error_of([] { quant_scheme("int5"); }).status(), SPF_NOT_FOUND);
  EXPECT_NE(error_of([] { quant_scheme("int5"); }).allowed().find("int4-g128"), std::string::npos);
  const std::vector<float> w = ramp(32);
  const QuantizedWeight owned = QuantizedWeight::quantize(quant_scheme("f32"), 4, 8, w.data());
  EXPECT_EQ(error_of([&] { PackedWeight::pack(owned, "no_layout"); }).status(), SPF_NOT_FOUND);
  EXPECT_FALSE(layout_names().empty());
}

// --- coverage ------------------------------------------------------------------------------------------------------

TEST(Coverages, OfThisBuildAndOfAList) {
  const Coverage own = coverage();
  EXPECT_EQ(own.targets, spf_built_targets());
  bool reference = false;
  for (const Coverage::Row& r : own.rows) {
    reference |= r.kernel == "reference" && r.built && r.state == "native";
    EXPECT_TRUE(r.state != "excluded" || !r.reason.empty()) << r.family << "/" << r.kernel << " " << r.target;
  }
  EXPECT_TRUE(reference);
  const Coverage asked = coverage("sm_90 12.0f", "12.8");
  EXPECT_EQ(asked.targets, "9.0;12.0f");
  EXPECT_EQ(asked.toolkit, "12.8");
  EXPECT_EQ(error_of([] { coverage("9.9"); }).status(), SPF_INVALID_ARGUMENT);
}

} // namespace
} // namespace spearfish
