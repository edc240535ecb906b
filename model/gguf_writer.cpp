// GGUF checkpoints: names, order of rows and metadata as llama.cpp's readers expect them.
#include <cmath>
#include <cstring>
#include <numbers>

#include "model/checkpoint_writer.hpp"
#include "model/gguf_tokenizer.hpp"

namespace spearfish::model {
namespace {

namespace fs = std::filesystem;

constexpr uint32_t kQuantizationVersion = 2; // of the block formats

// The formats that can be asked for: the number that general.file_type has for a file of them, and what stands in for
// them where K is not whole blocks of 256.
struct BlockChoice {
  const char* name;
  Dtype dtype;
  uint32_t file_type;
  Dtype narrow; // blocks of 32
};
constexpr BlockChoice kChoices[] = {{"q4_0", Dtype::kQ4_0, 2, Dtype::kQ4_0},  {"q4_1", Dtype::kQ4_1, 3, Dtype::kQ4_1},
                                    {"q5_0", Dtype::kQ5_0, 8, Dtype::kQ5_0},  {"q5_1", Dtype::kQ5_1, 9, Dtype::kQ5_1},
                                    {"q8_0", Dtype::kQ8_0, 7, Dtype::kQ8_0},  {"q2_k", Dtype::kQ2_K, 10, Dtype::kQ5_0},
                                    {"q3_k", Dtype::kQ3_K, 11, Dtype::kQ5_0}, {"q4_k", Dtype::kQ4_K, 14, Dtype::kQ5_0},
                                    {"q5_k", Dtype::kQ5_K, 16, Dtype::kQ5_1}, {"q6_k", Dtype::kQ6_K, 18, Dtype::kQ8_0}};

const BlockChoice& choice_of(const std::string& format, const std::string& file) {
  std::string known;
  for (const BlockChoice& c : kChoices) {
    if (format == c.name) return c;
    known += (known.empty() ? "" : ", ") + std::string(c.name);
  }
  throw Error(SPF_UNSUPPORTED, file, "format to write", format, known);
}

// A tensor of the file and where its values come from.
struct Part {
  TensorSpec spec;
  const Linear* linear = nullptr; // quantized; else values
  std::vector<int64_t> rows;      // of a linear: row i of the file is row rows[i] of the source; empty: as they are
  std::vector<float> values;      // f32
  const void* norm = nullptr;     // whose values may be replaced
};

class GgufCheckpointWriter final : public CheckpointWriter {
 public:
  GgufCheckpointWriter(const Checkpoint& source, fs::path source_folder, const std::string& format, fs::path folder)
      : source_(source),
        model_(source.config()),
        source_folder_(std::move(source_folder)),
        folder_(std::move(folder)),
        file_name_(source.tensors().name()),
        choice_(choice_of(format, file_name_)) {
    if (source.gguf() != nullptr)
      throw Error(SPF_UNSUPPORTED, file_name_, "format", "GGUF", "safetensors with config.json, to quantize from");
    for (const Linear* linear : source.linears())
      if (linear->weight.scheme.format != SPF_FORMAT_PLAIN)
        throw Error(SPF_UNSUPPORTED, file_name_, linear->name, "quantized already", "plain weights, f32, f16 or bf16");
    // Llama's files keep the two entries of a rotated pair side by side.
    const bool llama = model_.architecture == Architecture::kLlama || model_.architecture == Architecture::kMistral;
    architecture_ = llama ? "llama" : architecture_name(model_.architecture);
    interleave_ = llama;
    collect();
    const GgufMetadata meta = metadata();
    std::vector<TensorSpec> specs;
    for (const Part& part : parts_) specs.push_back(part.spec);
    file_.emplace(folder_ / "model.gguf", meta, specs);
  }

  std::optional<QuantScheme> scheme_of(const Linear& linear) const override {
    const Part* part = part_of(linear);
    if (part == nullptr) return std::nullopt;
    return quant_scheme(dtype_info(part->spec.dtype).name);
  }
  bool norms_are_f32() const override { return true; }

  void write(const Linear& linear, const QuantizedWeight& weight) override {
    const Part& part = *part_of(linear);
    const spf_tensor& codes = weight.get()->codes;
    int64_t extent = 0;
    check(spf_tensor_extent_bytes(&codes, &extent));
    const auto* from = static_cast<const std::byte*>(codes.data);
    if (part.rows.empty()) return file_->write(part.spec.name, Bytes(from, static_cast<size_t>(extent)));
    // Rows of blocks are independent, so quantized ones may change places.
    std::vector<std::byte> ordered(static_cast<size_t>(extent));
    const auto row_bytes = static_cast<size_t>(extent) / part.rows.size();
    for (size_t i = 0; i < part.rows.size(); ++i)
      std::memcpy(ordered.data() + i * row_bytes, from + static_cast<size_t>(part.rows[i]) * row_bytes, row_bytes);
    file_->write(part.spec.name, ordered);
  }

  void finish(const NormValues& norms) override {
    for (const Part& part : parts_) {
      if (part.linear != nullptr) continue;
      const auto changed = norms.find(part.norm);
      const std::vector<float>& values = changed == norms.end() || part.norm == nullptr ? part.values : changed->second;
      file_->write(part.spec.name, std::as_bytes(std::span(values)));
    }
    file_->finish();
    copy_side_files(source_folder_, folder_);
  }

 private:
  const Part* part_of(const Linear& linear) const {
    for (const Part& part : parts_)
      if (part.linear == &linear) return &part;
    return nullptr;
  }

  // --- tensors ---

  // Which source row each row of the file is, for heads of q or k starting at `first`.
  void interleave(std::vector<int64_t>& rows, int64_t first, int64_t heads) const {
    const int64_t d = model_.head_dim, half = model_.ropes[0].rotary_dim / 2;
    for (int64_t head = 0; head < heads; ++head)
      for (int64_t i = 0; i < half; ++i)
        for (int64_t side = 0; side < 2; ++side)
          rows[static_cast<size_t>(first + head * d + 2 * i + side)] = first + head * d + side * half + i;
  }

  Dtype dtype_of(const Linear& linear, bool output) const {
    const int64_t k = linear.weight.k;
    Dtype dtype = output && choice_.dtype != Dtype::kQ8_0 ? Dtype::kQ6_K : choice_.dtype;
    if (k % dtype_info(dtype).block_elements != 0) dtype = output ? Dtype::kQ8_0 : choice_.narrow;
    if (k % dtype_info(dtype).block_elements != 0) dtype = Dtype::kF16;
    return dtype;
  }

  void add_linear(const std::string& name, const Linear& linear, std::vector<int64_t> rows = {}, bool output = false) {
    Part part;
    part.spec = {name + ".weight", dtype_of(linear, output), {linear.weight.n, linear.weight.k}};
    part.linear = &linear;
    part.rows = rows;
    parts_.push_back(std::move(part));
    if (linear.bias.type == SPF_TYPE_NONE) return;
    std::vector<float> bias = float_values(linear.bias), ordered = bias;
    for (size_t i = 0; i < rows.size(); ++i) ordered[i] = bias[static_cast<size_t>(rows[i])];
    add_values(name + ".bias", std::move(ordered));
  }
  void add_values(const std::string& name, std::vector<float> values, const void* norm = nullptr) {
    Part part;
    part.spec = {name, Dtype::kF32, {static_cast<int64_t>(values.size())}};
    part.values = std::move(values);
    part.norm = norm;
    parts_.push_back(std::move(part));
  }
  void add_norm(const std::string& name, const spf_tensor& norm) {
    if (norm.type == SPF_TYPE_NONE) return;
    std::vector<float> values = float_values(norm);
    for (float& v : values) v = static_cast<float>(v + model_.norm_offset);
    add_values(name + ".weight", std::move(values), norm.data);
  }

  void collect() {
    add_linear("token_embd", source_.embedding(), {}, model_.tied_embeddings);
    if (const std::vector<float> factors = rotation_factors(); !factors.empty())
      add_values("rope_freqs.weight", factors);
    const RopeConfig& rope = model_.ropes[0];
    if (rope.type == RopeType::kLongRope) {
      add_values("rope_factors_long.weight", {rope.long_factors.begin(), rope.long_factors.end()});
      add_values("rope_factors_short.weight", {rope.short_factors.begin(), rope.short_factors.end()});
    }
    for (size_t i = 0; i < source_.layers().size(); ++i)
      add_layer("blk." + std::to_string(i) + ".", source_.layers()[i]);
    add_norm("output_norm", source_.final_norm());
    if (!model_.tied_embeddings) add_linear("output", source_.lm_head(), {}, true);
  }

  void add_layer(const std::string& at, const DecoderLayer& layer) {
    add_norm(at + "attn_norm", layer.attention_norm);
    add_norm(at + "post_attention_norm", layer.attention_post_norm);
    add_norm(at + "ffn_norm", layer.mlp_norm);
    add_norm(at + "post_ffw_norm", layer.mlp_post_norm);
    add_norm(at + "attn_q_norm", layer.q_norm);
    add_norm(at + "attn_k_norm", layer.k_norm);
    const auto rows = [&](const Linear& linear, bool q, bool k) {
      std::vector<int64_t> order;
      if (!interleave_ || (!q && !k)) return order;
      order.resize(static_cast<size_t>(linear.weight.n));
      for (size_t r = 0; r < order.size(); ++r) order[r] = static_cast<int64_t>(r);
      if (q) interleave(order, 0, model_.heads);
      if (k) interleave(order, q ? model_.heads * model_.head_dim : 0, model_.kv_heads);
      return order;
    };
    if (layer.qkv.size() == 1) {
      add_linear(at + "attn_qkv", layer.qkv[0], rows(layer.qkv[0], true, true));
    } else {
      add_linear(at + "attn_q", layer.qkv[0], rows(layer.qkv[0], true, false));
      add_linear(at + "attn_k", layer.qkv[1], rows(layer.qkv[1], false, true));
      add_linear(at + "attn_v", layer.qkv[2]);
    }
    add_linear(at + "attn_output", layer.o);
    if (layer.gate_up.size() == 1) {
      add_linear(at + "ffn_up", layer.gate_up[0]);
    } else {
      add_linear(at + "ffn_gate", layer.gate_up[0]);
      add_linear(at + "ffn_up", layer.gate_up[1]);
    }
    add_linear(at + "ffn_down", layer.down);
  }

  // --- rotation ---

  // llama3's slowdown of each pair, which GGUF holds as a tensor.
  std::vector<float> rotation_factors() const {
    const RopeConfig& rope = model_.ropes[0];
    if (rope.type != RopeType::kLlama3) return {};
    std::vector<float> factors;
    const auto original = static_cast<double>(rope.original_positions);
    for (int64_t i = 0; i < rope.rotary_dim / 2; ++i) {
      const double exponent = 2.0 * static_cast<double>(i) / static_cast<double>(rope.rotary_dim);
      const double turns = original / (2 * std::numbers::pi * std::pow(rope.theta, exponent)); // over the training
      double factor = rope.factor;
      if (turns > rope.high_frequency_factor) {
        factor = 1;
      } else if (turns >= rope.low_frequency_factor) {
        const double share =
            (turns - rope.low_frequency_factor) / (rope.high_frequency_factor - rope.low_frequency_factor);
        factor = 1 / ((1 - share) / rope.factor + share);
      }
      factors.push_back(static_cast<float>(factor));
    }
    return factors;
  }

  void add_rope(GgufMetadata& meta) const {
    const RopeConfig& rope = model_.ropes[0];
    const auto key = [&](const char* name) { return std::string(architecture_) + ".rope." + name; };
    meta.u32(key("dimension_count"), static_cast<uint32_t>(rope.rotary_dim));
    meta.f32(key("freq_base"), static_cast<float>(rope.theta));
    if (model_.ropes.size() > 1) meta.f32(key("freq_base_swa"), static_cast<float>(model_.ropes[1].theta));
    const auto original = static_cast<uint32_t>(rope.original_positions);
    const auto refuse = [&](const std::string& what, const char* allowed) {
      throw Error(SPF_UNSUPPORTED, file_name_, "rotation", what, allowed);
    };
    switch (rope.type) {
      case RopeType::kDefault:
      case RopeType::kLlama3: // the factors are a tensor
        break;
      case RopeType::kLinear:
        meta.string(key("scaling.type"), "linear");
        meta.f32(key("scaling.factor"), static_cast<float>(rope.factor));
        break;
      case RopeType::kYarn: {
        if (!rope.truncate) refuse("yarn with truncate false", "what GGUF can say: truncate true");
        const double usual = rope.factor <= 1 ? 1 : 0.1 * std::log(rope.factor) + 1;
        meta.string(key("scaling.type"), "yarn");
        meta.f32(key("scaling.factor"), static_cast<float>(rope.factor));
        meta.u32(key("scaling.original_context_length"), original);
        meta.f32(key("scaling.yarn_beta_fast"), static_cast<float>(rope.beta_fast));
        meta.f32(key("scaling.yarn_beta_slow"), static_cast<float>(rope.beta_slow));
        if (rope.attention_factor != usual)
          meta.f32(key("scaling.attn_factor"), static_cast<float>(rope.attention_factor / usual));
        break;
      }
      case RopeType::kLongRope:
        meta.string(key("scaling.type"), "longrope");
        meta.u32(key("scaling.original_context_length"), original);
        meta.f32(key("scaling.attn_factor"), static_cast<float>(rope.attention_factor));
        break;
      default:
        refuse(rope_type_name(rope.type), "what GGUF can say: default, linear, yarn, llama3, longrope");
    }
  }

  // --- metadata ---

  GgufMetadata metadata() const {
    GgufMetadata meta;
    const auto u32 = [&](const char* name, int64_t v) {
      meta.u32(std::string(architecture_) + "." + name, static_cast<uint32_t>(v));
    };
    const auto f32 = [&](const char* name, double v) {
      meta.f32(std::string(architecture_) + "." + name, static_cast<float>(v));
    };
    meta.string("general.architecture", architecture_);
    meta.string("general.type", "model");
    meta.string("general.name", fs::absolute(source_folder_).lexically_normal().filename().string());
    meta.u32("general.file_type", choice_.file_type);
    meta.u32("general.quantization_version", kQuantizationVersion);
    u32("vocab_size", model_.vocab);
    u32("context_length", model_.max_positions);
    u32("embedding_length", model_.hidden);
    u32("block_count", static_cast<int64_t>(model_.layers.size()));
    u32("feed_forward_length", model_.intermediate);
    u32("attention.head_count", model_.heads);
    u32("attention.head_count_kv", model_.kv_heads);
    u32("attention.key_length", model_.head_dim);
    u32("attention.value_length", model_.head_dim);
    f32("attention.layer_norm_rms_epsilon", model_.norm_eps);
    int64_t window = 0;
    for (const LayerConfig& layer : model_.layers) window = std::max(window, layer.window);
    if (window > 0) u32("attention.sliding_window", window);
    if (model_.attention_softcap > 0) f32("attn_logit_softcapping", model_.attention_softcap);
    if (model_.logit_softcap > 0) f32("final_logit_softcapping", model_.logit_softcap);
    add_rope(meta);
    add_gguf_tokenizer(meta, source_folder_, model_);
    return meta;
  }

  const Checkpoint& source_;
  const ModelConfig& model_;
  fs::path source_folder_, folder_;
  std::string file_name_;
  const BlockChoice& choice_;
  const char* architecture_ = "";
  bool interleave_ = false;
  std::vector<Part> parts_;
  std::optional<GgufWriter> file_;
};

} // namespace

std::unique_ptr<CheckpointWriter> gguf_writer(const Checkpoint& source, const fs::path& source_folder,
                                              const std::string& format, const fs::path& folder) {
  return std::make_unique<GgufCheckpointWriter>(source, source_folder, format, folder);
}

} // namespace spearfish::model
