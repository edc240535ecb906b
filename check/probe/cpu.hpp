// What this machine's memory and arithmetic units can do, measured: the limits that reports compare kernels with.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace spf::check {

// Bytes per second at which `threads` threads read `bytes` of memory over and over, each its own part: the best of
// the passes that fit into 60 ms. The set may lie in a cache: ask with the bytes that a kernel streams, and the answer
// is the limit of that kernel.
double measure_read_bandwidth(size_t bytes, int threads);

// `bytes` rounded down to one of sixteen sizes per power of two, 4 KiB to 256 MiB: sets as large as these read alike.
// Down, because a set that just fits a cache must not be held against one that does not.
size_t working_set(size_t bytes);

// One kind of multiply-accumulate that this CPU has.
struct ComputeLimit {
  std::string name;  // "f32 avx512", "bf16 avx512", "s16 vnni", "s8 vnni", "bf16 amx", "s8 amx", "s16 avx2", ...
  double per_second; // operations per second, a multiply-accumulate counted as 2
};

// The arithmetic peaks of `threads` threads: registers only, nothing is loaded. cpu_features: SPF_CPU_* bits; what they
// do not have is not run. The first entry is f32 and is always there. Takes about 60 ms an entry.
std::vector<ComputeLimit> measure_compute(uint32_t cpu_features, int threads);

// What a kernel is held against: the fastest of all if the plan says that it makes activations "s8 ...", else the
// fastest of those that multiply 16 bits or more. limits: as measure_compute returned them.
const ComputeLimit& best_for(const std::vector<ComputeLimit>& limits, std::string_view activation);

} // namespace spf::check
