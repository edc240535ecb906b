// What every implementation of a sampling op reads, as plain data.
#pragma once

#include "core/call.hpp"
#include "kernels/common/rows.hpp"
#include "kernels/sampling/definition.h"

namespace spf::sampling {

// Rows of logits, and where the answer of each goes.
struct LogitArgs {
  const void* logits = nullptr;
  int64_t v = 0; // entries of a row
  RowSpace<1> space;
  void* ids = nullptr;      // [rows]
  bool wide_ids = false;    // i64, else i32
  uint8_t* flags = nullptr; // [rows], may be null

  SPF_HOST_DEVICE void answer(int64_t row, int64_t id, uint8_t flag) const {
    if (wide_ids)
      static_cast<int64_t*>(ids)[row] = id;
    else
      static_cast<int32_t*>(ids)[row] = static_cast<int32_t>(id);
    if (flags != nullptr) flags[row] = flag;
  }
};

struct SampleArgs : LogitArgs {
  // [rows] each; those that are null are off.
  const float* temperature = nullptr;
  const int32_t* top_k = nullptr;
  const float* top_p = nullptr;
  const float* min_p = nullptr;
  const int64_t* seeds = nullptr;
  const int64_t* positions = nullptr;

  SPF_HOST_DEVICE RowRule rule(int64_t row) const {
    return row_rule(temperature != nullptr ? temperature[row] : 0.0f, top_k != nullptr ? top_k[row] : 0,
                    top_p != nullptr ? top_p[row] : 1.0f, min_p != nullptr ? min_p[row] : 0.0f);
  }
  SPF_HOST_DEVICE uint64_t draw(int64_t row, uint64_t total) const {
    return sampling::draw(static_cast<uint64_t>(seeds[row]), static_cast<uint64_t>(positions[row]), total);
  }
};

template <class T>
const T* vector_of(const Call& call, const char* operand) {
  const spf_tensor* const tensor = call.operand(operand);
  return tensor != nullptr ? static_cast<const T*>(tensor->data) : nullptr;
}

inline void read_logits(const Call& call, const char* ids, LogitArgs& args) {
  const spf_tensor* const logits[1] = {call.operand("logits")};
  const spf_tensor* const flags = call.operand("flags");
  args.logits = logits[0]->data;
  args.v = call.problem.extent("V");
  args.space = row_space(logits);
  args.ids = call.operand(ids)->data;
  args.wide_ids = call.operand(ids)->type == SPF_I64;
  args.flags = flags != nullptr ? static_cast<uint8_t*>(flags->data) : nullptr;
}

inline LogitArgs argmax_args(const Call& call) {
  LogitArgs args;
  read_logits(call, "out", args);
  return args;
}

inline SampleArgs sample_args(const Call& call) {
  SampleArgs args;
  read_logits(call, "ids", args);
  args.temperature = vector_of<float>(call, "temperature");
  args.top_k = vector_of<int32_t>(call, "top_k");
  args.top_p = vector_of<float>(call, "top_p");
  args.min_p = vector_of<float>(call, "min_p");
  args.seeds = vector_of<int64_t>(call, "seeds");
  args.positions = vector_of<int64_t>(call, "positions");
  return args;
}

} // namespace spf::sampling
