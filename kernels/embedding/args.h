// What every implementation of embedding reads, as plain data.
#pragma once

#include "core/call.hpp"
#include "kernels/common/rows.hpp"

namespace spf::embedding {

struct EmbeddingArgs {
  const void* ids = nullptr; // [rows]
  bool wide_ids = false;     // i64, else i32
  const void* table = nullptr;
  int64_t table_stride = 0; // elements from row to row
  int64_t v = 0, h = 0;
  void* out = nullptr;
  RowSpace<1> space; // rows of out
  float scale = 1;

  // The table's row for an id, or -1: ids outside the table give a row of zeros.
  SPF_HOST_DEVICE int64_t source(int64_t row) const {
    const int64_t id = wide_ids ? static_cast<const int64_t*>(ids)[row] : static_cast<const int32_t*>(ids)[row];
    return id >= 0 && id < v ? id : -1;
  }
};

inline EmbeddingArgs embedding_args(const Call& call) {
  EmbeddingArgs args;
  const spf_tensor* const ids = call.operand("ids");
  const spf_tensor* const table = call.operand("table");
  const spf_tensor* const out[1] = {call.operand("out")};
  args.ids = ids->data;
  args.wide_ids = ids->type == SPF_I64;
  args.table = table->data;
  args.table_stride = table->stride[0];
  args.v = call.problem.extent("V");
  args.h = call.problem.extent("H");
  args.out = out[0]->data;
  args.space = row_space(out);
  args.scale = static_cast<float>(call.param("scale"));
  return args;
}

} // namespace spf::embedding
