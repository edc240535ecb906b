// Targets and the resolver's answer: which machine code serves which GPU. Pure data and pure functions; shared by
// kernelgen, the planner, the CLI and the tests.
#pragma once

#include <compare>
#include <cstdint>
#include <span>

namespace spf::arch {

enum class Suffix : uint8_t { kNone, kFamily, kSpecific }; // 12.0, 12.0f, 12.0a

// One row of arch/arch.toml as a name: a CUDA compute capability with its suffix, a CPU ISA class, or a HIP gfx number.
struct Target {
  enum class Kind : uint8_t { kNone, kCpu, kCuda, kHip };
  Kind kind = Kind::kNone;
  int16_t major = 0, minor = 0; // CUDA: compute capability; CPU and HIP: row number in arch.toml, 0
  Suffix suffix = Suffix::kNone;
  bool ptx = false; // "+PTX": also embed PTX
  bool sass = true; // machine code; false for "90-virtual", which is PTX alone

  friend constexpr bool operator==(const Target&, const Target&) = default;
  friend constexpr auto operator<=>(const Target&,
                                    const Target&) = default; // NOLINT(modernize-use-nullptr): clang-tidy 14
};

// A CUDA toolkit release, or {0, 0} for none.
struct Version {
  int16_t major = 0, minor = 0;

  constexpr bool known() const { return major != 0 || minor != 0; }
  friend constexpr bool operator==(const Version&, const Version&) = default;
  friend constexpr auto operator<=>(const Version&, const Version&) = default; // NOLINT(modernize-use-nullptr)
};

// How a requested target is served by a kernel.
enum class Answer : uint8_t {
  kNative,     // machine code of exactly that target
  kFamily,     // 'f' code of the same major, equal or lower minor
  kCompatible, // plain machine code of the same major, lower minor
  kPtx,        // PTX that the driver compiles at load
  kExcluded,   // not served; the reason says why
};

// Plain code serves the same major from its minor up; 'f' code likewise; 'a' code its own capability only. PTX is the
// business of serves_by_ptx().
constexpr bool serves(Target code, Target device) {
  if (code.kind != device.kind) return false;
  if (code.kind != Target::Kind::kCuda) return code.major == device.major;
  if (code.suffix == Suffix::kSpecific) return code.major == device.major && code.minor == device.minor;
  return code.major == device.major && code.minor <= device.minor;
}

// PTX of a plain target serves that capability and every later one.
constexpr bool serves_by_ptx(Target code, Target device) {
  if (code.kind != Target::Kind::kCuda || device.kind != Target::Kind::kCuda) return false;
  if (!code.ptx || code.suffix != Suffix::kNone) return false;
  return code.major < device.major || (code.major == device.major && code.minor <= device.minor);
}

// A device's capability as a target: 90 -> 9.0, 121 -> 12.1.
constexpr Target cuda_target(int compute_capability) {
  return {Target::Kind::kCuda, static_cast<int16_t>(compute_capability / 10),
          static_cast<int16_t>(compute_capability % 10)};
}

// One row of arch/arch.toml.
struct ArchRow {
  Target target;                                  // plain
  const char* name;                               // "9.0", "avx512_vnni", "gfx942"
  const char* generation;                         // "hopper"; "" if it has none
  std::span<const char* const> features;          // of plain code
  std::span<const char* const> family_features;   // in 'f' and 'a' code besides
  std::span<const char* const> specific_features; // in 'a' code besides
  Version toolkit;                                // first nvcc that compiles plain code
  Version family_toolkit;                         // ... 'f' code; {0, 0}: there is none
  Version specific_toolkit;                       // ... 'a' code; {0, 0}: there is none
  int64_t shared_memory_per_block;                // bytes, opt-in maximum; 0 for the CPU
  int32_t registers_per_sm;                       // 32-bit registers; 0 for the CPU
  int32_t threads_per_sm;                         // resident at once; 0 for the CPU
  uint32_t cpu_features;                          // SPF_CPU_* bits that a CPU must have; 0 for GPUs
  std::span<const char* const> flags;             // compiler flags of a CPU row
  bool has_kernels;                               // false: a row that no kernel serves yet (HIP)
};

// A capability that users still write though no row exists, with what to tell them.
struct RetiredRow {
  Target target;
  const char* note;
};

// Headers of others that kernels may be compiled with.
struct PackageRow {
  const char* name;
  const char* note; // what adds them
};

// arch/arch.toml as data.
struct ArchTable {
  std::span<const ArchRow> rows; // CPU rows from least to most capable, then CUDA ascending, then HIP
  std::span<const RetiredRow> retired;
  Version newest_toolkit; // the newest toolkit that the rows were checked against
  std::span<const PackageRow> packages;
};

// What a manifest says about where a kernel can run.
struct KernelFacts {
  Target::Kind kind = Target::Kind::kNone;
  std::span<const char* const> needs;    // features, all of them
  std::span<const Target> targets;       // explicit list instead of features; empty: by features
  Version cuda_min;                      // {0, 0}: any toolkit
  bool ptx = false;                      // may run from PTX
  std::span<const char* const> unless;   // kernels of the same op that take a target over when they serve it
  std::span<const char* const> packages; // headers of others that it is compiled with
  std::span<const Target> apart;         // targets that its rules name: their code is never shared
};

} // namespace spf::arch
