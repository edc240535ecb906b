// What plan, coverage, doctor and demo say, as text and as JSON.
#include <algorithm>
#include <fstream>
#include <set>
#include <sstream>

#include <fmt/format.h>

#include "check/case.hpp"
#include "run.hpp"
#include "spearfish/spearfish.hpp"

namespace spf::test {
namespace {

using Json = nlohmann::json;

// The keys of an object, so that one that appears or goes is seen.
std::set<std::string> keys(const Json& object) {
  std::set<std::string> out;
  for (const auto& item : object.items()) out.insert(item.key());
  return out;
}

Result plan(std::vector<std::string> args) {
  args.insert(args.begin(), "plan");
  return command(args);
}

const std::vector<std::string> kLinear = {"linear", "--m", "8", "--n", "64", "--k", "256", "--weight", "int4-g128"};

std::vector<std::string> linear(std::vector<std::string> more) {
  std::vector<std::string> args = kLinear;
  args.insert(args.end(), more.begin(), more.end());
  return args;
}

TEST(Plan, JsonOfLinear) {
  const Result r = plan(linear({"--json"}));
  ASSERT_EQ(r.code, 0) << r.err;
  EXPECT_EQ(r.err, "");
  const Json j = json_of(r);
  EXPECT_EQ(keys(j), (std::set<std::string>{"op", "device", "problem", "chosen", "rejected"}));
  EXPECT_EQ(keys(j["chosen"]), (std::set<std::string>{"kernel", "instance", "layout", "workspace_bytes", "determinism",
                                                      "activation", "cost_us"}));
  EXPECT_EQ(j["chosen"]["kernel"].get<std::string>().substr(0, 7), "linear/");
  EXPECT_NE(j["chosen"]["layout"], "");
  EXPECT_TRUE(j["chosen"]["workspace_bytes"].is_number_unsigned());
  ASSERT_FALSE(j["rejected"].empty());
  for (const Json& rejected : j["rejected"])
    EXPECT_EQ(keys(rejected), (std::set<std::string>{"kernel", "code", "reason"}));
}

TEST(Plan, TextNamesTheKernelAndTheOthers) {
  const Result r = plan(kLinear);
  ASSERT_EQ(r.code, 0) << r.err;
  EXPECT_TRUE(contains(r.out, "  kernel       linear/")) << r.out;
  EXPECT_TRUE(contains(r.out, "passed over")) << r.out;
}

TEST(Plan, RequireAndForbid) {
  for (const char* name : {"kernel=reference", "reference", "linear/reference", "kernel=linear/reference"}) {
    const Result r = plan(linear({"--require", name, "--json"}));
    ASSERT_EQ(r.code, 0) << name << r.err;
    EXPECT_EQ(json_of(r)["chosen"]["kernel"], "linear/reference");
  }
  const Result forbidden = plan(linear({"--forbid", "reference", "--require", "reference", "--json"}));
  EXPECT_EQ(forbidden.code, 3);
  const Json j = json_of(forbidden);
  EXPECT_TRUE(j["chosen"].is_null());
  EXPECT_EQ(j["error"]["status"], "SPF_REQUIREMENT_UNMET");
  bool found = false;
  for (const Json& rejected : j["rejected"])
    found |= rejected["kernel"] == "linear/reference" && rejected["code"] == "forbidden";
  EXPECT_TRUE(found);
  const Result unknown = plan(linear({"--require", "no_such"}));
  EXPECT_EQ(unknown.code, 3);
  EXPECT_TRUE(contains(unknown.out, "kernel       none"));
  EXPECT_TRUE(contains(unknown.err, "no_such")) << unknown.err;
  expect_refused(plan(linear({"--require", "instance=x"})), 2, "--require is 'instance=x'; allowed: kernel=NAME");
}

TEST(Plan, EightBitActivationsOnlyWhenAllowed) {
  const std::string device = "cpu:avx512_vnni";
  for (bool allowed : {false, true}) {
    std::vector<std::string> args = linear({"--device", device, "--json"});
    if (allowed) args.push_back("--allow-8bit-activation");
    const Json j = json_of(plan(args));
    ASSERT_FALSE(j["chosen"].is_null());
    if (!allowed) {
      EXPECT_EQ(j["chosen"]["activation"], "s16 per run of up to 128 columns");
      bool gated = false;
      for (const Json& rejected : j["rejected"]) gated |= rejected["code"] == "activation";
      EXPECT_TRUE(gated);
    } else {
      EXPECT_EQ(j["chosen"]["activation"], "s8 per run of up to 128 columns");
      for (const Json& rejected : j["rejected"]) EXPECT_NE(rejected["code"], "activation");
    }
  }
}

// Weights in blocks under activations in blocks: on 12.x so, on 9.0 the plan names what runs them under 16 bits.
TEST(Plan, BlocksOrSixteenBits) {
  const auto planned = [](const char* device, std::vector<std::string> more) {
    std::vector<std::string> args = {"nvfp4_linear", "--m",      "64",    "--n",      "4096", "--k",
                                     "4096",         "--weight", "nvfp4", "--device", device};
    args.insert(args.end(), more.begin(), more.end());
    return plan(args);
  };
  EXPECT_EQ(json_of(planned("rtx5090", {"--json"}))["chosen"]["kernel"], "linear/sm120_mma");
  const Result none = planned("h200", {"--json"});
  EXPECT_EQ(none.code, 3);
  const Json j = json_of(none);
  EXPECT_TRUE(j["chosen"].is_null());
  EXPECT_EQ(j["instead"]["op"], "linear");
  EXPECT_EQ(j["instead"]["kernel"], "linear/sm90_wgmma");
  EXPECT_TRUE(contains(planned("h200", {}).out, "instead      linear, with activations in bf16: linear/sm90_wgmma"));
}

// x in 8 bits, out in 16: one scale a token unless --dims says otherwise; types of single operands by name.
TEST(Plan, EightBitOperands) {
  const auto scaled = [](std::vector<std::string> more) {
    std::vector<std::string> args = {"scaled_linear", "--m", "64", "--n", "4096", "--k", "4096", "--device", "h200"};
    args.insert(args.end(), more.begin(), more.end());
    return plan(args);
  };
  for (const auto& [weight, act] : {std::pair{"fp8-channel", "e4m3"}, {"s8-channel", "s8"}, {"int4-g128", "e4m3"}}) {
    const Json j = json_of(scaled({"--weight", weight, "--json"}));
    ASSERT_FALSE(j["chosen"].is_null()) << j;
    EXPECT_EQ(j["chosen"]["kernel"], "linear/sm90_wgmma8");
    EXPECT_TRUE(contains(j["chosen"]["instance"], std::string("X=") + act)) << j;
    EXPECT_EQ(j["problem"], fmt::format("M=64 G=1 K=4096 N=4096 {} x {}, out bf16", act, weight));
  }
  EXPECT_TRUE(contains(scaled({"--weight", "int4-g128", "--act", "s8", "--dims", "G=32"}).out, "s8 x int4-g128"));
  EXPECT_TRUE(contains(scaled({"--weight", "fp8-channel", "--type", "out=f32"}).out, "e4m3 x fp8-channel, out f32"));
  expect_refused(scaled({"--weight", "fp8-channel", "--type", "out=e4m3"}), 2,
                 "scaled_linear: out_factor is NULL; allowed: a factor, as out is e4m3");
  EXPECT_EQ(scaled({"--weight", "fp8-channel", "--type", "out=e4m3", "--with", "out_factor"}).code, 0);
  expect_refused(scaled({"--weight", "fp8-channel", "--type", "uot=f32"}), 2,
                 "'uot' is not an operand of scaled_linear; did you mean 'out'?");
  const Result blocks = plan({"nvfp4_linear", "--m", "8", "--n", "64", "--k", "64", "--weight", "nvfp4"});
  EXPECT_TRUE(contains(blocks.out, ": M=8 K=64 N=64 nvfp4 x nvfp4, out bf16\n")) << blocks.out << blocks.err;
  const Result codes = plan({"convert_fp8", "--dims", "*=4", "E=64", "--type", "bf16", "out=e4m3", "--json"});
  EXPECT_EQ(codes.code, 0) << codes.err;
}

TEST(Plan, TextFitsAWindow) {
  for (const char* op : {"linear", "scaled_linear", "nvfp4_linear"}) {
    const Result r = plan({op, "--m", "64", "--n", "4096", "--k", "4096", "--weight", "nvfp4", "--device", "h200"});
    std::istringstream lines(r.out);
    for (std::string line; std::getline(lines, line);) EXPECT_LE(line.size(), 100u) << line;
  }
}

// A reason names what is short: 99 KiB of shared memory do not hold the ring of sm90_column, nor a long row of x.
TEST(Plan, ReasonsAreThoseOfTheDevice) {
  const auto reason = [](const char* n, const char* k, const char* device, const std::string& kernel) {
    const Json j =
        json_of(plan({"linear", "--m", "1", "--n", n, "--k", k, "--weight", "nvfp4", "--device", device, "--json"}));
    for (const Json& r : j["rejected"])
      if (r["kernel"] == kernel) return r["reason"].get<std::string>();
    return std::string("runs");
  };
  const std::string memory = "needs more shared memory than a block of this device has";
  EXPECT_EQ(reason("4096", "4096", "rtx5090", "linear/sm90_column"), memory);
  EXPECT_EQ(reason("4096", "4096", "rtx5090", "linear/sm90_stream"), "runs");
  EXPECT_EQ(reason("4096", "32768", "rtx5090", "linear/sm90_stream"), memory);
  EXPECT_EQ(reason("200000", "4096", "h200", "linear/sm90_column"),
            "takes up to 1024 output features a multiprocessor");
}

TEST(Plan, NothingToComputeHasNoInstance) {
  const Result r = plan({"linear", "--m", "0", "--n", "64", "--k", "256", "--weight", "int4-g128", "--device", "h200"});
  EXPECT_EQ(r.code, 0);
  EXPECT_FALSE(contains(r.out, "instance")) << r.out;
}

TEST(Plan, GroupsOfAFormat) {
  const auto problem = [](std::vector<std::string> more) {
    std::vector<std::string> args = {"linear", "--m", "1", "--n", "64", "--k", "256", "--json"};
    args.insert(args.end(), more.begin(), more.end());
    const Result r = plan(args);
    EXPECT_EQ(r.code, 0) << r.err;
    return r.code == 0 ? json_of(r)["problem"].get<std::string>() : r.err;
  };
  EXPECT_TRUE(contains(problem({"--weight", "int4", "--group", "64"}), "int4-g64"));
  EXPECT_TRUE(contains(problem({"--weight", "int4-g128", "--group", "32"}), "int4-g32"));
  EXPECT_TRUE(contains(problem({"--weight", "int4-g128-asym", "--group", "32"}), "int4-g32-asym"));
  EXPECT_TRUE(contains(problem({"--weight", "int4", "--group", "-1"}), "int4-channel"));
  EXPECT_TRUE(contains(problem({"--weight", "nvfp4", "--group", "16"}), "nvfp4"));
  const Result none = plan({"linear", "--m", "1", "--n", "64", "--k", "256", "--weight", "nvfp4", "--group", "128"});
  expect_refused(none, 2, "nvfp4 has no variant with groups of 128; its groups are 16");
}

TEST(Plan, NearNames) {
  expect_refused(plan({"linaer"}), 2, "'linaer' is not an op; did you mean 'linear'?");
  expect_refused(plan({"linear", "--m", "1", "--n", "1", "--k", "1", "--weight", "int4-g127"}), 2,
                 "'int4-g127' is not a weight format; did you mean 'int4-g128'?");
  expect_refused(plan(linear({"--act", "bf61"})), 2, "'bf61' is not a scalar type; did you mean 'bf16'?");
  expect_refused(plan(linear({"--device", "h2000"})), 2, "'h2000' is not a device; did you mean 'h200'?");
  const Result far = plan(linear({"--device", "abacus"}));
  EXPECT_TRUE(contains(far.err, "'abacus' is not a device; known: cpu, cuda:N, cpu:x86-64, ")) << far.err;
  EXPECT_TRUE(contains(far.err, ", or a target such as sm_90\n")) << far.err;
  expect_refused(plan({"rms_norm", "--dims", "*=2", "H=8", "--param", "epsilno=1"}), 2,
                 "'epsilno' is not a parameter of rms_norm; did you mean 'epsilon'?");
  expect_refused(plan({"rms_norm", "--dims", "*=2", "H=8", "--without", "wieght"}), 2,
                 "'wieght' is not an operand of rms_norm; did you mean 'weight'?");
}

// Each op as its first conformance case has it: extents that go together.
TEST(Plan, EveryOpOnEveryKindOfDevice) {
  const std::vector<spf::check::Case> cases = spf::check::embedded_cases({});
  for (const ::spearfish::OpInfo& op : ::spearfish::ops()) {
    if (op.takes_packed_weight) continue;
    const auto first = std::find_if(cases.begin(), cases.end(), [&](const auto& c) { return c.op == op.name; });
    ASSERT_NE(first, cases.end()) << op.name;
    std::vector<std::string> args = {op.name, "--json", "--dims"};
    for (const auto& [symbol, extent] : first->dims) args.push_back(symbol + "=" + std::to_string(extent));
    const bool leads = std::any_of(op.operands.begin(), op.operands.end(),
                                   [](const ::spearfish::OperandInfo& o) { return o.shape.rfind('*', 0) == 0; });
    if (leads) args.emplace_back("*=4x2");
    for (const auto& [param, value] : first->params) {
      args.emplace_back("--param");
      args.push_back(param + "=" + std::to_string(value));
    }
    for (const std::string& absent : first->absent) {
      args.emplace_back("--without");
      args.push_back(absent);
    }
    // --type gives every operand one type; an op that converts between two is refused by name.
    const Result here = plan(args);
    const bool converts = here.code == 3 && json_of(here)["error"]["status"] == "SPF_INVALID_TYPE";
    EXPECT_TRUE(here.code == 0 || converts) << op.name << here.err;
    EXPECT_EQ(converts, op.name == "convert_fp8") << op.name << here.err;
    for (const char* device : {"cpu:x86-64", "sm_90", "t4"}) {
      std::vector<std::string> elsewhere = args;
      elsewhere.insert(elsewhere.end(), {"--device", device});
      const Result r = plan(elsewhere);
      EXPECT_TRUE(r.code == 0 || r.code == 3) << op.name << " on " << device << ": " << r.err;
      EXPECT_EQ(json_of(r)["chosen"].is_null(), r.code == 3);
    }
  }
}

TEST(Plan, BadProblems) {
  expect_refused(plan({"rms_norm"}), 2, "rms_norm needs the extents of *, H: --dims *=... H=... (x [*,H])");
  expect_refused(plan({"gather_cache", "--dims", "NB=8", "BS=16", "KH=8", "D=128", "N=4", "B=1", "MB=9"}), 2,
                 "gather_cache needs the extents of B1, SH: --dims B1=... SH=... (cu_seq_lens [B1], scale [SH]); or "
                 "--without scale");
  expect_refused(plan({"rms_norm", "--dims", "H=8"}), 2, "rms_norm needs the extent of *: --dims *=... (x [*,H])");
  for (const char* text : {"*=64x", "*=x64", "*=2xx3", "*=[2,,3]"})
    expect_refused(plan({"rms_norm", "--dims", text, "H=8"}), 2,
                   std::string("'' in '") + text + "' is not an extent: a whole number of 0 or more");
  expect_refused(plan({"rms_norm", "--dims", "*=2", "H=8", "--type", "e4m3"}), 2,
                 "e4m3 is not a type that is taken here; allowed: f32, f16, bf16");
  expect_refused(plan({"rms_norm", "--dims", "*=2", "D=8"}), 2, "'D' is no dimension of rms_norm; it has *, H");
  expect_refused(plan({"rms_norm", "--dims", "H"}), 2,
                 "'H' is not of the form SYMBOL=EXTENT, for example H=4096 or *=2x3");
  expect_refused(plan({"rms_norm", "--dims", "H=-3"}), 2,
                 "'-3' in 'H=-3' is not an extent: a whole number of 0 or more");
  expect_refused(plan({"rms_norm", "--dims", "H=8,H=9"}), 2, "H is given twice");
  expect_refused(plan({"rms_norm", "--dims", "*=2", "H=8", "--without", "x"}), 2, "x of rms_norm cannot be left out");
  expect_refused(plan({"rms_norm", "--dims", "*=2", "H=8", "--param", "epsilon=small"}), 2,
                 "'small' in 'epsilon=small' is not a number");
  expect_refused(plan({"rms_norm", "--dims", "*=2", "H=8", "--param", "epsilon=-1"}), 2,
                 "rms_norm: epsilon is -1; allowed: a number of 0 or more");
  expect_refused(plan({"linear", "--m", "1", "--n", "8", "--weight", "f16"}), 2, "linear needs --k");
  expect_refused(plan({"linear", "--m", "1", "--n", "8", "--k", "8"}), 2, "linear needs --weight FORMAT");
  expect_refused(
      plan({"silu", "--dims", "*=2", "D=8", "--m", "1"}), 2,
      "--m, --n, --k, --weight, --group, --act and --with are for ops with a packed weight; silu takes --dims and "
      "--type");
}

TEST(Plan, ATypeThatNoKernelTakesIsNoKernel) {
  const Result r = plan(linear({"--act", "e4m3", "--json"}));
  EXPECT_EQ(r.code, 3);
  EXPECT_EQ(json_of(r)["error"]["status"], "SPF_INVALID_TYPE");
}

TEST(Plan, ADeviceThatIsNotHereByNumber) {
  const Result r = plan(linear({"--device", "cuda:99", "--json"}));
  EXPECT_EQ(r.code, 3);
  EXPECT_TRUE(json_of(r)["chosen"].is_null());
  EXPECT_TRUE(contains(r.err, "cuda:99")) << r.err;
}

// --- coverage ------------------------------------------------------------------------------------------------------

TEST(Coverage, JsonRows) {
  const Result r = command({"coverage", "--json"});
  ASSERT_EQ(r.code, 0) << r.err;
  const Json j = json_of(r);
  EXPECT_EQ(j["targets"], spf_built_targets());
  ASSERT_FALSE(j["rows"].empty());
  std::set<std::string> families;
  for (const Json& row : j["rows"]) {
    EXPECT_EQ(keys(row), (std::set<std::string>{"family", "kernel", "ops", "target", "state", "code", "reason", "built",
                                                "tested", "tuned"}));
    EXPECT_TRUE(row["built"].is_boolean());
    families.insert(row["family"]);
  }
  for (const char* family : {"activation", "linear", "norm"}) EXPECT_TRUE(families.count(family)) << family;
}

TEST(Coverage, OfAListThatNeedsNoGpu) {
  const Json j = json_of(command({"coverage", "--archs", "sm_90;12.0f", "--toolkit", "12.8", "--json"}));
  EXPECT_EQ(j["targets"], "9.0;12.0f");
  EXPECT_EQ(j["toolkit"], "12.8");
  for (const Json& row : j["rows"]) EXPECT_TRUE(row["target"] == "9.0" || row["target"] == "12.0f") << row;
}

// Kernels that run are told from those that are left out, in lines that fit a window.
TEST(Coverage, TextIsNarrowAndTruthful) {
  const Result r = command({"coverage", "--archs", "all", "--toolkit", "13.0"});
  ASSERT_EQ(r.code, 0) << r.err;
  std::istringstream lines(r.out);
  for (std::string line; std::getline(lines, line);) EXPECT_LE(line.size(), 100u) << line;
  EXPECT_TRUE(contains(r.out, "tested on")) << r.out;
  EXPECT_TRUE(contains(r.out, "left out")) << r.out;
  EXPECT_TRUE(contains(r.out, "has no cluster")) << r.out; // one reason for five targets
  const auto row = [&](const std::string& kernel) {
    const size_t at = r.out.find(kernel + " ");
    return at == std::string::npos ? std::string() : r.out.substr(at, r.out.find('\n', at) - at);
  };
  EXPECT_TRUE(contains(row("linear/sm90_stream"), "H200")) << r.out;
  for (const char* kernel : {"linear/sm75_mma", "linear/sm100_cutlass_fp8", "linear/sm120_mma"}) {
    EXPECT_NE(row(kernel), "") << kernel;
    EXPECT_FALSE(contains(row(kernel), "H200")) << row(kernel);
  }
}

TEST(Coverage, TextAndRefusals) {
  const Result text = command({"coverage"});
  EXPECT_EQ(text.code, 0);
  EXPECT_TRUE(contains(text.out, "linear/reference")) << text.out;
  const Result unknown = command({"coverage", "--archs", "9.1"});
  EXPECT_EQ(unknown.code, 2);
  EXPECT_TRUE(contains(unknown.err, "9.1")) << unknown.err;
  EXPECT_EQ(unknown.out, "");
  expect_refused(command({"coverage", "--toolkit", "12.8"}), 2,
                 "--toolkit is for --archs: this build's toolkit is a fact");
  EXPECT_EQ(command({"coverage", "--archs", "9.0", "--toolkit", "twelve"}).code, 2);
}

// --- doctor --------------------------------------------------------------------------------------------------------

TEST(Doctor, SaysWhatIsHereAndWhetherItRuns) {
  const Result r = command({"doctor", "--json"});
  const Json j = json_of(r);
  EXPECT_EQ(keys(j), (std::set<std::string>{"version", "cpu", "cuda", "build", "nvcc", "findings", "ok"}));
  EXPECT_EQ(r.code, j["ok"].get<bool>() ? 0 : 1);
  EXPECT_GT(j["cpu"]["threads"], 0);
  EXPECT_EQ(j["cuda"]["devices"].size(), static_cast<size_t>(spf_cuda_device_count()));
  EXPECT_EQ(j["build"]["targets"], spf_built_targets());
  bool ops_run = false;
  for (const Json& finding : j["findings"]) {
    EXPECT_EQ(keys(finding), (std::set<std::string>{"level", "what", "remedy"}));
    EXPECT_TRUE(finding["level"] != "broken" || finding["remedy"] != "") << finding["what"];
    ops_run |=
        finding["level"] == "ok" && contains(finding["what"], "ops run on the CPU, in all types and weight formats");
  }
  EXPECT_TRUE(ops_run) << j["findings"];
  // A build with CUDA kernels promises a device that runs them.
  const bool promises_a_gpu = SPF_TEST_CUDA != 0;
  if (!promises_a_gpu || spf_cuda_device_count() == 0) {
    EXPECT_EQ(r.code, promises_a_gpu ? 1 : 0) << r.out;
  }
}

TEST(Doctor, FewerThreadsThanCoresIsAdvice) {
  const Result r = command({"doctor", "--json"}, {"OMP_NUM_THREADS=1"});
  const Json j = json_of(r);
  EXPECT_EQ(j["cpu"]["threads"], 1);
  bool advised = false;
  for (const Json& finding : j["findings"])
    advised |= finding["level"] == "advice" && contains(finding["remedy"], "OMP_NUM_THREADS");
  EXPECT_EQ(advised, sysconf(_SC_NPROCESSORS_ONLN) > 1);
}

TEST(Doctor, Text) {
  const Result r = command({"doctor"});
  for (const char* part : {"spearfish ", "\n  cpu ", "\n  memory ", "\n  toolkit ", "\n  targets ", "\n  ok "})
    EXPECT_TRUE(contains(r.out, part)) << part << "\n" << r.out;
}

// --- demo ----------------------------------------------------------------------------------------------------------

TEST(Demo, EveryFormatRunsAndAgrees) {
  const Result r = command({"demo", "--n", "64", "--k", "512", "--m", "1", "3", "--json"});
  ASSERT_EQ(r.code, 0) << r.err;
  const Json j = json_of(r);
  EXPECT_EQ(keys(j), (std::set<std::string>{"device", "threads", "version", "limits", "rows"}));
  EXPECT_FALSE(j["limits"]["compute"].empty());
  EXPECT_EQ(j["rows"].size(), 2 * ::spearfish::quant_scheme_names().size());
  for (const Json& row : j["rows"]) {
    EXPECT_EQ(row["op"], "linear");
    EXPECT_LT(row["error"], 1e-3) << row;
    EXPECT_LT(row["format_error"], 0.5) << row;
    EXPECT_GT(row["us"], 0) << row;
    EXPECT_GT(row["share"], 0) << row;
    EXPECT_TRUE(row["bound"] == "memory" || row["bound"] == "compute") << row;
    EXPECT_NE(row["activation"].get<std::string>().substr(0, 3), "s8 ") << row;
  }
}

TEST(Demo, MoreBitsAreNearer) {
  const Json j =
      json_of(command({"demo", "--n", "64", "--k", "512", "--m", "4", "--formats", "int4-g128,int8,f32", "--json"}));
  ASSERT_EQ(j["rows"].size(), 3u);
  EXPECT_GT(j["rows"][0]["format_error"], j["rows"][1]["format_error"]);
  EXPECT_GT(j["rows"][1]["format_error"], j["rows"][2]["format_error"]);
  EXPECT_EQ(j["rows"][2]["format_error"], 0);
}

TEST(Demo, TextAndRefusals) {
  const Result r = command({"demo", "--n", "32", "--k", "256", "--m", "1", "--formats", "q4_k"});
  ASSERT_EQ(r.code, 0) << r.err;
  EXPECT_TRUE(contains(r.out, "format  M  kernel")) << r.out;
  EXPECT_TRUE(contains(r.out, "q4_k")) << r.out;
  EXPECT_EQ(r.err, "");
  expect_refused(command({"demo", "--formats", "q4k"}), 2, "'q4k' is not a weight format; did you mean 'q4_k'?");
  expect_refused(command({"demo", "--act", "fp16"}), 2, "'fp16' is not a scalar type; did you mean 'f16'?");
  EXPECT_EQ(command({"demo", "--m", "0"}).code, 2);
}

// What cannot be done is said before anything is run.
TEST(CheckAndBench, RefuseBeforeTheyRun) {
  for (const char* name : {"check", "bench"}) {
    const Result kernel = command({name, "norm", "--kernel", "sm99_rows"});
    EXPECT_EQ(kernel.code, 2);
    EXPECT_EQ(kernel.out, "");
    EXPECT_TRUE(contains(kernel.err, "no kernel here is called 'sm99_rows'; there are: norm/")) << kernel.err;
    expect_refused(command({name, "norm", "--cases", "/nowhere.toml"}), 4,
                   "cannot read /nowhere.toml: No such file or directory");
    expect_refused(command({name, "norm", "--json", "/nowhere/out.json"}), 4,
                   "cannot write /nowhere/out.json: No such file or directory");
    if (spf_cuda_device_count() == 0) {
      EXPECT_EQ(command({name, "norm", "--device", "cuda:0"}).code, 3) << name;
    }
  }
  expect_refused(command({"bench", "norm", "--peers", "/nowhere.csv"}), 4,
                 "cannot read /nowhere.csv: No such file or directory");
  expect_refused(command({"bench", "norm", "--roofline", "/nowhere/a.svg"}), 4,
                 "cannot write /nowhere/a.svg: No such file or directory");
  for (const char* flag : {"--pdl", "--warm", "--gemm-peers"})
    expect_refused(command({"bench", "norm", flag}), 2, std::string(flag) + " is for a CUDA device; --device is cpu");
}

TEST(Bench, EveryInstanceBesideItsEstimate) {
  const std::string cases = ::testing::TempDir() + "every_instance.toml";
  std::ofstream(cases) << "[[case]]\nop = \"linear\"\ntypes = { T = \"f32\", B = \"f32\", O = \"f32\" }\n"
                          "weight = \"int4-g128\"\nabsent = [\"bias\"]\ndims = { \"*\" = [4], N = 64, K = 256 }\n"
                          "bench = true\n";
  const auto report_of = [&](std::vector<std::string> more) {
    std::vector<std::string> args = {"bench", "--cases", cases, "--device", "cpu", "--json"};
    args.insert(args.end(), more.begin(), more.end());
    const Result r = command(args);
    EXPECT_EQ(r.code, 0) << r.err;
    return json_of(r);
  };
  const auto rows_of = [&](const std::vector<std::string>& more) { return report_of(more)["rows"]; };
  std::set<std::string> kernels, instances;
  for (const Json& row : rows_of({"--every-kernel"})) kernels.insert(row["kernel"].get<std::string>());
  const Json rows = rows_of({"--every-instance"});
  for (const Json& row : rows) {
    EXPECT_GT(row["planned_us"], 0) << row;
    instances.insert(row["kernel"].get<std::string>() + "/" + row["instance"].get<std::string>());
    kernels.erase(row["kernel"].get<std::string>());
  }
  EXPECT_EQ(instances.size(), rows.size()) << "an instance was timed twice";
  EXPECT_TRUE(kernels.empty()) << "no instance of " << *kernels.begin();
  const Json one = rows_of({"--every-instance", "--kernel", "portable_f32"});
  ASSERT_FALSE(one.empty());
  for (const Json& row : one) EXPECT_EQ(row["kernel"], "linear/portable_f32");
  // A name that stands for one instance stands for no kernel with all of them, and that is said.
  const Json none = report_of({"--every-instance", "--kernel", "linear/portable_f32/T=f32"});
  EXPECT_TRUE(none["rows"].empty()) << none;
  ASSERT_EQ(none["refused"].size(), 1u) << none;
  EXPECT_TRUE(contains(none["refused"][0], "of those that 'linear/portable_f32/T=f32' names")) << none;
}

TEST(Check, AFamilyMayHaveTheNameOfACommand) {
  const Result r = command({"check", "quantize", "--device", "cpu", "--quick"});
  EXPECT_EQ(r.code, 0) << r.err;
  EXPECT_TRUE(contains(r.out, "quantize/")) << r.out;
}

} // namespace
} // namespace spf::test
