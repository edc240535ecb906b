// What policies are written with. Host only, pure.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "plan/table.hpp"

namespace spf::policy {

inline PolicyResult accept(int instance, double cost_us) {
  PolicyResult result;
  result.accepted = true;
  result.instance = instance;
  result.cost = cost_us;
  return result;
}

inline PolicyResult refuse(const char* code, const char* reason) {
  PolicyResult result;
  result.code = code;
  result.reason = reason;
  return result;
}

// What an instance would cost, and need: for cheapest().
inline PolicyResult offer(double cost_us, int64_t workspace_bytes) {
  PolicyResult result = accept(0, cost_us);
  result.workspace_bytes = static_cast<size_t>(workspace_bytes);
  return result;
}

// The instance that costs least, of equals the first; `none` if none fits. offer_of(row): offer(), or {} if it does not
// fit.
template <class OfferOf>
PolicyResult cheapest(std::span<const InstanceRow> instances, const PolicyResult& none, const OfferOf& offer_of) {
  PolicyResult best = none;
  for (size_t i = 0; i < instances.size(); ++i) {
    const PolicyResult found = offer_of(instances[i]);
    if (!found.accepted || (best.accepted && found.cost >= best.cost)) continue;
    best = found;
    best.instance = static_cast<int>(i);
  }
  return best;
}

// The value of an instance's axis; -1 if it has no such axis.
inline int64_t axis(const InstanceRow& instance, std::string_view name) {
  for (const AxisValue& value : instance.axes)
    if (name == value.axis) return value.number;
  return -1;
}

// The first instance whose axis has the value; -1 if none has.
inline int instance_with(std::span<const InstanceRow> instances, std::string_view name, int64_t value) {
  for (size_t i = 0; i < instances.size(); ++i)
    if (axis(instances[i], name) == value) return static_cast<int>(i);
  return -1;
}

// Microseconds of a kernel that moves `bytes` through device memory: a floor of launch and latency, then bandwidth.
// Rates are H200's, 32 GB/s a multiprocessor; other GPUs scale all kernels alike, and only the order matters.
inline double streaming_cost(const spf_device_facts& facts, double bytes) {
  const double multiprocessors = facts.sm_count > 0 ? facts.sm_count : 100;
  return 1.5 + bytes / (multiprocessors * 32e3);
}

// Bytes of one f32, f16 or bf16 element.
inline int64_t element_bytes(spf_scalar_type type) { return type == SPF_F32 ? 4 : 2; }

// CPU threads that a problem of `bytes` keeps busy: a thread is worth waking for 32 KiB or more.
inline double useful_threads(const spf_device_facts& facts, double bytes) {
  const double threads = facts.sm_count > 0 ? facts.sm_count : 1;
  const double pieces = bytes / 32768.0;
  return pieces < 1 ? 1 : pieces < threads ? pieces : threads;
}

// The one instance of a CPU kernel that walks rows of `elements` values in all, `ns` each on one thread.
inline PolicyResult cpu_rows(const spf_device_facts& facts, double elements, double ns) {
  return accept(0, 0.3 + elements * ns * 1e-3 / useful_threads(facts, elements * 4));
}

} // namespace spf::policy
