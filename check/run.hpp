// One call of an op, laid out, run and read back.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "check/buffer.hpp"
#include "check/status.hpp"

namespace spf::check {

// spf_op_call, or something in its place: the drivers' own tests put an implementation there that is wrong on purpose.
using OpCall = std::function<spf_status(const char* op, const spf_tensor* const* operands, int32_t operand_count,
                                        const double* params, int32_t param_count, const spf_packed_weight* weight,
                                        const spf_launch* launch)>;

struct Session {
  Memory& memory;
  OpCall call = spf_op_call;
};

// An spf_plan, copied out.
struct PlanFacts {
  struct Rejection {
    std::string kernel, code, reason;
  };
  std::string kernel, instance, layout, activation, determinism;
  size_t workspace_bytes = 0;
  double cost_us = 0; // the plan's estimate
  std::vector<Rejection> rejected;

  bool runs() const { return !kernel.empty(); }
  std::string full_instance() const { return instance.empty() ? kernel : kernel + "/" + instance; }
};

struct Demand {
  std::string require; // kernel or kernel/instance; "" = free choice
  std::vector<std::string> forbid;
};

// Copies an spf_plan; nothing if it is NULL.
PlanFacts read_plan(const spf_plan* plan);

enum class Workspace {
  kExact,    // what the plan asks for, and then a page that faults (CPU)
  kTooSmall, // one byte less
};

struct RunOptions {
  Demand demand;
  uint8_t poison = 0xFF; // around views, in outputs and in the workspace: NaN in every floating-point type
  Workspace workspace = Workspace::kExact;
  int stream = 0;
  uint32_t flags = 0; // SPF_LAUNCH_*
};

struct Outcome {
  spf_status status = SPF_OK;
  ErrorDetail error; // of a failing status
  PlanFacts plan;
  std::vector<Codes> outputs; // by operand; empty for inputs and absent ones
  std::string damage;         // what was written that must not be; "" if nothing
};

// A problem laid out in device memory, ready to be called any number of times.
class Call {
 public:
  // Layouts by operand; an empty list means contiguous. Without inputs nothing is stored and only query() may be used.
  Call(const Session& session, const Problem& problem, const std::vector<Layout>& layouts);

  // Puts poison everywhere and the inputs where they belong.
  void fill(const std::vector<Codes>& inputs, uint8_t poison = 0xFF);
  // The inputs as the views hold them after fill(): differs from what was given where elements share memory.
  std::vector<Codes> held() const;

  // Plan only. The status goes to *status, its detail to *error. A weight is asked about first as not packed yet, then
  // in the layout that the plan names.
  PlanFacts query(const Demand& demand, spf_status* status, ErrorDetail* error = nullptr);
  // Plan only, with the weight in the layout that launch() uses when query() found no kernel.
  PlanFacts query_refused(const Demand& demand, spf_status* status, ErrorDetail* error);
  // Launches once and waits. Does not fill: call fill() first. With kExact the workspace ends where memory faults.
  Outcome launch(const RunOptions& options);
  // Enqueues once, for graphs and streams: no waiting, no reading back. prepare() has to come first.
  void prepare(const RunOptions& options);
  const PlanFacts& prepared() const { return prepared_; }
  spf_status enqueue(const RunOptions& options, void* stream);
  // Reads outputs back, and finds what was damaged since fill().
  std::vector<Codes> outputs(std::string* damage);

  const Problem& problem() const { return problem_; }
  const spf_tensor& view(size_t operand) const { return buffers_[operand].view(); }
  Buffer& buffer(size_t operand) { return buffers_[operand]; }
  // Exchanges views before a call: for operands that the drivers make wrong on purpose.
  std::vector<spf_tensor>& views() { return views_; }

 private:
  spf_status call(const Demand& demand, uint32_t flags, void* stream, const spf_packed_weight* weight, void* workspace,
                  size_t workspace_bytes, PlanFacts* plan, ErrorDetail* error);

  Session session_;
  Problem problem_;
  std::vector<Buffer> buffers_; // by operand; absent ones are empty views
  std::vector<spf_tensor> views_;
  std::vector<Codes> before_; // what inputs held after fill()
  Block workspace_;
  PlanFacts prepared_;
  const spf_packed_weight* weight_ = nullptr;
};

// Everything at once: lay out, fill, launch, read back.
Outcome run(const Session& session, const Problem& problem, const std::vector<Codes>& inputs,
            const std::vector<Layout>& layouts, const RunOptions& options);

// Whether the op takes the problem at all: its reference does.
bool is_legal(const Problem& problem);

// The meaning of a problem: its reference kernel, on the CPU, contiguous. Throws Failure if it cannot run.
std::vector<Codes> reference(const Problem& problem, const std::vector<Codes>& inputs);

} // namespace spf::check
