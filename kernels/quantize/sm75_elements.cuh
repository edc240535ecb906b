// Codes under given scales, or under one scale for all: element by element, of x or of silu(gate) * up, for f32, f16,
// bf16.
//
//   x as chunks of 16 bytes, numbered row by row:  0 1 ... C-1 | C C+1 ...        C chunks a row
//   a block takes 2 x 256 consecutive chunks, a thread two of them 256 apart.
//
// One scale that is computed takes two kernels: up to 512 blocks leave the largest number that each has seen in the
// workspace; every block of the second kernel reads them all, for they are few and in L2. A maximum has no order.
//
// Rows that do not start on 16 bytes, or do not hold whole chunks, run in the same kernels with an element path.
#pragma once

#include <algorithm>

#include "kernels/quantize/chunks.cuh"
#include "kernels/quantize/workspace.hpp"

namespace spf::quantize {

inline constexpr int kBlock = 256;
inline constexpr int kChunksOfThread = 2;

// Where the scale of a chunk comes from.
enum class Source : uint8_t { kOne, kBlocks, kPartials };

struct ElementsArgs {
  QuantArgs quant;
  int64_t chunks; // of a row, the last one perhaps not whole
  int64_t total;
  cuda::Divisor divisor; // chunks; where kVector
  cuda::DeviceRows<4> rows;
  float* partials;
  int32_t partial_count;
};

// A chunk by its number: where it lies, and how many elements it has.
template <spf_scalar_type T, bool kVector>
struct Place {
  int64_t row, column, x, out, left;

  __device__ __forceinline__ Place(const ElementsArgs& args, int64_t chunk) {
    if constexpr (kVector) { // few enough for 31 bits
      const uint32_t index = static_cast<uint32_t>(chunk), quotient = args.divisor.quotient(index);
      row = quotient;
      column = static_cast<int64_t>(index - quotient * args.divisor.divisor) * cuda::kChunkElements<T>;
      x = args.rows.offset(0, quotient) + column;
      out = args.rows.offset(1, quotient) + column;
    } else {
      row = chunk / args.chunks;
      column = (chunk - row * args.chunks) * cuda::kChunkElements<T>;
      int64_t at[4];
      args.quant.space.offsets(row, at);
      x = at[0] + column;
      out = at[1] + column;
    }
    left = args.quant.k - column;
  }
};

template <spf_scalar_type T, bool kVector>
__device__ __forceinline__ uint4 load_place(const ElementsArgs& args, const Place<T, kVector>& place,
                                            int64_t ahead = 0) {
  const auto* const x = static_cast<const cuda::scalar_t<T>*>(args.quant.x) + place.x + ahead;
  if constexpr (kVector) return cuda::load16(x);
  return cuda::load_chunk<T>(x, place.left, false);
}

// --- the largest number ------------------------------------------------------------------------------------------

template <spf_scalar_type T, bool kVector>
__global__ void __launch_bounds__(kBlock) find_amax(const __grid_constant__ ElementsArgs args) {
  using namespace spf::cuda;
  using Max = GroupMax<kBlock>;
  constexpr int kLoads = 4;
  __shared__ typename Max::Storage storage;

  wait_for_primary();
  launch_dependents();
  const int64_t step = static_cast<int64_t>(gridDim.x) * kBlock;
  float top = 0;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * kBlock + threadIdx.x; i < args.total; i += kLoads * step) {
    uint4 chunk[kLoads];
#pragma unroll
    for (int k = 0; k < kLoads; ++k)
      chunk[k] =
          i + k * step < args.total ? load_place(args, Place<T, kVector>(args, i + k * step)) : make_uint4(0, 0, 0, 0);
#pragma unroll
    for (int k = 0; k < kLoads; ++k) top = fmaxf(top, amax_of<T>(chunk[k]));
  }
  top = Max::all(top, storage, 0);
  if (threadIdx.x == 0) args.partials[blockIdx.x] = top;
}

// --- codes -------------------------------------------------------------------------------------------------------

// The codes of one chunk under one scale.
template <spf_scalar_type T, Rule kRule>
__device__ __forceinline__ uint2 chunk_codes(const uint4& chunk, float scale, int32_t zero) {
  float v[cuda::kChunkElements<T>];
  cuda::unpack<T>(chunk, v);
  if constexpr (kRule == Rule::kInt8) {
    // A caller may give any scale.
    if (T == SPF_F32 || !Quotient::covers(scale))
      return cuda::codes_of<SPF_S8>(v, [&](float x) { return __fdiv_rn(x, scale); });
    return cuda::codes_of<SPF_S8>(v, cuda::quotient_of<T>(scale));
  }
  const cuda::Multiplication step(inverse_of(scale));
  if constexpr (kRule == Rule::kInt8Zero) return cuda::codes_with_zero(v, step, zero);
  return cuda::codes_of<SPF_E4M3>(v, step);
}

template <spf_scalar_type T, Rule kRule, Source kSource, bool kGated, bool kVector>
__global__ void __launch_bounds__(kBlock) quantize_elements(const __grid_constant__ ElementsArgs args) {
  using namespace spf::cuda;
  using Max = GroupMax<kBlock>;
  constexpr int kElements = kChunkElements<T>;
  const QuantArgs& quant = args.quant;
  const int64_t first = static_cast<int64_t>(blockIdx.x) * (kBlock * kChunksOfThread) + threadIdx.x;

  wait_for_primary();
  uint4 chunk[kChunksOfThread];
#pragma unroll
  for (int k = 0; k < kChunksOfThread; ++k) {
    const int64_t i = first + k * kBlock;
    chunk[k] = i < args.total ? load_place(args, Place<T, kVector>(args, i)) : make_uint4(0, 0, 0, 0);
  }
  if constexpr (kGated) {
    uint4 up[kChunksOfThread];
#pragma unroll
    for (int k = 0; k < kChunksOfThread; ++k) {
      const int64_t i = first + k * kBlock;
      up[k] = i < args.total ? load_place(args, Place<T, kVector>(args, i), quant.k) : make_uint4(0, 0, 0, 0);
    }
#pragma unroll
    for (int k = 0; k < kChunksOfThread; ++k) chunk[k] = gated_chunk<T>(chunk[k], up[k]);
  }
  launch_dependents();

  float scale = 0;
  int32_t zero = 0;
  if constexpr (kSource == Source::kPartials) {
    __shared__ typename Max::Storage storage;
    float top = 0;
    for (int i = static_cast<int>(threadIdx.x); i < args.partial_count; i += kBlock) top = fmaxf(top, args.partials[i]);
    scale = least(Max::all(top, storage, 0), kLargest) / kFp8Max;
    if (blockIdx.x == 0 && threadIdx.x == 0) *quant.scale = scale;
  } else if constexpr (kSource == Source::kOne) {
    scale = *quant.given_scale;
    if constexpr (kRule == Rule::kInt8Zero) zero = min(max(*quant.given_azp, -(1 << 30)), 1 << 30);
  }

#pragma unroll
  for (int k = 0; k < kChunksOfThread; ++k) {
    const int64_t i = first + k * kBlock;
    if (i >= args.total) continue;
    const Place<T, kVector> place(args, i);
    uint2 codes;
    if constexpr (kSource == Source::kBlocks) {
      float v[kElements];
      unpack<T>(chunk[k], v);
      const float* const scales = quant.given_scale + place.row / quant.rows_of_scale * quant.scale_stride[0];
#pragma unroll
      for (int e = 0; e < kElements; ++e)
        if (e < place.left)
          v[e] *= inverse_of(scales[(place.column + e) / quant.columns_of_scale * quant.scale_stride[1]]);
      codes = codes_of<SPF_E4M3>(v, Multiplication(1.0f));
    } else {
      codes = chunk_codes<T, kRule>(chunk[k], scale, zero);
    }
    store_codes<kElements>(quant.out + place.out, codes, place.left, kVector);
  }
}

// --- launch ------------------------------------------------------------------------------------------------------

template <spf_scalar_type T, Rule kRule, Source kSource, bool kGated, bool kVector>
spf_status launch_path(const char* op, ElementsArgs args, const LaunchContext& ctx) {
  LaunchContext codes_ctx = ctx;
  if constexpr (kSource == Source::kPartials) {
    const int64_t blocks = std::clamp<int64_t>(args.total / (4 * kBlock), 1, kMostPartials);
    args.partials = static_cast<float*>(ctx.workspace);
    args.partial_count = static_cast<int32_t>(blocks);
    const spf_status status = cuda::launch(op, ctx, find_amax<T, kVector>, blocks, kBlock, 0, args);
    if (status != SPF_OK) return status;
    codes_ctx = cuda::following(ctx);
  }
  constexpr int64_t kOfBlock = kBlock * kChunksOfThread;
  const int64_t grid = std::max<int64_t>((args.total + kOfBlock - 1) / kOfBlock, 1);
  return cuda::launch(op, codes_ctx, quantize_elements<T, kRule, kSource, kGated, kVector>, grid, kBlock, 0, args);
}

template <spf_scalar_type T, Rule kRule, Source kSource, bool kGated = false>
spf_status launch_rule(const char* op, const QuantArgs& quant, const LaunchContext& ctx) {
  constexpr int64_t kElements = cuda::kChunkElements<T>;
  const int64_t chunks = (quant.k + kElements - 1) / kElements, total = chunks * quant.space.rows;
  // One scale is written even where there is nothing else to do.
  if (total == 0 && kSource != Source::kPartials) return SPF_OK;
  const bool vector =
      whole_chunks<T>(quant) && cuda::DeviceRows<4>::fits(quant.space) && chunks > 1 && total < (1u << 30);
  const ElementsArgs args{
      quant, chunks, total, cuda::Divisor(std::max<int64_t>(chunks, 2)), cuda::DeviceRows<4>(quant.space), nullptr, 0};
  return vector ? launch_path<T, kRule, kSource, kGated, true>(op, args, ctx)
                : launch_path<T, kRule, kSource, kGated, false>(op, args, ctx);
}

template <QuantOp kOp, spf_scalar_type T>
spf_status launch_elements(const Call& call, const LaunchContext& ctx) {
  const char* const op = call.problem.op->name;
  const QuantArgs args = quant_args(call);
  if constexpr (kOp == dynamic_scaled_fp8_quant)
    return launch_rule<T, Rule::kFp8, Source::kPartials>(op, args, ctx);
  else if constexpr (kOp == silu_and_mul_quant)
    return launch_rule<T, Rule::kFp8, Source::kOne, true>(op, args, ctx);
  else if constexpr (kOp == static_scaled_fp8_quant)
    return args.one_scale() ? launch_rule<T, Rule::kFp8, Source::kOne>(op, args, ctx)
                            : launch_rule<T, Rule::kFp8, Source::kBlocks>(op, args, ctx);
  else
    return args.given_azp == nullptr ? launch_rule<T, Rule::kInt8, Source::kOne>(op, args, ctx)
                                     : launch_rule<T, Rule::kInt8Zero, Source::kOne>(op, args, ctx);
}

} // namespace spf::quantize
