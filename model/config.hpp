// What a decoder is: one plain struct for every architecture and file format.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "model/gguf.hpp"
#include "model/quantization.hpp"

namespace spearfish::model {

enum class Architecture { kLlama, kMistral, kQwen2, kQwen3, kPhi3, kGemma2, kGemma3 };
const char* architecture_name(Architecture architecture); // "llama", ...

enum class RopeType { kDefault, kLinear, kDynamic, kYarn, kLlama3, kLongRope };
const char* rope_type_name(RopeType type);

// One set of rotation frequencies. Which fields count depends on the type; the others keep their zero.
struct RopeConfig {
  RopeType type = RopeType::kDefault;
  double theta = 10000;
  int64_t rotary_dim = 0;               // leading entries of a head that are rotated
  bool interleaved = false;             // true: pairs (2i, 2i+1) as in GPT-J; false: (i, i + rotary_dim / 2) as in NeoX
  double factor = 1;                    // linear, dynamic, yarn, llama3
  int64_t original_positions = 0;       // dynamic, yarn, llama3, longrope: length of the training before scaling
  double low_frequency_factor = 1;      // llama3
  double high_frequency_factor = 4;     // llama3
  double beta_fast = 32, beta_slow = 1; // yarn
  bool truncate = true;                 // yarn: correction bounds rounded to whole dimensions
  double attention_factor = 1;          // yarn, longrope: multiplies cos and sin
  std::vector<double> short_factors, long_factors; // longrope: rotary_dim / 2 each
};

enum class Activation { kSilu, kGeluTanh, kGelu };
enum class NormPlacement {
  kPre,     // before attention and before the MLP
  kSandwich // before and after both (Gemma)
};

struct LayerConfig {
  int64_t window = 0; // a position sees itself and window - 1 before it; 0: all before it
  int rope = 0;       // index into ModelConfig::ropes
};

struct ModelConfig {
  Architecture architecture = Architecture::kLlama;
  int64_t hidden = 0, intermediate = 0, vocab = 0, max_positions = 0;
  int64_t heads = 0, kv_heads = 0, head_dim = 0;
  std::vector<LayerConfig> layers;
  std::vector<RopeConfig> ropes;

  double norm_eps = 1e-6;
  double norm_offset = 0; // added to every norm weight: 1 for Gemma in safetensors
  NormPlacement norms = NormPlacement::kPre;
  bool qk_norm = false;                                  // RMSNorm over each head of q and k, before rotation
  bool q_bias = false, o_bias = false, mlp_bias = false; // q_bias: of q, k and v
  double attention_scale = 0;                            // multiplies q . k
  double attention_softcap = 0;                          // 0: none; else scores become cap * tanh(score / cap)
  double logit_softcap = 0;                              // 0: none
  Activation activation = Activation::kSilu;
  double embedding_scale = 1; // multiplies embeddings, rounded to the activations' type first
  bool tied_embeddings = false;

  std::vector<int64_t> bos, eos;   // token ids; empty: none
  QuantizationConfig quantization; // of safetensors checkpoints; a GGUF tensor says itself what it is
};

// config.json of a Hugging Face checkpoint. `file` is for messages. Throws Error naming the field: SPF_UNSUPPORTED for
// an architecture, activation, rope type or option that is not served, SPF_CORRUPT_DATA for a field that is missing, of
// the wrong type or out of range.
ModelConfig parse_config(std::string_view json, std::string_view file);

// config.json at `path`; generation_config.json beside it, if there, overrides bos and eos.
ModelConfig read_config(const std::filesystem::path& path);

// The same from the metadata of a GGUF file.
ModelConfig gguf_config(const Gguf& file);

// A few lines for people.
std::string describe(const ModelConfig& config);

// Refuses (SPF_CORRUPT_DATA, by field) what no decoder can be: heads not a multiple of kv_heads, an odd rotary_dim, ...
void check_config(const ModelConfig& config, std::string_view file);

} // namespace spearfish::model
