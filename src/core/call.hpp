// One call of an op after validation: plain, printable data that a planner and a kernel read.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/schema.hpp"
#include "spearfish/device.h"
#include "spearfish/quant.h"
#include "spearfish/tensor.h"

namespace spf {

// What is asked: an op with its types and extents. No pointers but those to static data, so it is hashable and can be
// made for a device that is not here.
struct Problem {
  const OpSchema* op = nullptr;
  spf_scalar_type types[kMaxOperands] = {}; // by type variable
  int64_t symbols[kMaxSymbols] = {};        // extents by dimension symbol; 0 where only absent operands have it
  double params[kMaxParams] = {};
  uint32_t present = 0;    // bit i: operand i given
  uint32_t contiguous = 0; // bit i: operand i is C-contiguous
  uint32_t aligned16 = 0;  // bit i: base pointer and every row start on 16 bytes
  // packed_weight ops only
  spf_quant_scheme scheme = {};
  const char* layout = ""; // layout of the packed weight; "" while it is still to be chosen
  bool allow_activation_8bit = false;
  bool allow_nondeterministic = false;

  // Extent of a symbol by name; 0 if the op has no such symbol.
  int64_t extent(const char* symbol) const;
  spf_scalar_type type(const char* variable) const;
  double param(const char* name) const;
  // Facts about an operand by name; false if it is absent.
  bool has(const char* operand) const;
  bool is_contiguous(const char* operand) const;
  bool is_aligned16(const char* operand) const;
};

// A call: the problem, and where its data lies.
struct Call {
  Problem problem;
  spf_tensor operands[kMaxOperands] = {}; // valid where problem.present has the bit
  const spf_packed_weight* weight = nullptr;

  const spf_tensor* operand(const char* name) const; // nullptr if absent
  double param(const char* name) const { return problem.param(name); }
};

// Where and how a kernel runs. Nothing in it is owned.
struct LaunchContext {
  const spf_device_facts* facts = nullptr;
  void* stream = nullptr;    // cudaStream_t for CUDA, unused on the CPU
  void* workspace = nullptr; // at least Plan::workspace_bytes, aligned to 256
  size_t workspace_bytes = 0;
  uint32_t flags = 0;  // SPF_LAUNCH_*
  int32_t threads = 1; // CPU threads to use
};

} // namespace spf
