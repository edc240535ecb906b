// Where rotated keys and values go: slots of a paged cache, as plain data.
//
// What is no member has internal linkage, as in args.h and for the same reason.
#pragma once

#include "kernels/rope/args.h"

namespace spf::rope {

// Keys or values of a cache, [blocks, slots, heads, D]; strides in elements.
struct CacheSide {
  void* data = nullptr;
  const float* scale = nullptr; // [1] or [heads], may be null: 1
  int64_t block = 0, slot = 0, head = 0;
};

struct CacheArgs {
  RopeArgs rope;               // query and key; the key's rows are those that are cached
  const void* value = nullptr; // [tokens, heads, D]
  int64_t value_token = 0, value_head = 0;
  CacheSide side[2];              // keys, values
  spf_scalar_type type = SPF_F32; // the heads' type, e4m3 or e5m2
  int64_t scale_step = 0;         // elements of scale between heads
  const void* slots = nullptr;    // of the first `slot_count` tokens
  bool wide_slots = true;         // i64
  int64_t slot_count = 0, slot_step = 1;
  int64_t blocks = 0, block_size = 1;

  int64_t cached_heads() const { return rope.heads[1].count; }
  SPF_HOST_DEVICE int64_t all_heads() const { return rope.all_heads() + rope.heads[1].count; }

  // The slot of a token; -1 for none.
  SPF_HOST_DEVICE int64_t slot_of(int64_t token) const {
    if (token >= slot_count) return -1;
    const int64_t slot = wide_slots ? static_cast<const int64_t*>(slots)[token * slot_step]
                                    : static_cast<const int32_t*>(slots)[token * slot_step];
    return static_cast<uint64_t>(slot) < static_cast<uint64_t>(blocks * block_size) ? slot : -1;
  }
  // Elements from the start of a cache to a head of a slot.
  SPF_HOST_DEVICE int64_t place(int s, int64_t slot, int64_t head) const {
    const int64_t in = slot / block_size;
    return in * side[s].block + (slot - in * block_size) * side[s].slot + head * side[s].head;
  }
  SPF_HOST_DEVICE float scale_of(int s, int64_t head) const {
    return side[s].scale != nullptr ? side[s].scale[head * scale_step] : 1.0f;
  }
};

namespace {

[[maybe_unused]] inline CacheArgs cache_args(const Call& call) {
  CacheArgs args;
  args.rope = rope_args(call);
  const spf_tensor& value = *call.operand("value");
  const spf_tensor& slots = *call.operand("slot_mapping");
  args.value = value.data;
  args.value_token = value.stride[0];
  args.value_head = value.stride[1];
  const char* const caches[2] = {"key_cache", "value_cache"};
  const char* const scales[2] = {"k_scale", "v_scale"};
  for (int s = 0; s < 2; ++s) {
    const spf_tensor& cache = *call.operand(caches[s]);
    args.side[s] = {cache.data, nullptr, cache.stride[0], cache.stride[1], cache.stride[2]};
    args.type = cache.type;
    if (const spf_tensor* scale = call.operand(scales[s])) {
      args.side[s].scale = static_cast<const float*>(scale->data);
      args.scale_step = scale->shape[0] == 1 ? 0 : 1;
    }
  }
  args.slots = slots.data;
  args.wide_slots = slots.type == SPF_I64;
  args.slot_count = slots.shape[0];
  args.slot_step = slots.stride[0];
  args.blocks = call.problem.extent("NB");
  args.block_size = call.problem.extent("BS") > 0 ? call.problem.extent("BS") : 1;
  return args;
}

} // namespace
} // namespace spf::rope
