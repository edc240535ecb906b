// What a CPU kernel of `linear` is given: out[M,N] = x[M,K] W[N,K]^T + bias[N]. With x_scale it is scaled_linear
// (spearfish/ops/scaled_linear.h), and x holds codes.
//
// Everything here has internal linkage. These headers are compiled once per instruction set, and an inline definition
// shared between such files could end up, with AVX-512 in it, as the one copy that every caller runs.
#pragma once

#include <cstdint>

#include "core/call.hpp"
#include "core/cpu_packed.hpp"
#include "kernels/linear/workspace.hpp"

namespace spf::linear {

// Rows of a view whose last dimension is contiguous; any number of leading dimensions.
struct Rows {
  char* data = nullptr;
  spf_scalar_type type = SPF_F32;
  int32_t leading = 0; // dimensions before the last
  int64_t shape[SPF_MAX_RANK] = {};
  int64_t stride_bytes[SPF_MAX_RANK] = {};
};

struct Args {
  int64_t m = 0, n = 0, k = 0;
  Rows x, out;
  const char* bias = nullptr; // n elements of bias_type, or NULL
  spf_scalar_type bias_type = SPF_F32;
  const spf_tensor* x_scale = nullptr; // [*, groups]; the rest is NULL without it
  int64_t scale_groups = 1;
  const spf_tensor* azp = nullptr;
  const int32_t* azp_adj = nullptr;
  const float* channel_scale = nullptr;
  CpuWeight weight;
  int32_t threads = 1;
  char* workspace = nullptr;
};

namespace {

[[maybe_unused]] inline int64_t element_bytes(spf_scalar_type t) {
  return t == SPF_F32 ? 4 : t == SPF_F16 || t == SPF_BF16 ? 2 : 1;
}

[[maybe_unused]] inline Rows rows_of(const spf_tensor& t) {
  Rows r;
  r.data = static_cast<char*>(t.data);
  r.type = t.type;
  r.leading = t.rank - 1;
  for (int32_t i = 0; i < r.leading; ++i) {
    r.shape[i] = t.shape[i];
    r.stride_bytes[i] = t.stride[i] * element_bytes(t.type);
  }
  return r;
}

// First element of row m, rows counted in C order over the leading dimensions.
[[maybe_unused]] inline char* row_at(const Rows& r, int64_t m) {
  int64_t offset = 0;
  for (int32_t i = r.leading - 1; i > 0; --i) {
    offset += m % r.shape[i] * r.stride_bytes[i];
    m /= r.shape[i];
  }
  return r.data + offset + (r.leading > 0 ? m * r.stride_bytes[0] : 0);
}

// Elements from the start of a view to row m of its first `dims` dimensions, counted in C order.
[[maybe_unused]] inline int64_t offset_of(const spf_tensor& t, int32_t dims, int64_t m) {
  int64_t offset = 0;
  for (int32_t i = dims - 1; i >= 0; --i) {
    offset += m % t.shape[i] * t.stride[i];
    m /= t.shape[i];
  }
  return offset;
}

// Of row m, at a column of x.
[[maybe_unused]] inline float x_scale_at(const Args& a, int64_t m, int64_t column) {
  const int32_t last = a.x_scale->rank - 1;
  const int64_t group = a.scale_groups > 1 ? column / 128 : 0;
  return static_cast<const float*>(a.x_scale->data)[offset_of(*a.x_scale, last, m) + group * a.x_scale->stride[last]];
}
[[maybe_unused]] inline int32_t azp_at(const Args& a, int64_t m) {
  return a.azp == nullptr ? 1 : static_cast<const int32_t*>(a.azp->data)[offset_of(*a.azp, a.azp->rank, m)];
}

[[maybe_unused]] inline Args args_of(const Call& call, const LaunchContext& ctx) {
  Args a;
  a.m = call.problem.extent("*");
  a.n = call.problem.extent("N");
  a.k = call.problem.extent("K");
  a.x = rows_of(*call.operand("x"));
  a.out = rows_of(*call.operand("out"));
  if (const spf_tensor* bias = call.operand("bias")) {
    a.bias = static_cast<const char*>(bias->data);
    a.bias_type = bias->type;
  }
  a.x_scale = call.operand("x_scale");
  if (a.x_scale != nullptr) {
    a.scale_groups = call.problem.extent("G");
    a.azp = call.operand("azp");
    if (const spf_tensor* adj = call.operand("azp_adj"); adj != nullptr && a.k > 0)
      a.azp_adj = static_cast<const int32_t*>(adj->data);
    if (const spf_tensor* scale = call.operand("channel_scale"))
      a.channel_scale = static_cast<const float*>(scale->data);
  }
  a.weight = cpu_packed_open(*call.weight);
  const int most = workspace_threads(*ctx.facts);
  a.threads = ctx.threads < most ? ctx.threads : most;
  a.workspace = static_cast<char*>(ctx.workspace);
  return a;
}

constexpr int64_t round_up(int64_t value, int64_t step) { return (value + step - 1) / step * step; }
constexpr int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

// The part of [0, count) that one of `parts` workers owns, in whole multiples of `step`.
struct Range {
  int64_t begin, end;
};
[[maybe_unused]] inline Range share(int64_t count, int64_t step, int part, int parts) {
  const int64_t steps = (count + step - 1) / step;
  return {smaller(steps * part / parts * step, count), smaller(steps * (part + 1) / parts * step, count)};
}

} // namespace
} // namespace spf::linear
