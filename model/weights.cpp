#include "model/weights.hpp"

#include <algorithm>
#include <cstring>

#include "model/parallel.hpp"
#include "model/rope_table.hpp"

namespace spearfish::model {
namespace {

size_t bytes_of(ScalarType type, int64_t count) {
  return static_cast<size_t>(count) * static_cast<size_t>(spearfish::describe(type).bits / 8);
}

int64_t elements(const spf_tensor& view) {
  int64_t count = 1;
  for (int d = 0; d < view.rank; ++d) count *= view.shape[d];
  return count;
}

// `count` numbers from one type to another, one rounding.
void convert(ScalarType from, const void* source, ScalarType to, void* target, int64_t count) {
  if (from == to) {
    if (count > 0) std::memcpy(target, source, bytes_of(to, count));
    return;
  }
  constexpr int64_t kChunk = 4096;
  double values[kChunk];
  for (int64_t at = 0; at < count; at += kChunk) {
    const int64_t n = std::min(kChunk, count - at);
    check(spf_decode(from, static_cast<const std::byte*>(source) + bytes_of(from, at), n, values));
    check(spf_encode(to, values, n, static_cast<std::byte*>(target) + bytes_of(to, at)));
  }
}

// A matrix of any format, row by row, in a plain type.
void decode_rows(const spf_quantized_weight& weight, ScalarType to, std::byte* target) {
  if (weight.scheme.format == SPF_FORMAT_PLAIN) {
    convert(weight.codes.type, weight.codes.data, to, target, weight.n * weight.k);
    return;
  }
  // Block formats: rows are independent, so a few at a time keep the f32 copy small.
  constexpr int64_t kRows = 256;
  std::vector<float> values(static_cast<size_t>(std::min(kRows, weight.n) * weight.k));
  for (int64_t row = 0; row < weight.n; row += kRows) {
    spf_quantized_weight part = weight;
    part.n = std::min(kRows, weight.n - row);
    part.codes.shape[0] = part.n;
    part.codes.data = static_cast<std::byte*>(weight.codes.data) + row * weight.codes.stride[0];
    check(spf_dequantize(&part, values.data()));
    convert(SPF_F32, values.data(), to, target + bytes_of(to, row * weight.k), part.n * weight.k);
  }
}

// What linear() or an op of quantized activations plans for a weight that is not there yet; an empty layout leaves the
// choice open.
Plan plan_for(const DeviceLinear& linear, const std::string& layout, ScalarType in, ScalarType out, int64_t rows,
              const RunnerOptions& options, const DeviceFacts* facts) {
  spf_packed_weight weight = unpacked_weight(linear.group.scheme, linear.group.n, linear.group.k, options.device);
  std::memcpy(weight.layout, layout.c_str(), std::min(layout.size(), sizeof weight.layout - 1));
  const bool scaled = linear.input != SPF_TYPE_NONE;
  const Tensor y(nullptr, out, {rows, linear.group.n}, options.device);
  const OptionalTensor bias = linear.group.has_bias()
                                  ? OptionalTensor(Tensor(nullptr, linear.group.parts.front().linear->bias.type,
                                                          {linear.group.n}, options.device))
                                  : std::nullopt;
  Plan plan;
  Launch launch(options.device);
  launch.allow_activation_8bit(options.allow_activation_8bit);
  if (facts != nullptr)
    launch.plan_only(plan, *facts);
  else
    launch.plan_only(plan);
  if (scaled)
    linear.multiply(linear.input_codes(nullptr, rows, options.device),
                    linear.input_scales(nullptr, rows, options.device), weight, bias, y, launch);
  else
    spearfish::linear(Tensor(nullptr, in, {rows, linear.group.k}, options.device), weight, bias, y, launch);
  return plan;
}

// What the checkpoint means the layers of a group to read; NONE where they do not agree.
ScalarType block_input(const LinearGroup& group) {
  ScalarType input = group.parts.front().linear->block_input;
  for (const LinearPart& part : group.parts)
    if (part.linear->block_input != input) input = SPF_TYPE_NONE;
  return input;
}

} // namespace

void DeviceLinear::multiply(const Tensor& codes, const Tensor& scales, const spf_packed_weight& weight,
                            const OptionalTensor& its_bias, const Tensor& out, const Launch& launch) const {
  switch (input_blocks()) {
    case SPF_FORMAT_NVFP4:
      return nvfp4_linear({codes, scales}, weight, out, {alpha, its_bias}, launch);
    case SPF_FORMAT_MXFP4:
      return mxfp4_linear({codes, scales}, weight, out, {{}, its_bias}, launch);
    case SPF_FORMAT_MXFP8:
      return mxfp8_linear({codes, scales}, weight, out, {{}, its_bias}, launch);
    default:
      return scaled_linear(codes, scales, weight, out, {its_bias, {}, {}, {}, {}}, launch);
  }
}

std::vector<DeviceLinear> ModelWeights::group(const std::vector<const Linear*>& linears) const {
  std::vector<LinearPart> parts;
  for (const Linear* linear : linears) {
    const spf_quantized_weight* chosen = options_.weight ? options_.weight(*linear) : nullptr;
    if (chosen != nullptr && (chosen->n != linear->weight.n || chosen->k != linear->weight.k))
      throw spearfish::Error(SPF_INVALID_SHAPE, "runner: the weight given for " + linear->name + " is [" +
                                                    std::to_string(chosen->n) + ", " + std::to_string(chosen->k) +
                                                    "]; allowed: [" + std::to_string(linear->weight.n) + ", " +
                                                    std::to_string(linear->weight.k) + "]");
    parts.push_back({linear, chosen != nullptr ? chosen : &linear->weight});
  }
  std::vector<DeviceLinear> out;
  for (LinearGroup& g : group_linears(parts)) {
    out.emplace_back();
    out.back().group = std::move(g);
  }
  return out;
}

ModelWeights::ModelWeights(const Checkpoint& checkpoint, const RunnerOptions& options)
    : checkpoint_(checkpoint), options_(options) {
  const auto all = [](const std::vector<Linear>& linears) {
    std::vector<const Linear*> out;
    for (const Linear& linear : linears) out.push_back(&linear);
    return out;
  };
  for (const DecoderLayer& from : checkpoint.layers()) {
    DeviceLayer layer;
    layer.qkv = group(all(from.qkv));
    layer.o = group({&from.o});
    layer.gate_up = group(all(from.gate_up));
    layer.down = group({&from.down});
    layers_.push_back(std::move(layer));
  }
  if (checkpoint.config().tied_embeddings) { // the embedding is what it is: nobody is asked for another
    lm_head_.emplace_back();
    lm_head_.back().group = group_linears({{&checkpoint.lm_head(), &checkpoint.lm_head().weight}}).front();
  } else {
    lm_head_ = group({&checkpoint.lm_head()});
  }
}

std::vector<DeviceLinear*> ModelWeights::linears() {
  std::vector<DeviceLinear*> out;
  for (DeviceLayer& layer : layers_)
    for (std::vector<DeviceLinear>* group : {&layer.qkv, &layer.o, &layer.gate_up, &layer.down})
      for (DeviceLinear& linear : *group) out.push_back(&linear);
  out.push_back(&lm_head_.front());
  return out;
}

void ModelWeights::choose_layouts(const DeviceFacts* facts, int64_t prefill_rows) {
  for (DeviceLinear* linear : linears()) {
    const spf_quant_scheme& scheme = linear->group.scheme;
    const ScalarType wish = options_.linear_input != SPF_TYPE_NONE ? options_.linear_input : block_input(linear->group);
    if (wish != SPF_TYPE_NONE && linear != &lm_head_.front()) {
      linear->input = wish;
      linear->input_group = scheme.weight == SPF_E4M3 && scheme.group_k == 128 ? 128 : 0;
      try {
        choose_layout(*linear, facts, prefill_rows);
        quantizes_inputs_ = true;
        continue;
      } catch (const spearfish::Error&) { // nothing multiplies this weight so
        linear->input = SPF_TYPE_NONE;
        linear->input_group = 0;
      }
    }
    try {
      choose_layout(*linear, facts, prefill_rows);
    } catch (const spearfish::Error& e) {
      throw spearfish::Error(e.status(), linear->group.name() + " (" + scheme_name(scheme) + "): " + e.what());
    }
  }
}

void ModelWeights::choose_layout(DeviceLinear& linear, const DeviceFacts* facts, int64_t prefill_rows) const {
  const ScalarType out = &linear == &lm_head_.front() ? SPF_F32 : options_.activation;
  const auto ask = [&](const std::string& layout, int64_t rows) {
    Plan plan = plan_for(linear, layout, options_.activation, out, rows, options_, facts);
    // Blocks that the caller asks for are worth the wait: on a CPU they tell what such inputs cost.
    const bool asked = options_.linear_input != SPF_TYPE_NONE && linear.input_blocks() != SPF_FORMAT_NONE;
    if (linear.input != SPF_TYPE_NONE && !asked && plan.kernel() == "linear/reference")
      throw spearfish::Error(SPF_UNSUPPORTED, "only the reference multiplies it so");
    return plan;
  };
  const auto reads = [&](const std::string& layout, int64_t rows) {
    try {
      ask(layout, rows);
      return true;
    } catch (const spearfish::Error&) {
      return false;
    }
  };
  linear.layout = ask("", options_.batch).layout();
  if (!reads(linear.layout, prefill_rows)) {
    linear.layout = ask("", prefill_rows).layout();
    ask(linear.layout, options_.batch);
  }
  check(spf_pack_size(&linear.group.scheme, linear.layout.c_str(), linear.group.n, linear.group.k, &linear.bytes));
}

// --- layout ----------------------------------------------------------------------------------------------------------

void ModelWeights::lay_out(Carver& carver, DeviceLinear& linear) {
  const LinearGroup& g = linear.group;
  linear.packed = unpacked_weight(g.scheme, g.n, g.k, options_.device);
  std::memcpy(linear.packed.layout, linear.layout.c_str(), linear.layout.size());
  std::byte* at = carver.take(linear.bytes);
  pieces_.push_back({at, linear.bytes, [this, &linear, at](std::byte* host) {
                       const JoinedWeight joined(linear.group);
                       check(spf_pack(&joined.weight(), linear.layout.c_str(), host, linear.bytes, &linear.packed));
                       linear.packed.data = at;
                       linear.packed.device = options_.device;
                     }});
  if (linear.input_blocks() == SPF_FORMAT_NVFP4) {
    linear.factor = g.parts.front().linear->block_input_factor; // the least holds the largest numbers of all
    for (const LinearPart& part : g.parts) linear.factor = std::min(linear.factor, part.linear->block_input_factor);
    std::byte* numbers = carver.take(2 * sizeof(float));
    pieces_.push_back({numbers, 2 * sizeof(float), [factor = linear.factor](std::byte* host) {
                         const float both[] = {factor, 1 / factor};
                         std::memcpy(host, both, sizeof both);
                       }});
    linear.input_factor = Tensor(numbers, SPF_F32, {1}, options_.device);
    linear.alpha = Tensor(numbers == nullptr ? nullptr : numbers + sizeof(float), SPF_F32, {1}, options_.device);
  }
  if (!g.has_bias()) return;
  const ScalarType type = g.parts.front().linear->bias.type;
  std::byte* bias = carver.take(bytes_of(type, g.n));
  pieces_.push_back({bias, bytes_of(type, g.n), [&g, type](std::byte* host) {
                       for (const LinearPart& part : g.parts) {
                         const size_t bytes = bytes_of(type, part.weight->n);
                         std::memcpy(host, part.linear->bias.data, bytes);
                         host += bytes;
                       }
                     }});
  linear.bias = Tensor(bias, type, {g.n}, options_.device);
}

OptionalTensor ModelWeights::lay_out(Carver& carver, const spf_tensor& host, ScalarType type) {
  if (host.type == SPF_TYPE_NONE) return std::nullopt;
  const int64_t count = elements(host);
  std::byte* at = carver.take(bytes_of(type, count));
  pieces_.push_back({at, bytes_of(type, count),
                     [&host, type, count](std::byte* to) { convert(host.type, host.data, type, to, count); }});
  return Tensor(at, type, {count}, options_.device);
}

OptionalTensor ModelWeights::lay_out_embedding(Carver& carver) {
  const spf_quantized_weight& table = checkpoint_.embedding().weight;
  const ScalarType type = options_.activation;
  const Shape shape = {table.n, table.k};
  const bool as_it_is = table.scheme.format == SPF_FORMAT_PLAIN && table.codes.type == type;
  if (as_it_is && options_.device == Device::cpu()) return Tensor(table.codes.data, type, shape);
  const size_t bytes = bytes_of(type, table.n * table.k);
  std::byte* at = carver.take(bytes);
  pieces_.push_back({at, bytes, [&table, type](std::byte* host) { decode_rows(table, type, host); }});
  return Tensor(at, type, shape, options_.device);
}

size_t ModelWeights::lay_out(std::byte* base) {
  const ModelConfig& config = checkpoint_.config();
  const ScalarType type = options_.activation;
  Carver carver(base);
  pieces_.clear();
  embedding_ = lay_out_embedding(carver);
  final_norm_ = lay_out(carver, checkpoint_.final_norm(), type);
  for (size_t i = 0; i < layers_.size(); ++i) {
    const DecoderLayer& from = checkpoint_.layers()[i];
    DeviceLayer& layer = layers_[i];
    layer.attention_norm = lay_out(carver, from.attention_norm, type);
    layer.attention_post_norm = lay_out(carver, from.attention_post_norm, type);
    layer.mlp_norm = lay_out(carver, from.mlp_norm, type);
    layer.mlp_post_norm = lay_out(carver, from.mlp_post_norm, type);
    layer.q_norm = lay_out(carver, from.q_norm, type);
    layer.k_norm = lay_out(carver, from.k_norm, type);
  }
  for (DeviceLinear* linear : linears()) lay_out(carver, *linear);
  ropes_.clear();
  for (const RopeConfig& rope : config.ropes) {
    const int64_t positions = options_.context;
    const size_t bytes = bytes_of(SPF_F32, positions * rope.rotary_dim);
    std::byte* at = carver.take(bytes);
    pieces_.push_back({at, bytes, [&rope, positions](std::byte* host) {
                         fill_rope_table(rope, positions, reinterpret_cast<float*>(host));
                       }});
    ropes_.emplace_back(Tensor(at, SPF_F32, {positions, rope.rotary_dim}, options_.device));
  }
  return carver.used();
}

void ModelWeights::load(DeviceMemory& memory) {
  if (memory.is_cpu()) {
    parallel_for(static_cast<int64_t>(pieces_.size()), [&](int64_t i) {
      const Piece& piece = pieces_[static_cast<size_t>(i)];
      piece.fill(piece.at);
    });
    pieces_.clear();
    return;
  }
  // Packed on all cores, then copied: as many pieces at a time as fit in here, at least one.
  constexpr size_t kStaging = size_t{256} << 20;
  Buffer staging;
  for (size_t first = 0, end = 0; first < pieces_.size(); first = end) {
    Carver sizes(nullptr);
    while (end < pieces_.size() && (end == first || sizes.used() + pieces_[end].bytes <= kStaging))
      sizes.take(pieces_[end++].bytes);
    if (sizes.used() > staging.size()) staging = Buffer(sizes.used());
    Carver carver(static_cast<std::byte*>(staging.data()));
    std::vector<std::byte*> at;
    for (size_t i = first; i < end; ++i) at.push_back(carver.take(pieces_[i].bytes));
    parallel_for(static_cast<int64_t>(at.size()),
                 [&](int64_t i) { pieces_[first + static_cast<size_t>(i)].fill(at[static_cast<size_t>(i)]); });
    for (size_t i = first; i < end; ++i) memory.copy_in(pieces_[i].at, at[i - first], pieces_[i].bytes);
    memory.wait();
  }
  pieces_.clear();
}

} // namespace spearfish::model
