// What the planner picks for pretend devices, as a file that a reviewer reads as a diff:
// tests/data/planner_goldens.txt, "device | problem -> kernel". SPEARFISH_UPDATE_GOLDENS=1 test_plan rewrites it.
#include <cstdlib>
#include <fstream>
#include <map>
#include <sstream>

#include <gtest/gtest.h>

#include "spearfish/spearfish.hpp"

namespace spearfish {
namespace {

constexpr const char* kFile = SPF_TEST_DATA "/planner_goldens.txt";
constexpr const char* kHeading =
    "# What the planner picks: device | problem -> kernel, or the status and the reasons' codes where nothing can "
    "run.\n"
    "# The same in every build. Rewrite with: SPEARFISH_UPDATE_GOLDENS=1 test_plan --gtest_filter='Goldens.*'\n";

const std::vector<std::string> kDevices = {
    "t4",   "a100",       "a10",      "l40s",       "rtx4090",         "h100",   "h200", "b200", "rtx5090",
    "gb10", "cpu:x86-64", "cpu:avx2", "cpu:avx512", "cpu:avx512_vnni", "cpu:amx"};

// The kernel, or why there is none: status and every candidate's code once.
template <class Body>
std::string outcome(const Body& body) {
  Plan plan;
  try {
    body(plan);
    return plan.kernel();
  } catch (const Error& e) {
    std::map<std::string, int> codes;
    if (!plan.empty())
      for (const Plan::Rejection& r : plan.rejected()) ++codes[r.code];
    std::string out = e.status_name();
    for (const auto& [code, count] : codes) out += " " + code;
    return out;
  }
}

struct Problem {
  std::string text;
  std::string (*plan)(const Problem&, const DeviceFacts&);
  std::string op, format, type;
  int64_t m, n, k;
  bool allow_8bit;
};

std::string plan_linear_problem(const Problem& p, const DeviceFacts& facts) {
  const Device device(spf_device{facts.kind, 0});
  const ScalarType type = scalar_type(p.type);
  const Tensor x(nullptr, type, {p.m, p.k}, device), out(nullptr, type, {p.m, p.n}, device);
  return outcome([&](Plan& plan) {
    Launch launch(device);
    launch.allow_activation_8bit(p.allow_8bit).plan_only(plan, facts);
    linear(x, unpacked_weight(quant_scheme(p.format), p.n, p.k, device), std::nullopt, out, launch);
  });
}

std::string plan_scaled_linear_problem(const Problem& p, const DeviceFacts& facts) {
  const Device device(spf_device{facts.kind, 0});
  const Tensor x(nullptr, scalar_type(p.type), {p.m, p.k}, device), scale(nullptr, SPF_F32, {p.m, 1}, device);
  const Tensor out(nullptr, SPF_BF16, {p.m, p.n}, device);
  return outcome([&](Plan& plan) {
    Launch launch(device);
    launch.plan_only(plan, facts);
    scaled_linear(x, scale, unpacked_weight(quant_scheme(p.format), p.n, p.k, device), out, {}, launch);
  });
}

// Activations and weights in blocks of the same format, or 4-bit weights under 8-bit activations.
std::string plan_block_linear_problem(const Problem& p, const DeviceFacts& facts) {
  const Device device(spf_device{facts.kind, 0});
  const bool nvfp4 = p.op == "nvfp4_linear", bytes = p.op == "mxfp8_linear";
  const int64_t block = nvfp4 ? 16 : 32, rows = (p.m + 127) / 128 * 128, blocks = (p.k / block + 3) / 4 * 4;
  const Tensor codes(nullptr, scalar_type(p.type), {p.m, bytes ? p.k : p.k / 2}, device);
  const Tensor scales(nullptr, nvfp4 ? SPF_E4M3 : SPF_E8M0, {rows, blocks}, device);
  const Tensor out(nullptr, SPF_BF16, {p.m, p.n}, device);
  const std::string direct = outcome([&](Plan& plan) {
    Launch launch(device);
    launch.plan_only(plan, facts);
    const spf_packed_weight weight = unpacked_weight(quant_scheme(p.format), p.n, p.k, device);
    call(p.op, {codes, scales, std::nullopt, std::nullopt, out}, {}, launch, &weight);
  });
  if (!direct.starts_with("SPF_")) return direct;
  Problem wide = p;
  wide.type = "bf16";
  return direct + "; with 16-bit activations " + plan_linear_problem(wide, facts);
}

// Ops on rows: every operand by its schema, all leading dimensions M, every symbol K.
std::string plan_rows_problem(const Problem& p, const DeviceFacts& facts) {
  const Device device(spf_device{facts.kind, 0});
  for (const OpInfo& op : ops()) {
    if (op.name != p.op) continue;
    std::vector<OptionalTensor> operands;
    for (const OperandInfo& operand : op.operands) {
      Shape shape;
      std::istringstream dims(operand.shape);
      for (std::string dim; std::getline(dims, dim, ',');)
        shape.push_back(dim == "*" ? p.m : dim.find('*') == std::string::npos ? p.k : std::stoll(dim) * p.k);
      operands.emplace_back(Tensor(nullptr, scalar_type(p.type), shape, device));
    }
    return outcome([&](Plan& plan) {
      Launch launch(device);
      launch.plan_only(plan, facts);
      call(op.name, operands, {}, launch);
    });
  }
  return "no such op";
}

// Decode of m sequences, or prefill of one of m tokens, over n keys of a paged cache of type `format`.
std::string plan_attention_problem(const Problem& p, const DeviceFacts& facts) {
  constexpr int64_t kHeads = 32, kKvHeads = 8, kDims = 128, kPage = 16;
  const Device device(spf_device{facts.kind, 0});
  const bool decode = p.op == "attention_decode";
  const int64_t sequences = decode ? p.m : 1, pages = p.n / kPage;
  const auto tensor = [&](ScalarType type, const Shape& shape) { return Tensor(nullptr, type, shape, device); };
  const Tensor query = tensor(SPF_BF16, {p.m, kHeads, kDims});
  const Tensor cache = tensor(scalar_type(p.format), {sequences * pages, kPage, kKvHeads, kDims});
  const Tensor tables = tensor(SPF_I32, {sequences, pages}), lengths = tensor(SPF_I32, {sequences});
  return outcome([&](Plan& plan) {
    Launch launch(device);
    launch.plan_only(plan, facts);
    if (decode)
      attention_decode(query, query, cache, cache, tables, lengths, {}, {}, launch);
    else
      attention_prefill_paged(query, query, cache, cache, tensor(SPF_I32, {2}), tables, lengths, {}, {}, launch);
  });
}

std::vector<Problem> problems() {
  std::vector<Problem> out;
  for (const char* format :
       {"bf16", "int4-g128", "int4-g32-asym", "int8", "fp8-block", "nvfp4", "mxfp4", "q4_k", "q6_k"})
    for (int64_t m : {1, 8, 512})
      out.push_back({"linear " + std::string(format) + " bf16 M=" + std::to_string(m) + " N=4096 K=14336",
                     plan_linear_problem, "linear", format, "bf16", m, 4096, 14336, false});
  for (const char* format : {"f16", "int4-g128", "int4-g128-asym", "int8-g128", "fp8-channel", "nvfp4", "f16-2of4"})
    for (int64_t m : {1, 16, 64, 2048})
      out.push_back({"linear " + std::string(format) + " f16 M=" + std::to_string(m) + " N=28672 K=4096",
                     plan_linear_problem, "linear", format, "f16", m, 28672, 4096, false});
  for (const auto& [type, format] :
       {std::pair{"e4m3", "fp8-channel"}, {"e4m3", "fp8-channel-2of4"}, {"s8", "int8-2of4"}})
    for (int64_t m : {1, 2048})
      out.push_back(
          {"scaled_linear " + std::string(format) + " " + type + " M=" + std::to_string(m) + " N=28672 K=4096",
           plan_scaled_linear_problem, "scaled_linear", format, type, m, 28672, 4096, false});
  for (const auto& [op, type, format] : {std::tuple{"nvfp4_linear", "u8", "nvfp4"},
                                         {"mxfp4_linear", "u8", "mxfp4"},
                                         {"mxfp8_linear", "e4m3", "mxfp8"},
                                         {"mxfp8_linear", "e4m3", "mxfp4"}})
    for (int64_t m : {1, 2048})
      out.push_back({std::string(op) + " " + format + " M=" + std::to_string(m) + " N=28672 K=4096",
                     plan_block_linear_problem, op, format, type, m, 28672, 4096, false});
  for (const char* format : {"int4-g128", "q4_0", "q8_0"})
    for (int64_t m : {1, 512})
      out.push_back({"linear " + std::string(format) + " bf16 M=" + std::to_string(m) +
                         " N=4096 K=14336, 8-bit activations allowed",
                     plan_linear_problem, "linear", format, "bf16", m, 4096, 14336, true});
  for (const char* op : {"rms_norm", "fused_add_rms_norm", "layer_norm", "silu_and_mul", "gelu_new"})
    for (const auto& [type, m, k] : {std::tuple{"bf16", 1, 4096}, {"bf16", 8192, 4096}, {"f32", 64, 127}})
      out.push_back({std::string(op) + " " + type + " M=" + std::to_string(m) + " width=" + std::to_string(k),
                     plan_rows_problem, op, "", type, m, 0, k, false});
  for (const char* type : {"bf16", "e4m3"})
    for (const auto& [op, m, n] : {std::tuple{"attention_decode", 1, 8192},
                                   {"attention_decode", 2, 8192},
                                   {"attention_decode", 64, 8192},
                                   {"attention_prefill_paged", 512, 8192}})
      out.push_back({std::string(op) + " bf16 over " + type + " M=" + std::to_string(m) + " keys=" + std::to_string(n),
                     plan_attention_problem, op, type, "bf16", m, n, 0, false});
  return out;
}

std::string plan_all() {
  std::string out = kHeading;
  for (const std::string& device : kDevices) {
    const DeviceFacts f = facts(device);
    for (const Problem& p : problems()) out += device + " | " + p.text + " -> " + p.plan(p, f) + "\n";
  }
  return out;
}

// "device | problem" -> kernel.
std::map<std::string, std::string> lines_of(const std::string& text) {
  std::map<std::string, std::string> out;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) {
    const size_t arrow = line.find(" -> ");
    if (line.empty() || line[0] == '#' || arrow == std::string::npos) continue;
    out[line.substr(0, arrow)] = line.substr(arrow + 4);
  }
  return out;
}

TEST(Goldens, EveryPretendDeviceAndProblem) {
  const std::string planned = plan_all();
  if (const char* update = std::getenv("SPEARFISH_UPDATE_GOLDENS"); update != nullptr && std::string(update) == "1") {
    std::ofstream(kFile) << planned;
    return;
  }
  std::ifstream in(kFile);
  ASSERT_TRUE(in) << kFile << " is missing";
  std::stringstream text;
  text << in.rdbuf();
  const auto golden = lines_of(text.str()), now = lines_of(planned);
  EXPECT_EQ(now.size(), kDevices.size() * problems().size());
  for (const auto& [problem, kernel] : now) {
    const auto before = golden.find(problem);
    const std::string was = before == golden.end() ? "not asked" : before->second;
    EXPECT_EQ(kernel, was) << problem;
  }
  for (const auto& [problem, kernel] : golden)
    EXPECT_TRUE(now.count(problem)) << "no longer asked: " << problem << " -> " << kernel;
  if (HasFailure())
    std::puts(
        "If this is meant: SPEARFISH_UPDATE_GOLDENS=1 test_plan --gtest_filter='Goldens.*', and show the diff to a "
        "reviewer.");
}

TEST(Goldens, PlansAreTheSameEveryTime) { EXPECT_EQ(plan_all(), plan_all()); }

// What must hold whatever the tuning says.
TEST(Goldens, EveryCpuRunsEverythingAndMoreFeaturesAreNeverAsked) {
  for (const std::string& device : kDevices) {
    const DeviceFacts f = facts(device);
    for (const Problem& p : problems()) {
      const std::string kernel = p.plan(p, f);
      EXPECT_TRUE(f.kind != SPF_CPU || kernel.find("SPF_") == std::string::npos)
          << device << " | " << p.text << " -> " << kernel;
      if (device == "cpu:x86-64") {
        EXPECT_EQ(kernel.find("avx"), std::string::npos) << p.text << " -> " << kernel;
        EXPECT_EQ(kernel.find("amx"), std::string::npos) << p.text << " -> " << kernel;
      }
    }
  }
}

} // namespace
} // namespace spearfish
