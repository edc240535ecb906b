// Paged caches of keys and values: see spearfish/ops/kv_cache.h for layouts, types and meanings.
#pragma once

#include "spearfish/cxx/plan.hpp"
#include "spearfish/ops/kv_cache.h"

namespace spearfish {

using KvLayout = spf_kv_layout;

// A cache in the caller's memory, of kv_cache_bytes() for keys and as many for values.
inline spf_kv_cache kv_cache(ScalarType type, KvLayout layout, int64_t blocks, int64_t block_size, int64_t heads,
                             int64_t head_size, void* key, void* value, Device device = Device::cpu()) {
  spf_kv_cache cache = {};
  check(spf_kv_cache_init(&cache, type, layout, blocks, block_size, heads, head_size, key, value, device));
  return cache;
}

inline int64_t kv_cache_bytes(ScalarType type, int64_t blocks, int64_t block_size, int64_t heads, int64_t head_size) {
  int64_t bytes = 0;
  check(spf_kv_cache_bytes(type, blocks, block_size, heads, head_size, &bytes));
  return bytes;
}

// Writes tokens into their slots, whatever the cache's layout.
inline void kv_cache_write(const spf_kv_cache& cache, const Tensor& key, const Tensor& value,
                           const Tensor& slot_mapping, const Launch& launch = Launch()) {
  launch.run(
      [&](const spf_launch* l) { return spf_kv_cache_write(&cache, key.get(), value.get(), slot_mapping.get(), l); });
}

inline void reshape_and_cache_flash(const Tensor& key, const Tensor& value, const Tensor& key_cache,
                                    const Tensor& value_cache, const Tensor& slot_mapping,
                                    const OptionalTensor& k_scale = {}, const OptionalTensor& v_scale = {},
                                    const Launch& launch = Launch()) {
  launch.run([&](const spf_launch* l) {
    return spf_reshape_and_cache_flash(key.get(), value.get(), key_cache.get(), value_cache.get(), slot_mapping.get(),
                                       detail::pointer(k_scale), detail::pointer(v_scale), l);
  });
}

inline void reshape_and_cache(const Tensor& key, const Tensor& value, const Tensor& key_cache,
                              const Tensor& value_cache, const Tensor& slot_mapping, const OptionalTensor& k_scale = {},
                              const OptionalTensor& v_scale = {}, const Launch& launch = Launch()) {
  launch.run([&](const spf_launch* l) {
    return spf_reshape_and_cache(key.get(), value.get(), key_cache.get(), value_cache.get(), slot_mapping.get(),
                                 detail::pointer(k_scale), detail::pointer(v_scale), l);
  });
}

inline void copy_blocks(const Tensor& key_cache, const Tensor& value_cache, const Tensor& block_mapping,
                        const Launch& launch = Launch()) {
  launch.run(
      [&](const spf_launch* l) { return spf_copy_blocks(key_cache.get(), value_cache.get(), block_mapping.get(), l); });
}

inline void swap_blocks(const Tensor& source, const Tensor& target, const Tensor& block_mapping,
                        const Launch& launch = Launch()) {
  launch.run([&](const spf_launch* l) { return spf_swap_blocks(source.get(), target.get(), block_mapping.get(), l); });
}

inline void gather_cache(const Tensor& cache, const Tensor& block_tables, const Tensor& cu_seq_lens,
                         const OptionalTensor& seq_starts, const OptionalTensor& scale, const Tensor& out,
                         const Launch& launch = Launch()) {
  launch.run([&](const spf_launch* l) {
    return spf_gather_cache(cache.get(), block_tables.get(), cu_seq_lens.get(), detail::pointer(seq_starts),
                            detail::pointer(scale), out.get(), l);
  });
}

inline void convert_fp8(const Tensor& source, const Tensor& out, double scale = 1.0, const Launch& launch = Launch()) {
  launch.run([&](const spf_launch* l) { return spf_convert_fp8(source.get(), out.get(), scale, l); });
}

} // namespace spearfish
