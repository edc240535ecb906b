// compressed-tensors checkpoints: tensors, names and config.json.
#include <cmath>
#include <set>

#include <nlohmann/json.hpp>

#include "model/checkpoint_writer.hpp"

namespace spearfish::model {
namespace {

namespace fs = std::filesystem;
using OrderedJson = nlohmann::ordered_json;

constexpr uint64_t kMaxConfigBytes = 16'000'000;
constexpr const char* kFormats =
    "int4-g128, int4-g64, int4-g32, int4-g128-asym, int4-g32-asym, int4-channel, int8, int8-g128, fp8, fp8-channel, "
    "fp8-block, nvfp4, mxfp4";

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

int bits_of(spf_scalar_type type) {
  spf_scalar_type_info info = {};
  info.struct_size = sizeof info;
  check(spf_scalar_type_describe(type, &info));
  return info.bits;
}

Dtype dtype_of(spf_scalar_type type) {
  switch (type) {
    case SPF_F32:
      return Dtype::kF32;
    case SPF_F16:
      return Dtype::kF16;
    case SPF_BF16:
      return Dtype::kBF16;
    case SPF_E4M3:
      return Dtype::kF8E4M3;
    default:
      return Dtype::kU8; // e8m0, as bytes
  }
}

// A tensor of a quantized module, and the view that it is written from.
struct Part {
  TensorSpec spec;
  const spf_tensor spf_quantized_weight::*view;
};

std::vector<Part> parts_of(const std::string& module, const QuantScheme& s, int64_t n, int64_t k) {
  const int64_t groups = s.group_k > 0 ? ceil_div(k, s.group_k) : 1;
  std::vector<Part> parts;
  const auto add = [&](const char* suffix, Dtype dtype, std::vector<int64_t> shape,
                       const spf_tensor spf_quantized_weight::*view) {
    parts.push_back({{module + suffix, dtype, std::move(shape)}, view});
  };
  if (s.format == SPF_FORMAT_CT_INT) {
    const int64_t per_word = 32 / bits_of(s.weight);
    add(".weight_packed", Dtype::kI32, {n, ceil_div(k, per_word)}, &spf_quantized_weight::codes);
    add(".weight_scale", dtype_of(s.scale), {n, groups}, &spf_quantized_weight::scales);
    if (s.zero == SPF_ZERO_INTEGER)
      add(".weight_zero_point", Dtype::kI32, {ceil_div(n, per_word), groups}, &spf_quantized_weight::zeros);
    add(".weight_shape", Dtype::kI64, {2}, nullptr);
  } else if (s.format == SPF_FORMAT_FP8) {
    add(".weight", Dtype::kF8E4M3, {n, k}, &spf_quantized_weight::codes);
    std::vector<int64_t> shape = {ceil_div(n, std::max(s.group_n, 1)), groups};
    if (s.group_n < 0) shape = {1};
    add(".weight_scale", dtype_of(s.scale), shape, &spf_quantized_weight::scales);
  } else {
    add(".weight_packed", Dtype::kU8, {n, ceil_div(k, 2)}, &spf_quantized_weight::codes);
    add(".weight_scale", dtype_of(s.scale), {n, groups}, &spf_quantized_weight::scales);
    if (s.has_global_scale) add(".weight_global_scale", Dtype::kF32, {1}, nullptr);
  }
  return parts;
}

// The numbers that compressed-tensors describes weights by.
OrderedJson weights_json(const QuantScheme& s) {
  const bool integer = s.format == SPF_FORMAT_CT_INT;
  OrderedJson j;
  j["num_bits"] = bits_of(s.weight);
  j["type"] = integer ? "int" : "float";
  j["symmetric"] = s.zero == SPF_ZERO_NONE;
  const bool block = s.group_n > 1, grouped = s.group_k > 0 && !block;
  j["group_size"] = grouped ? OrderedJson(s.group_k) : OrderedJson(nullptr);
  j["strategy"] = block                          ? "block"
                  : s.format == SPF_FORMAT_NVFP4 ? "tensor_group"
                  : grouped                      ? "group"
                  : s.group_n < 0                ? "tensor"
                                                 : "channel";
  j["block_structure"] = block ? OrderedJson({s.group_n, s.group_k}) : OrderedJson(nullptr);
  j["dynamic"] = false;
  j["actorder"] = nullptr;
  j["observer"] = "minmax";
  j["observer_kwargs"] = OrderedJson::object();
  return j;
}

const char* format_name(const QuantScheme& s) {
  switch (s.format) {
    case SPF_FORMAT_CT_INT:
      return "pack-quantized";
    case SPF_FORMAT_FP8:
      return "float-quantized";
    case SPF_FORMAT_NVFP4:
      return "nvfp4-pack-quantized";
    default:
      return "mxfp4-pack-quantized";
  }
}

class CompressedTensorsWriter final : public CheckpointWriter {
 public:
  CompressedTensorsWriter(const Checkpoint& source, fs::path source_folder, const QuantScheme& scheme, fs::path folder)
      : source_(source), source_folder_(std::move(source_folder)), folder_(std::move(folder)), scheme_(scheme) {
    const std::string& file = source.tensors().name();
    if (source.gguf() != nullptr)
      throw Error(SPF_UNSUPPORTED, file, "format", "GGUF", "safetensors with config.json, to write compressed-tensors");
    const bool known = scheme.format == SPF_FORMAT_CT_INT || scheme.format == SPF_FORMAT_FP8 ||
                       scheme.format == SPF_FORMAT_NVFP4 || scheme.format == SPF_FORMAT_MXFP4;
    if (!known)
      throw Error(SPF_UNSUPPORTED, file, "format to write", std::to_string(static_cast<int>(scheme.format)), kFormats);
    choose_layers();
    declare();
  }

  std::optional<QuantScheme> scheme_of(const Linear& linear) const override {
    const auto found = schemes_.find(linear.name);
    return found == schemes_.end() ? std::nullopt : std::optional(found->second);
  }
  bool norms_are_f32() const override { return false; }

  void write(const Linear& linear, const QuantizedWeight& weight) override {
    const spf_quantized_weight& q = *weight.get();
    for (const Part& part : parts_of(linear.name, schemes_.at(linear.name), q.n, q.k)) {
      if (part.view != nullptr) {
        const spf_tensor& view = q.*part.view;
        int64_t extent = 0;
        check(spf_tensor_extent_bytes(&view, &extent));
        file_->write(part.spec.name, Bytes(static_cast<const std::byte*>(view.data), static_cast<size_t>(extent)));
      } else if (part.spec.dtype == Dtype::kI64) {
        const int64_t shape[] = {q.n, q.k};
        file_->write(part.spec.name, std::as_bytes(std::span(shape)));
      } else {
        float factor = 0;
        std::memcpy(&factor, q.global_scale.data, sizeof factor);
        const float divisor[] = {divisor_of(factor)};
        file_->write(part.spec.name, std::as_bytes(std::span(divisor)));
      }
    }
  }

  void finish(const NormValues& norms) override {
    for (const TensorEntry& tensor : source_.tensors().tensors()) {
      if (replaced_.count(tensor.name) != 0) continue;
      const auto changed = norms.find(tensor.bytes.data());
      if (changed == norms.end()) {
        file_->write(tensor.name, tensor.bytes);
        continue;
      }
      std::vector<double> values(changed->second.begin(), changed->second.end());
      for (double& v : values) v -= source_.config().norm_offset;
      std::vector<std::byte> encoded(tensor.bytes.size());
      check(spf_encode(dtype_info(tensor.dtype).scalar, values.data(), tensor.elements(), encoded.data()));
      file_->write(tensor.name, encoded);
    }
    file_->finish();
    write_config();
    copy_side_files(source_folder_, folder_);
  }

 private:
  // The divisor whose f32 reciprocal is the factor, so that a reader gets the very same values.
  static float divisor_of(float factor) {
    const float around = 1.0f / factor;
    float candidate = std::nextafter(std::nextafter(around, 0.0f), 0.0f);
    for (int i = 0; i < 5; ++i, candidate = std::nextafter(candidate, INFINITY))
      if (1.0f / candidate == factor) return candidate;
    return around;
  }

  void choose_layers() {
    const std::string& file = source_.tensors().name();
    std::string odd;
    for (const Linear* linear : source_.linears()) {
      const bool head = linear == &source_.lm_head();
      if (linear->weight.scheme.format != SPF_FORMAT_PLAIN)
        throw Error(SPF_UNSUPPORTED, file, linear->name, "quantized already", "plain weights, f32, f16 or bf16");
      if (head) {
        ignored_.push_back(source_.config().tied_embeddings ? "lm_head" : linear->name);
        continue;
      }
      const bool whole = scheme_.group_n > 1 || scheme_.group_k <= 0 || linear->weight.k % scheme_.group_k == 0;
      if (!whole) {
        ignored_.push_back(linear->name);
        odd = linear->name + " has K " + std::to_string(linear->weight.k);
        continue;
      }
      QuantScheme s = scheme_;
      const spf_scalar_type own = linear->weight.scheme.weight;
      if (s.format == SPF_FORMAT_CT_INT || s.format == SPF_FORMAT_FP8)
        s.scale = s.format == SPF_FORMAT_FP8 && own == SPF_F16 ? SPF_F32 : own;
      schemes_.emplace(linear->name, s);
    }
    if (schemes_.empty())
      throw Error(SPF_UNSUPPORTED, file, "layers", odd, "K a multiple of " + std::to_string(scheme_.group_k));
  }

  void declare() {
    std::vector<TensorSpec> specs;
    for (const Linear* linear : source_.linears()) {
      const auto found = schemes_.find(linear->name);
      if (found == schemes_.end()) continue;
      replaced_.insert(linear->name + ".weight");
      for (Part& part : parts_of(linear->name, found->second, linear->weight.n, linear->weight.k))
        specs.push_back(std::move(part.spec));
    }
    for (const TensorEntry& tensor : source_.tensors().tensors())
      if (replaced_.count(tensor.name) == 0) specs.push_back({tensor.name, tensor.dtype, tensor.shape});
    file_.emplace(folder_ / "model.safetensors", std::move(specs),
                  std::map<std::string, std::string>{{"format", "pt"}});
  }

  void write_config() const {
    const fs::path path = source_folder_ / "config.json";
    OrderedJson config = OrderedJson::parse(read_text(path, kMaxConfigBytes));
    OrderedJson group;
    group["targets"] = {"Linear"};
    group["weights"] = weights_json(schemes_.begin()->second);
    group["input_activations"] = nullptr;
    group["output_activations"] = nullptr;
    group["format"] = format_name(scheme_);
    OrderedJson q;
    q["quant_method"] = "compressed-tensors";
    q["format"] = format_name(scheme_);
    q["quantization_status"] = "compressed";
    q["config_groups"]["group_0"] = std::move(group);
    q["ignore"] = ignored_;
    q["kv_cache_scheme"] = nullptr;
    q["global_compression_ratio"] = nullptr;
    config["quantization_config"] = std::move(q);
    write_text(folder_ / "config.json", config.dump(2) + "\n");
  }

  const Checkpoint& source_;
  fs::path source_folder_, folder_;
  QuantScheme scheme_;
  std::map<std::string, QuantScheme> schemes_; // by module
  std::vector<std::string> ignored_;
  std::set<std::string> replaced_; // tensors of the source that are not copied
  std::optional<SafetensorsWriter> file_;
};

} // namespace

std::unique_ptr<CheckpointWriter> compressed_tensors_writer(const Checkpoint& source, const fs::path& source_folder,
                                                            const QuantScheme& scheme, const fs::path& folder) {
  return std::make_unique<CompressedTensorsWriter>(source, source_folder, scheme, folder);
}

void copy_side_files(const fs::path& from, const fs::path& to) {
  for (const char* name :
       {"tokenizer.json", "tokenizer_config.json", "tokenizer.model", "special_tokens_map.json", "added_tokens.json",
        "vocab.json", "merges.txt", "generation_config.json", "chat_template.jinja", "chat_template.json"})
    if (fs::exists(from / name)) fs::copy_file(from / name, to / name);
}

std::vector<float> float_values(const spf_tensor& tensor) {
  int64_t count = 1;
  for (int32_t d = 0; d < tensor.rank; ++d) count *= tensor.shape[d];
  std::vector<double> values(static_cast<size_t>(count));
  check(spf_decode(tensor.type, tensor.data, count, values.data()));
  return {values.begin(), values.end()};
}

} // namespace spearfish::model
