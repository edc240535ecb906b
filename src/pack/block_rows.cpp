#include "pack/block_rows.hpp"

#include <cstring>
#include <string>
#include <vector>

#include "core/scalar.hpp"
#include "core/status.hpp"

namespace spf::pack {
namespace {

constexpr int64_t kRowBytes = 128; // a row is a multiple of

constexpr int64_t round_up(int64_t value, int64_t step) { return (value + step - 1) / step * step; }

int64_t values_a_byte(const spf_quant_scheme& s) { return s.weight == SPF_E2M1 ? 2 : 1; }
int64_t row_bytes(const spf_packed_weight& p) { return p.padded_k / values_a_byte(p.scheme); }
int64_t padded_groups(const spf_packed_weight& p) {
  return round_up(formats::extents_of(p.scheme, p.n, p.k).groups, 4);
}

int64_t scale_place(const spf_packed_weight& p, int64_t n, int64_t g) {
  return (n / 128 * (padded_groups(p) / 4) + g / 4) * 512 + n % 32 * 16 + n / 32 % 4 * 4 + g % 4;
}

// Where the code of column k of a row lies: byte, and bits up.
template <bool kA8>
int64_t code_byte(const spf_quant_scheme& s, int64_t k) {
  if (values_a_byte(s) == 1) return k;
  return kA8 ? k / 32 * 16 + k % 16 : k / 2;
}
template <bool kA8>
int code_shift(const spf_quant_scheme& s, int64_t k) {
  if (values_a_byte(s) == 1) return 0;
  return static_cast<int>(kA8 ? k / 16 % 2 : k % 2) * 4;
}

bool accepts(const spf_quant_scheme& s, const char** why) {
  if (s.format == SPF_FORMAT_NVFP4 || s.format == SPF_FORMAT_MXFP4 || s.format == SPF_FORMAT_MXFP8) return true;
  *why = "holds NVFP4, MXFP4 and MXFP8";
  return false;
}
bool accepts_a8(const spf_quant_scheme& s, const char** why) {
  if (s.format == SPF_FORMAT_MXFP4) return true;
  *why = "holds MXFP4";
  return false;
}

void describe_header(spf_packed_weight& header) {
  header.padded_n = round_up(header.n, 128);
  header.padded_k = round_up(header.k, kRowBytes * values_a_byte(header.scheme));
  Sections sections;
  sections.add(static_cast<size_t>(header.n * row_bytes(header)));
  header.scales_offset = sections.add(static_cast<size_t>(header.padded_n * padded_groups(header)));
  if (header.scheme.has_global_scale) header.global_offset = sections.add(sizeof(float));
  header.bytes = sections.total();
}

template <bool kA8>
spf_status pack_rows(const formats::Decoder& weight, const spf_packed_weight& header) {
  const spf_quant_scheme& s = header.scheme;
  auto* const bytes = static_cast<uint8_t*>(header.data);
  std::vector<uint8_t> codes(static_cast<size_t>(header.k));
  std::vector<float> scales(static_cast<size_t>(weight.groups()));
  for (int64_t n = 0; n < header.n; ++n) {
    weight.codes_row(n, codes.data());
    uint8_t* const row = bytes + n * row_bytes(header);
    for (int64_t k = 0; k < header.k; ++k) {
      uint8_t& byte = row[code_byte<kA8>(s, k)];
      byte = static_cast<uint8_t>(byte | codes[static_cast<size_t>(k)] << code_shift<kA8>(s, k));
    }
    weight.scales_row(n, scales.data(), nullptr);
    for (int64_t g = 0; g < weight.groups(); ++g) {
      const float scale = scales[static_cast<size_t>(g)];
      if (scale < 0.0f)
        return fail(SPF_UNSUPPORTED, "pack", "pack", "scales[" + std::to_string(n) + ", " + std::to_string(g) + "]",
                    std::to_string(scale), "0 or more");
      bytes[static_cast<int64_t>(header.scales_offset) + scale_place(header, n, g)] =
          static_cast<uint8_t>(formats::scale_code(s.scale, scale) & (s.scale == SPF_E4M3 ? 0x7f : 0xff));
    }
  }
  if (s.has_global_scale) {
    const float global = weight.global_scale();
    std::memcpy(bytes + header.global_offset, &global, sizeof global);
  }
  return SPF_OK;
}

template <bool kA8>
spf_status unpack_rows(const spf_packed_weight& header, float* out) {
  const spf_quant_scheme& s = header.scheme;
  const auto* const bytes = static_cast<const uint8_t*>(header.data);
  const formats::CodeTable table(s.weight);
  const int mask = values_a_byte(s) == 2 ? 15 : 255;
  float global = 1.0f;
  if (s.has_global_scale) std::memcpy(&global, bytes + header.global_offset, sizeof global);
  for (int64_t n = 0; n < header.n; ++n) {
    const uint8_t* const row = bytes + n * row_bytes(header);
    for (int64_t k = 0; k < header.k; ++k) {
      const int code = row[code_byte<kA8>(s, k)] >> code_shift<kA8>(s, k) & mask;
      const uint8_t raw = bytes[static_cast<int64_t>(header.scales_offset) + scale_place(header, n, k / s.group_k)];
      const float value = formats::dequantize(SPF_ZERO_NONE, table.value[code], formats::scale_value(s.scale, raw), 0);
      out[n * header.k + k] = value * global;
    }
  }
  return SPF_OK;
}

} // namespace

const LayoutRow kBlockRowsLayout = {"block_rows", 1, accepts, describe_header, pack_rows<false>, unpack_rows<false>};
const LayoutRow kBlockRowsA8Layout = {"block_rows_a8",  1, accepts_a8, describe_header, pack_rows<true>,
                                      unpack_rows<true>};

} // namespace spf::pack
