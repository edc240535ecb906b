#include "model/config.hpp"

#include <algorithm>
#include <cmath>

namespace spearfish::model {
namespace {

constexpr int64_t kMaxExtent = 1 << 24, kMaxLayers = 4096, kMaxPositions = int64_t{1} << 40;
constexpr uint64_t kMaxConfigBytes = 16'000'000;

struct ArchitectureName {
  Architecture architecture;
  const char* name;       // model_type
  const char* class_name; // architectures[0]
};
constexpr ArchitectureName kArchitectures[] = {{Architecture::kLlama, "llama", "LlamaForCausalLM"},
                                               {Architecture::kMistral, "mistral", "MistralForCausalLM"},
                                               {Architecture::kQwen2, "qwen2", "Qwen2ForCausalLM"},
                                               {Architecture::kQwen3, "qwen3", "Qwen3ForCausalLM"},
                                               {Architecture::kPhi3, "phi3", "Phi3ForCausalLM"},
                                               {Architecture::kGemma2, "gemma2", "Gemma2ForCausalLM"},
                                               {Architecture::kGemma3, "gemma3_text", "Gemma3ForCausalLM"}};
constexpr const char* kKnown = "llama, mistral, qwen2, qwen3, phi3, gemma2, gemma3, gemma3_text";

bool is_gemma(Architecture a) { return a == Architecture::kGemma2 || a == Architecture::kGemma3; }

Architecture read_architecture(const JsonObject& config) {
  const std::string type = config.string("model_type");
  for (const ArchitectureName& known : kArchitectures)
    if (type == known.name) return known.architecture;
  config.refuse("model_type", type, kKnown);
}

struct RopeTypeName {
  RopeType type;
  const char* name;
};
constexpr RopeTypeName kRopeTypes[] = {{RopeType::kDefault, "default"}, {RopeType::kLinear, "linear"},
                                       {RopeType::kDynamic, "dynamic"}, {RopeType::kYarn, "yarn"},
                                       {RopeType::kLlama3, "llama3"},   {RopeType::kLongRope, "longrope"}};

double positive(const JsonObject& config, std::string_view key, double fallback) {
  const double v = config.number(key, fallback);
  if (v <= 0) config.refuse(key, shown(*config.find(key)), "a number above 0", SPF_CORRUPT_DATA);
  return v;
}

std::vector<double> read_factors(const JsonObject& scaling, std::string_view key, int64_t count) {
  const Json& list = scaling.array(key);
  if (list.size() != static_cast<size_t>(count))
    scaling.refuse(key, std::to_string(list.size()) + " numbers",
                   std::to_string(count) + ", half of the rotated dimensions", SPF_CORRUPT_DATA);
  std::vector<double> factors;
  for (const Json& item : list) {
    if (!item.is_number() || !(item.get<double>() > 0))
      scaling.refuse(key, shown(item), "numbers above 0", SPF_CORRUPT_DATA);
    factors.push_back(item.get<double>());
  }
  return factors;
}

double yarn_attention_factor(const JsonObject& scaling, double factor) {
  const auto scale = [](double f, double m) { return f <= 1 ? 1.0 : 0.1 * m * std::log(f) + 1.0; };
  if (scaling.has("attention_factor")) return scaling.number("attention_factor");
  if (scaling.has("mscale") && scaling.has("mscale_all_dim")) {
    const double all = scaling.number("mscale_all_dim"), one = scaling.number("mscale");
    if (one != 0 && all != 0) return scale(factor, one) / scale(factor, all);
  }
  return scale(factor, 1);
}

// `scaling` holds rope_type (or, of old, type) and its numbers.
void read_scaling(const JsonObject& config, const JsonObject& scaling, const ModelConfig& model, RopeConfig& rope) {
  const std::string type_key = scaling.has("rope_type") ? "rope_type" : "type";
  std::string type = scaling.string(type_key, "default");
  if (type == "su") type = "longrope"; // its first name
  const auto* known =
      std::find_if(std::begin(kRopeTypes), std::end(kRopeTypes), [&](const RopeTypeName& t) { return type == t.name; });
  if (known == std::end(kRopeTypes)) scaling.refuse(type_key, type, "default, linear, dynamic, yarn, llama3, longrope");
  rope.type = known->type;
  if (rope.type == RopeType::kDefault) return;
  const int64_t original = config.integer("original_max_position_embeddings", 1, kMaxPositions, model.max_positions);
  rope.original_positions = scaling.integer("original_max_position_embeddings", 1, kMaxPositions, original);
  if (rope.type != RopeType::kLongRope) {
    if (!scaling.has("factor")) scaling.refuse("factor", "missing", "a number above 0", SPF_CORRUPT_DATA);
    rope.factor = positive(scaling, "factor", 1);
  }
  switch (rope.type) {
    case RopeType::kYarn:
      rope.beta_fast = positive(scaling, "beta_fast", 32);
      rope.beta_slow = positive(scaling, "beta_slow", 1);
      rope.truncate = scaling.boolean("truncate", true);
      rope.attention_factor = yarn_attention_factor(scaling, rope.factor);
      break;
    case RopeType::kLlama3:
      rope.low_frequency_factor = positive(scaling, "low_freq_factor", 1);
      rope.high_frequency_factor = positive(scaling, "high_freq_factor", 4);
      if (rope.high_frequency_factor <= rope.low_frequency_factor)
        scaling.refuse("high_freq_factor", shown(Json(rope.high_frequency_factor)), "more than low_freq_factor",
                       SPF_CORRUPT_DATA);
      break;
    case RopeType::kLongRope: {
      rope.short_factors = read_factors(scaling, "short_factor", rope.rotary_dim / 2);
      rope.long_factors = read_factors(scaling, "long_factor", rope.rotary_dim / 2);
      rope.factor = positive(scaling, "factor",
                             static_cast<double>(model.max_positions) / static_cast<double>(rope.original_positions));
      const double grown =
          std::sqrt(1 + std::log(rope.factor) / std::log(static_cast<double>(rope.original_positions)));
      rope.attention_factor =
          scaling.number("attention_factor", rope.factor <= 1 || rope.original_positions < 2 ? 1 : grown);
      break;
    }
    default:
      break;
  }
}

RopeConfig read_rope(const JsonObject& config, const JsonObject* scaling, const ModelConfig& model,
                     double fallback_theta) {
  RopeConfig rope;
  // Newer files keep theta and the rotated share beside the scaling, older ones beside the sizes.
  const bool inside = scaling != nullptr && scaling->has("rope_theta");
  rope.theta = inside ? positive(*scaling, "rope_theta", 0) : positive(config, "rope_theta", fallback_theta);
  const JsonObject& holder = scaling != nullptr && scaling->has("partial_rotary_factor") ? *scaling : config;
  const double share = positive(holder, "partial_rotary_factor", 1);
  if (share > 1) holder.refuse("partial_rotary_factor", std::to_string(share), "above 0, at most 1", SPF_CORRUPT_DATA);
  rope.rotary_dim = static_cast<int64_t>(static_cast<double>(model.head_dim) * share);
  if (scaling != nullptr) read_scaling(config, *scaling, model, rope);
  return rope;
}

// rope_parameters (transformers 5) or rope_scaling; nothing if neither is there.
std::optional<JsonObject> rope_object(const JsonObject& config) {
  for (const char* key : {"rope_parameters", "rope_scaling"})
    if (config.has(key)) return config.object(key);
  return std::nullopt;
}

void read_ropes(const JsonObject& config, ModelConfig& model) {
  const auto found = rope_object(config);
  if (model.architecture != Architecture::kGemma3) {
    model.ropes = {
        read_rope(config, found ? &*found : nullptr, model, model.architecture == Architecture::kQwen3 ? 1e6 : 10000)};
    return;
  }
  // Full layers rotate by rope 0, sliding ones by rope 1.
  const bool per_type = found && found->has("full_attention");
  const std::optional<JsonObject> full = per_type ? std::optional(found->object("full_attention")) : found;
  model.ropes = {read_rope(config, full ? &*full : nullptr, model, 1e6)};
  RopeConfig local;
  if (per_type && found->has("sliding_attention")) {
    const JsonObject sliding = found->object("sliding_attention");
    local = read_rope(config, &sliding, model, 10000);
  } else {
    local.theta = positive(config, "rope_local_base_freq", 10000);
    local.rotary_dim = model.head_dim;
  }
  model.ropes.push_back(local);
}

// Which layers see a window, and how far.
void read_windows(const JsonObject& config, ModelConfig& model) {
  const Architecture a = model.architecture;
  const bool null_window = config.json().contains("sliding_window") && !config.has("sliding_window");
  const int64_t usual = null_window || a == Architecture::kLlama || a == Architecture::kPhi3 ? 0 : 4096;
  const int64_t window = config.integer("sliding_window", 0, kMaxPositions, usual);
  const auto count = static_cast<int64_t>(model.layers.size());
  std::vector<bool> slides(model.layers.size(), false);
  if (config.has("layer_types")) {
    const Json& types = config.array("layer_types");
    if (static_cast<int64_t>(types.size()) != count)
      config.refuse("layer_types", std::to_string(types.size()) + " entries", std::to_string(count) + ", one a layer",
                    SPF_CORRUPT_DATA);
    for (size_t i = 0; i < types.size(); ++i) {
      if (types[i] != "full_attention" && types[i] != "sliding_attention")
        config.refuse("layer_types", shown(types[i]), "full_attention, sliding_attention");
      slides[i] = types[i] == "sliding_attention";
    }
  } else {
    const int64_t full_below = config.integer("max_window_layers", 0, kMaxLayers, 28);
    const int64_t pattern = config.integer("sliding_window_pattern", 1, kMaxLayers, 6);
    const bool qwen_slides = config.boolean("use_sliding_window", false);
    for (int64_t i = 0; i < count; ++i) {
      bool yes = false;
      switch (a) {
        case Architecture::kMistral:
        case Architecture::kPhi3:
          yes = true;
          break;
        case Architecture::kQwen2:
        case Architecture::kQwen3:
          yes = qwen_slides && i >= full_below;
          break;
        case Architecture::kGemma2:
          yes = i % 2 == 0;
          break;
        case Architecture::kGemma3:
          yes = (i + 1) % pattern != 0;
          break;
        case Architecture::kLlama:
          break;
      }
      slides[static_cast<size_t>(i)] = yes;
    }
  }
  for (size_t i = 0; i < slides.size(); ++i) {
    model.layers[i].window = slides[i] ? window : 0;
    model.layers[i].rope = a == Architecture::kGemma3 && slides[i] ? 1 : 0;
  }
}

std::vector<int64_t> read_ids(const JsonObject& config, std::string_view key, std::vector<int64_t> fallback) {
  const Json* value = config.find(key);
  if (value == nullptr) return config.json().contains(key) ? std::vector<int64_t>{} : fallback;
  std::vector<int64_t> ids;
  for (const Json& item : value->is_array() ? *value : Json::array({*value})) {
    if (!item.is_number_integer() || item.get<int64_t>() < 0 || item.get<int64_t>() > INT32_MAX)
      config.refuse(key, shown(*value), "a token id or a list of them", SPF_CORRUPT_DATA);
    ids.push_back(item.get<int64_t>());
  }
  return ids;
}

Activation read_activation(const JsonObject& config, Architecture architecture) {
  const char* key = config.has("hidden_activation") ? "hidden_activation" : "hidden_act";
  const std::string name = config.string(key, is_gemma(architecture) ? "gelu_pytorch_tanh" : "silu");
  if (name == "silu" || name == "swish") return Activation::kSilu;
  if (name == "gelu_pytorch_tanh") return Activation::kGeluTanh;
  // Gemma-2's first files say "gelu" in hidden_act and mean the tanh form, which hidden_activation then states.
  if (name == "gelu") return is_gemma(architecture) ? Activation::kGeluTanh : Activation::kGelu;
  config.refuse(key, name, "silu, gelu, gelu_pytorch_tanh");
}

void read_sizes(const JsonObject& config, ModelConfig& model) {
  // Gemma-3 files leave out what its class assumes; others are expected to say their sizes.
  const bool gemma3 = model.architecture == Architecture::kGemma3;
  const auto size = [&](const char* key, int64_t gemma3_default) {
    return gemma3 ? config.integer(key, 1, kMaxExtent, gemma3_default) : config.integer(key, 1, kMaxExtent);
  };
  model.hidden = size("hidden_size", 2304);
  model.intermediate = size("intermediate_size", 9216);
  model.vocab = size("vocab_size", 262208);
  model.heads = size("num_attention_heads", 8);
  model.kv_heads = config.integer("num_key_value_heads", 1, kMaxExtent, gemma3 ? 4 : model.heads);
  const bool fixed_head = gemma3 || model.architecture == Architecture::kGemma2;
  const int64_t usual_head = fixed_head                                   ? 256
                             : model.architecture == Architecture::kQwen3 ? 128
                                                                          : model.hidden / model.heads;
  model.head_dim = config.integer("head_dim", 1, 4096, std::max<int64_t>(usual_head, 1));
  model.max_positions = gemma3 ? config.integer("max_position_embeddings", 1, kMaxPositions, 131072)
                               : config.integer("max_position_embeddings", 1, kMaxPositions);
  model.layers.resize(static_cast<size_t>(gemma3 ? config.integer("num_hidden_layers", 1, kMaxLayers, 26)
                                                 : config.integer("num_hidden_layers", 1, kMaxLayers)));
}

void read_decoder(const JsonObject& config, ModelConfig& model) {
  const Architecture a = model.architecture;
  read_sizes(config, model);
  model.norm_eps = positive(config, "rms_norm_eps", a == Architecture::kPhi3 ? 1e-5 : 1e-6);
  model.activation = read_activation(config, a);
  model.attention_scale = 1 / std::sqrt(static_cast<double>(model.head_dim));
  const bool bias = config.boolean("attention_bias", false);
  model.q_bias = a == Architecture::kQwen2 || bias;
  model.o_bias = a != Architecture::kQwen2 && bias;
  model.mlp_bias = config.boolean("mlp_bias", false);
  model.qk_norm = a == Architecture::kQwen3 || a == Architecture::kGemma3;
  model.tied_embeddings = config.boolean("tie_word_embeddings", is_gemma(a));
  if (is_gemma(a)) {
    model.norms = NormPlacement::kSandwich;
    model.norm_offset = 1;
    model.embedding_scale = std::sqrt(static_cast<double>(model.hidden));
    model.attention_scale = 1 / std::sqrt(positive(config, "query_pre_attn_scalar", 256));
    const bool caps = a == Architecture::kGemma2;
    const auto cap = [&](const char* key, double usual) {
      return config.json().contains(key) ? config.number(key, 0) : caps ? usual : 0;
    };
    model.attention_softcap = cap("attn_logit_softcapping", 50);
    model.logit_softcap = cap("final_logit_softcapping", 30);
    if (config.boolean("use_bidirectional_attention", false))
      config.refuse("use_bidirectional_attention", "true", "false");
  }
  read_windows(config, model);
  read_ropes(config, model);
  for (const char* key : {"num_local_experts", "num_experts", "n_routed_experts"})
    if (config.has(key)) config.refuse(key, shown(*config.find(key)), "dense decoders, without experts");
}

} // namespace

const char* architecture_name(Architecture architecture) {
  return architecture == Architecture::kGemma3 ? "gemma3" : kArchitectures[static_cast<size_t>(architecture)].name;
}

const char* rope_type_name(RopeType type) { return kRopeTypes[static_cast<size_t>(type)].name; }

ModelConfig parse_config(std::string_view json, std::string_view file) {
  const Json document = parse_json(json, file);
  const JsonObject root(document, std::string(file), "");
  ModelConfig model;
  // Gemma-3 with pictures holds its decoder in text_config.
  const bool nested = root.string("model_type") == "gemma3" && root.has("text_config");
  const JsonObject config = nested ? root.object("text_config") : root;
  model.architecture =
      nested || root.string("model_type") == "gemma3" ? Architecture::kGemma3 : read_architecture(root);
  read_decoder(config, model);
  if (nested) model.tied_embeddings = root.boolean("tie_word_embeddings", model.tied_embeddings);
  const bool gemma = is_gemma(model.architecture);
  for (const auto& [key, ids, usual] :
       {std::tuple("bos_token_id", &model.bos, 2), std::tuple("eos_token_id", &model.eos, 1)}) {
    const std::vector<int64_t> fallback = gemma ? std::vector<int64_t>{usual} : std::vector<int64_t>{};
    *ids = read_ids(root.json().contains(key) ? root : config, key, fallback);
  }
  for (const JsonObject* holder : {&root, &config})
    if (model.quantization.empty() && holder->has("quantization_config"))
      model.quantization = QuantizationConfig(holder->object("quantization_config"));
  check_config(model, file);
  return model;
}

ModelConfig read_config(const std::filesystem::path& path) {
  ModelConfig model = parse_config(read_text(path, kMaxConfigBytes), path.string());
  const std::filesystem::path beside = path.parent_path() / "generation_config.json";
  if (std::filesystem::exists(beside)) {
    const Json document = parse_json(read_text(beside, kMaxConfigBytes), beside.string());
    const JsonObject generation(document, beside.string(), "");
    model.bos = read_ids(generation, "bos_token_id", model.bos);
    model.eos = read_ids(generation, "eos_token_id", model.eos);
  }
  return model;
}

void check_config(const ModelConfig& m, std::string_view file) {
  const auto refuse = [&](const char* field, int64_t value, const std::string& allowed) {
    throw Error(SPF_CORRUPT_DATA, file, field, std::to_string(value), allowed);
  };
  if (m.heads % m.kv_heads != 0)
    refuse("num_key_value_heads", m.kv_heads, "a divisor of the " + std::to_string(m.heads) + " heads");
  for (const RopeConfig& rope : m.ropes)
    if (rope.rotary_dim < 2 || rope.rotary_dim % 2 != 0 || rope.rotary_dim > m.head_dim)
      refuse("rotated dimensions of a head", rope.rotary_dim,
             "an even number, at most head_dim " + std::to_string(m.head_dim));
  for (const auto* ids : {&m.bos, &m.eos})
    for (const int64_t id : *ids)
      if (id >= m.vocab)
        refuse(ids == &m.bos ? "bos_token_id" : "eos_token_id", id, "below vocab_size " + std::to_string(m.vocab));
}

std::string describe(const ModelConfig& m) {
  const auto n = [](int64_t v) { return std::to_string(v); };
  std::string text = std::string(architecture_name(m.architecture)) + ": hidden " + n(m.hidden) + ", " +
                     n(static_cast<int64_t>(m.layers.size())) + " layers, " + n(m.heads) + "/" + n(m.kv_heads) +
                     " heads of " + n(m.head_dim) + ", intermediate " + n(m.intermediate) + ", vocabulary " +
                     n(m.vocab) + ", up to " + n(m.max_positions) + " positions";
  for (const RopeConfig& rope : m.ropes) text += std::string(", rope ") + rope_type_name(rope.type);
  if (!m.quantization.empty()) text += ", quantized: " + m.quantization.method();
  return text;
}

} // namespace spearfish::model
