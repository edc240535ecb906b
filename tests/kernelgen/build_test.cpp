// From manifests to units, libraries and texts.
#include <filesystem>
#include <set>

#include "support.hpp"

namespace spf::kernelgen::test {
namespace {

std::string op(const std::string& name) {
  return "[[op]]\nname = \"" + name +
         "\"\nsummary = \"s\"\ntypes = { T = [\"f32\"] }\noperands = [ { name = \"x\", type = \"T\", shape = \"*,H\" } "
         "]\n";
}

std::string kernel(const std::string& name, const std::string& more) {
  return "[[kernel]]\nop = \"scale\"\nname = \"" + name + "\"\n" + more + "\n";
}

const Library* library(const Build& b, const std::string& name) {
  for (const Library& lib : b.libraries)
    if (lib.name == name) return &lib;
  return nullptr;
}

// --- instances
// ---------------------------------------------------------------------------------------------------------

TEST(Axes, AreInOrderAndNamedAsWritten) {
  World w;
  w.manifest("family = \"f\"\n" + op("scale") +
             kernel("sm75_a",
                    "file = \"a.cuh\"\npolicy = \"p\"\nlaunch = \"run<{z}, {a}, {mode}>\"\n"
                    "[kernel.axes]\nz = [2, 1]\na = [\"bf16\", true]\nmode = [\"kFast\"]"));
  w.request("8.0");
  ASSERT_EQ(w.complaints(), "");
  const KernelBuild& b = w.kernel("sm75_a");
  ASSERT_EQ(b.instances.size(), 4u);
  EXPECT_EQ(b.instances[0].instance.name(), "z=2,a=bf16,mode=kFast");
  EXPECT_EQ(b.instances[1].instance.name(), "z=2,a=true,mode=kFast");
  EXPECT_EQ(b.instances[3].instance.name(), "z=1,a=true,mode=kFast");
  EXPECT_EQ(launch_expression(*b.kernel, "scale", b.instances[0].instance), "run<2, SPF_BF16, kFast>");
  EXPECT_EQ(launch_expression(*b.kernel, "scale", b.instances[1].instance), "run<2, true, kFast>");
}

TEST(Axes, TiedAxesVaryTogetherAndTheirListsMultiply) {
  World w;
  w.manifest("family = \"f\"\n" + op("scale") +
             kernel("sm75_a",
                    "file = \"a.cuh\"\npolicy = \"p\"\nlaunch = \"run<{b}, {g}>\"\n"
                    "[kernel.axes]\nscheme = [{ b = \"u4\", g = [1, 2] }, { b = [\"s8\", \"u8\"], g = 0 }]"));
  w.request("8.0");
  ASSERT_EQ(w.complaints(), "");
  std::vector<std::string> names;
  for (const InstanceBuild& i : w.kernel("sm75_a").instances) names.push_back(i.instance.name());
  EXPECT_EQ(names, (std::vector<std::string>{"b=u4,g=1", "b=u4,g=2", "b=s8,g=0", "b=u8,g=0"}));
}

TEST(Axes, EveryComparisonOfASkipRule) {
  const auto left = [](const std::string& when) {
    World w;
    w.manifest("family = \"f\"\n" + op("scale") +
               kernel("sm75_a",
                      "file = \"a.cuh\"\npolicy = \"p\"\nlaunch = \"run<{m}, {n}>\"\n[kernel.axes]\nm = [1, 2, 3]\nn = "
                      "[1, 2, 3]\n"
                      "[[kernel.skip]]\nwhy = \"w\"\nwhen = " +
                          when));
    w.request("8.0");
    EXPECT_EQ(w.complaints(), "");
    std::string out;
    for (const InstanceBuild& i : w.kernel("sm75_a").instances)
      out += (out.empty() ? "" : " ") + i.instance.values[0].text + i.instance.values[1].text;
    return out;
  };
  EXPECT_EQ(left("{ m = 1 }"), "21 22 23 31 32 33");
  EXPECT_EQ(left("{ m = [1, 3] }"), "21 22 23");
  EXPECT_EQ(left("{ m = \"== 2\" }"), "11 12 13 31 32 33");
  EXPECT_EQ(left("{ m = \"!= 2\" }"), "21 22 23");
  EXPECT_EQ(left("{ m = \"< 2\" }"), "21 22 23 31 32 33");
  EXPECT_EQ(left("{ m = \"<=2\" }"), "31 32 33");
  EXPECT_EQ(left("{ m = \"> 2\" }"), "11 12 13 21 22 23");
  EXPECT_EQ(left("{ m = \">= 2\" }"), "11 12 13");
  EXPECT_EQ(left("{ m = \"== n\" }"), "12 13 21 23 31 32");
  EXPECT_EQ(left("{ m = \"> n\" }"), "11 12 13 22 23 33");
  EXPECT_EQ(left("{ m = \"!= n\", n = 2 }"), "11 13 21 22 23 31 33");
}

TEST(Axes, RulesForSomeTargets) {
  World w;
  w.manifest(
      "family = \"f\"\n" + op("scale") +
      kernel(
          "sm75_a",
          "file = \"a.cuh\"\npolicy = \"p\"\nlaunch = \"run<{m}, {stages}>\"\n[kernel.axes]\nm = [1, 2]\nstages = [4]\n"
          "[[kernel.target_axes]]\ntargets = [\"7.5\"]\naxes = { stages = [2] }\n"
          "[[kernel.skip]]\nlacking = [\"tma\"]\nwhen = { m = 2 }\nwhy = \"w\"\n"
          "[[kernel.skip]]\nexcept = [\"7.5\", \"8.0\"]\nwhen = { m = 1 }\nwhy = \"w\""));
  const auto built = [&](const std::string& archs) {
    w.request(archs);
    EXPECT_EQ(w.complaints(), "");
    std::string out;
    for (const InstanceBuild& i : w.kernel("sm75_a").instances)
      if (!i.functions[0].empty())
        out += (out.empty() ? "" : " ") + i.instance.values[0].text + "/" + i.instance.values[1].text;
    return out;
  };
  EXPECT_EQ(built("7.5"), "1/2");
  EXPECT_EQ(built("8.0"), "1/4");
  EXPECT_EQ(built("9.0"), "2/4");
  EXPECT_EQ(built("7.5,8.0,9.0"), "1/2 1/4 2/4");
  EXPECT_EQ(built("8.6"), ""); // nothing is left there, so the kernel does not serve it
  EXPECT_EQ(w.kernel("sm75_a").resolution.answers[0].reason, arch::kNoInstance);
  EXPECT_TRUE(w.build.libraries.empty());
}

// --- libraries and units
// -------------------------------------------------------------------------------------------------

TEST(Units, AreGroupedBySetOfFlags) {
  World w;
  w.manifest("family = \"f\"\n" + op("scale") +
             kernel("sm75_a", "file = \"a.cuh\"\npolicy = \"p\"\nlaunch = \"run<{m}>\"\n[kernel.axes]\nm = [1, 2]") +
             kernel("sm90_b", "file = \"b.cu\"\nneeds = [\"wgmma\"]\nlaunch = \"run_b\"") +
             kernel("avx2_c", "file = \"c.hpp\"\nneeds = [\"avx2\"]\nlaunch = \"run_c\"") +
             kernel("reference", "file = \"reference.cpp\"\nlaunch = \"reference_scale\""));
  w.request("8.0,9.0");
  ASSERT_EQ(w.complaints(), "");
  ASSERT_EQ(w.build.libraries.size(), 4u);
  ASSERT_NE(library(w.build, "spf_cuda_80_90"), nullptr);
  ASSERT_NE(library(w.build, "spf_cuda_90a"), nullptr);
  ASSERT_NE(library(w.build, "spf_cpu_avx2"), nullptr);
  ASSERT_NE(library(w.build, "spf_cpu_x86_64"), nullptr);
  EXPECT_EQ(library(w.build, "spf_cpu_avx2")->flags, (std::vector<std::string>{"-mavx2", "-mfma", "-mf16c"}));
  EXPECT_TRUE(library(w.build, "spf_cpu_x86_64")->flags.empty());
  // Sources are compiled as they are; headers get a unit that includes them.
  EXPECT_EQ(library(w.build, "spf_cuda_90a")->units[0].file, "kernels//b.cu");
  EXPECT_EQ(library(w.build, "spf_cpu_avx2")->units[0].file, "f_c.cpp");
  EXPECT_NE(emit_unit(library(w.build, "spf_cpu_avx2")->units[0]).find("#include \"kernels//c.hpp\""),
            std::string::npos);
  const std::string unit = emit_unit(library(w.build, "spf_cuda_80_90")->units[0]);
  EXPECT_NE(unit.find("return run<1>(call, context);"), std::string::npos) << unit;
}

// Headers of others are for the units that need them, and no kernel is left without a word.
TEST(Units, WithAPackageStandApart) {
  World w;
  w.manifest("family = \"f\"\n" + op("scale") + kernel("sm75_a", "file = \"a.cu\"\nlaunch = \"run_a\"") +
             kernel("sm75_b", "file = \"b.cu\"\npackages = [\"cutlass\"]\nlaunch = \"run_b\""));
  w.request("8.0");
  ASSERT_EQ(w.complaints(), "");
  ASSERT_EQ(w.build.libraries.size(), 2u);
  ASSERT_NE(library(w.build, "spf_cuda_80_cutlass"), nullptr);
  EXPECT_EQ(library(w.build, "spf_cuda_80_cutlass")->units.size(), 1u);
  const std::string cmake = emit_cmake(w.build);
  EXPECT_NE(cmake.find("PACKAGES cutlass\n  SOURCES\n    \"${SPEARFISH_GEN_ROOT}/kernels//b.cu\""), std::string::npos)
      << cmake;
  EXPECT_EQ(cmake.find("PACKAGES"), cmake.rfind("PACKAGES"));

  Request r = w.build.request;
  r.missing = w.arch.packages;
  w.build = make_build(w.arch, w.manifests, r, w.diagnostics);
  EXPECT_EQ(w.build.libraries.size(), 1u);
  EXPECT_NE(emit_coverage_text(w.build, false).find("f/sm75_b on 8.0: needs cutlass: "), std::string::npos);
  EXPECT_NE(emit_coverage_json(w.build).find("\"built\": false"), std::string::npos);
}

// One machine code for capabilities whose features are the same, but for kernels whose rules name one of them.
TEST(Units, OfSharedCode) {
  World w;
  const std::string axes = "policy = \"p\"\nlaunch = \"run<{m}>\"\n[kernel.axes]\nm = [1, 2]\n";
  w.manifest("family = \"f\"\n" + op("scale") + kernel("sm75_a", "file = \"a.cuh\"\n" + axes) +
             kernel("sm75_b", "file = \"b.cuh\"\n" + axes +
                                  "[[kernel.skip]]\ntargets = [\"8.6\"]\nwhen = { m = 2 }\nwhy = \"w\""));
  w.request("8.0,8.6,8.7");
  Request r = w.build.request;
  r.share_code = true;
  w.build = make_build(w.arch, w.manifests, r, w.diagnostics);
  ASSERT_EQ(w.complaints(), "");
  const auto built_for = [&](const std::string& name) {
    std::string out;
    for (const arch::Target& t : w.kernel(name).resolution.code)
      out += (out.empty() ? "" : " ") + arch::to_string(w.arch.table, t);
    return out;
  };
  EXPECT_EQ(built_for("sm75_a"), "8.0");
  EXPECT_EQ(built_for("sm75_b"), "8.0 8.6");
  EXPECT_NE(library(w.build, "spf_cuda_80"), nullptr);
}

TEST(Units, OfSomeInstancesOnly) {
  World w;
  w.manifest("family = \"f\"\n" + op("scale") +
             kernel("sm75_a",
                    "file = \"a.cuh\"\npolicy = \"p\"\nlaunch = \"run<{a}, {b}>\"\n"
                    "[kernel.axes]\na = [0, 1, 2, 3]\nb = [0, 1, 2, 3]"));
  w.request("8.0", "13.0", 20, 4);
  ASSERT_EQ(w.complaints(), "");
  const KernelBuild& b = w.kernel("sm75_a");
  EXPECT_EQ(b.instances.size(), 16u); // all are known, some are built
  EXPECT_EQ(b.built_instances, 4);
  std::set<int64_t> first, second;
  for (const InstanceBuild& i : b.instances)
    if (!i.functions[0].empty()) {
      first.insert(i.instance.values[0].number);
      second.insert(i.instance.values[1].number);
    }
  EXPECT_GE(first.size(), 3u);
  EXPECT_GE(second.size(), 3u);
}

TEST(Units, AreBalancedByCost) {
  std::string values;
  for (int i = 0; i < 40; ++i) values += (i ? ", " : "") + std::to_string(i);
  World w;
  w.manifest(
      "family = \"f\"\n" + op("scale") +
      kernel("sm75_a",
             "file = \"a.cuh\"\npolicy = \"p\"\ncompile_seconds = 2.0\nlaunch = \"run<{m}>\"\n[kernel.axes]\nm = [" +
                 values + "]"));
  w.request("8.0", "13.0", 13.5);
  ASSERT_EQ(w.complaints(), "");
  size_t functions = 0, least = 100, most = 0;
  for (const Unit& u : w.build.libraries.at(0).units) {
    functions += u.functions.size();
    least = std::min(least, u.functions.size());
    most = std::max(most, u.functions.size());
    EXPECT_LE(u.seconds, 13.5);
  }
  EXPECT_EQ(functions, 40u);
  EXPECT_EQ(w.build.libraries[0].units.size(), 8u); // 5 instances of 2 s and 3.4 s of headers each
  EXPECT_LE(most - least, 1u);
}

TEST(Units, AKernelOfSeveralOpsIsCompiledOnce) {
  World w;
  w.manifest("family = \"f\"\n" + op("scale") + op("shift") +
             "[[kernel]]\nops = [\"scale\", \"shift\"]\nname = \"sm75_a\"\nfile = \"a.cuh\"\npolicy = \"p\"\nlaunch = "
             "\"run<{m}>\"\n"
             "[kernel.axes]\nm = [1, 2]\n"
             "[[kernel]]\nops = [\"scale\", \"shift\"]\nname = \"sm75_b\"\nfile = \"b.cuh\"\npolicy = \"p\"\nlaunch = "
             "\"run<{op}, {m}>\"\n"
             "[kernel.axes]\nm = [1, 2]\n");
  w.request("8.0");
  ASSERT_EQ(w.complaints(), "");
  std::set<std::string> shared, own;
  for (const InstanceBuild& i : w.kernel("sm75_a").instances) shared.insert(i.functions.begin(), i.functions.end());
  for (const InstanceBuild& i : w.kernel("sm75_b").instances) own.insert(i.functions.begin(), i.functions.end());
  EXPECT_EQ(shared.size(), 2u);
  EXPECT_EQ(own.size(), 4u);
}

TEST(Units, ASourceSharedByCpuRowsMustHaveOneSetOfFlags) {
  World w;
  w.manifest("family = \"f\"\n" + op("scale") +
             kernel("avx2_c", "file = \"c.cpp\"\nneeds = [\"avx2\"]\nlaunch = \"run_c\"") +
             kernel("avx512_c", "file = \"c.cpp\"\nneeds = [\"avx512\"]\nlaunch = \"run_d\""));
  w.request("");
  EXPECT_NE(w.complaints().find("compiled for avx2 by kernel \"avx2_c\" and for avx512 here"), std::string::npos)
      << w.complaints();
}

// --- promises
// ----------------------------------------------------------------------------------------------------------------

TEST(Required, UncoveredOpIsAnError) {
  World w;
  w.manifest("family = \"f\"\n" + op("scale") +
             kernel("sm80_a", "file = \"a.cu\"\nneeds = [\"cp_async\"]\nrequired = true\nlaunch = \"run_a\"") +
             kernel("sm90_b", "file = \"b.cu\"\nneeds = [\"wgmma\"]\nlaunch = \"run_b\""));
  w.request("8.0,9.0a");
  EXPECT_EQ(w.complaints(), "");
  w.request("7.5,8.0");
  EXPECT_EQ(w.complaints(),
            "required op \"scale\" has no kernel for 7.5 (sm80_a: 7.5 has no cp_async; sm90_b: 7.5 has no wgmma)\n");
}

TEST(Required, AnyKernelOfTheOpCovers) {
  World w;
  w.manifest("family = \"f\"\n" + op("scale") +
             kernel("sm80_a", "file = \"a.cu\"\nneeds = [\"cp_async\"]\nrequired = true\nlaunch = \"run_a\"") +
             kernel("sm75_b", "file = \"b.cu\"\ntargets = [\"7.5\"]\nlaunch = \"run_b\""));
  w.request("7.5,8.0");
  EXPECT_EQ(w.complaints(), "");
}

// A new GPU is one row of arch.toml: kernels that ask for features serve it without an edit of theirs.
TEST(NewTarget, OneRowServesExistingKernels) {
  const std::string row = R"(
[[cuda]]
name = "12.3"
generation = "blackwell"
toolkit = "13.0"
family = "13.0"
specific = "13.0"
like = "12.1"
shared_memory_per_block = 101376
registers_per_sm = 65536
threads_per_sm = 1536
)";
  std::string text = arch_text();
  text.insert(text.find("# Capabilities that users still write"), row.substr(1) + "\n");
  World w(text);
  w.manifest("family = \"f\"\n" + op("scale") +
             kernel("sm75_a", "file = \"a.cu\"\nrequired = true\nlaunch = \"run_a\"") +
             kernel("sm80_b", "file = \"b.cu\"\nneeds = [\"mma_f16\", \"cp_async\"]\nlaunch = \"run_b\"") +
             kernel("sm120_c", "file = \"c.cu\"\nneeds = [\"mma_block_fp4\"]\nlaunch = \"run_c\"") +
             kernel("sm120_d", "file = \"d.cu\"\ntargets = [\"12.0f\"]\nlaunch = \"run_d\"") +
             kernel("sm90_e", "file = \"e.cu\"\nneeds = [\"wgmma\"]\nlaunch = \"run_e\""));
  w.request("12.3");
  ASSERT_EQ(w.complaints(), "");
  const auto code = [&](const char* name) {
    return arch::to_string(w.arch.table, w.kernel(name).resolution.answers[0].code);
  };
  EXPECT_EQ(code("sm75_a"), "12.3");
  EXPECT_EQ(code("sm80_b"), "12.3");
  EXPECT_EQ(code("sm120_c"), "12.3f");
  EXPECT_EQ(code("sm120_d"), "12.0f");
  EXPECT_EQ(w.kernel("sm90_e").resolution.answers[0].reason, "12.3 has no wgmma");
  EXPECT_NE(emit_cmake(w.build).find("arch=compute_123f,code=[sm_123f]"), std::string::npos);
  // The target list knows it too, and the real manifests of the tree are covered as well.
  EXPECT_EQ(arch::parse_list("sm_123f", w.arch.context({13, 0})).error, "");
}

TEST(NewTarget, TheTreesOwnManifestsServeIt) {
  std::string text = arch_text();
  text.insert(text.find("# Capabilities that users still write"),
              "[[cuda]]\nname = \"12.3\"\ngeneration = \"blackwell\"\ntoolkit = \"13.0\"\nlike = "
              "\"12.1\"\nshared_memory_per_block = 101376\n"
              "registers_per_sm = 65536\nthreads_per_sm = 1536\n\n");
  World w(text);
  for (const auto& entry : std::filesystem::directory_iterator(std::string(SPF_SOURCE_DIR) + "/kernels")) {
    const auto file = entry.path() / "kernels.toml";
    if (std::filesystem::exists(file)) w.manifest(read_file(file), entry.path().filename().string());
  }
  w.request("12.3");
  EXPECT_EQ(w.complaints(), "");
  for (const KernelBuild& b : w.build.kernels) {
    if (b.kernel->kind != arch::Target::Kind::kCuda || !b.kernel->required) continue;
    EXPECT_NE(b.resolution.answers[0].answer, arch::Answer::kExcluded)
        << b.kernel->name << ": " << b.resolution.answers[0].reason;
  }
}

// --- output
// ------------------------------------------------------------------------------------------------------------------

TEST(Output, EqualInputGivesEqualBytes) {
  const auto all = [](const char* archs) {
    World w;
    w.manifest(data("marlin.toml")).manifest(data("machete.toml"));
    w.request(archs);
    std::string out = emit_table(w.build) + emit_cmake(w.build) + emit_coverage_json(w.build) +
                      emit_coverage_text(w.build, true) + emit_kernels_markdown(w.build) + emit_test_list(w.build);
    for (const Library& lib : w.build.libraries)
      for (const Unit& u : lib.units) out += u.file + emit_unit(u);
    return out;
  };
  EXPECT_EQ(all("8.0,9.0a,12.0"), all("12.0,9.0a,8.0"));
  EXPECT_NE(all("8.0,9.0a,12.0"), all("8.0,9.0a"));
}

class Folder : public ::testing::Test {
 protected:
  void SetUp() override {
    const std::string name = ::testing::UnitTest::GetInstance()->current_test_info()->name();
    path = std::filesystem::path(SPF_BINARY_DIR) / ("kernelgen_output_" + name);
    std::filesystem::remove_all(path);
  }
  void TearDown() override { std::filesystem::remove_all(path); }
  std::filesystem::path path;
};

TEST_F(Folder, UnchangedFilesKeepTheirTimeStamps) {
  OutputFolder first(path);
  first.write("a.txt", "one");
  first.write("units/b.txt", "two");
  first.finish();
  const auto old = std::filesystem::last_write_time(path / "a.txt") - std::chrono::hours(1);
  std::filesystem::last_write_time(path / "a.txt", old);
  std::filesystem::last_write_time(path / "units/b.txt", old);
  OutputFolder second(path);
  second.write("a.txt", "one");
  second.write("units/b.txt", "new");
  second.finish();
  EXPECT_EQ(std::filesystem::last_write_time(path / "a.txt"), old);
  EXPECT_NE(std::filesystem::last_write_time(path / "units/b.txt"), old);
  EXPECT_EQ(read_file(path / "units/b.txt"), "new");
}

TEST_F(Folder, StaleFilesGoAndStrangersStay) {
  OutputFolder first(path);
  first.write("a.txt", "one");
  first.write("units/b.txt", "two");
  first.finish();
  OutputFolder(path).write("stranger.txt", "not ours"); // without finish(): not on the list
  OutputFolder second(path);
  second.write("a.txt", "one");
  second.finish();
  EXPECT_TRUE(std::filesystem::exists(path / "a.txt"));
  EXPECT_FALSE(std::filesystem::exists(path / "units/b.txt"));
  EXPECT_TRUE(std::filesystem::exists(path / "stranger.txt"));
}

TEST_F(Folder, UnwritableFolderIsAnError) {
  OutputFolder(path).write("file", "a file, not a folder");
  EXPECT_ANY_THROW(OutputFolder(path / "file").write("a.txt", "one"));
}

} // namespace
} // namespace spf::kernelgen::test
