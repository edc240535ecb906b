// Whole builds, toolkit and target list together: the cases in which a well-known build script compiled the wrong
// thing, compiled nothing, or lost a request without a word. One test each, with what a user would want.
#include "support.hpp"

namespace spf::arch::test {
namespace {

// Families as lists of targets, the way such scripts write them, and as features, the way manifests here do.
const Listed kMarlin16("8.0+PTX");
const Listed kMarlinBf16("8.0+PTX 9.0+PTX");
const Listed kMarlinFp8("8.9 12.0");
const Listed kMarlin75("7.5");
const Listed kAllSpark("8.0 8.6 8.7 8.9");
const Listed kScaled90("9.0a"), kScaled100("10.0f 11.0f"), kScaled120("12.0f");
const Listed kScaledOld("7.5 8.0 8.7 8.9+PTX");
const Listed kNvfp4OnFamily("12.0f"), kNvfp4OnSpecific("12.0a 12.1a");
const Listed kQutlass("12.0a 10.0f");
const Listed kFlashMla("9.0a 10.0f");
const Featured kWgmma{{"wgmma"}}, kTcgen05{{"tcgen05"}}, kBlockFp4{{"mma_block_fp4"}}, kMma{{"mma_f16", "cp_async"}};

constexpr const char* kWheels13 = "7.5 8.0 8.6 8.9 9.0 10.0 12.0";
constexpr const char* kWheels129 = "7.0 7.5 8.0 8.6 9.0 10.0 12.0";

TEST(Pipeline, Toolkit13WheelsList) {
  EXPECT_EQ(code(kMarlin16.facts(), kWheels13), "8.0+PTX");
  EXPECT_EQ(code(kMarlinBf16.facts(), kWheels13), "8.0+PTX 9.0+PTX");
  EXPECT_EQ(code(kMarlinFp8.facts(), kWheels13), "8.9 12.0");
  EXPECT_EQ(code(kMarlin75.facts(), kWheels13), "7.5");
  EXPECT_EQ(code(kAllSpark.facts(), kWheels13), "8.0 8.6 8.9");
  EXPECT_EQ(code(kScaled90.facts(), kWheels13), "9.0a");
  EXPECT_EQ(code(kScaled100.facts(), kWheels13), "10.0f");
  EXPECT_EQ(code(kScaled120.facts(), kWheels13), "12.0f");
  EXPECT_EQ(code(kQutlass.facts(), kWheels13), "10.0f 12.0a");
  EXPECT_EQ(code(kFlashMla.facts(), kWheels13), "9.0a 10.0f");
  EXPECT_EQ(code(kMma.facts(), kWheels13), "8.0 8.6 8.9 9.0 10.0 12.0");
}

TEST(Pipeline, Toolkit13FourTargets) {
  constexpr const char* kList = "8.0 8.9 9.0 12.0";
  EXPECT_EQ(code(kMarlin16.facts(), kList), "8.0+PTX");
  EXPECT_EQ(code(kMarlinFp8.facts(), kList), "8.9 12.0");
  EXPECT_EQ(code(kMarlin75.facts(), kList), "");
  EXPECT_EQ(code(kAllSpark.facts(), kList), "8.0 8.9");
  EXPECT_EQ(code(kScaled100.facts(), kList), "");
  EXPECT_EQ(code(kScaledOld.facts(), kList, "13.0", "9.0 12.0"), "8.0 8.9");
  EXPECT_EQ(code(kQutlass.facts(), kList), "12.0a");
}

// Machine code that no target can run is not compiled.
TEST(Pipeline, Toolkit13HopperAloneCompilesNoOldMachineCode) {
  EXPECT_EQ(code(kMarlin16.facts(), "9.0a"), "8.0-virtual");
  EXPECT_EQ(code(kMarlinBf16.facts(), "9.0a"), "9.0");
  EXPECT_EQ(code(kScaledOld.facts(), "9.0a", "13.0", "9.0a"), "");
  EXPECT_EQ(code(kScaled90.facts(), "9.0a"), "9.0a");
  EXPECT_EQ(code(kWgmma.facts(), "9.0a"), "9.0a");
  EXPECT_EQ(code(kMma.facts(), "9.0a"), "9.0a");
}

TEST(Pipeline, Toolkit13FamilyTargetAlone) {
  EXPECT_EQ(code(kScaled100.facts(), "10.0f"), "10.0f");
  EXPECT_EQ(code(kFlashMla.facts(), "10.0f"), "10.0f");
  EXPECT_EQ(code(kTcgen05.facts(), "10.0f"), "10.0f");
  EXPECT_EQ(code(kScaled90.facts(), "10.0f"), "");
}

TEST(Pipeline, Toolkit13LaterMinorIsNotMappedDown) {
  EXPECT_EQ(answer(kScaled100.facts(), "10.3"), "family 10.0f");
  EXPECT_EQ(answer(kTcgen05.facts(), "10.3"), "family 10.3f");
  EXPECT_EQ(answer(kMma.facts(), "10.3"), "native 10.3");
}

TEST(Pipeline, Toolkit13Target120) {
  EXPECT_EQ(code(kMarlin16.facts(), "12.0"), "8.0-virtual");
  EXPECT_EQ(code(kMarlinFp8.facts(), "12.0"), "12.0");
  EXPECT_EQ(code(kScaled120.facts(), "12.0"), "12.0f");
  EXPECT_EQ(code(kQutlass.facts(), "12.0"), "12.0a");
}

// 12.0a code cannot run on 12.1: it is excluded by name, and features give 12.1 its own code.
TEST(Pipeline, Toolkit13Target121NeverGetsSpecificCodeOf120) {
  for (const char* target : {"12.1", "12.1a"}) {
    EXPECT_EQ(answer(kQutlass.facts(), target), "excluded: 12.0a code runs on 12.0 only") << target;
    EXPECT_EQ(answer(kScaled120.facts(), target), "family 12.0f") << target;
    EXPECT_EQ(answer(kNvfp4OnFamily.facts(), target), "family 12.0f") << target;
    EXPECT_EQ(answer(kMarlinFp8.facts(), target), "compatible 12.0") << target;
  }
  EXPECT_EQ(answer(kBlockFp4.facts(), "12.1"), "family 12.1f");
  EXPECT_EQ(answer(kBlockFp4.facts(), "12.1a"), "native 12.1a");
}

// A target that became supported must not lose the families whose lists do not name it.
TEST(Pipeline, Toolkit13NewlySupportedTargetLosesNoFamily) {
  const auto kept = text(keep_supported(targets("7.5 8.0 8.6 8.7 8.9 9.0 10.0 11.0 12.0 12.1"), targets("12.1")));
  EXPECT_EQ(kept, "12.1");
  for (const Listed* family : {&kScaled120, &kNvfp4OnFamily, &kMarlinFp8}) EXPECT_NE(code(family->facts(), kept), "");
}

TEST(Pipeline, Toolkit13SmallAmperes) {
  EXPECT_EQ(code(kMarlin16.facts(), "8.6"), "8.0");
  EXPECT_EQ(code(kAllSpark.facts(), "8.6"), "8.6");
  EXPECT_EQ(code(kScaledOld.facts(), "8.6"), "8.0");
  EXPECT_EQ(code(kMarlin16.facts(), "8.7"), "8.0");
  EXPECT_EQ(code(kAllSpark.facts(), "8.7"), "8.7");
  EXPECT_EQ(code(kScaledOld.facts(), "8.7"), "8.7");
}

// A target older than everything is an error that says so, not an empty list that compiles for the compiler's default.
TEST(Pipeline, Toolkit13TargetOlderThanEverythingIsAnError) {
  const ParsedList parsed = parse_list("7.2", {&table(), version("13.0"), {}});
  EXPECT_NE(parsed.error.find("the oldest target is 7.5"), std::string::npos) << parsed.error;
  EXPECT_TRUE(parsed.targets.empty());
}

TEST(Pipeline, Toolkit129WheelsList) {
  EXPECT_EQ(code(kMarlin16.facts(), kWheels129, "12.9"), "8.0+PTX");
  EXPECT_EQ(code(kMarlinFp8.facts(), kWheels129, "12.9"), "12.0");
  EXPECT_EQ(code(kMarlin75.facts(), kWheels129, "12.9"), "7.5");
  EXPECT_EQ(code(Listed("10.0a").facts(), kWheels129, "12.9"), "10.0a");
  EXPECT_EQ(code(kNvfp4OnSpecific.facts(), kWheels129, "12.9"), "12.0a");
  EXPECT_EQ(code(kScaled90.facts(), kWheels129, "12.9"), "9.0a");
}

TEST(Pipeline, Toolkit129Target121) {
  EXPECT_EQ(answer(kBlockFp4.facts(), "12.1", "12.9"), "family 12.1f");
  EXPECT_EQ(answer(Listed("12.0a").facts(), "12.1", "12.9"), "excluded: 12.0a code runs on 12.0 only");
  EXPECT_EQ(answer(kNvfp4OnSpecific.facts(), "12.1", "12.9"), "native 12.1a");
  EXPECT_EQ(answer(kNvfp4OnFamily.facts(), "12.1", "12.9"), "family 12.0f");
}

TEST(Pipeline, Toolkit128Target121NamesTheToolkitThatWouldDo) {
  EXPECT_EQ(answer(kBlockFp4.facts(), "12.1", "12.8"), "excluded: 12.1a needs toolkit 12.9, this is 12.8");
  EXPECT_EQ(answer(kNvfp4OnFamily.facts(), "12.1", "12.8"), "excluded: 12.0f needs toolkit 12.9, this is 12.8");
  EXPECT_EQ(answer(kMma.facts(), "12.1", "12.8"), "compatible 12.0");
}

// 10.3 is never served by code for another capability's 'a'.
TEST(Pipeline, Toolkit129Target103) {
  EXPECT_EQ(answer(kTcgen05.facts(), "10.3", "12.9"), "family 10.3f");
  EXPECT_EQ(answer(Listed("10.0a 10.1a 10.3a").facts(), "10.3", "12.9"), "native 10.3a");
  EXPECT_EQ(answer(Listed("10.0a 10.1a").facts(), "10.3", "12.9"), "excluded: 10.0a code runs on 10.0 only");
  EXPECT_EQ(answer(kFlashMla.facts(), "10.3", "12.9"), "family 10.0f");
}

// An entry with a suffix in the toolchain's list, 10.0 missing from it: families for 12.0 were lost without an error.
TEST(Pipeline, Toolkit129SuffixedEntryInTheSupportedList) {
  const auto kept = text(keep_supported(targets("7.0 7.2 7.5 8.0 8.6 8.7 8.9 9.0 12.0 12.0a"), targets(kWheels129)));
  EXPECT_EQ(code(kNvfp4OnSpecific.facts(), kept, "12.9"), "12.0a");
  EXPECT_EQ(code(kScaled120.facts(), kept, "12.9"), "12.0f");
  EXPECT_EQ(code(kQutlass.facts(), kept, "12.9"), "12.0a");
  EXPECT_EQ(code(kMarlinFp8.facts(), kept, "12.9"), "12.0");
  EXPECT_EQ(code(kScaled100.facts(), kept, "12.9"), "");
}

TEST(Pipeline, Toolkit129PlainEntryAloneInTheSupportedList) {
  const auto kept = text(keep_supported(targets("7.0 7.2 7.5 8.0 8.6 8.7 8.9 9.0 12.0"), targets(kWheels129)));
  EXPECT_EQ(kept, "7.0 7.5 8.0 8.6 9.0 12.0");
  EXPECT_EQ(code(kNvfp4OnSpecific.facts(), kept, "12.9"), "12.0a");
  EXPECT_EQ(code(kScaled100.facts(), kept, "12.9"), "");
}

// Adding more suffixed entries made it worse there: then the families for 10.0 vanished too.
TEST(Pipeline, Toolkit129BothSuffixedEntriesInTheSupportedList) {
  const auto kept =
      text(keep_supported(targets("7.0 7.2 7.5 8.0 8.6 8.7 8.9 9.0 10.0 10.0a 12.0 12.0a"), targets(kWheels129)));
  EXPECT_EQ(kept, kWheels129);
  EXPECT_EQ(code(kScaled100.facts(), kept, "12.9"), "10.0f");
  EXPECT_EQ(code(kScaled120.facts(), kept, "12.9"), "12.0f");
  EXPECT_EQ(code(kNvfp4OnSpecific.facts(), kept, "12.9"), "12.0a");
}

// A toolkit that is too old for one target drops it by name and leaves the others alone.
TEST(Pipeline, Toolkit126NamesTheTargetItCannotCompile) {
  constexpr const char* kList = "8.0 9.0 12.0";
  const Resolution r = resolve_text(kMma.facts(), kList, "12.6");
  ASSERT_EQ(r.answers.size(), 3u);
  EXPECT_EQ(r.answers[2].answer, Answer::kExcluded);
  EXPECT_EQ(r.answers[2].reason, "12.0 needs toolkit 12.8, this is 12.6");
  EXPECT_EQ(text(r.code), "8.0 9.0");
  EXPECT_EQ(code(kMarlinBf16.facts(), kList, "12.6"), "8.0+PTX 9.0+PTX");
  EXPECT_EQ(code(kScaled90.facts(), kList, "12.6"), "9.0a");
  EXPECT_EQ(answer(kScaled120.facts(), "12.0", "12.6"), "excluded: 12.0f needs toolkit 12.9, this is 12.6");
}

// While the toolkit has no 'f', the same capability's 'a' stands in, for that capability alone.
TEST(Pipeline, Toolkit128SpecificStandsInForFamily) {
  EXPECT_EQ(code(kScaled100.facts(), "10.0", "12.8"), "10.0a");
  EXPECT_EQ(code(kScaled120.facts(), "12.0 12.1", "12.8"), "12.0a");
  EXPECT_EQ(code(kTcgen05.facts(), "10.0", "12.8"), "10.0a");
  EXPECT_EQ(code(kTcgen05.facts(), "10.0", "12.9"), "10.0f");
}

// "+PTX" by the user is embedded where the kernel may run from PTX, and the answer says so where it may not.
TEST(Pipeline, UsersPtxIsNeverLostSilently) {
  EXPECT_EQ(code(Featured{{"mma_f16"}, true}.facts(), "8.0 12.0+PTX"), "8.0 12.0+PTX");
  const Resolution r = resolve_text(kMma.facts(), "12.0+PTX");
  ASSERT_EQ(r.answers.size(), 1u);
  EXPECT_EQ(r.answers[0].answer, Answer::kNative);
  EXPECT_NE(r.answers[0].reason.find("no PTX embedded"), std::string::npos) << r.answers[0].reason;
  EXPECT_EQ(code(Featured{{"mma_f16"}, true}.facts(), "9.0-virtual"), "9.0-virtual");
  EXPECT_EQ(answer(kMma.facts(), "9.0-virtual"),
            "excluded: PTX alone was asked for, and this kernel is not allowed to run from PTX");
}

TEST(Pipeline, PtxServesTargetsThatTheToolkitDoesNotKnow) {
  EXPECT_EQ(answer(Featured{{"mma_f16"}, true}.facts(), "12.0", "12.6"), "ptx 9.0-virtual");
  EXPECT_EQ(answer(Featured{{"wgmma"}, true}.facts(), "12.0", "12.6"), "excluded: 12.0 has no wgmma");
}

TEST(Pipeline, ToolkitMinimumOfAKernel) {
  KernelFacts kernel = kMma.facts();
  kernel.cuda_min = {12, 8};
  EXPECT_EQ(answer(kernel, "9.0", "12.4"), "excluded: needs toolkit 12.8, this is 12.4");
  EXPECT_EQ(answer(kernel, "9.0", "12.8"), "native 9.0");
}

TEST(Pipeline, WithoutToolkitEveryCudaTargetIsExcluded) {
  const Resolution r = resolve(table(), kMma.facts(), targets("8.0 9.0a"), {});
  ASSERT_EQ(r.answers.size(), 2u);
  for (const Answered& a : r.answers) EXPECT_EQ(a.reason, "no CUDA toolkit");
  EXPECT_TRUE(r.code.empty());
}

// What another kernel of the op serves is subtracted target by target, and PTX does not count as serving.
TEST(Pipeline, KernelsYieldByTarget) {
  const char* const kUnless[] = {"sm90_wgmma"};
  KernelFacts old = kMma.facts();
  old.unless = kUnless;
  const NamedKernel kernels[] = {
      {"linear", "sm80_mma", old}, {"linear", "sm90_wgmma", kWgmma.facts()}, {"other", "sm80_mma", old}};
  const auto r = resolve_all(table(), kernels, targets("8.0 9.0 12.0"), version("13.0"));
  EXPECT_EQ(text(r[0].code), "8.0 12.0");
  EXPECT_EQ(r[0].answers[1].reason, "left to sm90_wgmma");
  EXPECT_EQ(text(r[1].code), "9.0a");
  EXPECT_EQ(text(r[2].code), "8.0 9.0 12.0");
}

// --- CPU and HIP -----------------------------------------------------------------------------------------------------

KernelFacts cpu_kernel(std::span<const char* const> needs) {
  KernelFacts f;
  f.kind = Target::Kind::kCpu;
  f.needs = needs;
  return f;
}

std::vector<Target> rows_of(Target::Kind kind) {
  std::vector<Target> out;
  for (const ArchRow& row : table().rows)
    if (row.target.kind == kind) out.push_back(row.target);
  return out;
}

TEST(Pipeline, CpuKernelRunsFromTheLeastCapableRowThatSuffices) {
  const char* const kVnni[] = {"avx512_vnni"};
  const Resolution r = resolve(table(), cpu_kernel(kVnni), rows_of(Target::Kind::kCpu), {});
  EXPECT_EQ(text(r.code), "avx512_vnni");
  ASSERT_EQ(r.answers.size(), 7u);
  EXPECT_EQ(r.answers[0].reason, "needs avx512_vnni");
  EXPECT_EQ(r.answers[3].answer, Answer::kNative);
  EXPECT_EQ(r.answers[6].answer, Answer::kCompatible);
}

TEST(Pipeline, CpuFeatureThatNoRowHas) {
  const char* const kWgmmaOnCpu[] = {"wgmma"};
  for (const Answered& a : resolve(table(), cpu_kernel(kWgmmaOnCpu), rows_of(Target::Kind::kCpu), {}).answers)
    EXPECT_EQ(a.reason, "no CPU row of arch.toml has wgmma");
}

TEST(Pipeline, HipRowsAreThereAndServedByNothing) {
  KernelFacts kernel;
  kernel.kind = Target::Kind::kHip;
  const auto rows = rows_of(Target::Kind::kHip);
  EXPECT_GE(rows.size(), 5u);
  const Resolution r = resolve(table(), kernel, rows, {});
  ASSERT_EQ(r.answers.size(), rows.size());
  for (const Answered& a : r.answers) EXPECT_EQ(a.reason, "no kernels for HIP targets yet");
}

TEST(Pipeline, GencodeOptions) {
  EXPECT_EQ(gencode(targets("8.0+PTX")),
            std::vector<std::string>{"--generate-code=arch=compute_80,code=[compute_80,sm_80]"});
  EXPECT_EQ(gencode(targets("9.0a")), std::vector<std::string>{"--generate-code=arch=compute_90a,code=[sm_90a]"});
  EXPECT_EQ(gencode(targets("12.0-virtual")),
            std::vector<std::string>{"--generate-code=arch=compute_120,code=[compute_120]"});
}

} // namespace
} // namespace spf::arch::test
