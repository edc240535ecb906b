// Times the bench rows of the case files, beside the limits that the same run measures on the same machine.
#pragma once

#include <map>

#include "check/probe/cpu.hpp"
#include "check/report.hpp"
#include "check/run.hpp"

namespace spf::check {

// What the machine can do, measured in this run.
struct Limits {
  double copy_bytes_per_second = 0;  // CUDA: read and written bytes of the fastest of several ways to copy
  double read_bytes_per_second = 0;  // CUDA: of a kernel that only reads
  double empty_us = 0;               // CUDA: one empty kernel in a graph of many
  double tensor_per_second = 0;      // CUDA: operations of cuBLASLt's best bf16 product; 0 if it was not asked
  double tensor8_per_second = 0;     // CUDA: of its best fp8 product
  std::vector<ComputeLimit> compute; // CPU: by instruction set
};

struct PeerTime {
  double us = 0, sustained_us = 0; // as of a row
  bool timed_here = false;         // in this run, not read from a file
};

struct BenchRow {
  std::string op, name;
  std::map<std::string, std::string> types;
  std::map<std::string, int64_t> dims; // "*" is the product of the leading dimensions
  std::string weight, kernel, instance, activation;
  double us = 0;           // median
  double sustained_us = 0; // CUDA: after 0.2 s of the same work without a rest; 0 where that was not measured
  double planned_us = 0;   // the plan's estimate
  double limit_us = 0;     // the larger of bytes over bandwidth and operations over peak
  double read_bytes = 0, written_bytes = 0, operations = 0; // of one call
  std::map<std::string, PeerTime> peers;                    // by name
};

struct BenchReport {
  RunInfo info;
  Limits limits;
  std::vector<BenchRow> rows;
  std::vector<std::string> refused; // cases that nothing here runs, with the reason
  std::vector<std::string> notes;   // about the run as a whole

  nlohmann::ordered_json json() const;
};

struct BenchOptions {
  std::string kernel; // force this one; "" = the planner's choice
  bool every_kernel = false;
  bool every_instance =
      false;         // of `kernel`, or of all, that the plan thinks not far behind its best; without sustained times
  bool pdl = false;  // CUDA: programmatic dependent launch
  bool warm = false; // CUDA: every launch of a graph has the same operands, and the cache keeps them
  std::string peers; // CSV file; "" = none
  bool gemm_peers = false; // CUDA: time cuBLASLt beside the rows of linear and scaled_linear
  double seconds = 0;      // start no further case after so long; 0 = time all
};

// cases: those with bench = true are timed. On the CPU a call runs again and again on the same data, so a weight that
// fits into a cache lies there, and the limit is measured for a set of that size. On CUDA a graph of many launches
// rotates through more than 400 MB, and the last-level cache is emptied before each replay, unless options.warm; long
// replays rest in between (GraphOptions).
// `on_row` is called with the report so far once the machine's limits are known, and after every row.
BenchReport run_bench(Memory& memory, const std::vector<Case>& cases, const BenchOptions& options,
                      const ProgressCall& progress = {}, const std::function<void(const BenchReport&)>& on_row = {});

// --- the device's side, in cuda/ and no_cuda/ --------------------------------------------------------------------

Limits measure_cuda(Memory& memory);

// Of at least one value; of an even number the greater of the two in the middle.
double median(std::vector<double> values);

// The launches of a graph walk through so many bytes before one comes back, and are so many at least and at most.
constexpr int64_t kRotate = 440'000'000;
constexpr int kFewestLaunches = 16, kMostLaunches = 2000;

struct GraphOptions {
  int launches = 1;       // of a graph
  int fewest = 0;         // as few as this where `launches` of them take longer than kLongReplay; 0: always `launches`
  int repeats = 15;       // replays
  bool cold = true;       // the last-level cache is emptied before each replay
  bool rest = false;      // replays long enough to heat the device rest in between
  bool sustained = false; // and are timed without a rest as well
};

// A device gives its full clock for some milliseconds, and less under a load that lasts. So a long row has two times:
// `each`, of replays of at most kLongReplay milliseconds after a rest, which two processes or two kernels in turns can
// compare, and `sustained`, which a server under load sees.
constexpr double kLongReplay = 8.0;  // milliseconds
constexpr double kShortReplay = 1.0; // milliseconds; up to it no rest

struct GraphTimes {
  std::vector<double> each; // microseconds per launch, one number for each replay
  double sustained = 0;     // microseconds per launch; 0 unless asked for and longer than kShortReplay
};

GraphTimes time_graph(Memory& memory, const GraphOptions& options,
                      const std::function<void(int index, void* stream)>& launch);

} // namespace spf::check
