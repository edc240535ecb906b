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

  // Sums of channels n .. n+7 of token `token`, as out; those that exist.
  __device__ __forceinline__ void write(int token, int n, const float (&sum)[8]) const {
    if (token >= m || n >= out.n) return;
    float all = global != nullptr ? unit * *global : unit;
    if (alpha != nullptr) all *= *alpha;
    float v[8] = {};
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      if (n + i >= out.n) break;
      float factor = all;
      if (column_scales != nullptr)
        factor *= cuda::load_any(column_scales, cuda::column_scale_place(n + i), column_type);
      v[i] = sum[i] * factor + (out.bias != nullptr ? cuda::load_any(out.bias, n + i, out.bias_type) : 0.0f);
    }
    out.store(token, n, v);
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

  // Sums of channels n .. n+7 of token `token`, as out; those that exist.
  template <class Total>
  __device__ __forceinline__ void write(int token, int n, const Total (&sum)[8]) const {
    if (token >= m || n >= out.n) return;
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
    const float factor = out_factor != nullptr ? *out_factor : 1.0f;
    float v[8] = {};
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const int c = n + i;
      if (c >= out.n) break;
      Total left = sum[i];
      if constexpr (!std::is_same_v<Total, float>)
        if (azp_adj != nullptr)
          left = static_cast<int32_t>(static_cast<uint32_t>(left) - zero * static_cast<uint32_t>(azp_adj[c]));
      float value = static_cast<float>(left) * of_token;
      if (scales != nullptr) value *= scales[c];
      if (channel_scale != nullptr) value *= channel_scale[c];
      if (out.bias != nullptr) value += cuda::load_any(out.bias, c, out.bias_type);
      v[i] = value * factor;
    }
    out.store(token, n, v);
  }
};

} // namespace spf::linear
