// The dispatch table: what kernelgen writes, and what the planner, the CLI and the tests read. Plain constant data, one
// explicit table, no registration at start-up.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "arch/target.hpp"
#include "core/call.hpp"
#include "core/schema.hpp"

namespace spf {

enum class Determinism : uint8_t {
  kRowInvariant, // a row's bits depend on that row only: the same alone, in a batch, at any position
  kRunToRun,     // same call, same bits
  kNone,         // atomics: only on request
};

// What a kernel turns activations into before it multiplies.
enum class Activation : uint8_t {
  kAsGiven,
  kSplitBf16,   // one or two bf16 terms: exact for f16 and bf16, 16 bits of f32
  kFixedS16,    // 16-bit fixed point, a step for each run of up to 128 columns of a row
  kQuantizedS8, // 8-bit codes, steps likewise; only where the problem allows it
};

// One value of one axis, e.g. {"T", "bf16"} or {"tile_m", "16", 16}.
struct AxisValue {
  const char* axis;
  const char* text;
  int64_t number; // integer value; spf_scalar_type for type axes; 0/1 for booleans
};

// How a target of this build is served by an instance.
struct TargetCoverage {
  arch::Target target; // the requested target
  arch::Answer answer; // native, family, compatible, ptx or excluded
  arch::Target code;   // the target whose machine code or PTX serves it; unset if excluded
  const char* reason;  // why excluded; "" otherwise
};

using LaunchFn = spf_status (*)(const Call&, const LaunchContext&);

struct InstanceRow {
  const char* name; // "T=bf16,vec=8"; "" for a kernel without axes
  std::span<const AxisValue> axes;
  LaunchFn launch;                    // nullptr if not in this build
  std::span<const arch::Target> only; // code targets that it exists for; empty: all of the kernel's
};

// What a policy says of (problem, device): a refusal, or the instance to run with its cost.
struct PolicyResult {
  bool accepted = false;
  int instance = -1;
  double cost = 0; // estimated microseconds; lower wins, ties go to manifest order
  size_t workspace_bytes = 0;
  const char* layout = nullptr; // of the weight, where the kernel reads several; nullptr: the first that it names
  const char* code = "";        // refusal: "shape", "type", "feature", "layout", ...
  const char* reason = "";      // refusal: one clause, static text
};

using PolicyFn = PolicyResult (*)(const Problem&, const spf_device_facts&, std::span<const InstanceRow>);

// The policy of a kernel that names none: takes everything, and only when nothing else does.
inline PolicyResult serve_anything(const Problem&, const spf_device_facts&, std::span<const InstanceRow>) {
  PolicyResult result;
  result.accepted = true;
  result.instance = 0;
  result.cost = 1e12;
  return result;
}

struct KernelRow {
  const char* family;
  const char* op;
  const char* name;       // "sm75_rows"
  const char* file;       // source, relative to the family's folder
  spf_device_kind device; // SPF_CPU, SPF_CUDA, SPF_HIP
  bool is_reference;
  bool required;                      // every requested target of its device kind must be covered
  std::span<const char* const> needs; // features
  std::span<const char* const> layouts;
  Determinism determinism;
  Activation activation;
  bool rounds_weights; // multiplies by scaled weights that were rounded to the activations' 16-bit type
  PolicyFn policy;
  std::span<const InstanceRow> instances;
  std::span<const TargetCoverage> coverage; // for the targets this build was asked for
  std::span<const TargetCoverage>
      potential; // for every target of arch.toml with the newest toolkit: plans on pretend devices
  std::span<const char* const> tested; // where conformance passed on hardware: device names
  std::span<const char* const> tuned;  // where the policy was measured
  arch::KernelFacts facts;             // what the resolver decides from, so that it can decide anew
  uint32_t cpu_features;               // SPF_CPU_* bits that its code may use; 0 for GPU kernels
};

// A GPU that one may plan for without having it: a [[device]] row of arch.toml. The first row of a target stands for
// it.
struct DeviceRow {
  const char* name; // "h200", lower case
  arch::Target target;
  int sm_count;
  int64_t shared_memory_per_block; // bytes, opt-in maximum
  int64_t l2_bytes;
  int64_t memory_bytes;
};

struct ManifestTable {
  std::span<const OpSchema> ops;
  std::span<const KernelRow> kernels; // manifest order: best first, reference last within an op
  std::span<const DeviceRow> devices;
  const char* targets;                       // canonical requested list, e.g. "9.0a"
  const char* toolkit;                       // "13.0", "" without CUDA
  arch::ArchTable arch;                      // the hardware table
  std::span<const arch::PackageRow> missing; // packages that this build did not find
  bool share_code = false;                   // arch::Toolchain
};

// What serves a device of this capability, machine code before PTX; nullptr if nothing does.
inline const TargetCoverage* find_coverage(std::span<const TargetCoverage> coverage, arch::Target device) {
  const TargetCoverage* ptx = nullptr;
  for (const TargetCoverage& row : coverage) {
    if (row.answer == arch::Answer::kExcluded) continue;
    if (row.code.sass && arch::serves(row.code, device)) return &row;
    if (arch::serves_by_ptx(row.code, device)) ptx = &row;
  }
  return ptx;
}

// Whether an instance exists in code of this capability, whatever its suffix.
inline bool instance_exists(const InstanceRow& instance, arch::Target code) {
  if (instance.only.empty()) return true;
  for (const arch::Target& t : instance.only)
    if (t.kind == code.kind && t.major == code.major && t.minor == code.minor) return true;
  return false;
}

// Written by kernelgen into the build folder.
extern const ManifestTable kManifest;

} // namespace spf
