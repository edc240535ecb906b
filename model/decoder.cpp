#include "model/decoder.hpp"

#include <algorithm>
#include <cmath>

namespace spearfish::model {
namespace {

// Logits are computed for as many rows at once as this holds.
constexpr int64_t kLogitBytes = int64_t{16} << 20;

// `value` as the scalar type holds it.
double rounded(double value, ScalarType type) {
  std::byte code[8] = {};
  check(spf_encode(type, &value, 1, code));
  check(spf_decode(type, code, 1, &value));
  return value;
}

// Codes of a linear layer's input, and a scale for each token, 128 of its columns, or block.
void quantize_input(const DeviceLinear& linear, const Tensor& x, const Tensor& codes, const Tensor& scales,
                    const Launch& launch) {
  const spf_format blocks = linear.input_blocks();
  if (blocks == SPF_FORMAT_NVFP4)
    nvfp4_quantize(x, *linear.input_factor, codes, {std::nullopt, scales}, launch);
  else if (blocks == SPF_FORMAT_MXFP4)
    mxfp4_quantize(x, codes, {std::nullopt, scales}, SPF_MX_SCALE_NEAREST, launch);
  else if (blocks == SPF_FORMAT_MXFP8)
    mxfp8_quantize(x, codes, {std::nullopt, scales}, SPF_MX_SCALE_UP, launch);
  else if (linear.input == SPF_S8)
    dynamic_scaled_int8_quant(x, codes, scales, std::nullopt, launch);
  else if (linear.input_group == 0)
    dynamic_per_token_scaled_fp8_quant(x, std::nullopt, codes, scales, launch);
  else
    per_token_group_fp8_quant(x, std::nullopt, codes, scales, {linear.input_group}, launch);
}

// Whether two linear layers read the same codes of one x.
bool same_input(const DeviceLinear& a, const DeviceLinear& b) {
  return a.input == b.input && a.input_group == b.input_group && a.input_blocks() == b.input_blocks() &&
         a.factor == b.factor;
}

} // namespace

Decoder::Decoder(const Checkpoint& checkpoint, const RunnerOptions& options, const ModelWeights& weights)
    : config_(checkpoint.config()),
      options_(options),
      weights_(weights),
      blocks_per_sequence_((options.context + options.block_size - 1) / options.block_size),
      rows_(std::max(options.step_tokens, options.batch)),
      logit_rows_(std::max(options.batch, std::min(rows_, kLogitBytes / (4 * config_.vocab)))),
      norm_{config_.norm_eps, config_.norm_offset != 0} {}

size_t Decoder::cache_bytes() const {
  const int64_t page =
      options_.block_size * config_.kv_heads * config_.head_dim * (spearfish::describe(options_.activation).bits / 8);
  return static_cast<size_t>(2 * static_cast<int64_t>(config_.layers.size()) * cache_blocks() * page);
}

// --- memory ----------------------------------------------------------------------------------------------------------

template <class Carve>
void Decoder::carve_inputs(const Carve& carve) {
  const int64_t batch = options_.batch;
  carve(ids, rows_);
  carve(positions, rows_);
  carve(slots, rows_);
  carve(query_offsets, 2);
  carve(lengths, batch);
  carve(tables, batch * blocks_per_sequence_);
  carve(temperature, batch);
  carve(top_p, batch);
  carve(min_p, batch);
  carve(top_k, batch);
  carve(seeds, batch);
  carve(draw_positions, batch);
}

template <class Carve>
void Decoder::carve_results(const Carve& carve) {
  carve(drawn, options_.batch);
  carve(flags, options_.batch);
}

size_t Decoder::lay_out(std::byte* activations, std::byte* cache) {
  Carver carver(activations);
  const auto element = static_cast<size_t>(spearfish::describe(options_.activation).bits / 8);
  const auto take = [&](int64_t rows, int64_t width) {
    return carver.take(static_cast<size_t>(rows) * static_cast<size_t>(width) * element);
  };
  residual_ = take(rows_, config_.hidden);
  x_ = take(rows_, config_.hidden);
  qkv_ = take(rows_, (config_.heads + 2 * config_.kv_heads) * config_.head_dim);
  attention_ = take(rows_, config_.heads * config_.head_dim);
  gate_up_ = take(rows_, 2 * config_.intermediate);
  inner_ = take(rows_, config_.intermediate);
  if (weights_.quantizes_inputs()) {
    const int64_t widest = std::max({config_.hidden, config_.heads * config_.head_dim, config_.intermediate});
    codes_ = carver.take(static_cast<size_t>(rows_ * widest));
    // A scale of four bytes for 128 columns, or one byte for each block of 16, in tiles of 128 rows x 4.
    const int64_t tiled = (rows_ + 127) / 128 * 128 * ((widest + 63) / 64 * 4);
    code_scales_ = carver.take(
        std::max(static_cast<size_t>(rows_ * ((widest + 127) / 128)) * sizeof(float), static_cast<size_t>(tiled)));
  }
  logits_ = carver.take(static_cast<size_t>(logit_rows_) * static_cast<size_t>(config_.vocab) * sizeof(float));
  cache_ = cache;

  const auto carve = [](Carver& from) {
    return [&from](auto& piece, int64_t count) {
      piece.device = from.take(static_cast<size_t>(count) * sizeof *piece.host);
    };
  };
  // Inputs are one piece, and so are results: each crosses to the device in one copy.
  Carver counting(nullptr);
  carve_inputs(carve(counting));
  input_bytes_ = counting.used();
  input_device_ = carver.take(input_bytes_);
  Carver inputs(input_device_);
  carve_inputs(carve(inputs));
  counting = Carver(nullptr);
  carve_results(carve(counting));
  result_bytes_ = counting.used();
  result_device_ = carver.take(result_bytes_);
  Carver results(result_device_);
  carve_results(carve(results));
  return carver.used();
}

size_t Decoder::host_bytes() const noexcept {
  Carver both(nullptr);
  both.take(input_bytes_);
  both.take(result_bytes_);
  return both.used();
}

void Decoder::set_host(std::byte* host) {
  const auto carve = [](Carver& from) {
    return [&from](auto& piece, int64_t count) {
      piece.host = reinterpret_cast<decltype(piece.host)>(from.take(static_cast<size_t>(count) * sizeof *piece.host));
    };
  };
  Carver both(host);
  input_host_ = both.take(input_bytes_);
  result_host_ = both.take(result_bytes_);
  Carver inputs(input_host_), results(result_host_);
  carve_inputs(carve(inputs));
  carve_results(carve(results));
}

const std::byte* Decoder::logits(int64_t row) const {
  return logits_ + static_cast<size_t>(row) * static_cast<size_t>(config_.vocab) * sizeof(float);
}

// --- views -----------------------------------------------------------------------------------------------------------

Tensor Decoder::rows(std::byte* base, int64_t count, int64_t width) const {
  return {base, options_.activation, {count, width}, options_.device};
}

Tensor Decoder::heads(int64_t first, int64_t count, int64_t rows) const {
  const int64_t size = config_.head_dim, all = config_.heads + 2 * config_.kv_heads;
  const Tensor whole(qkv_, options_.activation, {rows, all, size}, options_.device);
  return whole.slice(1, first, first + count);
}

template <class T>
Tensor Decoder::input(const StepInput<T>& from, const Shape& shape, int64_t first) const {
  std::byte* at = from.device == nullptr ? nullptr : from.device + static_cast<size_t>(first) * sizeof(T);
  return {at, scalar_type_of<T>(), shape, options_.device};
}

// --- programs --------------------------------------------------------------------------------------------------------

void Decoder::project(Program& program, const std::vector<DeviceLinear>& linears, const Tensor& x,
                      const Tensor& out) const {
  int64_t column = 0;
  const DeviceLinear* quantized = nullptr; // whose input the codes are
  for (const DeviceLinear& linear : linears) {
    if (options_.observer != nullptr)
      program.add_host([observer = options_.observer, &linear, x] {
        for (const LinearPart& part : linear.group.parts) observer->observe(*part.linear, x);
      });
    const Tensor part = out.slice(1, column, column + linear.group.n);
    column += linear.group.n;
    if (linear.input == SPF_TYPE_NONE) {
      program.add(linear.group.name(), [&linear, x, part](const Launch& launch) {
        spearfish::linear(x, linear.packed, linear.bias, part, launch);
      });
      continue;
    }
    const int64_t count = x.shape()[0];
    const Tensor codes = linear.input_codes(codes_, count, options_.device);
    const Tensor scales = linear.input_scales(code_scales_, count, options_.device);
    if (quantized == nullptr || !same_input(*quantized, linear))
      program.add("input of " + linear.group.name(), [&linear, x, codes, scales](const Launch& launch) {
        quantize_input(linear, x, codes, scales, launch);
      });
    quantized = &linear;
    program.add(linear.group.name(), [&linear, codes, scales, part](const Launch& launch) {
      linear.multiply(codes, scales, linear.packed, linear.bias, part, launch);
    });
  }
}

void Decoder::attend(Program& program, size_t layer, const Rows& step) const {
  const DeviceLayer& weights = weights_.layers()[layer];
  const LayerConfig& its = config_.layers[layer];
  const int64_t q = config_.heads, k = config_.kv_heads, count = step.count;
  const std::string what = "layer " + std::to_string(layer) + " ";
  const Tensor query = heads(0, q, count), key = heads(q, k, count), value = heads(q + k, k, count);
  project(program, weights.qkv, rows(x_, count, config_.hidden), rows(qkv_, count, (q + 2 * k) * config_.head_dim));

  const size_t rope = static_cast<size_t>(its.rope);
  const Tensor at = input(positions, {count}), angles = *weights_.ropes()[rope], to = input(slots, {count});
  const Shape pages = {cache_blocks(), options_.block_size, k, config_.head_dim};
  const size_t half = cache_bytes() / (2 * config_.layers.size());
  std::byte* cache = cache_ == nullptr ? nullptr : cache_ + 2 * layer * half;
  const Tensor keys(cache, options_.activation, pages, options_.device);
  const Tensor values(cache == nullptr ? nullptr : cache + half, options_.activation, pages, options_.device);
  if (config_.qk_norm) {
    FusedQkNormRopeParams params;
    params.q_heads = q;
    params.k_heads = k;
    params.epsilon = norm_.epsilon;
    params.weight_plus_one = norm_.weight_plus_one;
    params.interleaved = config_.ropes[rope].interleaved;
    program.add(what + "head norms and rotation",
                [all = heads(0, q + 2 * k, count), qw = *weights.q_norm, kw = *weights.k_norm, angles, at,
                 params](const Launch& launch) { fused_qk_norm_rope(all, qw, kw, angles, at, params, launch); });
    program.add(what + "cache", [key, value, keys, values, to](const Launch& launch) {
      reshape_and_cache_flash(key, value, keys, values, to, std::nullopt, std::nullopt, launch);
    });
  } else {
    RotaryEmbeddingParams params;
    params.interleaved = config_.ropes[rope].interleaved;
    program.add(what + "rotation and cache", [=](const Launch& launch) {
      rotary_embedding_and_cache(at, query, key, value, angles, keys, values, to, {}, params, launch);
    });
  }

  AttentionParams params;
  params.scale = config_.attention_scale;
  params.softcap = config_.attention_softcap;
  params.window = its.window;
  const Tensor out(attention_, options_.activation, {count, q, config_.head_dim}, options_.device);
  const int64_t first = std::max<int64_t>(step.sequence, 0), sequences = step.sequence < 0 ? count : 1;
  const Tensor blocks = input(tables, {sequences, blocks_per_sequence_}, first * blocks_per_sequence_);
  const Tensor seen = input(lengths, {sequences}, first);
  if (step.sequence < 0) {
    program.add(what + "attention", [=](const Launch& launch) {
      attention_decode(out, query, keys, values, blocks, seen, params, {}, launch);
    });
  } else {
    program.add(what + "attention", [=, offsets = input(query_offsets, {2})](const Launch& launch) {
      attention_prefill_paged(out, query, keys, values, offsets, blocks, seen, params, {}, launch);
    });
  }
  project(program, weights.o, rows(attention_, count, q * config_.head_dim), rows(x_, count, config_.hidden));
}

void Decoder::feed_forward(Program& program, size_t layer, const Rows& step) const {
  const DeviceLayer& weights = weights_.layers()[layer];
  const Tensor x = rows(x_, step.count, config_.hidden);
  const Tensor both = rows(gate_up_, step.count, 2 * config_.intermediate);
  const Tensor inner = rows(inner_, step.count, config_.intermediate);
  project(program, weights.gate_up, x, both);
  program.add("layer " + std::to_string(layer) + " activation",
              [both, inner, kind = config_.activation](const Launch& launch) {
                switch (kind) {
                  case Activation::kSilu:
                    silu_and_mul(both, inner, launch);
                    break;
                  case Activation::kGeluTanh:
                    gelu_tanh_and_mul(both, inner, launch);
                    break;
                  case Activation::kGelu:
                    gelu_and_mul(both, inner, launch);
                    break;
                }
              });
  project(program, weights.down, inner, x);
}

void Decoder::add_and_norm(Program& program, const OptionalTensor& post, const OptionalTensor& next, const Tensor& x,
                           const Tensor& residual, const std::string& what) const {
  if (post)
    program.add(what + " post norm", [x, post, p = norm_](const Launch& launch) { rms_norm(x, post, x, p, launch); });
  program.add(what + " norm", [x, residual, next, p = norm_](const Launch& launch) {
    fused_add_rms_norm(x, residual, next, p, launch);
  });
}

Program Decoder::body(const Rows& step) const {
  Program program;
  const Tensor residual = rows(residual_, step.count, config_.hidden), x = rows(x_, step.count, config_.hidden);
  EmbeddingParams scale;
  if (config_.embedding_scale != 1) scale.scale = rounded(config_.embedding_scale, options_.activation);
  program.add("embedding", [at = input(ids, {step.count}), table = *weights_.embedding(), residual,
                            scale](const Launch& launch) { embedding(at, table, residual, scale, launch); });
  program.add("first norm", [residual, x, w = weights_.layers().front().attention_norm,
                             p = norm_](const Launch& launch) { rms_norm(residual, w, x, p, launch); });
  for (size_t i = 0; i < weights_.layers().size(); ++i) {
    const DeviceLayer& layer = weights_.layers()[i];
    const bool last = i + 1 == weights_.layers().size();
    const std::string what = "layer " + std::to_string(i);
    attend(program, i, step);
    add_and_norm(program, layer.attention_post_norm, layer.mlp_norm, x, residual, what + " attention");
    feed_forward(program, i, step);
    add_and_norm(program, layer.mlp_post_norm, last ? weights_.final_norm() : weights_.layers()[i + 1].attention_norm,
                 x, residual, what + " MLP");
  }
  return program;
}

Program Decoder::prefill(int64_t sequence, int64_t tokens) const { return body({tokens, sequence}); }

Program Decoder::decode() const { return body({options_.batch, -1}); }

Program Decoder::head(int64_t first, int64_t count, int64_t to) const {
  Program program;
  const Tensor x = rows(x_, rows_, config_.hidden).slice(0, first, first + count);
  const Tensor all(logits_, SPF_F32, {logit_rows_, config_.vocab}, options_.device);
  const Tensor out = all.slice(0, to, to + count);
  const DeviceLinear& linear = weights_.lm_head();
  if (options_.observer != nullptr)
    program.add_host([observer = options_.observer, &linear, x] {
      for (const LinearPart& part : linear.group.parts) observer->observe(*part.linear, x);
    });
  program.add(linear.group.name(), [&linear, x, out](const Launch& launch) {
    spearfish::linear(x, linear.packed, linear.bias, out, launch);
  });
  if (config_.logit_softcap != 0 && options_.device == Device::cpu())
    program.add_host([out, cap = config_.logit_softcap] {
      auto* logit = static_cast<float*>(out.data());
      for (int64_t i = 0; i < out.elements(); ++i)
        logit[i] = static_cast<float>(cap * std::tanh(static_cast<double>(logit[i]) / cap));
    });
  return program;
}

Program Decoder::draw(int64_t first, int64_t count) const {
  Program program;
  const Tensor all(logits_, SPF_F32, {logit_rows_, config_.vocab}, options_.device);
  SampleFilters filters;
  filters.temperature = input(temperature, {count}, first);
  filters.top_k = input(top_k, {count}, first);
  filters.top_p = input(top_p, {count}, first);
  filters.min_p = input(min_p, {count}, first);
  program.add("sampling", [from = all.slice(0, first, first + count), to = input(drawn, {count}, first), filters,
                           its = input(seeds, {count}, first), at = input(draw_positions, {count}, first),
                           bad = input(flags, {count}, first)](const Launch& launch) {
    sample(from, to, filters, its, at, bad, launch);
  });
  return program;
}

} // namespace spearfish::model
