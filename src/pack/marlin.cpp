#include "pack/marlin.hpp"

#include <cmath>
#include <string>

#include "core/status.hpp"

namespace spf::pack::marlin {
namespace {

constexpr const char* kStage = "pack";

spf_status check_bits(const char* op, int bits) {
  if (bits == 4 || bits == 8) return SPF_OK;
  return fail(SPF_INVALID_ARGUMENT, op, kStage, "bits", std::to_string(bits), "4 or 8");
}

spf_status check_multiple(const char* op, const char* field, int64_t value, int64_t of) {
  if (value >= 0 && value % of == 0) return SPF_OK;
  return fail(SPF_INVALID_SHAPE, op, kStage, field, std::to_string(value), "a multiple of " + std::to_string(of));
}

spf_status check_weight(const char* op, int64_t k, int64_t n, int bits, bool act8) {
  if (spf_status st = check_bits(op, bits)) return st;
  if (spf_status st = check_multiple(op, "k", k, act8 ? 32 : 16)) return st;
  return check_multiple(op, "n", n, 64);
}

// Column c of a word of pf interleaved columns lies in this field.
constexpr int awq_field(int64_t c, int bits) {
  constexpr int k4[8] = {0, 4, 1, 5, 2, 6, 3, 7}, k8[4] = {0, 2, 1, 3};
  return bits == 4 ? k4[c % 8] : k8[c % 4];
}

uint32_t field(int32_t word, int index, int bits) {
  return (static_cast<uint32_t>(word) >> (index * bits)) & ((1u << bits) - 1);
}

template <int Bits, bool Act8, class Source>
void repack(int64_t k_count, int64_t n_count, const Source& source, int32_t* out) {
  std::memset(out, 0, static_cast<size_t>(k_count * n_count) * Bits / 8);
  for (int64_t k = 0; k < k_count; ++k)
    for (int64_t n = 0; n < n_count; ++n) {
      const Slot at = slot<Bits, Act8>(k, n, n_count);
      out[at.word] = static_cast<int32_t>(static_cast<uint32_t>(out[at.word]) | (source(k, n) << at.shift));
    }
}

template <class Source>
void repack(int64_t k, int64_t n, int bits, bool act8, const Source& source, int32_t* out) {
  if (bits == 4)
    act8 ? repack<4, true>(k, n, source, out) : repack<4, false>(k, n, source, out);
  else
    act8 ? repack<8, true>(k, n, source, out) : repack<8, false>(k, n, source, out);
}

template <class Source>
void pack_zeros(int64_t groups, int64_t n, int bits, bool act8, const Source& source, int32_t* out) {
  const int pf = 32 / bits;
  for (int64_t g = 0; g < groups; ++g)
    for (int64_t j = 0; j < n / pf; ++j) {
      uint32_t word = 0;
      for (int i = 0; i < pf; ++i) word |= source(g, zero_source(j * pf + i, bits, act8)) << (i * bits);
      out[g * (n / pf) + j] = static_cast<int32_t>(word);
    }
}

} // namespace

spf_status gptq_repack(const int32_t* qweight, const int32_t* perm, int64_t k, int64_t n, int bits, bool act8,
                       int32_t* out) {
  constexpr const char* kOp = "gptq_marlin_repack";
  if (spf_status st = check_weight(kOp, k, n, bits, act8)) return st;
  if (act8 && perm != nullptr)
    return fail(SPF_INVALID_ARGUMENT, kOp, kStage, "perm", "given", "none with 8-bit activations");
  if (perm != nullptr)
    for (int64_t i = 0; i < k; ++i)
      if (perm[i] < 0 || perm[i] >= k)
        return fail(SPF_CORRUPT_DATA, kOp, kStage, "perm[" + std::to_string(i) + "]", std::to_string(perm[i]),
                    "0 to " + std::to_string(k - 1));
  const int pf = 32 / bits;
  const auto source = [&](int64_t row, int64_t col) {
    const int64_t old = perm != nullptr ? perm[row] : row;
    return field(qweight[old / pf * n + col], static_cast<int>(old % pf), bits);
  };
  repack(k, n, bits, act8, source, out);
  return SPF_OK;
}

spf_status awq_repack(const int32_t* qweight, int64_t k, int64_t n, int bits, bool act8, int32_t* out) {
  if (spf_status st = check_weight("awq_marlin_repack", k, n, bits, act8)) return st;
  const int pf = 32 / bits;
  const auto source = [&](int64_t row, int64_t col) {
    return field(qweight[row * (n / pf) + col / pf], awq_field(col, bits), bits);
  };
  repack(k, n, bits, act8, source, out);
  return SPF_OK;
}

spf_status permute_scales(const void* scales, int64_t groups, int64_t n, int element_bytes, bool blocks_of_64,
                          void* out) {
  constexpr const char* kOp = "marlin_permute_scales";
  if (spf_status st = check_multiple(kOp, "n", n, 64)) return st;
  const int64_t size = element_bytes;
  for (int64_t g = 0; g < groups; ++g)
    for (int64_t p = 0; p < n; ++p)
      std::memcpy(static_cast<char*>(out) + (g * n + p) * size,
                  static_cast<const char*>(scales) + (g * n + scale_source(p, blocks_of_64)) * size,
                  static_cast<size_t>(size));
  return SPF_OK;
}

spf_status permute_bias(const void* bias, int64_t n, int element_bytes, void* out) {
  return permute_scales(bias, 1, n, element_bytes, false, out);
}

spf_status pack_zero_points(const int32_t* codes, int64_t groups, int64_t n, int bits, bool act8, int32_t* out) {
  constexpr const char* kOp = "marlin_pack_zero_points";
  if (spf_status st = check_bits(kOp, bits)) return st;
  if (spf_status st = check_multiple(kOp, "n", n, 64)) return st;
  const uint32_t mask = (1u << bits) - 1;
  pack_zeros(
      groups, n, bits, act8, [&](int64_t g, int64_t col) { return static_cast<uint32_t>(codes[g * n + col]) & mask; },
      out);
  return SPF_OK;
}

spf_status awq_zero_points(const int32_t* qzeros, int64_t groups, int64_t n, int bits, bool act8, int32_t* out) {
  constexpr const char* kOp = "marlin_awq_zero_points";
  if (spf_status st = check_bits(kOp, bits)) return st;
  if (spf_status st = check_multiple(kOp, "n", n, 64)) return st;
  const int pf = 32 / bits;
  pack_zeros(
      groups, n, bits, act8,
      [&](int64_t g, int64_t col) { return field(qzeros[g * (n / pf) + col / pf], awq_field(col, bits), bits); }, out);
  return SPF_OK;
}

float int8_activation_scales(const uint16_t* scales, int64_t count, int16_t* out) {
  float peak = 0;
  for (int64_t i = 0; i < count; ++i) peak = std::fmax(peak, f16_to_f32(scales[i]));
  if (peak == 0.0f) {
    std::memset(out, 0, static_cast<size_t>(count) * sizeof(int16_t));
    return 0.0f;
  }
  for (int64_t i = 0; i < count; ++i) {
    const float ratio = f16_to_f32(f32_to_f16(f16_to_f32(scales[i]) / peak)) * 4096.0f;
    out[i] = static_cast<int16_t>(static_cast<int32_t>(encode(SPF_I32, static_cast<double>(ratio))));
  }
  return peak / 4096.0f;
}

spf_status int4_fp8_preprocess(const int32_t* qweight, int64_t rows, int64_t words, const int32_t* qzeros,
                               int64_t groups, int32_t* out) {
  if (qzeros != nullptr && (groups <= 0 || rows % groups != 0))
    return fail(SPF_INVALID_SHAPE, "marlin_int4_fp8_preprocess", kStage, "groups", std::to_string(groups),
                "a divisor of the " + std::to_string(rows) + " rows");
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t j = 0; j < words; ++j) {
      uint32_t word = 0;
      for (int i = 0; i < 8; ++i) {
        const uint32_t zero = qzeros == nullptr ? 8 : field(qzeros[r / (rows / groups) * words + j], i, 4);
        word |= e4m3_code(field(qweight[r * words + j], i, 4), zero) << (4 * i);
      }
      out[r * words + j] = static_cast<int32_t>(word);
    }
  return SPF_OK;
}

spf_status nvfp4_scales(const uint16_t* scales, int64_t groups, int64_t n, uint8_t* out) {
  constexpr const char* kOp = "marlin_nvfp4_scales";
  if (spf_status st = check_multiple(kOp, "n", n, 64)) return st;
  for (int64_t g = 0; g < groups; ++g)
    for (int64_t p = 0; p < n; ++p) {
      const int64_t column = fp4_scale_source(p, groups > 1, false);
      const float value = f16_to_f32(scales[g * n + column]);
      if (!(value >= 0.0f && value <= 448.0f))
        return fail(SPF_UNSUPPORTED, kOp, kStage, "scales[" + std::to_string(g) + ", " + std::to_string(column) + "]",
                    std::to_string(value), "0 to 448");
      out[g * n + p] = nvfp4_scale_byte(value);
    }
  return SPF_OK;
}

spf_status mxfp4_scales(const uint8_t* scales, int64_t groups, int64_t n, bool act8, uint8_t* out) {
  if (spf_status st = check_multiple("marlin_mxfp4_scales", "n", n, 64)) return st;
  for (int64_t g = 0; g < groups; ++g)
    for (int64_t p = 0; p < n; ++p) {
      const int byte = scales[g * n + fp4_scale_source(p, groups > 1 && !act8, act8)];
      out[g * n + p] = static_cast<uint8_t>(act8 ? std::min(byte + 6, 249) : byte);
    }
  return SPF_OK;
}

} // namespace spf::pack::marlin
