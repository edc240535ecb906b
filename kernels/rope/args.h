// What every implementation of a rope op reads: heads by token, positions and the table, as plain data.
//
// What is no member has internal linkage: this header is compiled once per instruction set, and an inline definition
// shared between such files could end up, with AVX-512 in it, as the one copy that every caller runs.
#pragma once

#include <string_view>

#include "core/call.hpp"
#include "kernels/common/rows.hpp"

namespace spf::rope {

inline constexpr int64_t kCpuRotary = 1024; // the largest R of the vectorized CPU rows

// A run of heads of every token that is rotated: query, key, or a part of a fused row.
struct Heads {
  void* data = nullptr;         // first head of the first token
  int64_t stride = 0;           // elements between heads
  int32_t count = 0;            // heads of a token; 0: nothing here
  const void* weight = nullptr; // [D], fused_qk_norm_rope only
};

// Tokens are rows of three operands: [0] positions, [1] query or qkv, [2] key (qkv again where there is no key).
struct RopeArgs {
  Heads heads[2];
  const void* positions = nullptr;
  const void* cos_sin = nullptr; // [P, R]: cos of R/2 frequencies, then their sin
  spf_scalar_type position_type = SPF_I64, table_type = SPF_F32;
  int64_t table_rows = 0;   // P: a token at a position outside [0, P) stays as it is
  int64_t size = 0;         // D, elements of a head
  int64_t rotary = 0;       // R, even, at most D
  bool interleaved = false; // pairs (2i, 2i + 1); else (i, i + R/2)
  bool norm = false;        // fused_qk_norm_rope
  bool weight_plus_one = false;
  float epsilon = 0;
  RowSpace<3> space;

  SPF_HOST_DEVICE int64_t all_heads() const { return int64_t{heads[0].count} + heads[1].count; }
  bool empty() const { return space.rows == 0 || size == 0 || all_heads() == 0; }

  // Element offset of a head of a token whose rows start at `at`; `head` counts through both runs.
  SPF_HOST_DEVICE int64_t head_offset(int run, int64_t head, const int64_t (&at)[3]) const {
    return (run == 0 ? at[1] : at[2]) + head * heads[run].stride; // at stays in registers
  }
};

namespace {

[[maybe_unused]] inline bool is_fused(const Call& call) {
  return std::string_view(call.problem.op->name) == "fused_qk_norm_rope";
}

// A view with the dimensions that number tokens, and then one of no interest, as row_space() expects it.
[[maybe_unused]] inline spf_tensor tokens_of(const spf_tensor& t, int drop) {
  spf_tensor rows = t;
  rows.rank -= drop;
  rows.shape[rows.rank] = 1;
  rows.stride[rows.rank] = 1;
  ++rows.rank;
  return rows;
}

[[maybe_unused]] inline RopeArgs rope_args(const Call& call) {
  RopeArgs args;
  args.norm = is_fused(call);
  const spf_tensor& query = *call.operand(args.norm ? "qkv" : "query");
  const spf_tensor* const key = args.norm ? nullptr : call.operand("key");
  const spf_tensor& positions = *call.operand("positions");
  const int heads_at = query.rank - 2;
  args.size = call.problem.extent("D");
  args.rotary = call.problem.extent("R");
  args.table_rows = call.problem.extent("P");
  args.interleaved = call.param("interleaved") != 0;
  args.positions = positions.data;
  args.position_type = positions.type;
  args.cos_sin = call.operand("cos_sin")->data;
  args.table_type = call.operand("cos_sin")->type;
  args.heads[0] = {query.data, query.stride[heads_at], static_cast<int32_t>(query.shape[heads_at]), nullptr};
  if (key != nullptr)
    args.heads[1] = {key->data, key->stride[heads_at], static_cast<int32_t>(key->shape[heads_at]), nullptr};
  if (args.norm) {
    const auto q = static_cast<int64_t>(call.param("q_heads")), k = static_cast<int64_t>(call.param("k_heads"));
    const int64_t bytes = query.type == SPF_F32 ? 4 : 2;
    char* const first_key =
        query.data == nullptr ? nullptr : static_cast<char*>(query.data) + q * query.stride[heads_at] * bytes;
    args.heads[0] = {query.data, query.stride[heads_at], static_cast<int32_t>(q), call.operand("q_weight")->data};
    args.heads[1] = {first_key, query.stride[heads_at], static_cast<int32_t>(k), call.operand("k_weight")->data};
    args.epsilon = static_cast<float>(call.param("epsilon"));
    args.weight_plus_one = call.param("weight_plus_one") != 0;
  }
  const spf_tensor tokens[3] = {tokens_of(positions, 0), tokens_of(query, 2),
                                tokens_of(key != nullptr ? *key : query, 2)};
  const spf_tensor* const all[3] = {&tokens[0], &tokens[1], &tokens[2]};
  args.space = row_space(all);
  return args;
}

} // namespace
} // namespace spf::rope
