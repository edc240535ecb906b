// A decoder's weights as one device holds them: which layout each linear layer is packed into, where everything lies in
// one block of memory, and how it gets there.
#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <vector>

#include "model/device_memory.hpp"
#include "model/linear_group.hpp"
#include "model/runner.hpp"

namespace spearfish::model {

// Hands out 256-byte aligned pieces of a block. Without a block (nullptr) it only counts.
class Carver {
 public:
  explicit Carver(std::byte* base) : base_(base) {}
  std::byte* take(size_t bytes) {
    used_ = (used_ + 255) / 256 * 256;
    std::byte* piece = base_ != nullptr ? base_ + used_ : nullptr;
    used_ += bytes;
    return piece;
  }
  size_t used() const noexcept { return used_; }

 private:
  std::byte* base_;
  size_t used_ = 0;
};

// Linear layers computed by one launch.
struct DeviceLinear {
  LinearGroup group;
  std::string layout;
  size_t bytes = 0;              // packed
  spf_packed_weight packed = {}; // on the device, once loaded
  OptionalTensor bias;
  ScalarType input = SPF_TYPE_NONE; // what x is quantized to; none: read as it is
  int64_t input_group = 0;          // columns under one scale of x; 0: a whole row

  int64_t input_groups() const { return input_group == 0 ? 1 : (group.k + input_group - 1) / input_group; }
};

struct DeviceLayer {
  OptionalTensor attention_norm, attention_post_norm, mlp_norm, mlp_post_norm, q_norm, k_norm;
  std::vector<DeviceLinear> qkv, o, gate_up, down; // o and down: always one
};

class ModelWeights {
 public:
  // Groups the linear layers. The checkpoint and what options.weight gave must outlive load().
  ModelWeights(const Checkpoint& checkpoint, const RunnerOptions& options);

  // Picks each linear's input and layout: one that both steps can read, the decode step's favourite if possible. facts:
  // of another device than options.device, or nullptr. Error naming the layer if nothing serves it.
  void choose_layouts(const DeviceFacts* facts, int64_t prefill_rows);

  // Where everything lies; with nullptr only how much it takes. Returns the bytes.
  size_t lay_out(std::byte* base);
  // Packs, converts and copies, into where it was laid out.
  void load(DeviceMemory& memory);

  std::vector<DeviceLinear*> linears(); // in the order of use, lm_head last

  const OptionalTensor& embedding() const noexcept { return embedding_; }
  const std::vector<DeviceLayer>& layers() const noexcept { return layers_; }
  const OptionalTensor& final_norm() const noexcept { return final_norm_; }
  const DeviceLinear& lm_head() const noexcept { return lm_head_.front(); }
  const std::vector<OptionalTensor>& ropes() const noexcept { return ropes_; } // f32 [context, rotary_dim]

 private:
  // A piece of the block and what writes its bytes to host memory.
  struct Piece {
    std::byte* at;
    size_t bytes;
    std::function<void(std::byte* host)> fill;
  };
  void choose_layout(DeviceLinear& linear, const DeviceFacts* facts, int64_t prefill_rows) const;
  void lay_out(Carver& carver, DeviceLinear& linear);
  OptionalTensor lay_out(Carver& carver, const spf_tensor& host, ScalarType type);
  OptionalTensor lay_out_embedding(Carver& carver);
  std::vector<DeviceLinear> group(const std::vector<const Linear*>& linears) const;

  const Checkpoint& checkpoint_;
  const RunnerOptions& options_;
  OptionalTensor embedding_, final_norm_;
  std::vector<DeviceLayer> layers_;
  std::vector<DeviceLinear> lm_head_;
  std::vector<OptionalTensor> ropes_;
  std::vector<Piece> pieces_;
};

} // namespace spearfish::model
