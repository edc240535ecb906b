#include "pack/reference.hpp"

#include <algorithm>
#include <vector>

namespace spf::pack {
namespace {

using formats::Decoder;

int64_t groups_of(const spf_packed_weight& p) { return formats::extents_of(p.scheme, p.n, p.k).groups; }

bool accepts_all(const spf_quant_scheme&, const char**) { return true; }

void describe_reference(spf_packed_weight& header) {
  const spf_quant_scheme& s = header.scheme;
  const auto floats = static_cast<size_t>(header.n * groups_of(header)) * sizeof(float);
  Sections sections;
  sections.add(static_cast<size_t>(header.n * reference_row_bytes(s.weight, header.k)));
  if (s.format != SPF_FORMAT_PLAIN) header.scales_offset = sections.add(floats);
  if (s.zero != SPF_ZERO_NONE) header.zeros_offset = sections.add(floats);
  if (s.has_g_idx) header.g_idx_offset = sections.add(static_cast<size_t>(header.k) * sizeof(int32_t));
  if (s.has_global_scale) header.global_offset = sections.add(sizeof(float));
  header.padded_n = header.n;
  header.padded_k = header.k;
  header.bytes = sections.total();
}

template <class T>
T* section(const spf_packed_weight& header, size_t offset) {
  return reinterpret_cast<T*>(static_cast<char*>(header.data) + offset);
}

spf_status pack_reference(const Decoder& weight, const spf_packed_weight& header) {
  const int64_t k_count = header.k, groups = groups_of(header);
  const int64_t row_bytes = reference_row_bytes(header.scheme.weight, k_count);
  const int bits = scalar_info(header.scheme.weight).bits;
  std::vector<uint8_t> codes(bits <= 8 ? static_cast<size_t>(k_count) : 0);
  for (int64_t n = 0; n < header.n; ++n) {
    uint8_t* row = section<uint8_t>(header, 0) + n * row_bytes;
    if (bits > 8) {
      for (int64_t k = 0; k < k_count; ++k) {
        const uint32_t element = weight.code(n, k);
        std::memcpy(row + k * bits / 8, &element, static_cast<size_t>(bits / 8));
      }
      continue;
    }
    weight.codes_row(n, codes.data());
    if (bits == 8) {
      std::copy(codes.begin(), codes.end(), row);
    } else {
      for (int64_t k = 0; k < k_count; ++k) row[k / 2] = static_cast<uint8_t>(row[k / 2] | (codes[k] << (4 * (k % 2))));
    }
    float* zeros =
        header.scheme.zero == SPF_ZERO_NONE ? nullptr : section<float>(header, header.zeros_offset) + n * groups;
    weight.scales_row(n, section<float>(header, header.scales_offset) + n * groups, zeros);
  }
  if (header.scheme.has_g_idx)
    for (int64_t k = 0; k < k_count; ++k)
      section<int32_t>(header, header.g_idx_offset)[k] = static_cast<int32_t>(weight.group(k));
  if (header.scheme.has_global_scale) *section<float>(header, header.global_offset) = weight.global_scale();
  return SPF_OK;
}

spf_status unpack_reference(const spf_packed_weight& header, float* out) {
  const spf_quant_scheme& s = header.scheme;
  const int64_t k_count = header.k, groups = groups_of(header), row_bytes = reference_row_bytes(s.weight, k_count);
  const int bits = scalar_info(s.weight).bits;
  const formats::CodeTable table(bits <= 8 ? s.weight : SPF_U8);
  const float global = s.has_global_scale ? *section<float>(header, header.global_offset) : 1.0f;
  if (s.has_g_idx)
    if (spf_status st = check_indices("g_idx", section<int32_t>(header, header.g_idx_offset), k_count, groups))
      return st;
  for (int64_t n = 0; n < header.n; ++n) {
    const uint8_t* row = section<uint8_t>(header, 0) + n * row_bytes;
    float* values = out + n * k_count;
    for (int64_t k = 0; k < k_count; ++k) {
      if (bits > 8) {
        uint32_t element = 0;
        std::memcpy(&element, row + k * bits / 8, static_cast<size_t>(bits / 8));
        values[k] = formats::scale_value(s.weight, element);
        continue;
      }
      const uint8_t code = bits == 8 ? row[k] : (row[k / 2] >> (4 * (k % 2))) & 15;
      const int64_t g = s.has_g_idx     ? section<int32_t>(header, header.g_idx_offset)[k]
                        : s.group_k > 0 ? k / s.group_k
                                        : 0;
      const float scale = section<float>(header, header.scales_offset)[n * groups + g];
      const float zero = s.zero == SPF_ZERO_NONE ? 0.0f : section<float>(header, header.zeros_offset)[n * groups + g];
      values[k] = formats::dequantize(s.zero, table.value[code], scale, zero) * global;
    }
  }
  return SPF_OK;
}

} // namespace

int64_t reference_row_bytes(spf_scalar_type weight, int64_t k) { return (k * scalar_info(weight).bits + 7) / 8; }

const LayoutRow kReferenceLayout = {"reference", 1, accepts_all, describe_reference, pack_reference, unpack_reference};

} // namespace spf::pack
