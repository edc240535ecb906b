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
  std::vector<ComputeLimit> compute; // CPU: by instruction set
};

struct BenchRow {
  std::string op, name;
  std::map<std::string, std::string> types;
  std::map<std::string, int64_t> dims; // "*" is the product of the leading dimensions
  std::string weight, kernel, instance, activation;
  double us = 0;       // median
  double limit_us = 0; // the larger of bytes over bandwidth and operations over peak
  double read_bytes = 0, written_bytes = 0, operations = 0; // of one call
  std::map<std::string, double> peers;                      // name -> us
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
  bool pdl = false;        // CUDA: programmatic dependent launch
  bool warm = false;       // CUDA: every launch of a graph has the same operands, and the cache keeps them
  std::string peers;       // CSV file; "" = none
  bool gemm_peers = false; // CUDA: time cuBLASLt beside the rows of linear
  double seconds = 0;      // start no further case after so long; 0 = time all
};

// cases: those with bench = true are timed. On the CPU a call runs again and again on the same data, so a weight that
// fits into a cache lies there, and the limit is measured for a set of that size. On CUDA a graph of many launches
// rotates through more than 400 MB, and the last-level cache is emptied before each replay, unless options.warm.
// `on_row` is called with the report so far once the machine's limits are known, and after every row.
BenchReport run_bench(Memory& memory, const std::vector<Case>& cases, const BenchOptions& options,
                      const ProgressCall& progress = {}, const std::function<void(const BenchReport&)>& on_row = {});

// --- the device's side, in cuda/ and no_cuda/ --------------------------------------------------------------------

Limits measure_cuda(Memory& memory);

// Microseconds per launch of a graph of `count` launches, one number for each of `repeats` replays. cold: the
// last-level cache is emptied before each replay.
std::vector<double> time_graph(Memory& memory, int count, int repeats, bool cold,
                               const std::function<void(int index, void* stream)>& launch);

} // namespace spf::check
