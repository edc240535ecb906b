// The meaning of the attention ops, in loops to check by hand; sums and exponentials are fp64.
//
//   score(query, key)   s = scale * k_scale * sum_d q[d] k[d]
//                       softcap > 0:  s = softcap * tanh(s / softcap)
//                       ALiBi:        s -= slope[head] * |position of the query - position of the key|
//   seen keys           position of the key <= that of the query (causal), and > that of the query - window
//   out                 sum over seen keys of exp(s) * v_scale * v / denominator
//   denominator         sum over seen keys of exp(s), plus exp(sink[head]) where there are sinks
//   lse                 log(denominator); -inf for 0
//
// A denominator of 0 gives an output of 0. Query i of a sequence with Q queries and N keys is at position N - Q + i.
#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "core/scalar_traits.hpp"
#include "core/status.hpp"
#include "kernels/attention/args.h"
#include "kernels/common/float_types.hpp"

namespace spf::attention {
namespace {

template <spf_scalar_type T>
void read_row(const void* data, int64_t at, const RowStride& stride, std::vector<double>* row) {
  for (size_t d = 0; d < row->size(); ++d) (*row)[d] = load<T>(data, at + stride.dim(static_cast<int64_t>(d)));
}

void read_row(spf_scalar_type type, const void* data, int64_t at, const RowStride& stride, std::vector<double>* row) {
  switch (type) {
    case SPF_F32:
      return read_row<SPF_F32>(data, at, stride, row);
    case SPF_F16:
      return read_row<SPF_F16>(data, at, stride, row);
    case SPF_BF16:
      return read_row<SPF_BF16>(data, at, stride, row);
    case SPF_E4M3:
      return read_row<SPF_E4M3>(data, at, stride, row);
    default:
      return read_row<SPF_E5M2>(data, at, stride, row);
  }
}

struct Query {
  int64_t sequence, row, head, position, length;
};

bool sees(const AttentionArgs& args, const Query& q, int64_t key) {
  if (key < args.first_seen(q.position) || key >= args.last_seen(q.position, q.length)) return false;
  return !args.is_sparse() || args.sparse_sees(q.head, q.length, key);
}

double head_scale(const AttentionArgs& args, const float* scales, int64_t kv_head) {
  return scales == nullptr ? 1.0 : scales[kv_head * args.scale_stride];
}

double score(const AttentionArgs& args, const Query& q, const std::vector<double>& query, int64_t key,
             std::vector<double>* row) {
  const int64_t kv_head = q.head / args.group();
  read_row(args.kv_type, args.key, args.row_of(args.key_stride, q.sequence, key, kv_head), args.key_stride, row);
  double s = 0;
  for (size_t d = 0; d < row->size(); ++d) s += query[d] * (*row)[d];
  s *= args.scale * head_scale(args, args.k_scale, kv_head);
  if (args.softcap > 0) s = args.softcap * std::tanh(s / args.softcap);
  if (args.alibi_slopes != nullptr) s -= args.alibi_slopes[q.head] * std::abs(static_cast<double>(q.position - key));
  return s;
}

template <spf_scalar_type T>
void attend(const AttentionArgs& args, const Query& q) {
  const int64_t kv_head = q.head / args.group();
  const auto dims = static_cast<size_t>(args.dims);
  std::vector<double> weight(static_cast<size_t>(q.length), 0.0), sum(dims, 0.0), query(dims), row(dims);
  read_row(args.type, args.query, q.row * args.query_stride[0] + q.head * args.query_stride[1],
           {0, 0, 0, 0, args.dims + 1}, &query);
  double largest = args.sinks != nullptr ? args.sinks[q.head] : -std::numeric_limits<double>::infinity();
  for (int64_t key = 0; key < q.length; ++key) {
    if (!sees(args, q, key)) continue;
    weight[static_cast<size_t>(key)] = score(args, q, query, key, &row);
    largest = std::max(largest, weight[static_cast<size_t>(key)]);
  }
  const double zero = std::isinf(largest) && largest < 0 ? 0 : largest; // nothing seen
  double denominator = args.sinks != nullptr ? std::exp(args.sinks[q.head] - zero) : 0;
  for (int64_t key = 0; key < q.length; ++key) {
    if (!sees(args, q, key)) continue;
    const double w = std::exp(weight[static_cast<size_t>(key)] - zero);
    denominator += w;
    read_row(args.kv_type, args.value, args.row_of(args.value_stride, q.sequence, key, kv_head), args.value_stride,
             &row);
    for (size_t d = 0; d < dims; ++d) sum[d] += w * row[d];
  }
  const double scale = denominator == 0 ? 0 : head_scale(args, args.v_scale, kv_head) / denominator;
  const int64_t out = q.row * args.out_stride[0] + q.head * args.out_stride[1];
  for (int64_t d = 0; d < args.dims; ++d)
    store<T>(args.out, out + d, denominator == 0 ? 0.0f : static_cast<float>(sum[static_cast<size_t>(d)] * scale));
  if (args.lse != nullptr) args.lse[q.head * args.rows + q.row] = static_cast<float>(zero + std::log(denominator));
}

spf_status check_offsets(const int32_t* offsets, int64_t sequences, int64_t rows, const char* op, const char* field) {
  for (int64_t i = 0; i <= sequences; ++i) {
    const int64_t least = i > 0 ? offsets[i - 1] : 0;
    if (offsets[i] < least || offsets[i] > rows)
      return fail(SPF_INVALID_ARGUMENT, op, "launch", std::string(field) + "[" + std::to_string(i) + "]",
                  std::to_string(offsets[i]), std::to_string(least) + " to " + std::to_string(rows));
  }
  return SPF_OK;
}

template <spf_scalar_type T>
void merge(const MergeArgs& args, int64_t token, int64_t head) {
  constexpr float kNothing = -std::numeric_limits<float>::infinity();
  const auto row = [&](const MergeArgs::State& s) { return token * s.stride[0] + head * s.stride[1]; };
  const auto lse_of = [&](const MergeArgs::State& s) {
    const float lse = s.lse[head * args.tokens + token];
    return std::isinf(lse) ? kNothing : lse;
  };
  const double p = lse_of(args.prefix), s = lse_of(args.suffix), largest = std::max(p, s);
  const bool nothing = std::isinf(largest); // the prefix as it is
  const double wp = nothing ? 1 : std::exp(p - largest), ws = nothing ? 0 : std::exp(s - largest);
  for (int64_t d = 0; d < args.dims; ++d) {
    const double a = load<T>(args.prefix.data, row(args.prefix) + d);
    const double b = nothing ? 0 : load<T>(args.suffix.data, row(args.suffix) + d);
    store<T>(args.out.data, row(args.out) + d, static_cast<float>(nothing ? a : (wp * a + ws * b) / (wp + ws)));
  }
  if (args.out.lse != nullptr)
    args.out.lse[head * args.tokens + token] = nothing ? kNothing : static_cast<float>(largest + std::log(wp + ws));
}

} // namespace

spf_status check_numbers(const AttentionArgs& args, const char* op) {
  if (args.cu_queries != nullptr)
    if (const spf_status s = check_offsets(args.cu_queries, args.sequences, args.rows, op, "cu_seqlens_q"); s != SPF_OK)
      return s;
  if (!args.paged()) return check_offsets(args.cu_keys, args.sequences, args.key_rows, op, "cu_seqlens_k");
  for (int64_t b = 0; b < args.sequences; ++b) {
    const int32_t* const blocks = args.block_tables + b * args.table_stride;
    for (int64_t i = 0; i * args.block_size < args.keys(b); ++i)
      if (blocks[i] < 0 || blocks[i] >= args.blocks)
        return fail(SPF_INVALID_ARGUMENT, op, "launch",
                    "block_tables[" + std::to_string(b) + ", " + std::to_string(i) + "]", std::to_string(blocks[i]),
                    args.blocks > 0 ? "0 to " + std::to_string(args.blocks - 1) : "no block: the cache has none");
  }
  return SPF_OK;
}

spf_status reference_attention(const Call& call, const LaunchContext&) {
  const AttentionArgs args = attention_args(call);
  if (const spf_status s = check_numbers(args, call.problem.op->name); s != SPF_OK) return s;
  const bool known = with_float_type(args.type, [&](auto type) {
    for (int64_t b = 0; b < args.sequences; ++b)
      for (int64_t i = 0; i < args.queries(b); ++i)
        for (int64_t h = 0; h < args.heads; ++h) {
          const int64_t length = args.keys(b);
          attend<decltype(type)::value>(args, {b, args.first_query(b) + i, h, length - args.queries(b) + i, length});
        }
  });
  return known ? SPF_OK : SPF_INVALID_TYPE;
}

spf_status reference_merge(const Call& call, const LaunchContext&) {
  const MergeArgs args = merge_args(call);
  const bool known = with_float_type(args.type, [&](auto type) {
    for (int64_t t = 0; t < args.tokens; ++t)
      for (int64_t h = 0; h < args.heads; ++h) merge<decltype(type)::value>(args, t, h);
  });
  return known ? SPF_OK : SPF_INVALID_TYPE;
}

} // namespace spf::attention
