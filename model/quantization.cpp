#include "model/quantization.hpp"

#include <algorithm>
#include <array>

namespace spearfish::model {
namespace {

constexpr size_t kMaxPattern = 1024;
constexpr int64_t kMaxGroup = 1 << 20;
constexpr int64_t kWholeRow = -1;

spf_quant_scheme scheme(spf_format format, spf_scalar_type weight, spf_scalar_type scale, int64_t group_k,
                        int64_t group_n = 1, spf_zero_point_kind zero = SPF_ZERO_NONE) {
  return {sizeof(spf_quant_scheme),
          format,
          weight,
          scale,
          zero,
          static_cast<int32_t>(group_k),
          static_cast<int32_t>(group_n),
          0,
          0,
          0,
          SPF_SPARSITY_NONE};
}

int64_t read_group(const JsonObject& config, std::string_view key) {
  const int64_t group = config.integer(key, -1, kMaxGroup);
  if (group == 0) config.refuse(key, "0", "-1, or 1 and more", SPF_CORRUPT_DATA);
  return group;
}

} // namespace

// --- names -----------------------------------------------------------------------------------------------------------

ModulePattern::ModulePattern(std::string text, Style style, std::string_view file, std::string_view field)
    : text_(std::move(text)), style_(style) {
  if (text_.empty() || text_.size() > kMaxPattern)
    throw Error(SPF_CORRUPT_DATA, file, field, text_, "1 to " + std::to_string(kMaxPattern) + " characters");
  if (!text_.starts_with("re:")) return;
  auto flags = std::regex::ECMAScript;
#ifdef __GLIBCXX__
  flags |= std::regex_constants::__polynomial; // no pattern takes exponential time
#endif
  try {
    expression_ = std::make_shared<const std::regex>(text_.substr(3), flags);
  } catch (const std::regex_error&) {
    throw Error(SPF_UNSUPPORTED, file, field, text_, "re: and a regular expression in ECMAScript's syntax");
  }
}

bool ModulePattern::matches(std::string_view module) const {
  if (expression_)
    return std::regex_search(module.begin(), module.end(), *expression_, std::regex_constants::match_continuous);
  if (style_ == Style::kExact) return module == text_;
  for (size_t at = module.find(text_); at != std::string_view::npos; at = module.find(text_, at + 1)) {
    const size_t end = at + text_.size();
    if ((at == 0 || module[at - 1] == '.') && (end == module.size() || module[end] == '.')) return true;
  }
  return false;
}

const ModuleScheme* QuantizationConfig::scheme_of(std::string_view module) const {
  const auto hit = [&](const std::vector<ModulePattern>& patterns) {
    return std::any_of(patterns.begin(), patterns.end(), [&](const ModulePattern& p) { return p.matches(module); });
  };
  if (hit(ignored_)) return nullptr;
  for (const Rule& rule : rules_)
    if (rule.targets.empty() || hit(rule.targets)) return rule.scheme ? &*rule.scheme : nullptr;
  return nullptr;
}

void QuantizationConfig::read_ignored(const JsonObject& config, std::string_view key, ModulePattern::Style style) {
  if (!config.has(key)) return;
  for (const Json& name : config.array(key)) {
    if (!name.is_string()) config.refuse(key, shown(name), "names of modules", SPF_CORRUPT_DATA);
    ignored_.emplace_back(name.get<std::string>(), style, config.file(), config.field(key));
  }
}

// --- methods ---------------------------------------------------------------------------------------------------------

QuantizationConfig::QuantizationConfig(const JsonObject& config) {
  const std::string method = config.string("quant_method");
  if (method == "gptq")
    read_gptq(config);
  else if (method == "awq")
    read_awq(config);
  else if (method == "fp8")
    read_fp8(config);
  else if (method == "mxfp4")
    read_mxfp4(config);
  else if (method == "compressed-tensors")
    read_compressed_tensors(config);
  else
    config.refuse("quant_method", method, "gptq, awq, compressed-tensors, fp8, mxfp4");
  method_ = method;
}

void QuantizationConfig::read_gptq(const JsonObject& config) {
  const auto made = [&](const JsonObject& fields, const ModuleScheme* base) {
    const int64_t bits = fields.has("bits") || base == nullptr ? fields.integer("bits", 1, 16)
                         : base->scheme.weight == SPF_U4       ? 4
                                                               : 8;
    if (bits != 4 && bits != 8) fields.refuse("bits", std::to_string(bits), "4 or 8");
    ModuleScheme result;
    const std::string format = config.string("checkpoint_format", "gptq");
    if (format != "gptq" && format != "gptq_v2") config.refuse("checkpoint_format", format, "gptq, gptq_v2");
    const int64_t group =
        fields.has("group_size") || base == nullptr ? read_group(fields, "group_size") : base->scheme.group_k;
    // Zeros are stored also where they are all equal, so they are read either way.
    result.scheme = scheme(format == "gptq" ? SPF_FORMAT_GPTQ : SPF_FORMAT_GPTQ_V2, bits == 4 ? SPF_U4 : SPF_U8,
                           SPF_F16, group, 1, SPF_ZERO_INTEGER);
    result.scheme.has_g_idx = fields.boolean("desc_act", base != nullptr && base->scheme.has_g_idx != 0) ? 1 : 0;
    result.symmetric = fields.boolean("sym", base == nullptr || base->symmetric);
    result.naming = QuantNaming::kGptq;
    return result;
  };
  const ModuleScheme base = made(config, nullptr);
  if (config.has("dynamic")) { // "+:" or no sign: other numbers for some modules; "-:": left plain
    const JsonObject dynamic = config.object("dynamic");
    for (const auto& [key, value] : dynamic.json().items()) {
      const bool minus = key.starts_with("-:");
      const std::string pattern = "re:" + (minus || key.starts_with("+:") ? key.substr(2) : key);
      Rule rule;
      rule.targets.emplace_back(pattern, ModulePattern::Style::kExact, config.file(), dynamic.field(key));
      if (!minus) rule.scheme = made(JsonObject(value, config.file(), dynamic.field(key)), &base);
      rules_.push_back(std::move(rule));
    }
  }
  if (!config.boolean("lm_head", false))
    ignored_.emplace_back("lm_head", ModulePattern::Style::kComponents, config.file(), "lm_head");
  read_ignored(config, "modules_to_not_convert", ModulePattern::Style::kComponents);
  rules_.push_back({{}, base});
}

void QuantizationConfig::read_awq(const JsonObject& config) {
  const std::string bits_key = config.has("bits") ? "bits" : "w_bit";
  const int64_t bits = config.integer(bits_key, 1, 16);
  if (bits != 4) config.refuse(bits_key, std::to_string(bits), "4");
  std::string version = config.string("version", "gemm");
  std::transform(version.begin(), version.end(), version.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  if (version != "gemm") config.refuse("version", version, "gemm");
  if (!config.boolean("zero_point", true)) config.refuse("zero_point", "false", "true");
  ModuleScheme result;
  result.scheme =
      scheme(SPF_FORMAT_AWQ, SPF_U4, SPF_F16,
             read_group(config, config.has("group_size") ? "group_size" : "q_group_size"), 1, SPF_ZERO_INTEGER);
  result.symmetric = false;
  result.naming = QuantNaming::kAwq;
  ignored_.emplace_back("lm_head", ModulePattern::Style::kComponents, config.file(), "lm_head");
  read_ignored(config, "modules_to_not_convert", ModulePattern::Style::kComponents);
  rules_.push_back({{}, result});
}

void QuantizationConfig::read_fp8(const JsonObject& config) {
  const std::string fmt = config.string("fmt", "e4m3");
  if (fmt != "e4m3" && fmt != "float8_e4m3fn") config.refuse("fmt", fmt, "e4m3");
  const std::string activation = config.string("activation_scheme", "dynamic");
  if (activation != "dynamic" && activation != "static")
    config.refuse("activation_scheme", activation, "dynamic, static");
  ModuleScheme result;
  result.scheme = scheme(SPF_FORMAT_FP8, SPF_E4M3, SPF_F32, kWholeRow, -1);
  result.naming = QuantNaming::kWeightInverse;
  result.static_activation_scale = activation == "static";
  if (config.has("weight_block_size")) {
    const Json& block = config.array("weight_block_size");
    if (block != Json::array({128, 128})) config.refuse("weight_block_size", shown(block), "[128, 128], or null");
    result.scheme = scheme(SPF_FORMAT_FP8, SPF_E4M3, SPF_F32, 128, 128);
  }
  ignored_.emplace_back("lm_head", ModulePattern::Style::kComponents, config.file(), "lm_head");
  for (const char* key : {"modules_to_not_convert", "ignored_layers"})
    read_ignored(config, key, ModulePattern::Style::kComponents);
  rules_.push_back({{}, result});
}

void QuantizationConfig::read_mxfp4(const JsonObject& config) {
  ModuleScheme result;
  result.scheme = scheme(SPF_FORMAT_MXFP4, SPF_E2M1, SPF_E8M0, 32);
  result.naming = QuantNaming::kPacked;
  ignored_.emplace_back("lm_head", ModulePattern::Style::kComponents, config.file(), "lm_head");
  read_ignored(config, "modules_to_not_convert", ModulePattern::Style::kComponents);
  rules_.push_back({{}, result});
}

// --- compressed-tensors ----------------------------------------------------------------------------------------------

namespace {

ModuleScheme ct_integer(const JsonObject& weights, const std::string& format, int64_t bits, const std::string& strategy,
                        int64_t group) {
  if (bits != 4 && bits != 8) weights.refuse("num_bits", std::to_string(bits), "4 or 8 for integers");
  const bool symmetric = weights.boolean("symmetric", true);
  const bool packed = format == "pack-quantized";
  if (!packed && (bits != 8 || !symmetric))
    weights.refuse(bits != 8 ? "num_bits" : "symmetric", bits != 8 ? std::to_string(bits) : "false",
                   "8 bits and symmetric for the format " + format);
  if (strategy != "group" && strategy != "channel" && !(strategy == "tensor" && symmetric))
    weights.refuse("strategy", strategy, "group, channel, and tensor if symmetric");
  ModuleScheme result;
  const spf_scalar_type code = !packed     ? SPF_S8
                               : symmetric ? (bits == 4 ? SPF_U4B8 : SPF_U8B128)
                                           : (bits == 4 ? SPF_U4 : SPF_U8);
  result.scheme = scheme(SPF_FORMAT_CT_INT, code, SPF_BF16, group, strategy == "tensor" ? -1 : 1,
                         symmetric ? SPF_ZERO_NONE : SPF_ZERO_INTEGER);
  result.symmetric = symmetric;
  result.naming = packed ? QuantNaming::kPacked : QuantNaming::kWeight;
  // "weight" and "static" order reorder nothing at load; "group" (or true, of old) brings an index.
  if (const Json* order = weights.find("actorder")) {
    const std::string text = order->is_string() ? order->get<std::string>() : shown(*order);
    if (text == "group" || text == "true")
      result.scheme.has_g_idx = 1;
    else if (text != "weight" && text != "static" && text != "false")
      weights.refuse("actorder", text, "group, weight, static, null");
  }
  return result;
}

ModuleScheme ct_float(const JsonObject& weights, const std::string& format, int64_t bits, const std::string& strategy,
                      int64_t group) {
  if (!weights.boolean("symmetric", true)) weights.refuse("symmetric", "false", "true for type float");
  ModuleScheme result;
  if (format == "nvfp4-pack-quantized" || format == "mxfp4-pack-quantized") {
    const bool nv = format.starts_with("nv");
    if (bits != 4) weights.refuse("num_bits", std::to_string(bits), "4 for the format " + format);
    const int64_t expected = nv ? 16 : 32;
    if (group != expected)
      weights.refuse("group_size", std::to_string(group), std::to_string(expected) + " for the format " + format);
    result.scheme =
        nv ? scheme(SPF_FORMAT_NVFP4, SPF_E2M1, SPF_E4M3, 16) : scheme(SPF_FORMAT_MXFP4, SPF_E2M1, SPF_E8M0, 32);
    result.scheme.has_global_scale = nv ? 1 : 0;
    result.naming = QuantNaming::kPacked;
    return result;
  }
  if (bits != 8) weights.refuse("num_bits", std::to_string(bits), "8 for the format " + format);
  result.naming = QuantNaming::kWeight;
  if (strategy == "tensor") {
    result.scheme = scheme(SPF_FORMAT_FP8, SPF_E4M3, SPF_F32, kWholeRow, -1);
  } else if (strategy == "channel") {
    result.scheme = scheme(SPF_FORMAT_FP8, SPF_E4M3, SPF_F32, kWholeRow, 1);
  } else if (strategy == "block") {
    const Json& block = weights.array("block_structure");
    if (block != Json::array({128, 128})) weights.refuse("block_structure", shown(block), "[128, 128]");
    result.scheme = scheme(SPF_FORMAT_FP8, SPF_E4M3, SPF_F32, 128, 128);
  } else {
    weights.refuse("strategy", strategy, "tensor, channel, block for 8-bit floats");
  }
  return result;
}

// What is said of a layer's input: blocks with scales of their own beside a weight in blocks, or one static scale.
void ct_input(const JsonObject& input, ModuleScheme* scheme) {
  const bool local = input.has("dynamic") && input.json().at("dynamic") == "local"; // blocks under one static factor
  const spf_format format = scheme->scheme.format;
  if ((format == SPF_FORMAT_NVFP4 || format == SPF_FORMAT_MXFP4) && input.string("type", "int") == "float" &&
      input.has("group_size") && input.integer("group_size", -1, kMaxGroup) == scheme->scheme.group_k) {
    const int64_t bits = input.integer("num_bits", 1, 64);
    if (bits == 4) scheme->block_input = SPF_E2M1;
    if (bits == 8 && format == SPF_FORMAT_MXFP4) scheme->block_input = SPF_E4M3;
  }
  scheme->static_activation_scale = !local && !input.boolean("dynamic", false);
}

} // namespace

void QuantizationConfig::read_compressed_tensors(const JsonObject& config) {
  constexpr std::array<const char*, 6> kFormats = {"pack-quantized",       "int-quantized",        "float-quantized",
                                                   "nvfp4-pack-quantized", "mxfp4-pack-quantized", "naive-quantized"};
  const std::string common = config.string("format", "");
  if (config.has("sparsity_config")) {
    const JsonObject sparsity = config.object("sparsity_config");
    const std::string format = sparsity.string("format", "dense");
    if (format != "dense" && format != "sparse-24-bitmask")
      sparsity.refuse("format", format, "dense, sparse-24-bitmask");
    const std::string structure = sparsity.string("sparsity_structure", "2:4");
    if (format != "dense" && structure != "2:4") sparsity.refuse("sparsity_structure", structure, "2:4");
    if (!config.has("config_groups")) return; // sparse and not quantized
  }
  if (const Json* transform = config.find("transform_config"); transform != nullptr && !transform->empty())
    config.refuse("transform_config", shown(*transform), "none");
  const std::string status = config.string("quantization_status", "compressed");
  if (status != "compressed") config.refuse("quantization_status", status, "compressed");
  read_ignored(config, "ignore", ModulePattern::Style::kExact);

  const JsonObject groups = config.object("config_groups");
  for (const auto& [name, value] : groups.json().items()) {
    const JsonObject group(value, config.file(), groups.field(name));
    const JsonObject weights = group.object("weights");
    const std::string format = group.string("format", common);
    if (std::find(kFormats.begin(), kFormats.end(), format) == kFormats.end())
      (group.has("format") ? group : config)
          .refuse("format", format,
                  "pack-quantized, int-quantized, float-quantized, nvfp4-pack-quantized, mxfp4-pack-quantized");
    const int64_t bits = weights.integer("num_bits", 1, 64);
    const std::string type = weights.string("type", "int");
    if (type != "int" && type != "float") weights.refuse("type", type, "int, float");
    const bool grouped = weights.has("group_size") && weights.integer("group_size", -1, kMaxGroup) > 0;
    const std::string strategy = weights.string("strategy", grouped ? "group" : "tensor");
    const bool needs_group = strategy == "group" || strategy == "tensor_group";
    const int64_t size = needs_group ? read_group(weights, "group_size") : kWholeRow;
    const bool integer_format =
        format == "pack-quantized" || format == "int-quantized" || (format == "naive-quantized" && type == "int");
    if (integer_format != (type == "int"))
      weights.refuse("type", type, integer_format ? "int for the format " + format : "float for the format " + format);
    Rule rule;
    rule.scheme = integer_format ? ct_integer(weights, format, bits, strategy, size)
                                 : ct_float(weights, format, bits, strategy, size);
    if (group.has("input_activations")) ct_input(group.object("input_activations"), &*rule.scheme);
    bool every = false;
    for (const Json& target : group.array("targets")) {
      if (!target.is_string()) group.refuse("targets", shown(target), "names of modules", SPF_CORRUPT_DATA);
      if (target == "Linear")
        every = true; // the class of all our modules
      else
        rule.targets.emplace_back(target.get<std::string>(), ModulePattern::Style::kExact, config.file(),
                                  group.field("targets"));
    }
    if (every)
      rule.targets.clear();
    else if (rule.targets.empty())
      group.refuse("targets", "[]", "\"Linear\", names, or re: expressions", SPF_CORRUPT_DATA);
    rules_.push_back(std::move(rule));
  }
  // A rule for named modules goes before the rule for all of them.
  std::stable_sort(rules_.begin(), rules_.end(),
                   [](const Rule& a, const Rule& b) { return a.targets.empty() < b.targets.empty(); });
}

} // namespace spearfish::model
