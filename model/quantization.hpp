// quantization_config of a Hugging Face checkpoint: which module is quantized how.
#pragma once

#include <memory>
#include <optional>
#include <regex>
#include <string>
#include <string_view>
#include <vector>

#include "model/json.hpp"
#include "spearfish/quant.h"

namespace spearfish::model {

// How the tensors of a quantized module are called and what shapes them; the scheme alone does not say.
enum class QuantNaming {
  kNone,
  kGptq,         // qweight, qzeros, scales, g_idx
  kAwq,          // qweight, qzeros, scales
  kPacked,       // weight_packed, weight_scale, weight_zero_point, weight_g_idx, weight_global_scale
  kWeight,       // weight, weight_scale
  kWeightInverse // weight, weight_scale_inv (fp8 with block scales), or weight_scale
};

struct ModuleScheme {
  // The scheme's scale type is what the format's writers usually store; the tensor in the file has the last word.
  spf_quant_scheme scheme = {};
  QuantNaming naming = QuantNaming::kNone;
  bool symmetric = true;                // GPTQ: zeros are stored but all equal
  bool static_activation_scale = false; // an input_scale tensor stands beside the weight
  // What the layer's input is meant to be quantized to in blocks as wide as the weight's: e2m1 or e4m3; NONE: not said.
  spf_scalar_type block_input = SPF_TYPE_NONE;
};

// A module name, a class of modules, or a regular expression.
class ModulePattern {
 public:
  enum class Style {
    kExact,     // the whole name, or "re:" and a regular expression that matches a prefix (compressed-tensors)
    kComponents // some run of whole name components: "visual" matches "visual.blocks.0" (awq, fp8)
  };
  // Error naming `field` for an expression that is not one or is too long.
  ModulePattern(std::string text, Style style, std::string_view file, std::string_view field);
  bool matches(std::string_view module) const;
  const std::string& text() const noexcept { return text_; }

 private:
  std::string text_;
  Style style_;
  std::shared_ptr<const std::regex> expression_;
};

class QuantizationConfig {
 public:
  QuantizationConfig() = default; // nothing is quantized
  // The value of "quantization_config". Error: an unknown method, or a field of it that is not served.
  explicit QuantizationConfig(const JsonObject& config);

  const std::string& method() const noexcept { return method_; } // "gptq", ...; "" if nothing is quantized
  bool empty() const noexcept { return method_.empty(); }

  // Scheme of a linear layer by its full name, "model.layers.0.self_attn.q_proj"; nullptr: it is plain.
  const ModuleScheme* scheme_of(std::string_view module) const;

 private:
  struct Rule {
    std::vector<ModulePattern> targets; // empty: every linear layer
    std::optional<ModuleScheme> scheme; // none: left plain
  };
  void read_gptq(const JsonObject& config);
  void read_awq(const JsonObject& config);
  void read_fp8(const JsonObject& config);
  void read_mxfp4(const JsonObject& config);
  void read_compressed_tensors(const JsonObject& config);
  void read_ignored(const JsonObject& config, std::string_view key, ModulePattern::Style style);

  std::string method_;
  std::vector<ModulePattern> ignored_;
  std::vector<Rule> rules_; // the first that matches counts
};

} // namespace spearfish::model
