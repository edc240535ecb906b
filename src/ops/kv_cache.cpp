#include "spearfish/ops/kv_cache.h"

#include <algorithm>
#include <array>
#include <string>

#include "core/scalar.hpp"
#include "core/status.hpp"
#include "ops/view.hpp"

namespace spf::ops {
namespace {

constexpr const char* kInit = "kv_cache_init";

bool is_cache_type(spf_scalar_type type) {
  return type == SPF_F32 || type == SPF_F16 || type == SPF_BF16 || type == SPF_E4M3 || type == SPF_E5M2;
}

// What a cache of this description must look like; rank 0 for a description that is none.
struct Shapes {
  int rank[2] = {};
  std::array<int64_t, SPF_MAX_RANK> shape[2] = {}, stride[2] = {}; // of keys, of values
};

Shapes shapes_of(const spf_kv_cache& c) {
  Shapes s;
  if (c.layout == SPF_KV_V0) {
    const int64_t x = 16 / element_bytes(c.type);
    s.rank[0] = 5;
    s.shape[0] = {c.blocks, c.heads, c.head_size / x, c.block_size, x};
    s.rank[1] = 4;
    s.shape[1] = {c.blocks, c.heads, c.head_size, c.block_size};
  } else {
    s.rank[0] = s.rank[1] = 4;
    s.shape[0] = s.shape[1] = {c.blocks, c.block_size, c.heads, c.head_size};
  }
  for (int i = 0; i < 2; ++i) {
    int64_t step = 1;
    for (int d = s.rank[i] - 1; d >= 0; step *= s.shape[i][static_cast<size_t>(d--)])
      s.stride[i][static_cast<size_t>(d)] = step;
    if (c.layout == SPF_KV_HND) {
      s.stride[i][1] = c.head_size;
      s.stride[i][2] = c.head_size * c.block_size;
    }
  }
  return s;
}

spf_status check_description(const spf_kv_cache& c, const char* op) {
  const auto bad = [&](spf_status status, const char* field, int64_t value, const std::string& allowed) {
    return fail(status, op, "validate", std::string("cache.") + field, std::to_string(value), allowed);
  };
  if (c.version != SPF_KV_VERSION) return bad(SPF_ABI_MISMATCH, "version", c.version, std::to_string(SPF_KV_VERSION));
  if (!is_cache_type(c.type))
    return fail(SPF_INVALID_TYPE, op, "validate", "cache.type", scalar_info(c.type).name, "f32, f16, bf16, e4m3, e5m2");
  if (c.layout < SPF_KV_NHD || c.layout > SPF_KV_V0)
    return bad(SPF_INVALID_ARGUMENT, "layout", c.layout, "SPF_KV_NHD, SPF_KV_HND, SPF_KV_V0");
  if (c.scale < SPF_KV_SCALE_NONE || c.scale > SPF_KV_SCALE_HEAD)
    return bad(SPF_INVALID_ARGUMENT, "scale", c.scale, "SPF_KV_SCALE_NONE, SPF_KV_SCALE_TENSOR, SPF_KV_SCALE_HEAD");
  const bool codes = c.type == SPF_E4M3 || c.type == SPF_E5M2;
  if (c.scale != SPF_KV_SCALE_NONE && !codes)
    return bad(SPF_INVALID_ARGUMENT, "scale", c.scale, "SPF_KV_SCALE_NONE: a cache of numbers has no scale");
  const std::pair<const char*, int64_t> extents[] = {
      {"blocks", c.blocks}, {"block_size", c.block_size}, {"heads", c.heads}, {"head_size", c.head_size}};
  int64_t bytes = element_bytes(c.type);
  for (const auto& [field, extent] : extents) {
    if (extent < 0) return bad(SPF_INVALID_SHAPE, field, extent, "0 or more");
    if (__builtin_mul_overflow(bytes, std::max<int64_t>(extent, 1), &bytes))
      return bad(SPF_INVALID_SHAPE, field, extent, "a cache of fewer than 2^63 bytes");
  }
  const int64_t x = 16 / element_bytes(c.type);
  if (c.layout == SPF_KV_V0 && c.head_size % x != 0)
    return bad(SPF_INVALID_SHAPE, "head_size", c.head_size, "a multiple of " + std::to_string(x));
  return SPF_OK;
}

spf_status check_views(const spf_kv_cache& c, const char* op) {
  const Shapes s = shapes_of(c);
  const spf_tensor* const views[2] = {&c.key, &c.value};
  for (int i = 0; i < 2; ++i) {
    const std::string field = i == 0 ? "cache.key" : "cache.value";
    if (views[i]->type != c.type)
      return fail(SPF_INVALID_TYPE, op, "validate", field + ".type", scalar_info(views[i]->type).name,
                  std::string(scalar_info(c.type).name) + " as cache.type");
    if (views[i]->rank != s.rank[i] || !std::equal(views[i]->shape, views[i]->shape + s.rank[i], s.shape[i].begin()))
      return fail(SPF_INVALID_SHAPE, op, "validate", field + ".shape",
                  list_text(views[i]->shape, std::clamp(views[i]->rank, 0, SPF_MAX_RANK)),
                  list_text(s.shape[i].data(), s.rank[i]) + " as the cache's layout and extents say");
    // Blocks may lie apart; what is inside them may not, or two layouts would look alike.
    for (int d = 1; d < s.rank[i]; ++d)
      if (views[i]->shape[d] > 1 && views[i]->stride[d] != s.stride[i][static_cast<size_t>(d)])
        return fail(SPF_INVALID_STRIDE, op, "validate", field + ".stride", list_text(views[i]->stride, s.rank[i]),
                    list_text(s.stride[i].data(), s.rank[i]) + ", the first at will, as the cache's layout says");
  }
  return SPF_OK;
}

spf_status check_scales(const spf_kv_cache& c, const char* op) {
  const spf_tensor* const scales[2] = {c.k_scale, c.v_scale};
  const int64_t count = c.scale == SPF_KV_SCALE_HEAD ? c.heads : 1;
  for (int i = 0; i < 2; ++i) {
    const char* const field = i == 0 ? "cache.k_scale" : "cache.v_scale";
    if ((scales[i] != nullptr) != (c.scale != SPF_KV_SCALE_NONE))
      return fail(SPF_INVALID_ARGUMENT, op, "validate", field, scales[i] != nullptr ? "given" : "NULL",
                  scales[i] != nullptr ? "NULL, as cache.scale says" : "a tensor, as cache.scale says");
    if (scales[i] != nullptr && (scales[i]->rank != 1 || scales[i]->shape[0] != count))
      return fail(SPF_INVALID_SHAPE, op, "validate", std::string(field) + ".shape",
                  list_text(scales[i]->shape, std::clamp(scales[i]->rank, 0, SPF_MAX_RANK)),
                  "[" + std::to_string(count) + "]");
  }
  return SPF_OK;
}

} // namespace
} // namespace spf::ops

using namespace spf;
using namespace spf::ops;

extern "C" {

spf_status spf_kv_cache_bytes(spf_scalar_type type, int64_t blocks, int64_t block_size, int64_t heads,
                              int64_t head_size, int64_t* bytes) {
  return guarded("kv_cache_bytes", [&]() -> spf_status {
    if (bytes == nullptr)
      return fail(SPF_INVALID_ARGUMENT, "kv_cache_bytes", "validate", "bytes", "NULL", "a pointer to the answer");
    spf_kv_cache c = {};
    c.version = SPF_KV_VERSION;
    c.type = type;
    c.blocks = blocks;
    c.block_size = block_size;
    c.heads = heads;
    c.head_size = head_size;
    if (spf_status s = check_description(c, "kv_cache_bytes"); s != SPF_OK) return s;
    *bytes = blocks * block_size * heads * head_size * element_bytes(type);
    return SPF_OK;
  });
}

spf_status spf_kv_cache_init(spf_kv_cache* cache, spf_scalar_type type, spf_kv_layout layout, int64_t blocks,
                             int64_t block_size, int64_t heads, int64_t head_size, void* key, void* value,
                             spf_device device) {
  return guarded(kInit, [&]() -> spf_status {
    if (cache == nullptr)
      return fail(SPF_INVALID_ARGUMENT, kInit, "validate", "cache", "NULL", "a pointer to a struct");
    spf_kv_cache c = {};
    c.struct_size = sizeof c;
    c.version = SPF_KV_VERSION;
    c.type = type;
    c.layout = layout;
    c.blocks = blocks;
    c.block_size = block_size;
    c.heads = heads;
    c.head_size = head_size;
    if (spf_status s = check_description(c, kInit); s != SPF_OK) return s;
    const Shapes shapes = shapes_of(c);
    spf_tensor* const views[2] = {&c.key, &c.value};
    for (int i = 0; i < 2; ++i) {
      const spf_status s =
          spf_tensor_init(views[i], i == 0 ? key : value, type, shapes.rank[i], shapes.shape[i].data(), device);
      if (s != SPF_OK) return s;
      std::copy_n(shapes.stride[i].begin(), shapes.rank[i], views[i]->stride);
    }
    *cache = c;
    return SPF_OK;
  });
}

spf_status spf_kv_cache_check(const spf_kv_cache* cache, const char* op) {
  op = op != nullptr ? op : "kv_cache_check";
  return guarded(op, [&]() -> spf_status {
    if (spf_status s = check_struct_size(cache, sizeof(spf_kv_cache), op, "cache"); s != SPF_OK) return s;
    if (spf_status s = check_description(*cache, op); s != SPF_OK) return s;
    if (spf_status s = check_views(*cache, op); s != SPF_OK) return s;
    return check_scales(*cache, op);
  });
}

spf_status spf_reshape_and_cache_flash(const spf_tensor* key, const spf_tensor* value, const spf_tensor* key_cache,
                                       const spf_tensor* value_cache, const spf_tensor* slot_mapping,
                                       const spf_tensor* k_scale, const spf_tensor* v_scale, const spf_launch* launch) {
  const spf_tensor* operands[] = {key, value, key_cache, value_cache, slot_mapping, k_scale, v_scale};
  return spf_op_call("reshape_and_cache_flash", operands, 7, nullptr, 0, nullptr, launch);
}

spf_status spf_reshape_and_cache(const spf_tensor* key, const spf_tensor* value, const spf_tensor* key_cache,
                                 const spf_tensor* value_cache, const spf_tensor* slot_mapping,
                                 const spf_tensor* k_scale, const spf_tensor* v_scale, const spf_launch* launch) {
  const spf_tensor* operands[] = {key, value, key_cache, value_cache, slot_mapping, k_scale, v_scale};
  return spf_op_call("reshape_and_cache", operands, 7, nullptr, 0, nullptr, launch);
}

spf_status spf_kv_cache_write(const spf_kv_cache* cache, const spf_tensor* key, const spf_tensor* value,
                              const spf_tensor* slot_mapping, const spf_launch* launch) {
  if (spf_status s = spf_kv_cache_check(cache, "kv_cache_write"); s != SPF_OK) return s;
  const auto write = cache->layout == SPF_KV_V0 ? spf_reshape_and_cache : spf_reshape_and_cache_flash;
  return write(key, value, &cache->key, &cache->value, slot_mapping, cache->k_scale, cache->v_scale, launch);
}

spf_status spf_copy_blocks(const spf_tensor* key_cache, const spf_tensor* value_cache, const spf_tensor* block_mapping,
                           const spf_launch* launch) {
  const spf_tensor* operands[] = {key_cache, value_cache, block_mapping};
  return spf_op_call("copy_blocks", operands, 3, nullptr, 0, nullptr, launch);
}

spf_status spf_swap_blocks(const spf_tensor* source, const spf_tensor* target, const spf_tensor* block_mapping,
                           const spf_launch* launch) {
  const spf_tensor* operands[] = {source, target, block_mapping};
  return spf_op_call("swap_blocks", operands, 3, nullptr, 0, nullptr, launch);
}

spf_status spf_gather_cache(const spf_tensor* cache, const spf_tensor* block_tables, const spf_tensor* cu_seq_lens,
                            const spf_tensor* seq_starts, const spf_tensor* scale, const spf_tensor* out,
                            const spf_launch* launch) {
  const spf_tensor* operands[] = {cache, block_tables, cu_seq_lens, seq_starts, scale, out};
  return spf_op_call("gather_cache", operands, 6, nullptr, 0, nullptr, launch);
}

spf_status spf_convert_fp8(const spf_tensor* source, const spf_tensor* out, double scale, const spf_launch* launch) {
  const spf_tensor* operands[] = {source, out};
  return spf_op_call("convert_fp8", operands, 2, &scale, 1, nullptr, launch);
}

} // extern "C"
