// Activation functions: out[r, i] = f(x[r, i]) or f(gate[r, i], up[r, i]) for f32, f16, bf16.
//
//   out as chunks of 16 bytes, numbered row by row:  0 1 ... C-1 | C C+1 ...        C chunks a row
//   consecutive threads take consecutive chunks, so a row of any length loses nothing at its end and the row of a
//   single token spreads over many multiprocessors. One chunk of each input a thread; elementwise ops with much to do
//   take two, to have as many bytes in flight as gated ones.
//
// Rows that do not start on 16 bytes, or do not hold whole
// chunks, have their own kernel with an element path. The bits of an element depend on its inputs only.
#pragma once

#include "kernels/activation/args.h"
#include "kernels/common/cuda/launch.cuh"
#include "kernels/common/cuda/math.cuh"
#include "kernels/common/cuda/memory.cuh"
#include "kernels/common/cuda/rows.cuh"

namespace spf::activation {

template <Act kAct>
inline constexpr bool kGated = is_gated(kAct);
template <Act kAct>
inline constexpr bool kInterleaved = is_interleaved(kAct);

// --- functions of one element ------------------------------------------------------------------------------------
// f32 uses the CUDA math library; 16-bit types the hardware's exp2 and reciprocal, whose errors (2^-17 and less where a
// result is not negligible) vanish in the rounding that follows.

using cuda::sigmoid_times;

// 0.5 erfc(z) for z = |v| / sqrt(2), as t Q(t) exp(-z^2) with t = 1 / (1 + 0.65 z). Q is our least-maximum fit of
// degree 5; relative error 9e-6.
__device__ __forceinline__ float half_erfc(float v) {
  const float t = cuda::fast_reciprocal(__fmaf_rn(0.65f * 0.70710678f, fabsf(v), 1.0f));
  float q = 0.5f * 0.14425139129161835f;
  q = __fmaf_rn(q, t, 0.5f * -0.4733065366744995f);
  q = __fmaf_rn(q, t, 0.5f * 0.35727381706237793f);
  q = __fmaf_rn(q, t, 0.5f * 0.23145397007465363f);
  q = __fmaf_rn(q, t, 0.5f * 0.3739553391933441f);
  q = __fmaf_rn(q, t, 0.5f * 0.3663804233074188f);
  return q * t * cuda::fast_exp2(-0.5f * cuda::kLog2e * v * v);
}

// v times the normal distribution function; from the small tail's side, so nothing cancels for negative v.
template <spf_scalar_type T>
__device__ __forceinline__ float gelu(float v) {
  if constexpr (T == SPF_F32) return 0.5f * v * erfcf(-0.70710678118654752f * v);
  const float tail = half_erfc(v);
  return v * (v < 0.0f ? tail : 1.0f - tail);
}

// 0.5 v (1 + tanh(u)) = v * sigmoid(2 u), without the cancellation.
template <spf_scalar_type T>
__device__ __forceinline__ float gelu_tanh(float v) {
  constexpr float kTwice = 2.0f * 0.79788456080286536f;
  const float cubic = __fmaf_rn(0.044715f * v * v, v, v);
  if constexpr (T == SPF_F32) return v / (1.0f + expf(-kTwice * cubic));
  return v * cuda::fast_reciprocal(1.0f + cuda::fast_exp2(-cuda::kLog2e * kTwice * cubic));
}

// For 16-bit types good next to 1 only, where the forms below need it: absolute error 2^-21.
template <spf_scalar_type T>
__device__ __forceinline__ float tanh_for_gelu(float u) {
  if constexpr (T == SPF_F32) return tanhf(u);
  return __fmaf_rn(-2.0f, cuda::fast_reciprocal(1.0f + cuda::fast_exp2(2.0f * cuda::kLog2e * u)), 1.0f);
}

// The tanh forms whose intermediates live in T. All elements of a chunk take each step together: roundings come in
// pairs.
template <Act kAct, spf_scalar_type T, int kElements>
__device__ __forceinline__ void rounded_gelu(const float (&x)[kElements], float (&out)[kElements]) {
  static_assert(kAct == Act::kGeluNew || kAct == Act::kGeluFast);
  const auto step = [&](float(&to)[kElements], auto&& f) {
#pragma unroll
    for (int i = 0; i < kElements; ++i) to[i] = f(i);
    cuda::round_all<T>(to);
  };
  float u[kElements], half[kElements];
  if constexpr (kAct == Act::kGeluNew) {
    step(u, [&](int i) { return x[i] * x[i]; });
    step(u, [&](int i) { return u[i] * x[i]; });
    step(u, [&](int i) { return 0.044715f * u[i]; });
    step(u, [&](int i) { return __fadd_rn(x[i], u[i]); });
    step(u, [&](int i) { return 0.79788456f * u[i]; });
  } else {
    step(u, [&](int i) { return 0.044715f * x[i]; });
    step(u, [&](int i) { return __fmul_rn(u[i], x[i]); });
    step(u, [&](int i) { return __fadd_rn(1.0f, u[i]); });
    step(half, [&](int i) { return 0.79788456f * x[i]; });
    step(u, [&](int i) { return half[i] * u[i]; });
  }
  step(u, [&](int i) { return tanh_for_gelu<T>(u[i]); });
  step(u, [&](int i) { return __fadd_rn(1.0f, u[i]); });
  step(half, [&](int i) { return 0.5f * x[i]; });
#pragma unroll
  for (int i = 0; i < kElements; ++i) out[i] = __fmul_rn(half[i], u[i]);
}

// Comparisons, not fminf and fmaxf: a NaN stays a NaN.
template <spf_scalar_type T>
__device__ __forceinline__ float swigluoai(float gate, float up, float alpha, float limit) {
  gate = gate > limit ? limit : gate;
  up = up > limit ? limit : up < -limit ? -limit : up;
  return __fadd_rn(up, 1.0f) * sigmoid_times<T>(gate, alpha);
}

// The one-argument function of an op: of x, or of the factor that a gated op activates.
template <Act kAct, spf_scalar_type T>
__device__ __forceinline__ float activated(float v, float threshold) {
  if constexpr (kAct == Act::kGelu || kAct == Act::kGeluAndMul)
    return gelu<T>(v);
  else if constexpr (kAct == Act::kGeluTanh || kAct == Act::kGeluTanhAndMul)
    return gelu_tanh<T>(v);
  else if constexpr (kAct == Act::kFatreluAndMul)
    return v > threshold ? v : 0.0f;
  else
    return sigmoid_times<T>(v, kAct == Act::kGeluQuick ? 1.702f : 1.0f);
}

// One chunk of outputs. first, second: gate and up; for interleaved input the two consecutive chunks that hold both.
template <Act kAct, spf_scalar_type T>
__device__ __forceinline__ uint4 apply(const uint4& first, const uint4& second, float a, float b) {
  constexpr int kElements = cuda::kChunkElements<T>;
  constexpr bool kSecondActivated = kAct == Act::kMulAndSilu;
  float x[kElements], y[kElements], out[kElements];
  cuda::unpack<T>(first, x);
  cuda::unpack<T>(second, y);
  if constexpr (kAct == Act::kGeluNew || kAct == Act::kGeluFast) {
    rounded_gelu<kAct, T>(x, out);
  } else if constexpr (kInterleaved<kAct>) {
#pragma unroll
    for (int i = 0; i < kElements / 2; ++i) {
      out[i] = swigluoai<T>(x[2 * i], x[2 * i + 1], a, b);
      out[i + kElements / 2] = swigluoai<T>(y[2 * i], y[2 * i + 1], a, b);
    }
  } else {
#pragma unroll
    for (int i = 0; i < kElements; ++i) out[i] = activated<kAct, T>(kSecondActivated ? y[i] : x[i], a);
    if constexpr (kGated<kAct>) return cuda::multiply_chunks<T>(cuda::pack<T>(out), kSecondActivated ? first : second);
  }
  return cuda::pack<T>(out);
}

// --- rows of whole chunks on 16 bytes ------------------------------------------------------------------------------

struct RowsArgs {
  RowsArgs(const ActArgs& args, int64_t chunks)
      : x(args.x),
        out(args.out),
        d(args.d),
        total(static_cast<uint32_t>(chunks * args.space.rows)),
        a(args.a),
        b(args.b),
        chunks_of_row(chunks),
        rows(args.space) {}

  const void* x;
  void* out;
  int64_t d;
  uint32_t total; // chunks of out
  float a, b;     // threshold, or alpha and limit
  cuda::Divisor chunks_of_row;
  cuda::DeviceRows<2> rows;
};

inline constexpr int kBlock = 256;

// kChunks of a thread lie kBlock apart.
template <Act kAct, spf_scalar_type T, int kChunks>
__global__ void __launch_bounds__(kBlock) act_rows(const __grid_constant__ RowsArgs args) {
  using namespace spf::cuda;
  using Element = scalar_t<T>;
  constexpr int kElements = kChunkElements<T>;

  const Element* x[kChunks];
  Element* to[kChunks];
  bool exists[kChunks];
#pragma unroll
  for (int k = 0; k < kChunks; ++k) {
    const uint32_t chunk = (blockIdx.x * kChunks + k) * kBlock + threadIdx.x;
    const uint32_t row = args.chunks_of_row.quotient(chunk);
    const int64_t e = static_cast<int64_t>(chunk - row * args.chunks_of_row.divisor) * kElements;
    x[k] = static_cast<const Element*>(args.x) + args.rows.offset(0, row) + (kInterleaved<kAct> ? 2 * e : e);
    to[k] = static_cast<Element*>(args.out) + args.rows.offset(1, row) + e;
    exists[k] = chunk < args.total;
  }
  wait_for_primary();
  uint4 first[kChunks], second[kChunks];
#pragma unroll
  for (int k = 0; k < kChunks; ++k) {
    if (!exists[k]) continue;
    first[k] = load16(x[k]);
    if constexpr (kGated<kAct>) second[k] = load16(x[k] + (kInterleaved<kAct> ? kElements : args.d));
  }
  launch_dependents();
#pragma unroll
  for (int k = 0; k < kChunks; ++k)
    if (exists[k]) store16(to[k], apply<kAct, T>(first[k], kGated<kAct> ? second[k] : first[k], args.a, args.b));
}

// --- rows of any alignment, length and number ------------------------------------------------------------------------

template <Act kAct, spf_scalar_type T>
__global__ void __launch_bounds__(kBlock) act_any_rows(const __grid_constant__ ActArgs args) {
  using namespace spf::cuda;
  using Element = scalar_t<T>;
  constexpr int kElements = kChunkElements<T>;

  launch_dependents();
  wait_for_primary();
  const int64_t chunks = (args.d + kElements - 1) / kElements;
  const int64_t chunk = static_cast<int64_t>(blockIdx.x) * kBlock + threadIdx.x;
  const int64_t row = chunk / chunks;
  if (row >= args.space.rows) return;
  const int64_t e = (chunk - row * chunks) * kElements;
  const int64_t left = args.d - e;
  int64_t at[2];
  args.space.offsets(row, at);
  const Element* const x = static_cast<const Element*>(args.x) + at[0];
  Element* const to = static_cast<Element*>(args.out) + at[1] + e;
  uint4 first, second;
  if constexpr (kInterleaved<kAct>) {
    const bool vector = on_16_bytes(x + 2 * e);
    first = load_chunk<T>(x + 2 * e, 2 * left, vector);
    second = load_chunk<T>(x + 2 * e + kElements, 2 * left - kElements, vector);
  } else {
    first = load_chunk<T>(x + e, left, on_16_bytes(x + e));
    if constexpr (kGated<kAct>)
      second = load_chunk<T>(x + args.d + e, left, on_16_bytes(x + args.d + e));
    else
      second = first;
  }
  store_chunk<T>(to, apply<kAct, T>(first, second, args.a, args.b), left, on_16_bytes(to));
}

// --- launch ------------------------------------------------------------------------------------------------------

inline bool whole_chunks(const ActArgs& args, int64_t element_bytes) {
  uintptr_t bits = reinterpret_cast<uintptr_t>(args.x) | reinterpret_cast<uintptr_t>(args.out) |
                   static_cast<uintptr_t>(args.d * element_bytes);
  for (int i = 0; i < args.space.dims; ++i)
    bits |= static_cast<uintptr_t>((args.space.stride[0][i] | args.space.stride[1][i]) * element_bytes);
  return bits % 16 == 0;
}

inline constexpr int64_t kMostChunks = (int64_t{1} << 31) - 4 * kBlock; // every thread's chunk number fits 31 bits

inline int64_t blocks_for(int64_t total, int chunks) { return (total + chunks * kBlock - 1) / (chunks * kBlock); }

template <Act kAct, spf_scalar_type T>
spf_status launch_act(ActArgs args, const LaunchContext& ctx) {
  if (args.empty()) return SPF_OK;
  // Without gaps an elementwise op has one row, whatever its shape: more of it is whole chunks.
  const RowSpace<2>& space = args.space;
  if (!kGated<kAct> && space.dims == 1 && space.stride[0][0] == args.d && space.stride[1][0] == args.d) {
    args.d *= space.rows;
    args.space = RowSpace<2>();
  }
  const int64_t chunks = (args.d + cuda::kChunkElements<T> - 1) / cuda::kChunkElements<T>;
  const int64_t total = chunks * args.space.rows;
  const char* const op = kActNames[static_cast<int>(kAct)];
  if (whole_chunks(args, sizeof(cuda::scalar_t<T>)) && cuda::DeviceRows<2>::fits(args.space) && chunks > 1 &&
      total < kMostChunks) {
    const RowsArgs rows(args, chunks);
    const bool many = total > int64_t{ctx.facts->sm_count} * 2048; // more than all multiprocessors take at once
    if constexpr (!kGated<kAct>) {
      if (many) return cuda::launch(op, ctx, act_rows<kAct, T, 2>, blocks_for(total, 2), kBlock, 0, rows);
    }
    return cuda::launch(op, ctx, act_rows<kAct, T, 1>, blocks_for(total, 1), kBlock, 0, rows);
  }
  return cuda::launch(op, ctx, act_any_rows<kAct, T>, blocks_for(total, 1), kBlock, 0, args);
}

template <spf_scalar_type T>
spf_status act_rows_of(const Call& call, const LaunchContext& ctx) {
  const Act act = act_of(call);
  const ActArgs args = act_args(call, act);
  switch (act) {
    case Act::kSiluAndMul:
      return launch_act<Act::kSiluAndMul, T>(args, ctx);
    case Act::kMulAndSilu:
      return launch_act<Act::kMulAndSilu, T>(args, ctx);
    case Act::kGeluAndMul:
      return launch_act<Act::kGeluAndMul, T>(args, ctx);
    case Act::kGeluTanhAndMul:
      return launch_act<Act::kGeluTanhAndMul, T>(args, ctx);
    case Act::kFatreluAndMul:
      return launch_act<Act::kFatreluAndMul, T>(args, ctx);
    case Act::kSwigluoaiAndMul:
      return launch_act<Act::kSwigluoaiAndMul, T>(args, ctx);
    case Act::kSilu:
      return launch_act<Act::kSilu, T>(args, ctx);
    case Act::kGelu:
      return launch_act<Act::kGelu, T>(args, ctx);
    case Act::kGeluTanh:
      return launch_act<Act::kGeluTanh, T>(args, ctx);
    case Act::kGeluNew:
      return launch_act<Act::kGeluNew, T>(args, ctx);
    case Act::kGeluFast:
      return launch_act<Act::kGeluFast, T>(args, ctx);
    case Act::kGeluQuick:
      return launch_act<Act::kGeluQuick, T>(args, ctx);
  }
  return SPF_INTERNAL;
}

} // namespace spf::activation
