#include "model/quantize.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "model/checkpoint_writer.hpp"
#include "model/input_scales.hpp"

namespace spearfish::model {
namespace {

namespace fs = std::filesystem;

constexpr const char* kCompressedTensors[] = {
    "int4-g128", "int4-g64", "int4-g32",    "int4-g128-asym", "int4-g32-asym", "int4-channel", "int8",
    "int8-g128", "fp8",      "fp8-channel", "fp8-block",      "nvfp4",         "mxfp4"};
constexpr const char* kGguf[] = {"q4_0", "q4_1", "q5_0", "q5_1", "q8_0", "q2_k", "q3_k", "q4_k", "q5_k", "q6_k"};

std::vector<float> values_of(const Linear& linear, const std::string& file) {
  std::vector<float> w(static_cast<size_t>(linear.weight.n * linear.weight.k));
  check(spf_dequantize(&linear.weight, w.data()));
  const auto bad = std::find_if(w.begin(), w.end(), [](float v) { return !std::isfinite(v); });
  if (bad != w.end())
    throw Error(SPF_CORRUPT_DATA, file, linear.name + ".weight[" + std::to_string(bad - w.begin()) + "]",
                std::isnan(*bad) ? "NaN" : "infinite", "finite numbers");
  return w;
}

// --- rounding to nearest ---------------------------------------------------------------------------------------------

// The usual factor of schemes that have one: of the largest of several weights, which other tools keep as one.
float global_scale_of(const QuantScheme& scheme, const std::vector<const std::vector<float>*>& weights) {
  if (!scheme.has_global_scale) return 0;
  float peak = 0;
  for (const std::vector<float>* w : weights)
    for (const float v : *w) peak = std::max(peak, std::fabs(v));
  const float one[] = {peak > 0 ? peak : 1.0f};
  const QuantizedWeight of_peak = QuantizedWeight::quantize(scheme, 1, 1, one);
  float factor = 0;
  std::memcpy(&factor, of_peak.get()->global_scale.data, sizeof factor);
  return factor;
}

QuantizedWeight round_to_nearest(const QuantScheme& scheme, int64_t n, int64_t k, const std::vector<float>& w,
                                 float global_scale) {
  if (!scheme.has_global_scale) return QuantizedWeight::quantize(scheme, n, k, w.data());
  spf_scalar_type_info info = {};
  info.struct_size = sizeof info;
  check(spf_scalar_type_describe(scheme.weight, &info));
  std::vector<float> scales;
  for (int64_t row = 0; row < n; ++row)
    for (int64_t at = 0; at < k; at += scheme.group_k) {
      float peak = 0;
      for (int64_t c = at; c < std::min<int64_t>(k, at + scheme.group_k); ++c)
        peak = std::max(peak, std::fabs(w[static_cast<size_t>(row * k + c)]));
      scales.push_back(peak / static_cast<float>(info.max_value) / global_scale);
    }
  return QuantizedWeight::quantize(scheme, n, k, w.data(), scales.data(), nullptr, global_scale);
}

// --- one layer -------------------------------------------------------------------------------------------------------

// Linears that read the same rows, with their weights, which grow by what is folded into them.
struct Site {
  struct Member {
    const Linear* linear = nullptr;
    QuantScheme scheme = {};
    std::vector<float> w;
  };
  std::vector<Member> members;
  const InputMoments* moments = nullptr; // of the inputs before scaling
  std::vector<float> scales;             // empty: none
};

class LayerQuantizer {
 public:
  LayerQuantizer(const Checkpoint& source, const QuantizeOptions& options, CheckpointWriter& writer,
                 QuantizeReport& report, NormValues& norms)
      : source_(source), model_(source.config()), options_(options), writer_(writer), report_(report), norms_(norms) {}

  void embedding(const Linear& linear) {
    const auto scheme = writer_.scheme_of(linear);
    if (!scheme) return;
    Site site = site_of({&linear}, nullptr);
    write(site);
  }

  void layer(size_t index) {
    const DecoderLayer& layer = source_.layers()[index];
    LayerMoments moments;
    if (options_.moments) moments = options_.moments(index);
    Site qkv = site_of(pointers(layer.qkv), moments.qkv), o = site_of({&layer.o}, moments.o);
    Site gate_up = site_of(pointers(layer.gate_up), moments.gate_up), down = site_of({&layer.down}, moments.down);
    if (options_.moments && options_.scale_inputs) {
      scale_by_norm(qkv, layer.attention_norm);
      scale_o(layer, qkv, o);
      scale_by_norm(gate_up, layer.mlp_norm);
      scale_down(layer, gate_up, down);
    }
    for (Site* site : {&qkv, &o, &gate_up, &down}) write(*site);
  }

 private:
  static std::vector<const Linear*> pointers(const std::vector<Linear>& linears) {
    std::vector<const Linear*> all;
    for (const Linear& linear : linears) all.push_back(&linear);
    return all;
  }

  Site site_of(const std::vector<const Linear*>& linears, const InputMoments* moments) {
    Site site;
    site.moments = moments;
    for (const Linear* linear : linears) {
      const auto scheme = writer_.scheme_of(*linear);
      if (!scheme) {
        report_.plain.push_back(linear->name);
        continue;
      }
      site.members.push_back({linear, *scheme, values_of(*linear, source_.tensors().name())});
    }
    // Inputs cannot be scaled for some of their readers only.
    if (site.members.size() != linears.size()) site.moments = nullptr;
    return site;
  }

  std::optional<std::vector<float>> search(const Site& site, const ChannelSharing& sharing = {}) const {
    if (site.moments == nullptr || site.members.empty() || site.members[0].scheme.format == SPF_FORMAT_PLAIN)
      return std::nullopt;
    std::vector<Reader> readers;
    for (const Site::Member& m : site.members) readers.push_back({m.linear->weight.n, m.w.data()});
    return search_input_scales(site.members[0].scheme, readers, *site.moments, sharing);
  }

  // The norm before the site takes 1 / scales; what its type can hold of that decides the scales.
  void scale_by_norm(Site& site, const spf_tensor& norm) {
    auto scales = search(site);
    if (!scales) return;
    std::vector<float> values = float_values(norm);
    for (size_t c = 0; c < values.size(); ++c) {
      const double old = values[c] + model_.norm_offset;
      double fresh = old / static_cast<double>((*scales)[c]);
      if (!writer_.norms_are_f32()) {
        const double stored = fresh - model_.norm_offset;
        uint32_t code = 0;
        check(spf_encode(norm.type, &stored, 1, &code));
        check(spf_decode(norm.type, &code, 1, &fresh));
        fresh += model_.norm_offset;
      }
      const auto kept = static_cast<float>(fresh);
      const bool usable = kept != 0 && std::isfinite(kept);
      values[c] = usable ? kept : static_cast<float>(old);
      (*scales)[c] = usable ? static_cast<float>(old / static_cast<double>(kept)) : 1.0f;
    }
    norms_[norm.data] = std::move(values);
    take(site, std::move(*scales));
  }

  // The rows of v take 1 / scales; query heads of one key/value head share theirs.
  void scale_o(const DecoderLayer& layer, Site& qkv, Site& o) {
    if (layer.qkv.size() != 3 || qkv.members.size() != 3 || layer.qkv[2].bias.type != SPF_TYPE_NONE) return;
    ChannelSharing sharing;
    sharing.count = model_.kv_heads * model_.head_dim;
    for (int64_t head = 0; head < model_.heads; ++head)
      for (int64_t d = 0; d < model_.head_dim; ++d)
        sharing.number.push_back(head * model_.kv_heads / model_.heads * model_.head_dim + d);
    auto scales = search(o, sharing);
    if (!scales) return;
    std::vector<float> of_rows(static_cast<size_t>(sharing.count));
    for (size_t c = 0; c < scales->size(); ++c) of_rows[static_cast<size_t>(sharing.number[c])] = (*scales)[c];
    unscale_rows(qkv.members[2].w, of_rows);
    take(o, std::move(*scales));
  }

  // The rows of up take 1 / scales: its outputs only multiply the gate's.
  void scale_down(const DecoderLayer& layer, Site& gate_up, Site& down) {
    if (layer.gate_up.size() != 2 || gate_up.members.size() != 2 || layer.gate_up[1].bias.type != SPF_TYPE_NONE) return;
    auto scales = search(down);
    if (!scales) return;
    unscale_rows(gate_up.members[1].w, *scales);
    take(down, std::move(*scales));
  }

  static void take(Site& site, std::vector<float> scales) {
    for (Site::Member& m : site.members) scale_columns(m.w, scales);
    site.scales = std::move(scales);
  }

  void write(Site& site) {
    std::vector<const std::vector<float>*> weights;
    for (const Site::Member& m : site.members) weights.push_back(&m.w);
    std::optional<InputMoments> scaled;
    if (site.moments != nullptr && !site.scales.empty()) scaled = site.moments->divided_by(site.scales);
    const InputMoments* moments = scaled ? &*scaled : site.moments;
    for (const Site::Member& m : site.members) {
      if (options_.progress) options_.progress(done_++, total(), m.linear->name);
      write(m, moments, global_scale_of(m.scheme, weights), !site.scales.empty());
    }
  }

  void write(const Site::Member& m, const InputMoments* moments, float global, bool is_scaled) {
    const int64_t n = m.linear->weight.n, k = m.linear->weight.k;
    QuantizedLinear row;
    row.name = m.linear->name;
    row.n = n;
    row.k = k;
    row.method = is_scaled ? "awq + nearest" : "nearest";
    const QuantizedWeight nearest = round_to_nearest(m.scheme, n, k, m.w, global);
    const QuantizedWeight* best = &nearest;
    std::optional<RoundedWeight> corrected;
    if (moments != nullptr && m.scheme.format != SPF_FORMAT_PLAIN) {
      const std::vector<float> nothing(m.w.size(), 0.0f);
      const double all = output_error(*moments, n, m.w.data(), nothing.data());
      const auto relative = [&](const QuantizedWeight& q) {
        const double error = output_error(*moments, n, m.w.data(), q.dequantize().data());
        return all > 0 ? std::sqrt(error / all) : 0.0;
      };
      row.error = row.nearest_error = relative(nearest);
      corrected = gptq(m.scheme, n, k, m.w.data(), *moments, options_.gptq, global);
      if (const double error = relative(corrected->weight()); error < row.error) {
        row.error = error;
        row.method = is_scaled ? "awq + gptq" : "gptq";
        best = &corrected->weight();
      }
    }
    row.scheme = scheme_name(m.scheme);
    writer_.write(*m.linear, *best);
    report_.linears.push_back(std::move(row));
  }

  // The name of a scheme whatever its scales are stored as.
  static std::string scheme_name(QuantScheme scheme) {
    for (const std::string& name : quant_scheme_names()) {
      QuantScheme named = quant_scheme(name);
      named.scale = scheme.scale;
      if (std::memcmp(&named, &scheme, sizeof named) == 0) return name;
    }
    return "";
  }

  size_t total() {
    if (total_ > 0) return total_;
    total_ = writer_.scheme_of(source_.embedding()) ? 1 : 0;
    for (const Linear* linear : source_.linears()) total_ += writer_.scheme_of(*linear) ? 1 : 0;
    return total_;
  }

  const Checkpoint& source_;
  const ModelConfig& model_;
  const QuantizeOptions& options_;
  CheckpointWriter& writer_;
  QuantizeReport& report_;
  NormValues& norms_;
  size_t done_ = 0, total_ = 0;
};

uint64_t bytes_of(const TensorSet& set) {
  uint64_t bytes = 0;
  for (const TensorEntry& tensor : set.tensors()) bytes += tensor.bytes.size();
  return bytes;
}

// What was written must say of the model what the source said.
void compare(const ModelConfig& a, const ModelConfig& b, const std::string& file) {
  const auto refuse = [&](const char* what) {
    throw Error(SPF_UNSUPPORTED, file, what, "not what the source says", "models that this file format can describe");
  };
  const auto near = [](double x, double y) { return std::fabs(x - y) <= 1e-6 * std::max(std::fabs(x), std::fabs(y)); };
  if (a.hidden != b.hidden || a.intermediate != b.intermediate || a.vocab != b.vocab || a.heads != b.heads ||
      a.kv_heads != b.kv_heads || a.head_dim != b.head_dim || a.layers.size() != b.layers.size())
    refuse("sizes");
  for (size_t i = 0; i < a.layers.size(); ++i) {
    const LayerConfig &x = a.layers[i], &y = b.layers[i];
    if (x.window != y.window) refuse("sliding window");
    const RopeConfig &p = a.ropes[static_cast<size_t>(x.rope)], &q = b.ropes[static_cast<size_t>(y.rope)];
    if (!near(p.theta, q.theta) || p.rotary_dim != q.rotary_dim) refuse("rotation");
  }
  if (!near(a.norm_eps, b.norm_eps)) refuse("norm epsilon");
  if (!near(a.attention_scale, b.attention_scale)) refuse("attention scale");
  if (!near(a.attention_softcap, b.attention_softcap) || !near(a.logit_softcap, b.logit_softcap)) refuse("soft cap");
  if (a.activation != b.activation) refuse("activation");
  if (!near(a.embedding_scale, b.embedding_scale)) refuse("embedding scale");
  if (a.norms != b.norms || a.qk_norm != b.qk_norm) refuse("norms");
  if (a.q_bias != b.q_bias || a.o_bias != b.o_bias || a.mlp_bias != b.mlp_bias) refuse("biases");
}

} // namespace

std::vector<std::string> quantize_formats() {
  std::vector<std::string> names(std::begin(kCompressedTensors), std::end(kCompressedTensors));
  names.insert(names.end(), std::begin(kGguf), std::end(kGguf));
  return names;
}

bool writes_gguf(std::string_view format) {
  return std::find(std::begin(kGguf), std::end(kGguf), format) != std::end(kGguf);
}

QuantizeReport quantize_checkpoint(const Checkpoint& source, const fs::path& path, const fs::path& out,
                                   const QuantizeOptions& options) {
  const std::vector<std::string> formats = quantize_formats();
  if (std::find(formats.begin(), formats.end(), options.format) == formats.end())
    throw Error(SPF_INVALID_ARGUMENT, "", "format", options.format,
                std::accumulate(formats.begin() + 1, formats.end(), formats[0],
                                [](const std::string& a, const std::string& b) { return a + ", " + b; }));
  OutputFolder folder(out);
  const fs::path source_folder = fs::is_directory(path) ? path : path.parent_path();
  const auto writer =
      writes_gguf(options.format)
          ? gguf_writer(source, source_folder, options.format, folder.folder())
          : compressed_tensors_writer(source, source_folder, quant_scheme(options.format), folder.folder());
  QuantizeReport report;
  NormValues norms;
  LayerQuantizer quantizer(source, options, *writer, report, norms);
  quantizer.embedding(source.embedding());
  for (size_t i = 0; i < source.layers().size(); ++i) quantizer.layer(i);
  if (!source.config().tied_embeddings) {
    if (writer->scheme_of(source.lm_head()))
      quantizer.embedding(source.lm_head());
    else
      report.plain.push_back(source.lm_head().name);
  }
  writer->finish(norms);
  const Checkpoint written = Checkpoint::open(folder.folder());
  compare(source.config(), written.config(), written.tensors().name());
  report.source_bytes = bytes_of(source.tensors());
  report.bytes = bytes_of(written.tensors());
  folder.commit();
  return report;
}

} // namespace spearfish::model
