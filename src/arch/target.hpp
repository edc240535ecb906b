// Targets and the resolver's answer: which machine code serves which GPU. Pure data and pure functions; shared by
// kernelgen, the planner, the CLI and the tests.
#pragma once

#include <cstdint>

namespace spf::arch {

enum class Suffix : uint8_t { kNone, kFamily, kSpecific }; // 12.0, 12.0f, 12.0a

// One row of arch/arch.toml as a name: a CUDA compute capability with its suffix, a CPU ISA class, or a HIP gfx number.
struct Target {
  enum class Kind : uint8_t { kNone, kCpu, kCuda, kHip };
  Kind kind = Kind::kNone;
  int16_t major = 0, minor = 0; // CUDA: compute capability; CPU and HIP: row number in arch.toml, 0
  Suffix suffix = Suffix::kNone;
  bool ptx = false;             // "+PTX": also embed PTX

  friend constexpr bool operator==(const Target&, const Target&) = default;
};

// How a requested target is served by a kernel.
enum class Answer : uint8_t {
  kNative,      // machine code of exactly that target
  kFamily,      // 'f' code of the same major, equal or lower minor
  kCompatible,  // plain machine code of the same major, lower minor
  kPtx,         // PTX that the driver compiles at load
  kExcluded,    // not served; the reason says why
};

// Plain code serves the same major from its minor up; 'f' code likewise; 'a' code its own capability only; PTX of a plain
// target serves every later one.
constexpr bool serves(Target code, Target device) {
  if (code.kind != device.kind) return false;
  if (code.kind != Target::Kind::kCuda) return code.major == device.major;
  if (code.suffix == Suffix::kSpecific) return code.major == device.major && code.minor == device.minor;
  return code.major == device.major && code.minor <= device.minor;
}

}  // namespace spf::arch
