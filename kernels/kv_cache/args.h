// What every implementation of a kv_cache op reads. All of them move rows: an op says where the rows of an item (a
// token, a pair of blocks) come from and go to, and what happens to a number on the way.
//
// What is no member has internal linkage: this header is compiled once per instruction set, and an inline definition
// shared between such files could end up, with AVX-512 in it, as the one copy that every caller runs.
#pragma once

#include <string_view>

#include "core/call.hpp"
#include "kernels/common/rows.hpp"

namespace spf::kv_cache {

enum class Kind : uint8_t {
  kWrite,   // tokens into slots
  kBlocks,  // blocks into blocks
  kGather,  // slots of sequences into rows
  kConvert, // rows into rows
};

// What happens to a number.
enum class Change : uint8_t {
  kCopy,       // nothing
  kQuantize,   // code = nearest of x / scale, saturated to the largest finite one
  kDequantize, // round(code * scale)
};

enum class Found : uint8_t { kSkip, kMove, kZero }; // kZero: the row is written as zeros

// One of the two caches of an op: keys or values. Strides in elements.
struct Side {
  const void* from = nullptr;
  void* to = nullptr;
  const float* scale = nullptr;                        // [1] or [heads], may be null: 1
  int64_t from_item = 0, from_slot = 0, from_head = 0; // item: a token, a row or a block
  int64_t to_item = 0, to_slot = 0, to_head = 0;
  // Element e of a row lies at (e / vector) * vector_stride + e % vector in the target: one vector in all layouts but
  // that of the first paged attention.
  int64_t vector = 0, vector_stride = 0;
};

struct Moves {
  Kind kind = Kind::kWrite;
  Change change = Change::kCopy;
  spf_scalar_type from_type = SPF_F32, to_type = SPF_F32;
  int32_t sides = 1; // 2: keys and values
  Side side[2];
  int64_t items = 0;      // tokens, pairs, or rows of the output
  int64_t heads = 1;      // rows of an item
  int64_t length = 0;     // elements of a row
  int64_t scale_step = 0; // elements of scale between heads
  float fixed_scale = 1;  // convert_fp8
  int64_t block_size = 1;
  int32_t block_shift = -1; // log2 of it, where that is whole
  int64_t from_blocks = 0, to_blocks = 0;
  // ids: slots, pairs of blocks, or block tables
  const void* ids = nullptr;
  bool wide_ids = true; // i64
  int64_t id_stride = 1, pair_stride = 1;
  // kGather
  const int32_t* offsets = nullptr; // [sequences + 1]
  const int32_t* starts = nullptr;  // [sequences], may be null
  int64_t sequences = 0, table_width = 0;
  RowSpace<2> space; // kConvert

  bool empty() const { return items == 0 || heads == 0 || length == 0; }

  SPF_HOST_DEVICE int64_t id(int64_t at) const {
    return wide_ids ? static_cast<const int64_t*>(ids)[at] : static_cast<const int32_t*>(ids)[at];
  }
  SPF_HOST_DEVICE int64_t block_of(int64_t slot) const {
    return block_shift >= 0 ? slot >> block_shift : slot / block_size;
  }
  static SPF_HOST_DEVICE bool inside(int64_t id, int64_t bound) {
    return static_cast<uint64_t>(id) < static_cast<uint64_t>(bound);
  }

  // The sequence whose rows include `row`: offsets[s] <= row < offsets[s + 1]; -1 if none does.
  SPF_HOST_DEVICE int64_t sequence_of(int64_t row) const {
    int64_t low = 0, high = sequences; // offsets[low] <= row < offsets[high], if the offsets are sound
    while (low + 1 < high) {
      const int64_t middle = (low + high) / 2;
      if (offsets[middle] <= row)
        low = middle;
      else
        high = middle;
    }
    return sequences > 0 && offsets[low] <= row && row < offsets[low + 1] ? low : -1;
  }

  // Where the rows of an item start, for both sides: element offsets of the first head.
  SPF_HOST_DEVICE Found locate(int64_t item, int64_t (&from)[2], int64_t (&to)[2]) const {
    if (kind == Kind::kWrite) {
      const int64_t slot = id(item * id_stride);
      if (!inside(slot, to_blocks * block_size)) return Found::kSkip;
      const int64_t block = block_of(slot);
      set(item, 0, block, slot - block * block_size, from, to);
      return Found::kMove;
    }
    int64_t a = item, a_slot = 0, b = item;
    Found found = Found::kMove;
    if (kind == Kind::kBlocks) {
      a = id(item * pair_stride);
      b = id(item * pair_stride + id_stride);
      if (!inside(a, from_blocks) || !inside(b, to_blocks)) return Found::kSkip;
    } else if (kind == Kind::kGather) {
      const int64_t sequence = sequence_of(item);
      const int64_t position =
          sequence < 0 ? -1 : item - offsets[sequence] + (starts != nullptr ? starts[sequence] : 0);
      if (inside(position, table_width * block_size)) {
        const int64_t block = block_of(position);
        a = id(sequence * pair_stride + block * id_stride);
        a_slot = position - block * block_size;
        if (!inside(a, from_blocks)) found = Found::kZero;
      } else {
        found = Found::kZero;
      }
    } else {
      int64_t at[2];
      space.offsets(item, at);
      from[0] = at[0];
      to[0] = at[1];
      return found;
    }
    set(a, a_slot, b, 0, from, to);
    return found;
  }

  SPF_HOST_DEVICE float scale_of(int s, int64_t head) const {
    return side[s].scale != nullptr ? side[s].scale[head * scale_step] : fixed_scale;
  }

 private:
  SPF_HOST_DEVICE void set(int64_t a, int64_t a_slot, int64_t b, int64_t b_slot, int64_t (&from)[2],
                           int64_t (&to)[2]) const {
    for (int s = 0; s < 2; ++s) { // a side that is not there has strides of 0
      from[s] = a * side[s].from_item + a_slot * side[s].from_slot;
      to[s] = b * side[s].to_item + b_slot * side[s].to_slot;
    }
  }
};

namespace {

[[maybe_unused]] inline bool is_fp8(spf_scalar_type type) { return type == SPF_E4M3 || type == SPF_E5M2; }
[[maybe_unused]] inline int64_t bytes_of(spf_scalar_type type) {
  return type == SPF_F32 ? 4 : type == SPF_F16 || type == SPF_BF16 ? 2 : 1;
}
[[maybe_unused]] inline Change change_of(spf_scalar_type from, spf_scalar_type to) {
  return from == to ? Change::kCopy : is_fp8(to) ? Change::kQuantize : Change::kDequantize;
}

[[maybe_unused]] inline void take_ids(const spf_tensor& ids, Moves* m) {
  m->ids = ids.data;
  m->wide_ids = ids.type == SPF_I64;
  m->id_stride = ids.stride[ids.rank - 1];
  m->pair_stride = ids.stride[0];
}

[[maybe_unused]] inline void take_scales(const Call& call, const char* const (&names)[2], Moves* m) {
  for (int s = 0; s < m->sides; ++s)
    if (const spf_tensor* scale = call.operand(names[s])) {
      m->side[s].scale = static_cast<const float*>(scale->data);
      m->scale_step = scale->shape[0] == 1 ? 0 : 1;
    }
}

[[maybe_unused]] inline void write_moves(const Call& call, bool first_layout, Moves* m) {
  const char* const from_names[2] = {"key", "value"};
  const char* const to_names[2] = {"key_cache", "value_cache"};
  const Problem& p = call.problem;
  m->kind = Kind::kWrite;
  m->sides = 2;
  m->items = p.extent("S");
  m->heads = p.extent("KH");
  m->length = p.extent("D");
  m->block_size = p.extent("BS");
  m->to_blocks = p.extent("NB");
  take_ids(*call.operand("slot_mapping"), m);
  take_scales(call, {"k_scale", "v_scale"}, m);
  for (int s = 0; s < 2; ++s) {
    const spf_tensor &from = *call.operand(from_names[s]), &to = *call.operand(to_names[s]);
    Side& side = m->side[s];
    side.from = from.data;
    side.to = to.data;
    side.from_item = from.stride[0];
    side.from_head = from.stride[1];
    side.vector = m->length;
    if (!first_layout) {
      side.to_item = to.stride[0];
      side.to_slot = to.stride[1];
      side.to_head = to.stride[2];
      continue;
    }
    side.to_head = m->length * m->block_size;
    side.to_item = m->heads * side.to_head;
    side.vector = s == 0 ? p.extent("X") : 1;
    side.to_slot = side.vector;
    side.vector_stride = side.vector * m->block_size;
  }
  m->from_type = call.operand("key")->type;
  m->to_type = call.operand("key_cache")->type;
}

[[maybe_unused]] inline void block_moves(const Call& call, bool within, Moves* m) {
  const char* const names[2] = {within ? "key_cache" : "source", "value_cache"};
  m->kind = Kind::kBlocks;
  m->sides = within ? 2 : 1;
  m->items = call.problem.extent("PAIRS");
  m->length = call.problem.extent("E");
  take_ids(*call.operand("block_mapping"), m);
  for (int s = 0; s < m->sides; ++s) {
    const spf_tensor &from = *call.operand(names[s]), &to = within ? from : *call.operand("target");
    m->side[s].from = from.data;
    m->side[s].to = to.data;
    m->side[s].from_item = from.stride[0];
    m->side[s].to_item = to.stride[0];
    m->side[s].vector = m->length;
    m->from_blocks = from.shape[0];
    m->to_blocks = to.shape[0];
    m->from_type = m->to_type = from.type;
  }
}

[[maybe_unused]] inline void gather_moves(const Call& call, Moves* m) {
  const Problem& p = call.problem;
  const spf_tensor &cache = *call.operand("cache"), &out = *call.operand("out");
  const spf_tensor* const starts = call.operand("seq_starts");
  m->kind = Kind::kGather;
  m->items = p.extent("N");
  m->heads = p.extent("KH");
  m->length = p.extent("D");
  m->block_size = p.extent("BS");
  m->from_blocks = p.extent("NB");
  m->sequences = p.extent("B");
  m->table_width = p.extent("MB");
  take_ids(*call.operand("block_tables"), m);
  m->offsets = static_cast<const int32_t*>(call.operand("cu_seq_lens")->data);
  m->starts = starts != nullptr ? static_cast<const int32_t*>(starts->data) : nullptr;
  take_scales(call, {"scale", "scale"}, m);
  Side& side = m->side[0];
  side.from = cache.data;
  side.to = out.data;
  side.from_item = cache.stride[0];
  side.from_slot = cache.stride[1];
  side.from_head = cache.stride[2];
  side.to_item = out.stride[0];
  side.to_head = out.stride[1];
  side.vector = m->length;
  m->from_type = cache.type;
  m->to_type = out.type;
}

[[maybe_unused]] inline void convert_moves(const Call& call, Moves* m) {
  const spf_tensor* const both[2] = {call.operand("source"), call.operand("out")};
  m->kind = Kind::kConvert;
  m->items = call.problem.extent("*");
  m->length = call.problem.extent("E");
  m->fixed_scale = static_cast<float>(call.param("scale"));
  m->side[0].from = both[0]->data;
  m->side[0].to = both[1]->data;
  m->side[0].vector = m->length;
  m->space = row_space(both);
  m->from_type = both[0]->type;
  m->to_type = both[1]->type;
}

[[maybe_unused]] inline Moves moves_of(const Call& call) {
  const std::string_view op = call.problem.op->name;
  Moves m;
  if (op == "reshape_and_cache_flash" || op == "reshape_and_cache") write_moves(call, op == "reshape_and_cache", &m);
  if (op == "copy_blocks" || op == "swap_blocks") block_moves(call, op == "copy_blocks", &m);
  if (op == "gather_cache") gather_moves(call, &m);
  if (op == "convert_fp8") convert_moves(call, &m);
  m.change = change_of(m.from_type, m.to_type);
  for (int32_t shift = 0; shift < 31; ++shift)
    if (m.block_size == int64_t{1} << shift) m.block_shift = shift;
  return m;
}

} // namespace
} // namespace spf::kv_cache
