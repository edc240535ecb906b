#include "pack/k128.hpp"

#include <vector>

#include "core/scalar.hpp"

namespace spf::pack {
namespace {

constexpr int64_t kBlock = 128;

int64_t groups_of(const spf_packed_weight& p) { return formats::extents_of(p.scheme, p.n, p.k).groups; }

// What a code becomes: the same number as s8, or as e4m3, in which integers up to 16 are exact.
spf_scalar_type stored_type(spf_scalar_type weight, bool as_e4m3) {
  return weight == SPF_E4M3 || as_e4m3 ? SPF_E4M3 : SPF_S8;
}
uint8_t stored_code(spf_scalar_type weight, bool as_e4m3, uint8_t code) {
  if (weight == SPF_U8B128) return static_cast<uint8_t>(code ^ 128);
  if (weight != SPF_U4B8) return code;
  const int number = static_cast<int>(code) - 8;
  return as_e4m3 ? f32_to_e4m3(static_cast<float>(number)) : static_cast<uint8_t>(static_cast<int8_t>(number));
}

int64_t code_at(const spf_packed_weight& p, int64_t n, int64_t k) {
  const int64_t block = n / kBlock * (p.padded_k / kBlock) + k / kBlock, r = n % kBlock, c = k % kBlock;
  return block * kBlock * kBlock + r * kBlock + ((c / 16) ^ (r % 8)) * 16 + c % 16;
}

bool accepts(const spf_quant_scheme& s, const char** why) {
  if (s.weight != SPF_E4M3 && s.weight != SPF_S8 && s.weight != SPF_U8B128 && s.weight != SPF_U4B8)
    *why = "holds e4m3, s8, u8b128 and u4b8 codes";
  else if (s.zero != SPF_ZERO_NONE || s.has_g_idx || s.has_global_scale)
    *why = "holds no zero points, no act order and no global scale";
  else if (s.group_k > 0 && s.group_k % kBlock != 0)
    *why = "holds scales of all of K, or of a multiple of 128 columns";
  else
    return true;
  return false;
}

bool accepts_as_e4m3(const spf_quant_scheme& s, const char** why) {
  if (s.weight == SPF_U4B8) return accepts(s, why);
  *why = "holds u4b8 codes";
  return false;
}

void describe_header(spf_packed_weight& header) {
  header.padded_n = (header.n + kBlock - 1) / kBlock * kBlock;
  header.padded_k = (header.k + kBlock - 1) / kBlock * kBlock;
  Sections sections;
  sections.add(static_cast<size_t>(header.padded_n * header.padded_k));
  header.scales_offset = sections.add(static_cast<size_t>(header.padded_n * groups_of(header)) * sizeof(float));
  header.bytes = sections.total();
}

template <bool kAsE4m3>
spf_status pack_k128(const formats::Decoder& weight, const spf_packed_weight& header) {
  auto* codes = static_cast<uint8_t*>(header.data);
  auto* scales = reinterpret_cast<float*>(codes + header.scales_offset);
  std::vector<uint8_t> row(static_cast<size_t>(header.k));
  for (int64_t n = 0; n < header.n; ++n) {
    weight.codes_row(n, row.data());
    for (int64_t k = 0; k < header.k; ++k)
      codes[code_at(header, n, k)] = stored_code(header.scheme.weight, kAsE4m3, row[static_cast<size_t>(k)]);
    for (int64_t g = 0; g < groups_of(header); ++g) scales[g * header.padded_n + n] = weight.scale(n, g);
  }
  return SPF_OK;
}

template <bool kAsE4m3>
spf_status unpack_k128(const spf_packed_weight& header, float* out) {
  const auto* codes = static_cast<const uint8_t*>(header.data);
  const auto* scales = reinterpret_cast<const float*>(codes + header.scales_offset);
  const formats::CodeTable table(stored_type(header.scheme.weight, kAsE4m3));
  for (int64_t n = 0; n < header.n; ++n)
    for (int64_t k = 0; k < header.k; ++k) {
      const int64_t g = header.scheme.group_k > 0 ? k / header.scheme.group_k : 0;
      const float number = table.value[codes[code_at(header, n, k)]];
      out[n * header.k + k] = formats::dequantize(SPF_ZERO_NONE, number, scales[g * header.padded_n + n], 0.0f);
    }
  return SPF_OK;
}

} // namespace

const LayoutRow kK128Layout = {"k128", 1, accepts, describe_header, pack_k128<false>, unpack_k128<false>};
const LayoutRow kK128E4m3Layout = {"k128_e4m3",      1, accepts_as_e4m3, describe_header, pack_k128<true>,
                                   unpack_k128<true>};

} // namespace spf::pack
