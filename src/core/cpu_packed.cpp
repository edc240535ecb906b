#include "core/cpu_packed.hpp"

#include <algorithm>

namespace spf {
namespace {

constexpr size_t kSectionAlign = 256;

constexpr int64_t round_up(int64_t value, int64_t step) { return (value + step - 1) / step * step; }
constexpr size_t align_section(size_t bytes) { return (bytes + kSectionAlign - 1) / kSectionAlign * kSectionAlign; }

bool is_k_quant(spf_format f) { return f >= SPF_FORMAT_Q2_K && f <= SPF_FORMAT_IQ1_M; }

// The type in which a scale is stored without loss; NONE for plain weights.
spf_scalar_type stored_scale(const spf_quant_scheme& s) {
  // Scales of the K and IQ formats are products of an f16 and a small integer.
  if (is_k_quant(s.format) || s.format == SPF_FORMAT_IQ4_XS) return SPF_F32;
  switch (s.scale) {
    case SPF_F16:
      return SPF_F16;
    case SPF_BF16:
      return SPF_BF16;
    case SPF_E4M3:
      return SPF_F16;
    case SPF_E8M0:
      return SPF_BF16;
    case SPF_F32:
      return SPF_F32;
    default:
      return SPF_TYPE_NONE;
  }
}

size_t scale_bytes(spf_scalar_type t) { return t == SPF_TYPE_NONE ? 0 : t == SPF_F32 ? 4 : 2; }

} // namespace

bool cpu_packed_accepts(const spf_quant_scheme& scheme, const char** why) {
  switch (scheme.weight) {
    case SPF_U4:
    case SPF_U4B8:
    case SPF_S4:
    case SPF_U8:
    case SPF_U8B128:
    case SPF_S8:
      return true;
    case SPF_E2M1:
    case SPF_E4M3:
    case SPF_E5M2:
    case SPF_BF16:
    case SPF_F16:
    case SPF_F32:
      if (scheme.zero == SPF_ZERO_NONE) return true;
      *why = "floating-point codes with a zero point";
      return false;
    default:
      *why = "scalar type of the codes";
      return false;
  }
}

CpuPacked cpu_packed_layout(const spf_quant_scheme& scheme, int64_t n, int64_t k) {
  CpuPacked p;
  p.n = n;
  p.k = k;
  p.zeros = scheme.zero;
  p.has_global = scheme.has_global_scale != 0;
  p.scale_type = stored_scale(scheme);
  switch (scheme.weight) {
    case SPF_U4:
      p.codes = CpuCodes::kNibble;
      break;
    case SPF_U4B8:
    case SPF_S4:
      p.codes = CpuCodes::kNibble;
      p.zero = 8;
      break;
    case SPF_U8:
      p.codes = CpuCodes::kByte;
      break;
    case SPF_U8B128:
    case SPF_S8:
      p.codes = CpuCodes::kByte;
      p.zero = 128;
      break;
    case SPF_E2M1: {
      // Twice the value is an integer of -12..12; the half goes into the scale.
      constexpr int kTwice[8] = {0, 1, 2, 3, 4, 6, 8, 12};
      p.codes = CpuCodes::kNibble;
      p.has_table = true;
      for (int i = 0; i < 8; ++i) {
        p.table[i] = static_cast<uint8_t>(12 + kTwice[i]);
        p.table[i + 8] = static_cast<uint8_t>(12 - kTwice[i]);
      }
      p.zero = 12;
      p.scale_factor = 0.5f;
      break;
    }
    case SPF_E4M3:
      p.codes = CpuCodes::kE4M3;
      break;
    case SPF_E5M2:
      p.codes = CpuCodes::kE5M2;
      break;
    case SPF_BF16:
      p.codes = CpuCodes::kBF16;
      break;
    case SPF_F16:
      p.codes = CpuCodes::kF16;
      break;
    default:
      p.codes = CpuCodes::kF32;
      break;
  }
  p.integer = p.codes == CpuCodes::kNibble || p.codes == CpuCodes::kByte;

  const int64_t group = scheme.group_k;
  const bool one_group = group <= 0 || group >= k;
  const int64_t groups = k == 0 ? 0 : one_group ? 1 : (k + group - 1) / group;
  p.blocks_n = (n + kCpuBlockN - 1) / kCpuBlockN;
  p.gathered = !one_group && (scheme.has_g_idx != 0 || group % 16 != 0);
  if (p.gathered) {
    p.unit = group >= 64 ? 32 : 16;
    p.segment_k = kCpuMaxSegment;
    p.padded_k = round_up(k, p.unit) + groups * p.unit;
    p.segments = p.padded_k / p.segment_k + groups; // each group has at most one segment that is not full
    p.scale_rows = groups;
    p.gather_bytes =
        align_section(sizeof(CpuGatherHeader) + static_cast<size_t>(2 * p.segments + 1 + p.padded_k) * sizeof(int32_t));
  } else {
    p.unit = one_group || group % 32 == 0 ? 32 : 16;
    p.segment_k = kCpuMaxSegment;
    while (!one_group && group % p.segment_k != 0) p.segment_k /= 2;
    p.padded_k = round_up(k, p.unit);
    p.segments = (p.padded_k + p.segment_k - 1) / p.segment_k;
    p.segments_per_scale = one_group ? std::max<int64_t>(p.segments, 1) : group / p.segment_k;
    p.scale_rows = groups;
  }
  if (p.scale_type == SPF_TYPE_NONE) p.scale_rows = 0;

  const int bits = p.codes == CpuCodes::kNibble                              ? 4
                   : p.codes == CpuCodes::kF32                               ? 32
                   : p.codes == CpuCodes::kBF16 || p.codes == CpuCodes::kF16 ? 16
                                                                             : 8;
  p.block_code_bytes = static_cast<size_t>(p.padded_k) * kCpuBlockN * static_cast<size_t>(bits) / 8;
  p.scale_row_bytes = scale_bytes(p.scale_type) * kCpuBlockN;
  const size_t rows = static_cast<size_t>(p.blocks_n * p.scale_rows);
  p.code_bytes = align_section(static_cast<size_t>(p.blocks_n) * p.block_code_bytes);
  p.scale_bytes = align_section(rows * p.scale_row_bytes);
  if (p.zeros == SPF_ZERO_INTEGER) p.zero_bytes = align_section(rows * kCpuBlockN * sizeof(int16_t));
  if (p.zeros == SPF_ZERO_MINIMUM) p.zero_bytes = align_section(rows * p.scale_row_bytes);
  return p;
}

CpuWeight cpu_packed_open(const spf_packed_weight& packed) {
  CpuWeight w;
  w.layout = cpu_packed_layout(packed.scheme, packed.n, packed.k);
  w.codes = static_cast<const uint8_t*>(packed.data);
  if (w.codes == nullptr) return w;
  w.scales = w.codes + packed.scales_offset;
  w.zeros = w.codes + packed.zeros_offset;
  w.segments = w.layout.segments;
  w.positions = w.layout.padded_k;
  if (w.layout.gathered) {
    const auto* header = reinterpret_cast<const CpuGatherHeader*>(w.codes + packed.g_idx_offset);
    w.segments = header->segments;
    w.positions = header->positions;
    w.segment_start = reinterpret_cast<const int32_t*>(header + 1);
    w.segment_scale = w.segment_start + w.layout.segments + 1;
    w.column = w.segment_scale + w.layout.segments;
  }
  if (w.layout.has_global) w.global_scale = *reinterpret_cast<const float*>(w.codes + packed.global_offset);
  return w;
}

} // namespace spf
