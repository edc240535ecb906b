// One scale a row: out[r, :] = codes(x[r, :]) under the scale of the row's largest number, for f32, f16, bf16.
//
//   row r:  |chunk 0|chunk 1| ... |chunk N-1|chunk N| ...            a chunk is 16 bytes
//            thread 0  1            N-1       0                      N threads a row, K chunks a thread
//
//   quantize_rows      rows that start on 16 bytes, of whole chunks, up to K chunks a thread: all loads of a row are
//                      requested at once, its largest number found in registers, its codes written from there.
//   quantize_any_rows  any alignment and any length: a pass for the largest number, a pass for the codes; the second
//                      finds the row in L1 or L2.
//
// A maximum has no order and every other step is rounded once, so bits depend on the row alone.
#pragma once

#include <algorithm>

#include "kernels/quantize/chunks.cuh"

namespace spf::quantize {

// The numbers that decide a row's scale, and the codes that follow from them.
template <spf_scalar_type T, Rule kRule, int kThreads>
class RowScale {
 public:
  using Max = cuda::GroupMax<kThreads>;
  static constexpr int kElements = cuda::kChunkElements<T>;
  static constexpr spf_scalar_type kCode = kRule == Rule::kFp8 ? SPF_E4M3 : SPF_S8;

  // One chunk; elements from `left` on do not exist and are 0.
  __device__ __forceinline__ void add(const uint4& chunk, int64_t left) {
    if constexpr (kRule != Rule::kInt8Zero) {
      high_ = fmaxf(high_, cuda::amax_of<T>(chunk));
    } else if (left >= kElements) {
      high_ = fmaxf(high_, cuda::largest_of<T>(chunk));
      low_ = fmaxf(low_, -cuda::smallest_of<T>(chunk));
    } else {
      float v[kElements];
      cuda::unpack<T>(chunk, v);
#pragma unroll
      for (int i = 0; i < kElements; ++i) {
        if (i >= left || v[i] != v[i]) continue;
        high_ = fmaxf(high_, v[i]);
        low_ = fmaxf(low_, -v[i]);
      }
    }
  }

  // All threads of the block call it; `writes`: this one stores the row's scale and zero point.
  __device__ __forceinline__ void finish(const QuantArgs& args, typename Max::Storage& storage, unsigned turn,
                                         bool writes, int64_t scale_at, int64_t zero_at) {
    high_ = Max::all(high_, storage, turn);
    if constexpr (kRule == Rule::kFp8) {
      step_.scale = scale_of(high_, args.bound != nullptr ? *args.bound : kLargest, kFp8Max, kFp8Floor);
    } else if constexpr (kRule == Rule::kInt8) {
      step_ = symmetric_step(high_);
    } else {
      // Infinities count as the largest number.
      const auto limited = [](float v) { return fminf(fmaxf(v, -kLargest), kLargest); };
      step_ = asymmetric_step(-limited(Max::all(low_, storage, turn + 1)), limited(high_));
      if (writes) args.azp[zero_at] = step_.zero;
    }
    if (writes) args.scale[scale_at] = step_.scale;
  }

  // Codes of chunks, after finish; write(k, codes) gets them one by one. The chunks may change.
  template <int kChunks, class Write>
  __device__ __forceinline__ void each(uint4 (&chunks)[kChunks], Write&& write) const {
    if constexpr (kRule == Rule::kFp8) {
      float scale = step_.scale;
      cuda::bring_down<T>(chunks, scale);
      const auto step = cuda::quotient_of<T>(scale);
#pragma unroll
      for (int k = 0; k < kChunks; ++k) write(k, codes(chunks[k], step));
    } else {
      const cuda::Multiplication step(step_.factor);
#pragma unroll
      for (int k = 0; k < kChunks; ++k) write(k, codes(chunks[k], step));
    }
  }

 private:
  template <class Step>
  __device__ __forceinline__ uint2 codes(const uint4& chunk, const Step& step) const {
    float v[kElements];
    cuda::unpack<T>(chunk, v);
    if constexpr (kRule == Rule::kInt8Zero) return cuda::codes_with_zero(v, step, step_.zero);
    return cuda::codes_of<kCode>(v, step);
  }

  // The largest |x|; or the largest x, and the largest -x; below all numbers where there was none.
  float high_ = kRule == Rule::kInt8Zero ? -INFINITY : 0.0f;
  float low_ = -INFINITY;
  IntegerStep step_;
};

// --- rows in registers -------------------------------------------------------------------------------------------

// Who owns what: cuda::RowsConfig, but four chunks a thread wherever a row has so many, for a maximum has no order that
// would have to be that of the norms.
template <int kCapacity>
struct RowsConfig {
  static constexpr int kChunks = 4;
  static constexpr int kThreads = kCapacity / kChunks; // of a row
  static constexpr int kBlock = kThreads < 128 ? 128 : kThreads;
  static constexpr int kRows = kBlock / kThreads; // of a block
};

struct RowsArgs {
  QuantArgs quant;
  cuda::DeviceRows<4> rows;
};

// Threads that must fit on a multiprocessor: what caps registers. dynamic_scaled_int8_quant 8192 x 8192 on H200: 53.4
// us with 1024, 49.5 with 1280.
template <class Config>
constexpr int resident_threads() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800 // 7.5 holds no more
  return 1024;
#else
  return Config::kBlock <= 256 ? 1280 : 1024;
#endif
}

template <spf_scalar_type T, Rule kRule, class Config>
__global__ void __launch_bounds__(Config::kBlock, (resident_threads<Config>() / Config::kBlock))
    quantize_rows(const __grid_constant__ RowsArgs args) {
  using namespace spf::cuda;
  using Scale = RowScale<T, kRule, Config::kThreads>;
  constexpr int kChunks = Config::kChunks, kElements = kChunkElements<T>;
  __shared__ typename Scale::Max::Storage storage;

  const int lane = static_cast<int>(threadIdx.x) % Config::kThreads;
  const uint32_t row = blockIdx.x * Config::kRows + threadIdx.x / Config::kThreads;
  const bool exists = Config::kRows == 1 || row < args.rows.rows;
  // Chunk k of this thread lies kStep * k elements behind its first one.
  constexpr int kStep = Config::kThreads * kElements;
  const int start = lane * kElements;
  const int left = exists ? static_cast<int>(args.quant.k) - start : 0;
  const auto* const x = static_cast<const scalar_t<T>*>(args.quant.x) + args.rows.offset(0, row) + start;
  uint8_t* const out = args.quant.out + args.rows.offset(1, row) + start;

  wait_for_primary();
  uint4 chunk[kChunks];
#pragma unroll
  for (int k = 0; k < kChunks; ++k) chunk[k] = k * kStep < left ? load16(x + k * kStep) : make_uint4(0, 0, 0, 0);
  launch_dependents();

  Scale scale;
#pragma unroll
  for (int k = 0; k < kChunks; ++k) {
    scale.add(chunk[k], left - k * kStep);
    stay_packed(chunk[k]);
  }
  scale.finish(args.quant, storage, 0, exists && lane == 0, args.rows.offset(2, row), args.rows.offset(3, row));
  scale.each(chunk, [&](int k, const uint2& codes) {
    if (k * kStep < left) store_codes<kElements>(out + k * kStep, codes, kElements, true);
  });
}

// --- rows of any alignment and length ------------------------------------------------------------------------------

inline constexpr int kAnyThreads = 256;

template <spf_scalar_type T, Rule kRule>
__global__ void __launch_bounds__(kAnyThreads) quantize_any_rows(const __grid_constant__ QuantArgs args) {
  using namespace spf::cuda;
  using Scale = RowScale<T, kRule, kAnyThreads>;
  constexpr int kElements = kChunkElements<T>;
  __shared__ typename Scale::Max::Storage storage;

  launch_dependents();
  wait_for_primary();
  const int64_t start = static_cast<int64_t>(threadIdx.x) * kElements;
  for (int64_t row = blockIdx.x; row < args.space.rows; row += gridDim.x) {
    int64_t at[4];
    args.space.offsets(row, at);
    const auto* const x = static_cast<const scalar_t<T>*>(args.x) + at[0];
    uint8_t* const out = args.out + at[1];
    const bool vector = on_16_bytes(x);
    const bool code_vector = reinterpret_cast<uintptr_t>(out) % kElements == 0;

    Scale scale;
    for (int64_t e = start; e < args.k; e += kAnyThreads * kElements)
      scale.add(load_chunk<T>(x + e, args.k - e, vector), args.k - e);
    scale.finish(args, storage, 0, threadIdx.x == 0, at[2], at[3]);
    for (int64_t e = start; e < args.k; e += kAnyThreads * kElements) {
      uint4 chunk[1] = {load_chunk<T>(x + e, args.k - e, vector)};
      scale.each(chunk,
                 [&](int, const uint2& codes) { store_codes<kElements>(out + e, codes, args.k - e, code_vector); });
    }
    __syncthreads(); // the next row's maxima take the place of this one's
  }
}

// --- launch ------------------------------------------------------------------------------------------------------

template <spf_scalar_type T, Rule kRule, int kCapacity>
spf_status launch_capacity(const char* op, const QuantArgs& args, const LaunchContext& ctx) {
  using Config = RowsConfig<kCapacity>;
  const int64_t grid = (args.space.rows + Config::kRows - 1) / Config::kRows;
  return cuda::launch(op, ctx, quantize_rows<T, kRule, Config>, grid, Config::kBlock, 0,
                      RowsArgs{args, cuda::DeviceRows<4>(args.space)});
}

template <spf_scalar_type T, Rule kRule>
spf_status launch_rule(const char* op, const QuantArgs& args, const LaunchContext& ctx) {
  const int64_t chunks = args.k / cuda::kChunkElements<T>;
  if (whole_chunks<T>(args) && cuda::DeviceRows<4>::fits(args.space) && chunks <= 4096) {
    if (chunks <= 128) return launch_capacity<T, kRule, 128>(op, args, ctx);
    if (chunks <= 512) return launch_capacity<T, kRule, 512>(op, args, ctx);
    if (chunks <= 1024) return launch_capacity<T, kRule, 1024>(op, args, ctx);
    return launch_capacity<T, kRule, 4096>(op, args, ctx);
  }
  const int64_t grid = std::min<int64_t>(args.space.rows, 1 << 20); // blocks walk rows beyond that
  return cuda::launch(op, ctx, quantize_any_rows<T, kRule>, grid, kAnyThreads, 0, args);
}

template <QuantOp kOp, spf_scalar_type T>
spf_status launch_rows(const Call& call, const LaunchContext& ctx) {
  const char* const op = call.problem.op->name;
  const QuantArgs args = quant_args(call);
  if (args.space.rows == 0) return SPF_OK;
  if constexpr (kOp == QuantOp::dynamic_per_token_scaled_fp8_quant)
    return launch_rule<T, Rule::kFp8>(op, args, ctx);
  else
    return args.azp == nullptr ? launch_rule<T, Rule::kInt8>(op, args, ctx)
                               : launch_rule<T, Rule::kInt8Zero>(op, args, ctx);
}

} // namespace spf::quantize
