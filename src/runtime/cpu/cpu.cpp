// The CPU half of the runtime: what this processor has, and how many threads kernels use.
#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstring>
#include <string>

#include <cpuid.h>
#include <omp.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "core/status.hpp"
#include "runtime/runtime.hpp"

namespace spf::runtime {
namespace {

struct Registers {
  uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;
};

Registers cpuid(uint32_t leaf, uint32_t subleaf) {
  Registers r;
  if (__get_cpuid_count(leaf, subleaf, &r.eax, &r.ebx, &r.ecx, &r.edx) == 0) return {};
  return r;
}

bool bit(uint32_t word, int i) { return (word >> i & 1u) != 0; }

// Which register states the operating system saves; an instruction set without it must not be used.
uint64_t saved_states() {
  if (!bit(cpuid(1, 0).ecx, 27)) return 0; // OSXSAVE
  uint32_t lo, hi;
  __asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
  return static_cast<uint64_t>(hi) << 32 | lo;
}

// Linux grants the AMX tile state per process, on request.
bool request_amx() {
  constexpr long kArchReqXcompPerm = 0x1023, kXfeatureXtiledata = 18;
  return syscall(SYS_arch_prctl, kArchReqXcompPerm, kXfeatureXtiledata) == 0;
}

// Bit numbers: Intel SDM volume 2, CPUID leaves 1 and 7.
uint32_t probe_features() {
  const uint64_t states = saved_states();
  const bool ymm = (states & 0x6) == 0x6, zmm = (states & 0xe6) == 0xe6, tiles = (states & 0x60000) == 0x60000;
  const Registers l1 = cpuid(1, 0), l7 = cpuid(7, 0), l71 = cpuid(7, 1);
  uint32_t f = 0;
  if (ymm && bit(l7.ebx, 5) && bit(l1.ecx, 12) && bit(l1.ecx, 29)) f |= SPF_CPU_AVX2;
  if ((f & SPF_CPU_AVX2) != 0 && zmm && bit(l7.ebx, 16) && bit(l7.ebx, 17) && bit(l7.ebx, 30) && bit(l7.ebx, 31))
    f |= SPF_CPU_AVX512;
  if ((f & SPF_CPU_AVX512) != 0) {
    if (bit(l7.ecx, 11)) f |= SPF_CPU_AVX512_VNNI;
    if (bit(l71.eax, 5)) f |= SPF_CPU_AVX512_BF16;
    if (tiles && bit(l7.edx, 24) && request_amx()) {
      if (bit(l7.edx, 25)) f |= SPF_CPU_AMX_INT8;
      if (bit(l7.edx, 22)) f |= SPF_CPU_AMX_BF16;
    }
  }
  return f;
}

std::string probe_name() {
  char brand[49] = {};
  for (uint32_t i = 0; i < 3; ++i) {
    const Registers r = cpuid(0x80000002u + i, 0);
    std::memcpy(brand + 16 * i, &r, 16);
  }
  std::string name = brand;
  name.erase(0, name.find_first_not_of(' '));
  name.erase(name.find_last_not_of(' ') + 1);
  return name.empty() ? "cpu" : name;
}

std::atomic<int> g_threads{0};

} // namespace

const spf_device_facts& cpu_facts() {
  static const spf_device_facts probed = [] {
    spf_device_facts f = {};
    f.struct_size = sizeof f;
    f.kind = SPF_CPU;
    std::snprintf(f.name, sizeof f.name, "%s", probe_name().c_str());
    f.sm_count = omp_get_num_procs();
    const long l3 = sysconf(_SC_LEVEL3_CACHE_SIZE), l2 = sysconf(_SC_LEVEL2_CACHE_SIZE);
    f.l2_bytes = std::max({l3, l2, 0L});
    f.memory_bytes = static_cast<int64_t>(sysconf(_SC_PHYS_PAGES)) * sysconf(_SC_PAGESIZE);
    f.cpu_features = probe_features();
    return f;
  }();
  return probed;
}

int cpu_threads() {
  const int set = g_threads.load(std::memory_order_relaxed);
  return set > 0 ? set : std::max(omp_get_max_threads(), 1);
}

spf_status set_cpu_threads(int threads) {
  if (threads < 1 || threads > 4096)
    return fail(SPF_INVALID_ARGUMENT, "cpu_set_threads", "validate", "threads", std::to_string(threads), "1 to 4096");
  g_threads.store(threads, std::memory_order_relaxed);
  return SPF_OK;
}

} // namespace spf::runtime
