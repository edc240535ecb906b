// Devices and what is known about them.
#pragma once

#include <string>

#include "spearfish/cxx/error.hpp"
#include "spearfish/device.h"

namespace spearfish {

// A device of this machine. The default is the CPU.
struct Device : spf_device {
  constexpr Device() : spf_device{SPF_CPU, 0} {}
  constexpr Device(spf_device device) : spf_device(device) {}

  static constexpr Device cpu() { return Device(); }
  static constexpr Device cuda(int index = 0) { return Device(spf_device{SPF_CUDA, index}); }

  friend constexpr bool operator==(const Device& a, const Device& b) { return a.kind == b.kind && a.index == b.index; }
  friend constexpr bool operator!=(const Device& a, const Device& b) { return !(a == b); }
};

// What a planner may know of a device.
struct DeviceFacts : spf_device_facts {
  DeviceFacts() : spf_device_facts{} { struct_size = sizeof(spf_device_facts); }
  bool has(uint32_t cpu_feature) const { return (cpu_features & cpu_feature) != 0; } // SPF_CPU_*
};

// Facts of a device of this machine. Throws SPF_INVALID_DEVICE if it does not exist.
inline DeviceFacts facts(Device device) {
  DeviceFacts f;
  check(spf_device_probe(device, &f));
  return f;
}

// Facts by name, for a device that need not be here: "cpu:avx2", "sm_90", "h200". Throws SPF_NOT_FOUND with the list.
inline DeviceFacts facts(const std::string& name) {
  DeviceFacts f;
  check(spf_device_facts_by_name(name.c_str(), &f));
  return f;
}

inline int cuda_device_count() { return spf_cuda_device_count(); }

} // namespace spearfish
