// A decoder that runs: weights packed for a device, a paged key/value cache, prefill and decode steps. Everything is
// computed by the library's ops through its public interface, on the CPU and on CUDA by the same code.
//
//   const Checkpoint checkpoint = Checkpoint::open("models/sample");
//   Runner runner(checkpoint, {});
//   int32_t next = runner.prefill(0, prompt);
//   for (...) next = runner.step({&next, 1})[0];
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "model/checkpoint.hpp"
#include "spearfish/spearfish.hpp"

namespace spearfish::model {

// Sees what the linear layers of a prefill read; the CPU only.
class LinearObserver {
 public:
  virtual ~LinearObserver() = default;
  // x: [tokens, K] host rows of RunnerOptions::activation, the last dimension contiguous; valid during the call.
  // Called once for every linear of the checkpoint in the order of use, before the layer is computed, for each part of
  // a prompt (at most RunnerOptions::step_tokens tokens); layers that read the same rows (q, k and v) get the same x.
  virtual void observe(const Linear& linear, const Tensor& x) = 0;
};

// The weight to run instead of the checkpoint's own, or nullptr for its own. The views must live until the Runner is
// made: packing copies them. Asked for every linear but a tied lm_head's embedding.
using WeightChoice = std::function<const spf_quantized_weight*(const Linear&)>;

struct RunnerOptions {
  Device device;                    // the CPU, or one GPU
  ScalarType activation = SPF_BF16; // of everything between embedding and logits, and of the cache: bf16, f16 or f32
  int64_t batch = 1;                // sequences at once
  int64_t context = 0;              // positions of a sequence; 0: what the model was trained for
  int64_t step_tokens = 512;        // tokens of a prefill step; longer prompts take several
  int64_t block_size = 16;          // positions of a page of the cache
  size_t memory_limit = 0;          // bytes; 0: what the device has
  bool allow_activation_8bit = false;
  // What linear layers read is quantized to it where a kernel of the device multiplies the weight so; the others, and
  // the head, read activations as they are. e4m3 or s8: a scale a token (128 columns for weights in blocks of 128), by
  // scaled_linear(). e2m1 with NVFP4 and MXFP4 weights, e4m3 with MXFP4 and MXFP8 ones: in such blocks, by
  // nvfp4_linear() and its like. SPF_TYPE_NONE: what the checkpoint says, if that is blocks.
  ScalarType linear_input = SPF_TYPE_NONE;
  WeightChoice weight;
  LinearObserver* observer = nullptr;
};

// How the next token is drawn from the logits. temperature 0: the likeliest, the lowest id of equal ones.
struct SamplingOptions {
  double temperature = 0;
  int32_t top_k = 0; // 0: all
  double top_p = 1;  // 1: all
  double min_p = 0;  // 0: all
  uint64_t seed = 0; // a draw depends on seed and position only
};

// One linear layer as it runs, or as it would on a device that need not be here.
struct LinearPlan {
  std::vector<std::string> names; // of the checkpoint's linears: several where they are computed at once
  std::string format;             // "bf16", "int4-g128", "q4_k"
  std::string input;              // what x is quantized to: "e4m3", "s8", "nvfp4"; "": read as it is
  int64_t n = 0, k = 0;
  std::string layout;
  size_t packed_bytes = 0;
  std::string decode_kernel, decode_instance;   // for `batch` rows
  std::string prefill_kernel, prefill_instance; // for `step_tokens` rows
};

// Bytes of the device that a runner takes, known before anything is allocated.
struct MemoryNeed {
  size_t weights = 0, cache = 0, activations = 0, workspace = 0;
  size_t total() const noexcept { return weights + cache + activations + workspace; }
  std::string text() const; // "12.0 MiB: weights 10.1 MiB, cache 1.8 MiB, ..."
};

struct ModelPlan {
  std::vector<LinearPlan> linears; // in the order of use
  MemoryNeed memory;
  int64_t context = 0;
};

// What a Runner of these options would take and run. facts: plan for this device instead of options.device. Error as
// of Runner, but never SPF_OUT_OF_MEMORY.
ModelPlan plan_model(const Checkpoint& checkpoint, const RunnerOptions& options, const DeviceFacts* facts = nullptr);

// Not copyable, not thread-safe. Keeps nothing of the checkpoint but views of plain host memory on the CPU: the
// checkpoint must outlive it.
class Runner {
 public:
  // Plans, states the memory needed, packs and copies. Error: SPF_OUT_OF_MEMORY with the bytes needed, by purpose, if
  // they exceed the limit; SPF_INVALID_ARGUMENT for an option out of range; SPF_UNSUPPORTED or SPF_NOT_BUILT naming the
  // layer that no kernel of the device serves.
  Runner(const Checkpoint& checkpoint, const RunnerOptions& options);
  ~Runner();
  Runner(Runner&&) noexcept;

  const ModelPlan& plan() const noexcept;
  int64_t vocab() const noexcept;
  int64_t length(int64_t sequence) const; // positions so far

  // Forgets a sequence.
  void clear(int64_t sequence);
  // How tokens of a sequence are drawn from here on. Error (SPF_UNSUPPORTED) for a temperature above 0 on a GPU if the
  // model caps its logits (Gemma-2).
  void set_sampling(int64_t sequence, const SamplingOptions& options);

  // Appends tokens to a sequence and draws the one after them. Error: SPF_INVALID_ARGUMENT for no tokens, an id outside
  // the vocabulary, or more positions than the context; SPF_CORRUPT_DATA if the logits are not finite.
  int32_t prefill(int64_t sequence, std::span<const int32_t> tokens);

  // Appends one token to each sequence, tokens[i] to sequence i, and draws the next; a negative token leaves its
  // sequence alone (and gives -1). The result is valid until the next call. Errors as of prefill(). Allocates nothing.
  std::span<const int32_t> step(std::span<const int32_t> tokens);

  // The logits from which a sequence's last token was drawn.
  std::vector<float> logits(int64_t sequence) const;

  // The logits after each of `tokens`, f32 [tokens, vocab], for a sequence 0 that is cleared before and after. `first`:
  // the first whose logits are wanted; `visit` gets them row by row, in order.
  void evaluate(std::span<const int32_t> tokens, int64_t first,
                const std::function<void(int64_t at, std::span<const float> logits)>& visit);

  // Device memory held now and at most.
  size_t memory() const noexcept;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

} // namespace spearfish::model
