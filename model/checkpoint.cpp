#include "model/checkpoint.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <optional>

namespace spearfish::model {
namespace {

namespace fs = std::filesystem;

constexpr spf_device kHost = {SPF_CPU, 0};
constexpr size_t kOwnedAlignment = 64;
constexpr const char* kFloatTypes = "f32, f16, bf16";

bool is_float(spf_scalar_type type) { return type == SPF_F32 || type == SPF_F16 || type == SPF_BF16; }

spf_quant_scheme plain_scheme(spf_scalar_type type) {
  return {sizeof(spf_quant_scheme), SPF_FORMAT_PLAIN, type, SPF_TYPE_NONE, SPF_ZERO_NONE, -1, 1, 0, 0, 0,
          SPF_SPARSITY_NONE};
}

// The scheme that a GGUF block type is.
spf_quant_scheme block_scheme(const DtypeInfo& info) {
  spf_quant_scheme scheme = {};
  scheme.struct_size = sizeof scheme;
  if (spf_quant_scheme_by_name(info.name, &scheme) == SPF_OK) return scheme;
  // The IQ types cannot be written and so have no name to quantize to; their codes are signed, with a scale for 16 or
  // 32 of them.
  const bool by_16 =
      info.format == SPF_FORMAT_IQ2_XS || info.format == SPF_FORMAT_IQ2_S || info.format == SPF_FORMAT_IQ1_M;
  return {sizeof(spf_quant_scheme), info.format, SPF_S8, SPF_F16, SPF_ZERO_NONE, by_16 ? 16 : 32, 1, 0, 0, 0,
          SPF_SPARSITY_NONE};
}

using Shape = std::vector<int64_t>;

} // namespace

// Looks tensors up and checks them, for one checkpoint while it is opened.
class Checkpoint::Reader {
 public:
  explicit Reader(Checkpoint& checkpoint)
      : c_(checkpoint), m_(checkpoint.config_), file_(checkpoint.tensors().name()) {}
  void read_safetensors();
  void read_gguf();

 private:
  const TensorEntry* find(const std::string& name) const { return c_.tensors().find(name); }
  const TensorEntry& need(const std::string& name) const {
    const TensorEntry* entry = find(name);
    if (entry == nullptr) throw Error(SPF_NOT_FOUND, file_, name, "missing", "a tensor of this name");
    return *entry;
  }

  std::byte* own(size_t bytes) {
    auto memory = std::make_unique<std::byte[]>(bytes + kOwnedAlignment);
    auto* raw = memory.get();
    raw += (kOwnedAlignment - reinterpret_cast<uintptr_t>(raw) % kOwnedAlignment) % kOwnedAlignment;
    c_.owned_.push_back(std::move(memory));
    return raw;
  }

  // A contiguous view as `type` with `shape`; copied if the file did not align it.
  spf_tensor view(const TensorEntry& entry, spf_scalar_type type, const Shape& shape) {
    const std::byte* data = entry.bytes.data();
    const auto unit =
        static_cast<uintptr_t>(dtype_info(entry.dtype).block_elements == 1 ? dtype_info(entry.dtype).block_bytes : 1);
    if (!entry.bytes.empty() && reinterpret_cast<uintptr_t>(data) % unit != 0) {
      std::byte* copy = own(entry.bytes.size());
      std::memcpy(copy, data, entry.bytes.size());
      data = copy;
    }
    spf_tensor tensor = {};
    tensor.struct_size = sizeof tensor;
    if (shape.size() > SPF_MAX_RANK)
      throw Error(SPF_UNSUPPORTED, file_, entry.name + ".shape", shape_text(shape),
                  "rank at most " + std::to_string(SPF_MAX_RANK));
    check(spf_tensor_init(&tensor, const_cast<std::byte*>(data), type, static_cast<int32_t>(shape.size()), shape.data(),
                          kHost));
    return tensor;
  }
  spf_tensor view(const TensorEntry& entry) {
    spf_scalar_type type = dtype_info(entry.dtype).scalar;
    if (entry.dtype == Dtype::kU32) type = SPF_I32; // packed words, either way
    return view(entry, type, entry.shape.empty() ? Shape{1} : entry.shape);
  }

  // A float tensor of a shape that the config gives.
  spf_tensor floats(const std::string& name, const Shape& shape) {
    const TensorEntry& entry = need(name);
    if (!is_float(dtype_info(entry.dtype).scalar))
      throw Error(SPF_CORRUPT_DATA, file_, name + ".dtype", dtype_info(entry.dtype).name, kFloatTypes);
    if (entry.shape != shape)
      throw Error(SPF_CORRUPT_DATA, file_, name + ".shape", entry.shape_text(),
                  shape_text(shape) + ", as the config says");
    return view(entry);
  }

  Linear linear(const std::string& module, int64_t n, int64_t k, bool bias, bool quantizable = true);
  void plain(Linear& out, const TensorEntry& entry);
  void gptq_or_awq(Linear& out, const ModuleScheme& scheme);
  void packed(Linear& out, const ModuleScheme& scheme);
  void scaled(Linear& out, const ModuleScheme& scheme, const TensorEntry& codes);
  TensorEntry inflated(const std::string& module, int64_t n, int64_t k);
  void set_scale(Linear& out, const std::string& name);
  float positive(const std::string& name);
  bool trivial(const TensorEntry& g_idx, int64_t group) const;
  void verify(const Linear& linear) const;

  int64_t q_rows() const { return m_.heads * m_.head_dim; }
  int64_t kv_rows() const { return m_.kv_heads * m_.head_dim; }

  Checkpoint& c_;
  const ModelConfig& m_;
  std::string file_;
};

// --- linear layers ---------------------------------------------------------------------------------------------------

// The library's own check of views against scheme, n and k; its refusal with the module's name.
void Checkpoint::Reader::verify(const Linear& linear) const {
  const spf_status status = spf_quantized_weight_check(&linear.weight);
  if (status == SPF_OK) return;
  spf_error_detail detail = {};
  detail.struct_size = sizeof detail;
  spf_last_error(&detail);
  throw Error(status == SPF_UNSUPPORTED ? status : SPF_CORRUPT_DATA, file_,
              linear.name + " " + (detail.field ? detail.field : "weight"), detail.value ? detail.value : "",
              detail.allowed ? detail.allowed : "");
}

void Checkpoint::Reader::plain(Linear& out, const TensorEntry& entry) {
  const DtypeInfo& info = dtype_info(entry.dtype);
  const Shape shape = {out.weight.n, out.weight.k};
  if (info.format == SPF_FORMAT_NONE)
    throw Error(SPF_UNSUPPORTED, file_, entry.name + ".dtype", info.name,
                std::string(kFloatTypes) + ", or a GGUF block type that is served");
  if (entry.shape != shape)
    throw Error(SPF_CORRUPT_DATA, file_, entry.name + ".shape", entry.shape_text(),
                shape_text(shape) + ", as the config says");
  if (info.format == SPF_FORMAT_PLAIN) {
    out.weight.scheme = plain_scheme(info.scalar);
    out.weight.codes = view(entry);
  } else {
    out.weight.scheme = block_scheme(info);
    out.weight.codes = view(entry, SPF_U8, {out.weight.n, out.weight.k / info.block_elements * info.block_bytes});
  }
}

void Checkpoint::Reader::set_scale(Linear& out, const std::string& name) {
  const TensorEntry& entry = need(name);
  const spf_scalar_type type = dtype_info(entry.dtype).scalar;
  if (!is_float(type)) throw Error(SPF_CORRUPT_DATA, file_, name + ".dtype", dtype_info(entry.dtype).name, kFloatTypes);
  out.weight.scheme.scale = type;
  out.weight.scales = view(entry);
}

// Whether every column's group is just its position divided by the group size.
bool Checkpoint::Reader::trivial(const TensorEntry& g_idx, int64_t group) const {
  if (g_idx.dtype != Dtype::kI32) return false;
  for (int64_t k = 0; k < g_idx.elements(); ++k) {
    int32_t value = 0;
    std::memcpy(&value, g_idx.bytes.data() + 4 * k, 4);
    if (value != (group > 0 ? k / group : 0)) return false;
  }
  return true;
}

void Checkpoint::Reader::gptq_or_awq(Linear& out, const ModuleScheme& scheme) {
  out.weight.scheme = scheme.scheme;
  out.weight.codes = view(need(out.name + ".qweight"));
  out.weight.zeros = view(need(out.name + ".qzeros"));
  set_scale(out, out.name + ".scales");
  const TensorEntry* g_idx = scheme.naming == QuantNaming::kGptq ? find(out.name + ".g_idx") : nullptr;
  // Some writers order columns without saying so in the config, others say so and store the plain order.
  out.weight.scheme.has_g_idx = g_idx != nullptr && !trivial(*g_idx, scheme.scheme.group_k) ? 1 : 0;
  if (out.weight.scheme.has_g_idx) out.weight.g_idx = view(*g_idx);
}

// The one f32 number of a tensor, above 0.
float Checkpoint::Reader::positive(const std::string& name) {
  const TensorEntry& entry = need(name);
  if (entry.elements() != 1) throw Error(SPF_CORRUPT_DATA, file_, name + ".shape", entry.shape_text(), "one element");
  if (dtype_info(entry.dtype).scalar != SPF_F32)
    throw Error(SPF_CORRUPT_DATA, file_, name + ".dtype", dtype_info(entry.dtype).name, "f32");
  float value = 0;
  std::memcpy(&value, entry.bytes.data(), sizeof value);
  if (!(value > 0) || !std::isfinite(value))
    throw Error(SPF_CORRUPT_DATA, file_, name, std::to_string(value), "a number above 0");
  return value;
}

void Checkpoint::Reader::packed(Linear& out, const ModuleScheme& scheme) {
  spf_quant_scheme& s = out.weight.scheme = scheme.scheme;
  const bool blocks = find(out.name + ".weight_blocks") != nullptr; // mxfp4 as gpt-oss spells it: [N, K/32, 16]
  const TensorEntry& codes = need(out.name + (blocks ? ".weight_blocks" : ".weight_packed"));
  const std::string scale = out.name + (blocks ? ".weight_scales" : ".weight_scale");
  if (s.format == SPF_FORMAT_CT_INT) {
    out.weight.codes = view(codes);
    set_scale(out, scale);
    if (s.zero == SPF_ZERO_INTEGER) out.weight.zeros = view(need(out.name + ".weight_zero_point"));
    if (s.has_g_idx) out.weight.g_idx = view(need(out.name + ".weight_g_idx"));
    return;
  }
  Shape shape = codes.shape;
  if (blocks && shape.size() == 3) shape = {shape[0], shape[1] * shape[2]};
  out.weight.codes = view(codes, dtype_info(codes.dtype).scalar, shape);
  const TensorEntry& scales = need(scale);
  // e8m0 scales are bytes to writers that have no name for the type.
  const bool bytes = s.scale == SPF_E8M0 && scales.dtype == Dtype::kU8;
  out.weight.scales = bytes ? view(scales, SPF_E8M0, scales.shape) : view(scales);
  if (!s.has_global_scale) return;
  const float value = 1 / positive(out.name + ".weight_global_scale");
  std::byte* factor = own(sizeof value);
  std::memcpy(factor, &value, sizeof value);
  const int64_t one = 1;
  out.weight.global_scale.struct_size = sizeof(spf_tensor);
  check(spf_tensor_init(&out.weight.global_scale, factor, SPF_F32, 1, &one, kHost));
}

void Checkpoint::Reader::scaled(Linear& out, const ModuleScheme& scheme, const TensorEntry& codes) {
  out.weight.scheme = scheme.scheme;
  out.weight.codes = view(codes);
  const std::string inverse = out.name + ".weight_scale_inv"; // a factor all the same
  const bool has_inverse = scheme.naming == QuantNaming::kWeightInverse && find(inverse) != nullptr;
  set_scale(out, has_inverse ? inverse : out.name + ".weight_scale");
}

// The dense matrix of a 2:4 sparse one (compressed-tensors, sparse-24-bitmask): `compressed` [N, K/2] has two elements
// of every four in their order, and bit k % 8 of byte [n, k/8] of `bitmask` says that column k is one of them.
TensorEntry Checkpoint::Reader::inflated(const std::string& module, int64_t n, int64_t k) {
  const TensorEntry &values = need(module + ".compressed"), &mask = need(module + ".bitmask");
  const auto expect = [&](const TensorEntry& entry, const Shape& shape) {
    if (entry.shape != shape)
      throw Error(SPF_CORRUPT_DATA, file_, entry.name + ".shape", entry.shape_text(),
                  shape_text(shape) + ", as the config says");
  };
  if (k % 4 != 0)
    throw Error(SPF_CORRUPT_DATA, file_, module + ".compressed", "K " + std::to_string(k), "K a multiple of 4");
  expect(values, {n, k / 2});
  expect(mask, {n, (k + 7) / 8});
  if (mask.dtype != Dtype::kU8)
    throw Error(SPF_CORRUPT_DATA, file_, mask.name + ".dtype", dtype_info(mask.dtype).name, "u8");
  const DtypeInfo& info = dtype_info(values.dtype);
  if (info.block_elements != 1)
    throw Error(SPF_CORRUPT_DATA, file_, values.name + ".dtype", info.name, "a type of single elements");
  const auto each = static_cast<size_t>(info.block_bytes), bytes = static_cast<size_t>(n * k) * each;
  std::byte* const dense = own(bytes);
  std::memset(dense, 0, bytes);
  const std::byte* from = values.bytes.data();
  for (int64_t row = 0; row < n; ++row)
    for (int64_t first = 0; first < k; first += 4) {
      const std::byte both = mask.bytes[static_cast<size_t>(row * ((k + 7) / 8) + first / 8)];
      const unsigned four = std::to_integer<unsigned>(both) >> (first % 8) & 15;
      if (std::popcount(four) != 2)
        throw Error(SPF_CORRUPT_DATA, file_, mask.name + "[" + std::to_string(row) + ", " + std::to_string(first) + "]",
                    std::to_string(std::popcount(four)) + " of four columns", "two");
      for (int64_t i = 0; i < 4; ++i) {
        if ((four >> i & 1) == 0) continue;
        std::memcpy(dense + static_cast<size_t>(row * k + first + i) * each, from, each);
        from += each;
      }
    }
  TensorEntry entry = values;
  entry.shape = {n, k};
  entry.bytes = Bytes(dense, bytes);
  return entry;
}

Linear Checkpoint::Reader::linear(const std::string& module, int64_t n, int64_t k, bool bias, bool quantizable) {
  Linear out;
  out.name = module;
  out.weight.struct_size = sizeof out.weight;
  out.weight.n = n;
  out.weight.k = k;
  const TensorEntry* weight = find(module + ".weight");
  std::optional<TensorEntry> opened;
  if (weight == nullptr && !c_.gguf_ && find(module + ".bitmask") != nullptr)
    weight = &opened.emplace(inflated(module, n, k));
  // A float weight is plain, whatever the config says of its module.
  const bool unquantized = weight != nullptr && dtype_info(weight->dtype).format != SPF_FORMAT_NONE;
  const ModuleScheme* scheme = quantizable && !unquantized && !c_.gguf_ ? m_.quantization.scheme_of(module) : nullptr;
  if (scheme == nullptr) {
    plain(out, weight != nullptr ? *weight : need(module + ".weight"));
  } else {
    switch (scheme->naming) {
      case QuantNaming::kGptq:
      case QuantNaming::kAwq:
        gptq_or_awq(out, *scheme);
        break;
      case QuantNaming::kPacked:
        packed(out, *scheme);
        break;
      default:
        scaled(out, *scheme, weight != nullptr ? *weight : need(module + ".weight"));
        break;
    }
    if (scheme->static_activation_scale && find(module + ".input_scale") != nullptr)
      out.input_scale = view(need(module + ".input_scale"));
    out.block_input = scheme->block_input;
    if (scheme->scheme.format == SPF_FORMAT_NVFP4 && find(module + ".input_global_scale") != nullptr)
      out.block_input_factor = positive(module + ".input_global_scale");
  }
  if (opened) out.weight.scheme.sparsity = SPF_SPARSITY_2_OF_4;
  if (bias) out.bias = floats(module + ".bias", {n});
  verify(out);
  return out;
}

// --- architectures ---------------------------------------------------------------------------------------------------

void Checkpoint::Reader::read_safetensors() {
  std::string prefix = "model.", head = "lm_head";
  for (const auto& [candidate, its_head] :
       {std::pair("language_model.model.", "language_model.lm_head"), std::pair("model.language_model.", "lm_head")}) {
    if (find(std::string(candidate) + "embed_tokens.weight") == nullptr) continue;
    prefix = candidate;
    head = its_head;
  }
  const bool sandwich = m_.norms == NormPlacement::kSandwich;
  const int64_t h = m_.hidden, inner = m_.intermediate;
  c_.embedding_ = linear(prefix + "embed_tokens", m_.vocab, h, false, false);
  c_.final_norm_ = floats(prefix + "norm.weight", {h});
  c_.lm_head_ = m_.tied_embeddings ? c_.embedding_ : linear(head, m_.vocab, h, false);
  const auto fused = [&](const std::string& module) {
    for (const char* suffix : {".weight", ".qweight", ".weight_packed", ".weight_blocks", ".bitmask"})
      if (find(module + suffix) != nullptr) return true;
    return false;
  };
  for (size_t i = 0; i < m_.layers.size(); ++i) {
    const std::string at = prefix + "layers." + std::to_string(i) + ".";
    DecoderLayer layer;
    layer.attention_norm = floats(at + "input_layernorm.weight", {h});
    if (sandwich) {
      layer.attention_post_norm = floats(at + "post_attention_layernorm.weight", {h});
      layer.mlp_norm = floats(at + "pre_feedforward_layernorm.weight", {h});
      layer.mlp_post_norm = floats(at + "post_feedforward_layernorm.weight", {h});
    } else {
      layer.mlp_norm = floats(at + "post_attention_layernorm.weight", {h});
    }
    const std::string attention = at + "self_attn.", mlp = at + "mlp.";
    if (m_.qk_norm) {
      layer.q_norm = floats(attention + "q_norm.weight", {m_.head_dim});
      layer.k_norm = floats(attention + "k_norm.weight", {m_.head_dim});
    }
    if (fused(attention + "qkv_proj")) {
      layer.qkv.push_back(linear(attention + "qkv_proj", q_rows() + 2 * kv_rows(), h, m_.q_bias));
    } else {
      layer.qkv.push_back(linear(attention + "q_proj", q_rows(), h, m_.q_bias));
      layer.qkv.push_back(linear(attention + "k_proj", kv_rows(), h, m_.q_bias));
      layer.qkv.push_back(linear(attention + "v_proj", kv_rows(), h, m_.q_bias));
    }
    layer.o = linear(attention + "o_proj", h, q_rows(), m_.o_bias);
    if (fused(mlp + "gate_up_proj")) {
      layer.gate_up.push_back(linear(mlp + "gate_up_proj", 2 * inner, h, m_.mlp_bias));
    } else {
      layer.gate_up.push_back(linear(mlp + "gate_proj", inner, h, m_.mlp_bias));
      layer.gate_up.push_back(linear(mlp + "up_proj", inner, h, m_.mlp_bias));
    }
    layer.down = linear(mlp + "down_proj", h, inner, m_.mlp_bias);
    c_.layers_.push_back(std::move(layer));
  }
}

void Checkpoint::Reader::read_gguf() {
  const bool sandwich = m_.norms == NormPlacement::kSandwich;
  const int64_t h = m_.hidden, inner = m_.intermediate;
  c_.embedding_ = linear("token_embd", m_.vocab, h, false);
  c_.final_norm_ = floats("output_norm.weight", {h});
  c_.lm_head_ = m_.tied_embeddings ? c_.embedding_ : linear("output", m_.vocab, h, false);
  for (size_t i = 0; i < m_.layers.size(); ++i) {
    const std::string at = "blk." + std::to_string(i) + ".";
    DecoderLayer layer;
    layer.attention_norm = floats(at + "attn_norm.weight", {h});
    layer.mlp_norm = floats(at + "ffn_norm.weight", {h});
    if (sandwich) {
      layer.attention_post_norm = floats(at + "post_attention_norm.weight", {h});
      layer.mlp_post_norm = floats(at + "post_ffw_norm.weight", {h});
    }
    if (m_.qk_norm) {
      layer.q_norm = floats(at + "attn_q_norm.weight", {m_.head_dim});
      layer.k_norm = floats(at + "attn_k_norm.weight", {m_.head_dim});
    }
    if (find(at + "attn_qkv.weight") != nullptr) {
      layer.qkv.push_back(linear(at + "attn_qkv", q_rows() + 2 * kv_rows(), h, m_.q_bias));
    } else {
      layer.qkv.push_back(linear(at + "attn_q", q_rows(), h, m_.q_bias));
      layer.qkv.push_back(linear(at + "attn_k", kv_rows(), h, m_.q_bias));
      layer.qkv.push_back(linear(at + "attn_v", kv_rows(), h, m_.q_bias));
    }
    layer.o = linear(at + "attn_output", h, q_rows(), m_.o_bias);
    if (find(at + "ffn_gate.weight") == nullptr) { // Phi-3: gate's rows before up's
      layer.gate_up.push_back(linear(at + "ffn_up", 2 * inner, h, m_.mlp_bias));
    } else {
      layer.gate_up.push_back(linear(at + "ffn_gate", inner, h, m_.mlp_bias));
      layer.gate_up.push_back(linear(at + "ffn_up", inner, h, m_.mlp_bias));
    }
    layer.down = linear(at + "ffn_down", h, inner, m_.mlp_bias);
    c_.layers_.push_back(std::move(layer));
  }
}

// --- the checkpoint --------------------------------------------------------------------------------------------------

namespace {

fs::path only_gguf(const fs::path& folder) {
  std::vector<fs::path> found;
  for (const auto& entry : fs::directory_iterator(folder))
    if (entry.path().extension() == ".gguf") found.push_back(entry.path());
  std::sort(found.begin(), found.end());
  if (found.empty())
    throw Error(SPF_NOT_FOUND, folder.string(), "weights", "missing",
                "config.json with model.safetensors or model.safetensors.index.json, or one *.gguf");
  if (found.size() > 1)
    throw Error(SPF_INVALID_ARGUMENT, folder.string(), "weights", std::to_string(found.size()) + " GGUF files",
                "one; name the file");
  return found.front();
}

} // namespace

Checkpoint Checkpoint::open(const fs::path& path) {
  if (!fs::exists(path)) throw Error(SPF_NOT_FOUND, path.string(), "checkpoint", "missing", "a folder or a file");
  fs::path file = path;
  if (fs::is_directory(path)) {
    const fs::path index = path / "model.safetensors.index.json", single = path / "model.safetensors";
    file = fs::exists(index) ? index : fs::exists(single) ? single : only_gguf(path);
  }
  Checkpoint result;
  if (file.extension() == ".gguf") {
    result.gguf_ = std::make_unique<Gguf>(Gguf::open(file));
    result.config_ = gguf_config(*result.gguf_);
    Reader(result).read_gguf();
    return result;
  }
  result.config_ = read_config(file.parent_path() / "config.json");
  result.set_ = TensorSet::open_safetensors(file);
  Reader(result).read_safetensors();
  return result;
}

std::vector<const Linear*> Checkpoint::linears() const {
  std::vector<const Linear*> all;
  for (const DecoderLayer& layer : layers_) {
    for (const Linear& l : layer.qkv) all.push_back(&l);
    all.push_back(&layer.o);
    for (const Linear& l : layer.gate_up) all.push_back(&l);
    all.push_back(&layer.down);
  }
  all.push_back(&lm_head_);
  return all;
}

namespace {

// The index of the first of `count` codes whose exponent is all ones, or `count`. For types that code infinity and NaN
// so; at memory speed, as a checkpoint is read whole.
template <class Code>
int64_t first_all_ones(const std::byte* codes, int64_t count, Code exponent) {
  constexpr int64_t kChunk = 4096;
  for (int64_t at = 0; at < count; at += kChunk) {
    const int64_t end = std::min(count, at + kChunk);
    bool any = false;
    for (int64_t i = at; i < end; ++i) {
      Code code; // tensors of a file may lie at any address
      std::memcpy(&code, codes + i * static_cast<int64_t>(sizeof code), sizeof code);
      any |= (code & exponent) == exponent;
    }
    for (int64_t i = at; any && i < end; ++i) {
      Code code;
      std::memcpy(&code, codes + i * static_cast<int64_t>(sizeof code), sizeof code);
      if ((code & exponent) == exponent) return i;
    }
  }
  return count;
}

int64_t first_not_finite(spf_scalar_type type, const std::byte* codes, int64_t count) {
  switch (type) {
    case SPF_F32:
      return first_all_ones<uint32_t>(codes, count, 0x7f800000u);
    case SPF_BF16:
      return first_all_ones<uint16_t>(codes, count, 0x7f80u);
    default:
      return first_all_ones<uint16_t>(codes, count, 0x7c00u);
  }
}

} // namespace

void Checkpoint::check_finite() const {
  for (const TensorEntry& tensor : tensors().tensors()) {
    const spf_scalar_type type = dtype_info(tensor.dtype).scalar;
    if (!is_float(type)) continue;
    const int64_t at = first_not_finite(type, tensor.bytes.data(), tensor.elements());
    if (at == tensor.elements()) continue;
    double value = 0;
    std::byte code[8];
    const auto unit = static_cast<size_t>(dtype_info(tensor.dtype).block_bytes);
    std::memcpy(code, tensor.bytes.data() + static_cast<size_t>(at) * unit, unit);
    check(spf_decode(type, code, 1, &value));
    throw Error(SPF_CORRUPT_DATA, tensors().name(), tensor.name + "[" + std::to_string(at) + "]",
                std::isnan(value) ? "NaN" : "infinite", "finite numbers");
  }
}

} // namespace spearfish::model
