// Norms with a row in registers: norm(x[r, :]) for f32, f16, bf16, also in place with a residual; an epilogue makes
// numbers or 8-bit codes of it.
//
//   row r:  |chunk 0|chunk 1| ... |chunk N-1|chunk N| ...            a chunk is 16 bytes
//            thread 0  1            N-1       0                      N threads a row, K chunks a thread
//
// Two kernels with one assignment of chunks to threads and one order of summation, so their bits agree:
//   norm_rows      rows that start on 16 bytes, of whole chunks, up to K chunks a thread. All loads of a row are
//   requested
//                  at once, so it is read once. A block has one row (or, for short rows, 128 / N): the hardware's own
//                  scheduling of many small blocks beat blocks that walk rows, with and without the next row in flight.
//   norm_any_rows  any alignment and any length: one pass per sum and one to write; later passes find the row in L1 or
//   L2.
//
// The order of a sum follows from N alone, and N from the row's bytes: neither batch size, nor strides, nor alignment
// changes a bit of the result.
#pragma once

#include <algorithm>

#include "kernels/common/cuda/launch.cuh"
#include "kernels/common/cuda/memory.cuh"
#include "kernels/common/cuda/reduce.cuh"
#include "kernels/common/cuda/row_config.cuh"
#include "kernels/common/cuda/rows.cuh"
#include "kernels/norm/args.h"

namespace spf::norm {

using cuda::RowsConfig;

// Threads that must fit on a multiprocessor: what caps registers. A kernel that has two loads or two constants a chunk
// needs more registers, and has as many bytes in flight with fewer threads. Four blocks of 256 take 512 rows at once on
// 132 multiprocessors; fused_add_rms_norm 512 x 8192 takes 10.0 us with three, 9.6 with four.
template <NormOp kOp, class Config>
constexpr int resident_threads() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800 // 7.5 holds no more
  constexpr int kMost = 1024;
#else
  constexpr int kMost = 1536;
#endif
  if (kOp == NormOp::kLayer && Config::kBlock <= 256)
    return Config::kChunks > 2 ? 768 : kMost < 1280 ? kMost : 1280; // 8192 x 4096: 40.7 us with 768, 37.3 with 1280
  if (kOp == NormOp::kFusedAddRms || Config::kBlock > 256) return 1024;
  return Config::kChunks <= 2 ? kMost : 1024;
}

// The last step on one chunk: values -> outputs.
template <NormOp kOp, spf_scalar_type T, int kElements>
__device__ __forceinline__ uint4 apply(float (&v)[kElements], const uint4& weight, const uint4& bias, float mean,
                                       float scale, bool has_weight, bool weight_plus_one) {
  float w[kElements];
  if constexpr (kOp == NormOp::kLayer) {
    float b[kElements];
    cuda::unpack<T>(weight, w);
    cuda::unpack<T>(bias, b);
#pragma unroll
    for (int i = 0; i < kElements; ++i) v[i] = __fmaf_rn((v[i] - mean) * scale, w[i], b[i]);
  } else {
#pragma unroll
    for (int i = 0; i < kElements; ++i) v[i] *= scale;
    if (!weight_plus_one) return cuda::multiply_chunks<T>(cuda::pack<T>(v), weight);
    cuda::unpack<T>(weight, w);
    const float one = has_weight ? 1.0f : 0.0f; // a missing weight multiplies by 1, not by 2
#pragma unroll
    for (int i = 0; i < kElements; ++i) v[i] *= w[i] + one;
  }
  return cuda::pack<T>(v);
}

// One chunk's part of a sum. Even and odd elements have their own accumulators: half the length of the dependent chain.
template <int kElements>
__device__ __forceinline__ void add_squares(const float (&v)[kElements], float (&sums)[2]) {
#pragma unroll
  for (int i = 0; i < kElements; ++i) sums[i & 1] = __fmaf_rn(v[i], v[i], sums[i & 1]);
}

template <int kElements>
__device__ __forceinline__ void add_values(const float (&v)[kElements], float (&sums)[2]) {
#pragma unroll
  for (int i = 0; i < kElements; ++i) sums[i & 1] += v[i];
}

// --- rows in registers -------------------------------------------------------------------------------------------

// The epilogue that leaves numbers of x's type. Others (kCodes) get the normed chunks of a row: see Codes in
// sm75_quant_rows.cuh.
struct Store {
  static constexpr bool kCodes = false;
  struct Args {
    explicit Args(const CodeArgs&) {}
  };
};

// NormArgs as the device wants it.
template <class Epilogue>
struct RowsArgs {
  explicit RowsArgs(const NormArgs& args)
      : x(args.data[0]),
        second(args.data[1]),
        weight(args.weight),
        bias(args.bias),
        rows(args.space),
        h(static_cast<int32_t>(args.h)),
        epsilon(args.epsilon),
        inverse_h(1.0f / static_cast<float>(args.h)),
        weight_plus_one(args.weight_plus_one),
        codes(args.codes) {}

  void* x;
  void* second; // out, or residual
  const void* weight;
  const void* bias;
  cuda::DeviceRows<2> rows;
  int32_t h;
  float epsilon;
  float inverse_h;
  bool weight_plus_one;
  typename Epilogue::Args codes;
};

template <NormOp kOp, spf_scalar_type T, class Config, class Epilogue>
__global__ void __launch_bounds__(Config::kBlock, (resident_threads<kOp, Config>() / Config::kBlock))
    norm_rows(const __grid_constant__ RowsArgs<Epilogue> args) {
  using namespace spf::cuda;
  using Element = scalar_t<T>;
  using Sum = GroupSum<Config::kThreads>;
  constexpr int kChunks = Config::kChunks;
  constexpr int kElements = kChunkElements<T>;
  constexpr bool kAdds = kOp == NormOp::kFusedAddRms;
  constexpr bool kLayer = kOp == NormOp::kLayer;
  __shared__ typename Sum::Storage storage;

  const int lane = static_cast<int>(threadIdx.x) % Config::kThreads;
  const uint32_t row = blockIdx.x * Config::kRows + threadIdx.x / Config::kThreads;
  const bool exists = Config::kRows == 1 || row < args.rows.rows;
  const uint4 ones = chunk_of_ones<T>();
  const uint4 zeros = make_uint4(0, 0, 0, 0);
  // Chunk k of this thread lies kStep * k elements behind its first one.
  constexpr int kStep = Config::kThreads * kElements;
  const int start = lane * kElements;
  const int left = args.h - start;
  Element* const first = static_cast<Element*>(args.x) + args.rows.offset(0, row) + start;
  Element* const second = static_cast<Element*>(args.second) + args.rows.offset(1, row) + start;
  const Element* const weights = static_cast<const Element*>(args.weight) + start;
  const Element* const biases = static_cast<const Element*>(args.bias) + start;

  // Weight and bias are constants, so they may be requested before the preceding kernel has ended. Large blocks with a
  // second operand do not have the registers to hold them that long, and those of layer norm none to hold both at all:
  // they ask for a chunk's when they come to it.
  constexpr bool kInTurn = kLayer && Config::kBlock > 256;
  constexpr bool kEarly = !kInTurn && Config::kBlock <= (kAdds ? 512 : 1024);
  uint4 weight[kChunks];
  uint4 bias[kLayer ? kChunks : 1];
  const auto fetch_constant = [&](int k) {
    weight[k] = args.weight != nullptr && k * kStep < left ? load16(weights + k * kStep) : ones;
    if constexpr (kLayer) bias[k] = args.bias != nullptr && k * kStep < left ? load16(biases + k * kStep) : zeros;
  };
  const auto fetch_constants = [&] {
#pragma unroll
    for (int k = 0; k < kChunks; ++k) fetch_constant(k);
  };
  if constexpr (kEarly) fetch_constants();
  wait_for_primary();

  uint4 x[kChunks];
  uint4 residual[kAdds ? kChunks : 1];
#pragma unroll
  for (int k = 0; k < kChunks; ++k) {
    x[k] = exists && k * kStep < left ? load16(first + k * kStep) : zeros;
    if constexpr (kAdds) residual[k] = exists && k * kStep < left ? load16(second + k * kStep) : zeros;
  }
  if constexpr (!kEarly && !kInTurn) fetch_constants();
  // With four chunks of two operands on their way a thread lets the next kernel in only once its own have arrived: the
  // two would share the memory.
  constexpr bool kWaits = kAdds && kChunks >= 4;
  if constexpr (!kWaits) launch_dependents();

  // The new residual takes the place of x.
  if constexpr (kAdds) {
#pragma unroll
    for (int k = 0; k < kChunks; ++k) {
      x[k] = add_chunks<T>(x[k], residual[k]);
      if (exists && k * kStep < left) store16(second + k * kStep, x[k]);
    }
  }

  float v[kElements];
  float mean = 0;
  if constexpr (kLayer) {
    float sums[2] = {0, 0};
#pragma unroll
    for (int k = 0; k < kChunks; ++k) {
      unpack<T>(x[k], v);
      add_values(v, sums);
      stay_packed(x[k]);
    }
    mean = Sum::all(sums[0] + sums[1], storage, 0) * args.inverse_h;
  }

  float squares[2] = {0, 0};
#pragma unroll
  for (int k = 0; k < kChunks; ++k) {
    unpack<T>(x[k], v);
    if constexpr (kLayer) {
#pragma unroll
      for (int i = 0; i < kElements; ++i) v[i] = k * kStep < left ? v[i] - mean : 0.0f;
    }
    add_squares(v, squares);
    stay_packed(x[k]);
  }
  if constexpr (kWaits) launch_dependents();
  const float scale = rsqrtf(__fmaf_rn(Sum::all(squares[0] + squares[1], storage, 1), args.inverse_h, args.epsilon));

  Element* const out = kAdds ? first : second;
#pragma unroll
  for (int k = 0; k < kChunks; ++k) {
    if constexpr (kInTurn) fetch_constant(k);
    unpack<T>(x[k], v);
    const uint4 y = apply<kOp, T>(v, weight[k], kLayer ? bias[kLayer ? k : 0] : zeros, mean, scale,
                                  args.weight != nullptr, args.weight_plus_one);
    if constexpr (Epilogue::kCodes) {
      x[k] = y;
      stay_packed(x[k]);
    } else if (exists && k * kStep < left) {
      store16(out + k * kStep, y);
    }
  }
  if constexpr (Epilogue::kCodes) Epilogue::template finish<T, Config>(args.codes, x, exists ? left : 0, row, exists);
}

// --- rows of any alignment and length ------------------------------------------------------------------------------

template <NormOp kOp, spf_scalar_type T, int kThreads, int kRows, class Epilogue>
__global__ void __launch_bounds__(kThreads* kRows) norm_any_rows(const __grid_constant__ NormArgs args) {
  using namespace spf::cuda;
  using Element = scalar_t<T>;
  using Sum = GroupSum<kThreads>;
  constexpr int kElements = kChunkElements<T>;
  constexpr bool kAdds = kOp == NormOp::kFusedAddRms;
  constexpr bool kLayer = kOp == NormOp::kLayer;
  __shared__ typename Sum::Storage storage;

  launch_dependents();
  wait_for_primary();
  const int lane = static_cast<int>(threadIdx.x) % kThreads;
  const int slot = static_cast<int>(threadIdx.x) / kThreads;
  const float inverse_h = 1.0f / static_cast<float>(args.h);
  const auto* const weight = static_cast<const Element*>(args.weight);
  const auto* const bias = static_cast<const Element*>(args.bias);
  const bool weight_vector = on_16_bytes(weight);
  const bool bias_vector = on_16_bytes(bias);
  const int64_t tiles = (args.space.rows + kRows - 1) / kRows;
  unsigned turn = 0;

  for (int64_t tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
    const int64_t index = tile * kRows + slot;
    const bool exists = index < args.space.rows;
    const int64_t h = exists ? args.h : 0;
    int64_t at[2];
    args.space.offsets(exists ? index : 0, at);
    Element* const first = static_cast<Element*>(args.data[0]) + at[0];
    Element* const second = static_cast<Element*>(args.data[1]) + at[1];
    Element* const normed = kAdds ? second : first;
    Element* const out = kAdds ? first : second;
    const bool vector = on_16_bytes(first) && on_16_bytes(second);

    // Calls body(values, element) for each chunk of this thread, in order; elements past the end read as 0.
    const auto each_chunk = [&](const Element* source, auto&& body) {
      for (int64_t e = static_cast<int64_t>(lane) * kElements; e < h; e += static_cast<int64_t>(kThreads) * kElements) {
        float v[kElements];
        unpack<T>(load_chunk<T>(source + e, h - e, vector), v);
        body(v, e);
      }
    };

    float mean = 0;
    if constexpr (kLayer) {
      float sums[2] = {0, 0};
      each_chunk(first, [&](const float(&v)[kElements], int64_t) { add_values(v, sums); });
      mean = Sum::all(sums[0] + sums[1], storage, turn++) * inverse_h;
    }

    float squares[2] = {0, 0};
    each_chunk(first, [&](float(&v)[kElements], int64_t e) {
      if constexpr (kAdds) {
        const uint4 sum = add_chunks<T>(pack<T>(v), load_chunk<T>(second + e, h - e, vector));
        store_chunk<T>(second + e, sum, h - e, vector);
        unpack<T>(sum, v);
      }
      if constexpr (kLayer) {
#pragma unroll
        for (int i = 0; i < kElements; ++i) v[i] = e + i < h ? v[i] - mean : 0.0f;
      }
      add_squares(v, squares);
    });
    const float scale = rsqrtf(__fmaf_rn(Sum::all(squares[0] + squares[1], storage, turn++), inverse_h, args.epsilon));

    // The normed chunk at element e < h.
    const auto normed_chunk = [&](int64_t e) {
      float v[kElements];
      unpack<T>(load_chunk<T>(normed + e, h - e, vector), v);
      const uint4 w = weight == nullptr ? chunk_of_ones<T>() : load_chunk<T>(weight + e, h - e, weight_vector);
      const uint4 b = bias == nullptr ? make_uint4(0, 0, 0, 0) : load_chunk<T>(bias + e, h - e, bias_vector);
      return apply<kOp, T>(v, w, b, mean, scale, weight != nullptr, args.weight_plus_one);
    };
    if constexpr (Epilogue::kCodes) {
      Epilogue::template finish_any<T, kThreads>(args.codes, normed_chunk, h, index, exists);
    } else {
      for (int64_t e = static_cast<int64_t>(lane) * kElements; e < h; e += static_cast<int64_t>(kThreads) * kElements)
        store_chunk<T>(out + e, normed_chunk(e), h - e, vector);
    }
  }
}

// --- launch ------------------------------------------------------------------------------------------------------

// Every row of both operands, the weight and the bias start on 16 bytes and hold whole chunks.
inline bool whole_chunks(const NormArgs& args, int64_t element_bytes) {
  uintptr_t bits = reinterpret_cast<uintptr_t>(args.data[0]) | reinterpret_cast<uintptr_t>(args.data[1]) |
                   reinterpret_cast<uintptr_t>(args.weight) | reinterpret_cast<uintptr_t>(args.bias) |
                   static_cast<uintptr_t>(args.h * element_bytes);
  for (int d = 0; d < args.space.dims; ++d)
    bits |= static_cast<uintptr_t>((args.space.stride[0][d] | args.space.stride[1][d]) * element_bytes);
  return bits % 16 == 0;
}

template <NormOp kOp, spf_scalar_type T, class Config, class Epilogue>
spf_status launch_norm(const char* op, const NormArgs& args, const LaunchContext& ctx, bool codes_aligned = true) {
  if (args.empty()) return SPF_OK;
  const int64_t tiles = (args.space.rows + Config::kRows - 1) / Config::kRows;
  if constexpr (Config::kChunks > 0) {
    if (codes_aligned && whole_chunks(args, sizeof(cuda::scalar_t<T>)) && cuda::DeviceRows<2>::fits(args.space))
      return cuda::launch(op, ctx, norm_rows<kOp, T, Config, Epilogue>, tiles, Config::kBlock, 0,
                          RowsArgs<Epilogue>(args));
  }
  const int64_t grid = std::min<int64_t>(tiles, 1 << 20); // blocks walk rows beyond that
  return cuda::launch(op, ctx, norm_any_rows<kOp, T, Config::kThreads, Config::kRows, Epilogue>, grid, Config::kBlock,
                      0, args);
}

} // namespace spf::norm
