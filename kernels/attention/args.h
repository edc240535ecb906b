// What every implementation of an attention op reads: where queries, keys and values lie, who sees what, as plain data.
//
// What is not a member has internal linkage: this header is compiled once per instruction set, and an inline definition
// shared between such files could end up, with AVX-512 in it, as the one copy that every caller runs.
#pragma once

#include <cstdint>
#include <string_view>

#include "core/call.hpp"

#ifdef __CUDACC__
#define SPF_ATTENTION_INLINE __host__ __device__ __forceinline__
#else
#define SPF_ATTENTION_INLINE inline
#endif

namespace spf::attention {

// Keys or values of one KV head: element d of the row at (block, token) of head h lies at
// block * s.block + token * s.token + h * s.head + (d / s.run) * s.chunk + d % s.run, in elements.
// Rows without gaps are one run; the v0 cache layout splits them.
struct RowStride {
  int64_t block = 0, token = 0, head = 0, chunk = 0, run = 1;

  SPF_ATTENTION_INLINE int64_t row(int64_t in_block, int64_t in_token, int64_t in_head) const {
    return in_block * block + in_token * token + in_head * head;
  }
  SPF_ATTENTION_INLINE int64_t dim(int64_t d) const { return d / run * chunk + d % run; }
};

// vLLM's block-sparse mask of the v0 operators: blocks of `block` positions; a query sees its own and the local - 1
// blocks before it, and of the others every stride-th, counted from an offset of its head. stride <= 1: sees all.
struct SparseMask {
  int64_t local = 0, stride = 0, block = 1, head_step = 0, rank = 0;
};

struct AttentionArgs {
  const void* query = nullptr; // [rows, QH, D]
  void* out = nullptr;
  float* lse = nullptr;                             // [QH, rows], may be null
  int64_t query_stride[2] = {}, out_stride[2] = {}; // of a row, of a head
  const void* key = nullptr;
  const void* value = nullptr;
  RowStride key_stride, value_stride;
  spf_scalar_type type = SPF_TYPE_NONE, kv_type = SPF_TYPE_NONE;

  // Paged keys: sequence b's position p lies in block block_tables[b][p / block_size], and seq_lens[b] says how many
  // there are. Contiguous keys: in row cu_keys[b] + p, of cu_keys[b + 1] - cu_keys[b].
  const int32_t* block_tables = nullptr;
  int64_t table_stride = 0, table_width = 0, block_size = 1;
  const int32_t* seq_lens = nullptr;
  const int32_t* cu_keys = nullptr;
  // Queries of sequence b: rows cu_queries[b] to cu_queries[b + 1]; null: one each.
  const int32_t* cu_queries = nullptr;

  const float* alibi_slopes = nullptr; // [QH]
  const float* sinks = nullptr;        // [QH]
  const float* k_scale = nullptr;      // one, or one per KV head
  const float* v_scale = nullptr;
  int64_t scale_stride = 0; // 0 or 1: step from one head's scale to the next
  int64_t rows = 0, sequences = 0, heads = 0, kv_heads = 0, dims = 0;
  int64_t key_rows = 0, blocks = 0; // rows of contiguous keys, blocks of paged ones
  float scale = 1, softcap = 0;
  int64_t window = 0; // 0: all
  bool causal = true;
  SparseMask sparse;

  SPF_ATTENTION_INLINE int64_t group() const { return heads / kv_heads; } // query heads of a KV head
  SPF_ATTENTION_INLINE bool paged() const { return block_tables != nullptr; }
  // Keys of a sequence, never more than there is room for.
  SPF_ATTENTION_INLINE int64_t keys(int64_t sequence) const {
    if (!paged()) return cu_keys[sequence + 1] - cu_keys[sequence];
    const int64_t length = seq_lens[sequence], most = table_width * block_size;
    return length < 0 ? 0 : length > most ? most : length;
  }
  SPF_ATTENTION_INLINE int64_t first_query(int64_t sequence) const {
    return cu_queries != nullptr ? cu_queries[sequence] : sequence;
  }
  SPF_ATTENTION_INLINE int64_t queries(int64_t sequence) const {
    return cu_queries != nullptr ? cu_queries[sequence + 1] - cu_queries[sequence] : 1;
  }
  // Positions [first, last) that the query at `position` of a sequence with `length` keys may see, the sparse mask
  // aside. A sequence's queries are its last positions, so one before position 0 sees nothing.
  SPF_ATTENTION_INLINE int64_t first_seen(int64_t position) const {
    const int64_t first = window > 0 ? position - window + 1 : 0;
    return first < 0 ? 0 : first;
  }
  SPF_ATTENTION_INLINE int64_t last_seen(int64_t position, int64_t length) const {
    return !causal ? length : position + 1 < length ? position + 1 : length;
  }
  SPF_ATTENTION_INLINE bool is_sparse() const { return sparse.stride > 1; }
  SPF_ATTENTION_INLINE bool sparse_sees(int64_t head, int64_t length, int64_t position) const {
    const int64_t at = position / sparse.block;
    if (at > (length - 1) / sparse.block - sparse.local) return true;
    const int64_t offset = sparse.head_step >= 0 ? (sparse.rank * heads + head) * sparse.head_step + 1
                                                 : (sparse.rank * kv_heads + head / group()) * -sparse.head_step + 1;
    return (at + offset) % sparse.stride == 0;
  }
  // Element offset of a key's or a value's row; the block of a paged position is looked up.
  SPF_ATTENTION_INLINE int64_t row_of(const RowStride& stride, int64_t sequence, int64_t position,
                                      int64_t kv_head) const {
    if (!paged()) return stride.row(0, cu_keys[sequence] + position, kv_head);
    const int64_t block = block_tables[sequence * table_stride + position / block_size];
    return stride.row(block, position % block_size, kv_head);
  }
};

// SPF_OK if every block, offset and length that a CPU kernel is about to follow stays inside the operands; otherwise
// fails naming the entry. In reference.cpp.
spf_status check_numbers(const AttentionArgs& args, const char* op);

// --- from a call -----------------------------------------------------------------------------------------------------

enum class AttentionOp : uint8_t { kDecode, kPaged, kPrefill, kPrefillPaged };

namespace {

[[maybe_unused]] inline AttentionOp attention_op(std::string_view name) {
  if (name == "attention_decode") return AttentionOp::kDecode;
  if (name == "paged_attention") return AttentionOp::kPaged;
  return name == "attention_prefill" ? AttentionOp::kPrefill : AttentionOp::kPrefillPaged;
}

[[maybe_unused]] inline const float* float_data(const spf_tensor* t) {
  return t != nullptr ? static_cast<const float*>(t->data) : nullptr;
}
[[maybe_unused]] inline const int32_t* index_data(const spf_tensor* t) {
  return t != nullptr ? static_cast<const int32_t*>(t->data) : nullptr;
}

// Key and value of the four layouts as RowStrides.
[[maybe_unused]] inline void kv_strides(const Call& call, AttentionOp op, AttentionArgs* args) {
  const bool contiguous = op == AttentionOp::kPrefill;
  const spf_tensor& k = *call.operand(contiguous ? "key" : "key_cache");
  const spf_tensor& v = *call.operand(contiguous ? "value" : "value_cache");
  args->key = k.data;
  args->value = v.data;
  args->kv_type = k.type;
  const int64_t whole = args->dims > 0 ? args->dims : 1;
  if (op == AttentionOp::kPaged) { // key [NB,KH,D/x,BS,x], value [NB,KH,D,BS]
    args->key_stride = {k.stride[0], k.stride[3], k.stride[1], k.stride[2], k.shape[4] > 0 ? k.shape[4] : 1};
    args->value_stride = {v.stride[0], v.stride[3], v.stride[1], v.stride[2], 1};
    args->block_size = v.shape[3];
  } else if (contiguous) { // [S,KH,D]
    args->key_stride = {0, k.stride[0], k.stride[1], 0, whole};
    args->value_stride = {0, v.stride[0], v.stride[1], 0, whole};
    args->key_rows = k.shape[0];
  } else { // [NB,BS,KH,D]
    args->key_stride = {k.stride[0], k.stride[1], k.stride[2], 0, whole};
    args->value_stride = {v.stride[0], v.stride[1], v.stride[2], 0, whole};
    args->block_size = k.shape[1];
  }
  if (!contiguous) args->blocks = k.shape[0];
  if (args->block_size < 1) args->block_size = 1;
}

[[maybe_unused]] inline AttentionArgs attention_args(const Call& call) {
  const AttentionOp op = attention_op(call.problem.op->name);
  AttentionArgs args;
  const spf_tensor& q = *call.operand("query");
  const spf_tensor& out = *call.operand("out");
  args.query = q.data;
  args.out = out.data;
  args.type = q.type;
  for (int i = 0; i < 2; ++i) {
    args.query_stride[i] = q.stride[i];
    args.out_stride[i] = out.stride[i];
  }
  args.rows = q.shape[0];
  args.heads = q.shape[1];
  args.dims = q.shape[2];
  args.kv_heads = call.problem.extent("KH");
  kv_strides(call, op, &args);
  if (const spf_tensor* tables = call.operand("block_tables")) {
    args.block_tables = index_data(tables);
    args.table_stride = tables->stride[0];
    args.table_width = tables->shape[1];
    args.sequences = tables->shape[0];
  }
  if (call.operand("cu_seqlens_q") != nullptr) args.sequences = call.problem.extent("B1") - 1;
  args.seq_lens = index_data(call.operand("seq_lens"));
  args.cu_queries = index_data(call.operand("cu_seqlens_q"));
  args.cu_keys = index_data(call.operand("cu_seqlens_k"));
  args.alibi_slopes = float_data(call.operand("alibi_slopes"));
  args.sinks = float_data(call.operand("sinks"));
  args.k_scale = float_data(call.operand("k_scale"));
  args.v_scale = float_data(call.operand("v_scale"));
  args.scale_stride = call.problem.extent("SH") > 1 ? 1 : 0;
  if (const spf_tensor* lse = call.operand("lse")) args.lse = static_cast<float*>(lse->data);
  args.scale = static_cast<float>(call.param("scale"));
  args.softcap = static_cast<float>(call.param("softcap"));
  if (op == AttentionOp::kPaged) {
    args.sparse = {static_cast<int64_t>(call.param("sparse_local_blocks")),
                   static_cast<int64_t>(call.param("sparse_vertical_stride")),
                   static_cast<int64_t>(call.param("sparse_block_size")),
                   static_cast<int64_t>(call.param("sparse_head_step")),
                   static_cast<int64_t>(call.param("tensor_parallel_rank"))};
  } else {
    args.window = static_cast<int64_t>(call.param("window"));
  }
  if (op == AttentionOp::kPrefill || op == AttentionOp::kPrefillPaged) args.causal = call.param("causal") != 0;
  return args;
}

} // namespace

// --- merge_attn_states -----------------------------------------------------------------------------------------------

struct MergeArgs {
  struct State {
    void* data = nullptr;
    int64_t stride[2] = {}; // of a token, of a head
    float* lse = nullptr;   // [H, T]
  };
  State out, prefix, suffix;
  spf_scalar_type type = SPF_TYPE_NONE;
  int64_t tokens = 0, heads = 0, dims = 0;
};

namespace {

[[maybe_unused]] inline MergeArgs merge_args(const Call& call) {
  MergeArgs args;
  const auto state = [&](const char* data, const char* lse) {
    const spf_tensor& t = *call.operand(data);
    const spf_tensor* l = call.operand(lse);
    return MergeArgs::State{t.data, {t.stride[0], t.stride[1]}, l != nullptr ? static_cast<float*>(l->data) : nullptr};
  };
  args.out = state("out", "out_lse");
  args.prefix = state("prefix", "prefix_lse");
  args.suffix = state("suffix", "suffix_lse");
  const spf_tensor& out = *call.operand("out");
  args.type = out.type;
  args.tokens = out.shape[0];
  args.heads = out.shape[1];
  args.dims = out.shape[2];
  return args;
}

} // namespace
} // namespace spf::attention
