// Which calls the attention ops take, and which kernel runs them. Costs are microseconds.
#pragma once

#include "core/constraint.hpp"
#include "core/scalar.hpp"
#include "kernels/common/policy.hpp"

namespace spf::attention {

// --- what shapes cannot say ------------------------------------------------------------------------------------------

inline bool is_fp8(spf_scalar_type type) { return type == SPF_E4M3 || type == SPF_E5M2; }

inline Violation heads_violation(const Problem& p) {
  const int64_t heads = p.extent("QH"), kv_heads = p.extent("KH"), scales = p.extent("SH");
  if (kv_heads < 1 ? heads > 0 : heads % kv_heads != 0)
    return {"query.shape[1]", std::to_string(heads), "a multiple of the " + std::to_string(kv_heads) + " KV heads"};
  if ((p.has("k_scale") || p.has("v_scale")) && scales != 1 && scales != kv_heads)
    return {p.has("k_scale") ? "k_scale.shape[0]" : "v_scale.shape[0]", std::to_string(scales),
            "1, or " + std::to_string(kv_heads) + ": one for each KV head"};
  return {};
}

// Pages: their type, and that there is one to look up in.
inline Violation cache_violation(const Problem& p) {
  const spf_scalar_type type = p.type("T"), cache = p.type("C");
  if (cache != type && !is_fp8(cache))
    return {"key_cache.type", scalar_info(cache).name,
            std::string(scalar_info(type).name) + " as the query, e4m3, e5m2"};
  if (p.extent("NB") == 0 && p.extent("B") * p.extent("MB") * p.extent("BS") > 0)
    return {"key_cache.shape[0]", "0", "1 or more: block_tables has entries"};
  return heads_violation(p);
}

// Offsets of sequences: at least the first, and the last is where the queries end.
inline Violation offsets_violation(const Problem& p) {
  const int64_t offsets = p.extent("B1");
  if (offsets < 1) return {"cu_seqlens_q.shape[0]", "0", "1 or more"};
  if (offsets == 1 && p.extent("T") > 0)
    return {"query.shape[0]", std::to_string(p.extent("T")), "0, because there are no sequences"};
  return {};
}

inline Violation decode_constraint(const Problem& p) { return cache_violation(p); }

inline Violation paged_constraint(const Problem& p) {
  const int64_t room = p.extent("DX") * p.extent("X"), dims = p.extent("D");
  if (room < dims)
    return {"key_cache.shape[2]", std::to_string(p.extent("DX")),
            "chunks of key_cache.shape[4] for a head size of " + std::to_string(dims)};
  return cache_violation(p);
}

inline Violation prefill_constraint(const Problem& p) {
  if (Violation v = offsets_violation(p); !v.field.empty()) return v;
  return heads_violation(p);
}

inline Violation prefill_paged_constraint(const Problem& p) {
  if (Violation v = offsets_violation(p); !v.field.empty()) return v;
  const int64_t sequences = p.extent("B1") - 1;
  if (p.extent("B") < sequences)
    return {"block_tables.shape[0]", std::to_string(p.extent("B")),
            std::to_string(sequences) + " or more, the sequences of cu_seqlens_q"};
  return cache_violation(p);
}

// --- CPU -------------------------------------------------------------------------------------------------------------

// Multiplications of a call if every sequence fills its block table, or if contiguous sequences are of equal length.
inline double attention_work(const Problem& p) {
  const std::string_view op = p.op->name;
  const auto extent = [&](const char* symbol) { return static_cast<double>(p.extent(symbol)); };
  const bool decode = op == "attention_decode" || op == "paged_attention";
  const double queries = decode ? extent("B") : extent("T");
  const double sequences = op == "attention_prefill" ? (extent("B1") > 1 ? extent("B1") - 1 : 1) : 1;
  const double keys = op == "attention_prefill" ? extent("S") / sequences : extent("MB") * extent("BS");
  return 2 * queries * keys * extent("QH") * extent("D") * (decode ? 1.0 : 0.6);
}

inline PolicyResult cpu_attention_policy(const Problem& p, const spf_device_facts& facts, double lanes) {
  if (p.extent("D") > 256) return policy::refuse("shape", "takes heads of up to 256");
  const double work = attention_work(p);
  return policy::accept(0, 0.5 + work * 0.6e-3 / lanes / policy::useful_threads(facts, work));
}
inline PolicyResult avx512_attention_policy(const Problem& p, const spf_device_facts& f, std::span<const InstanceRow>) {
  return cpu_attention_policy(p, f, 16);
}
inline PolicyResult avx2_attention_policy(const Problem& p, const spf_device_facts& f, std::span<const InstanceRow>) {
  return cpu_attention_policy(p, f, 8);
}

// Scalar loops over every key, seen or not: about 4 ns a multiplication.
inline PolicyResult reference_attention_policy(const Problem& p, const spf_device_facts&,
                                               std::span<const InstanceRow>) {
  return policy::accept(0, 1.0 + attention_work(p) * 4e-3);
}

inline double merge_elements(const Problem& p) {
  return static_cast<double>(p.extent("T")) * static_cast<double>(p.extent("H")) * static_cast<double>(p.extent("D"));
}
inline PolicyResult avx512_merge_policy(const Problem& p, const spf_device_facts&, std::span<const InstanceRow>) {
  return policy::accept(0, 0.3 + merge_elements(p) * 0.3e-3);
}
inline PolicyResult avx2_merge_policy(const Problem& p, const spf_device_facts&, std::span<const InstanceRow>) {
  return policy::accept(0, 0.3 + merge_elements(p) * 0.5e-3);
}
inline PolicyResult reference_merge_policy(const Problem& p, const spf_device_facts&, std::span<const InstanceRow>) {
  return policy::accept(0, 0.5 + merge_elements(p) * 3e-3);
}

} // namespace spf::attention
