// What the generator says about manifests that are wrong: file, line, row, the word, what is known, and the nearest
// spelling.
#include "support.hpp"

namespace spf::kernelgen::test {
namespace {

// A manifest that is right, into which each test writes one mistake.
const char* const kGood = R"(family = "norm"
[[op]]
name = "rms_norm"
summary = "a norm"
types = { T = ["f32", "f16"] }
operands = [
  { name = "x", role = "in", type = "T", shape = "*,H" },
  { name = "weight", role = "in", type = "f32", shape = "2*H", optional = true, view = "contiguous" },
  { name = "ids", role = "in", type = "i64", shape = "*,N", values = "unique index 2*H*rows or -1", traffic = "rows" },
  { name = "out", role = "out", type = "T", shape = "*,H" },
]
params = [ { name = "epsilon", kind = "f64", default = 1e-6, min = 0.0 } ]
constraint = "even_rows"
[[kernel]]
op = "rms_norm"
name = "sm80_rows"
file = "sm80_rows.cuh"
needs = ["cp_async"]
policy = "rows_policy"
launch = "rows<{T}, {vec}>"
[kernel.axes]
T = ["f32", "f16"]
vec = [1, 8]
[[kernel.skip]]
when = { T = "f32", vec = 8 }
why = "a vector is 16 bytes"
)";

TEST(Manifest, TheGoodOneIsRead) {
  World w;
  w.manifest(kGood).request("8.0");
  EXPECT_EQ(w.complaints(), "");
  ASSERT_EQ(w.manifests.ops.size(), 1u);
  const Op& op = w.manifests.ops[0];
  EXPECT_EQ(op.symbols, (std::vector<std::string>{"*", "H", "N"}));
  ASSERT_EQ(op.types.size(), 3u);
  EXPECT_EQ(op.operands[2].values, "unique index 2*H*rows or -1");
  EXPECT_EQ(op.operands[2].traffic, "rows");
  EXPECT_EQ(op.constraint, "even_rows");
  EXPECT_EQ(w.manifests.policies.size(), 1u) << "constraint and policy stand in one header";
  EXPECT_EQ(op.types[1].name, "f32"); // a fixed type is a variable of that one type
  EXPECT_EQ(op.operands[1].dims[0].factor, 2);
  EXPECT_TRUE(op.operands[1].optional);
  EXPECT_EQ(w.kernel("sm80_rows").built_instances, 3);
}

struct Mistake {
  const char* name;
  const char* find;
  const char* replace;
  std::vector<const char*> says;
};

void PrintTo(const Mistake& m, std::ostream* out) { *out << m.name; }

class Mistakes : public ::testing::TestWithParam<Mistake> {};

TEST_P(Mistakes, AreNamed) {
  std::string text = kGood;
  const size_t at = text.find(GetParam().find);
  ASSERT_NE(at, std::string::npos);
  text.replace(at, std::string(GetParam().find).size(), GetParam().replace);
  World w;
  w.manifest(text);
  for (const char* part : GetParam().says)
    EXPECT_NE(w.complaints().find(part), std::string::npos) << "lacks '" << part << "':\n" << w.complaints();
}

const Mistake kMistakes[] = {
    {"Values", "\"unique index", "\"uniq index", {"operand \"ids\"", "is not understood", "offsets TOTAL"}},
    {"ValuesSymbol",
     "index 2*H*rows",
     "index 2*HH*rows",
     {"operand \"ids\"", "symbol \"HH\" is not known", "rows, H, N"}},
    {"Traffic", "traffic = \"rows\"", "traffic = \"rows/2\"", {"operand \"ids\"", "a product of numbers and symbols"}},
    {"Constraint", "\"even_rows\"", "\"even rows\"", {"op \"rms_norm\"", "name of a function in namespace spf::norm"}},
    {"Feature",
     "[\"cp_async\"]",
     "[\"cp_asinc\"]",
     {"kernels//kernels.toml:18:", "kernel \"sm80_rows\"", "feature \"cp_asinc\" is not known",
      "did you mean \"cp_async\"?", "wgmma"}},
    {"Key", "policy =", "polici =", {":19:", "key \"polici\" is not known", "did you mean \"policy\"?"}},
    {"TopLevelKey", "family =", "famly =", {"key \"famly\"", "did you mean \"family\"?", "lacks the key \"family\""}},
    {"OperandKey",
     "role = \"in\", type = \"T\"",
     "rol = \"in\", type = \"T\"",
     {"operand \"x\"", "did you mean \"role\"?"}},
    {"Role", "role = \"out\"", "role = \"ouput\"", {"operand \"out\"", "role \"ouput\"", "in, out, inout"}},
    {"View", "view = \"contiguous\"", "view = \"contigous\"", {"did you mean \"contiguous\"?"}},
    {"ScalarType",
     "T = [\"f32\", \"f16\"] }",
     "T = [\"f32\", \"fp16\"] }",
     {"op \"rms_norm\", types", "scalar type \"fp16\"", "did you mean \"f16\"?"}},
    {"OperandType", "type = \"f32\"", "type = \"U\"", {"operand \"weight\"", "type \"U\" is not known"}},
    {"Shape", "\"2*H\"", "\"H*2\"", {"shape \"H*2\"", "not a dimension symbol"}},
    {"ShapePaddedNothing", "\"2*H\"", "\"up4(Z)\"", {"a padded extent is upN(SYMBOL)"}},
    {"ShapeStarNotFirst", "\"2*H\"", "\"H,*\"", {"'*' may only come first"}},
    {"ShapeZero", "\"2*H\"", "\"0*H\"", {"cannot be 0"}},
    {"ParamKind", "kind = \"f64\"", "kind = \"f46\"", {"param \"epsilon\"", "did you mean \"f64\"?"}},
    {"ParamDefault", "min = 0.0", "min = 1.0", {"the default must lie between min and max"}},
    {"UnknownOp",
     "op = \"rms_norm\"",
     "op = \"rms_nrom\"",
     {"kernel \"sm80_rows\"", "op \"rms_nrom\" is not known", "did you mean \"rms_norm\"?"}},
    {"NoOp", "op = \"rms_norm\"\nname", "name", {"names no op"}},
    {"Extension", "sm80_rows.cuh\"", "sm80_rows.py\"", {"must end in .cuh or .cu"}},
    {"FileOutside", "\"sm80_rows.cuh\"", "\"../sm80_rows.cuh\"", {"relative to the manifest"}},
    {"KernelName", "name = \"sm80_rows\"", "name = \"rows\"", {"<target-or-isa>_<method>"}},
    {"KernelNameNotIdentifier", "name = \"sm80_rows\"", "name = \"sm80 rows\"", {"must be a C identifier"}},
    {"Target",
     "needs = [\"cp_async\"]",
     "targets = [\"8.0\", \"9.1\"]",
     {"target '9.1' is not known", "did you mean '9.0'?"}},
    {"TargetOfAnotherDevice",
     "needs = [\"cp_async\"]",
     "targets = [\"avx2\"]",
     {"avx2 is not a target of the kernel's device"}},
    {"EmptyTargets", "needs = [\"cp_async\"]", "targets = []", {"an empty list of targets"}},
    {"SpecificPtx", "needs = [\"cp_async\"]", "targets = [\"9.0a+PTX\"]", {"not forward compatible"}},
    {"NeedsAndTargets", "needs =", "targets = [\"8.0\"]\nneeds =", {"both \"needs\" and \"targets\""}},
    {"CudaMin", "needs =", "cuda_min = \"twelve\"\nneeds =", {"\"cuda_min\" must be a toolkit version"}},
    {"Ptx", "needs =", "ptx = \"maybe\"\nneeds =", {"ptx \"maybe\" is not known", "no, yes"}},
    {"Determinism", "needs =", "determinism = \"row-invarient\"\nneeds =", {"did you mean \"row-invariant\"?"}},
    {"WrongKindOfValue", "needs = [\"cp_async\"]", "needs = \"cp_async\"", {"\"needs\" must be a list of strings"}},
    {"CompileSeconds", "needs =", "compile_seconds = 0\nneeds =", {"above 0 and at most 3600"}},
    {"NoPolicy", "policy = \"rows_policy\"\n", "", {"has axes and no \"policy\""}},
    {"LaunchPlaceholder",
     "{vec}>",
     "{vce}>",
     {"placeholder \"vce\"", "did you mean \"vec\"?", "the axis \"vec\" does not occur"}},
    {"LaunchUnclosed", "{vec}>", "{vec>", {"'{' is never closed"}},
    {"LaunchAxisMissing", ", {vec}>", ">", {"the axis \"vec\" does not occur in \"launch\""}},
    {"LaunchNotAFunction", "rows<{T}, {vec}>", "rows {T}", {"must be a function of namespace spf::norm"}},
    {"TemplateInSource", "sm80_rows.cuh\"", "sm80_rows.cu\"", {"template arguments need a header"}},
    {"EmptyAxis", "vec = [1, 8]", "vec = []", {"\"vec\" must be a list of at least one value"}},
    {"AxisTwice", "vec = [1, 8]", "vec = [1, 1]", {"\"vec\" holds the same choice twice"}},
    {"AxisFloat", "vec = [1, 8]", "vec = [0.5, 8]", {"must hold strings"}},
    {"AxisBadString", "vec = [1, 8]", "vec = [\"a,b\", 8]", {"must hold strings"}},
    {"TiedAxesDiffer", "vec = [1, 8]", "vec = [{ vec = 1 }, { vcc = 8 }]", {"must set the same axes"}},
    {"SkipAxis", "when = { T =", "when = { TT =", {"axis \"TT\" is not known", "known: T, vec"}},
    {"SkipWithoutWhy", "why = \"a vector is 16 bytes\"\n", "", {"skip: lacks the key \"why\""}},
    {"SkipEverything", "when = { T = \"f32\", vec = 8 }\n", "", {"skips everything"}},
    {"StackWithoutWhy",
     "[[kernel.skip]]",
     "[[kernel.stack]]\nfunction = \"rows\"\nbytes = 8\n[[kernel.skip]]",
     {"stack: lacks the key \"why\""}},
    {"StackOfNothing",
     "[[kernel.skip]]",
     "[[kernel.stack]]\nfunction = \"rows\"\nbytes = 0\nwhy = \"cold\"\n[[kernel.skip]]",
     {"a multiple of 4 above 0"}},
    {"StackOfAnyName",
     "[[kernel.skip]]",
     "[[kernel.stack]]\nfunction = \"rows<8>\"\nbytes = 8\nwhy = \"cold\"\n[[kernel.skip]]",
     {"must be the name of a device function"}},
    {"SkipComparison", "vec = 8 }", "vec = \"> many\" }", {"a comparison such as"}},
    {"NotToml", "family = \"norm\"", "family = norm", {"not TOML", ":1:"}},
    {"LettersOutsideAscii", "family = \"norm\"", "\xef\xb3\xbf = 1 # \xc3\xa9", {"are ASCII", ":1:"}},
    {"UnknownPackage", "needs =", "packages = [\"cutlas\"]\nneeds =", {"did you mean \"cutlass\"?"}},
    {"UnknownUnless", "needs =", "unless = [\"sm90_rows\"]\nneeds =", {"\"unless\"", "sm90_rows"}},
    {"TooManyCombinations",
     "vec = [1, 8]",
     "vec = "
     "[1,2,3,4,5,6,7,8,9,10]\na=[1,2,3,4,5,6,7,8,9,10]\nb=[1,2,3,4,5,6,7,8,9,10]\nc=[1,2,3,4,5,6,7,8,9,10]\nd=[1,2,3,4,"
     "5,6,7,8,9,"
     "10]\ne=[1,2,3,4,5,6,7,8,9,10]",
     {"more than 1000000 combinations"}},
};

INSTANTIATE_TEST_SUITE_P(Manifest, Mistakes, ::testing::ValuesIn(kMistakes),
                         [](const auto& p) { return std::string(p.param.name); });

TEST(Manifest, RowsAreUniqueByOp) {
  World w;
  w.manifest(std::string(kGood) + std::string(kGood).substr(std::string(kGood).find("[[kernel]]")));
  EXPECT_NE(w.complaints().find("two rows of this name for op \"rms_norm\""), std::string::npos) << w.complaints();
}

TEST(Manifest, OpsAreUniqueAcrossFiles) {
  World w;
  w.manifest(kGood).manifest(kGood);
  EXPECT_NE(w.complaints().find("op \"rms_norm\" is defined twice"), std::string::npos) << w.complaints();
}

TEST(Manifest, MissingFileIsNamed) {
  World w;
  load_manifest(kGood, {"kernels/norm/kernels.toml", SPF_TEST_DATA, "kernels/norm/", true, "norm", true}, w.arch,
                w.diagnostics, w.manifests);
  EXPECT_NE(w.complaints().find("\"sm80_rows.cuh\" does not exist beside the manifest"), std::string::npos)
      << w.complaints();
  EXPECT_NE(w.complaints().find("no policy.hpp beside the manifest"), std::string::npos) << w.complaints();
}

// --- arch.toml -------------------------------------------------------------------------------------------------------

std::string arch_complaints(const std::string& find, const std::string& replace) {
  std::string text = arch_text();
  const size_t at = text.find(find);
  EXPECT_NE(at, std::string::npos) << find;
  text.replace(at, find.size(), replace);
  return World(text).complaints();
}

TEST(ArchFile, TheGoodOneIsRead) {
  World w;
  EXPECT_EQ(w.complaints(), "");
  EXPECT_EQ(w.arch.rows.size(), 7u + 11u + 5u);
}

TEST(ArchFile, MistakesAreNamed) {
  EXPECT_NE(arch_complaints("\"mma_fp8\", \"cvt_fp8\"", "\"mma_fp88\", \"cvt_fp8\"").find("did you mean \"mma_fp8\"?"),
            std::string::npos);
  EXPECT_NE(arch_complaints("like = \"8.9\"", "like = \"8.8\"").find("an earlier row \"8.8\""), std::string::npos);
  EXPECT_NE(arch_complaints("name = \"8.6\"", "name = \"8.0\"").find("two rows of this name"), std::string::npos);
  EXPECT_NE(arch_complaints("name = \"8.6\"", "name = \"86\"").find("plain compute capability"), std::string::npos);
  EXPECT_NE(arch_complaints("toolkit = \"11.1\"", "toolkit = 11.1").find("cuda \"8.6\": \"toolkit\" must be a string"),
            std::string::npos);
  EXPECT_NE(arch_complaints("\"SPF_CPU_AVX2\"", "\"SPF_CPU_AVX3\"").find("did you mean \"SPF_CPU_AVX2\"?"),
            std::string::npos);
  EXPECT_NE(arch_complaints("specific = \"12.0\"\n", "").find("no 'a' code"), std::string::npos);
  EXPECT_NE(arch_complaints("capability = \"9.0\"", "capability = \"9.5\"").find("device \"h200\""), std::string::npos);
  EXPECT_NE(arch_complaints("threads_per_sm = 1024", "threads_per_sm = -1").find("must lie in"), std::string::npos);
}

} // namespace
} // namespace spf::kernelgen::test
