// What becomes of the sums of the mma.sync mainloop.
#pragma once

#include <type_traits>

#include "kernels/common/cuda/fp8.cuh"
#include "kernels/common/cuda/memory.cuh"
#include "kernels/common/cuda/scalar.cuh"
#include "kernels/common/decode/scale_order.cuh"
#include "kernels/common/rows.hpp"

namespace spf::linear {

// A result matrix in f32, f16, bf16 or e4m3.
struct MmaOut {
  RowSpace<1> rows;
  void* data;
  const void* bias; // [n], or nullptr
  int32_t n;
  spf_scalar_type type, bias_type;
  bool vector; // rows start on 16 bytes

  // Whether channels n .. n+7 exist and lie on 16 bytes in rows one stride apart: store_whole() for two-byte results.
  __device__ __forceinline__ bool whole(int first) const { return vector && n - first >= 8 && rows.dims <= 1; }
  template <spf_scalar_type T>
  __device__ __forceinline__ void store_whole(int m, int first, const float (&v)[8]) const {
    cuda::store16(static_cast<uint16_t*>(data) + m * rows.stride[0][0] + first, cuda::pack<T>(v));
  }

  // Channels n .. n+7 of a row.
  __device__ __forceinline__ void store(int m, int first, const float (&v)[8]) const {
    using namespace spf::cuda;
    int64_t row[1];
    rows.offsets(m, row);
    const int64_t at = row[0] + first, left = n - first;
    if (type == SPF_E4M3) {
      uint32_t words[2] = {};
#pragma unroll
      for (int i = 0; i < 8; i += 2)
        words[i / 4] |= static_cast<uint32_t>(narrow_fp8x2<SPF_E4M3>(v[i], v[i + 1])) << (16 * (i / 2 % 2));
      auto* to = static_cast<uint8_t*>(data) + at;
      if (vector && left >= 8) {
        *reinterpret_cast<uint2*>(to) = make_uint2(words[0], words[1]);
        return;
      }
#pragma unroll
      for (int i = 0; i < 8; ++i)
        if (i < left) to[i] = static_cast<uint8_t>(words[i / 4] >> (8 * (i % 4)));
    } else if (type == SPF_F32) {
      auto* to = static_cast<float*>(data) + at;
      const float low[4] = {v[0], v[1], v[2], v[3]}, high[4] = {v[4], v[5], v[6], v[7]};
      store_chunk<SPF_F32>(to, pack<SPF_F32>(low), left, vector);
      if (left > 4) store_chunk<SPF_F32>(to + 4, pack<SPF_F32>(high), left - 4, vector);
    } else if (type == SPF_F16) {
      store_chunk<SPF_F16>(static_cast<__half*>(data) + at, pack<SPF_F16>(v), left, vector);
    } else {
      store_chunk<SPF_BF16>(static_cast<__nv_bfloat16*>(data) + at, pack<SPF_BF16>(v), left, vector);
    }
  }
};

// out = sum * unit * global * alpha * column scale + bias.
struct LinearEnd {
  MmaOut out;
  const void* column_scales;   // [n] in the Marlin order, or nullptr
  const float *global, *alpha; // or nullptr
  float unit;
  int32_t m;
  spf_scalar_type column_type;

  // What a thread knows of channels n .. n+7, for all of its tokens.
  struct Columns {
    int n;
    float factor[8], bias[8];
  };
  __device__ __forceinline__ Columns columns(int n) const {
    float all = global != nullptr ? unit * *global : unit;
    if (alpha != nullptr) all *= *alpha;
    Columns c = {n, {}, {}};
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const bool exists = n + i < out.n;
      c.factor[i] = all;
      if (column_scales != nullptr && exists)
        c.factor[i] *= cuda::load_any(column_scales, cuda::column_scale_place(n + i), column_type);
      if (out.bias != nullptr && exists) c.bias[i] = cuda::load_any(out.bias, n + i, out.bias_type);
    }
    return c;
  }

  // Results of token `token`.
  __device__ __forceinline__ void finish(const Columns& c, int, const float (&sum)[8], float (&v)[8]) const {
#pragma unroll
    for (int i = 0; i < 8; ++i) v[i] = sum[i] * c.factor[i] + c.bias[i];
  }
};

// out = ((sum - azp * azp_adj) * scale of the channel * scale of the token * channel_scale + bias) * out_factor.
struct ScaledEnd {
  MmaOut out;
  RowSpace<1> scale_rows, azp_rows;
  const float *scales, *x_scale;           // of channels and of tokens; nullptr where sums are scaled already
  const int32_t *azp, *azp_adj;            // of tokens and channels, or nullptr; azp_adj without azp: azp is 1
  const float *channel_scale, *out_factor; // or nullptr
  int32_t m;

  // What a thread knows of channels n .. n+7, for all of its tokens.
  struct Columns {
    int n;
    float out_factor, scale[8], second[8], bias[8];
    uint32_t zero[8];
  };
  __device__ __forceinline__ Columns columns(int n) const {
    Columns c = {n, out_factor != nullptr ? *out_factor : 1.0f, {}, {}, {}, {}};
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const bool exists = n + i < out.n;
      c.scale[i] = scales != nullptr && exists ? scales[n + i] : 1.0f;
      c.second[i] = channel_scale != nullptr && exists ? channel_scale[n + i] : 1.0f;
      if (out.bias != nullptr && exists) c.bias[i] = cuda::load_any(out.bias, n + i, out.bias_type);
      if (azp_adj != nullptr && exists) c.zero[i] = static_cast<uint32_t>(azp_adj[n + i]);
    }
    return c;
  }

  // Results of token `token`.
  template <class Total>
  __device__ __forceinline__ void finish(const Columns& c, int token, const Total (&sum)[8], float (&v)[8]) const {
    float of_token = 1.0f;
    uint32_t zero = 1;
    int64_t row[1];
    if (x_scale != nullptr) {
      scale_rows.offsets(token, row);
      of_token = x_scale[row[0]];
    }
    if (azp != nullptr) {
      azp_rows.offsets(token, row);
      zero = static_cast<uint32_t>(azp[row[0]]);
    }
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      Total left = sum[i];
      if constexpr (!std::is_same_v<Total, float>)
        left = static_cast<int32_t>(static_cast<uint32_t>(left) - zero * c.zero[i]);
      v[i] = (static_cast<float>(left) * of_token * c.scale[i] * c.second[i] + c.bias[i]) * c.out_factor;
    }
  }
};

} // namespace spf::linear
