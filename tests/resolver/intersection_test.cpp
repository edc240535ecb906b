// The cases of a well-known build script's intersection of architecture lists, one test each, with the answer that a
// user would want. "requested" is what a kernel lists, "target" what the user builds for. A code target "8.0-virtual"
// is PTX alone, "8.0+PTX" machine code and PTX.
#include "support.hpp"

namespace spf::arch::test {
namespace {

struct Row {
  const char* name;
  const char* requested;
  const char* target;
  const char* wanted;
  const char* left = ""; // targets that another kernel of the op serves
};

void PrintTo(const Row& row, std::ostream* out) { *out << row.name; }

class Intersection : public ::testing::TestWithParam<Row> {};

TEST_P(Intersection, CompilesWhatAUserWouldWant) {
  const Row& row = GetParam();
  EXPECT_EQ(code(Listed(row.requested).facts(), row.target, "13.0", row.left), row.wanted);
}

constexpr Row kRows[] = {
    {"Row01_PlainAndSpecificTogether", "7.5 8.0 8.6 9.0 9.0a", "8.0 8.9 9.0", "8.0 8.6 9.0a"},
    {"Row02_OldPtxForANewTarget", "8.0+PTX", "9.0", "8.0-virtual"},
    {"Row03_OldPtxForManyTargets", "8.0+PTX", "8.0 8.6 8.9 9.0 10.0 12.0", "8.0+PTX"},
    {"Row04_PtxNeverServesOlderTargets", "8.0+PTX", "7.5", ""},
    {"Row05_TwoPtxBases", "8.0+PTX 9.0+PTX", "8.0 8.6 8.9 9.0 10.0 12.0", "8.0+PTX 9.0+PTX"},
    {"Row06_OnlyWhatSomeTargetCanRun", "8.0+PTX 9.0+PTX", "8.9 12.0", "8.0 9.0-virtual"},
    {"Row07_NothingServes", "8.9 12.0", "8.0 8.6 9.0", ""},
    {"Row08_PlainCodeServesALaterMinor", "8.9 12.0", "12.1", "12.0"},
    {"Row09_PlainRequestMeetsSpecificTarget", "8.9 12.0", "12.0a", "12.0"},
    {"Row10_SpecificRequestMeetsPlainTarget", "9.0a", "9.0", "9.0a"},
    {"Row11_SpecificMeetsSpecific", "9.0a", "9.0a", "9.0a"},
    {"Row12_FamilyCodeServesALaterMinor", "12.0f", "12.1", "12.0f"},
    {"Row13_FamilyCodeServesBothMinors", "12.0f", "12.0 12.1", "12.0f"},
    {"Row14_SpecificCodeServesNoOtherMinor", "12.0a", "12.1", ""},
    {"Row15_SpecificListMeetsSpecificTarget", "12.0a 12.1a", "12.0a", "12.0a"},
    {"Row16_TwoSpecificTargets", "12.0a 12.1a", "12.0 12.1", "12.0a 12.1a"},
    {"Row17_FamilyServesTheMinorBetween", "10.0f 11.0f", "10.0 10.3 11.0", "10.0f 11.0f"},
    {"Row18_FamilyServesALaterMinorAlone", "10.0f 11.0f", "10.3", "10.0f"},
    {"Row19_SpecificOfTheVeryTarget", "10.0a 10.1a 10.3a", "10.3", "10.3a"},
    {"Row20_FamilyRequestMeetsSpecificTarget", "10.0f 11.0f", "10.0a", "10.0f"},
    {"Row21_FamilyMeetsFamily", "10.0f", "10.0f", "10.0f"},
    {"Row22_OthersServeTheNewTargets", "7.5 8.0 8.7 8.9+PTX", "7.5 8.0 8.6 8.9 9.0 10.0 12.0", "7.5 8.0 8.9",
     "9.0 10.0 12.0"},
    {"Row23_HighestMinorNotAbove", "7.5 8.0 8.7 8.9+PTX", "8.6", "8.0"},
    {"Row24_NothingWhereAnotherKernelServes", "7.5 8.0 8.7 8.9+PTX", "9.0", "", "9.0"},
    {"Row25_NoPtxForWhatAnotherServes", "7.5 8.0 8.7 8.9+PTX", "8.7 9.0", "8.7", "9.0"},
    {"Row26_OnlyOlderTargetsListed", "8.0 8.6 8.7 8.9", "9.0 12.0", ""},
    {"Row32_SpecificListAfterARewrittenTargetList", "12.0a 12.1a", "12.0a 7.0 7.5 8.0 8.6 9.0", "12.0a"},
    {"Row33_SpecificListAfterAPlainTargetList", "12.0a 12.1a", "7.0 7.5 8.0 8.6 9.0 12.0", "12.0a"},
    {"Row35_FamilyRequestAfterARewrittenTargetList", "12.0f", "12.0f 7.5 8.0 8.6 9.0", "12.0f"},
    {"Row36_OneSuffixPerMajor", "9.0a 10.0f 11.0f 12.0f", "9.0 10.0 12.0", "9.0a 10.0f 12.0f"},
    {"Row37_ResultIsSorted", "12.0a 10.0f", "10.0 12.0", "10.0f 12.0a"},
    {"Row39_UsersPtxNeedsTheKernelsConsent", "8.0", "8.6+PTX", "8.0"},
    {"Row40_SpecificBeforePlain", "9.0 9.0a", "9.0", "9.0a"},
    {"Row41_OneCodeForBothSpellings", "9.0a 9.0", "9.0 9.0a", "9.0a"},
    {"Row42_BothSpellingsOfOneTarget", "12.0a", "12.0 12.0a", "12.0a"},
    {"Row43_OnlyListedMajors", "8.9 12.0", "8.0 8.9 9.0 12.0", "8.9 12.0"},
    {"Row45_NoTarget", "8.0", "", ""},
    {"Row46_PtxOfTheNewestBase", "8.0+PTX 9.0", "9.0 10.0", "9.0+PTX"},
    {"Row47_OwnCodeBeforeOldPtx", "8.9+PTX 9.0a", "9.0", "9.0a"},
    {"Row48_FamilyBeforeSpecific", "12.0a 12.0f", "12.0", "12.0f"},
    {"Row49_FamilyBeforePlain", "12.0f 12.0", "12.0 12.1", "12.0f"},
    {"Row50_OwnSpecificBeforeAnEarlierFamily", "9.0a 10.0f 10.3a", "10.0 10.3", "10.0f 10.3a"},
};

INSTANTIATE_TEST_SUITE_P(TableA, Intersection, ::testing::ValuesIn(kRows),
                         [](const auto& p) { return std::string(p.param.name); });

TEST(IntersectionTableA, Row14_FeaturesInsteadOfAListServeTheOtherMinor) {
  EXPECT_EQ(answer(Featured{{"mma_block_fp4"}}.facts(), "12.1"), "family 12.1f");
}

TEST(IntersectionTableA, Row38_PtxOfSpecificCodeIsAnError) {
  const ParsedList parsed = parse_target("9.0a+PTX", {&table(), {}, {}});
  EXPECT_NE(parsed.error.find("PTX of 9.0a is not forward compatible"), std::string::npos) << parsed.error;
  EXPECT_NE(parsed.error.find("9.0+PTX"), std::string::npos) << parsed.error;
}

TEST(IntersectionTableA, Row44_NothingSupportedKeepsNothing) {
  EXPECT_EQ(text(keep_supported({}, targets("8.0"))), "");
}

// Rows in which the requested list is what a toolchain supports, and the result is the list that kernels then see.
struct Supported {
  const char* name;
  const char* supported;
  const char* target;
  const char* wanted;
};

void PrintTo(const Supported& row, std::ostream* out) { *out << row.name; }

class SupportedList : public ::testing::TestWithParam<Supported> {};

TEST_P(SupportedList, KeepsTheUsersNames) {
  const Supported& row = GetParam();
  EXPECT_EQ(text(keep_supported(targets(row.supported), targets(row.target))), row.wanted);
}

constexpr const char* kPlainSupported = "7.5 8.0 8.6 8.7 8.9 9.0 10.0 11.0 12.0";
constexpr Supported kSupported[] = {
    {"Row27_UsersSuffixesStay", kPlainSupported, "9.0a 10.0a 12.0a", "9.0a 10.0a 12.0a"},
    {"Row28_LaterMinorStays", kPlainSupported, "12.1", "12.1"},
    {"Row29_LaterMinorStaysAlone", kPlainSupported, "10.3", "10.3"},
    {"Row29_LaterMinorStaysNextToTheFirst", kPlainSupported, "10.0 10.3", "10.0 10.3"},
    {"Row30_UsersPtxStays", kPlainSupported, "8.0 8.6 8.9 9.0 10.0 12.0+PTX", "8.0 8.6 8.9 9.0 10.0 12.0+PTX"},
    {"Row31_SuffixedEntryRewritesNothing", "7.0 7.2 7.5 8.0 8.6 8.7 8.9 9.0 12.0 12.0a",
     "7.0 7.5 8.0 8.6 9.0 10.0 12.0", "7.0 7.5 8.0 8.6 9.0 12.0"},
    {"Row34_FamilyEntryRewritesNothing", "7.5 8.0 8.6 8.7 8.9 9.0 12.0 12.0f", "7.0 7.5 8.0 8.6 9.0 10.0 12.0",
     "7.5 8.0 8.6 9.0 12.0"},
};

INSTANTIATE_TEST_SUITE_P(TableA, SupportedList, ::testing::ValuesIn(kSupported),
                         [](const auto& p) { return std::string(p.param.name); });

TEST(IntersectionTableA, Row32_AfterRow31) {
  const auto kept =
      keep_supported(targets("7.0 7.2 7.5 8.0 8.6 8.7 8.9 9.0 12.0 12.0a"), targets("7.0 7.5 8.0 8.6 9.0 10.0 12.0"));
  EXPECT_EQ(code(Listed("12.0a 12.1a").facts(), text(kept)), "12.0a");
}

TEST(IntersectionTableA, Row35_AfterRow34) {
  const auto kept =
      keep_supported(targets("7.5 8.0 8.6 8.7 8.9 9.0 12.0 12.0f"), targets("7.0 7.5 8.0 8.6 9.0 10.0 12.0"));
  EXPECT_EQ(code(Listed("12.0f").facts(), text(kept)), "12.0f");
}

// The toolkit's list carries 10.0 and 12.0; the user does not want 10.0; kernels for 12.0a must still be built.
TEST(Intersection, UnwantedTargetInTheToolkitsListTakesNothingAway) {
  const auto supported = targets("7.5 8.0 8.6 8.9 9.0 10.0 12.0");
  for (const char* wanted : {"12.0", "12.0a", "8.0 9.0 12.0", "7.0 7.5 8.0 8.6 9.0 12.0"}) {
    const auto kept = keep_supported(supported, targets(wanted));
    for (const char* toolkit : {"12.8", "12.9", "13.0"}) {
      EXPECT_EQ(code(Listed("12.0a").facts(), text(kept), toolkit), "12.0a") << wanted << " with " << toolkit;
      EXPECT_EQ(code(Listed("10.0a 12.0a").facts(), text(kept), toolkit), "12.0a") << wanted << " with " << toolkit;
    }
  }
}

} // namespace
} // namespace spf::arch::test
