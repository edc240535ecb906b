// What every implementation of the top-k ops reads, as plain data. Each of them picks the K best entries of a window of
// each row: larger values first, NaN above all, -0 equal to +0, the lower index of equal ones first.
#pragma once

#include <string_view>

#include "core/call.hpp"
#include "kernels/common/rows.hpp"

namespace spf::sampling {

struct Window {
  int64_t begin, end; // entries of the row; never beyond it, never negative
};

struct SelectArgs {
  // The rows of [0] logits, [1] indices, [2] values.
  RowSpace<3> space;
  const void* logits = nullptr;
  int64_t v = 0, k = 0;
  void* indices = nullptr;
  bool wide_indices = false; // i64, else i32
  void* values = nullptr;    // top_k only. Then answers are in order of value, else in order of index
  // Windows. Without any of these: the whole row.
  const int32_t* starts = nullptr;  // by row
  const int32_t* ends = nullptr;    // by row
  const int32_t* lengths = nullptr; // by row, from its start
  const int32_t* sequence_lengths = nullptr;
  int64_t sequence_rows = 1; // the last rows of a sequence, each seeing one entry more than the one before

  SPF_HOST_DEVICE Window window(int64_t row) const {
    int64_t begin = starts != nullptr ? starts[row] : 0, end = v;
    if (ends != nullptr) end = ends[row];
    if (lengths != nullptr) end = begin + lengths[row];
    if (sequence_lengths != nullptr)
      end = sequence_lengths[row / sequence_rows] - sequence_rows + row % sequence_rows + 1;
    begin = begin < 0 ? 0 : begin > v ? v : begin;
    end = end < begin ? begin : end > v ? v : end;
    return {begin, end};
  }

  SPF_HOST_DEVICE void write_index(int64_t at, int64_t index) const {
    if (wide_indices)
      static_cast<int64_t*>(indices)[at] = index;
    else
      static_cast<int32_t*>(indices)[at] = static_cast<int32_t>(index);
  }
};

// The order of values as integers: NaN above all, -0 equal to +0. Never 0.
SPF_HOST_DEVICE uint32_t value_rank(uint32_t f32_bits) {
  if ((f32_bits & 0x7fffffffu) > 0x7f800000u) return 0xffffffffu;
  if (f32_bits == 0x80000000u) f32_bits = 0;
  return f32_bits ^ (f32_bits >> 31 != 0 ? 0xffffffffu : 0x80000000u);
}

inline SelectArgs select_args(const Call& call) {
  SelectArgs args;
  const spf_tensor* const logits = call.operand("logits");
  const spf_tensor* const indices = call.operand("indices");
  const spf_tensor* const values = call.operand("values");
  const spf_tensor* const all[3] = {logits, indices, values != nullptr ? values : indices};
  const auto vector = [&](const char* name) {
    const spf_tensor* const tensor = call.operand(name);
    return tensor != nullptr ? static_cast<const int32_t*>(tensor->data) : nullptr;
  };
  args.space = row_space(all);
  args.logits = logits->data;
  args.v = call.problem.extent("V");
  args.k = call.problem.extent("K");
  args.indices = indices->data;
  args.wide_indices = indices->type == SPF_I64;
  args.values = values != nullptr ? values->data : nullptr;
  args.starts = vector("row_starts");
  args.ends = vector("row_ends");
  args.lengths = vector("lengths");
  args.sequence_lengths = vector("seq_lens");
  if (args.sequence_lengths != nullptr) args.sequence_rows = call.problem.extent("N");
  return args;
}

} // namespace spf::sampling
