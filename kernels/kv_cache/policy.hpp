// What kv_cache ops take, and which kernel runs. Costs are microseconds.
#pragma once

#include "core/constraint.hpp"
#include "kernels/common/policy.hpp"

namespace spf::kv_cache {

inline bool is_code(spf_scalar_type type) { return type == SPF_E4M3 || type == SPF_E5M2; }

inline const char* type_text(spf_scalar_type type) {
  return type == SPF_F32    ? "f32"
         : type == SPF_F16  ? "f16"
         : type == SPF_BF16 ? "bf16"
         : type == SPF_E4M3 ? "e4m3"
         : type == SPF_E5M2 ? "e5m2"
                            : "u8";
}

// A cache holds numbers as they are, or 8-bit codes; codes have scales, one for all heads or one a head, or 1.
inline Violation cache_constraint(const Problem& p, const char* cache, const char* const (&scales)[2]) {
  const spf_scalar_type numbers = p.type("T"), held = p.type("C");
  if (held != numbers && !is_code(held))
    return {std::string(cache) + ".type", type_text(held),
            std::string(type_text(numbers)) + " as the numbers, e4m3, e5m2"};
  for (const char* scale : scales) {
    if (!p.has(scale)) continue;
    if (!is_code(held)) return {scale, "given", "NULL: a cache of numbers has no scale"};
    if (p.extent("SH") != 1 && p.extent("SH") != p.extent("KH"))
      return {std::string(scale) + ".shape[0]", std::to_string(p.extent("SH")),
              "1 or the number of heads, " + std::to_string(p.extent("KH"))};
  }
  return {};
}

inline Violation write_constraint(const Problem& p) {
  if (p.extent("S") > p.extent("N"))
    return {"slot_mapping.shape[0]", std::to_string(p.extent("S")),
            "at most the tokens of key, " + std::to_string(p.extent("N"))};
  if (p.has("key_cache") && p.op->operands[2].dim_count == 5) { // the layout of the first paged attention
    const int64_t vector = is_code(p.type("C")) ? 16 : 16 / policy::element_bytes(p.type("C"));
    if (p.extent("X") != vector)
      return {"key_cache.shape[4]", std::to_string(p.extent("X")),
              std::to_string(vector) + ", the elements of 16 bytes"};
    if (p.extent("DX") * vector != p.extent("D"))
      return {"key_cache.shape[2]", std::to_string(p.extent("DX")),
              "D / " + std::to_string(vector) + " without a rest, D = " + std::to_string(p.extent("D"))};
  }
  return cache_constraint(p, "key_cache", {"k_scale", "v_scale"});
}

inline Violation gather_constraint(const Problem& p) {
  if (p.extent("B1") != p.extent("B") + 1)
    return {"cu_seq_lens.shape[0]", std::to_string(p.extent("B1")),
            "one more than sequences, " + std::to_string(p.extent("B") + 1)};
  return cache_constraint(p, "cache", {"scale", "scale"});
}

inline Violation convert_constraint(const Problem& p) {
  if (is_code(p.type("A")) == is_code(p.type("B")))
    return {"out.type", type_text(p.type("B")), is_code(p.type("A")) ? "f32, f16, bf16" : "e4m3, e5m2"};
  if (!(p.param("scale") > 0)) return {"scale", "0", "a number above 0"};
  return {};
}

// Elements that a call moves.
inline double elements(const Problem& p) {
  const auto product = [&](std::initializer_list<const char*> symbols) {
    double value = 1;
    for (const char* symbol : symbols) value *= static_cast<double>(p.extent(symbol));
    return value;
  };
  if (p.has("slot_mapping")) return 2 * product({"S", "KH", "D"});
  if (p.has("block_mapping")) return product({"PAIRS", "E"}) * (p.has("key_cache") ? 2 : 1);
  return p.has("cu_seq_lens") ? product({"N", "KH", "D"}) : product({"*", "E"});
}

// The instance for the type on the side that is not a cache, or for bytes.
inline PolicyResult sm75_moves_policy(const Problem& p, const spf_device_facts& facts,
                                      std::span<const InstanceRow> instances) {
  const bool convert = p.op->param_count > 0;
  const spf_scalar_type a = convert ? p.type("A") : p.type("T"), b = convert ? p.type("B") : p.type("C");
  const spf_scalar_type numbers = a == b || a == SPF_TYPE_NONE ? SPF_U8 : is_code(a) ? b : a;
  const int instance = policy::instance_with(instances, "numbers", numbers);
  if (instance < 0) return policy::refuse("type", "no instance of this type");
  return policy::accept(instance, policy::streaming_cost(facts, elements(p) * 4));
}

inline PolicyResult avx2_moves_policy(const Problem& p, const spf_device_facts& facts, std::span<const InstanceRow>) {
  return policy::accept(0, 0.3 + elements(p) * 0.3e-3 / policy::useful_threads(facts, elements(p) * 4));
}

inline PolicyResult reference_policy(const Problem& p, const spf_device_facts&, std::span<const InstanceRow>) {
  return policy::accept(0, 0.5 + elements(p) * 5e-3);
}

} // namespace spf::kv_cache
