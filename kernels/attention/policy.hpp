// Which calls the attention ops take, and which kernel runs them. Costs are microseconds.
#pragma once

#include <algorithm>

#include "core/constraint.hpp"
#include "core/scalar.hpp"
#include "kernels/attention/sm80_flash.hpp"
#include "kernels/attention/sm80_split.hpp"
#include "kernels/attention/sm90_cluster.hpp"
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

// --- what a call costs
// ------------------------------------------------------------------------------------------------

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

inline double merge_elements(const Problem& p) {
  return static_cast<double>(p.extent("T")) * static_cast<double>(p.extent("H")) * static_cast<double>(p.extent("D"));
}

// --- CUDA ------------------------------------------------------------------------------------------------------------

inline bool is_paged(const Problem& p) { return std::string_view(p.op->name) != "attention_prefill"; }
// Of keys and values; contiguous ones have the query's type.
inline spf_scalar_type kv_type(const Problem& p) { return p.type(is_paged(p) ? "C" : "T"); }

// Bytes of keys and values if every sequence fills its block table, a query of each.
inline double cache_bytes(const Problem& p) {
  double bytes = 2.0 * (is_fp8(kv_type(p)) ? 1 : 2);
  for (const char* symbol : {"B", "MB", "BS", "KH", "D"}) bytes *= static_cast<double>(p.extent(symbol));
  return bytes;
}

// The instance of a decode kernel on tensor cores for a call; or why there is none.
inline PolicyResult decode_instance(const Problem& p, std::span<const InstanceRow> instances) {
  using policy::refuse;
  const int64_t dims = p.extent("D"), block = p.extent("BS");
  if (p.type("T") == SPF_F32) return refuse("type", "takes f16 or bf16 queries");
  if (dims > 256 || dims % 8 != 0 || dims == 0) return refuse("shape", "takes head sizes of 8 to 256, multiples of 8");
  if (block < 8 || (block & (block - 1)) != 0) return refuse("shape", "takes block sizes of 8, 16, 32 and so on");
  if (p.extent("MB") < 1) return refuse("shape", "takes block tables that are not empty");
  constexpr int64_t kMost = int64_t{1} << 30;
  if (p.extent("MB") * block > kMost || p.extent("B") > kMost) return refuse("shape", "takes up to 2^30 keys");
  if (!p.is_aligned16("query") || !p.is_aligned16("key_cache") || !p.is_aligned16("value_cache"))
    return refuse("view", "takes rows that start on 16 bytes");
  const int64_t group = p.extent("KH") > 0 ? p.extent("QH") / p.extent("KH") : 1;
  for (size_t i = 0; i < instances.size(); ++i) {
    const InstanceRow& row = instances[i];
    if (policy::axis(row, "T") != p.type("T") || policy::axis(row, "C") != kv_type(p)) continue;
    if (policy::axis(row, "dims") < dims) continue;
    if (policy::axis(row, "tiles") == 1 && group > 8 && dims <= 128) continue; // the next reads keys once for 16 heads
    return policy::accept(static_cast<int>(i), 0);
  }
  return refuse("type", "has no instance for these types");
}

// Measured on H200 (README.md): the cache at 4.3 TB/s after 9 us of start and end.
inline PolicyResult sm80_split_policy(const Problem& p, const spf_device_facts& facts,
                                      std::span<const InstanceRow> instances) {
  PolicyResult result = decode_instance(p, instances);
  if (!result.accepted) return result;
  const InstanceRow& row = instances[static_cast<size_t>(result.instance)];
  const SplitGeometry g = split_geometry(static_cast<int>(policy::axis(row, "dims")), is_fp8(kv_type(p)) ? 1 : 2,
                                         static_cast<int>(policy::axis(row, "tiles")), facts);
  if (!g.fits()) return policy::refuse("shape", "a tile of keys and values does not fit into shared memory");
  result.cost = 9 + cache_bytes(p) / 4.3e6;
  result.workspace_bytes = g.workspace_bytes;
  return result;
}

// Measured on H200: start and end take 5 us, and a multiprocessor walks keys at 58 GB/s. Sequences of a batch do not
// share blocks, so one that is longer than the others takes as long as if they all were.
inline PolicyResult sm90_cluster_policy(const Problem& p, const spf_device_facts& facts,
                                        std::span<const InstanceRow> instances) {
  PolicyResult result = decode_instance(p, instances);
  if (!result.accepted) return result;
  const InstanceRow& row = instances[static_cast<size_t>(result.instance)];
  const int64_t tiles = policy::axis(row, "tiles"), group = p.extent("KH") > 0 ? p.extent("QH") / p.extent("KH") : 1;
  const int64_t items = p.extent("B") * p.extent("KH") * ((group + 8 * tiles - 1) / (8 * tiles));
  const ClusterGeometry g = cluster_geometry(items, static_cast<int>(policy::axis(row, "dims")),
                                             is_fp8(kv_type(p)) ? 1 : 2, static_cast<int>(tiles), facts);
  if (items > 0 && g.ranks == 0)
    return policy::refuse("shape", "a tile of keys and values does not fit into shared memory");
  if (g.ranks < ClusterGeometry::kLeastRanks)
    return policy::refuse("shape", "takes few sequences: a cluster of 4 blocks or more for each KV head");
  result.cost = 5 + cache_bytes(p) / std::min(4.3e6, static_cast<double>(items * g.ranks) * 0.058e6);
  return result;
}

inline PolicyResult sm80_flash_policy(const Problem& p, const spf_device_facts& facts,
                                      std::span<const InstanceRow> instances) {
  using policy::refuse;
  const bool paged = is_paged(p);
  const int64_t dims = p.extent("D"), block = p.extent("BS");
  if (p.type("T") == SPF_F32) return refuse("type", "takes f16 or bf16 queries");
  if (dims > 256 || dims % 8 != 0 || dims == 0) return refuse("shape", "takes head sizes of 8 to 256, multiples of 8");
  if (paged && (block < 8 || (block & (block - 1)) != 0))
    return refuse("shape", "takes block sizes of 8, 16, 32 and so on");
  constexpr int64_t kMost = int64_t{1} << 30;
  if (p.extent("T") > kMost || (paged ? p.extent("MB") * block : p.extent("S")) > kMost || p.extent("B1") > kMost)
    return refuse("shape", "takes up to 2^30 keys and queries");
  for (const char* operand : {"query", "out", paged ? "key_cache" : "key", paged ? "value_cache" : "value"})
    if (!p.is_aligned16(operand)) return refuse("view", "takes rows that start on 16 bytes");
  bool fits = true;
  for (size_t i = 0; i < instances.size(); ++i) {
    const int64_t holds = policy::axis(instances[i], "dims");
    if (policy::axis(instances[i], "T") != p.type("T") || policy::axis(instances[i], "C") != kv_type(p)) continue;
    if (holds < dims) continue;
    const size_t bytes = flash_shared_bytes(holds, policy::axis(instances[i], "keys"), is_fp8(kv_type(p)) ? 1 : 2);
    fits = bytes <= static_cast<size_t>(facts.shared_memory_per_block);
    if (!fits) continue; // the next one has a smaller tile
    return policy::accept(static_cast<int>(i), 5 + 2 * attention_work(p) / 2.5e8);
  }
  if (!fits) return refuse("shape", "a tile of keys and values does not fit into shared memory");
  return refuse("type", "has no instance for this type");
}

// Estimated: a key of a query head takes 15 ns of a multiprocessor.
inline PolicyResult sm75_plain_policy(const Problem& p, const spf_device_facts& facts,
                                      std::span<const InstanceRow> instances) {
  if (p.extent("D") > 256) return policy::refuse("shape", "takes heads of up to 256");
  for (size_t i = 0; i < instances.size(); ++i) {
    if (policy::axis(instances[i], "T") != p.type("T") || policy::axis(instances[i], "C") != kv_type(p)) continue;
    const double keys = attention_work(p) / (2 * static_cast<double>(std::max<int64_t>(p.extent("D"), 1)));
    return policy::accept(static_cast<int>(i), 5 + keys * 15e-3 / std::max(facts.sm_count, 1));
  }
  return policy::refuse("type", "has no instance for these types");
}

inline PolicyResult sm75_merge_policy(const Problem& p, const spf_device_facts& facts,
                                      std::span<const InstanceRow> instances) {
  const int instance = policy::instance_with(instances, "T", p.type("T"));
  if (instance < 0) return policy::refuse("type", "has no instance for this type");
  return policy::accept(instance, policy::streaming_cost(facts, merge_elements(p) * 6));
}

// --- CPU -------------------------------------------------------------------------------------------------------------

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
