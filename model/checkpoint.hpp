// A decoder's weights by their place in the model, whatever they are called in the file and however they are quantized.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "model/config.hpp"
#include "model/gguf.hpp"
#include "model/safetensors.hpp"
#include "spearfish/quant.h"

namespace spearfish::model {

// One linear layer: borrowed views of host memory, valid while the Checkpoint lives.
struct Linear {
  std::string name;                 // of the module, for messages: "model.layers.0.self_attn.q_proj", "blk.0.attn_q"
  spf_quantized_weight weight = {}; // plain weights are SPF_FORMAT_PLAIN
  spf_tensor bias = {};             // [N], type NONE if absent
  spf_tensor input_scale = {};      // static scale of the activations, type NONE if absent
  // What the checkpoint means x to be quantized to in blocks as wide as the weight's, e2m1 or e4m3; NONE: it does not.
  spf_scalar_type block_input = SPF_TYPE_NONE;
  float block_input_factor = 1; // the global scale of such NVFP4 codes
};

// Weights of one layer. Norms that the architecture lacks have type NONE.
struct DecoderLayer {
  spf_tensor attention_norm = {};      // before attention
  spf_tensor attention_post_norm = {}; // after it (Gemma)
  spf_tensor mlp_norm = {};            // before the MLP
  spf_tensor mlp_post_norm = {};       // after it (Gemma)
  spf_tensor q_norm = {}, k_norm = {}; // [head_dim]
  std::vector<Linear> qkv;             // q, k, v; or one whose rows are those of q, k and v in that order
  Linear o;
  std::vector<Linear> gate_up; // gate, up; or one with gate's rows before up's
  Linear down;
};

class Checkpoint {
 public:
  // A folder (config.json with model.safetensors or model.safetensors.index.json, or one *.gguf), a *.gguf file, or a
  // *.safetensors file with its config.json beside it. Every tensor that the architecture needs is looked up, and its
  // type and shape are compared with the config: Error names the tensor that is missing (SPF_NOT_FOUND), or that is not
  // what the config says (SPF_CORRUPT_DATA). No weight is read but GPTQ's and compressed-tensors' g_idx, NVFP4 global
  // scales (stored as divisors, handed over as factors), and 2:4 sparse weights that come with a mask of their places:
  // they are made dense, in memory of the checkpoint's.
  static Checkpoint open(const std::filesystem::path& path);

  const ModelConfig& config() const noexcept { return config_; }
  const TensorSet& tensors() const noexcept { return gguf_ ? gguf_->tensors() : set_; }
  const Gguf* gguf() const noexcept { return gguf_.get(); } // nullptr for safetensors

  const Linear& embedding() const noexcept { return embedding_; } // [vocab, hidden]; plain, or a GGUF block format
  const spf_tensor& final_norm() const noexcept { return final_norm_; }
  const Linear& lm_head() const noexcept { return lm_head_; } // the embedding if they are tied
  const std::vector<DecoderLayer>& layers() const noexcept { return layers_; }

  // Every linear layer but the embedding, in the order of use; lm_head last.
  std::vector<const Linear*> linears() const;

  // Reads every plain weight, norm, bias and scale: Error (SPF_CORRUPT_DATA) naming the tensor and the index of the
  // first value that is not finite.
  void check_finite() const;

 private:
  class Reader;
  Checkpoint() = default;

  ModelConfig config_;
  TensorSet set_;
  std::unique_ptr<Gguf> gguf_;
  std::vector<std::unique_ptr<std::byte[]>> owned_; // aligned copies, and numbers made at load
  Linear embedding_, lm_head_;
  spf_tensor final_norm_ = {};
  std::vector<DecoderLayer> layers_;
};

} // namespace spearfish::model
