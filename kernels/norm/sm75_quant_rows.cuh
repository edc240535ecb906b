// RMS norms that leave 8-bit codes: the rows of rows.cuh, with an epilogue on the normed chunks while they are in
// registers.
//
//   given scale    codes chunk by chunk
//   one a row      the largest number of the row by one more reduction
//   one a group    the largest number of the lanes that hold the group: 32 to 128 columns are 2 to 32 neighbouring
//   chunks
//
// What is coded is rounded to x's type, as if the norm had been stored; nothing is read twice.
#pragma once

#include <bit>

#include "kernels/common/cuda/quantize.cuh"
#include "kernels/norm/rows.cuh"

namespace spf::norm {

template <spf_scalar_type Q, Scales kScales>
struct Codes {
  static constexpr bool kCodes = true;
  // CodeArgs as the device wants it.
  struct Args : CodeArgs {
    explicit Args(const CodeArgs& args)
        : CodeArgs(args),
          rows(args.space),
          group_bits(args.group > 0 ? std::countr_zero(static_cast<uint64_t>(args.group)) : 0) {}

    cuda::DeviceRows<2> rows;
    int32_t group_bits; // a group is a power of two
  };

  static __device__ __forceinline__ float scale_of(float amax, const CodeArgs& args) {
    constexpr bool kFp8 = Q == SPF_E4M3;
    const float bound = args.bound != nullptr ? *args.bound : quantize::kLargest;
    return quantize::scale_of(amax, bound, kFp8 ? quantize::kFp8Max : quantize::kInt8Max,
                              kFp8 ? quantize::kFp8Floor : quantize::kInt8Floor);
  }

  // e4m3 of a computed scale is of a quotient. The chunks may change with the scale that they are divided by.
  template <spf_scalar_type T, int kChunks>
  static __device__ __forceinline__ auto step_of(uint4 (&y)[kChunks], float scale) {
    if constexpr (Q == SPF_E4M3 && kScales != Scales::kGiven) {
      cuda::bring_down<T>(y, scale);
      return cuda::quotient_of<T>(scale);
    } else {
      return cuda::Multiplication(quantize::inverse_of(scale));
    }
  }

  template <spf_scalar_type T, class AnyStep>
  static __device__ __forceinline__ void store(uint8_t* to, const uint4& y, const AnyStep& step, int64_t left,
                                               bool vector) {
    constexpr int kElements = cuda::kChunkElements<T>;
    float v[kElements];
    cuda::unpack<T>(y, v);
    cuda::store_codes<kElements>(to, cuda::codes_of<Q>(v, step), left, vector);
  }

  // The largest number of the neighbouring lanes, a power of two of them, that hold a group. All lanes of the warp call
  // it, with NaN for nothing but NaNs.
  static __device__ __forceinline__ float group_amax(float amax, int lanes) {
    amax = fmaxf(amax, 0.0f);
    for (int distance = lanes / 2; distance > 0; distance /= 2)
      amax = fmaxf(amax, __shfl_xor_sync(0xffffffffu, amax, distance));
    return amax;
  }

  // y[k] is the chunk kThreads * k behind the thread's first one, of which `left` elements remain; 0 beyond.
  template <spf_scalar_type T, class Config, int kChunks>
  static __device__ __forceinline__ void finish(const Args& args, uint4 (&y)[kChunks], int left, uint32_t row,
                                                bool exists) {
    using Max = cuda::GroupMax<Config::kThreads>;
    constexpr int kElements = cuda::kChunkElements<T>;
    constexpr int kStep = Config::kThreads * kElements;
    __shared__ typename Max::Storage storage;
    const int lane = static_cast<int>(threadIdx.x) % Config::kThreads;
    uint8_t* const out = args.out + args.rows.offset(0, row) + lane * kElements; // of no row: not written
    float* const scales = args.scale + args.rows.offset(1, row);

    if constexpr (kScales == Scales::kGroup) {
      const int lane_bits = args.group_bits - (kElements == 8 ? 3 : 2), lanes = 1 << lane_bits;
#pragma unroll
      for (int k = 0; k < kChunks; ++k) {
        const float scale = scale_of(group_amax(cuda::amax_of<T>(y[k]), lanes), args);
        if (k * kStep >= left) continue;
        uint4 chunk[1] = {y[k]};
        const auto step = step_of<T>(chunk, scale);
        store<T>(out + k * kStep, chunk[0], step, kElements, true);
        if ((lane & (lanes - 1)) == 0) scales[((k * Config::kThreads + lane) >> lane_bits) * args.scale_step] = scale;
      }
    } else {
      float scale;
      if constexpr (kScales == Scales::kToken) {
        float amax = 0;
#pragma unroll
        for (int k = 0; k < kChunks; ++k) amax = fmaxf(amax, cuda::amax_of<T>(y[k]));
        scale = scale_of(Max::all(amax, storage, 0), args);
        if (exists && lane == 0) *scales = scale;
      } else {
        scale = *args.given_scale;
      }
      const auto step = step_of<T>(y, scale);
#pragma unroll
      for (int k = 0; k < kChunks; ++k)
        if (k * kStep < left) store<T>(out + k * kStep, y[k], step, kElements, true);
    }
  }

  // The same for rows of any length and alignment: chunk(e) is the normed chunk at element e < h.
  template <spf_scalar_type T, int kThreads, class Chunk>
  static __device__ __forceinline__ void finish_any(const CodeArgs& args, const Chunk& chunk, int64_t h, int64_t row,
                                                    bool exists) {
    using Max = cuda::GroupMax<kThreads>;
    constexpr int kElements = cuda::kChunkElements<T>;
    constexpr int64_t kStep = static_cast<int64_t>(kThreads) * kElements;
    __shared__ typename Max::Storage storage;
    const int lane = static_cast<int>(threadIdx.x) % kThreads;
    int64_t at[2];
    args.space.offsets(exists ? row : 0, at);
    uint8_t* const out = args.out + at[0];
    const bool vector = reinterpret_cast<uintptr_t>(out) % kElements == 0;
    const int64_t start = static_cast<int64_t>(lane) * kElements;

    if constexpr (kScales == Scales::kGroup) {
      const int lanes = static_cast<int>(args.group) / kElements;
      for (int64_t first = 0; first < h; first += kStep) { // the same for every lane of a warp
        const int64_t e = first + start;
        uint4 y[1] = {e < h ? chunk(e) : make_uint4(0, 0, 0, 0)};
        const float scale = scale_of(group_amax(cuda::amax_of<T>(y[0]), lanes), args);
        if (e >= h) continue;
        const auto step = step_of<T>(y, scale);
        store<T>(out + e, y[0], step, h - e, vector);
        if (lane % lanes == 0) args.scale[at[1] + e / args.group * args.scale_step] = scale;
      }
    } else {
      float scale;
      if constexpr (kScales == Scales::kToken) {
        float amax = 0; // elements past the end are 0, or a NaN that is passed over
        for (int64_t e = start; e < h; e += kStep) amax = fmaxf(amax, cuda::amax_of<T>(chunk(e)));
        scale = scale_of(Max::all(amax, storage, 0), args);
        if (exists && lane == 0) args.scale[at[1]] = scale;
      } else {
        scale = *args.given_scale;
      }
      for (int64_t e = start; e < h; e += kStep) {
        uint4 y[1] = {chunk(e)};
        const auto step = step_of<T>(y, scale);
        store<T>(out + e, y[0], step, h - e, vector);
      }
    }
  }
};

// --- launch ------------------------------------------------------------------------------------------------------

enum class QuantNorm : uint8_t {
  rms_norm_static_fp8_quant,
  fused_add_rms_norm_static_fp8_quant,
  rms_norm_dynamic_per_token_quant,
  rms_norm_per_block_quant,
};
using enum QuantNorm;

// Who owns what: as with the other norms, but rows of 8 KB in the registers of 128 threads. A scale is a second sum
// with a second barrier, and four warps wait less for each other than eight: 8192 x 4096 on H200 takes 31.7 us with
// eight.
template <int kCapacity>
struct CodeRowsConfig : cuda::RowsConfig<kCapacity> {};
template <>
struct CodeRowsConfig<512> {
  static constexpr int kThreads = 128, kChunks = 4, kBlock = 128, kRows = 1;
};

template <NormOp kOp, spf_scalar_type T, int kCapacity, class Epilogue>
spf_status launch_codes(const char* op, NormArgs args, const LaunchContext& ctx) {
  constexpr int kElements = cuda::kChunkElements<T>;
  // Rows of codes that do not start on a chunk's codes go the way of rows that do not start on a chunk.
  uintptr_t bits = reinterpret_cast<uintptr_t>(args.codes.out);
  for (int d = 0; d < args.codes.space.dims; ++d) bits |= static_cast<uintptr_t>(args.codes.space.stride[0][d]);
  const bool aligned = bits % kElements == 0 && cuda::DeviceRows<2>::fits(args.codes.space);
  return launch_norm<kOp, T, CodeRowsConfig<kCapacity>, Epilogue>(op, args, ctx, aligned);
}

// kCapacity: 16-byte chunks that a row may have; 0 for any number.
template <QuantNorm kQuant, spf_scalar_type T, int kCapacity>
spf_status launch_quant_rows(const Call& call, const LaunchContext& ctx) {
  constexpr Scales kScales = kQuant == rms_norm_dynamic_per_token_quant ? Scales::kToken
                             : kQuant == rms_norm_per_block_quant       ? Scales::kGroup
                                                                        : Scales::kGiven;
  const char* const op = call.problem.op->name;
  const NormOp norm = norm_op(call);
  const NormArgs args = norm_args(call, norm);
  const auto with_codes = [&](auto epilogue) {
    using Epilogue = decltype(epilogue);
    if constexpr (kQuant == rms_norm_static_fp8_quant)
      return launch_codes<NormOp::kRms, T, kCapacity, Epilogue>(op, args, ctx);
    else if constexpr (kQuant == fused_add_rms_norm_static_fp8_quant)
      return launch_codes<NormOp::kFusedAddRms, T, kCapacity, Epilogue>(op, args, ctx);
    else
      return norm == NormOp::kRms ? launch_codes<NormOp::kRms, T, kCapacity, Epilogue>(op, args, ctx)
                                  : launch_codes<NormOp::kFusedAddRms, T, kCapacity, Epilogue>(op, args, ctx);
  };
  if constexpr (kScales != Scales::kGiven)
    if (args.codes.type == SPF_S8) return with_codes(Codes<SPF_S8, kScales>());
  return with_codes(Codes<SPF_E4M3, kScales>());
}

} // namespace spf::norm
