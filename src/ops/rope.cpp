#include "spearfish/ops/rope.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <numbers>
#include <string>
#include <vector>

#include "core/status.hpp"

namespace spf::ops {
namespace {

constexpr const char* kCache = "rope_cache";

spf_status bad(const char* field, double value, const char* allowed) {
  char text[40];
  std::snprintf(text, sizeof text, "%.10g", value);
  return fail(SPF_INVALID_ARGUMENT, kCache, "validate", std::string("config.") + field, text, allowed);
}

spf_status check_factors(const char* field, const double* factors, int64_t count) {
  if (factors == nullptr && count > 0)
    return fail(SPF_INVALID_ARGUMENT, kCache, "validate", std::string("config.") + field, "NULL",
                "rotary_dim / 2 numbers");
  for (int64_t i = 0; i < count; ++i)
    if (!(factors[i] > 0) || !std::isfinite(factors[i])) return bad(field, factors[i], "numbers above 0");
  return SPF_OK;
}

spf_status check_config(const spf_rope_config& c) {
  const auto above = [](double value, double bound) { return value > bound && std::isfinite(value); };
  const auto at_least = [](double value, double bound) { return value >= bound && std::isfinite(value); };
  if (c.scaling < SPF_ROPE_DEFAULT || c.scaling > SPF_ROPE_LONGROPE)
    return bad("scaling", static_cast<double>(c.scaling), "SPF_ROPE_DEFAULT to SPF_ROPE_LONGROPE");
  if (c.rotary_dim < 0 || c.rotary_dim % 2 != 0)
    return bad("rotary_dim", static_cast<double>(c.rotary_dim), "an even number of 0 or more");
  if (!above(c.base, 1)) return bad("base", c.base, "a number above 1");
  const bool scaled = c.scaling != SPF_ROPE_DEFAULT, longrope = c.scaling == SPF_ROPE_LONGROPE;
  if (scaled && !longrope && !at_least(c.factor, 1)) return bad("factor", c.factor, "a number of 1 or more");
  if (scaled && c.scaling != SPF_ROPE_LINEAR && c.original_positions <= 0)
    return bad("original_positions", static_cast<double>(c.original_positions), "a number above 0");
  if ((longrope || c.scaling == SPF_ROPE_DYNAMIC) && c.length < 0)
    return bad("length", static_cast<double>(c.length), "0 or more");
  if (c.scaling == SPF_ROPE_LLAMA3) {
    if (!above(c.low_frequency_factor, 0))
      return bad("low_frequency_factor", c.low_frequency_factor, "a number above 0");
    if (!above(c.high_frequency_factor, c.low_frequency_factor))
      return bad("high_frequency_factor", c.high_frequency_factor, "a number above low_frequency_factor");
  }
  if (c.scaling == SPF_ROPE_YARN) {
    if (!at_least(c.beta_slow, 0)) return bad("beta_slow", c.beta_slow, "0 or more");
    if (!at_least(c.beta_fast, c.beta_slow)) return bad("beta_fast", c.beta_fast, "beta_slow or more");
    if (!at_least(c.mscale, 0)) return bad("mscale", c.mscale, "0 or more");
    if (!at_least(c.mscale_all_dim, 0)) return bad("mscale_all_dim", c.mscale_all_dim, "0 or more");
  }
  if ((longrope || c.scaling == SPF_ROPE_YARN) && !at_least(c.attention_factor, 0))
    return bad("attention_factor", c.attention_factor, "0 or more");
  if (!longrope) return SPF_OK;
  if (!at_least(c.factor, 0)) return bad("factor", c.factor, "0 or more");
  if (spf_status s = check_factors("short_factors", c.short_factors, c.rotary_dim / 2); s != SPF_OK) return s;
  return check_factors("long_factors", c.long_factors, c.rotary_dim / 2);
}

// base^(-2i / R)
std::vector<double> frequencies(double base, int64_t rotary) {
  std::vector<double> f(static_cast<size_t>(rotary / 2));
  for (size_t i = 0; i < f.size(); ++i)
    f[i] = std::pow(base, -2.0 * static_cast<double>(i) / static_cast<double>(rotary));
  return f;
}

// The (fractional) dimension whose angle makes `rotations` turns over the original length.
double dimension_of(const spf_rope_config& c, double rotations) {
  return static_cast<double>(c.rotary_dim) *
         std::log(static_cast<double>(c.original_positions) / (rotations * 2 * std::numbers::pi)) /
         (2 * std::log(c.base));
}

void yarn(const spf_rope_config& c, std::vector<double>& f) {
  double low = dimension_of(c, c.beta_fast > 0 ? c.beta_fast : 32),
         high = dimension_of(c, c.beta_slow > 0 ? c.beta_slow : 1);
  if (c.no_truncate == 0) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, static_cast<double>(c.rotary_dim - 1));
  if (low == high) high += 0.001; // as in the paper's code: a step instead of a division by 0
  for (size_t i = 0; i < f.size(); ++i) {
    const double slow = std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
    f[i] = f[i] * (1 - slow) + f[i] / c.factor * slow;
  }
}

void llama3(const spf_rope_config& c, std::vector<double>& f) {
  const double length = static_cast<double>(c.original_positions);
  for (double& frequency : f) {
    const double waves = length * frequency / (2 * std::numbers::pi); // over the original length
    const double fast =
        std::clamp((waves - c.low_frequency_factor) / (c.high_frequency_factor - c.low_frequency_factor), 0.0, 1.0);
    frequency = frequency * fast + frequency / c.factor * (1 - fast);
  }
}

std::vector<double> scaled_frequencies(const spf_rope_config& c, int64_t positions) {
  const double original = static_cast<double>(c.original_positions);
  const double length = static_cast<double>(c.length > 0 ? c.length : positions);
  double base = c.base;
  if (c.scaling == SPF_ROPE_DYNAMIC && length > original && c.rotary_dim > 2) {
    const double rotary = static_cast<double>(c.rotary_dim);
    base *= std::pow(c.factor * length / original - (c.factor - 1), rotary / (rotary - 2));
  }
  std::vector<double> f = frequencies(base, c.rotary_dim);
  if (c.scaling == SPF_ROPE_LINEAR)
    for (double& frequency : f) frequency /= c.factor;
  if (c.scaling == SPF_ROPE_YARN) yarn(c, f);
  if (c.scaling == SPF_ROPE_LLAMA3) llama3(c, f);
  if (c.scaling == SPF_ROPE_LONGROPE)
    for (size_t i = 0; i < f.size(); ++i) f[i] /= (length > original ? c.long_factors : c.short_factors)[i];
  return f;
}

double attention_factor(const spf_rope_config& c) {
  if (c.scaling != SPF_ROPE_YARN && c.scaling != SPF_ROPE_LONGROPE) return 1;
  if (c.attention_factor > 0) return c.attention_factor;
  if (c.scaling == SPF_ROPE_LONGROPE)
    return c.factor > 1 && c.original_positions > 1
               ? std::sqrt(1 + std::log(c.factor) / std::log(static_cast<double>(c.original_positions)))
               : 1;
  const auto m = [&](double scale) { return c.factor > 1 ? 0.1 * scale * std::log(c.factor) + 1 : 1; };
  return c.mscale > 0 && c.mscale_all_dim > 0 ? m(c.mscale) / m(c.mscale_all_dim) : m(1);
}

} // namespace
} // namespace spf::ops

using namespace spf;
using namespace spf::ops;

extern "C" {

spf_status spf_rotary_embedding(const spf_tensor* positions, const spf_tensor* query, const spf_tensor* key,
                                const spf_tensor* cos_sin, int32_t interleaved, const spf_launch* launch) {
  const spf_tensor* operands[] = {positions, query, key, cos_sin};
  const double params[] = {static_cast<double>(interleaved)};
  return spf_op_call("rotary_embedding", operands, 4, params, 1, nullptr, launch);
}

spf_status spf_rotary_embedding_and_cache(const spf_tensor* positions, const spf_tensor* query, const spf_tensor* key,
                                          const spf_tensor* value, const spf_tensor* cos_sin,
                                          const spf_tensor* key_cache, const spf_tensor* value_cache,
                                          const spf_tensor* slot_mapping, const spf_tensor* k_scale,
                                          const spf_tensor* v_scale, int32_t interleaved, const spf_launch* launch) {
  const spf_tensor* operands[] = {positions, query,       key,          value,   cos_sin,
                                  key_cache, value_cache, slot_mapping, k_scale, v_scale};
  const double param = interleaved;
  return spf_op_call("rotary_embedding_and_cache", operands, 10, &param, 1, nullptr, launch);
}

spf_status spf_fused_qk_norm_rope(const spf_tensor* qkv, const spf_tensor* q_weight, const spf_tensor* k_weight,
                                  const spf_tensor* cos_sin, const spf_tensor* positions, int64_t q_heads,
                                  int64_t k_heads, double epsilon, int32_t interleaved, int32_t weight_plus_one,
                                  const spf_launch* launch) {
  const spf_tensor* operands[] = {qkv, q_weight, k_weight, cos_sin, positions};
  const double params[] = {static_cast<double>(q_heads), static_cast<double>(k_heads), epsilon,
                           static_cast<double>(interleaved), static_cast<double>(weight_plus_one)};
  return spf_op_call("fused_qk_norm_rope", operands, 5, params, 5, nullptr, launch);
}

spf_status spf_rope_cache(const spf_rope_config* config, int64_t positions, float* out) {
  return guarded(kCache, [&]() -> spf_status {
    if (spf_status s = check_struct_size(config, sizeof(spf_rope_config), kCache, "config"); s != SPF_OK) return s;
    if (spf_status s = check_config(*config); s != SPF_OK) return s;
    if (positions < 0)
      return fail(SPF_INVALID_ARGUMENT, kCache, "validate", "positions", std::to_string(positions), "0 or more");
    if (out == nullptr && positions > 0 && config->rotary_dim > 0)
      return fail(SPF_INVALID_ARGUMENT, kCache, "validate", "out", "NULL", "room for positions * rotary_dim numbers");
    const std::vector<double> f = scaled_frequencies(*config, positions);
    const double factor = attention_factor(*config);
    const auto half = static_cast<int64_t>(f.size());
    for (int64_t p = 0; p < positions; ++p)
      for (int64_t i = 0; i < half; ++i) {
        const double angle = static_cast<double>(p) * f[static_cast<size_t>(i)];
        out[p * 2 * half + i] = static_cast<float>(std::cos(angle) * factor);
        out[p * 2 * half + half + i] = static_cast<float>(std::sin(angle) * factor);
      }
    return SPF_OK;
  });
}

} // extern "C"
