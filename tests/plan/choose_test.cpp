// The planner over tables made by hand.
#include <memory>

#include <gtest/gtest.h>

#include "hand_made_table.hpp"

namespace spf::test {
namespace {

std::vector<Kernel> two_cpu_kernels() {
  return {{.name = "avx512_fast",
           .instances = {instance("wide", 20), instance("narrow", 10)},
           .needs = {"avx512", "avx512_vnni"}},
          {.name = "reference", .instances = {instance("", 100)}}};
}

constexpr uint32_t kVnni = SPF_CPU_AVX2 | SPF_CPU_AVX512 | SPF_CPU_AVX512_VNNI;

Demands require(const char* name) { return {name, nullptr, 0}; }

TEST(Choose, CheapestKernelAndInstanceWin) {
  Table t(two_cpu_kernels());
  EXPECT_EQ(t.choose(t.problem(), cpu(kVnni)), "avx512_fast/narrow");
  EXPECT_EQ(t.plan.choice.workspace_bytes, 64u);
  EXPECT_EQ(t.refusal("reference"), "slower: estimated 100 us; the chosen one is estimated faster");
}

TEST(Choose, TiesGoToManifestOrder) {
  Table t({{.name = "first", .instances = {instance("", 5)}}, {.name = "second", .instances = {instance("", 5)}}});
  EXPECT_EQ(t.choose(t.problem(), cpu()), "first/");
  EXPECT_NE(t.refusal("second"), "");
}

TEST(Choose, LaterKernelWinsByCostAndTheEarlierIsCalledSlower) {
  Table t({{.name = "first", .instances = {instance("", 7)}}, {.name = "second", .instances = {instance("", 5)}}});
  EXPECT_EQ(t.choose(t.problem(), cpu()), "second/");
  EXPECT_EQ(t.refusal("first").substr(0, 7), "slower:");
}

TEST(Choose, ReasonsAreNotCollectedUnlessAskedForOrNeeded) {
  Table t(two_cpu_kernels());
  Plan plan;
  EXPECT_EQ(choose(t.problem(), cpu(), {}, t.table(), false, &plan), SPF_OK);
  EXPECT_TRUE(plan.rejections.empty());
  EXPECT_EQ(choose(t.problem(13), cpu(), {}, t.table(), false, &plan), SPF_UNSUPPORTED);
  EXPECT_EQ(plan.rejections.size(), 2u);
}

TEST(Choose, OnlyKernelsOfThisOpAndDeviceKindAreCandidates) {
  Table t({{.name = "other_op", .instances = {instance("", 1)}, .op = "add"},
           {.name = "on_gpu", .device = SPF_CUDA, .instances = {instance("", 1)}},
           {.name = "mine", .instances = {instance("", 9)}}});
  EXPECT_EQ(t.choose(t.problem(), cpu()), "mine/");
  EXPECT_TRUE(t.plan.rejections.empty());
}

TEST(Choose, MissingFeatureIsNamed) {
  Table t(two_cpu_kernels());
  EXPECT_EQ(t.choose(t.problem(), cpu(SPF_CPU_AVX2 | SPF_CPU_AVX512)), "reference/");
  EXPECT_EQ(t.refusal("avx512_fast"), "feature: needs avx512_vnni");
  EXPECT_EQ(t.choose(t.problem(), cpu(0)), "reference/");
  EXPECT_EQ(t.refusal("avx512_fast"), "feature: needs avx512");
}

TEST(Choose, EveryCpuFeatureNameIsKnown) {
  const std::pair<const char*, uint32_t> features[] = {{"avx2", SPF_CPU_AVX2},
                                                       {"avx512", SPF_CPU_AVX512},
                                                       {"avx512_vnni", SPF_CPU_AVX512_VNNI},
                                                       {"avx512_bf16", SPF_CPU_AVX512_BF16},
                                                       {"amx_int8", SPF_CPU_AMX_INT8},
                                                       {"amx_bf16", SPF_CPU_AMX_BF16},
                                                       {"x86-64", 0}};
  for (const auto& [name, bit] : features) {
    Table t({{.name = "k", .instances = {instance("", 1)}, .needs = {name}}});
    EXPECT_EQ(t.choose(t.problem(), cpu(bit)), "k/") << name;
    if (bit == 0) continue;
    EXPECT_EQ(t.choose(t.problem(), cpu(~bit)), "SPF_UNSUPPORTED") << name;
  }
  Table unknown({{.name = "k", .instances = {instance("", 1)}, .needs = {"quantum"}}});
  EXPECT_EQ(unknown.choose(unknown.problem(), cpu(~0u)), "SPF_UNSUPPORTED");
}

TEST(Choose, PolicyRefusalKeepsItsCodeAndReason) {
  Table t(two_cpu_kernels());
  EXPECT_EQ(t.choose(t.problem(13), cpu(kVnni)), "SPF_UNSUPPORTED");
  EXPECT_EQ(t.refusal("reference"), "shape: M is 13");
  EXPECT_EQ(t.plan.kernel, nullptr);
  const spf_error_detail e = last_error();
  EXPECT_STREQ(e.op, "mul");
  EXPECT_STREQ(e.stage, "plan");
  EXPECT_STREQ(e.field, "device");
  EXPECT_STREQ(e.value, "a cpu");
  EXPECT_NE(std::string(e.allowed).find("family/reference: M is 13"), std::string::npos) << e.allowed;
}

TEST(Choose, NoKernelForTheKindOfDeviceIsSaid) {
  Table t(two_cpu_kernels());
  EXPECT_EQ(t.choose(t.problem(), gpu(90, true)), "SPF_UNSUPPORTED");
  EXPECT_NE(std::string(last_error().allowed).find("no kernel of this op exists for this kind of device"),
            std::string::npos);
}

// --- require and forbid --------------------------------------------------------------------------------------------

TEST(Require, ByKernelByFamilyAndByInstance) {
  Table t(two_cpu_kernels());
  for (const char* name : {"reference", "family/reference"}) {
    EXPECT_EQ(t.choose(t.problem(), cpu(kVnni), require(name)), "reference/") << name;
    EXPECT_EQ(t.refusal("avx512_fast"), std::string("not_required: the caller requires ") + name);
  }
  EXPECT_EQ(t.choose(t.problem(), cpu(kVnni), require("family/avx512_fast/wide")), "avx512_fast/wide");
  EXPECT_EQ(t.choose(t.problem(), cpu(kVnni), require("family/avx512_fast/narrow")), "avx512_fast/narrow");
}

TEST(Require, UnmetIsAnErrorNeverASwap) {
  Table t(two_cpu_kernels());
  EXPECT_EQ(t.choose(t.problem(), cpu(0), require("avx512_fast")), "SPF_REQUIREMENT_UNMET");
  EXPECT_STREQ(last_error().field, "require_kernel");
  EXPECT_STREQ(last_error().value, "avx512_fast");
  EXPECT_STREQ(last_error().allowed, "family/avx512_fast cannot run: needs avx512");
  EXPECT_EQ(t.plan.kernel, nullptr);
}

TEST(Require, AnUnknownNameListsWhatThereIs) {
  Table t(two_cpu_kernels());
  for (const char* name : {"avx512", "", "famly/reference", "family/avx512_fast/wid", "family/", "reference/"}) {
    EXPECT_EQ(t.choose(t.problem(), cpu(kVnni), require(name)), "SPF_REQUIREMENT_UNMET") << name;
    EXPECT_STREQ(last_error().allowed, "a kernel of this op and device: family/avx512_fast, family/reference") << name;
  }
}

TEST(Forbid, KernelsAndInstances) {
  Table t(two_cpu_kernels());
  const char* kernel[] = {"nothing", "family/avx512_fast"};
  EXPECT_EQ(t.choose(t.problem(), cpu(kVnni), {nullptr, kernel, 2}), "reference/");
  EXPECT_EQ(t.refusal("avx512_fast"), "forbidden: forbidden by the caller");
  // A forbidden instance leaves the kernel's other instances in the race.
  const char* narrow[] = {"family/avx512_fast/narrow"};
  EXPECT_EQ(t.choose(t.problem(), cpu(kVnni), {nullptr, narrow, 1}), "avx512_fast/wide");
  const char* both[] = {"family/avx512_fast/narrow", "family/avx512_fast/wide"};
  EXPECT_EQ(t.choose(t.problem(), cpu(kVnni), {nullptr, both, 2}), "reference/");
  EXPECT_EQ(t.refusal("avx512_fast"), "forbidden: every instance is forbidden by the caller");
}

TEST(Forbid, LeavingNothingIsUnmet) {
  Table t(two_cpu_kernels());
  const char* all[] = {"avx512_fast", "reference"};
  EXPECT_EQ(t.choose(t.problem(), cpu(kVnni), {nullptr, all, 2}), "SPF_REQUIREMENT_UNMET");
  EXPECT_STREQ(last_error().field, "forbid");
}

TEST(Forbid, ThatChangesNothingDoesNotHideTheCause) {
  Table t(two_cpu_kernels());
  const char* unrelated[] = {"something_else"};
  EXPECT_EQ(t.choose(t.problem(13), cpu(kVnni), {nullptr, unrelated, 1}), "SPF_UNSUPPORTED");
}

TEST(Forbid, RequiredAndForbiddenAtOnceIsUnmet) {
  Table t(two_cpu_kernels());
  const char* reference[] = {"reference"};
  EXPECT_EQ(t.choose(t.problem(), cpu(kVnni), {"reference", reference, 1}), "SPF_REQUIREMENT_UNMET");
  EXPECT_STREQ(last_error().allowed, "family/reference cannot run: forbidden by the caller");
  const char* narrow[] = {"family/avx512_fast/narrow"};
  EXPECT_EQ(t.choose(t.problem(), cpu(kVnni), {"family/avx512_fast/narrow", narrow, 1}), "SPF_REQUIREMENT_UNMET");
}

// --- gates ---------------------------------------------------------------------------------------------------------

TEST(Gate, AtomicsOnlyOnRequest) {
  Table t({{.name = "atomic", .instances = {instance("", 1)}, .determinism = Determinism::kNone},
           {.name = "ordered", .instances = {instance("", 2)}, .determinism = Determinism::kRunToRun}});
  Problem p = t.problem();
  EXPECT_EQ(t.choose(p, cpu()), "ordered/");
  EXPECT_EQ(t.refusal("atomic"), "determinism: uses atomics; allow_nondeterministic is 0");
  p.allow_nondeterministic = true;
  EXPECT_EQ(t.choose(p, cpu()), "atomic/");
  // Requiring it does not switch the gate off.
  p.allow_nondeterministic = false;
  EXPECT_EQ(t.choose(p, cpu(), require("atomic")), "SPF_REQUIREMENT_UNMET");
}

TEST(Gate, EightBitActivationsOnlyOnRequest) {
  Table t({{.name = "s8", .instances = {instance("", 1)}, .activation = Activation::kQuantizedS8},
           {.name = "exact", .instances = {instance("", 2)}}});
  Problem p = t.problem();
  EXPECT_EQ(t.choose(p, cpu()), "exact/");
  EXPECT_EQ(t.refusal("s8"), "activation: quantizes activations to 8 bits; allow_activation_8bit is 0");
  p.allow_activation_8bit = true;
  EXPECT_EQ(t.choose(p, cpu()), "s8/");
}

TEST(Gate, LayoutOfThePackedWeight) {
  Table t({{.name = "a", .instances = {instance("", 1)}, .layouts = {"alpha", "beta"}},
           {.name = "b", .instances = {instance("", 2)}, .layouts = {"gamma"}}},
          true);
  Problem p = t.problem();
  EXPECT_EQ(t.choose(p, cpu()), "a/");
  p.layout = "beta";
  EXPECT_EQ(t.choose(p, cpu()), "a/");
  EXPECT_EQ(t.refusal("b"), "layout: reads gamma, not beta");
  p.layout = "gamma";
  EXPECT_EQ(t.choose(p, cpu()), "b/");
  EXPECT_EQ(t.refusal("a"), "layout: reads alpha, beta, not gamma");
  p.layout = "delta";
  EXPECT_EQ(t.choose(p, cpu()), "SPF_UNSUPPORTED");
}

TEST(Gate, LayoutMattersOnlyToOpsWithAPackedWeight) {
  Table t({{.name = "a", .instances = {instance("", 1)}, .layouts = {"alpha"}}}, false);
  Problem p = t.problem();
  p.layout = "delta";
  EXPECT_EQ(t.choose(p, cpu()), "a/");
}

// --- what is built -------------------------------------------------------------------------------------------------

Kernel gpu_kernel(const char* name, std::vector<TargetCoverage> coverage, std::vector<TargetCoverage> potential) {
  return {.name = name,
          .device = SPF_CUDA,
          .instances = {instance("", 1)},
          .needs = {"tma", "wgmma"},
          .coverage = std::move(coverage),
          .potential = std::move(potential)};
}

constexpr arch::Target k80 = cuda_target(8, 0), k90 = cuda_target(9, 0),
                       k90a = cuda_target(9, 0, arch::Suffix::kSpecific), k120 = cuda_target(12, 0),
                       k120f = cuda_target(12, 0, arch::Suffix::kFamily);

TEST(Built, RealDeviceNeedsCodeInThisBuild) {
  const TargetCoverage native{k90a, arch::Answer::kNative, k90a, ""};
  Table built({gpu_kernel("k", {native}, {native})});
  EXPECT_EQ(built.choose(built.problem(), gpu(90, false)), "k/");
  Table not_built({gpu_kernel("k", {}, {native})});
  EXPECT_EQ(not_built.choose(not_built.problem(), gpu(90, false)), "SPF_NOT_BUILT");
  EXPECT_EQ(not_built.refusal("k").substr(0, 10), "not_built:");
  EXPECT_NE(not_built.refusal("k").find("-DSPEARFISH_CUDA_ARCHS"), std::string::npos);
  EXPECT_NE(std::string(last_error().allowed).find("targets in this build: 9.0a"), std::string::npos);
}

TEST(Built, RealDeviceThatNoBuildCanServeIsUnsupported) {
  const TargetCoverage native{k90a, arch::Answer::kNative, k90a, ""};
  Table t({gpu_kernel("k", {native}, {native})});
  EXPECT_EQ(t.choose(t.problem(), gpu(100, false)), "SPF_UNSUPPORTED");
  EXPECT_EQ(t.refusal("k"), "target: needs tma, wgmma");
}

TEST(Built, PretendDeviceAsksWhatCouldBeBuilt) {
  const TargetCoverage native{k90a, arch::Answer::kNative, k90a, ""};
  Table t({gpu_kernel("k", {}, {native})});
  EXPECT_EQ(t.choose(t.problem(), gpu(90, true)), "k/");
  EXPECT_EQ(t.choose(t.problem(), gpu(80, true)), "SPF_UNSUPPORTED");
}

TEST(Built, ExcludedRowsServeNothing) {
  const TargetCoverage excluded{k90, arch::Answer::kExcluded, {}, "slower there"};
  Table t({gpu_kernel("k", {excluded}, {excluded})});
  EXPECT_EQ(t.choose(t.problem(), gpu(90, true)), "SPF_UNSUPPORTED");
  EXPECT_EQ(t.choose(t.problem(), gpu(90, false)), "SPF_UNSUPPORTED");
}

TEST(Built, CodeServesLaterMinorsSpecificCodeItsOwnAndPtxAllLater) {
  const auto with = [](arch::Answer answer, arch::Target code) {
    return std::make_unique<Table>(
        std::vector<Kernel>{gpu_kernel("k", {{code, answer, code, ""}}, {{code, answer, code, ""}})});
  };
  const auto runs = [](Table& t, int capability) { return t.choose(t.problem(), gpu(capability, false)) == "k/"; };
  auto plain = with(arch::Answer::kNative, k80);
  EXPECT_TRUE(runs(*plain, 80) && runs(*plain, 86) && runs(*plain, 89));
  EXPECT_FALSE(runs(*plain, 75) || runs(*plain, 90));
  auto family = with(arch::Answer::kFamily, k120f);
  EXPECT_TRUE(runs(*family, 120) && runs(*family, 121));
  EXPECT_FALSE(runs(*family, 100) || runs(*family, 110));
  auto specific = with(arch::Answer::kNative, cuda_target(12, 0, arch::Suffix::kSpecific));
  EXPECT_TRUE(runs(*specific, 120));
  EXPECT_FALSE(runs(*specific, 121));
  auto ptx = with(arch::Answer::kPtx, k90);
  EXPECT_TRUE(runs(*ptx, 90) && runs(*ptx, 100) && runs(*ptx, 121));
  EXPECT_FALSE(runs(*ptx, 89));
}

TEST(Built, AnInstanceThatIsMissingLeavesTheOthers) {
  const TargetCoverage native{k120, arch::Answer::kNative, k120, ""};
  Kernel k = gpu_kernel("k", {native}, {native});
  k.instances = {instance("cheap", 1, nullptr), instance("dear", 2)};
  Table t({k});
  EXPECT_EQ(t.choose(t.problem(), gpu(120, false)), "k/dear");
  EXPECT_EQ(t.choose(t.problem(), gpu(120, true)), "k/cheap") << "a pretend device plans for what could be built";
  EXPECT_EQ(t.choose(t.problem(), gpu(120, false), require("family/k/cheap")), "SPF_REQUIREMENT_UNMET");
  Kernel none = gpu_kernel("k", {native}, {native});
  none.instances = {instance("cheap", 1, nullptr)};
  Table t2({none});
  EXPECT_EQ(t2.choose(t2.problem(), gpu(120, false)), "SPF_NOT_BUILT");
}

// Tiles that a manifest gives to some targets: a build for several holds code of each for its own alone.
TEST(Built, AnInstanceOfOtherTargetsIsNotChosen) {
  const TargetCoverage on80{k80, arch::Answer::kNative, k80, ""}, on90{k90, arch::Answer::kNative, k90, ""};
  const std::vector<TargetCoverage> both = {on80, on90};
  Kernel kernel = gpu_kernel("sm80_a", both, both);
  InstanceRow hopper = instance("big", 1), ampere = instance("small", 2);
  hopper.only = std::span<const arch::Target>(&k90, 1);
  ampere.only = std::span<const arch::Target>(&k80, 1);
  kernel.instances = {hopper, ampere};
  Table t({kernel});
  for (const bool pretend : {false, true}) {
    EXPECT_EQ(t.choose(t.problem(), gpu(90, pretend)), "sm80_a/big");
    EXPECT_EQ(t.choose(t.problem(), gpu(80, pretend)), "sm80_a/small");
    EXPECT_EQ(t.choose(t.problem(), gpu(86, pretend)), "sm80_a/small"); // by 8.0's code
  }
}

TEST(Names, MatchKernelFamilyAndInstanceOnly) {
  const InstanceRow row = instance("a=1", 1);
  const Kernel k{.name = "kern", .instances = {row}};
  Table t({k});
  const KernelRow& kernel = t.table().kernels.front();
  EXPECT_TRUE(name_matches(kernel, nullptr, "kern"));
  EXPECT_TRUE(name_matches(kernel, nullptr, "family/kern"));
  EXPECT_FALSE(name_matches(kernel, nullptr, "family/kern/a=1"));
  EXPECT_TRUE(name_matches(kernel, &row, "family/kern/a=1"));
  EXPECT_FALSE(name_matches(kernel, &row, "family/kern"));
  EXPECT_FALSE(name_matches(kernel, &row, "kern/a=1"));
}

TEST(Targets, OfFacts) {
  EXPECT_EQ(target_of(gpu(90, false)), cuda_target(9, 0));
  EXPECT_EQ(target_of(gpu(121, true)), cuda_target(12, 1));
  EXPECT_EQ(target_of(cpu()).kind, arch::Target::Kind::kCpu);
  spf_device_facts hip = gpu(0, true);
  hip.kind = SPF_HIP;
  EXPECT_EQ(target_of(hip).kind, arch::Target::Kind::kHip);
}

} // namespace
} // namespace spf::test
