// What stands around a CUTLASS kernel of scaled_linear: vectors that its epilogue can read before it, and results that
// its epilogue cannot write after it.
#pragma once

#include "kernels/linear/blocks.hpp"
#include "kernels/linear/mma_launch.cuh"
#include "kernels/linear/policy_cutlass.hpp"

namespace spf::linear {

// Parts of the workspace, one behind the other.
class CutlassSpace {
 public:
  explicit CutlassSpace(void* workspace) : free_(static_cast<char*>(workspace)) {}
  // nullptr for none.
  template <class T>
  T* take(int64_t bytes) {
    char* const at = bytes > 0 ? free_ : nullptr;
    free_ += bytes;
    return reinterpret_cast<T*>(at);
  }

 private:
  char* free_;
};

// A product as cutlass_gemm() takes it: rows of x and of the weight in bytes, out in the type of its end, or sums.
struct CutlassGemm {
  const void *x, *weights;
  void* out;
  int64_t x_pitch, out_pitch;            // elements
  const float *tokens, *channels, *bias; // not for sums; bias may be nullptr
  int32_t m, n, k;
  bool one_token_scale; // tokens is one number
};

// The same of block-scaled operands: rows of codes, and scales in tiles of 128 rows x 4 blocks. Pitches and k count
// values.
struct CutlassBlockGemm {
  const void *x, *x_scales, *weights, *scales;
  void* out;
  int64_t x_pitch, weights_pitch, out_pitch;
  const float *alpha, *global, *bias; // each may be nullptr
  int32_t m, n, k;
};

// Scales of tokens and of channels and the bias, each in f32 one after another; nullptr: not wanted.
struct CutlassVectors {
  float *tokens, *channels, *bias;
  const float *x_scale, *scales, *channel_scale;
  const void* from_bias;
  RowSpace<1> rows; // of x_scale
  int64_t m, n;
  spf_scalar_type bias_type;
};

static __global__ void __launch_bounds__(256) cutlass_vectors(const __grid_constant__ CutlassVectors a) {
  spf::cuda::wait_for_primary();
  const int64_t i = static_cast<int64_t>(blockIdx.x) * 256 + threadIdx.x;
  if (a.tokens != nullptr && i < a.m) {
    int64_t from[1];
    a.rows.offsets(i, from);
    a.tokens[i] = a.x_scale[from[0]];
  }
  if (i >= a.n) return;
  if (a.channels != nullptr) a.channels[i] = a.scales[i] * a.channel_scale[i];
  if (a.bias != nullptr) a.bias[i] = spf::cuda::load_any(a.from_bias, i, a.bias_type);
}

// Scales and bias of a call as the epilogue reads them: where they lie, or in `v`'s parts of the workspace.
inline spf_status epilogue_vectors(const Call& call, const LaunchContext& ctx, CutlassVectors v, CutlassGemm* g) {
  const spf_tensor &x_scale = *call.operand("x_scale"), *bias = call.operand("bias");
  v.x_scale = static_cast<const float*>(x_scale.data);
  v.rows = row_space({&x_scale});
  v.scales = reinterpret_cast<const float*>(static_cast<const char*>(call.weight->data) + call.weight->scales_offset);
  if (const spf_tensor* second = call.operand("channel_scale"))
    v.channel_scale = static_cast<const float*>(second->data);
  if (bias != nullptr) {
    v.from_bias = bias->data;
    v.bias_type = bias->type;
  }
  v.m = g->m;
  v.n = g->n;
  g->one_token_scale = v.rows.dims == 0 || (v.rows.dims == 1 && v.rows.stride[0][0] == 0);
  if (g->one_token_scale || (v.rows.dims == 1 && v.rows.stride[0][0] == 1)) v.tokens = nullptr;
  g->tokens = v.tokens != nullptr ? v.tokens : v.x_scale;
  g->channels = v.channels != nullptr ? v.channels : v.scales;
  g->bias = v.bias != nullptr ? v.bias : static_cast<const float*>(v.from_bias);
  if (v.tokens == nullptr && v.channels == nullptr && v.bias == nullptr) return SPF_OK;
  return cuda::launch("scaled_linear", ctx, cutlass_vectors, stream_ceil(v.m > v.n ? v.m : v.n, 256), 256, 0, v);
}

// Sums [m][pitch], each thread eight of a row, through the end that the other kernels of the op have.
template <class Total, class End>
struct CutlassSums {
  const Total* sums;
  End end;
  int64_t pitch;
};

template <class Total, class End>
__global__ void __launch_bounds__(256) cutlass_end(const __grid_constant__ CutlassSums<Total, End> a) {
  spf::cuda::wait_for_primary();
  const int64_t piece = static_cast<int64_t>(blockIdx.x) * 256 + threadIdx.x, pieces = a.pitch / 8;
  const int64_t row = piece / pieces, first = (piece - row * pieces) * 8;
  if (row >= a.end.m || first >= a.end.out.n) return;
  const Total* from = a.sums + row * a.pitch + first;
  Total sum[8];
#pragma unroll
  for (int i = 0; i < 8; ++i) sum[i] = first + i < a.end.out.n ? from[i] : Total{0};
  float v[8];
  a.end.finish(a.end.columns(static_cast<int>(first)), static_cast<int>(row), sum, v);
  a.end.out.store(static_cast<int>(row), static_cast<int>(first), v);
}

template <class Total, class End>
spf_status end_sums(const char* op, const LaunchContext& ctx, const Total* sums, const End& end, int64_t pitch) {
  LaunchContext next = ctx; // what is before it tells no dependents to begin
  next.flags &= ~uint32_t{SPF_LAUNCH_PDL};
  const CutlassSums<Total, End> a = {sums, end, pitch};
  return cuda::launch(op, next, cutlass_end<Total, End>, stream_ceil(end.m * (pitch / 8), 256), 256, 0, a);
}

} // namespace spf::linear
