// spf_op_call and the functions around it: bad input is an error that names op, field, value and what is allowed, and
// nothing is written.
#include <cstring>
#include <memory>

#include "spearfish/plan.h"
#include "support.hpp"

namespace spf::test {
namespace {

struct FreePlan {
  void operator()(spf_plan* plan) const { spf_plan_free(plan); }
};
using PlanPtr = std::unique_ptr<spf_plan, FreePlan>;

spf_plan_info describe(const spf_plan* plan) {
  spf_plan_info info = {};
  info.struct_size = sizeof info;
  EXPECT_EQ(spf_plan_describe(plan, &info), SPF_OK);
  return info;
}

class OpCall : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_EQ(spf_launch_init(&launch, kCpu), SPF_OK);
    for (float& v : out_data) v = -7.0f;
    for (int i = 0; i < 32; ++i) x_data[i] = static_cast<float>(i % 5 - 2);
    tensors[0] = tensor(x_data, SPF_F32, {4, 8});
    tensors[1] = tensor(weight_data, SPF_F32, {8});
    tensors[2] = tensor(out_data, SPF_F32, {4, 8});
    options.struct_size = sizeof options;
  }

  spf_status call(const char* op = "rms_norm") {
    const spf_tensor* const pointers[] = {&tensors[0], &tensors[1], &tensors[2]};
    return spf_op_call(op, pointers, 3, params, param_count, nullptr, &launch);
  }

  void expect_refused(spf_status got, spf_status status, const std::string& field, const std::string& value,
                      const std::string& allowed) {
    EXPECT_STREQ(spf_status_name(got), spf_status_name(status));
    const spf_error_detail e = last_error();
    EXPECT_EQ(e.status, status);
    EXPECT_EQ(e.field, field);
    EXPECT_EQ(e.value, value);
    EXPECT_NE(std::string(e.allowed).find(allowed), std::string::npos) << e.allowed;
    for (float v : out_data) ASSERT_EQ(v, -7.0f) << "a refused call wrote";
  }

  float x_data[32] = {}, weight_data[8] = {1, 1, 1, 1, 1, 1, 1, 1}, out_data[32] = {};
  spf_tensor tensors[3] = {};
  const double* params = nullptr;
  int32_t param_count = 0;
  spf_launch launch = {};
  spf_plan_options options = {};
};

TEST_F(OpCall, RunsAndWritesTheOutput) {
  ASSERT_EQ(call(), SPF_OK);
  double sum = 0;
  for (int i = 0; i < 8; ++i) sum += static_cast<double>(out_data[i]) * out_data[i];
  EXPECT_NEAR(sum / 8, 1.0, 1e-4) << "a row's mean square is 1 after the norm";
}

TEST_F(OpCall, UnknownOpListsThem) {
  expect_refused(call("rms_nrom"), SPF_NOT_FOUND, "op", "rms_nrom", "rms_norm, fused_add_rms_norm");
  expect_refused(call(nullptr), SPF_NOT_FOUND, "op", "NULL", "rms_norm");
  expect_refused(call(""), SPF_NOT_FOUND, "op", "", "rms_norm");
}

TEST_F(OpCall, Launch) {
  const spf_tensor* const pointers[] = {&tensors[0], &tensors[1], &tensors[2]};
  expect_refused(spf_op_call("rms_norm", pointers, 3, nullptr, 0, nullptr, nullptr), SPF_INVALID_ARGUMENT, "launch",
                 "NULL", "struct");
  launch.struct_size = sizeof launch - 8;
  expect_refused(call(), SPF_ABI_MISMATCH, "launch.struct_size", std::to_string(sizeof launch - 8), "at least");
  launch.struct_size = sizeof launch;
  launch.flags = 1u << 9;
  expect_refused(call(), SPF_INVALID_ARGUMENT, "launch.flags", "512", "SPF_LAUNCH_PDL");
  launch.flags = 0;
  launch.device = {SPF_CPU, 1};
  expect_refused(call(), SPF_INVALID_DEVICE, "launch.device", "cpu:1", "cpu:0");
  launch.device = {SPF_HIP, 0};
  expect_refused(call(), SPF_INVALID_DEVICE, "launch.device.kind", "2", "SPF_CPU, SPF_CUDA");
  launch.device = kCpu;
  launch.struct_size = sizeof launch + 16; // a newer header
  // Only the known part is read, so the larger size is safe on the smaller struct here.
  EXPECT_EQ(call(), SPF_OK);
}

TEST_F(OpCall, ACudaDeviceThatIsNotHere) {
  launch.device = {SPF_CUDA, 512};
  const spf_status status = call();
  EXPECT_TRUE(status == SPF_NOT_BUILT || status == SPF_INVALID_DEVICE) << spf_status_name(status);
  EXPECT_STREQ(last_error().value, "cuda:512");
}

TEST_F(OpCall, Options) {
  launch.options = &options;
  EXPECT_EQ(call(), SPF_OK);
  std::fill(std::begin(out_data), std::end(out_data), -7.0f);
  options.struct_size = 4;
  expect_refused(call(), SPF_ABI_MISMATCH, "launch.options.struct_size", "4", "at least");
  options.struct_size = sizeof options;
  options.forbid_count = 1;
  expect_refused(call(), SPF_INVALID_ARGUMENT, "launch.options.forbid", "NULL", "forbid_count names");
  options.forbid_count = -1;
  expect_refused(call(), SPF_INVALID_ARGUMENT, "launch.options.forbid_count", "-1", "0 or more");
  const char* names[] = {"something", nullptr};
  options.forbid = names;
  options.forbid_count = 2;
  expect_refused(call(), SPF_INVALID_ARGUMENT, "launch.options.forbid[1]", "NULL", "name");
  options.forbid_count = 0;
  options.require_kernel = "no_such_kernel";
  expect_refused(call(), SPF_REQUIREMENT_UNMET, "require_kernel", "no_such_kernel", "norm/reference");
}

TEST_F(OpCall, ForbiddingEverythingIsUnmet) {
  std::vector<std::string> kernels;
  spf_kernel_info info = {};
  info.struct_size = sizeof info;
  for (int32_t i = 0; spf_op_kernel("rms_norm", i, &info) == SPF_OK; ++i) kernels.emplace_back(info.name);
  std::vector<const char*> names;
  for (const std::string& k : kernels) names.push_back(k.c_str());
  options.forbid = names.data();
  options.forbid_count = static_cast<int32_t>(names.size());
  launch.options = &options;
  expect_refused(call(), SPF_REQUIREMENT_UNMET, "forbid", kernels.front(), "leaves a kernel");
}

TEST_F(OpCall, Operands) {
  const spf_tensor* const pointers[] = {&tensors[0], &tensors[1], &tensors[2]};
  const auto with = [&](const spf_tensor* const* p, int32_t count) {
    return spf_op_call("rms_norm", p, count, nullptr, 0, nullptr, &launch);
  };
  expect_refused(with(nullptr, 3), SPF_INVALID_ARGUMENT, "operands", "NULL", "3 tensors");
  expect_refused(with(nullptr, 0), SPF_INVALID_ARGUMENT, "operand_count", "0", "3");
  expect_refused(with(pointers, -1), SPF_INVALID_ARGUMENT, "operand_count", "-1", "3");
  expect_refused(with(pointers, 2), SPF_INVALID_ARGUMENT, "operand_count", "2", "3");
}

TEST_F(OpCall, Params) {
  const double values[] = {1e-5, 0, 3};
  params = values;
  param_count = 1;
  expect_refused(call(), SPF_INVALID_ARGUMENT, "param_count", "1", "2");
  param_count = 0; // given, but not one of them counted
  expect_refused(call(), SPF_INVALID_ARGUMENT, "param_count", "0", "2");
  param_count = -4;
  expect_refused(call(), SPF_INVALID_ARGUMENT, "param_count", "-4", "2");
  param_count = 3;
  expect_refused(call(), SPF_INVALID_ARGUMENT, "param_count", "3", "2");
  const double negative[] = {-1e-5, 0};
  params = negative;
  param_count = 2;
  expect_refused(call(), SPF_INVALID_ARGUMENT, "epsilon", "-1e-05", "0 or more");
  params = nullptr;
  param_count = 2; // NULL means the defaults
  EXPECT_EQ(call(), SPF_OK);
}

TEST_F(OpCall, NoWeightIsTaken) {
  spf_packed_weight weight = {};
  weight.struct_size = sizeof weight;
  const spf_tensor* const pointers[] = {&tensors[0], &tensors[1], &tensors[2]};
  expect_refused(spf_op_call("rms_norm", pointers, 3, nullptr, 0, &weight, &launch), SPF_INVALID_ARGUMENT, "weight",
                 "given", "NULL");
}

// --- plans ---------------------------------------------------------------------------------------------------------

TEST_F(OpCall, APlanOnlyCallRunsNothing) {
  launch.flags = SPF_LAUNCH_PLAN_ONLY;
  spf_plan* raw = nullptr;
  launch.plan = &raw;
  for (spf_tensor& t : tensors) t.data = nullptr;
  ASSERT_EQ(call(), SPF_OK);
  PlanPtr plan(raw);
  ASSERT_NE(plan, nullptr);
  const spf_plan_info info = describe(plan.get());
  EXPECT_STREQ(info.op, "rms_norm");
  EXPECT_NE(std::string(info.kernel), "");
  EXPECT_STREQ(info.activation, "as given");
  EXPECT_STREQ(info.layout, "");
}

TEST_F(OpCall, ALaunchMayReportItsPlan) {
  spf_plan* raw = nullptr;
  launch.plan = &raw;
  ASSERT_EQ(call(), SPF_OK);
  PlanPtr plan(raw);
  ASSERT_NE(plan, nullptr);
  EXPECT_NE(out_data[0], -7.0f);
  const spf_plan_info info = describe(plan.get());
  // Forcing what was chosen, down to the instance, chooses it again.
  const std::string name = std::string(info.kernel) + (*info.instance ? std::string("/") + info.instance : "");
  options.require_kernel = name.c_str();
  launch.options = &options;
  spf_plan* again_raw = nullptr;
  launch.plan = &again_raw;
  ASSERT_EQ(call(), SPF_OK);
  PlanPtr again(again_raw);
  EXPECT_STREQ(describe(again.get()).kernel, info.kernel);
  EXPECT_STREQ(describe(again.get()).instance, info.instance);
}

TEST_F(OpCall, ARefusedPlanKeepsItsReasons) {
  launch.options = &options;
  options.require_kernel = "norm/reference";
  const char* forbid[] = {"reference"};
  options.forbid = forbid;
  options.forbid_count = 1;
  spf_plan* raw = nullptr;
  launch.plan = &raw;
  expect_refused(call(), SPF_REQUIREMENT_UNMET, "require_kernel", "norm/reference", "forbidden");
  PlanPtr plan(raw);
  ASSERT_NE(plan, nullptr);
  const spf_plan_info info = describe(plan.get());
  EXPECT_STREQ(info.kernel, "");
  ASSERT_GT(info.rejected_count, 0);
  bool found = false;
  for (int32_t i = 0; i < info.rejected_count; ++i) {
    spf_plan_rejection r = {};
    r.struct_size = sizeof r;
    ASSERT_EQ(spf_plan_rejected(plan.get(), i, &r), SPF_OK);
    found |= std::string(r.kernel) == "norm/reference" && std::string(r.code) == "forbidden" && *r.reason != '\0';
  }
  EXPECT_TRUE(found);
}

TEST_F(OpCall, NoStalePlanAfterBadInput) {
  spf_plan* raw = reinterpret_cast<spf_plan*>(&launch);
  launch.plan = &raw;
  tensors[0].type = SPF_E8M0;
  expect_refused(call(), SPF_INVALID_TYPE, "x.type", "e8m0", "f32, f16, bf16");
  EXPECT_EQ(raw, nullptr);
  raw = reinterpret_cast<spf_plan*>(&launch);
  expect_refused(call("nothing"), SPF_NOT_FOUND, "op", "nothing", "rms_norm");
  EXPECT_EQ(raw, nullptr);
}

TEST_F(OpCall, FactsAreForPlansOnly) {
  spf_device_facts facts = {};
  facts.struct_size = sizeof facts;
  ASSERT_EQ(spf_device_facts_by_name("cpu:avx2", &facts), SPF_OK);
  launch.facts = &facts;
  expect_refused(call(), SPF_INVALID_ARGUMENT, "launch.facts", "given", "SPF_LAUNCH_PLAN_ONLY");
  launch.flags = SPF_LAUNCH_PLAN_ONLY;
  EXPECT_EQ(call(), SPF_OK);
  facts.struct_size = 12;
  expect_refused(call(), SPF_ABI_MISMATCH, "launch.facts.struct_size", "12", "at least");
}

TEST_F(OpCall, FactsWithoutAnEndOfTheNameAreSafe) {
  spf_device_facts facts = {};
  facts.struct_size = sizeof facts;
  facts.kind = SPF_HIP; // no kernels: the refusal names the device
  std::memset(facts.name, 'x', sizeof facts.name);
  launch.facts = &facts;
  launch.flags = SPF_LAUNCH_PLAN_ONLY;
  expect_refused(call(), SPF_UNSUPPORTED, "device", std::string(sizeof facts.name, 'x'), "no kernel of this op");
}

TEST_F(OpCall, EmptyOutputsNeedNoPointer) {
  tensors[0] = tensor(nullptr, SPF_F32, {0, 8});
  tensors[2] = tensor(nullptr, SPF_F32, {0, 8});
  EXPECT_EQ(call(), SPF_OK);
}

TEST(PlanHandle, Refusals) {
  spf_plan_info info = {};
  info.struct_size = sizeof info;
  EXPECT_EQ(spf_plan_describe(nullptr, &info), SPF_INVALID_ARGUMENT);
  EXPECT_EQ(spf_plan_describe(nullptr, nullptr), SPF_INVALID_ARGUMENT);
  spf_plan_rejection rejection = {};
  rejection.struct_size = sizeof rejection;
  EXPECT_EQ(spf_plan_rejected(nullptr, 0, &rejection), SPF_INVALID_ARGUMENT);
  spf_plan_free(nullptr);
}

// --- descriptions --------------------------------------------------------------------------------------------------

TEST(Describe, EveryOpOperandAndParameter) {
  spf_op_info op = {};
  op.struct_size = sizeof op;
  int32_t count = 0;
  for (; spf_op_describe(count, &op) == SPF_OK; ++count) {
    EXPECT_NE(std::string(op.name), "");
    EXPECT_NE(std::string(op.summary), "") << op.name;
    ASSERT_GT(op.operand_count, 0) << op.name;
    bool writes = false;
    for (int32_t i = 0; i < op.operand_count; ++i) {
      spf_operand_info operand = {};
      operand.struct_size = sizeof operand;
      ASSERT_EQ(spf_op_operand(op.name, i, &operand), SPF_OK);
      EXPECT_NE(operand.types, 0u) << op.name << "." << operand.name;
      EXPECT_NE(std::string(operand.shape), "") << op.name << "." << operand.name;
      writes |= operand.role != SPF_ROLE_IN;
    }
    EXPECT_TRUE(writes) << op.name;
    for (int32_t i = 0; i < op.param_count; ++i) {
      spf_param_info param = {};
      param.struct_size = sizeof param;
      ASSERT_EQ(spf_op_param(op.name, i, &param), SPF_OK);
      EXPECT_TRUE(param.fallback >= param.min && param.fallback <= param.max) << op.name << "." << param.name;
    }
  }
  EXPECT_GE(count, 15);
  EXPECT_EQ(last_error().status, SPF_NOT_FOUND);
}

TEST(Describe, Refusals) {
  spf_op_info op = {};
  EXPECT_EQ(spf_op_describe(0, &op), SPF_ABI_MISMATCH);
  EXPECT_EQ(spf_op_describe(0, nullptr), SPF_INVALID_ARGUMENT);
  op.struct_size = sizeof op;
  EXPECT_EQ(spf_op_describe(-1, &op), SPF_NOT_FOUND);
  spf_operand_info operand = {};
  operand.struct_size = sizeof operand;
  EXPECT_EQ(spf_op_operand("silu", 2, &operand), SPF_NOT_FOUND);
  EXPECT_STREQ(last_error().allowed, "0 to 1");
  EXPECT_EQ(spf_op_operand("silu", -1, &operand), SPF_NOT_FOUND);
  EXPECT_EQ(spf_op_operand(nullptr, 0, &operand), SPF_NOT_FOUND);
  EXPECT_EQ(spf_op_operand("slu", 0, &operand), SPF_NOT_FOUND);
  spf_param_info param = {};
  param.struct_size = sizeof param;
  EXPECT_EQ(spf_op_param("silu", 0, &param), SPF_NOT_FOUND);
  EXPECT_EQ(spf_op_param("rms_norm", 0, nullptr), SPF_INVALID_ARGUMENT);
  spf_kernel_info kernel = {};
  kernel.struct_size = sizeof kernel;
  EXPECT_EQ(spf_op_kernel("silu", -1, &kernel), SPF_NOT_FOUND);
  EXPECT_EQ(spf_op_kernel(nullptr, 0, &kernel), SPF_NOT_FOUND);
  const char* name = nullptr;
  EXPECT_EQ(spf_op_kernel_instance("silu", 0, -1, &name), SPF_NOT_FOUND);
  EXPECT_EQ(spf_op_kernel_instance("silu", 0, 0, nullptr), SPF_INVALID_ARGUMENT);
}

TEST(Describe, LargerStructsOfNewerHeadersWork) {
  struct {
    spf_op_info info;
    char newer[64];
  } wide = {};
  std::memset(wide.newer, 0x5a, sizeof wide.newer);
  wide.info.struct_size = sizeof wide;
  ASSERT_EQ(spf_op_describe(0, &wide.info), SPF_OK);
  EXPECT_EQ(wide.info.struct_size, sizeof wide);
  for (char c : wide.newer) ASSERT_EQ(c, 0x5a) << "the unknown part was written";
}

// --- devices -------------------------------------------------------------------------------------------------------

spf_status facts_by_name(const char* name, spf_device_facts* facts) {
  *facts = {};
  facts->struct_size = sizeof *facts;
  return spf_device_facts_by_name(name, facts);
}

TEST(DeviceFacts, PretendDevicesByEverySpelling) {
  spf_device_facts f;
  for (const char* name : {"sm_90", "9.0", "90", "90a", "9.0a", "SM_90"}) {
    ASSERT_EQ(facts_by_name(name, &f), SPF_OK) << name;
    EXPECT_EQ(f.kind, SPF_CUDA);
    EXPECT_EQ(f.compute_capability, 90) << name;
    EXPECT_EQ(f.is_pretend, 1);
    EXPECT_GT(f.sm_count, 0);
    EXPECT_GT(f.shared_memory_per_block, 0);
  }
  for (const auto& [name, capability] : {std::pair{"t4", 75},
                                         {"a100", 80},
                                         {"a10", 86},
                                         {"orin", 87},
                                         {"l40s", 89},
                                         {"rtx4090", 89},
                                         {"h100", 90},
                                         {"h200", 90},
                                         {"b200", 100},
                                         {"b300", 103},
                                         {"thor", 110},
                                         {"rtx5090", 120},
                                         {"gb10", 121},
                                         {"H200", 90}}) {
    ASSERT_EQ(facts_by_name(name, &f), SPF_OK) << name;
    EXPECT_EQ(f.compute_capability, capability) << name;
  }
}

TEST(DeviceFacts, CpusByClassGrowInFeatures) {
  spf_device_facts f;
  uint32_t before = 0;
  for (const char* name : {"cpu:x86-64", "cpu:avx2", "cpu:avx512", "cpu:avx512_vnni", "cpu:avx512_bf16", "cpu:amx"}) {
    ASSERT_EQ(facts_by_name(name, &f), SPF_OK) << name;
    EXPECT_EQ(f.kind, SPF_CPU);
    EXPECT_EQ(f.cpu_features & before, before) << name;
    EXPECT_TRUE(f.cpu_features != before || before == 0) << name;
    EXPECT_EQ(f.is_pretend, 1);
    EXPECT_STREQ(f.name, name);
    before = f.cpu_features;
  }
}

TEST(DeviceFacts, ThisMachine) {
  spf_device_facts f;
  for (const char* name : {"cpu", "cpu:0", "CPU"}) {
    ASSERT_EQ(facts_by_name(name, &f), SPF_OK) << name;
    EXPECT_EQ(f.is_pretend, 0);
    EXPECT_GT(f.sm_count, 0);
    EXPECT_GT(f.memory_bytes, 0);
  }
  spf_device_facts probed = {};
  probed.struct_size = sizeof probed;
  ASSERT_EQ(spf_device_probe(kCpu, &probed), SPF_OK);
  EXPECT_EQ(probed.cpu_features, f.cpu_features);
}

TEST(DeviceFacts, Refusals) {
  spf_device_facts f;
  for (const char* name :
       {"", "h20000", "sm_", "sm_91x", "9.", "cuda:", "cuda:-1", "cuda:x", "cpu:1", "cpu:sse", "a", "f", ".a"}) {
    EXPECT_EQ(facts_by_name(name, &f), SPF_NOT_FOUND) << name;
    EXPECT_NE(std::string(last_error().allowed).find("h200"), std::string::npos);
  }
  EXPECT_EQ(facts_by_name(nullptr, &f), SPF_NOT_FOUND);
  EXPECT_EQ(spf_device_facts_by_name("cpu", nullptr), SPF_INVALID_ARGUMENT);
  f.struct_size = 3;
  EXPECT_EQ(spf_device_facts_by_name("cpu", &f), SPF_ABI_MISMATCH);
  f.struct_size = sizeof f;
  EXPECT_EQ(spf_device_probe({SPF_CPU, 2}, &f), SPF_INVALID_DEVICE);
  EXPECT_EQ(spf_device_probe({SPF_HIP, 0}, &f), SPF_INVALID_DEVICE);
  EXPECT_NE(spf_device_probe({SPF_CUDA, 4096}, &f), SPF_OK);
  EXPECT_NE(spf_device_probe({SPF_CUDA, -1}, &f), SPF_OK);
}

TEST(CpuThreads, SetAndRefuse) {
  const int32_t before = spf_cpu_threads();
  EXPECT_GE(before, 1);
  ASSERT_EQ(spf_cpu_set_threads(3), SPF_OK);
  EXPECT_EQ(spf_cpu_threads(), 3);
  for (int32_t bad : {0, -1, 5000}) {
    EXPECT_EQ(spf_cpu_set_threads(bad), SPF_INVALID_ARGUMENT);
    EXPECT_STREQ(last_error().field, "threads");
    EXPECT_EQ(spf_cpu_threads(), 3);
  }
  ASSERT_EQ(spf_cpu_set_threads(before), SPF_OK);
}

} // namespace
} // namespace spf::test
