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
  // Of x in NVFP4: what it is quantized with, and the reciprocal that takes it out again; on the device, once loaded.
  float factor = 1;
  OptionalTensor input_factor, alpha;

  int64_t input_groups() const { return input_group == 0 ? 1 : (group.k + input_group - 1) / input_group; }
  // The format of x in blocks as wide as the weight's; NONE: it has none. NVFP4 or MXFP4 as e2m1, MXFP8 as e4m3.
  spf_format input_blocks() const {
    const spf_format format = group.scheme.format;
    if (input == SPF_E2M1 && (format == SPF_FORMAT_NVFP4 || format == SPF_FORMAT_MXFP4)) return format;
    const bool mx = format == SPF_FORMAT_MXFP4 || format == SPF_FORMAT_MXFP8;
    return input == SPF_E4M3 && mx ? SPF_FORMAT_MXFP8 : SPF_FORMAT_NONE;
  }
  // Codes and scales of `rows` rows of x, as scaled_linear() or the op of the blocks reads them.
  Tensor input_codes(std::byte* at, int64_t rows, Device device) const {
    const bool halves = input == SPF_E2M1;
    return {at, halves ? SPF_U8 : input, {rows, halves ? group.k / 2 : group.k}, device};
  }
  Tensor input_scales(std::byte* at, int64_t rows, Device device) const {
    if (input_blocks() == SPF_FORMAT_NONE) return {at, SPF_F32, {rows, input_groups()}, device};
    const int64_t blocks = group.k / group.scheme.group_k;
    return {at,
            input_blocks() == SPF_FORMAT_NVFP4 ? SPF_E4M3 : SPF_E8M0,
            {(rows + 127) / 128 * 128, (blocks + 3) / 4 * 4},
            device};
  }
  // out = x W^T + bias with x as those.
  void multiply(const Tensor& codes, const Tensor& scales, const spf_packed_weight& weight,
                const OptionalTensor& its_bias, const Tensor& out, const Launch& launch) const;
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

  std::vector<DeviceLinear*> linears();                                // in the order of use, lm_head last
  bool quantizes_inputs() const noexcept { return quantizes_inputs_; } // of any, once layouts are chosen

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
  bool quantizes_inputs_ = false;
};

} // namespace spearfish::model
