// The steps of a decoder as programs over one device's memory: what they read and write, and in which order.
#pragma once

#include <cstddef>
#include <cstdint>

#include "model/program.hpp"
#include "model/weights.hpp"

namespace spearfish::model {

// Numbers that the host hands to a step, and where the device finds them.
template <class T>
struct StepInput {
  T* host = nullptr;
  std::byte* device = nullptr;
  T& operator[](int64_t i) const { return host[static_cast<size_t>(i)]; }
};

class Decoder {
 public:
  // `weights` must outlive this object.
  Decoder(const Checkpoint& checkpoint, const RunnerOptions& options, const ModelWeights& weights);

  int64_t cache_blocks() const noexcept { return options_.batch * blocks_per_sequence_; }
  size_t cache_bytes() const;
  // Rows of logits computed at once.
  int64_t logit_rows() const noexcept { return logit_rows_; }

  // Where the activations and the cache lie; with nullptr only how much they take. Returns the activations' bytes.
  size_t lay_out(std::byte* activations, std::byte* cache);
  // The host's side of the inputs and results: host_bytes() of memory.
  size_t host_bytes() const noexcept;
  void set_host(std::byte* host);

  // --- programs ------------------------------------------------------------------------------------------------------

  // `tokens` tokens of one sequence, up to the last norm. Fill ids, positions, slots, query_offsets, lengths and
  // tables.
  Program prefill(int64_t sequence, int64_t tokens) const;
  // One token of every sequence, up to the last norm. Fill the same, entry i for sequence i.
  Program decode() const;
  // Logits of rows first .. first + count - 1 of the step before, into rows to .. of the logits; capped on the CPU
  // only, where the host can reach them: no op does it.
  Program head(int64_t first, int64_t count, int64_t to) const;
  // Draws from rows first .. first + count - 1 of the logits. Fill the sampling inputs.
  Program draw(int64_t first, int64_t count) const;

  void copy_inputs(DeviceMemory& memory) const { memory.copy_in(input_device_, input_host_, input_bytes_); }
  void copy_results(DeviceMemory& memory) const { memory.copy_out(result_host_, result_device_, result_bytes_); }
  const std::byte* logits(int64_t row) const;

  StepInput<int32_t> ids;                     // [rows]
  StepInput<int64_t> positions;               // [rows]
  StepInput<int64_t> slots;                   // [rows]; -1: not written
  StepInput<int32_t> query_offsets;           // [2]: 0, tokens
  StepInput<int32_t> lengths;                 // [batch] positions of the sequence, those of this step included
  StepInput<int32_t> tables;                  // [batch, blocks per sequence]
  StepInput<float> temperature, top_p, min_p; // [batch]
  StepInput<int32_t> top_k;                   // [batch]
  StepInput<int64_t> seeds, draw_positions;   // [batch]
  StepInput<int32_t> drawn;                   // [batch], a result
  StepInput<uint8_t> flags;                   // [batch], a result: SPF_ROW_* bits

 private:
  // Rows of one step.
  struct Rows {
    int64_t count;
    int64_t sequence; // of a prefill; -1 in a decode step
  };
  template <class Carve>
  void carve_inputs(const Carve& carve);
  template <class Carve>
  void carve_results(const Carve& carve);
  Tensor rows(std::byte* base, int64_t count, int64_t width) const;
  Tensor heads(int64_t first, int64_t count, int64_t rows) const; // of the projected q, k or v
  template <class T>
  Tensor input(const StepInput<T>& from, const Shape& shape, int64_t first = 0) const;

  Program body(const Rows& step) const;
  void project(Program& program, const std::vector<DeviceLinear>& linears, const Tensor& x, const Tensor& out) const;
  void attend(Program& program, size_t layer, const Rows& step) const;
  void feed_forward(Program& program, size_t layer, const Rows& step) const;
  // x = norm(residual + x), or the norms of the sandwich around it.
  void add_and_norm(Program& program, const OptionalTensor& post, const OptionalTensor& next, const Tensor& x,
                    const Tensor& residual, const std::string& what) const;

  const ModelConfig& config_;
  const RunnerOptions& options_;
  const ModelWeights& weights_;
  int64_t blocks_per_sequence_, rows_, logit_rows_;
  RmsNormParams norm_;

  std::byte *residual_ = nullptr, *x_ = nullptr, *qkv_ = nullptr, *attention_ = nullptr, *gate_up_ = nullptr,
            *inner_ = nullptr, *codes_ = nullptr, *code_scales_ = nullptr, *logits_ = nullptr, *cache_ = nullptr;
  std::byte *input_device_ = nullptr, *input_host_ = nullptr, *result_device_ = nullptr, *result_host_ = nullptr;
  size_t input_bytes_ = 0, result_bytes_ = 0;
};

} // namespace spearfish::model
