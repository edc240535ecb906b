// The manifest language expresses the generators of a well-known system: their counts, list by list and group by group.
#include <map>

#include "support.hpp"

namespace spf::kernelgen::test {
namespace {

int built(const World& w, const std::string& family) {
  int count = 0;
  for (const KernelBuild& b : w.build.kernels)
    if (b.kernel->family == family && !b.kernel->is_reference) count += b.built_instances;
  return count;
}

std::string value(const Instance& i, const std::string& axis) {
  for (size_t a = 0; a < i.axes.size(); ++a)
    if (i.axes[a] == axis) return i.values[a].text;
  return "";
}

// Built instances by the file that the original puts them in: "<set>_<a>_<b>_<c>".
std::map<std::string, int> groups(const World& w) {
  std::map<std::string, int> out;
  for (const KernelBuild& b : w.build.kernels)
    for (const InstanceBuild& i : b.instances) {
      if (b.kernel->is_reference || i.functions[0].empty()) continue;
      const std::string set = value(i.instance, "a") == "e4m3"     ? "sm89"
                              : value(i.instance, "stages") == "2" ? "sm75"
                                                                   : "sm80";
      ++out[set + "_" + value(i.instance, "a") + "_" + value(i.instance, "b") + "_" + value(i.instance, "c")];
    }
  return out;
}

struct Count {
  const char* name;
  const char* archs;
  int kernels;
};

void PrintTo(const Count& c, std::ostream* out) { *out << c.name; }

class MarlinCounts : public ::testing::TestWithParam<Count> {};

TEST_P(MarlinCounts, AreReproduced) {
  World w;
  w.manifest(data("marlin.toml"));
  w.request(GetParam().archs);
  EXPECT_EQ(w.complaints(), "");
  EXPECT_EQ(built(w, "marlin"), GetParam().kernels);
}

constexpr Count kCounts[] = {
    {"Only75", "7.5", 351},
    {"Only80", "8.0", 717},
    {"Only86", "8.6", 717},
    {"Only87", "8.7", 717},
    {"Only90", "9.0", 717},
    {"Only90a", "9.0a", 717},
    {"Only100", "10.0", 717},
    {"Only100f", "10.0f", 717},
    {"Only103", "10.3", 717},
    {"Only110", "11.0", 717},
    {"Only121", "12.1", 717},
    {"Only121a", "12.1a", 717},
    {"Only80Ptx", "8.0+PTX", 717},
    {"ManyWithoutFp8", "8.0,8.6,8.7,9.0a,10.0f,10.3,11.0,12.1", 717},
    {"Only89", "8.9", 921},
    {"Only120", "12.0", 921},
    {"Only120a", "12.0a", 921},
    {"FourTargets", "8.0,8.9,9.0,12.0", 921},
    {"Old", "7.5,8.0", 1068},
    {"Wheels", "7.5,8.0,8.6,8.9,9.0,10.0,12.0", 1272},
    {"FullList", "7.5,8.0,8.6,8.7,8.9,9.0,10.0,11.0,12.0", 1272},
    {"TooOld", "7.0", 0},
    {"TooOldTwice", "7.0,7.2", 0},
    {"Nothing", "", 0},
};

INSTANTIATE_TEST_SUITE_P(Generators, MarlinCounts, ::testing::ValuesIn(kCounts),
                         [](const auto& p) { return std::string(p.param.name); });

TEST(Generators, MarlinGroupsHoldWhatTheOriginalsFilesHold) {
  World w;
  w.manifest(data("marlin.toml"));
  w.request("7.5,8.0,8.9");
  const std::map<std::string, int> wanted = {
      {"sm75_f16_u4_f16", 60},       {"sm75_f16_u4b8_f16", 75},   {"sm75_f16_u8b128_f16", 75},
      {"sm75_f16_e4m3_f16", 30},     {"sm75_f16_e2m1_f16", 15},   {"sm75_s8_u4_f16", 48},
      {"sm75_s8_u4b8_f16", 48},      {"sm80_f16_u4_f16", 60},     {"sm80_bf16_u4_bf16", 60},
      {"sm80_f16_u4b8_f16", 75},     {"sm80_bf16_u4b8_bf16", 75}, {"sm80_f16_u8b128_f16", 75},
      {"sm80_bf16_u8b128_bf16", 75}, {"sm80_f16_e4m3_f16", 30},   {"sm80_bf16_e4m3_bf16", 30},
      {"sm80_f16_e2m1_f16", 15},     {"sm80_bf16_e2m1_bf16", 30}, {"sm80_s8_u4_f16", 48},
      {"sm80_s8_u4_bf16", 48},       {"sm80_s8_u4b8_f16", 48},    {"sm80_s8_u4b8_bf16", 48},
      {"sm89_e4m3_u4_f16", 48},      {"sm89_e4m3_u4_bf16", 48},   {"sm89_e4m3_u4b8_f16", 48},
      {"sm89_e4m3_u4b8_bf16", 48},   {"sm89_e4m3_e2m1_bf16", 12},
  };
  EXPECT_EQ(groups(w), wanted);
}

// Two stages on 7.5 and four elsewhere: each instance is compiled for the targets that it exists on, and no others.
TEST(Generators, MarlinStagesFollowTheTarget) {
  World w;
  w.manifest(data("marlin.toml"));
  w.request("7.5,8.0,9.0a");
  for (const Library& lib : w.build.libraries) {
    if (!lib.cuda) continue;
    const bool turing = lib.name == "spf_cuda_75";
    EXPECT_EQ(lib.name, turing ? "spf_cuda_75" : "spf_cuda_80p_90");
    for (const Unit& u : lib.units)
      for (const UnitFunction& f : u.functions)
        EXPECT_NE(f.expression.find(turing ? ", 2, " : ", 4, "), std::string::npos) << f.expression;
  }
}

TEST(Generators, MarlinExpressionsAreWhole) {
  World w;
  w.manifest(data("marlin.toml"));
  w.request("8.0");
  const InstanceBuild& first = w.kernel("sm80_mma").instances.front();
  EXPECT_EQ(launch_expression(*w.kernel("sm80_mma").kernel, "marlin_gemm", first.instance),
            "marlin<SPF_F16, SPF_U4, SPF_F16, SPF_F16, 256, 1, 128, 128, true, 2, -1, false>");
}

TEST(Generators, MacheteHas72InstancesAnd4Packers) {
  for (const char* archs : {"9.0", "9.0a", "8.0,9.0a,12.0"}) {
    World w;
    w.manifest(data("machete.toml"));
    w.request(archs);
    EXPECT_EQ(w.complaints(), "");
    EXPECT_EQ(w.kernel("sm90_wgmma").built_instances, 72) << archs;
    EXPECT_EQ(w.kernel("sm90_pack").built_instances, 4) << archs;
    for (const Library& lib : w.build.libraries)
      EXPECT_EQ(lib.flags, arch::gencode({{*arch::parse_cuda_spelling("9.0a")}})) << lib.name;
  }
  World w;
  w.manifest(data("machete.toml"));
  w.request("8.0,12.0");
  EXPECT_EQ(w.kernel("sm90_wgmma").built_instances, 0);
  EXPECT_EQ(w.kernel("sm90_wgmma").resolution.answers[0].reason, "8.0 has no wgmma and tma");
}

TEST(Generators, MacheteSchedules) {
  World w;
  w.manifest(data("machete.toml"));
  w.request("9.0a");
  std::map<std::string, int> schedules;
  for (const InstanceBuild& i : w.kernel("sm90_wgmma").instances)
    ++schedules[value(i.instance, "tile_n") + "x" + value(i.instance, "tile_m") + "_" + value(i.instance, "cluster") +
                "x1x1_" + value(i.instance, "schedule")];
  EXPECT_EQ(schedules.size(), 9u);
  for (const char* tile :
       {"128x16_1", "256x16_1", "128x32_2", "128x64_2", "128x128_2", "128x256_2", "256x32_2", "256x64_2", "256x128_2"})
    EXPECT_EQ(schedules[std::string(tile) + "x1x1_TmaMI__TmaCoop_streamK"], 8) << tile;
}

} // namespace
} // namespace spf::kernelgen::test
