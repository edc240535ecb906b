// C functions of device.h and version.h.
#include <algorithm>
#include <cctype>
#include <charconv>
#include <cstdio>
#include <string>
#include <string_view>

#include "build_info.hpp"
#include "core/status.hpp"
#include "plan/table.hpp"
#include "runtime/runtime.hpp"
#include "spearfish/version.h"

namespace spf::ops {
namespace {

struct CpuClass {
  const char* name;
  uint32_t features;
};

constexpr uint32_t kAvx512Classes = SPF_CPU_AVX2 | SPF_CPU_AVX512;

// Pretend CPUs, weakest first.
constexpr CpuClass kCpuClasses[] = {
    {"cpu:x86-64", 0},
    {"cpu:avx2", SPF_CPU_AVX2},
    {"cpu:avx512", kAvx512Classes},
    {"cpu:avx512_vnni", kAvx512Classes | SPF_CPU_AVX512_VNNI},
    {"cpu:avx512_bf16", kAvx512Classes | SPF_CPU_AVX512_VNNI | SPF_CPU_AVX512_BF16},
    {"cpu:amx", kAvx512Classes | SPF_CPU_AVX512_VNNI | SPF_CPU_AVX512_BF16 | SPF_CPU_AMX_INT8 | SPF_CPU_AMX_BF16},
};

std::string lower(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return out;
}

// "cuda:1" -> 1; -1 if it is not of that form.
int cuda_index(const std::string& name) {
  if (name == "cuda") return 0;
  if (name.rfind("cuda:", 0) != 0) return -1;
  const std::string digits = name.substr(5);
  if (digits.empty() || digits.size() > 4 || digits.find_first_not_of("0123456789") != std::string::npos) return -1;
  int index = -1;
  std::from_chars(digits.data(), digits.data() + digits.size(), index);
  return index;
}

// A target name ("sm_90", "9.0a", "90") stands for its representative device in arch.toml.
const DeviceRow* find_device(const std::string& name) {
  for (const DeviceRow& row : kManifest.devices)
    if (name == row.name) return &row;
  std::string digits;
  const std::string bare = name.rfind("sm_", 0) == 0 ? name.substr(3) : name;
  for (char c : bare)
    if (c != '.') digits += c;
  if (!digits.empty() && (digits.back() == 'a' || digits.back() == 'f')) digits.pop_back();
  if (digits.empty() || digits.find_first_not_of("0123456789") != std::string::npos) return nullptr;
  for (const DeviceRow& row : kManifest.devices)
    if (digits == std::to_string(row.target.major * 10 + row.target.minor)) return &row;
  return nullptr;
}

// A server of that class, the same on every machine: plans for it must not depend on where they are made.
spf_device_facts pretend(const CpuClass& row) {
  spf_device_facts f = {};
  f.struct_size = sizeof f;
  f.kind = SPF_CPU;
  std::snprintf(f.name, sizeof f.name, "%s", row.name);
  f.sm_count = 16;
  f.l2_bytes = int64_t{32} << 20;
  f.memory_bytes = int64_t{64} << 30;
  f.cpu_features = row.features;
  f.is_pretend = 1;
  return f;
}

spf_device_facts pretend(const DeviceRow& row) {
  spf_device_facts f = {};
  f.struct_size = sizeof f;
  f.kind = SPF_CUDA;
  std::snprintf(f.name, sizeof f.name, "%s", row.name);
  f.compute_capability = row.target.major * 10 + row.target.minor;
  f.sm_count = row.sm_count;
  f.shared_memory_per_block = row.shared_memory_per_block;
  f.l2_bytes = row.l2_bytes;
  f.memory_bytes = row.memory_bytes;
  f.is_pretend = 1;
  return f;
}

std::string known_names() {
  std::string out = "cpu, cuda:N";
  for (const CpuClass& c : kCpuClasses) out += std::string(", ") + c.name;
  for (const DeviceRow& row : kManifest.devices) out += std::string(", ") + row.name;
  return out + ", or a target such as sm_90";
}

} // namespace
} // namespace spf::ops

using namespace spf;
using namespace spf::ops;

extern "C" {

spf_status spf_device_probe(spf_device device, spf_device_facts* facts) {
  return guarded("device_probe", [&]() -> spf_status {
    if (spf_status s = check_struct_size(facts, sizeof(spf_device_facts), "device_probe", "facts"); s != SPF_OK)
      return s;
    if (device.kind == SPF_CPU && device.index == 0) {
      *facts = runtime::cpu_facts();
      return SPF_OK;
    }
    if (device.kind == SPF_CUDA) {
      const spf_device_facts* found = nullptr;
      if (spf_status s = runtime::cuda_facts(device.index, &found); s != SPF_OK) return s;
      *facts = *found;
      return SPF_OK;
    }
    return fail(SPF_INVALID_DEVICE, "device_probe", "validate", "device",
                std::to_string(device.kind) + ":" + std::to_string(device.index), "cpu:0 or cuda:N");
  });
}

spf_status spf_device_facts_by_name(const char* name, spf_device_facts* facts) {
  return guarded("device_facts_by_name", [&]() -> spf_status {
    if (spf_status s = check_struct_size(facts, sizeof(spf_device_facts), "device_facts_by_name", "facts"); s != SPF_OK)
      return s;
    const std::string wanted = lower(name ? name : "");
    if (wanted == "cpu" || wanted == "cpu:0") return spf_device_probe({SPF_CPU, 0}, facts);
    if (const int index = cuda_index(wanted); index >= 0) return spf_device_probe({SPF_CUDA, index}, facts);
    for (const CpuClass& c : kCpuClasses) {
      if (wanted != c.name) continue;
      *facts = pretend(c);
      return SPF_OK;
    }
    if (const DeviceRow* row = find_device(wanted)) {
      *facts = pretend(*row);
      return SPF_OK;
    }
    return fail(SPF_NOT_FOUND, "device_facts_by_name", "validate", "name", name ? name : "NULL", known_names());
  });
}

int32_t spf_cuda_device_count(void) { return runtime::cuda_device_count(); }

int32_t spf_cpu_threads(void) { return runtime::cpu_threads(); }

spf_status spf_cpu_set_threads(int32_t threads) {
  return guarded("cpu_set_threads", [&] { return runtime::set_cpu_threads(threads); });
}

int32_t spf_version(void) { return 10000 * SPF_VERSION_MAJOR + 100 * SPF_VERSION_MINOR + SPF_VERSION_PATCH; }

const char* spf_version_string(void) {
  static const std::string text =
      std::string("spearfish " SPF_VERSION " (" SPF_COMMIT "; " SPF_CXX_COMPILER "; toolkit ") +
      (*SPF_TOOLKIT ? SPF_TOOLKIT : "none") + "; targets " + (*kManifest.targets ? kManifest.targets : "none") +
      "; " SPF_OPTIONS ")";
  return text.c_str();
}

const char* spf_built_targets(void) { return kManifest.targets; }
const char* spf_built_toolkit(void) { return kManifest.toolkit; }
int32_t spf_cuda_driver_version(void) { return runtime::cuda_versions().driver; }
const char* spf_cuda_absence(void) { return runtime::cuda_absence(); }
}
