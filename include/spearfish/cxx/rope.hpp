// Rotary embedding: see spearfish/ops/rope.h for shapes, types and formulas.
#pragma once

#include <vector>

#include "spearfish/cxx/plan.hpp"
#include "spearfish/ops/rope.h"

namespace spearfish {

struct RotaryEmbeddingParams {
  bool interleaved = false; // pairs (2i, 2i + 1); else (i, i + R/2)
};

// In place: rotates the first R entries of every query and key head by the angles of its position.
inline void rotary_embedding(const Tensor& positions, const Tensor& query, const OptionalTensor& key,
                             const Tensor& cos_sin, const RotaryEmbeddingParams& params = {},
                             const Launch& launch = Launch()) {
  launch.run([&](const spf_launch* l) {
    return spf_rotary_embedding(positions.get(), query.get(), detail::pointer(key), cos_sin.get(),
                                params.interleaved ? 1 : 0, l);
  });
}

struct KvScales {
  OptionalTensor k_scale, v_scale;
};

// The same, and writes key and value into the slots of a paged cache, as numbers or as codes of x / scale.
inline void rotary_embedding_and_cache(const Tensor& positions, const Tensor& query, const Tensor& key,
                                       const Tensor& value, const Tensor& cos_sin, const Tensor& key_cache,
                                       const Tensor& value_cache, const Tensor& slot_mapping,
                                       const KvScales& scales = {}, const RotaryEmbeddingParams& params = {},
                                       const Launch& launch = Launch()) {
  launch.run([&](const spf_launch* l) {
    return spf_rotary_embedding_and_cache(positions.get(), query.get(), key.get(), value.get(), cos_sin.get(),
                                          key_cache.get(), value_cache.get(), slot_mapping.get(),
                                          detail::pointer(scales.k_scale), detail::pointer(scales.v_scale),
                                          params.interleaved ? 1 : 0, l);
  });
}

struct FusedQkNormRopeParams {
  int64_t q_heads = 0, k_heads = 0;
  double epsilon = 1e-6;
  bool interleaved = false;
  bool weight_plus_one = false; // Gemma: weights are stored minus one
};

// In place: RMS norm of every query and key head of a fused row, then rotation.
inline void fused_qk_norm_rope(const Tensor& qkv, const Tensor& q_weight, const Tensor& k_weight, const Tensor& cos_sin,
                               const Tensor& positions, const FusedQkNormRopeParams& params,
                               const Launch& launch = Launch()) {
  launch.run([&](const spf_launch* l) {
    return spf_fused_qk_norm_rope(qkv.get(), q_weight.get(), k_weight.get(), cos_sin.get(), positions.get(),
                                  params.q_heads, params.k_heads, params.epsilon, params.interleaved ? 1 : 0,
                                  params.weight_plus_one ? 1 : 0, l);
  });
}

// A zero spf_rope_config with its size, default scaling and base 10000.
inline spf_rope_config rope_config(int64_t rotary_dim) {
  spf_rope_config config = {};
  config.struct_size = sizeof config;
  config.rotary_dim = rotary_dim;
  config.base = 10000;
  return config;
}

// The table of cosines and sines, [positions, rotary_dim] in C order.
inline std::vector<float> rope_cache(const spf_rope_config& config, int64_t positions) {
  const bool sane = positions >= 0 && config.rotary_dim >= 0;
  std::vector<float> table(sane ? static_cast<size_t>(positions * config.rotary_dim) : 0);
  check(spf_rope_cache(&config, positions, table.data()));
  return table;
}

} // namespace spearfish
