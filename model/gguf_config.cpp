// GGUF metadata -> ModelConfig. What the metadata leave out is what the format's writers take for granted per
// architecture.
#include <algorithm>
#include <cmath>

#include "model/config.hpp"

namespace spearfish::model {
namespace {

constexpr int64_t kMaxExtent = 1 << 24, kMaxLayers = 4096, kMaxPositions = int64_t{1} << 40;

// Keys of one architecture: "llama.block_count", ...
class Keys {
 public:
  Keys(const Gguf& file, std::string prefix) : file_(file), prefix_(std::move(prefix) + ".") {}
  std::string full(std::string_view key) const { return prefix_ + std::string(key); }
  bool has(std::string_view key) const { return file_.has(full(key)); }
  int64_t integer(std::string_view key, int64_t hi) const { return file_.integer(full(key), 1, hi); }
  int64_t integer(std::string_view key, int64_t hi, int64_t fallback) const {
    return file_.integer(full(key), 0, hi, fallback);
  }
  double number(std::string_view key, double fallback) const { return file_.number(full(key), fallback); }
  double number(std::string_view key) const { return file_.number(full(key)); }
  std::string string(std::string_view key, std::string_view fallback) const {
    return file_.string(full(key), fallback);
  }
  const Gguf& file() const { return file_; }

 private:
  const Gguf& file_;
  std::string prefix_;
};

std::vector<double> factors_of(const Gguf& file, std::string_view tensor, int64_t count) {
  const TensorEntry* entry = file.tensors().find(tensor);
  if (entry == nullptr) throw Error(SPF_NOT_FOUND, file.name(), tensor, "missing", "a tensor of rotation factors");
  if (entry->dtype != Dtype::kF32 || entry->elements() != count)
    throw Error(SPF_CORRUPT_DATA, file.name(), tensor,
                std::string(dtype_info(entry->dtype).name) + " " + entry->shape_text(),
                "f32 [" + std::to_string(count) + "]");
  const auto* values =
      reinterpret_cast<const float*>(entry->bytes.data()); // the format aligns tensors to 8 bytes and more
  std::vector<double> factors(values, values + count);
  for (const double f : factors)
    if (!(f > 0)) throw Error(SPF_CORRUPT_DATA, file.name(), tensor, std::to_string(f), "numbers above 0");
  return factors;
}

void read_rope(const Keys& keys, ModelConfig& model, RopeConfig& rope) {
  rope.theta = keys.number("rope.freq_base", 10000);
  rope.rotary_dim = keys.integer("rope.dimension_count", 4096, model.head_dim);
  // Writers of "llama" files reorder q and k so that pairs lie side by side.
  rope.interleaved = model.architecture == Architecture::kLlama;
  rope.original_positions = keys.integer("rope.scaling.original_context_length", kMaxPositions, model.max_positions);
  rope.factor = keys.number("rope.scaling.factor", 1);
  const Gguf& file = keys.file();
  if (file.tensors().find("rope_factors_long.weight") != nullptr) {
    rope.type = RopeType::kLongRope;
    rope.long_factors = factors_of(file, "rope_factors_long.weight", rope.rotary_dim / 2);
    rope.short_factors = factors_of(file, "rope_factors_short.weight", rope.rotary_dim / 2);
    rope.attention_factor = keys.number("rope.scaling.attn_factor", 1);
    return;
  }
  if (file.tensors().find("rope_freqs.weight") != nullptr) { // llama3's factors, written out: the same at any length
    rope.type = RopeType::kLongRope;
    rope.long_factors = rope.short_factors = factors_of(file, "rope_freqs.weight", rope.rotary_dim / 2);
    return;
  }
  const std::string type = keys.string("rope.scaling.type", keys.has("rope.scaling.factor") ? "linear" : "none");
  if (type == "none" || (type == "linear" && rope.factor == 1)) {
    rope.factor = 1;
  } else if (type == "linear") {
    rope.type = RopeType::kLinear;
  } else if (type == "yarn") {
    rope.type = RopeType::kYarn;
    rope.beta_fast = keys.number("rope.scaling.yarn_beta_fast", 32);
    rope.beta_slow = keys.number("rope.scaling.yarn_beta_slow", 1);
    rope.attention_factor =
        keys.number("rope.scaling.attn_factor", 1) * (rope.factor <= 1 ? 1 : 0.1 * std::log(rope.factor) + 1);
  } else {
    throw Error(SPF_UNSUPPORTED, file.name(), keys.full("rope.scaling.type"), type, "none, linear, yarn, longrope");
  }
  if (!(rope.factor > 0))
    throw Error(SPF_CORRUPT_DATA, file.name(), keys.full("rope.scaling.factor"), std::to_string(rope.factor),
                "a number above 0");
}

bool slides(Architecture a, int64_t layer) {
  if (a == Architecture::kGemma2) return layer % 2 == 0;
  if (a == Architecture::kGemma3) return (layer + 1) % 6 != 0;
  return true;
}

int64_t vocabulary(const Keys& keys) {
  if (const GgufArray* tokens = keys.file().array("tokenizer.ggml.tokens"); tokens != nullptr && tokens->count > 0)
    return static_cast<int64_t>(tokens->count);
  return keys.integer("vocab_size", kMaxExtent);
}

} // namespace

ModelConfig gguf_config(const Gguf& file) {
  const std::string name = file.string("general.architecture");
  ModelConfig model;
  bool known = false;
  for (const Architecture a : {Architecture::kLlama, Architecture::kQwen2, Architecture::kQwen3, Architecture::kPhi3,
                               Architecture::kGemma2, Architecture::kGemma3}) {
    if (name != architecture_name(a)) continue;
    model.architecture = a;
    known = true;
  }
  if (!known)
    throw Error(SPF_UNSUPPORTED, file.name(), "general.architecture", name,
                "llama, qwen2, qwen3, phi3, gemma2, gemma3");
  const Architecture a = model.architecture;
  const Keys keys(file, name);
  model.hidden = keys.integer("embedding_length", kMaxExtent);
  model.intermediate = keys.integer("feed_forward_length", kMaxExtent);
  model.heads = keys.integer("attention.head_count", kMaxExtent);
  model.kv_heads = keys.integer("attention.head_count_kv", kMaxExtent, model.heads);
  model.head_dim = keys.integer("attention.key_length", 4096, model.hidden / model.heads);
  const int64_t value_dim = keys.integer("attention.value_length", 4096, model.head_dim);
  if (value_dim != model.head_dim)
    throw Error(SPF_UNSUPPORTED, file.name(), keys.full("attention.value_length"), std::to_string(value_dim),
                "attention.key_length, " + std::to_string(model.head_dim));
  model.max_positions = keys.integer("context_length", kMaxPositions);
  model.layers.resize(static_cast<size_t>(keys.integer("block_count", kMaxLayers)));
  if (keys.integer("expert_count", kMaxExtent, 0) > 0)
    throw Error(SPF_UNSUPPORTED, file.name(), keys.full("expert_count"),
                std::to_string(keys.integer("expert_count", kMaxExtent, 0)), "0: dense decoders, without experts");
  model.vocab = vocabulary(keys);
  model.norm_eps = keys.number("attention.layer_norm_rms_epsilon");
  if (model.kv_heads < 1)
    throw Error(SPF_CORRUPT_DATA, file.name(), keys.full("attention.head_count_kv"), "0", "1 and more");

  const bool gemma = a == Architecture::kGemma2 || a == Architecture::kGemma3;
  const auto has = [&](const char* tensor) { return file.tensors().find(tensor) != nullptr; };
  model.q_bias = has("blk.0.attn_q.bias") || has("blk.0.attn_qkv.bias");
  model.o_bias = has("blk.0.attn_output.bias");
  model.mlp_bias = has("blk.0.ffn_up.bias");
  model.qk_norm = a == Architecture::kQwen3 || a == Architecture::kGemma3;
  model.tied_embeddings = !has("output.weight");
  model.activation = gemma ? Activation::kGeluTanh : Activation::kSilu;
  model.attention_scale = 1 / std::sqrt(static_cast<double>(model.head_dim));
  if (gemma) {
    model.norms = NormPlacement::kSandwich; // and the 1 of its norms is in the weights already
    model.embedding_scale = std::sqrt(static_cast<double>(model.hidden));
    // The 27B models, which are known by their layers, scale by the model's width per head instead.
    const size_t wide = a == Architecture::kGemma2 ? 46 : 62;
    if (model.layers.size() == wide)
      model.attention_scale = 1 / std::sqrt(static_cast<double>(model.hidden) / static_cast<double>(model.heads));
  }
  if (a == Architecture::kGemma2) {
    model.attention_softcap = keys.number("attn_logit_softcapping", 50);
    model.logit_softcap = keys.number("final_logit_softcapping", 30);
  }
  const int64_t window = keys.integer("attention.sliding_window", kMaxPositions, a == Architecture::kGemma2 ? 4096 : 0);
  for (size_t i = 0; i < model.layers.size(); ++i) {
    if (!slides(a, static_cast<int64_t>(i))) continue;
    model.layers[i].window = window;
    model.layers[i].rope = a == Architecture::kGemma3 ? 1 : 0;
  }
  model.ropes.resize(1);
  read_rope(keys, model, model.ropes[0]);
  if (a == Architecture::kGemma3) {
    RopeConfig local;
    local.rotary_dim = model.head_dim;
    local.theta = keys.number("rope.freq_base_swa", 10000);
    model.ropes.push_back(local);
  }
  for (const auto& [key, ids] :
       {std::pair("tokenizer.ggml.bos_token_id", &model.bos), std::pair("tokenizer.ggml.eos_token_id", &model.eos)})
    if (file.has(key)) ids->push_back(file.integer(key, 0, INT32_MAX));
  check_config(model, file.name());
  return model;
}

} // namespace spearfish::model
