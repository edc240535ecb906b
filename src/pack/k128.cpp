#include "pack/k128.hpp"

#include <vector>

namespace spf::pack {
namespace {

constexpr int64_t kBlock = 128;

int64_t groups_of(const spf_packed_weight& p) { return formats::extents_of(p.scheme, p.n, p.k).groups; }
uint8_t sign_flip(spf_scalar_type t) { return t == SPF_U8B128 ? 128 : 0; }

int64_t code_at(const spf_packed_weight& p, int64_t n, int64_t k) {
  const int64_t block = n / kBlock * (p.padded_k / kBlock) + k / kBlock, r = n % kBlock, c = k % kBlock;
  return block * kBlock * kBlock + r * kBlock + ((c / 16) ^ (r % 8)) * 16 + c % 16;
}

bool accepts(const spf_quant_scheme& s, const char** why) {
  if (s.weight != SPF_E4M3 && s.weight != SPF_S8 && s.weight != SPF_U8B128)
    *why = "holds e4m3, s8 and u8b128 codes";
  else if (s.format != SPF_FORMAT_FP8 && s.format != SPF_FORMAT_CT_INT)
    *why = "holds fp8 and compressed-tensors weights";
  else if (s.zero != SPF_ZERO_NONE || s.has_g_idx)
    *why = "holds no zero points and no act order";
  else if (s.group_k > 0 && s.group_k % kBlock != 0)
    *why = "holds scales of all of K, or of a multiple of 128 columns";
  else
    return true;
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

spf_status pack_k128(const formats::Decoder& weight, const spf_packed_weight& header) {
  auto* codes = static_cast<uint8_t*>(header.data);
  auto* scales = reinterpret_cast<float*>(codes + header.scales_offset);
  const uint8_t flip = sign_flip(header.scheme.weight);
  std::vector<uint8_t> row(static_cast<size_t>(header.k));
  for (int64_t n = 0; n < header.n; ++n) {
    weight.codes_row(n, row.data());
    for (int64_t k = 0; k < header.k; ++k)
      codes[code_at(header, n, k)] = static_cast<uint8_t>(row[static_cast<size_t>(k)] ^ flip);
    for (int64_t g = 0; g < groups_of(header); ++g) scales[g * header.padded_n + n] = weight.scale(n, g);
  }
  return SPF_OK;
}

spf_status unpack_k128(const spf_packed_weight& header, float* out) {
  const auto* codes = static_cast<const uint8_t*>(header.data);
  const auto* scales = reinterpret_cast<const float*>(codes + header.scales_offset);
  const formats::CodeTable table(header.scheme.weight);
  const uint8_t flip = sign_flip(header.scheme.weight);
  for (int64_t n = 0; n < header.n; ++n)
    for (int64_t k = 0; k < header.k; ++k) {
      const int64_t g = header.scheme.group_k > 0 ? k / header.scheme.group_k : 0;
      const auto code = static_cast<uint8_t>(codes[code_at(header, n, k)] ^ flip);
      out[n * header.k + k] =
          formats::dequantize(SPF_ZERO_NONE, table.value[code], scales[g * header.padded_n + n], 0.0f);
    }
  return SPF_OK;
}

} // namespace

const LayoutRow kK128Layout = {"k128", 1, accepts, describe_header, pack_k128, unpack_k128};

} // namespace spf::pack
