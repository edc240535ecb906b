// What a build has beside a toolkit: packages of headers that kernels ask for, and whether capabilities share code.
#include "support.hpp"

namespace spf::arch::test {
namespace {

constexpr const char* kAll = "7.5 8.0 8.6 8.7 8.9 9.0 10.0 10.3 11.0 12.0 12.1";

Resolution shared(const KernelFacts& kernel, const std::string& requested, const std::string& toolkit = "13.0") {
  Toolchain toolchain = version(toolkit);
  toolchain.share_code = true;
  return resolve(table(), kernel, targets(requested), toolchain);
}
std::string shared_code(const KernelFacts& kernel, const std::string& requested, const std::string& toolkit = "13.0") {
  return text(shared(kernel, requested, toolkit).code);
}

const Featured kPlain{{}}, kMma{{"mma_f16", "cp_async"}}, kFp8{{"mma_fp8"}}, kFp4{{"mma_block_fp4"}},
    kTcgen05{{"tcgen05"}}, kTcgen05S8{{"tcgen05_s8"}};

TEST(SharedCode, WhereFeaturesDoNotDifferTheLeastCapabilityServesAll) {
  EXPECT_EQ(code(kPlain.facts(), kAll), kAll);
  EXPECT_EQ(shared_code(kPlain.facts(), kAll), "7.5 8.0 8.9 9.0 10.0 11.0 12.0");
  EXPECT_EQ(shared_code(kMma.facts(), kAll), "8.0 8.9 9.0 10.0 11.0 12.0");
  EXPECT_EQ(shared_code(kFp8.facts(), kAll), "8.9 9.0 10.0 11.0 12.0");
  EXPECT_EQ(shared_code(kFp4.facts(), kAll), "12.0f");
  EXPECT_EQ(shared_code(kTcgen05.facts(), kAll), "10.0f 11.0f");
}

// Every request has the answer that it has alone, and one that can run there.
TEST(SharedCode, AnswersDoNotDependOnOtherTargetsAndServeTheirOwn) {
  for (const Featured& kernel : {kPlain, kMma, kFp8, kFp4, kTcgen05, kTcgen05S8})
    for (const std::string toolkit : {"12.4", "12.8", "12.9", "13.0"}) {
      const Resolution all = shared(kernel.facts(), kAll, toolkit);
      const Resolution apart = resolve(table(), kernel.facts(), targets(kAll), version(toolkit));
      ASSERT_EQ(all.answers.size(), apart.answers.size());
      for (size_t i = 0; i < all.answers.size(); ++i) {
        const Answered& a = all.answers[i];
        EXPECT_EQ(shared(kernel.facts(), to_string(table(), a.target), toolkit).answers[0], a);
        // Sharing neither covers a target nor leaves one out.
        EXPECT_EQ(a.answer == Answer::kExcluded, apart.answers[i].answer == Answer::kExcluded);
        EXPECT_EQ(a.reason, apart.answers[i].reason);
        if (a.answer != Answer::kExcluded) {
          EXPECT_TRUE(serves(a.code, a.target)) << to_string(table(), a.target);
        }
      }
    }
}

TEST(SharedCode, AnswersNameTheCodeThatServes) {
  const Resolution r = shared(kPlain.facts(), "8.6 12.1");
  EXPECT_EQ(r.answers[0].answer, Answer::kCompatible);
  EXPECT_EQ(to_string(table(), r.answers[0].code), "8.0");
  EXPECT_EQ(to_string(table(), r.answers[1].code), "12.0");
  EXPECT_EQ(shared(kFp4.facts(), "12.1").answers[0].answer, Answer::kFamily);
}

TEST(SharedCode, NotWhereRulesTellTargetsApart) {
  KernelFacts kernel = kMma.facts();
  const std::vector<Target> apart = targets("8.6 12.1");
  kernel.apart = apart;
  EXPECT_EQ(shared_code(kernel, kAll), "8.0 8.6 8.9 9.0 10.0 11.0 12.0 12.1");
}

TEST(SharedCode, NotWhereAListOrASuffixDecides) {
  EXPECT_EQ(shared_code(Listed("8.0 8.6 8.7 8.9").facts(), "8.0 8.6 8.7"), "8.0 8.6 8.7");
  EXPECT_EQ(shared_code(kTcgen05.facts(), "10.0a 10.3a"), "10.0a 10.3a");
  EXPECT_EQ(shared_code(kTcgen05S8.facts(), kAll), "10.0a 11.0a");
}

// A toolkit without the least capability's code takes what it has.
TEST(SharedCode, FollowsTheToolkit) {
  EXPECT_EQ(shared_code(kTcgen05.facts(), "10.0 10.3", "12.8"), "10.0a");
  EXPECT_EQ(shared_code(kTcgen05.facts(), "10.0 10.3", "12.9"), "10.0f");
}

TEST(Packages, AKernelWithoutItsPackageIsLeftOutByName) {
  const char* const kCutlass[] = {"cutlass"};
  KernelFacts kernel = kTcgen05.facts();
  kernel.packages = kCutlass;
  EXPECT_EQ(code(kernel, "9.0 10.0"), "10.0f"); // a bare toolkit has everything
  const PackageRow kMissing[] = {{"cutlass", "a note"}};
  Toolchain toolchain = version("13.0");
  toolchain.missing = kMissing;
  const Resolution r = resolve(table(), kernel, targets("9.0 10.0"), toolchain);
  EXPECT_TRUE(r.code.empty());
  EXPECT_EQ(r.answers[0].reason, "9.0 has no tcgen05"); // would not be served with it either
  EXPECT_EQ(r.answers[1].reason, "needs cutlass: a note");
  EXPECT_EQ(text(resolve(table(), kTcgen05.facts(), targets("10.0"), toolchain).code), "10.0f");
}

// A kernel that yields to one without its package serves again.
TEST(Packages, WhatYieldsToItTakesOver) {
  const char* const kCutlass[] = {"cutlass"};
  const char* const kOther[] = {"sm100_other"};
  KernelFacts first = kTcgen05.facts(), second = kMma.facts();
  first.packages = kCutlass;
  second.unless = kOther;
  const NamedKernel kernels[] = {{"op", "sm100_other", first}, {"op", "sm80_mma", second}};
  const PackageRow kMissing[] = {{"cutlass", "a note"}};
  Toolchain toolchain = version("13.0");
  EXPECT_EQ(text(resolve_all(table(), kernels, targets("9.0 10.0"), toolchain)[1].code), "9.0");
  toolchain.missing = kMissing;
  EXPECT_EQ(text(resolve_all(table(), kernels, targets("9.0 10.0"), toolchain)[1].code), "9.0 10.0");
}

} // namespace
} // namespace spf::arch::test
