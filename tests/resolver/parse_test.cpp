// Target lists in every spelling, and what the errors say.
#include "support.hpp"

namespace spf::arch::test {
namespace {

ParsedList parse(const std::string& list, const std::string& toolkit = "13.0") {
  return parse_list(list, {&table(), version(toolkit), {}});
}

// Canonical text, or the error.
std::string parsed(const std::string& list, const std::string& toolkit = "13.0") {
  const ParsedList p = parse(list, toolkit);
  return p.error.empty() ? text(p.targets) : "error: " + p.error;
}

struct Spelling {
  const char* name;
  const char* written;
  const char* canonical;
};

void PrintTo(const Spelling& row, std::ostream* out) { *out << row.name; }

class Spellings : public ::testing::TestWithParam<Spelling> {};

TEST_P(Spellings, IsRead) { EXPECT_EQ(parsed(GetParam().written), GetParam().canonical); }

constexpr Spelling kSpellings[] = {
    {"Dotted", "9.0", "9.0"},
    {"DottedSpecific", "9.0a", "9.0a"},
    {"DottedFamily", "12.0f", "12.0f"},
    {"Digits", "90", "9.0"},
    {"DigitsSpecific", "90a", "9.0a"},
    {"ThreeDigits", "120", "12.0"},
    {"ThreeDigitsSpecific", "121a", "12.1a"},
    {"Sm", "sm_120", "12.0"},
    {"SmSpecific", "sm_90a", "9.0a"},
    {"SmWithoutUnderscore", "sm90a", "9.0a"},
    {"SmDotted", "sm_9.0a", "9.0a"},
    {"Compute", "compute_90", "9.0-virtual"},
    {"Real", "90a-real", "9.0a"},
    {"DottedReal", "9.0-real", "9.0"},
    {"Virtual", "90-virtual", "9.0-virtual"},
    {"WithPtx", "8.0+PTX", "8.0+PTX"},
    {"WithLowerCasePtx", "8.0+ptx", "8.0+PTX"},
    {"UpperCase", "SM_90A", "9.0a"},
    {"RealAndVirtualTogether", "80-real;80-virtual", "8.0+PTX"},
    {"PlainAndPtxMerge", "8.0;8.0+PTX", "8.0+PTX"},
    {"Semicolons", "8.0;8.6;9.0a", "8.0 8.6 9.0a"},
    {"Commas", "8.0,8.6,9.0a", "8.0 8.6 9.0a"},
    {"Blanks", "8.0 8.6  9.0a", "8.0 8.6 9.0a"},
    {"Mixture", " 8.0; 8.6,\t9.0a ;", "8.0 8.6 9.0a"},
    {"AnyOrder", "12.0f 7.5 9.0a", "7.5 9.0a 12.0f"},
    {"Duplicates", "90;9.0;sm_90", "9.0"},
    {"SuffixesStayApart", "9.0;9.0a", "9.0 9.0a"},
    {"GenerationName", "hopper", "9.0"},
    {"GenerationOfSeveral", "Ampere", "8.0 8.6 8.7"},
    {"GenerationWithPtx", "Ada+PTX", "8.9+PTX"},
    {"CpuRow", "avx512_vnni", "avx512_vnni"},
    {"HipRow", "gfx942", "gfx942"},
    {"HipRowWithFeatures", "gfx90a:xnack-", "gfx90a"},
    {"Empty", "", ""},
    {"OnlySeparators", " ;, ", ""},
};

INSTANTIATE_TEST_SUITE_P(TargetList, Spellings, ::testing::ValuesIn(kSpellings),
                         [](const auto& p) { return std::string(p.param.name); });

TEST(TargetList, AllIsWhatTheToolkitCompiles) {
  EXPECT_EQ(parsed("all", "13.0"), "7.5 8.0 8.6 8.7 8.9 9.0 10.0 10.3 11.0 12.0 12.1");
  EXPECT_EQ(parsed("all", "12.9"), "7.5 8.0 8.6 8.7 8.9 9.0 10.0 10.3 12.0 12.1");
  EXPECT_EQ(parsed("all", "12.8"), "7.5 8.0 8.6 8.7 8.9 9.0 10.0 12.0");
  EXPECT_EQ(parsed("all", "12.4"), "7.5 8.0 8.6 8.7 8.9 9.0");
}

TEST(TargetList, AllMajorIsTheFirstOfEachMajor) {
  EXPECT_EQ(parsed("all-major", "13.0"), "7.5 8.0 9.0 10.0 11.0 12.0");
  EXPECT_EQ(parsed("all-major", "12.6"), "7.5 8.0 9.0");
}

TEST(TargetList, NativeIsWhatTheMachineHas) {
  const auto gpus = targets("9.0 8.6 9.0");
  const ParsedList p = parse_list("native", {&table(), version("13.0"), gpus});
  EXPECT_EQ(text(p.targets), "8.6 9.0");
  EXPECT_NE(parse("native").error.find("no CUDA GPU was found"), std::string::npos);
}

struct Wrong {
  const char* name;
  const char* written;
  std::vector<const char*> says;
};

void PrintTo(const Wrong& row, std::ostream* out) { *out << row.name; }

class WrongSpellings : public ::testing::TestWithParam<Wrong> {};

TEST_P(WrongSpellings, IsRefusedWithWhatIsKnown) {
  const ParsedList p = parse(GetParam().written);
  EXPECT_TRUE(p.targets.empty());
  for (const char* part : GetParam().says)
    EXPECT_NE(p.error.find(part), std::string::npos) << "lacks '" << part << "': " << p.error;
}

const Wrong kWrong[] = {
    {"UnknownCapability",
     "9.1",
     {"'9.1'", "did you mean '9.0'", "7.5", "12.1[a][f]", "native", "all-major", "avx512_vnni"}},
    {"UnknownWithoutDot", "91a", {"'91a'", "did you mean"}},
    {"WrongSuffix", "9.0b", {"'9.0b'", "did you mean '9.0"}},
    {"MisspeltSm", "sn_90a", {"did you mean 'sm_90a'"}},
    {"MisspeltNative", "natvie", {"did you mean 'native'"}},
    {"MisspeltGeneration", "hoper", {"did you mean 'hopper'"}},
    {"MisspeltCpu", "avx512_vni", {"did you mean 'avx512_vnni'"}},
    {"NoSpecificCode", "8.9a", {"'8.9a'", "no architecture-specific code for 8.9", "say 8.9"}},
    {"NoFamilyCode", "9.0f", {"no family code for 9.0", "9.0a"}},
    {"PtxOfSpecific", "12.0a+PTX", {"not forward compatible", "12.0+PTX"}},
    {"PtxOfFamily", "compute_120f", {"not forward compatible"}},
    {"Retired", "7.0", {"Volta", "7.5"}},
    {"Renamed", "10.1", {"11.0"}},
    {"TwoDigitMinorIsReadAtTheDot", "12.10", {"'12.10'"}},
    {"EmptyMinor", "9.", {"'9.'"}},
    {"RealAndVirtual", "compute_90-real", {"'compute_90-real'"}},
    {"OneBadWordSpoilsTheList", "8.0;9.0;x", {"'x'"}},
    {"HugeNumber", "99999999999999999999.0", {"is not known"}},
    {"LongWord", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", {"..."}},
};

INSTANTIATE_TEST_SUITE_P(TargetList, WrongSpellings, ::testing::ValuesIn(kWrong),
                         [](const auto& p) { return std::string(p.param.name); });

TEST(TargetList, EveryRowRoundTripsInEverySuffixItHas) {
  for (const ArchRow& row : table().rows) {
    EXPECT_EQ(parsed(row.name), row.name);
    if (row.target.kind != Target::Kind::kCuda) continue;
    for (const auto& [first, letter] : {std::pair(row.specific_toolkit, "a"), std::pair(row.family_toolkit, "f")}) {
      const std::string spelled = std::string(row.name) + letter;
      EXPECT_EQ(parsed(spelled) == spelled, first.known()) << parsed(spelled);
    }
  }
}

TEST(ToolkitVersion, IsReadAtTheDots) {
  EXPECT_EQ(parse_version("13.0"), (Version{13, 0}));
  EXPECT_EQ(parse_version("12.9.1"), (Version{12, 9}));
  EXPECT_EQ(parse_version("12.10"), (Version{12, 10}));
  for (const char* bad : {"", "13", ".0", "13.", "13.x", "a.b", "13.0.x", "0.0", "1000000.0", "13.0."})
    EXPECT_FALSE(parse_version(bad)) << bad;
}

} // namespace
} // namespace spf::arch::test
